// The task of an event, as helpers see it: names, ids and memory of another process.
//
// Answers are fetched when a program asks and kept for the event. Between events only file descriptors are kept (of
// /proc/TID/comm and a pidfd, or /proc/TID/status where the kernel is older than 6.13): the kernel resolves them to the
// task they were opened for, so an exec, prctl(PR_SET_NAME) or setuid shows at once, and a reused thread id gives ESRCH
// instead of somebody else's answer. Memory is read by process_vm_readv, which brings in pages that are not resident.
#pragma once
#include <array>
#include <atomic>
#include <skep/types.hpp>
#include <span>

#include "base/fd.hpp"
#include "helper/call.hpp"
#include "hook/shadow_tasks.hpp"
#include "hook/syscall_event.hpp"

namespace skep::hook {

/// What a tracer counts; written by it, read by anybody.
struct TraceCounters {
  std::atomic<u64> events = 0;             ///< handed to the sink
  std::atomic<u64> ended_during_call = 0;  ///< the task was gone (killed, or execed by a sibling) before it could go on
  std::atomic<u64> reads_refused = 0;      ///< memory reads the system denied (not dumpable, another user): -EFAULT
  std::atomic<u64> probes_refused = 0;     ///< times that no breakpoint could be put: hits are missed
  std::atomic<u64> registers_unknown = 0;  ///< register reads this mechanism has no answer to: 0 was given
};

/// What only the mechanism that stopped the task knows.
class EventSource {
 public:
  virtual ~EventSource() = default;
  /// Fills what a read of `size` bytes at `offset` in event.regs touches. False: some of it stays unknown.
  virtual bool fill_registers(SyscallEvent& event, u32 offset, u32 size) noexcept = 0;
  /// Whether the task still waits in this very call. Asked after reads that took so long that its id could have gone
  /// to another task.
  virtual bool still_waiting() noexcept = 0;
};

class TraceeTask final : public helper::Task {
 public:
  /// `shadow`: what gives tasks as structures, or null.
  TraceeTask(TraceCounters& counters, ShadowTasks* shadow) : counters_(counters), shadow_(shadow) {}

  /// A new event. `tgid`: 0 where the mechanism does not know it.
  void begin(SyscallEvent& event, EventSource& source, u32 tgid) noexcept;

  u64 pid_tgid() noexcept override;
  u64 uid_gid() noexcept override;
  void comm(char (&comm)[16]) noexcept override;
  /// The CPU the program runs on, which is the tracer's, as the helper's name says.
  u32 cpu() noexcept override;
  s64 read_user(void* to, u64 address, u32 size) noexcept override;
  s64 write_user(u64 address, const void* from, u32 size) noexcept override;
  s64 read_kernel(void* to, u64 address, u32 size) noexcept override;
  u64 object() noexcept override;
  u32 task_of(u64 object) noexcept override;
  s64 user_frame(UserFrame& frame) noexcept override;
  s64 send_signal(u32 signal, bool thread) noexcept override;

  /// Lets read_kernel serve these bytes of this process (a context) in this event: SyscallEvent::readable. False: no
  /// room.
  bool offer_kernel(std::span<const std::byte> bytes) noexcept;

 private:
  struct Files {
    u32 tid = 0;
    base::Fd comm, pidfd, status;
  };
  struct Identity {
    u32 tgid = 0, uid = 0, gid = 0;
  };

  Files& files() noexcept;
  void identify() noexcept;
  bool identify_by_pidfd() noexcept;
  bool identify_by_status() noexcept;
  s64 read_remote(void* to, u64 address, u32 size) noexcept;

  TraceCounters& counters_;
  ShadowTasks* shadow_;
  SyscallEvent* event_ = nullptr;
  EventSource* source_ = nullptr;
  u32 tid_ = 0;
  u32 tgid_ = 0;
  bool identified_ = false;
  Identity identity_;
  bool has_comm_ = false;
  char comm_[16] = {};
  // One small read is extended to a window, so that the steps of a string read cost one system call.
  u64 window_address_ = 0;
  u32 window_size_ = 0;
  std::array<std::byte, 256> window_;
  // By tid modulo size: bounded, and enough for the tasks of a busy tree.
  std::array<Files, 64> files_;
  bool pidfd_works_ = true;
};

}  // namespace skep::hook
