// Making and removing instances of tracefs. See trace_instance.hpp.
#include "kernel/trace_instance.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/fd.hpp"

namespace skep::kernel {

namespace {

constexpr std::string_view prefix = "skep-";

/// "skep-PID-N", as fill() names them; what a person calls "skep-notes" is his.
bool is_ours(std::string_view name) {
  return name.starts_with(prefix) && name.find_first_not_of("0123456789-", prefix.size()) == name.npos;
}

/// Removes what killed processes left. One that is open stays: the kernel refuses.
void sweep(const Tracefs& tracefs, int instances) {
  const auto names = tracefs.list("instances");
  if (!names) return;
  for (const std::string& name : *names)
    if (is_ours(name)) (void)::unlinkat(instances, name.c_str(), AT_REMOVEDIR);
}

}  // namespace

Result<TraceInstance> TraceInstance::make(const Tracefs& tracefs, const std::string& event) {
  constexpr int attempts = 10;  // another process's sweep may take away what is not open yet
  for (int attempt = 1;; ++attempt) {
    TraceInstance made(SKEP_TRY(tracefs.open_file("instances", O_RDONLY | O_DIRECTORY)));
    if (attempt == 1) sweep(tracefs, made.instances_.get());
    const auto filled = made.fill(event);
    if (filled) return made;
    if (filled.error().os_error != ENOENT || attempt == attempts) return tl::unexpected(filled.error());
  }
}

Result<void> TraceInstance::fill(const std::string& event) {
  static std::atomic<unsigned> made{0};
  name_ = fmt::format("{}{}-{}", prefix, ::getpid(), ++made);
  const auto failed = [&](std::string_view what) {
    return tl::unexpected(base::os_error(fmt::format("tracefs: instances/{}{}", name_, what)));
  };
  if (::mkdirat(instances_.get(), name_.c_str(), 0700) != 0) return failed("");
  pipe_ = base::Fd(::openat(instances_.get(), (name_ + "/trace_pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!pipe_) return failed("/trace_pipe");
  const std::string switch_path = fmt::format("/events/{}/enable", event);
  const base::Fd enable(::openat(instances_.get(), (name_ + switch_path).c_str(), O_WRONLY | O_CLOEXEC));
  if (!enable || ::write(enable.get(), "1", 1) != 1) return failed(switch_path);
  return {};
}

TraceInstance::~TraceInstance() {
  pipe_.reset();
  if (instances_ && !name_.empty()) (void)::unlinkat(instances_.get(), name_.c_str(), AT_REMOVEDIR);
}

}  // namespace skep::kernel
