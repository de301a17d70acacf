// A little skep for the tests: hook_host MECHANISM LOG -- COMMAND..., or hook_host attach LOG PID.
// Appends a line per marker to LOG. SIGINT and SIGTERM are caught: the first is only noted, SIGTERM stops. Exits with
// the command's status (128 + signal when it was killed), 100 when stopped, 127 and 126 as a shell.
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "hook/syscall_tracer.hpp"

using namespace skep;
using namespace skep::hook;

namespace {

SyscallTracer* current = nullptr;

struct Log final : SyscallSink {
  int fd = -1;
  bool stuck = false;
  void line(const std::string& text) const noexcept {
    if (::write(fd, text.data(), text.size()) < 0) std::perror("log");
  }
  void on_event(SyscallEvent& event, helper::Task& task) noexcept override {
    char path[256] = {};
    for (u32 i = 0; i + 1 < sizeof path; ++i)
      if (task.read_user(path + i, event.args[1] + i, 1) != 0 || path[i] == 0) break;
    if (std::strncmp(path, "/skep-tracee/", 13) != 0) return;
    line(std::string(event.is_exit ? "exit " : "enter ") + (path + 13) + "\n");
    while (stuck) ::pause();  // as behind a lock that nobody will release
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 64;
  Log log;
  log.fd = ::open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  SyscallInterest interest;
  interest.enter.set(SYS_openat);
  if (std::string(argv[1]) == "ptrace") interest.exit.set(SYS_openat);
  log.stuck = std::getenv("HOOK_HOST_STUCK") != nullptr;
  if (std::string(argv[1]) == "all") interest.all_enter = interest.all_exit = true;

  struct sigaction action{};
  action.sa_handler = [](int signal) {
    if (signal == SIGTERM && current != nullptr) current->stop();
  };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);

  const bool attach = std::string(argv[1]) == "attach";
  auto tracer = attach ? SyscallTracer::attach(std::atoi(argv[3]), interest, log)
                       : SyscallTracer::start({argv + 4, argv + argc}, interest, log);
  if (!tracer) {
    log.line("error " + tracer.error().message + "\n");
    return tracer.error().code == Code::not_found ? 127 : 126;
  }
  current = tracer->get();
  log.line("mechanism " + current->mechanism_text() + "\ntracer " + std::to_string(current->tracer_pid()) + "\n");
  auto result = current->run();
  if (!result) {
    log.line("error " + result.error().message + "\n");
    return result.error().code == Code::not_found ? 127 : 126;
  }
  log.line("end\n");
  if (!result->exited) return 100;
  return WIFEXITED(result->wait_status) ? WEXITSTATUS(result->wait_status) : 128 + WTERMSIG(result->wait_status);
}
