// What a task has mapped: the lines of /proc/PID/maps, one after another.
#pragma once
#include <algorithm>
#include <skep/types.hpp>
#include <string>
#include <string_view>

namespace skep::hook {

/// One line. `path` is of the text it was read from.
struct Mapping {
  u64 start = 0, end = 0, offset = 0, device = 0, inode = 0;
  bool is_code = false, is_private_code = false, is_private_data = false;
  std::string_view path;

  /// Where a place of the file lies in memory, or 0.
  u64 address_of(u64 file_offset) const noexcept {
    return file_offset >= offset && file_offset - offset < end - start ? start + (file_offset - offset) : 0;
  }
};

/// False: the line says something else.
bool parse_mapping(std::string_view line, Mapping& to) noexcept;

/// The file; empty when the task is gone.
std::string read_mappings(u32 tid);

/// Calls `see` for each mapping.
template <class See>
void each_mapping(u32 tid, const See& see) {
  const std::string maps = read_mappings(tid);
  for (std::size_t from = 0; from < maps.size();) {
    const std::size_t end = std::min(maps.find('\n', from), maps.size());
    Mapping mapping;
    if (parse_mapping(std::string_view(maps).substr(from, end - from), mapping)) see(mapping);
    from = end + 1;
  }
}

/// The same for those of files.
template <class See>
void each_file_mapping(u32 tid, const See& see) {
  each_mapping(tid, [&see](const Mapping& mapping) {
    if (mapping.inode != 0) see(mapping);
  });
}

}  // namespace skep::hook
