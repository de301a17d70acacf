// skep vfscount: which functions of the virtual file system are called, and how often.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <memory>
#include <utility>

#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view vfscount_summary = "calls of each function of the virtual file system";

namespace {

/// The kernel's functions whose names begin with vfs_, by address. Source: /proc/kallsyms, "address type name".
std::map<u64, std::string> vfs_functions() {
  std::map<u64, std::string> found;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/kallsyms", "re"), std::fclose);
  char line[1024];
  while (file && std::fgets(line, sizeof line, file.get()) != nullptr) {
    const std::string_view all(line);
    const auto space = all.find(' ');
    if (space == std::string_view::npos || all.size() < space + 4) continue;
    std::string_view name = all.substr(space + 3);
    name = name.substr(0, name.find_first_of("\t\n "));
    if (!name.starts_with("vfs_")) continue;
    u64 address = 0;
    std::from_chars(line, line + space, address, 16);
    found.try_emplace(address, name);
  }
  return found;
}

/// The function that an address lies in, and where it begins: hooks stand a few bytes behind that.
std::pair<u64, std::string> function_at(const std::map<u64, std::string>& functions, u64 address) {
  const auto after = functions.upper_bound(address);
  if (after == functions.begin()) return {address, "?"};
  return *std::prev(after);
}

}  // namespace

int vfscount(const Arguments& arguments) {
  Kit kit({.name = "vfscount",
           .about = "Counts the calls of each kernel function whose name begins with vfs_.",
           .examples = "  skep vfscount     # until Ctrl-C\n"
                       "  skep vfscount 5   # for 5 seconds"});
  kit.wants_pid();
  kit.wants_duration("DURATION");
  if (auto status = kit.parse(arguments)) return *status;
  kit.on_summary([&] {
    auto rows = kit.entries<u64, u64>("calls");
    if (!rows) return kit.give_up(rows.error());
    std::sort(rows->begin(), rows->end(), [](auto& a, auto& b) { return a.second < b.second; });
    if (!kit.json()) kit.output().line("");
    Columns columns(kit.output(), {{"ADDR", "address", -16}, {"FUNC", "function", -26}, {"COUNT", "count", 8}});
    columns.heading();
    const auto functions = vfs_functions();
    for (const auto& [address, count] : *rows) {
      const auto [start, name] = function_at(functions, address);
      columns.row({fmt::format("{:x}", start), name, count});
    }
  });
  return kit.run([&] {
    if (!kit.json()) kit.output().line("Tracing... Ctrl-C to end.");
  });
}

}  // namespace skep::tools
