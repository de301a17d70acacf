// See tracer_process.hpp. Two sides: the process (from process_main on) and its owner (from start on).
#include "hook/tracer_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstddef>

namespace skep::hook {
namespace {

constexpr int wake_signal = SIGUSR1;   // stop() was called
constexpr int death_signal = SIGUSR2;  // the lending thread is gone: skep has ended
constexpr int fault_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr std::size_t stack_size = 1u << 20;

#if defined(__SANITIZE_ADDRESS__)
extern "C" void __asan_handle_no_return();
constexpr bool catch_faults = false;  // the sanitizer's report is worth more
#else
constexpr bool catch_faults = true;
#endif

void post(int fd) noexcept {
  const u64 one = 1;
  while (::write(fd, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

}  // namespace

struct TracerProcess::Shared {
  std::shared_ptr<TracerWork> work;
  std::shared_ptr<Shared> self;  // held by the lending thread
  Interrupts interrupts;
  Result<void> set_up;
  base::Fd ready, go, stop, done;  // eventfds
  int pidfd = -1;                  // closed by the destructor: set by clone, where no Fd can be
  pthread_t lender{};
  bool joined = false;
  std::atomic<int> pid = 0;
  std::atomic<int> end = -1;  // an End
  std::atomic<int> detail = 0;
  pid_t owner = 0;
  ReturnPoint escape;
  volatile sig_atomic_t serving = 0;
  volatile sig_atomic_t escaped = 0;  // the signal by which serve() was left
  std::atomic<bool> set_up_done = false;
  alignas(16) std::byte signal_stack[32768];

  ~Shared() {
    if (pidfd >= 0) ::close(pidfd);
  }
};

namespace {
/// The tracer process a signal handler runs in. Thread-local: each process runs on the storage of its own lender.
thread_local void* current_process = nullptr;

/// From a handler. Handlers run with the mask of what they interrupted (SA_NODEFER), so none is to be restored.
[[noreturn]] void go_to(ReturnPoint& point) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  __asan_handle_no_return();
#endif
  __builtin_longjmp(point, 1);
}
}  // namespace

// --- in the tracer process ---

void TracerProcess::on_signal(int signal) noexcept {
  const int saved_errno = errno;
  auto& shared = *static_cast<Shared*>(current_process);
  Interrupts& interrupts = shared.interrupts;
  if (signal == SIGCHLD) interrupts.child = 1;
  const bool orphaned = signal == death_signal && ::getppid() != shared.owner;
  const bool fault = signal != SIGCHLD && signal != wake_signal && signal != death_signal;
  if (fault && !shared.serving) {  // nothing is left to go to: end by it
    ::signal(signal, SIG_DFL);
    return;
  }
  if (fault || (orphaned && shared.serving)) {
    if (orphaned && interrupts.whole) {
      interrupts.put_off = 1;
      return;
    }
    // Wherever we are, a lock's owner may be gone for ever: leave everything as it is and only keep the tree going.
    shared.serving = 0;
    shared.escaped = signal;
    interrupts.may_jump = 0;
    if (fault) shared.detail = signal;
    go_to(shared.escape);
  }
  if (interrupts.may_jump) {
    interrupts.may_jump = 0;
    errno = saved_errno;
    go_to(interrupts.waiting);
  }
  errno = saved_errno;
}

void Whole::leave() const noexcept {
  interrupts_.put_off = 0;
  ::syscall(SYS_tkill, ::syscall(SYS_gettid), death_signal);
}

void TracerProcess::become_tracer(Shared& shared) noexcept {
  current_process = &shared;
  ::prctl(PR_SET_NAME, "skep-tracer");
  if (shared.work->has_command()) ::prctl(PR_SET_CHILD_SUBREAPER, 1);

  stack_t stack{};
  stack.ss_sp = shared.signal_stack;
  stack.ss_size = sizeof shared.signal_stack;
  ::sigaltstack(&stack, nullptr);

  struct sigaction action{};
  action.sa_handler = [](int signal) { on_signal(signal); };
  ::sigemptyset(&action.sa_mask);
  // SA_NODEFER: a handler may jump out, and the mask must not remember that it ran.
  action.sa_flags = SA_NODEFER | SA_NOCLDSTOP;
  for (int signal : {wake_signal, death_signal, SIGCHLD}) ::sigaction(signal, &action, nullptr);
  action.sa_flags |= SA_ONSTACK;
  if (catch_faults)
    for (int signal : fault_signals) ::sigaction(signal, &action, nullptr);

  sigset_t mask;
  ::sigfillset(&mask);
  for (int signal : {wake_signal, death_signal, SIGCHLD}) ::sigdelset(&mask, signal);
  for (int signal : fault_signals) ::sigdelset(&mask, signal);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);

  ::prctl(PR_SET_PDEATHSIG, death_signal);
}

int TracerProcess::process_main(void* argument) {
  Shared& shared = *static_cast<Shared*>(argument);
  shared.pid = ::getpid();  // here, since who waits for `ready` may ask for it before clone() has returned
  become_tracer(shared);
  shared.set_up = shared.work->set_up(shared.interrupts);
  const bool usable = shared.set_up.has_value();
  shared.set_up_done = usable;
  post(shared.ready.get());
  if (!usable) ::_exit(0);

  End end = End::released;
  // From here on a signal may bring us back to this line at any moment.
  if (__builtin_setjmp(shared.escape) == 0) {
    shared.serving = 1;
    if (::getppid() == shared.owner) {  // else skep died before PR_SET_PDEATHSIG
      u64 count;
      while (::read(shared.go.get(), &count, sizeof count) < 0 && errno == EINTR && !shared.interrupts.stop) {
      }
      if (!shared.interrupts.stop && shared.work->serve(shared.interrupts)) end = End::finished;
    }
    shared.serving = 0;
  } else if (shared.escaped != death_signal) {
    end = End::crashed;
  }
  shared.end = static_cast<int>(end);
  post(shared.done.get());
  if (end != End::finished) {
    base::close_all_but(shared.work->kept_fd());  // of its own table: skep may live on and need its descriptors
    if (::chdir("/") != 0) {                      // busy for nobody; there is no one left to tell
    }
    shared.work->carry_on(shared.interrupts);
  }
  ::_exit(0);
}

// --- its lender ---

void* TracerProcess::lend(void* argument) {
  auto& shared = *static_cast<Shared*>(argument);
  alignas(64) std::byte stack[stack_size];
  // No exit signal: skep is not told of our death by SIGCHLD, and its waitpid(-1) does not reap us.
  const int pid =
      ::clone(process_main, stack + sizeof stack, CLONE_VM | CLONE_FILES | CLONE_PIDFD, &shared, &shared.pidfd);
  if (pid < 0) {
    shared.set_up = tl::unexpected(base::os_error("cannot start the tracer process"));
    shared.end = static_cast<int>(End::died);
    post(shared.ready.get());
  } else {
    // No C library function from here to the end of the wait: the process uses this thread's storage.
    int status = 0;
    long waited;
    do {
      waited = -1;
      __asm__ volatile("movq %[null], %%r10\n\tsyscall"
                       : "=a"(waited)
                       : "a"(SYS_wait4), "D"(static_cast<long>(pid)), "S"(&status),
                         "d"(static_cast<long>(__WALL)), [null] "r"(0L)
                       : "rcx", "r11", "r10", "memory");
    } while (waited == -EINTR);
    if (shared.end < 0) {
      shared.detail = status;
      if (shared.set_up_done) shared.work->rescue(shared.stop.get());
      shared.end = static_cast<int>(End::died);
      post(shared.ready.get());
      post(shared.done.get());
    }
  }
  const std::shared_ptr<Shared> last = std::move(shared.self);
  return nullptr;
}

// --- its owner ---

Result<std::unique_ptr<TracerProcess>> TracerProcess::start(std::shared_ptr<TracerWork> work) {
  auto shared = std::make_shared<Shared>();
  shared->work = std::move(work);
  shared->owner = ::getpid();
  for (base::Fd* fd : {&shared->ready, &shared->go, &shared->stop, &shared->done}) {
    *fd = base::Fd(::eventfd(0, EFD_CLOEXEC));
    if (!*fd) return tl::unexpected(base::os_error("eventfd"));
  }
  shared->self = shared;

  // The lender takes no signals, and its process starts without any.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, stack_size + (256u << 10));
  const int error = ::pthread_create(&shared->lender, &attributes, lend, shared.get());
  ::pthread_attr_destroy(&attributes);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) {
    shared->self.reset();
    return tl::unexpected(base::os_error("cannot start the tracer's thread", error));
  }

