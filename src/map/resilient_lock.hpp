// bpf_res_spin_lock: a lock that is refused rather than waited for in vain.
//
// The word holds the id of the thread that has the lock, 0 when it is free, so a thread that asks for its own lock
// knows at once. A thread that waits writes down for which lock, so that the next one sees the circle it would close,
// of up to 16 threads (Linux sees circles of two). Whatever nobody sees (a longer circle, more than 64 threads that
// wait at once, a holder in another process, one that died) ends with the time a lock is waited for. Ids are those of
// the system: memory with locks may be shared with other processes. Source: Linux 6.18, kernel/bpf/rqspinlock.c.
#pragma once
#include <skep/types.hpp>

namespace skep::map {

/// 0; -EDEADLK when this thread waits for itself, directly or through others; -ETIMEDOUT after a quarter of a second.
s64 take_resilient(void* lock) noexcept;
void give_resilient(void* lock) noexcept;

}  // namespace skep::map
