// Starting the traced command: found like a shell finds it, inheriting everything.
//
// The child shares the tracer process's memory until it execs (as posix_spawn's does), so it runs on a stack of its own
// and makes system calls without the C library. It obeys orders: it tries to install filters until one is accepted and
// then execs at once, making no other system call in between: what it installs already applies to itself.
#pragma once
#include <linux/filter.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <memory>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace skep::hook {

/// The file that `name` runs: itself when it holds a slash, else the first executable one in PATH.
/// Errors: not_found (a shell's 127), permission (found but not executable, a shell's 126).
Result<std::string> find_command(const std::string& name);

/// Whether a seccomp listener of somebody else (a container runtime, another skep) already serves this process. Its
/// filter goes before ours: calls it takes would never be traced by ours.
bool foreign_listener();

class Command {
 public:
  /// Looks the command up and remembers what its process must inherit from the calling thread: signal mask and ignored
  /// signals.
  static Result<std::unique_ptr<Command>> prepare(std::vector<std::string> argv);
  ~Command();

  /// Starts the process; it waits for orders.
  Result<void> spawn();
  /// Lets it install a filter. Ok(listener or 0) means it is on its way to exec; errors leave it waiting for orders.
  /// The listener is a descriptor of this process. Errors carry errno.
  Result<int> install(const std::vector<sock_filter>& filter, unsigned flags);
  /// Lets it exec without a filter.
  void go_unfiltered();
  /// Ends it before it exec'ed.
  void abandon() noexcept;

  int pid() const noexcept { return pid_; }
  /// Why exec failed, or 0. Final once the process has ended.
  int exec_error() const noexcept { return exec_error_; }
  /// Whether the command had to be denied new privileges (PR_SET_NO_NEW_PRIVS) to be filtered.
  bool no_new_privileges() const noexcept { return no_new_privileges_; }
  const std::string& name() const noexcept { return argv_.front(); }
  const std::string& path() const noexcept { return path_; }

  int wait_status = 0;
  bool ended = false;

 private:
  enum class Order : int { none, install, exec, leave };
  Command() = default;
  static int child_main(void* command);
  long install_in_child() noexcept;
  void order(Order what) noexcept;

  std::string path_;
  std::vector<std::string> argv_;
  std::vector<char*> argv_pointers_;
  std::vector<char*> shell_argv_;  // for a script without "#!", as execvp does
  char comm_[16] = {};
  u64 mask_ = 0;  // of the thread that called prepare(), as the kernel has it
  u64 ignored_signals_ = 0;
  base::Fd orders_;  // eventfd
  void* stack_ = nullptr;
  int pid_ = 0;
  std::atomic<Order> order_ = Order::none;
  sock_fprog program_{};
  unsigned flags_ = 0;
  std::atomic<long> answer_ = 0;
  std::atomic<bool> answered_ = false;
  std::atomic<int> exec_error_ = 0;
  std::atomic<bool> no_new_privileges_ = false;
};

}  // namespace skep::hook
