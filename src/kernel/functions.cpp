// Reading the kernel's lists of functions.
#include "kernel/functions.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <unordered_set>

#include "base/mapped_file.hpp"

namespace skep::kernel {

namespace {

constexpr std::size_t most_bytes = 64u << 20;

Result<std::string> whole(const base::Fd& fd) {
  std::string text;
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return tl::unexpected(base::os_error("available_filter_functions"));
    if (count == 0 || text.size() > most_bytes) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

/// The first word of each line, each once.
template <class NameOf>
std::vector<std::string> names_of_lines(std::string_view text, NameOf&& name_of_line) {
  std::vector<std::string> names;
  std::unordered_set<std::string_view> seen;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view name = name_of_line(text.substr(0, end));
    if (!name.empty() && seen.insert(name).second) names.emplace_back(name);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return names;
}

}  // namespace

Result<std::vector<std::string>> probeable_functions(Session& session, bool modules) {
  if (const auto tracefs = session.tracefs())
    if (auto list = (*tracefs)->open_file("available_filter_functions", O_RDONLY)) {
      const auto text = SKEP_TRY(whole(*list));
      return names_of_lines(text, [modules](std::string_view line) {
        // A weak function that was left out has a made-up name.
        const bool is_left_out = line.starts_with("__ftrace_invalid_address__");
        if (is_left_out || (!modules && line.find('[') != line.npos)) return std::string_view();
        return line.substr(0, line.find(' '));
      });
    }
  // "ffffffff814ca650 T name\t[module]"
  const auto text = SKEP_TRY(base::read_text("/proc/kallsyms", most_bytes));
  return names_of_lines(text, [modules](std::string_view line) {
    if (!modules && line.find('[') != line.npos) return std::string_view();
    const auto space = line.find(' ');
    if (space == line.npos || line.size() < space + 4 || (line[space + 1] | 0x20) != 't') return std::string_view();
    const std::string_view name = line.substr(space + 3);
    return name.substr(0, name.find_first_of("\t "));
  });
}

}  // namespace skep::kernel
