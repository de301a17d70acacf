// --cgroupmap and --mntnsmap: only tasks in the control groups and mount namespaces that a map of the user's names.
//
//   Containers containers(kit);                       // before kit.parse()
//   if (auto opened = containers.open(); !opened) ... // after it
//
// The user makes the map, pins it, and changes it while the tool runs. In the kernel the tool's program looks into that
// very map; the user engine cannot, so its program has maps of its own, which a thread makes equal to the user's.
#pragma once
#include <skep/backend.hpp>
#include <string>
#include <thread>
#include <vector>

#include "kit/kit.hpp"

namespace skep::tools {

class Containers {
 public:
  explicit Containers(Kit& kit);

  /// Opens what the options name and tells the program. Errors: not_found, permission, invalid_argument: no map of this
  /// kind.
  Result<void> open();

 private:
  struct Pair {
    Map theirs;
    std::string own;
  };
  Result<void> open_one(std::string_view option, const std::string& path, std::string_view constant,
                        std::string_view map);
  Result<void> copy(const Object& object) const;
  void follow(const std::stop_token& stop, const Object& object) const;

  Kit& kit_;
  std::string cgroups_, mount_namespaces_;  ///< paths
  std::vector<Pair> pairs_;
  std::jthread follower_;
};

}  // namespace skep::tools
