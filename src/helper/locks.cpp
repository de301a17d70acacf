// bpf_spin_lock and bpf_spin_unlock: a word inside a map value, 0 when free.
//
// The verifier has proved that every lock is given back, soon, by the run that took it. Threads that wait spin and
// then let others run, because the holder may have been interrupted.
// Source: Linux 6.18, kernel/bpf/helpers.c (____bpf_spin_lock).
#include "helper/bind.hpp"
#include "map/graph.hpp"

namespace skep::helper {

static u64 spin_lock(void* lock) noexcept {
  map::lock_word(lock);
  return 0;
}
SKEP_BIND(spin_lock)

static u64 spin_unlock(void* lock) noexcept {
  map::unlock_word(lock);
  return 0;
}
SKEP_BIND(spin_unlock)

}  // namespace skep::helper
