// A system call as hooks see it, what they want to see, and who receives it.
//
// A SyscallInterest says which calls matter, by x86-64 number; the tracer turns it into a seccomp filter, so a call
// nobody asked for never leaves the kernel. A SyscallSink receives the wanted ones. Numbers and arguments of 32-bit
// callers are translated (catalog/syscalls.hpp); the caller's own numbers and registers are kept beside them.
#pragma once
#include <array>
#include <bitset>
#include <cstddef>
#include <skep/types.hpp>
#include <span>
#include <vector>

#include "catalog/syscalls.hpp"
#include "helper/call.hpp"
#include "hook/life_event.hpp"
#include "hook/probe_event.hpp"

namespace skep::hook {

/// The kernel's struct pt_regs of x86-64. Source: arch/x86/include/asm/ptrace.h.
struct PtRegs {
  u64 r15 = 0, r14 = 0, r13 = 0, r12 = 0, bp = 0, bx = 0;
  u64 r11 = 0, r10 = 0, r9 = 0, r8 = 0, ax = 0, cx = 0, dx = 0, si = 0, di = 0;
  u64 orig_ax = 0, ip = 0, cs = 0, flags = 0, sp = 0, ss = 0;
};
static_assert(sizeof(PtRegs) == 21 * 8);

/// Which system calls are wanted, by x86-64 number.
struct SyscallInterest {
  std::bitset<catalog::syscall_limit> enter;
  std::bitset<catalog::syscall_limit> exit;
  bool all_enter = false;        ///< every call, also those without an x86-64 number
  bool all_exit = false;         ///< the same at the return
  bool needs_registers = false;  ///< programs read more of pt_regs than arguments, number and ip
  LifeInterest life;             ///< beside calls
  std::vector<ProbeSite> probes;
  /// Adds a place, or what is wanted of one that is there; its index.
  u32 add_probe(const ProbeSite& site, bool at_return);
  /// Whether a mapping shows code that may have probes, or data that may have their semaphores.
  bool wants_mapping(u64 protection, u64 flags) const noexcept;
  bool has_semaphores() const noexcept;

  bool wants_enter(s32 number) const noexcept { return all_enter || (in_range(number) && enter[to_index(number)]); }
  bool wants_exit(s32 number) const noexcept { return all_exit || (in_range(number) && exit[to_index(number)]); }
  bool any_exit() const noexcept { return all_exit || exit.any(); }
  bool any_call() const noexcept { return all_enter || enter.any() || any_exit(); }
  bool any() const noexcept { return any_call() || life.any() || !probes.empty(); }

 private:
  static bool in_range(s32 number) noexcept { return number >= 0 && static_cast<u32>(number) < catalog::syscall_limit; }
  static std::size_t to_index(s32 number) noexcept { return static_cast<std::size_t>(number); }
};

/// What a sink notes of a call at its entry, to have it at its return (function_event.hpp).
struct CallNotes {
  bool taken = false;
  bool existed = false;                       ///< open: there was a file of that name
  bool asks_ipv4 = false, asks_ipv6 = false;  ///< connect: for which the kernel comes to tcp_v4_connect, tcp_v6_connect
  bool disconnects = false;                   ///< connect: to nowhere
  u8 state = 0;                               ///< of the TCP socket
  u64 file = 0, inode = 0;                    ///< what the descriptor led to: its address, which may be another's later
};

/// One system call at its entry or its return. Valid during on_event only.
struct SyscallEvent {
  u32 tid = 0;                              ///< as this process numbers it; the thread group: Task::pid_tgid
  s32 nr = -1;                              ///< x86-64 number; -1: the caller's ABI has it, x86-64 has not
  u32 own_nr = 0;                           ///< as the caller's ABI numbers it (x32 with its bit)
  catalog::Abi abi = catalog::Abi::x86_64;  ///< whose numbers and registers
  bool is_exit = false;                     ///< false: about to be performed
  bool begins_function = false;             ///< a probe's hit: regs.sp points to where the function returns to
  std::array<u64, 6> args{}; /**< in x86-64 order; at the return as they were at the entry where that was seen (interest
                                in both, or a process traced with -p), else as the registers have them */
  s64 ret = 0;               ///< at the return: result or -errno, restart codes (-512...) included, as in the kernel
  u64 ip = 0;                ///< the instruction after the call
  u64 time_ns = 0;           ///< CLOCK_MONOTONIC when the tracer saw it
  PtRegs regs;      /**< the caller's registers as the kernel has them. Which are filled depends on the mechanism:
                       programs go through Task::read_kernel(&event.regs...), which fetches what is missing */
  CallNotes notes;  ///< at the return what the sink wrote at the entry, where it saw that
  /// What else Task::read_kernel serves during the event, besides regs: a context and what it points to.
  std::array<std::span<const std::byte>, 4> readable{};

  bool compat() const noexcept { return abi == catalog::Abi::i386; }
};

/// Receives events, one at a time.
class SyscallSink {
 public:
  virtual ~SyscallSink() = default;
  /// Runs on the tracer's own thread of execution, which shares this process's memory and file descriptors but has a
  /// process id of its own (see tracer_process.hpp): treat it as another thread. The caller waits until it returns.
  virtual void on_event(SyscallEvent& event, helper::Task& task) noexcept = 0;
  /// The same for functions and for process life. `frame` holds the current task's id, the time, and its registers for
  /// those who ask.
  virtual void on_probe(const ProbeHit& /*hit*/, SyscallEvent& /*frame*/, helper::Task& /*task*/) noexcept {}
  virtual void on_life(const LifeEvent& /*event*/, SyscallEvent& /*frame*/, helper::Task& /*task*/) noexcept {}
};

}  // namespace skep::hook
