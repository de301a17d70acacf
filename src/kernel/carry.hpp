// A kprobe program where there are no kprobes: carried by another hook.
//
// The program is compiled for `struct pt_regs *`. At another hook the context is something else, so a small carrier
// is put in front of it: it checks that this event is the one that was asked for, builds on its own stack the pt_regs
// that a kprobe would have seen, and calls the untouched program as a subprogram with a pointer to it. The verifier
// follows a pointer into the caller's stack, so every load from pt_regs becomes a load from the stack.
//
//   carrier's stack:  r10-176 [ struct pt_regs, 168 bytes ] r10-8 [ the real context ] r10
//
// Helpers that need the real context (perf_event_output, get_stackid, get_stack, tail_call) are called with r1 =
// pt_regs; in front of each such call one instruction is inserted, r1 = *(u64 *)(r1 + 168): the real context lies
// right behind the view. The verifier knows a context spilled to the stack for what it is, so a wrong guess is
// refused at load, never a fault at run time.
//
// Some functions are known where a system call comes to them: the carrier at sys_enter or sys_exit finds the file
// behind the descriptor as the kernel would, in the task's table.
//
// Where a function gets a structure that is nowhere at the tracepoint (the kiocb of a read), the carrier builds it in
// memory of its own, one copy for each CPU, with the members that are known.
//
// Programs of raw tracepoints, fentry and fexit whose hook has moved (moved_hooks.def) get a view of another shape: the
// words of their context, each from where it is now. A typed pointer that lies on the stack keeps its type.
//
// A handler that declares the arguments of a system call (`int f(struct pt_regs *ctx, const char *path)`) is shown
// them, although the call's function has a pointer to the caller's registers only; where there are kprobes, a carrier
// does that in front of the kprobe itself.
//
// Four kinds of hook carry: fentry/fexit on the same function where the kernel permits them; for system calls the raw
// tracepoint sys_enter, and sys_exit for return probes; for some other functions a tracepoint that has the same values
// at hand, or the boundary of the system calls that lead to them (hook_substitutes.def).
// Source: arch/x86/include/asm/ptrace.h, arch/x86/include/asm/syscall_wrapper.h; System V ABI AMD64, section 3.2.
#pragma once
#include <optional>
#include <skep/spec.hpp>
#include <string>
#include <vector>

#include "base/fd.hpp"

