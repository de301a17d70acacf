// See proc_file.hpp.
#include "hook/proc_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>

#include "base/fd.hpp"

namespace skep::hook {

int open_proc(u32 tid, const char* file) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%u/%s", tid, file);
  return ::open(path, O_RDONLY | O_CLOEXEC);
}

std::string_view read_proc(u32 tid, const char* file, char* to, std::size_t size) noexcept {
  const base::Fd fd(open_proc(tid, file));
  if (!fd) return {};
  const ssize_t n = ::pread(fd.get(), to, size, 0);
  return n > 0 ? std::string_view(to, static_cast<std::size_t>(n)) : std::string_view();
}

std::optional<u64> status_number(std::string_view status, std::string_view key, int base) noexcept {
  const auto at = status.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  const char* from = status.data() + at + key.size();
  const char* end = status.data() + status.size();
  while (from < end && (*from == ' ' || *from == '\t')) ++from;
  u64 value = 0;
  if (std::from_chars(from, end, value, base).ec != std::errc()) return std::nullopt;
  return value;
}

std::optional<s64> stat_number(std::string_view stat, u32 number) noexcept {
  const auto name_end = stat.rfind(')');
  if (name_end == std::string_view::npos || number < 4) return std::nullopt;
  // Behind the name: " S ", field 3.
  std::size_t at = name_end + 1;
  for (u32 field = 2; field < number; ++field) {
    at = stat.find(' ', at);
    if (at == std::string_view::npos) return std::nullopt;
    ++at;
  }
  s64 value = 0;
  if (std::from_chars(stat.data() + at, stat.data() + stat.size(), value).ec == std::errc()) return value;
  u64 large = 0;  // rsslim and addresses may not fit
  if (std::from_chars(stat.data() + at, stat.data() + stat.size(), large).ec != std::errc()) return std::nullopt;
  return static_cast<s64>(large);
}

}  // namespace skep::hook
