// See tiering.hpp. First the Jit and its thread, then what happens to one function.
#include "vm/jit/tiering.hpp"

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <system_error>

#include "vm/bytecode.hpp"
#include "vm/jit/entry.hpp"
#include "vm/jit/optimised.hpp"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace skep::vm {
namespace {

/// What one run adds besides its time, so that a program that does almost nothing becomes hot too.
constexpr u64 ticks_per_run = 32;

u64 ticks_now() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

u64 nanoseconds_since(std::chrono::steady_clock::time_point start) {
  return static_cast<u64>((std::chrono::steady_clock::now() - start) / std::chrono::nanoseconds(1));
}

HelperFn as_function(const u8* code) noexcept { return reinterpret_cast<HelperFn>(reinterpret_cast<u64>(code)); }

}  // namespace

// --- the background thread ---

std::shared_ptr<Jit> Jit::create(const Options& options) { return std::shared_ptr<Jit>(new Jit(options)); }

Jit::Jit(const Options& options) : options_(options), memory_(CodeMemory::create(options.code_memory)) {}

Jit::~Jit() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  submissions_.fetch_add(1);
  submissions_.notify_one();
  thread_.join();
}

bool Jit::start() noexcept {
  constexpr u8 not_tried = 0, running = 1, refused = 2, trying = 3;
  if (!options_.background) return false;
  u8 seen = not_tried;
  if (!started_.compare_exchange_strong(seen, trying)) return seen != refused;
  // Signals are for the threads that know what to do with them.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  try {
    thread_ = std::thread([this] { work(); });
    ::pthread_setname_np(thread_.native_handle(), "skep-jit");
    started_ = running;
  } catch (const std::system_error&) {  // no more threads: programs stay as they are
    started_ = refused;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started_ == running;
}

void Jit::submit(Job& job) noexcept {
  job.state.store(Job::queued, std::memory_order_relaxed);
  job.next = queue_.load(std::memory_order_relaxed);
  while (!queue_.compare_exchange_weak(job.next, &job, std::memory_order_release, std::memory_order_relaxed)) {
  }
  submissions_.fetch_add(1, std::memory_order_release);
  submissions_.notify_one();
}

void Jit::work() noexcept {
  for (;;) {
    const u32 seen = submissions_.load(std::memory_order_acquire);
    Job* newest_first = queue_.exchange(nullptr, std::memory_order_acquire);
    if (newest_first == nullptr) {
      if (stopping_) return;
      submissions_.wait(seen);
      continue;
    }
    Job* oldest_first = nullptr;
    while (newest_first != nullptr) {
      Job* const next = newest_first->next;
      newest_first->next = oldest_first;
      oldest_first = std::exchange(newest_first, next);
    }
    while (oldest_first != nullptr) perform(*std::exchange(oldest_first, oldest_first->next));
  }
}

void Jit::perform(Job& job) noexcept {
  u32 state = Job::queued;
  if (!job.state.compare_exchange_strong(state, Job::compiling, std::memory_order_acquire)) {
    delete &job;  // abandoned: its function has gone
    return;
  }
  Tiering::optimise(*job.function);
  jobs_done_.fetch_add(1, std::memory_order_relaxed);
  // From here on the function may go, and the job with it: waking by the address alone touches neither.
  job.state.store(Job::done, std::memory_order_release);
  job.state.notify_all();
}

// --- one function ---

Result<void> Tiering::begin(const Function& function, const LinkOptions& options) {
  Function::Data& data = *function.data_;
  if (options.tier == Tier::interpreter) return {};
  data.jit = options.jit != nullptr ? options.jit : Jit::create({.background = false});
  if (options.blind_constants) data.blinding_seed = (ticks_now() ^ reinterpret_cast<u64>(&data)) | 1;
  if (options.tier == Tier::optimised) return optimised(function);
  auto made = baseline(function);
  if (!jit::has_baseline && options.tier == Tier::automatic) {  // the interpreter is where programs start
    if (!options.blind_constants && data.jit->start()) wish_for_more(function);
    if (data.job == nullptr) data.why_interpreted = std::move(made.error().message);
    return {};
  }
  if (!made && options.tier == Tier::automatic) {
    data.why_interpreted = std::move(made.error().message);
    return {};
  }
  SKEP_TRY(std::move(made));
  if (options.tier == Tier::automatic && data.jit->start()) wish_for_more(function);
  return {};
}

