// posix_spawn(3), pidfd_open(2), eventfd(2).
//
// The program is looked up in PATH before the start, so that a tracer of execve sees one call, not one for each
// directory. The command gets an empty signal mask: the tool's own may block what it reads by signalfd.
#include "kernel/workload.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

namespace skep::kernel {

namespace {

bool is_executable(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

Result<std::string> find_command(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* variable = std::getenv("PATH");
  std::string_view path = variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin";
  for (;;) {
    const auto end = std::min(path.find(':'), path.size());
    const std::string candidate = fmt::format("{}/{}", end == 0 ? std::string_view(".") : path.substr(0, end), name);
    if (is_executable(candidate)) return candidate;
    if (end == path.size()) break;
    path.remove_prefix(end + 1);
  }
  return fail(Code::not_found, fmt::format("{}: no such command in PATH", name), ENOENT);
}

Result<pid_t> start(const std::vector<std::string>& command) {
  const std::string path = SKEP_TRY(find_command(command[0]));
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, path.c_str(), nullptr, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return tl::unexpected(base::os_error(path, error));
  return pid;
}

}  // namespace

Result<StopSwitch> StopSwitch::make() {
  base::Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return tl::unexpected(base::os_error("eventfd"));
  return StopSwitch(std::move(event));
}

void StopSwitch::set() noexcept {
  const u64 one = 1;
  [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
}

void StopSwitch::clear() noexcept {
  u64 count = 0;
  [[maybe_unused]] const auto read = ::read(event_.get(), &count, sizeof count);
}

Result<RunResult> run_workload(const Workload& workload, StopSwitch& stop, const std::string& sees_all) {
  if (workload.pid != 0 && !sees_all.empty())
    return fail(Code::unsupported,
                fmt::format("{}: in the kernel this hook sees every process, not {} alone; filter in the program "
                            "(bpf_get_current_pid_tgid() >> 32 == {}) or use the user engine: --backend user -p {}",
                            sees_all, workload.pid, workload.pid, workload.pid));
  pid_t pid = workload.pid != 0 ? workload.pid : -1;
  if (!workload.command.empty()) pid = SKEP_TRY(start(workload.command));
  base::Fd process;
  if (pid != -1) {
    process = base::Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process) return tl::unexpected(base::os_error(fmt::format("process {}: pidfd_open", pid)));
  }
  if (workload.on_start) workload.on_start(workload.command.empty() ? 0 : pid);
  pollfd waiting[2] = {{stop.fd(), POLLIN, 0}, {process.get(), POLLIN, 0}};
  for (;;) {
    if (::poll(waiting, process ? 2 : 1, -1) < 0 && errno != EINTR) return tl::unexpected(base::os_error("poll"));
    if (process && (waiting[1].revents & POLLIN) != 0) {
      RunResult result{true, 0};
      if (workload.command.empty()) return result;
      while (::waitpid(pid, &result.wait_status, 0) < 0)
        if (errno != EINTR) return tl::unexpected(base::os_error("waitpid"));
      return result;
    }
    if ((waiting[0].revents & POLLIN) != 0) {
      stop.clear();
      return RunResult{};
    }
    waiting[0].revents = waiting[1].revents = 0;
  }
}

}  // namespace skep::kernel
