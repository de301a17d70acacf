// The handlers reach the observation through one atomic pointer: there is one in a process.
#include "interruption.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "verb.hpp"

namespace skep::tools {
namespace {

/// What a signal handler reaches.
std::atomic<const std::function<void()>*> stop_observation = nullptr;
std::atomic<int> command_pid = 0;
std::atomic<int> terminated_by = 0;
std::atomic<bool> passed_on[NSIG];

void on_signal(int number) {
  if (const int pid = command_pid.load(); pid > 0 && !passed_on[number].exchange(true)) {
    if (number != SIGINT) ::kill(pid, number);
    return;
  }
  terminated_by = number;
  if (const auto* stop = stop_observation.load()) (*stop)();
}

/// Ends this process as the command ended: same exit status, or the same signal.
int end_as(int wait_status) {
  if (WIFEXITED(wait_status)) return WEXITSTATUS(wait_status);
  if (!WIFSIGNALED(wait_status)) return 1;
  const int number = WTERMSIG(wait_status);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);  // the command's core is the interesting one
  ::signal(number, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(number);
  return 128 + number;
}

}  // namespace

Interruption::Interruption(std::function<void()> stop) : stop_(std::move(stop)) {
  stop_observation = &stop_;
  struct sigaction action{};
  action.sa_flags = SA_RESTART;
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    // A closed pipe is seen by the writer; ignoring the signal instead would be inherited by the command.
    action.sa_handler = number == SIGPIPE ? [](int) {} : on_signal;
    struct sigaction before{};
    ::sigaction(number, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(number, &action, nullptr);  // nohup stays nohup
  }
}

void Interruption::command_started(int pid) { command_pid = pid; }
void Interruption::end() { stop_observation = nullptr; }
bool Interruption::came() const { return terminated_by != 0; }

int Interruption::status_for(const RunResult& ended, bool has_command) const {
  if (terminated_by != 0 && !ended.exited) return terminated_by == SIGINT ? 0 : 128 + terminated_by;
  return ended.exited && has_command ? end_as(ended.wait_status) : 0;
}

int complain_of_run(const Error& error, bool has_command, Form form) {
  const int number = error.os_error;
  const bool exec_failed = has_command && (number == ENOENT || number == EACCES || number == ENOEXEC);
  return exec_failed ? complain(error.message, number == ENOENT ? 127 : 126, form) : complain(error, form);
}

}  // namespace skep::tools
