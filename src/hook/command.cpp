// See command.hpp.
#include "hook/command.hpp"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace skep::hook {
namespace {

constexpr std::size_t child_stack_bytes = 64u << 10;

/// A system call that leaves errno alone: the child shares its thread-local storage with the tracer.
inline long raw_syscall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) noexcept {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}

template <class T>
long word(T* pointer) noexcept {
  return static_cast<long>(reinterpret_cast<std::uintptr_t>(pointer));
}

/// The kernel's struct sigaction of x86-64.
struct KernelSigaction {
  u64 handler, flags, restorer, mask;
};
constexpr u64 kernel_default = 0, kernel_ignore = 1;

/// 0, or errno of what keeps `path` from being executed; `exists`: whether there is such a file at all.
int executable_error(const std::string& path, bool& exists) {
  struct stat status;
  exists = ::stat(path.c_str(), &status) == 0;
  if (!exists) return errno;
  if (S_ISDIR(status.st_mode)) return EISDIR;
  if (!S_ISREG(status.st_mode)) return EACCES;
  return ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

}  // namespace

Result<std::string> find_command(const std::string& name) {
  if (name.empty()) return fail(Code::not_found, "the command's name is empty");
  if (name.find('/') != std::string::npos) {
    bool exists = false;
    const int error = executable_error(name, exists);
    if (error == 0) return name;
    auto reason = base::os_error("cannot run " + name, error);
    if (reason.code != Code::not_found) reason.code = Code::permission;
    if (error == ENOTDIR) reason.code = Code::not_found;
    return tl::unexpected(std::move(reason));
  }
  const char* variable = ::getenv("PATH");
  std::string_view path = variable != nullptr ? variable : "/bin:/usr/bin";
  std::string refused;
  int refused_error = 0;
  for (bool more = true; more;) {
    const auto colon = path.find(':');
    more = colon != std::string_view::npos;
    const std::string_view directory = path.substr(0, colon);
    path = more ? path.substr(colon + 1) : std::string_view();
    const std::string candidate = directory.empty() ? "./" + name : std::string(directory) + "/" + name;
    bool exists = false;
    const int error = executable_error(candidate, exists);
    if (error == 0) return candidate;
    // A directory of PATH that we may not search is passed over, as shells do.
    if (exists && error == EACCES && refused.empty()) {
      refused = candidate;
      refused_error = error;
    }
  }
  if (!refused.empty()) {
    auto reason = base::os_error("cannot run " + refused, refused_error);
    return tl::unexpected(std::move(reason));
  }
  return fail(Code::not_found, name + ": command not found in PATH", ENOENT);
}

bool foreign_listener() {
  // Only a listener of our own can tell (EBUSY), and it cannot be taken back: a child tries, and ends. Most are not
  // under seccomp at all and need no child.
  if (::prctl(PR_GET_SECCOMP) != SECCOMP_MODE_FILTER) return false;
  sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const sock_fprog program{1, &allow};
  const long pid = raw_syscall(SYS_clone, SIGCHLD);
  if (pid == 0) {
    raw_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const long result =
        raw_syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, word(&program));
    for (;;) raw_syscall(SYS_exit_group, result == -EBUSY ? 1 : 0);
  }
  int status = 0;
  while (pid > 0 && ::waitpid(static_cast<pid_t>(pid), &status, 0) < 0 && errno == EINTR) {
  }
  return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

Result<std::unique_ptr<Command>> Command::prepare(std::vector<std::string> argv) {
  if (argv.empty()) return fail(Code::invalid_argument, "no command given: there is nothing to run");
  std::unique_ptr<Command> command(new Command);
  command->path_ = SKEP_TRY(find_command(argv.front()));
  command->argv_ = std::move(argv);
  for (std::string& argument : command->argv_) command->argv_pointers_.push_back(argument.data());
  command->argv_pointers_.push_back(nullptr);
  static char shell[] = "/bin/sh";
  command->shell_argv_ = {shell, command->path_.data()};
  command->shell_argv_.insert(command->shell_argv_.end(), command->argv_pointers_.begin() + 1,
                              command->argv_pointers_.end());
  command->orders_ = base::Fd(::eventfd(0, EFD_CLOEXEC));
  if (!command->orders_) return tl::unexpected(base::os_error("eventfd"));
  ::prctl(PR_GET_NAME, command->comm_);
  raw_syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, word(&command->mask_), sizeof(u64));
  for (long signal = 1; signal <= 64; ++signal) {
    KernelSigaction action{};
    if (raw_syscall(SYS_rt_sigaction, signal, 0, word(&action), sizeof(u64)) == 0 && action.handler == kernel_ignore)
      command->ignored_signals_ |= u64{1} << (signal - 1);
  }
  command->stack_ = ::mmap(nullptr, child_stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (command->stack_ == MAP_FAILED) {
    command->stack_ = nullptr;
    return tl::unexpected(base::os_error("cannot allocate the command's first stack"));
  }
  return command;
}

