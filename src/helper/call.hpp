// The context of one program run: what helpers need to know beyond their arguments.
//
// The hook fills a Call before it runs a Function; helpers read it. The Function itself passes it on as an
// opaque pointer.
#pragma once
#include <cerrno>
#include <skep/types.hpp>
#include <span>
#include <string_view>

#include "base/run.hpp"

namespace skep::helper {

/// The task a program runs on behalf of. Hooks implement it; answers may be fetched lazily and cached for the event.
struct Task {
  virtual ~Task() = default;
  virtual u64 pid_tgid() noexcept = 0;  ///< tgid << 32 | tid
  virtual u64 uid_gid() noexcept = 0;   ///< gid << 32 | uid
  /// Writes at most 16 bytes, zero-padded and terminated, into `comm`.
  virtual void comm(char (&comm)[16]) noexcept = 0;
  virtual u32 cpu() noexcept = 0;
  /// Reads the task's memory. Returns 0 or -EFAULT; a page that is not resident is brought in.
  virtual s64 read_user(void* to, u64 address, u32 size) noexcept = 0;
  /// Writes the task's memory (bpf_probe_write_user); 0, -EFAULT or -EPERM.
  virtual s64 write_user(u64 address, const void* from, u32 size) noexcept = 0;
  /// Reads what the program may take for kernel memory: contexts and pt_regs of the current event. 0 or -EFAULT.
  virtual s64 read_kernel(void* to, u64 address, u32 size) noexcept = 0;
  /// The task itself as programs see it, a struct task_struct *; 0: this task has no such structure. And which task (a
  /// thread id) such a pointer means; 0: none that is known.
  virtual u64 object() noexcept { return 0; }
  virtual u32 task_of(u64 /*object*/) noexcept { return 0; }
  /// What a walk of the task's user stack begins with. 0 or -EFAULT (nothing is known here).
  struct UserFrame {
    u64 instruction = 0;
    u64 frame = 0;   ///< 0: not known, the walk ends
    u64 caller = 0;  ///< where a function returns to that has no frame yet; 0: the one at `instruction` has one
  };
  virtual s64 user_frame(UserFrame& /*frame*/) noexcept { return -EFAULT; }
  /// Sends a signal to the task's process, or to its thread alone. 0 or a negative errno.
  virtual s64 send_signal(u32 /*signal*/, bool /*thread*/) noexcept { return -EPERM; }
};

/// Where trace_printk lines go.
struct TraceSink {
  virtual ~TraceSink() = default;
  /// One message in the trace-pipe form, without the newline that ends it. Newlines of the message itself are inside,
  /// also a last one (the kernel's pipe then shows an empty line). Never blocks; false: it did not fit (counted as
  /// lost).
  virtual bool line(std::string_view text) noexcept = 0;
};

struct Packet;

struct Call : base::Run {
  Task* task = nullptr;
  TraceSink* trace = nullptr;
  void* context = nullptr;  ///< r1 of the run
  u64 attach_cookie = 0;
  u64 function_address = 0;  ///< of the function a probe stands in; 0: none
  Packet* packet = nullptr;  ///< of packet programs (packet.hpp): without one, helpers that move it answer -EINVAL
};

}  // namespace skep::helper