  u64 count;
  while (::read(shared->ready.get(), &count, sizeof count) < 0 && errno == EINTR) {
  }
  std::unique_ptr<TracerProcess> process(new TracerProcess(shared));
  if (!shared->set_up) return tl::unexpected(std::move(shared->set_up).error());
  if (shared->end >= 0)
    return fail(Code::io, "the tracer process ended while it was being set up (wait status " +
                              std::to_string(shared->detail) + ")");
  return process;
}

TracerProcess::End TracerProcess::wait_done() noexcept {
  pollfd waits[2] = {{shared_->stop.get(), POLLIN, 0}, {shared_->done.get(), POLLIN, 0}};
  // `done` is never read, so it stays readable for whoever asks again.
  while (::poll(waits, 2, -1) < 0 || (waits[0].revents == 0 && waits[1].revents == 0)) {
  }
  if (waits[1].revents == 0) release();
  const auto end = static_cast<End>(shared_->end.load());
  if (end != End::released && end != End::crashed && !shared_->joined) {
    ::pthread_join(shared_->lender, nullptr);
    shared_->joined = true;
  }
  return end;
}

void TracerProcess::release() noexcept {
  shared_->interrupts.stop = true;
  post(shared_->go.get());
  // A signal that arrives just before a blocking call would be lost, so it is sent until it is answered.
  for (int wait_ms = 1;; wait_ms = 20) {
    ::syscall(SYS_pidfd_send_signal, shared_->pidfd, wake_signal, nullptr, 0u);
    pollfd wait = {shared_->done.get(), POLLIN, 0};
    if (::poll(&wait, 1, wait_ms) > 0) return;
  }
}

TracerProcess::End TracerProcess::run() {
  post(shared_->go.get());
  return wait_done();
}

void TracerProcess::stop() noexcept {
  const int saved_errno = errno;
  post(shared_->stop.get());
  errno = saved_errno;
}

int TracerProcess::detail() const noexcept { return shared_->detail; }
int TracerProcess::pid() const noexcept { return shared_->pid; }

TracerProcess::~TracerProcess() {
  if (shared_->joined) return;
  if (shared_->end < 0) release();
  const auto end = static_cast<End>(shared_->end.load());
  if (!shared_->set_up || (end != End::released && end != End::crashed))
    ::pthread_join(shared_->lender, nullptr);
  else
    ::pthread_detach(shared_->lender);  // it keeps what the process needs, until that ends
}

}  // namespace skep::hook
