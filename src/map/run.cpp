// Who is running a program now, and waiting for them. See run.hpp.
//
// Each thread that ever ran a program owns a Reader in a list that only grows (a thread that ends leaves its
// Reader to the next one). A Reader holds the round in which its run began, or 0 between runs. Whoever waits
// begins a new round and then waits for every Reader of an older one. The store of the round and the loads of
// the slots that follow must not pass each other: hence seq_cst on both sides.
#include "map/run.hpp"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <atomic>
#include <new>

#include "base/cpus.hpp"

namespace skep::map {

namespace {

struct alignas(64) Reader {
  std::atomic<u64> round{0};  ///< 0: not running
  std::atomic<bool> owned{true};
  Reader* next = nullptr;
};

constinit std::atomic<Reader*> readers{nullptr};
constinit std::atomic<u64> current_round{1};

u64 monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

Reader* adopt_or_create() noexcept {
  for (Reader* reader = readers.load(std::memory_order_acquire); reader != nullptr; reader = reader->next) {
    bool free = false;
    if (reader->owned.compare_exchange_strong(free, true, std::memory_order_acquire)) return reader;
  }
  auto* reader = new (std::nothrow) Reader;
  if (reader == nullptr) return nullptr;
  reader->next = readers.load(std::memory_order_relaxed);
  while (!readers.compare_exchange_weak(reader->next, reader, std::memory_order_release, std::memory_order_relaxed)) {
  }
  return reader;
}

/// This thread's part. Without memory for a Reader the thread counts as not running: everything that needs a
/// run then refuses.
struct ThreadState {
  Reader* reader = nullptr;
  u32 depth = 0;
  const char* stack_top = nullptr;
  ~ThreadState() {
    if (reader != nullptr) reader->owned.store(false, std::memory_order_release);
  }
};
thread_local ThreadState thread_state;

/// After fork() only the calling thread is left: the runs of the others will never end and hold nothing here.
void forget_other_threads() noexcept {
  for (Reader* reader = readers.load(std::memory_order_relaxed); reader != nullptr; reader = reader->next)
    if (reader != thread_state.reader) reader->round.store(0, std::memory_order_relaxed);
}

}  // namespace

u32 possible_cpus() noexcept {
  static const u32 count = base::possible_cpus();
  return count;
}

void set_current_cpu(u32 cpu) noexcept { base::current_cpu = cpu < possible_cpus() ? cpu : 0; }

RunSection::RunSection(u32 cpu) noexcept {
  set_current_cpu(cpu);
  ThreadState& state = thread_state;
  if (state.reader == nullptr) {
    static const int registered = ::pthread_atfork(nullptr, nullptr, &forget_other_threads);
    if (registered == 0) state.reader = adopt_or_create();
  }
  if (state.reader == nullptr) return;
  if (state.depth++ == 0) {
    state.stack_top = static_cast<const char*>(__builtin_frame_address(0));
    state.reader->round.store(current_round.load(std::memory_order_relaxed), std::memory_order_seq_cst);
  }
}

RunSection::~RunSection() {
  ThreadState& state = thread_state;
  if (state.depth == 0) return;
  if (--state.depth == 0) state.reader->round.store(0, std::memory_order_release);
}

bool RunSection::active() noexcept { return thread_state.depth > 0; }

u64 RunSection::stack_bytes_from(u64 address, const void* caller_frame) noexcept {
  const ThreadState& state = thread_state;
  if (state.depth == 0) return 0;
  const u64 low = reinterpret_cast<u64>(caller_frame), high = reinterpret_cast<u64>(state.stack_top);
  return address >= low && address < high ? high - address : 0;
}

bool synchronize_runs() noexcept {
  constexpr u64 patience_ns = 1'000'000'000;
  const u64 now = current_round.fetch_add(1, std::memory_order_seq_cst) + 1;
  u64 deadline = 0;
  for (Reader* reader = readers.load(std::memory_order_seq_cst); reader != nullptr; reader = reader->next) {
    for (u32 spins = 0;; ++spins) {
      const u64 round = reader->round.load(std::memory_order_seq_cst);
      if (round == 0 || round >= now) break;
      if (spins < 100) {
        ::sched_yield();
        continue;
      }
      if (deadline == 0) deadline = monotonic_ns() + patience_ns;
      if (monotonic_ns() >= deadline) return false;
      ::usleep(50);
    }
  }
  return true;
}

}  // namespace skep::map
