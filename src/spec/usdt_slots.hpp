// Which entries of a __bpf_usdt_specs map are taken by attachments.
#pragma once
#include <mutex>
#include <set>
#include <skep/types.hpp>

namespace skep::spec {

/// Thread-safe.
class UsdtSlots {
 public:
  /// The lowest that is free.
  u32 take() {
    const std::lock_guard lock(mutex_);
    u32 slot = 0;
    while (taken_.contains(slot)) ++slot;
    taken_.insert(slot);
    return slot;
  }
  void give_back(u32 slot) {
    const std::lock_guard lock(mutex_);
    taken_.erase(slot);
  }

 private:
  std::mutex mutex_;
  std::set<u32> taken_;
};

}  // namespace skep::spec