namespace skep::kernel {

enum class CarrierHook : u8 {
  fentry,
  fexit,
  sys_enter,
  sys_exit,
  tracepoint_entry,
  tracepoint_return,
  boundary_entry,    ///< sys_enter of the calls whose kernel side calls the function
  boundary_return,   ///< their sys_exit
  kprobe,            ///< the function itself; for programs that declare other parameters than it has
  moved_tracepoint,  ///< a raw tracepoint's program that was written for its former arguments
  moved_fentry,      ///< fentry and fexit programs, on the function that does the work of the one they name
  moved_fexit
};

/// An argument of a tracepoint (or an argument_*), or a member that it leads to, compared with a number.
struct CarrierTest {
  s8 argument = 0;
  std::vector<u32> path;  ///< offsets: all but the last of pointers to follow; none: the argument itself
  u8 bytes = 8;           ///< of the member
  s32 mask = 0;           ///< the bits that are compared; 0: all
  bool equal = true;      ///< the event is meant where it is equal; false: where it is not
  s32 value = 0;
};

/// Places of a substitute's parameters that are no argument of the tracepoint.
inline constexpr s8 argument_unknown = -1, argument_previous_task = -2,
                    argument_zero = -3,                            ///< reads as 0, and the table says so
    argument_file = -4, argument_socket = -5, argument_sock = -6,  ///< behind the descriptor that a system call got,
    argument_new_file = -7, argument_new_sock = -8,                ///< or that it returns
    argument_result = -9,                                          ///< what the system call returns
    argument_new_path = -10, argument_new_dentry = -11,   ///< of the file behind the descriptor that it returns
    argument_position = -12,                              ///< where in its file a read or write begins
    argument_name = -13, argument_second_name = -14,      ///< the last part of the paths that the call got,
    argument_length = -15, argument_second_length = -16,  ///< and their lengths
    argument_structure = -32;                             ///< and below: structure n is -32 - n

/// Where the file of a descriptor is found, and what is behind it: byte offsets in this kernel's structures.
struct DescriptorPath {
  u32 task_files = 0, files_table = 0, table_limit = 0, table_files = 0, file_private = 0, socket_sock = 0;
  u32 file_path = 0, path_dentry = 0, file_position = 0;  ///< where the arguments need them
};

/// A structure that the carrier builds.
struct CarrierStructure {
  struct Member {
    u32 offset = 0;
    u8 bytes = 8;
    s8 argument = argument_zero;  ///< what it is set to; argument_zero: to `number`
    s32 number = 0;
  };
  std::vector<Member> members;
};
inline constexpr u32 most_structure_bytes = 256, most_structures = 4, most_path_bytes = 1024, most_names = 2;

/// What carries a program, and the facts of this kernel that the carrier needs.
struct Carrier {
  CarrierHook hook = CarrierHook::sys_enter;
  std::string function;              ///< the kernel function the program asked for: "__x64_sys_execve"
  u32 syscall_number = 0;            ///< sys_enter, sys_exit: the call that is meant
  u64 function_address = 0;          ///< for pt_regs::ip; 0 where the kernel hides addresses
  u32 argument_count = 0;            ///< fentry, fexit: of the function
  bool typed_context = false;        ///< sys_exit: the program type is tracing, so orig_ax is read without a helper
  std::optional<u32> status_offset;  ///< thread_info::status inside task_struct, to leave out 32-bit callers
  // tracepoint_entry, tracepoint_return; moved_*, where it is a tracepoint or another function, as for some of kprobe:
  std::string tracepoint;
  std::vector<s8> arguments;  ///< for each parameter (for the result) the tracepoint's argument, or argument_*
  std::vector<CarrierTest> tests;
  bool is_exact = false;
  std::string note;             ///< what is different there
  std::string reason;           ///< why the function itself is not probed
  int previous_tasks_map = -1;  ///< where arguments has argument_previous_task: descriptor of SwitchRecorder's map
  // boundary_entry, boundary_return; the fields above but `tracepoint` too:
  std::vector<u32> syscall_numbers;
  std::vector<u32> unpositioned_numbers;  ///< of these, those that begin at the file's own position
  std::vector<u32> at_numbers;            ///< those that have a directory's descriptor in front of each path
  DescriptorPath descriptor;
  bool at_return = false;           ///< the program wants the function's result, not its parameters
  bool callers_registers = false;   ///< sys_enter, fentry, kprobe: the program declares the call's arguments
  bool parameters_by_type = false;  ///< they stand elsewhere in the function than the program declares them
  std::vector<CarrierStructure> structures;
  int structures_map = -1;  ///< descriptor of make_structures_map()'s
  bool needs_previous_task() const;
};

/// A per-CPU array of one value: room for most_structures and most_names. Errors: permission, unsupported, io.
Result<base::Fd> make_structures_map();

/// Rewrites a resolved program (CO-RE applied) for its carrier; the type and attach target change with it.
/// `functions` afterwards: the carrier at 0, then the program's own.
/// Errors: unsupported, where the machine is not x86-64 or a jump would get too long.
Result<void> carry(ProgramSpec& program, const Carrier& carrier);

/// What the kernel is asked for in the end: raw_tracepoint/sys_enter, fentry/FUNCTION, ...
AttachTarget carrier_hook(const Carrier& carrier);

/// One line for the user: what carries, and how exact it is.
std::string describe(const Carrier& carrier, std::string_view asked);

}  // namespace skep::kernel
