// What the kernel tells of a link: common facts, and those of its type under bpftool's keys.
#pragma once
#include <optional>
#include <skep/inspect.hpp>
#include <string>
#include <vector>

namespace skep::kernel {

/// Facts of the link behind a descriptor (without `pinned`).
Result<LinkInfo> link_info(int fd);

/// What a link of many user probes holds.
struct UserProbeLink {
  struct Place {
    u64 offset = 0, semaphore_offset = 0;  ///< bytes into the file
    u64 cookie = 0;
  };
  std::string path;
  bool at_return = false;
  u32 pid = 0;  ///< 0: every process
  u32 program_id = 0;
  std::vector<Place> places;  ///< at least one
};
/// nullopt for other links, and on kernels before 6.8, which tell nothing of these.
std::optional<UserProbeLink> user_probe_link(int fd);

}  // namespace skep::kernel
