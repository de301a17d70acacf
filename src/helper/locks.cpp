// Locks inside of map values and objects: a word, 0 when free.
//
// bpf_spin_lock: the verifier has proved that every lock is given back, soon, by the run that took it. Threads that
// wait spin and then let others run, because the holder may have been interrupted. bpf_res_spin_lock may be held by the
// dozen, so who would wait for itself is refused (map/resilient_lock.hpp). There are no interrupts to hold off in a
// process: the flag is what the program has to give back, no more.
// Source: Linux 6.18, kernel/bpf/helpers.c (____bpf_spin_lock), kernel/bpf/rqspinlock.c.
#include "helper/bind.hpp"
#include "helper/kfuncs.hpp"
#include "map/graph.hpp"
#include "map/resilient_lock.hpp"

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

namespace {

void* pointer(u64 address) noexcept { return reinterpret_cast<void*>(address); }

u64 res_spin_lock(void*, u64 lock, u64, u64, u64, u64) noexcept {
  return static_cast<u64>(map::take_resilient(pointer(lock)));
}
u64 res_spin_unlock(void*, u64 lock, u64, u64, u64, u64) noexcept {
  map::give_resilient(pointer(lock));
  return 0;
}
u64 res_spin_lock_irqsave(void*, u64 lock, u64 flags, u64, u64, u64) noexcept {
  const s64 result = map::take_resilient(pointer(lock));
  if (result == 0) *static_cast<u64*>(pointer(flags)) = 0;
  return static_cast<u64>(result);
}

constexpr KfuncRow rows[] = {
    {"bpf_res_spin_lock", res_spin_lock},
    {"bpf_res_spin_unlock", res_spin_unlock},
    {"bpf_res_spin_lock_irqsave", res_spin_lock_irqsave},
    {"bpf_res_spin_unlock_irqrestore", res_spin_unlock},
};

}  // namespace

std::span<const KfuncRow> lock_kfuncs() noexcept { return rows; }

}  // namespace skep::helper