Command::~Command() {
  if (stack_ != nullptr) ::munmap(stack_, child_stack_bytes);
}

Result<void> Command::spawn() {
  // All signals are blocked while the child still has our handlers.
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
  pid_ = ::clone(child_main, static_cast<char*>(stack_) + child_stack_bytes, CLONE_VM | CLONE_FILES | SIGCHLD, this);
  const int error = errno;
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  if (pid_ < 0) return tl::unexpected(base::os_error("cannot start " + name(), error));
  return {};
}

void Command::order(Order what) noexcept {
  answered_ = false;
  order_ = what;
  const u64 one = 1;
  while (::write(orders_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

Result<int> Command::install(const std::vector<sock_filter>& filter, unsigned flags) {
  program_ = {static_cast<unsigned short>(filter.size()), const_cast<sock_filter*>(filter.data())};
  flags_ = flags;
  order(Order::install);
  // It may not tell us by a system call, for the filter may stop that one. It needs a single call of some microseconds.
  for (int tries = 0; !answered_; ++tries) {
    if (tries < 100) {
      ::sched_yield();
      continue;
    }
    const timespec pause{0, 20'000};
    ::nanosleep(&pause, nullptr);
    siginfo_t info{};
    // A traced child reports its stops too, though nobody asks: only an end counts.
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        (info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)) {
      // It may have answered, failed to exec and left, all since the loop looked: that is not this error.
      if (answered_) break;
      return fail(Code::closed, name() + " was killed before it could start");
    }
  }
  if (answer_ < 0) return tl::unexpected(base::os_error("seccomp", static_cast<int>(-answer_)));
  return static_cast<int>(answer_);
}

void Command::go_unfiltered() { order(Order::exec); }

void Command::abandon() noexcept {
  if (pid_ <= 0 || ended) return;
  order(Order::leave);
  do {
    wait_status = 0;
    if (::waitpid(pid_, &wait_status, __WALL) < 0 && errno != EINTR) break;
  } while (!WIFEXITED(wait_status) && !WIFSIGNALED(wait_status));
  ended = true;
}

// --- in the child: no C library, no errno, nothing that allocates ---

__attribute__((no_sanitize("address", "undefined"))) long Command::install_in_child() noexcept {
  long result = raw_syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags_, word(&program_));
  if (result == -EACCES) {
    // Without CAP_SYS_ADMIN the kernel wants the promise that no exec will gain privileges by this filter.
    raw_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    no_new_privileges_ = true;
    result = raw_syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags_, word(&program_));
  }
  return result;
}

__attribute__((no_sanitize("address", "undefined"))) int Command::child_main(void* argument) {
  auto& command = *static_cast<Command*>(argument);
  for (long signal = 1; signal <= 64; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    const bool ignored = (command.ignored_signals_ >> (signal - 1) & 1) != 0;
    KernelSigaction action{ignored ? kernel_ignore : kernel_default, 0, 0, 0};
    raw_syscall(SYS_rt_sigaction, signal, word(&action), 0, sizeof(u64));
  }
  raw_syscall(SYS_prctl, PR_SET_NAME, word(command.comm_));

  for (bool installed = false; !installed;) {
    u64 count = 0;
    raw_syscall(SYS_read, command.orders_.get(), word(&count), sizeof count);
    const Order order = command.order_;
    if (order == Order::leave) raw_syscall(SYS_exit_group, 127);
    if (order != Order::install && order != Order::exec) continue;
    if (order == Order::exec) {
      raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, word(&command.mask_), 0, sizeof(u64));
      break;
    }
    // Signals first: after the filter the next call must be exec.
    u64 all = 0;
    raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, word(&command.mask_), word(&all), sizeof(u64));
    const long result = command.install_in_child();
    installed = result >= 0;
    if (!installed) raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, word(&all), 0, sizeof(u64));
    command.answer_ = result;
    command.answered_ = true;
  }
  long error = raw_syscall(SYS_execve, word(command.path_.c_str()), word(command.argv_pointers_.data()), word(environ));
  if (error == -ENOEXEC)
    error = raw_syscall(SYS_execve, word(command.shell_argv_[0]), word(command.shell_argv_.data()), word(environ));
  command.exec_error_ = static_cast<int>(-error);
  for (;;) raw_syscall(SYS_exit_group, 127);
}

}  // namespace skep::hook
