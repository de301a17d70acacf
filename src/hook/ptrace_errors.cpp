// See ptrace_errors.hpp. Source: ptrace(2) "Ptrace access mode checking"; Documentation/admin-guide/LSM/Yama.rst.
#include "hook/ptrace_errors.hpp"

#include <dirent.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/mapped_file.hpp"

namespace skep::hook {
namespace {

/// The text after "Key:\t" of /proc/PID/status, up to the end of its line; "" when there is none.
std::string status_field(int pid, std::string_view key) {
  const auto text = base::read_text("/proc/" + std::to_string(pid) + "/status", 1u << 16);
  if (!text) return {};
  const auto at = text->find(std::string("\n").append(key).append(":"));
  if (at == std::string::npos) return {};
  const auto begin = text->find_first_not_of(" \t", at + key.size() + 2);
  return text->substr(begin, text->find('\n', begin) - begin);
}

int yama_scope() {
  const auto text = base::read_text("/proc/sys/kernel/yama/ptrace_scope", 64);
  return text ? std::atoi(text->c_str()) : 0;
}

}  // namespace

int tracer_of(int tid) { return std::atoi(status_field(tid, "TracerPid").c_str()); }

Error ptrace_error(int tid, int error_number) {
  const std::string process = "process " + std::to_string(tid);
  if (error_number == ESRCH) return {Code::not_found, process + " does not exist", error_number};
  if (error_number != EPERM && error_number != EACCES) return base::os_error("cannot trace " + process, error_number);

  Error error{Code::permission, "cannot trace " + process + ": ", error_number};
  if (const int tracer = tracer_of(tid); tracer != 0) {
    error.message += "process " + std::to_string(tracer) + " (" + status_field(tracer, "Name") +
                     ") traces it already, and a task has one tracer only: end that one first";
    return error;
  }
  const std::string uids = status_field(tid, "Uid");
  if (!uids.empty() && ::geteuid() != 0 && std::strtoul(uids.c_str(), nullptr, 10) != ::getuid()) {
    error.message += "it belongs to uid " + uids.substr(0, uids.find('\t')) + ", we are uid " +
                     std::to_string(::getuid()) + ": run as that user, or with CAP_SYS_PTRACE";
    return error;
  }
  // 0: this process gave up privileges without an exec since, so the kernel protects what it may still hold in memory.
  if (::prctl(PR_GET_DUMPABLE) == 0 && status_field(tid, "PPid") == std::to_string(::getpid())) {
    error.message +=
        "this process changed its user and has not exec'ed since, so it and its children are not dumpable: "
        "exec again (as su and setpriv do), or call prctl(PR_SET_DUMPABLE, 1)";
    return error;
  }
  switch (yama_scope()) {
    case 0:
      break;
    case 1:
      error.message +=
          "kernel.yama.ptrace_scope is 1, so only descendants may be traced: start the command under skep, "
          "run with CAP_SYS_PTRACE, or set the sysctl to 0";
      return error;
    case 2:
      error.message += "kernel.yama.ptrace_scope is 2: CAP_SYS_PTRACE is needed";
      return error;
    default:
      error.message += "kernel.yama.ptrace_scope is 3: nobody may trace until the next boot";
      return error;
  }
  error.message += "the system refused (" + std::string(::strerrordesc_np(error_number)) +
                   "). A process that changed its user or runs an unreadable file, a kernel thread, and a container "
                   "whose seccomp policy denies ptrace all answer so: CAP_SYS_PTRACE is needed";
  return error;
}

Result<std::vector<int>> threads_of(int pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/task";
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (!directory) {
    if (errno == ENOENT || errno == ESRCH)
      return fail(Code::not_found, "process " + std::to_string(pid) + " does not exist", ESRCH);
    return tl::unexpected(base::os_error(path));
  }
  std::vector<int> threads;
  while (const dirent* entry = ::readdir(directory.get()))
    if (const int tid = std::atoi(entry->d_name); tid > 0) threads.push_back(tid);
  return threads;
}

}  // namespace skep::hook
