// bpf_timer and bpf_wq: functions of a program that run later, in a thread of the engine.
//
// A field of a map value (16 bytes) holds the address of a Deferred, which this class owns and which remembers the
// value, the clock and the function, and behind it the address of the Timers themselves. One thread waits for the
// earliest and runs it, so callbacks never run beside each other: what a callback cancels is not running, and
// cancelling from outside waits for one callback at most. A map's timers end when its value goes, and all of them when
// the last user of the map goes: they would run programs that nobody can reach any more. A function that is set keeps
// its program (`owner`) alive until then. Differences from the kernel: an absolute CLOCK_REALTIME time is converted
// when the timer is started, so a clock that is set later moves it not; the CPU of a pinned timer is the one whose
// per-CPU values the callback sees. Source: Linux 6.18, kernel/bpf/helpers.c (bpf_timer_init to bpf_timer_cancel,
// bpf_wq_*): order of checks and numbers.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <thread>
#include <vector>

#include "base/run.hpp"

namespace skep::map {

class Map;

class Timers {
 public:
  /// Runs a callback of a program as r1 = map, r2 = key, r3 = value: called in the timers' thread, in a RunSection.
  using Runner = std::function<void(const base::Callback& callback, Map& map, void* key, void* value)>;
  /// The thread begins at once: it belongs to the process that loads, not to whoever starts a timer. It ends when the
  /// last reference goes, which may happen in a callback. Errors: limit (no more threads).
  static Result<std::shared_ptr<Timers>> create(Runner runner);
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;

  /// The one that made this field; nullptr: none did yet.
  static Timers* of(void* field) noexcept {
    return std::atomic_ref(static_cast<Timers**>(field)[1]).load(std::memory_order_acquire);
  }

  // --- what helpers do; `field` lies in a value of `map`; 0 or a negative errno ---
  /// `flags`: the clock. -EINVAL, -EBUSY (it was made before), -ENOMEM, -EPERM (no user has the map any more).
  s64 init_timer(Map& map, void* field, void* value, u64 flags) noexcept;
  s64 init_work(Map& map, void* field, void* value, u64 flags) noexcept;
  /// `owner`: the program. -EINVAL (not made), -EPERM.
  s64 set_callback(void* field, const base::Callback* callback, std::shared_ptr<const void> owner) noexcept;
  /// `flags`: absolute (1), on this CPU (2). -EINVAL: not made, no function, other flags.
  s64 start_timer(void* field, u64 nanoseconds, u64 flags) noexcept;
  s64 start_work(void* field, u64 flags) noexcept;
  /// 1: it was waiting; 0; -EINVAL (not made), -EDEADLK (its own callback asks). Waits for a callback that is running.
  s64 cancel(void* field) noexcept;

  // --- what maps do ---
  /// The value goes: the timer ends; its callback, if it is running, is not waited for.
  void forget(void* field) noexcept;
  /// Waits until no callback of the map is running. Returns at once in a callback.
  void wait_for(const Map& map) noexcept;

 private:
  struct Deferred {
    Map* map = nullptr;
    void* value = nullptr;
    const base::Callback* callback = nullptr;
    std::shared_ptr<const void> owner;
    s64 due = 0;  ///< CLOCK_MONOTONIC, nanoseconds
    u32 clock = 0;
    u32 cpu = 0;
    s32 place = -1;  ///< in the heap, or not waiting
    bool is_forgotten = false;
  };
  using Lock = std::unique_lock<std::mutex>;

  explicit Timers(Runner runner) : runner_(std::move(runner)) {}
  ~Timers() = default;
  void begin();
  static void end(Timers* timers) noexcept;
  s64 init(Map& map, void* field, void* value, u32 clock) noexcept;
  static std::atomic_ref<Deferred*> at(void* field) noexcept {
    return std::atomic_ref(*static_cast<Deferred**>(field));
  }
  bool in_callback() const noexcept { return std::this_thread::get_id() == thread_id_; }
  s64 enqueue(Deferred& deferred, s64 due) noexcept;
  void dequeue(Deferred& deferred) noexcept;
  void sift_up(u32 place) noexcept;
  void sift_down(u32 place) noexcept;
  void put(u32 place, Deferred* deferred) noexcept;
  void loop() noexcept;
  void run(Lock& lock, Deferred& deferred) noexcept;

  const Runner runner_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<Deferred*> heap_;  ///< by due time; has room for every Deferred there is
  u32 count_ = 0;                ///< of Deferreds
  Deferred* running_ = nullptr;
  Map* running_map_ = nullptr;  ///< also when the Deferred is forgotten
  bool ending_ = false;
  bool frees_itself_ = false;  ///< the last reference went in a callback
  std::thread thread_;
  std::thread::id thread_id_;
};

}  // namespace skep::map
