// Which paths in bpffs hold which objects.
#pragma once
#include <map>
#include <skep/types.hpp>
#include <string>
#include <vector>

namespace skep::kernel {

/// Paths of pinned objects by id, from every bpffs that is mounted here. Bounded: a huge bpffs is looked at in part.
struct Pins {
  std::map<u32, std::vector<std::string>> programs, maps;
};
Pins find_pins();

/// Mount points of a file system type in the form of /proc/self/mountinfo (spaces are written \040).
std::vector<std::string> mount_points(std::string_view mountinfo, std::string_view file_system);

}  // namespace skep::kernel
