// See mapping.hpp.
#include "hook/mapping.hpp"

#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "base/fd.hpp"
#include "hook/proc_file.hpp"

namespace skep::hook {

bool parse_mapping(std::string_view line, Mapping& to) noexcept {
  unsigned long long start = 0, end = 0, offset = 0, inode = 0;
  unsigned major = 0, minor = 0;
  char permissions[5] = {};
  int path_at = 0;
  char text[160];  // all but the path, which is taken from the line itself
  const std::size_t head = std::min(line.size(), sizeof text - 1);
  std::memcpy(text, line.data(), head);
  text[head] = 0;
  if (std::sscanf(text, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end, permissions, &offset, &major, &minor, &inode,
                  &path_at) < 7)
    return false;
  to = {start, end, offset, makedev(major, minor), inode};
  to.is_code = permissions[2] == 'x';
  to.is_private_code = to.is_code && permissions[3] == 'p';
  to.is_private_data = permissions[1] == 'w' && permissions[3] == 'p';
  if (path_at > 0 && static_cast<std::size_t>(path_at) < line.size()) to.path = line.substr(static_cast<u32>(path_at));
  return true;
}

std::string read_mappings(u32 tid) {
  std::string all;
  const base::Fd file(open_proc(tid, "maps"));
  char piece[16384];
  for (ssize_t n = 0; file && (n = ::read(file.get(), piece, sizeof piece)) > 0;)
    all.append(piece, static_cast<std::size_t>(n));
  return all;
}

}  // namespace skep::hook
