// A process that shares our memory and outlives us: where tracing happens.
//
// A seccomp filter cannot be taken back. When the one who answers for it dies, the filtered system calls of the traced
// processes fail with ENOSYS for ever. So the tracer must not die with skep, be it by kill -9: it is a process of its
// own that shares skep's memory and file descriptors (clone with CLONE_VM and CLONE_FILES, without CLONE_THREAD). While
// skep lives, it runs programs on maps that skep reads, at no cost beyond a thread's. When skep goes, for whatever
// reason, it closes every file, forgets the programs and only answers "go on" until the last traced process has ended.
//
// It is also the parent of the traced command and a subreaper, so every process of the tree is its child in the end: it
// knows when the tree is gone, may read its memory where Yama allows descendants only, and reaps orphans. And it has
// its own signal handlers, so that skep's are left alone.
//
// The C library needs thread-local storage: a thread of skep lends its own (and its stack) and sleeps in the kernel
// while the process lives. Consequences: code running here sees another getpid(), and must not rely on sched_getcpu().
#pragma once
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <skep/result.hpp>
#include <skep/types.hpp>

#include "base/fd.hpp"

namespace skep::hook {

/// Where a signal handler may go, leaving everything as it is: set by __builtin_setjmp() in a function that is still
/// running then. Not a sigjmp_buf: siglongjmp() runs what interrupted functions of the C library want cleaned up
/// (sscanf() unlocks its stream), on what is no longer theirs.
using ReturnPoint = void* [5];

/// What signal handlers of the tracer process and its loops tell each other.
struct Interrupts {
  std::atomic<bool> stop = false;      ///< leave serve() soon
  volatile sig_atomic_t child = 0;     ///< a child changed state since this was cleared
  volatile sig_atomic_t may_jump = 0;  ///< a handler may jump to `waiting`
  ReturnPoint waiting;                 ///< set around a blocking call; without it a signal just before would be lost
  volatile sig_atomic_t whole = 0;     ///< see Whole
  volatile sig_atomic_t put_off = 0;   ///< skep has ended meanwhile
};

/// While it lives serve() is not left, even if skep ends: for a few steps that carry_on() must find done or not begun.
/// Nothing in them may wait for anybody.
class Whole {
 public:
  explicit Whole(Interrupts& interrupts) noexcept : interrupts_(interrupts) {
    interrupts_.whole = 1;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~Whole() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    interrupts_.whole = 0;
    if (interrupts_.put_off != 0) leave();
  }
  Whole(const Whole&) = delete;
  Whole& operator=(const Whole&) = delete;

 private:
  void leave() const noexcept;

  Interrupts& interrupts_;
};

/// The work of a tracer process. Everything but construction and destruction happens there.
class TracerWork {
 public:
  virtual ~TracerWork() = default;
  /// Prepares; start() returns its error.
  virtual Result<void> set_up(Interrupts& interrupts) = 0;
  /// Serves until everything traced has ended (true) or interrupts.stop (false).
  virtual bool serve(Interrupts& interrupts) = 0;
  /// After serve() was left early, possibly from the middle of an event: keeps traced processes going until they end.
  /// Must not allocate, lock, or touch anything but the work itself.
  virtual void carry_on(Interrupts& interrupts) noexcept = 0;
  /// In skep, on a thread of its own, when the process was killed from outside: does what can be done for the tree,
  /// until it ends or `stop_fd` becomes readable.
  virtual void rescue(int stop_fd) noexcept = 0;
  /// The descriptor carry_on() needs, or -1; all others are closed before.
  virtual int kept_fd() const noexcept = 0;
  /// Whether this process becomes the subreaper of a command.
  virtual bool has_command() const noexcept = 0;
};

class TracerProcess {
 public:
  enum class End { finished, released, crashed, died };

  /// Starts the process and waits for the work's set_up().
  static Result<std::unique_ptr<TracerProcess>> start(std::shared_ptr<TracerWork> work);
  /// Releases what is still traced: see carry_on().
  ~TracerProcess();

  /// Lets serve() begin, and waits for its end.
  End run();
  /// Makes run() return soon. Async-signal-safe.
  void stop() noexcept;
  /// After End::crashed: the signal; after End::died: the wait status.
  int detail() const noexcept;
  int pid() const noexcept;

 private:
  struct Shared;
  explicit TracerProcess(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  static void* lend(void* shared);
  static int process_main(void* shared);
  static void become_tracer(Shared& shared) noexcept;
  static void on_signal(int signal) noexcept;
  End wait_done() noexcept;
  void release() noexcept;

  std::shared_ptr<Shared> shared_;
};

}  // namespace skep::hook
