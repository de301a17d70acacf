// The contexts of process life events, laid out as Linux 6.18 lays them out.
//
//   tracepoint sched/sched_process_exec    filename (__data_loc) at 8, pid at 12, old_pid at 16       20 + the string
//   tracepoint sched/sched_process_fork    parent_comm (__data_loc) at 8, parent_pid at 12,
//                                          child_comm (__data_loc) at 16, child_pid at 20             24 + the strings
//   tracepoint sched/sched_process_exit    comm at 8, pid at 24, prio at 28, group_dead at 32         36
//   tracepoint signal/signal_generate      sig, errno, code from 8, comm at 20, pid at 36, group at 40, result at 44 48
//   tracepoint signal/signal_deliver       sig, errno, code from 8, sa_handler at 24, sa_flags at 32  40
//
//   raw_tracepoint and tp_btf of the same  the arguments, eight bytes each:
//     sched_process_exec                   task_struct *, old pid, linux_binprm *                     24
//     sched_process_fork                   parent and child task_struct *                             16
//     sched_process_exit                   task_struct *, group_dead                                  16
//     signal_generate                      sig, kernel_siginfo *, task_struct *, group, result        40
//     signal_deliver                       sig, kernel_siginfo *, k_sigaction *                       24
// Pointers are shadow addresses (shadow_tasks.hpp).
//
// A __data_loc is offset and length (terminator included, shifted by 16) of a string behind the fields. Programs find
// fields by CO-RE or by this layout; that of sched_process_fork and _exit is other in older kernels.
// Source: include/trace/events/{sched,signal}.h, events/*/format.
#pragma once
#include <array>
#include <cstddef>
#include <optional>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <string_view>
#include <vector>

#include "hook/life_event.hpp"
#include "hook/shadow_tasks.hpp"
#include "hook/syscall_event.hpp"

namespace skep::hook {

struct LifePlan {
  LifeKind kind = LifeKind::exec;
  bool arguments = false;  ///< raw: the tracepoint's arguments instead of its record
  u32 context_bytes = 0;   ///< fields; a program that reads more is refused, as by the kernel
};

/// The plan of a target that means process life; nothing for all others.
std::optional<LifePlan> plan_life(const AttachTarget& target);

/// Their names, for messages.
std::string_view life_hooks();
/// The names of those in a group of tracepoints ("sched").
std::vector<std::string_view> life_hooks_of(std::string_view group);

/// The memory of one context; lives as long as the program that runs on it.
class LifeContext {
 public:
  /// Lays the context out and lets Task::read_kernel serve it. `shadow`: what arguments point to. The result is r1.
  void* fill(const LifePlan& plan, const LifeEvent& event, SyscallEvent& frame, helper::Task& task,
             ShadowTasks* shadow) noexcept;

 private:
  void fill_record(const LifePlan& plan, const LifeEvent& event, const SyscallEvent& frame) noexcept;
  void fill_arguments(const LifeEvent& event, helper::Task& task, ShadowTasks& shadow) noexcept;
  template <class T>
  void put(u32 offset, const T& value) noexcept;
  /// Appends a string and its __data_loc at `offset`.
  void put_string(u32 offset, std::string_view text) noexcept;

  static constexpr u32 most_fields = 48, most_string = 4096;
  u32 size_ = 0;
  alignas(8) std::array<std::byte, most_fields + most_string> bytes_;
};

}  // namespace skep::hook
