// bpf_spin_lock and bpf_spin_unlock: a word inside a map value, 0 when free.
//
// The verifier has proved that every lock is given back, soon, by the run that took it. Threads that wait spin and
// then let others run, because the holder may have been interrupted.
// Source: Linux 6.18, kernel/bpf/helpers.c (____bpf_spin_lock).
#include <atomic>

#include "helper/bind.hpp"
#include "map/spin_lock.hpp"

namespace skep::helper {

namespace {
std::atomic_ref<u32> word_of(void* lock) noexcept { return std::atomic_ref(*static_cast<u32*>(lock)); }
}  // namespace

static u64 spin_lock(void* lock) noexcept {
  for (u32 spins = 0; word_of(lock).exchange(1, std::memory_order_acquire) != 0; ++spins) map::pause_briefly(spins);
  return 0;
}
SKEP_BIND(spin_lock)

static u64 spin_unlock(void* lock) noexcept {
  word_of(lock).store(0, std::memory_order_release);
  return 0;
}
SKEP_BIND(spin_unlock)

}  // namespace skep::helper
