// See notify_loop.hpp.
#include "hook/notify_loop.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>

namespace skep::hook {
namespace {

// Newer than the headers of Debian 12. Source: include/uapi/linux/seccomp.h (6.6).
constexpr unsigned long set_flags_request = _IOW('!', 4, u64);
constexpr u64 flag_sync_wake_up = 1;

/// The stack pointer of a task that sleeps in a system call: the last but one field of /proc/TID/syscall.
bool sleeping_sp(u32 tid, u64& sp) noexcept {
  char path[48], text[256];
  std::snprintf(path, sizeof path, "/proc/%u/syscall", tid);
  const base::Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  const ssize_t size = ::read(fd.get(), text, sizeof text - 1);
  if (size <= 0) return false;
  text[size] = 0;
  unsigned long long value = 0;
  if (std::sscanf(text, "%*d %*x %*x %*x %*x %*x %*x %llx", &value) != 1) return false;
  sp = value;
  return true;
}

}  // namespace

void NotifyLoop::listen(int listener) noexcept {
  listener_ = base::Fd(listener);
  // Wakes us on the caller's CPU: five times faster where caller and tracer would sit on different ones.
  follow_ = ::ioctl(listener, set_flags_request, flag_sync_wake_up) != 0;
}

bool NotifyLoop::reap(Command& command, Interrupts& interrupts) noexcept {
  interrupts.child = 0;
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG | __WALL);
    if (pid == 0) return true;
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0) return false;
    if (pid != command.pid()) continue;
    command.wait_status = status;
    command.ended = true;
  }
}

bool NotifyLoop::receive(Interrupts& interrupts) noexcept {
  std::memset(&notification_, 0, sizeof notification_);
  volatile int result = -1;
  // A handler that finds may_jump set comes back here: a signal between the last check and the ioctl is not lost.
  if (__builtin_setjmp(interrupts.waiting) == 0) {
    interrupts.may_jump = 1;
    if (interrupts.child == 0 && !interrupts.stop)
      result = ::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, &notification_.notif);
  }
  interrupts.may_jump = 0;
  // The jump may have come after the kernel handed out the notification; its id is never 0 then.
  const bool received = result == 0 || notification_.notif.id != 0;
  if (received || interrupts.child != 0 || interrupts.stop) {
    failures_ = 0;
  } else if (++failures_ > 16) {  // a listener without callers: their ends are about to be reported
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return received;
}

void NotifyLoop::answer() noexcept {
  seccomp_notif_resp response{};
  response.id = notification_.notif.id;
  response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  while (::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SEND, &response) != 0) {
    if (errno == EINTR) continue;
    if (errno == ENOENT) counters_.ended_during_call.fetch_add(1, std::memory_order_relaxed);
    break;
  }
  notification_.notif.id = 0;
}

void NotifyLoop::handle() noexcept {
  const seccomp_notif& notif = notification_.notif;
  RawCall call;
  call.architecture = notif.data.arch;
  call.number = static_cast<u32>(notif.data.nr);
  call.ip = notif.data.instruction_pointer;
  for (std::size_t i = 0; i < call.args.size(); ++i) call.args[i] = notif.data.args[i];

  event_.tid = notif.pid;
  event_.time_ns = monotonic_ns();
  decode_call(call, event_);
  registers_from_call(call, event_);
  task_.begin(event_, *this, 0);
  decode_socketcall(event_, task_);
  if (!interest_.wants_enter(event_.nr)) return;
  counters_.events.fetch_add(1, std::memory_order_relaxed);
  sink_.on_event(event_, task_);
}

bool NotifyLoop::serve(Interrupts& interrupts) noexcept {
  for (;;) {
    if (interrupts.child != 0 && !reap(command_, interrupts)) return true;
    if (interrupts.stop) return false;
    if (!receive(interrupts)) continue;
    handle();
    if (follow_) follower_.stopped(event_.tid);
    answer();
  }
}

void NotifyLoop::carry_on(Interrupts& interrupts) noexcept {
  interrupts.stop = false;
  interrupts.child = 1;
  follower_.leave();
  if (notification_.notif.id != 0) answer();
  for (;;) {
    if (interrupts.child != 0 && !reap(command_, interrupts)) return;
    if (receive(interrupts)) answer();
  }
}

void NotifyLoop::rescue(int stop_fd) noexcept {
  if (notification_.notif.id != 0) answer();  // what the process had in hand when it was killed
  for (;;) {
    pollfd waits[2] = {{listener_.get(), POLLIN, 0}, {stop_fd, POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0 && errno != EINTR) return;
    if (waits[1].revents != 0 || (waits[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) return;
    if ((waits[0].revents & POLLIN) == 0) continue;
    std::memset(&notification_, 0, sizeof notification_);
    if (::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, &notification_.notif) == 0) answer();
  }
}

bool NotifyLoop::fill_registers(SyscallEvent& event, u32 offset, u32 size) noexcept {
  const auto touches = [&](std::size_t member, std::size_t count = 1) {
    return offset < member + 8 * count && member < offset + size;
  };
  bool complete = true;
  if (touches(offsetof(PtRegs, sp)) && event.regs.sp == 0) complete = sleeping_sp(event.tid, event.regs.sp);
  if (touches(offsetof(PtRegs, flags)) || touches(offsetof(PtRegs, r11)) || touches(offsetof(PtRegs, r15), 4))
    complete = false;
  if (event.abi != catalog::Abi::i386 && touches(offsetof(PtRegs, bp), 2)) complete = false;
  return complete;
}

bool NotifyLoop::still_waiting() noexcept {
  u64 id = notification_.notif.id;
  return ::ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

}  // namespace skep::hook
