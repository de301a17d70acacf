// A lock for a few instructions. Spins, then lets others run: its holder may have been interrupted.
#pragma once
#include <sched.h>

#include <atomic>
#include <skep/types.hpp>

namespace skep::map {

inline void pause_briefly(u32 spins) noexcept {
  if (spins % 64 == 63) {
    ::sched_yield();
    return;
  }
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class SpinLock {
 public:
  void lock() noexcept {
    for (u32 spins = 0; held_.exchange(true, std::memory_order_acquire); ++spins) pause_briefly(spins);
  }
  bool try_lock() noexcept { return !held_.exchange(true, std::memory_order_acquire); }
  void unlock() noexcept { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_{false};
};

}  // namespace skep::map
