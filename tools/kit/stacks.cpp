// Kernel frames stand above user frames, as they were called.
#include "kit/stacks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/mapped_file.hpp"
#include "base/printable.hpp"
#include "symbols/flame_graph.hpp"

namespace skep::tools {
namespace {

std::span<const u64> until_zero(std::span<const u64> addresses) {
  return addresses.first(
      static_cast<std::size_t>(std::find(addresses.begin(), addresses.end(), u64{0}) - addresses.begin()));
}

}  // namespace

void Stacks::add_options(Options& app) {
  app.add_flag("--no-inlined", no_inlined_, "functions with code of their own only: debug information is not read");
  app.add_flag("--lines", style_.source, "source lines, of programs with debug information (read by libdw)");
}

StackLines Stacks::lines(const std::vector<symbols::Frame>& frames) {
  for (const std::string& one : symbolizer_.take_notes()) note(base::printable(one));
  StackLines out;
  for (const symbols::Frame& frame : frames)
    out.push_back({frame.address != 0 ? frame.address : frame.module_offset, text(frame)});
  return out;
}

StackLines Stacks::kernel(std::span<const u64> addresses) { return lines(symbolizer_.kernel(until_zero(addresses))); }

StackLines Stacks::user(u32 pid, std::span<const u64> addresses) {
  if (std::exchange(tell_of_lines_, false) && style_.source)
    if (auto here = symbols::DwarfFile::available(); !here) note("--lines: " + here.error().message);
  return lines(symbolizer().user_stack(pid, until_zero(addresses)));
}

std::string folded(std::string_view comm, const StackLines& user, const StackLines& kernel) {
  std::vector<std::string> innermost_first;
  for (const auto* const part : {&kernel, &user})
    for (const StackLine& line : *part) innermost_first.push_back(line.name);
  if (!comm.empty()) innermost_first.emplace_back(comm);
  return symbols::folded(innermost_first);
}

Result<void> draw(const symbols::FoldedStacks& stacks, const std::string& path, std::string title,
                  std::string_view unit) {
  const std::string svg = symbols::flame_graph(stacks, {.title = std::move(title), .unit = std::string(unit)});
  return base::write_file_atomic(path, std::as_bytes(std::span(svg)));
}

std::vector<u64> stack_of(const Map& map, s64 id) {
  std::vector<u64> out;
  if (id < 0) return out;
  const auto key = static_cast<u32>(id);
  const auto bytes = map.lookup(std::as_bytes(std::span(&key, 1)));
  if (!bytes) return out;
  out.resize(bytes->size() / sizeof(u64));
  std::memcpy(out.data(), bytes->data(), out.size() * sizeof(u64));
  out.erase(std::find(out.begin(), out.end(), u64{0}), out.end());
  return out;
}

}  // namespace skep::tools
