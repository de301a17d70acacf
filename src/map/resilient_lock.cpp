// See resilient_lock.hpp.
#include "map/resilient_lock.hpp"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>

#include "map/spin_lock.hpp"

namespace skep::map {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto patience = std::chrono::milliseconds(250);  // Linux RES_DEF_TIMEOUT
constexpr u32 spins_between_looks = 64, longest_circle = 16;

/// Threads of this process that wait. One that finds no room waits unseen: what it is part of ends by the clock.
struct Waiter {
  std::atomic<u32> thread{0};
  std::atomic<u32*> lock{nullptr};
};
constinit std::array<Waiter, 64> waiters;

constinit thread_local u32 own_id = 0;

u32 thread_id() noexcept {
  if (own_id != 0) return own_id;
  static const int registered = ::pthread_atfork(nullptr, nullptr, [] { own_id = 0; });
  const u32 id = static_cast<u32>(::gettid());
  if (registered == 0) own_id = id;
  return id;
}

/// This thread's note while it waits.
class Note {
 public:
  Note(u32 thread, u32* lock) noexcept {
    for (Waiter& waiter : waiters) {
      u32 nobody = 0;
      if (waiter.thread.load(std::memory_order_relaxed) != 0 || !waiter.thread.compare_exchange_strong(nobody, thread))
        continue;
      waiter.lock.store(lock);
      waiter_ = &waiter;
      return;
    }
  }
  ~Note() {
    if (waiter_ == nullptr) return;
    waiter_->lock.store(nullptr);
    waiter_->thread.store(0);
  }
  Note(const Note&) = delete;
  Note& operator=(const Note&) = delete;

 private:
  Waiter* waiter_ = nullptr;
};

u32* awaited_by(u32 thread) noexcept {
  for (const Waiter& waiter : waiters)
    if (waiter.thread.load() == thread) return waiter.lock.load();
  return nullptr;
}

u32 holder_of(u32* lock) noexcept { return std::atomic_ref(*lock).load(); }

/// Whether who holds `lock` waits, through others or not, for a lock of `self`. Locks of a waiting thread stay its own,
/// but what was read of a thread may be over by the time its lock is: so the first step is taken again at the end.
bool leads_back(u32* lock, u32 self) noexcept {
  const u32 first = holder_of(lock);
  u32 holder = first;
  for (u32 steps = 0; steps < longest_circle; steps++) {
    if (holder == 0 || holder == self) return false;
    u32* const next = awaited_by(holder);
    if (next == nullptr) return false;
    holder = holder_of(next);
    if (holder == self) return holder_of(lock) == first && awaited_by(first) != nullptr;
  }
  return false;
}

}  // namespace

s64 take_resilient(void* lock) noexcept {
  auto* const word = static_cast<u32*>(lock);
  const std::atomic_ref state(*word);
  const u32 self = thread_id();
  u32 found = 0;
  if (state.compare_exchange_strong(found, self, std::memory_order_acquire)) return 0;
  if (found == self) return -EDEADLK;
  const Note note(self, word);
  const auto end = Clock::now() + patience;
  for (u32 spins = 0;; spins++) {
    found = 0;
    if (state.load(std::memory_order_relaxed) == 0 &&
        state.compare_exchange_strong(found, self, std::memory_order_acquire))
      return 0;
    if (spins % spins_between_looks == 0) {
      if (leads_back(word, self)) return -EDEADLK;
      if (Clock::now() >= end) return -ETIMEDOUT;
    }
    pause_briefly(spins);
  }
}

void give_resilient(void* lock) noexcept {
  std::atomic_ref(*static_cast<u32*>(lock)).store(0, std::memory_order_release);
}

}  // namespace skep::map
