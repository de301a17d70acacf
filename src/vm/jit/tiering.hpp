// How a program becomes faster while it runs.
//
// A Jit is what the functions of one engine share: the memory their machine code lies in and one background thread
// that compiles hot programs anew. A function linked as `automatic` starts in baseline code behind an entry that adds
// up how long its runs take, a load and a store per run; when that is more than an optimised version costs to make,
// the function asks for one, counts no longer, and is given the new code when it is done. Asking is lock-free and
// allocates nothing, because a run may be inside a tracer process that can be killed at any instruction. Where there is
// no baseline (a CPU without an emitter) the interpreter takes its place.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "vm/function.hpp"
#include "vm/jit/baseline.hpp"
#include "vm/jit/checks.hpp"

namespace skep::vm {

/// One function's wish to be optimised. It belongs to the function until it is queued and again when it is done; in
/// between to the Jit, which may find that the function has gone.
struct Job {
  enum State : u32 { idle, queued, compiling, done, abandoned };
  std::atomic<u32> state = idle;
  const Function* function = nullptr;
  Job* next = nullptr;
};

/// Thread-safe. The functions that were linked with it keep it alive.
class Jit {
 public:
  struct Options {
    /// A function is hot when its runs together took so many ticks of the CPU's time stamp counter (other machines:
    /// nanoseconds); about 0.2 ms.
    u64 hot_after_ticks = 500'000;
    bool background = true;  ///< false: nothing is optimised unless linked so
    CodeMemory::Way code_memory = CodeMemory::Way::automatic;
  };
  /// The thread starts with the first function that may need it.
  static std::shared_ptr<Jit> create(const Options& options);
  static std::shared_ptr<Jit> create() { return create(Options{}); }
  ~Jit();
  Jit(const Jit&) = delete;
  Jit& operator=(const Jit&) = delete;

  CodeMemory& code_memory() noexcept { return *memory_; }
  u64 hot_after_ticks() const noexcept { return options_.hot_after_ticks; }
  /// Whether hot functions will be compiled: starts the thread. Call it where threads may be made, not from a run.
  bool start() noexcept;
  /// Queues `job`. Lock-free.
  void submit(Job& job) noexcept;
  /// Jobs done since the beginning, for tests and `skep bench`.
  u64 jobs_done() const noexcept { return jobs_done_.load(std::memory_order_relaxed); }

 private:
  explicit Jit(const Options& options);
  void work() noexcept;
  void perform(Job& job) noexcept;

  const Options options_;
  std::shared_ptr<CodeMemory> memory_;
  std::atomic<Job*> queue_ = nullptr;  ///< newest first
  std::atomic<u32> submissions_ = 0;   ///< the thread sleeps on it
  std::atomic<u64> jobs_done_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<u8> started_ = 0;  ///< 0 not tried, 1 running, 2 refused
  std::thread thread_;
};

/// Machine code of one tier.
struct Compiled {
  Tier tier = Tier::interpreter;
  jit::Placed placed;
  u64 compile_ns = 0;
};

/// What a Function knows besides its instructions. Written before the function is shared, later by the Jit's thread
/// only: it fills in `optimised`, then publishes it through `current`.
struct Function::Data {
  std::optional<verify::VerifiedProgram> program;
  std::shared_ptr<Jit> jit;
  Compiled baseline, optimised;
  u64 blinding_seed = 0;                           ///< not 0: constants are blinded in every tier
  std::atomic<const Compiled*> current = nullptr;  ///< null: interpreted
  std::unique_ptr<Job> job;                        ///< of `automatic` functions that may become hot
  std::atomic<u64> ticks = 0;                      ///< all runs so far, about
  std::string why_interpreted, why_not_optimised;  ///< the second once the job is done
  std::mutex checked_mutex;
  std::shared_ptr<Jit> checked_jit;                 ///< of functions that are interpreted otherwise
  std::unique_ptr<const jit::CheckedCode> checked;  ///< made when first asked for
};

/// What happens to a Function's tiers over its life.
class Tiering {
 public:
  /// Makes the machine code that `options` ask for. Errors: see Function::link.
  static Result<void> begin(const Function& function, const LinkOptions& options);
  /// Compiles with the optimiser and swaps the code in. Run by the Jit.
  static void optimise(const Function& function) noexcept;
  /// Waits until the Jit does not look at the function any more.
  static void end(Function& function) noexcept;
  /// The function as code with checks, made when first asked for; it lives as long as the function. Errors: those of
  /// jit::compile_checked.
  static Result<const jit::CheckedCode*> checked_code(const Function& function);
  /// The entry that adds up run times.
  static u64 counting_entry(void* run, u64 r1, u64 r2, u64 r3, u64 r4, u64 function) noexcept;

 private:
  static Result<void> baseline(const Function& function);
  static Result<void> optimised(const Function& function);
  static void install(const Function& function, const Compiled& compiled) noexcept;
  static void wish_for_more(const Function& function);
};

}  // namespace skep::vm
