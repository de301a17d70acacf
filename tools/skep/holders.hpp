// Who holds the kernel's objects, for the `pids` of show: found once for all objects of a list.
#pragma once
#include <unistd.h>

#include <map>
#include <utility>
#include <vector>

#include "inspect/show.hpp"
#include "kernel/holders.hpp"

namespace skep::tools {

class Holders {
 public:
  using Kind = kernel::Holder::Kind;

  /// Looks through the descriptors of every process that this user may look into, but this one, which opens what it
  /// shows.
  static Holders of(Kind kind) {
    Holders found;
    for (auto& holder : kernel::find_holders()) {
      if (holder.kind != kind || holder.pid == ::getpid()) continue;
      auto& processes = found.by_id_[holder.id];
      const bool again = !processes.empty() && processes.back().pid == holder.pid;
      if (!again) processes.push_back({holder.pid, std::move(holder.comm)});
    }
    return found;
  }
  inspect::Processes operator[](u32 id) const {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? inspect::Processes() : inspect::Processes(found->second);
  }

 private:
  std::map<u32, std::vector<inspect::Process>> by_id_;
};

}  // namespace skep::tools
