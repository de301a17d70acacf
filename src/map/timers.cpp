// The thread of timers and its heap. See timers.hpp.
#include "map/timers.hpp"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <cerrno>
#include <chrono>
#include <limits>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "map/map.hpp"

namespace skep::map {

namespace {

constexpr u64 absolute = 1, on_this_cpu = 2;  // BPF_F_TIMER_ABS, BPF_F_TIMER_CPU_PIN
constexpr u64 most_clocks = 16;               // Linux MAX_CLOCKS
constexpr s64 never = std::numeric_limits<s64>::max();

s64 now_of(u32 clock) noexcept {
  timespec time{};
  ::clock_gettime(static_cast<clockid_t>(clock), &time);
  return static_cast<s64>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

s64 sum(s64 a, s64 b) noexcept {
  s64 result = 0;
  if (__builtin_add_overflow(a, b, &result)) return a < 0 ? 0 : never;
  return result;
}

constexpr u32 largest_key = 512;

}  // namespace

Result<std::shared_ptr<Timers>> Timers::create(Runner runner) {
  const std::shared_ptr<Timers> made(new Timers(std::move(runner)), &Timers::end);
  try {
    made->begin();
  } catch (const std::system_error& error) {
    return fail(Code::limit, std::string("the thread of timers: ") + error.what(), EAGAIN);
  }
  return made;
}

void Timers::begin() {
  // Signals are the host's: none is delivered to this thread.
  sigset_t all{}, before{};
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const std::lock_guard lock(mutex_);
  try {
    thread_ = std::thread([this] {
      loop();
      if (frees_itself_) delete this;
    });
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  thread_id_ = thread_.get_id();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Timers::end(Timers* timers) noexcept {
  bool is_callback = false;
  {
    const std::lock_guard lock(timers->mutex_);
    timers->ending_ = true;
    is_callback = timers->in_callback();
    timers->frees_itself_ = is_callback;
    if (is_callback) timers->thread_.detach();
    timers->wake_.notify_one();
  }
  if (is_callback) return;
  if (timers->thread_.joinable()) timers->thread_.join();
  delete timers;
}

// --- what helpers do ---

s64 Timers::init_timer(Map& map, void* field, void* value, u64 flags) noexcept {
  if (flags >= most_clocks || (flags != CLOCK_MONOTONIC && flags != CLOCK_REALTIME && flags != CLOCK_BOOTTIME))
    return -EINVAL;
  return init(map, field, value, static_cast<u32>(flags));
}

s64 Timers::init_work(Map& map, void* field, void* value, u64 flags) noexcept {
  return flags != 0 ? -EINVAL : init(map, field, value, CLOCK_MONOTONIC);
}

s64 Timers::init(Map& map, void* field, void* value, u32 clock) noexcept {
  const std::lock_guard lock(mutex_);
  if (at(field).load(std::memory_order_relaxed) != nullptr) return -EBUSY;
  if (!map.has_users()) return -EPERM;
  auto* made = new (std::nothrow) Deferred;
  if (made == nullptr) return -ENOMEM;
  try {
    heap_.reserve(count_ + 1);
  } catch (const std::bad_alloc&) {
    delete made;
    return -ENOMEM;
  }
  made->map = &map;
  made->value = value;
  made->clock = clock;
  count_++;
  at(field).store(made, std::memory_order_release);
  std::atomic_ref(static_cast<Timers**>(field)[1]).store(this, std::memory_order_release);
  return 0;
}

s64 Timers::set_callback(void* field, const base::Callback* callback, std::shared_ptr<const void> owner) noexcept {
  const std::lock_guard lock(mutex_);
  Deferred* const deferred = at(field).load(std::memory_order_relaxed);
  if (deferred == nullptr) return -EINVAL;
  if (!deferred->map->has_users()) return -EPERM;
  deferred->callback = callback;
  deferred->owner.swap(owner);  // what was there before goes behind the lock
  return 0;
}

s64 Timers::start_timer(void* field, u64 nanoseconds, u64 flags) noexcept {
  if ((flags & ~(absolute | on_this_cpu)) != 0) return -EINVAL;
  const std::lock_guard lock(mutex_);
  Deferred* const deferred = at(field).load(std::memory_order_relaxed);
  if (deferred == nullptr || deferred->callback == nullptr) return -EINVAL;
  s64 wait = static_cast<s64>(nanoseconds);
  if ((flags & absolute) != 0) wait = sum(wait, -now_of(deferred->clock));
  return enqueue(*deferred, sum(now_of(CLOCK_MONOTONIC), wait));
}

s64 Timers::start_work(void* field, u64 flags) noexcept {
  if (flags != 0) return -EINVAL;
  const std::lock_guard lock(mutex_);
  Deferred* const deferred = at(field).load(std::memory_order_relaxed);
  if (deferred == nullptr || deferred->callback == nullptr) return -EINVAL;
  if (deferred->place >= 0) return 0;  // it is waiting already
  return enqueue(*deferred, now_of(CLOCK_MONOTONIC));
}

s64 Timers::cancel(void* field) noexcept {
  std::shared_ptr<const void> owner;  // goes behind the lock
  Lock lock(mutex_);
  Deferred* const deferred = at(field).load(std::memory_order_relaxed);
  if (deferred == nullptr) return -EINVAL;
  if (in_callback() && running_ == deferred) return -EDEADLK;
  deferred->callback = nullptr;
  owner.swap(deferred->owner);
  const bool was_waiting = deferred->place >= 0;
  if (was_waiting) dequeue(*deferred);
  // Another callback than ours: this thread is not theirs, so it may wait. The Deferred may go meanwhile.
  if (!in_callback()) done_.wait(lock, [&] { return running_ != deferred; });
  return was_waiting ? 1 : 0;
}

// --- what maps do ---

void Timers::forget(void* field) noexcept {
  if (at(field).load(std::memory_order_acquire) == nullptr) return;
  std::shared_ptr<const void> owner;
  const std::lock_guard lock(mutex_);
  Deferred* const deferred = at(field).exchange(nullptr, std::memory_order_acq_rel);
  if (deferred == nullptr) return;
  deferred->callback = nullptr;
  if (deferred->place >= 0) dequeue(*deferred);
  if (deferred == running_) {
    deferred->is_forgotten = true;  // the thread frees it
    return;
  }
  owner.swap(deferred->owner);
  count_--;
  delete deferred;
}

void Timers::wait_for(const Map& map) noexcept {
  if (in_callback()) return;
  Lock lock(mutex_);
  done_.wait(lock, [&] { return running_map_ != &map; });
}

// --- the thread ---

void Timers::loop() noexcept {
  Lock lock(mutex_);
  while (!ending_) {
    if (heap_.empty()) {
      wake_.wait(lock);
      continue;
    }
    const s64 due = heap_.front()->due;
    if (due > now_of(CLOCK_MONOTONIC)) {
      const std::chrono::steady_clock::time_point then{std::chrono::nanoseconds(due)};
      wake_.wait_until(lock, then);
      continue;
    }
    Deferred& deferred = *heap_.front();
    dequeue(deferred);
    run(lock, deferred);
  }
}

void Timers::run(Lock& lock, Deferred& deferred) noexcept {
  const base::Callback* const callback = deferred.callback;
  if (callback == nullptr) return;
  // The program stays until its callback returned, whatever that does to the timer.
  std::shared_ptr<const void> owner = deferred.owner;
  Map& map = *deferred.map;
  void* const value = deferred.value;
  running_ = &deferred;
  running_map_ = &map;
  lock.unlock();
  {
    alignas(8) std::byte key[largest_key];
    const RunSection section(deferred.cpu);
    if (map.key_of(value, key)) runner_(*callback, map, key, value);
  }
  lock.lock();
  running_ = nullptr;
  running_map_ = nullptr;
  std::shared_ptr<const void> other_owner;  // of a function that was set while this one ran
  if (deferred.is_forgotten) {
    other_owner.swap(deferred.owner);
    count_--;
    delete &deferred;
  }
  done_.notify_all();
  lock.unlock();
  owner.reset();  // may be the last reference to the map, and to these timers
  other_owner.reset();
  lock.lock();
}

// --- the heap ---

void Timers::put(u32 place, Deferred* deferred) noexcept {
  heap_[place] = deferred;
  deferred->place = static_cast<s32>(place);
}

void Timers::sift_up(u32 place) noexcept {
  Deferred* const moved = heap_[place];
  for (; place > 0 && moved->due < heap_[(place - 1) / 2]->due; place = (place - 1) / 2)
    put(place, heap_[(place - 1) / 2]);
  put(place, moved);
}

void Timers::sift_down(u32 place) noexcept {
  Deferred* const moved = heap_[place];
  for (;;) {
    u64 child = u64{place} * 2 + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1]->due < heap_[child]->due) child++;
    if (heap_[child]->due >= moved->due) break;
    put(place, heap_[child]);
    place = static_cast<u32>(child);
  }
  put(place, moved);
}

s64 Timers::enqueue(Deferred& deferred, s64 due) noexcept {
  if (deferred.place >= 0) dequeue(deferred);
  deferred.due = due;
  deferred.cpu = current_cpu();
  heap_.push_back(&deferred);  // init() made room
  deferred.place = static_cast<s32>(heap_.size() - 1);
  sift_up(static_cast<u32>(deferred.place));
  if (deferred.place == 0) wake_.notify_one();
  return 0;
}

void Timers::dequeue(Deferred& deferred) noexcept {
  const auto place = static_cast<u32>(deferred.place);
  Deferred* const last = heap_.back();
  heap_.pop_back();
  deferred.place = -1;
  if (last == &deferred) return;
  put(place, last);
  sift_down(place);
  sift_up(static_cast<u32>(last->place));
}

}  // namespace skep::map
