// Kernel frames stand above user frames, as they were called.
#include "kit/stacks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace skep::tools {
namespace {

std::span<const u64> until_zero(std::span<const u64> addresses) {
  return addresses.first(
      static_cast<std::size_t>(std::find(addresses.begin(), addresses.end(), u64{0}) - addresses.begin()));
}

}  // namespace

std::vector<std::string> Stacks::texts(const std::vector<symbols::Frame>& frames) const {
  std::vector<std::string> out;
  for (const symbols::Frame& frame : frames) out.push_back(symbols::text(frame, style_));
  return out;
}

std::vector<std::string> Stacks::kernel(std::span<const u64> addresses) {
  return texts(symbolizer_.kernel(until_zero(addresses)));
}

std::vector<std::string> Stacks::user(u32 pid, std::span<const u64> addresses) {
  return texts(symbolizer_.user(pid, until_zero(addresses)));
}

std::string folded(std::string_view comm, const std::vector<std::string>& user,
                   const std::vector<std::string>& kernel) {
  std::string line(comm);
  for (const auto* part : {&user, &kernel})
    for (auto frame = part->rbegin(); frame != part->rend(); ++frame) {
      std::string name = *frame;
      std::replace(name.begin(), name.end(), ';', ':');
      line += ";" + name;
    }
  return line;
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
