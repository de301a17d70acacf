// See proc_file.hpp.
#include "hook/proc_file.hpp"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

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

void read_comm(u32 tid, char (&to)[16]) noexcept {
  char text[32];
  const std::string_view name = read_proc(tid, "comm", text, sizeof text);
  if (name.empty()) return;
  std::memset(to, 0, sizeof to);
  std::memcpy(to, name.data(), std::min<std::size_t>(sizeof to - 1, name.size() - 1));  // a line
}

u64 auxiliary_value(u32 tid, u64 key) noexcept {
  char text[1024];
  const std::string_view vector = read_proc(tid, "auxv", text, sizeof text);
  // A 32-bit program's vector read as 64-bit words has no small keys but by accident: page size and flags tell.
  for (const std::size_t word : {std::size_t{8}, std::size_t{4}})
    for (std::size_t at = 0; at + 2 * word <= vector.size(); at += 2 * word) {
      u64 found = 0, value = 0;
      std::memcpy(&found, vector.data() + at, word);
      std::memcpy(&value, vector.data() + at + word, word);
      if (found == key && value != 0) return value;
      if (found == AT_NULL) break;
    }
  return 0;
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
