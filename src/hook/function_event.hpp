// A system call, or the end of a process, as the kernel functions that it leads to: whether a row's function is called
// there, and with what.
//
// What the kernel would decide is found out from outside, when a row asks for it and once for an event: the file behind
// a descriptor, the path that a call names, what a socket is connected to. Some of it is gone or different when the
// call returns, so it is noted at the entry (CallNotes).
#pragma once
#include <optional>

#include "hook/call_path.hpp"
#include "hook/function_rows.hpp"
#include "hook/shadow_tasks.hpp"
#include "hook/syscall_event.hpp"

namespace skep::hook {

class FunctionEvent {
 public:
  FunctionEvent(SyscallEvent& event, helper::Task& task, ShadowTasks& shadow) noexcept
      : event_(event), task_(task), shadow_(shadow), files_(shadow.files()) {}

  /// At the entry of a call for which needs_notes() holds.
  void note_entry() noexcept;
  /// At the end of a process: the socket that is closed.
  void close_at_end(EndingSockets& sockets, u32 index) noexcept;

  bool is_called(const FunctionRow& row) noexcept;
  /// The registers of the function's caller for a program: what it reads of them.
  void fill(const FunctionPlan& plan, const FunctionRow& row, PtRegs& registers) noexcept;

  SyscallEvent& event() const noexcept { return event_; }
  helper::Task& task() const noexcept { return task_; }

 private:
  using Stat = struct stat;
  struct Named {
    bool was_looked_up = false;
    std::optional<Stat> found;
  };

  bool holds(FunctionTest test) noexcept;
  u64 value(FunctionValue value) noexcept;
  u32 tgid() noexcept { return static_cast<u32>(task_.pid_tgid() >> 32); }
  shadow::Pointer open_file(u32 descriptor) noexcept;
  shadow::Pointer file() noexcept;
  shadow::Pointer new_file() noexcept;
  shadow::Pointer dentry() noexcept;
  shadow::Pointer directory() noexcept;
  shadow::inet_sock* sock_of(shadow::Pointer file) noexcept;
  shadow::inet_sock* sock() noexcept { return sock_of(file()); }
  bool is_tcp(shadow::Pointer file) noexcept;
  CallPath& path() noexcept;
  const Named& named() noexcept;
  u64 open_flags() noexcept;
  bool has_created() noexcept;
  /// An argument that is an int: the kernel does not look at its upper half.
  u32 argument(std::size_t index) const noexcept { return static_cast<u32>(event_.args[index]); }
  bool has_made_file() const noexcept;
  bool names(bool directory) noexcept;
  void note_open() noexcept;
  void note_connect() noexcept;
  void note_close() noexcept;
  void settle_connect() noexcept;
  bool has_asked() const noexcept;
  bool settles() noexcept;
  bool lets_go() noexcept;
  u8 state() noexcept;
  sockaddr_storage given_address(u64 address, u32 length) noexcept;

  SyscallEvent& event_;
  helper::Task& task_;
  ShadowTasks& shadow_;
  ShadowFiles& files_;
  EndingSockets* ending_ = nullptr;
  u32 ending_index_ = 0;
  bool is_settled_ = false;
  std::optional<shadow::Pointer> file_, new_file_;
  std::optional<CallPath> path_;
  Named named_;
  std::optional<bool> settles_, lets_go_;
};

/// Whether a row that is seen at the return of a call needs what is noted at its entry.
bool needs_notes(const FunctionPlan& plan, const FunctionRow& row) noexcept;

}  // namespace skep::hook