Result<void> Tiering::baseline(const Function& function) {
  Function::Data& data = *function.data_;
  const auto start = std::chrono::steady_clock::now();
  data.baseline.placed =
      SKEP_TRY(jit::compile_baseline(*function.bytecode_, {data.blinding_seed}, data.jit->code_memory()));
  data.baseline.tier = Tier::baseline;
  data.baseline.compile_ns = nanoseconds_since(start);
  install(function, data.baseline);
  return {};
}

Result<void> Tiering::optimised(const Function& function) {
  Function::Data& data = *function.data_;
  const auto start = std::chrono::steady_clock::now();
  data.optimised.placed = SKEP_TRY(jit::compile_optimised(*function.bytecode_, data.program ? &*data.program : nullptr,
                                                          data.jit->code_memory(), data.blinding_seed));
  data.optimised.tier = Tier::optimised;
  data.optimised.compile_ns = nanoseconds_since(start);
  install(function, data.optimised);
  return {};
}

/// Callbacks first: the program may ask for their addresses as soon as it runs in the new code.
void Tiering::install(const Function& function, const Compiled& compiled) noexcept {
  const u8* const code = compiled.placed.code.data();
  auto& callbacks = function.bytecode_->callbacks;
  for (std::size_t i = 0; i < compiled.placed.callbacks.size(); i++)
    __atomic_store_n(&callbacks[i].native, as_function(code + compiled.placed.callbacks[i]), __ATOMIC_RELEASE);
  function.data_->current.store(&compiled, std::memory_order_release);
  function.entry_.store(as_function(code), std::memory_order_release);
}

void Tiering::wish_for_more(const Function& function) {
  function.data_->job = std::make_unique<Job>();
  function.data_->job->function = &function;
  function.entry_.store(counting_entry, std::memory_order_release);
}

u64 Tiering::counting_entry(void* run, u64 r1, u64 r2, u64, u64, u64 opaque) noexcept {
  const auto& function = *reinterpret_cast<const Function*>(opaque);
  Function::Data& data = *function.data_;
  const HelperFn code = jit::has_baseline ? as_function(data.baseline.placed.code.data()) : interpret_entry;
  const u64 start = ticks_now();
  const u64 result = code(run, r1, r2, 0, 0, opaque);
  // Not one addition but two halves: threads that meet here may lose some, which does no harm and costs less.
  const u64 total = data.ticks.load(std::memory_order_relaxed) + (ticks_now() - start) + ticks_per_run;
  data.ticks.store(total, std::memory_order_relaxed);
  if (total < data.jit->hot_after_ticks()) return result;
  HelperFn counting = counting_entry;
  // Who gets the entry out of the counting's hands is the one who asks.
  if (function.entry_.compare_exchange_strong(counting, code, std::memory_order_acq_rel)) data.jit->submit(*data.job);
  return result;
}

void Tiering::optimise(const Function& function) noexcept {
  if (auto made = optimised(function); !made) function.data_->why_not_optimised = std::move(made.error().message);
}

void Tiering::end(Function& function) noexcept {
  std::unique_ptr<Job> job = std::move(function.data_->job);
  if (job == nullptr) return;
  u32 state = Job::queued;
  if (job->state.compare_exchange_strong(state, Job::abandoned, std::memory_order_acq_rel)) {
    (void)job.release();  // still in the queue: the Jit deletes it
    return;
  }
  while (job->state.load(std::memory_order_acquire) == Job::compiling) job->state.wait(Job::compiling);
}

// --- what a function says about itself ---

Tier Function::tier() const noexcept {
  const Compiled* const current = data_->current.load(std::memory_order_acquire);
  return current == nullptr ? Tier::interpreter : current->tier;
}

std::span<const u8> Function::machine_code() const noexcept {
  const Compiled* const current = data_->current.load(std::memory_order_acquire);
  return current == nullptr ? std::span<const u8>() : current->placed.code.bytes();
}

u64 Function::compile_ns() const noexcept {
  const Compiled* const current = data_->current.load(std::memory_order_acquire);
  return current == nullptr ? 0 : current->compile_ns;
}

std::string Function::why_interpreted() const { return data_->why_interpreted; }

std::string Function::why_not_optimised() const {
  if (data_->job == nullptr || data_->job->state.load(std::memory_order_acquire) != Job::done) return "";
  return data_->why_not_optimised;
}

}  // namespace skep::vm
