// See tracee_task.hpp. Nothing here allocates: this is the per-event path.
#include "hook/tracee_task.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "hook/proc_file.hpp"

namespace skep::hook {
namespace {

constexpr u64 page_size = 4096;
/// A thread id cannot come round again faster: ids are given out in a cycle of at least 32768 (pid_max), a clone takes
/// well over a microsecond.
constexpr u64 id_reuse_ns = 5'000'000;

/// struct pidfd_info, first version; ioctl PIDFD_GET_INFO. Source: include/uapi/linux/pidfd.h (6.13).
struct PidfdInfo {
  u64 mask, cgroupid;
  u32 pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  s32 exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr u64 pidfd_info_pid = 1, pidfd_info_creds = 2;
constexpr unsigned pidfd_thread = O_EXCL;  // 6.9

u64 now_ns() noexcept {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

/// Reads a small proc file through a kept descriptor; opened again when it belonged to a task that is gone.
ssize_t read_kept(base::Fd& kept, u32 tid, const char* file, char* to, std::size_t size) noexcept {
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (!kept) kept = base::Fd(open_proc(tid, file));
    if (!kept) return -1;
    const ssize_t n = ::pread(kept.get(), to, size, 0);
    if (n > 0) return n;
    kept.reset();
  }
  return -1;
}

}  // namespace

void TraceeTask::begin(SyscallEvent& event, EventSource& source, u32 tgid) noexcept {
  event_ = &event;
  source_ = &source;
  tid_ = event.tid;
  tgid_ = tgid;
  identified_ = has_comm_ = false;
  window_size_ = 0;
  event.readable = {};
  if (shadow_ != nullptr) shadow_->begin_event(event.compat());
}

u64 TraceeTask::object() noexcept {
  return shadow_ != nullptr ? shadow_->task(tid_, static_cast<u32>(pid_tgid() >> 32)) : 0;
}

u32 TraceeTask::task_of(u64 object) noexcept { return shadow_ != nullptr ? shadow_->tid_of(object) : 0; }

TraceeTask::Files& TraceeTask::files() noexcept {
  Files& files = files_[tid_ % files_.size()];
  if (files.tid != tid_) {
    files = Files{};
    files.tid = tid_;
  }
  return files;
}

bool TraceeTask::identify_by_pidfd() noexcept {
  if (!pidfd_works_) return false;
  base::Fd& pidfd = files().pidfd;
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (!pidfd) pidfd = base::Fd(static_cast<int>(::syscall(SYS_pidfd_open, tid_, pidfd_thread)));
    if (!pidfd) {
      // EINVAL: no PIDFD_THREAD before 6.9. Anything else may be different for the next task.
      if (errno == EINVAL || errno == ENOSYS) pidfd_works_ = false;
      return false;
    }
    PidfdInfo info{};
    info.mask = pidfd_info_pid | pidfd_info_creds;
    constexpr u64 both = pidfd_info_pid | pidfd_info_creds;
    if (::ioctl(pidfd.get(), _IOWR(0xFF, 11, PidfdInfo), &info) == 0 && (info.mask & both) == both) {
      identity_ = {info.tgid, info.ruid, info.rgid};
      return true;
    }
    if (errno == ENOTTY || errno == EINVAL) {
      pidfd_works_ = false;
      return false;
    }
    pidfd.reset();
  }
  return false;
}

bool TraceeTask::identify_by_status() noexcept {
  char text[2048];
  const ssize_t size = read_kept(files().status, tid_, "status", text, sizeof text);
  if (size <= 0) return false;
  const std::string_view status(text, static_cast<std::size_t>(size));
  const auto tgid = status_number(status, "\nTgid:"), uid = status_number(status, "\nUid:"),
             gid = status_number(status, "\nGid:");
  if (!tgid || !uid || !gid) return false;
  identity_ = {static_cast<u32>(*tgid), static_cast<u32>(*uid), static_cast<u32>(*gid)};
  return true;
}

void TraceeTask::identify() noexcept {
  if (identified_) return;
  identified_ = true;
  identity_ = {tgid_ != 0 ? tgid_ : tid_, ~0u, ~0u};  // what is left when the task is gone
  if (!identify_by_pidfd()) identify_by_status();
}

u64 TraceeTask::pid_tgid() noexcept {
  if (tgid_ == 0) {
    identify();
    tgid_ = identity_.tgid;
  }
  return static_cast<u64>(tgid_) << 32 | tid_;
}

u64 TraceeTask::uid_gid() noexcept {
  identify();
  return static_cast<u64>(identity_.gid) << 32 | identity_.uid;
}

void TraceeTask::comm(char (&comm)[16]) noexcept {
  if (!has_comm_) {
    has_comm_ = true;
    std::memset(comm_, 0, sizeof comm_);
    char text[17];
    const ssize_t size = read_kept(files().comm, tid_, "comm", text, sizeof text);
    // The file adds a newline; a name may hold newlines of its own.
    if (size > 0) std::memcpy(comm_, text, std::min<std::size_t>(15, static_cast<std::size_t>(size) - 1));
  }
  std::memcpy(comm, comm_, sizeof comm_);
}

u32 TraceeTask::cpu() noexcept {
  unsigned cpu = 0;
  // Not sched_getcpu: that reads a per-thread area which belongs to the thread that lent us its TLS.
  ::getcpu(&cpu, nullptr);
  return cpu;
}

s64 TraceeTask::read_remote(void* to, u64 address, u32 size) noexcept {
  const iovec local{to, size};
  const iovec remote{reinterpret_cast<void*>(address), size};
  const ssize_t n = ::process_vm_readv(static_cast<pid_t>(tid_), &local, 1, &remote, 1, 0);
  if (n < 0 && errno == EPERM) counters_.reads_refused.fetch_add(1, std::memory_order_relaxed);
  if (n != static_cast<ssize_t>(size)) return -EFAULT;
  if (event_->time_ns + id_reuse_ns < now_ns() && !source_->still_waiting()) return -EFAULT;
  return 0;
}

s64 TraceeTask::read_user(void* to, u64 address, u32 size) noexcept {
  if (size == 0) return 0;
  if (address + size < address) return -EFAULT;
  if (address >= window_address_ && size <= window_size_ && address - window_address_ <= window_size_ - size) {
    std::memcpy(to, window_.data() + (address - window_address_), size);
    return 0;
  }
  const u64 rest_of_page = page_size - address % page_size;
  if (size > window_.size() || size > rest_of_page) return read_remote(to, address, size);
  const u32 extended = static_cast<u32>(std::min<u64>(window_.size(), rest_of_page));
  window_size_ = 0;
  if (const s64 error = read_remote(window_.data(), address, extended); error != 0) return error;
  window_address_ = address;
  window_size_ = extended;
  std::memcpy(to, window_.data(), size);
  return 0;
}

s64 TraceeTask::write_user(u64 address, const void* from, u32 size) noexcept {
  if (size == 0) return 0;
  if (address + size < address) return -EFAULT;
  window_size_ = 0;
  if (event_->time_ns + id_reuse_ns < now_ns() && !source_->still_waiting()) return -EFAULT;
  const iovec local{const_cast<void*>(from), size};
  const iovec remote{reinterpret_cast<void*>(address), size};
  const ssize_t n = ::process_vm_writev(static_cast<pid_t>(tid_), &local, 1, &remote, 1, 0);
  if (n == static_cast<ssize_t>(size)) return 0;
  return n < 0 && errno == EPERM ? -EPERM : -EFAULT;
}

/// The frame pointer is one of the registers that only some mechanisms know: without it a walk has one address.
s64 TraceeTask::user_frame(UserFrame& frame) noexcept {
  if (event_ == nullptr || event_->compat()) return -EFAULT;
  frame.instruction = event_->ip;
  const bool known = source_->fill_registers(*event_, offsetof(PtRegs, bp), sizeof(u64));
  frame.frame = known ? event_->regs.bp : 0;
  if (event_->begins_function && read_user(&frame.caller, event_->regs.sp, sizeof frame.caller) != 0) frame.caller = 0;
  return 0;
}

/// The task waits in its call, so its ids cannot have become another's.
s64 TraceeTask::send_signal(u32 signal, bool thread) noexcept {
  if (event_ == nullptr || (event_->time_ns + id_reuse_ns < now_ns() && !source_->still_waiting())) return -ESRCH;
  const auto tgid = static_cast<pid_t>(pid_tgid() >> 32);
  const long sent = thread ? ::syscall(SYS_tgkill, tgid, static_cast<pid_t>(tid_), static_cast<int>(signal))
                           : ::kill(tgid, static_cast<int>(signal));
  return sent == 0 ? 0 : -errno;
}

bool TraceeTask::offer_kernel(std::span<const std::byte> bytes) noexcept {
  for (auto& slot : event_->readable) {
    if (!slot.empty() && slot.data() != bytes.data()) continue;  // one that is offered again takes its place
    slot = bytes;
    return true;
  }
  return false;
}

s64 TraceeTask::read_kernel(void* to, u64 address, u32 size) noexcept {
  const auto within = [&](const void* start, u64 length) {
    const u64 begin = reinterpret_cast<u64>(start);
    return address >= begin && size <= length && address - begin <= length - size;
  };
  if (size == 0) return 0;
  if (event_ == nullptr) return -EFAULT;
  if (ShadowTasks::is_shadow(address)) return shadow_ != nullptr && shadow_->read(to, address, size) ? 0 : -EFAULT;
  if (within(&event_->regs, sizeof(PtRegs))) {
    const u32 offset = static_cast<u32>(address - reinterpret_cast<u64>(&event_->regs));
    if (!source_->fill_registers(*event_, offset, size))
      counters_.registers_unknown.fetch_add(1, std::memory_order_relaxed);
    std::memcpy(to, reinterpret_cast<const std::byte*>(&event_->regs) + offset, size);
    return 0;
  }
  for (const auto& bytes : event_->readable) {
    if (!within(bytes.data(), bytes.size())) continue;
    std::memcpy(to, reinterpret_cast<const void*>(address), size);
    return 0;
  }
  return -EFAULT;
}

}  // namespace skep::hook
