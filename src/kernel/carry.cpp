// Writing the carrier in front of a program. See carry.hpp for the idea.
#include "kernel/carry.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "isa/isa.hpp"
#include "kernel/assembler.hpp"
#include "kernel/carry_values.hpp"
#include "kernel/rewrite.hpp"

namespace skep::kernel {

namespace {

constexpr s32 ts_compat = 2;                      // TS_COMPAT: the call came from 32-bit code
constexpr s32 fork_family[] = {56, 57, 58, 435};  // clone, fork, vfork, clone3

/// Helpers whose first argument is the real context. The last two exist for fentry and fexit; at the raw tracepoints
/// the verifier refuses them, and says so.
constexpr bool takes_context(s32 helper) {
  constexpr s32 perf_event_output = 25, get_stackid = 27, get_stack = 67, get_func_ip = 173, get_attach_cookie = 174;
  return helper == perf_event_output || helper == get_stackid || helper == get_stack ||
         helper == isa::helper_tail_call || helper == get_func_ip || helper == get_attach_cookie;
}

std::vector<Insertion> context_loads(const ProgramSpec& program) {
  std::vector<Insertion> insertions;
  for (u32 i = 0; i < program.insns.size(); ++i) {
    const Insn& insn = program.insns[i];
    if (isa::is_ld_imm64(insn)) {
      ++i;
      continue;
    }
    if (insn.code != isa::code_call || insn.src != isa::call_src_helper) continue;
    if (takes_context(insn.imm)) insertions.push_back({i, Insn{0x79, 1, 1, regs_bytes, 0}});
  }
  return insertions;
}

/// Leaves where the caller is 32-bit code, whose system calls have other numbers.
void check_caller(assembler::Program& code, const Carrier& carrier) {
  if (!carrier.status_offset) return;
  code.call_helper(helper_get_current_task);
  code.copy(3, 0);
  code.add_number(3, static_cast<s32>(*carrier.status_offset));
  code.store64_number(isa::frame_pointer, context_slot, 0);
  code.copy(1, isa::frame_pointer);
  code.add_number(1, context_slot);
  code.set(2, 4);
  code.call_helper(helper_probe_read_kernel);
  code.load32(2, isa::frame_pointer, context_slot);
  code.leave_if_any_bit(2, ts_compat);
}

/// r6 = the context; leaves unless this is the system call that is meant, made by 64-bit code.
void check_syscall(assembler::Program& code, const Carrier& carrier) {
  if (carrier.hook == CarrierHook::sys_enter) {
    code.load64(2, 1, 8);  // {pt_regs, id}
    code.leave_unless_equal(2, static_cast<s32>(carrier.syscall_number));
  } else if (carrier.typed_context) {
    code.load64(2, 1, 0);  // {pt_regs, return value}
    code.load64(2, 2, regs_orig_ax);
    code.leave_unless_equal(2, static_cast<s32>(carrier.syscall_number));
  } else {
    code.load64(3, 1, 0);
    code.add_number(3, regs_orig_ax);
    code.copy(1, isa::frame_pointer);
    code.add_number(1, context_slot);
    code.set(2, 8);
    code.call_helper(helper_probe_read_kernel);
    code.load64(2, isa::frame_pointer, context_slot);
    code.leave_unless_equal(2, static_cast<s32>(carrier.syscall_number));
  }
  if (carrier.hook == CarrierHook::sys_exit &&
      std::ranges::find(fork_family, static_cast<s32>(carrier.syscall_number)) != std::end(fork_family)) {
    code.load64(2, 6, 8);  // a return probe does not fire in the child, where the call returns 0
    code.leave_if_equal(2, 0);
  }
  check_caller(code, carrier);
}

/// r6 = the context; leaves unless one of the calls was made by 64-bit code.
void check_boundary(assembler::Program& code, const Carrier& carrier) {
  if (carrier.hook == CarrierHook::boundary_entry) {
    code.load64(2, 6, 8);  // {pt_regs, id}
  } else {
    code.load64(3, 6, 0);  // {pt_regs, return value}
    read_behind(code, 2, regs_orig_ax, 8);
  }
  code.leave_unless_any_of(2, carrier.syscall_numbers);
  check_caller(code, carrier);
  find_file(code, carrier);
}

/// r6 = the context; leaves where a test of the substitute fails.
void check_event(assembler::Program& code, const Carrier& carrier) {
  for (const CarrierTest& test : carrier.tests) {
    load_value(code, carrier, 2, test.argument);
    for (std::size_t i = 0; i < test.path.size(); ++i) {
      code.copy(3, 2);
      read_behind(code, 2, test.path[i], i + 1 == test.path.size() ? test.bytes : 8);
    }
    if (test.mask != 0) code.mask(2, test.mask);
    if (test.equal) {
      code.leave_unless_equal(2, test.value);
    } else {
      code.leave_if_equal(2, test.value);
    }
  }
}

/// r2 = the task that ran before, as SwitchRecorder has noted it for this CPU and this task; else 0. Spoils r7.
void load_previous_task(assembler::Program& code, const Carrier& carrier) {
  code.store64_number(isa::frame_pointer, context_slot, 0);
  code.copy(2, isa::frame_pointer);
  code.add_number(2, context_slot);
  code.set_map(1, carrier.previous_tasks_map);
  code.call_helper(helper_map_lookup);
  code.leave_if_equal(0, 0);
  code.copy(7, 0);
  code.call_helper(helper_get_current_task);
  code.load64(2, 7, 0);
  code.load64(3, 7, 8);
  code.set_unless_equal(2, 0, 3, 0);
}

/// The parameters, or the result, that the tracepoint knows.
void fill_from_tracepoint(assembler::Program& code, const Carrier& carrier) {
  build_structures(code, carrier);
  for (std::size_t i = 0; i < std::min(carrier.arguments.size(), std::size(argument_registers)); ++i) {
    const s8 argument = carrier.arguments[i];
    if (argument == argument_unknown || argument == argument_zero) continue;
    const s16 to = carrier.at_return ? regs_ax : argument_registers[i];
    if (argument <= argument_structure) {
      place_structure(code, argument, to);
      continue;
    }
    if (argument == argument_previous_task) {
      load_previous_task(code, carrier);
    } else {
      load_value(code, carrier, 2, argument);
    }
    code.store64(isa::frame_pointer, static_cast<s16>(view + to), 2);
  }
}

/// The registers of the system call's caller, whose address is at `offset` of the context: the fourth argument is in
/// r10 there, and in cx for a function.
void fill_from_caller(assembler::Program& code, s16 offset) {
  constexpr s16 regs_r10 = 56, regs_cx = 88;
  code.load64(3, 6, offset);
  code.copy(1, isa::frame_pointer);
  code.add_number(1, view);
  code.set(2, regs_bytes);
  code.call_helper(helper_probe_read_kernel);
  code.load64(2, isa::frame_pointer, view + regs_r10);
  code.store64(isa::frame_pointer, view + regs_cx, 2);
}

/// A word of the context as a plain number: a typed pointer would make the program's arithmetic on it illegal.
void copy_context_word(assembler::Program& code, s16 view_offset, s32 context_offset) {
  code.copy(1, isa::frame_pointer);
  code.add_number(1, view + view_offset);
  code.set(2, 8);
  code.copy(3, 6);
  code.add_number(3, context_offset);
  code.call_helper(helper_probe_read_kernel);
}

/// The context's words as the program knows them. r6 = the context.
void rearrange_words(assembler::Program& code, const Carrier& carrier) {
  for (std::size_t i = 0; i < carrier.arguments.size(); ++i) {
    const s8 argument = carrier.arguments[i];
    const auto to = static_cast<s16>(view + 8 * static_cast<s16>(i));
    if (argument == argument_unknown) {
      code.store64_number(isa::frame_pointer, to, 0);
      continue;
    }
    code.load64(2, 6, static_cast<s16>(8 * argument));
    code.store64(isa::frame_pointer, to, 2);
  }
  code.store64(isa::frame_pointer, context_slot, 6);
}

bool is_moved(CarrierHook hook) {
  return hook == CarrierHook::moved_tracepoint || hook == CarrierHook::moved_fentry || hook == CarrierHook::moved_fexit;
}

void fill_registers(assembler::Program& code, const Carrier& carrier) {
  if (carrier.callers_registers)
    return fill_from_caller(code, carrier.hook == CarrierHook::kprobe ? argument_registers[0] : s16{0});
  switch (carrier.hook) {
    case CarrierHook::kprobe:
      for (s16 offset = 0; offset < regs_bytes; offset += 8) {
        code.load64(2, 6, offset);
        code.store64(isa::frame_pointer, static_cast<s16>(view + offset), 2);
      }
      for (std::size_t i = 0; i < std::min(carrier.arguments.size(), std::size(argument_registers)); ++i) {
        if (carrier.arguments[i] == argument_unknown) continue;  // the program reads it nowhere
        code.load64(2, 6, argument_registers[carrier.arguments[i]]);
        code.store64(isa::frame_pointer, static_cast<s16>(view + argument_registers[i]), 2);
      }
      break;
    case CarrierHook::sys_enter:
      code.load64(2, 6, 0);  // the system call's function takes one argument: the caller's pt_regs
      code.store64(isa::frame_pointer, view + argument_registers[0], 2);
      break;
    case CarrierHook::sys_exit:
      code.load64(2, 6, 8);
      code.store64(isa::frame_pointer, view + regs_ax, 2);
      break;
    case CarrierHook::fentry:
      for (u32 i = 0; i < std::min<u32>(carrier.argument_count, std::size(argument_registers)); ++i)
        copy_context_word(code, argument_registers[i], static_cast<s32>(8 * i));
      break;
    case CarrierHook::fexit:
      copy_context_word(code, regs_ax, static_cast<s32>(8 * carrier.argument_count));
      break;
    case CarrierHook::tracepoint_entry:
    case CarrierHook::tracepoint_return:
    case CarrierHook::boundary_entry:
    case CarrierHook::boundary_return:
      fill_from_tracepoint(code, carrier);
      break;
    case CarrierHook::moved_tracepoint:
    case CarrierHook::moved_fentry:
    case CarrierHook::moved_fexit:
      break;
  }
}

void build_view(assembler::Program& code, const Carrier& carrier) {
  if (is_moved(carrier.hook)) return rearrange_words(code, carrier);
  for (s16 offset = 0; offset < regs_bytes; offset += 8)
    code.store64_number(isa::frame_pointer, static_cast<s16>(view + offset), 0);
  code.store64_number(isa::frame_pointer, view + regs_orig_ax, -1);
  fill_registers(code, carrier);
  if (carrier.function_address != 0) {  // a program that asks where it is hears of the function that it asked for
    code.set64(2, carrier.function_address);
    code.store64(isa::frame_pointer, view + regs_ip, 2);
  }
  code.store64(isa::frame_pointer, context_slot, 6);
}

std::vector<Insn> carrier_code(const Carrier& carrier) {
  assembler::Program code;
  code.copy(6, 1);
  if (carrier.hook == CarrierHook::sys_enter || carrier.hook == CarrierHook::sys_exit) check_syscall(code, carrier);
  if (carrier.hook == CarrierHook::boundary_entry || carrier.hook == CarrierHook::boundary_return)
    check_boundary(code, carrier);
  check_event(code, carrier);
  build_view(code, carrier);
  code.copy(1, isa::frame_pointer);
  code.add_number(1, view);
  code.call_behind();
  code.place_end();
  code.set(0, 0);
  code.exit();
  return code.take();
}

}  // namespace

bool Carrier::needs_previous_task() const {
  return std::ranges::find(arguments, argument_previous_task) != arguments.end();
}

AttachTarget carrier_hook(const Carrier& carrier) {
  switch (carrier.hook) {
    case CarrierHook::sys_enter:
      return {AttachKind::raw_tracepoint, "sys_enter"};
    case CarrierHook::sys_exit:
      return {carrier.typed_context ? AttachKind::tp_btf : AttachKind::raw_tracepoint, "sys_exit"};
    case CarrierHook::fentry:
      return {AttachKind::fentry, carrier.function};
    case CarrierHook::fexit:
      return {AttachKind::fexit, carrier.function};
    case CarrierHook::tracepoint_entry:
    case CarrierHook::tracepoint_return:
      return {AttachKind::raw_tracepoint, carrier.tracepoint};
    case CarrierHook::boundary_entry:
      return {AttachKind::raw_tracepoint, "sys_enter"};
    case CarrierHook::boundary_return:
      return {AttachKind::raw_tracepoint, "sys_exit"};
    case CarrierHook::kprobe:
      return {AttachKind::kprobe, carrier.tracepoint.empty() ? carrier.function : carrier.tracepoint};
    case CarrierHook::moved_tracepoint:
      return {AttachKind::raw_tracepoint, carrier.tracepoint};
    case CarrierHook::moved_fentry:
      return {AttachKind::fentry, carrier.tracepoint};
    case CarrierHook::moved_fexit:
      return {AttachKind::fexit, carrier.tracepoint};
  }
  return {};
}

Result<void> carry(ProgramSpec& program, const Carrier& carrier) {
#if !defined(__x86_64__)
  return fail(
      Code::unsupported,
      fmt::format(
          "program {}: carrying kprobe programs is written for x86-64 only; this needs a kernel with CONFIG_KPROBES",
          program.name));
#endif
  const auto insertions = context_loads(program);
  SKEP_TRY(insert(program, insertions));
  const auto head = carrier_code(carrier);
  prepend(program, head);
  program.functions.insert(program.functions.begin(), FunctionInfo{0, 0, program.name, false});
  const std::string note = fmt::format("/* skep: {} for {}, then its program */",
                                       is_moved(carrier.hook) ? "the context" : "a pt_regs", carrier.function);
  program.lines.insert(program.lines.begin(), SourceLine{0, "skep", note, 1, 1});
  program.attach = carrier_hook(carrier);
  program.type = program.attach.program_type();
  return {};
}

namespace {

std::string describe_moved(const Carrier& carrier, std::string_view asked) {
  return fmt::format("{} is carried by {} ({}): {}; {}", asked, carrier.tracepoint, carrier.reason,
                     carrier.is_exact ? "exact" : "approximate", carrier.note);
}

std::string describe_hook(const Carrier& carrier, std::string_view asked) {
  switch (carrier.hook) {
    case CarrierHook::fentry:
    case CarrierHook::fexit:
      return fmt::format("{} is carried by {}/{} (this kernel has no kprobes): {} exact; other registers read as 0",
                         asked, carrier.hook == CarrierHook::fentry ? "fentry" : "fexit", carrier.function,
                         carrier.hook == CarrierHook::fentry ? "arguments" : "the return value is");
    case CarrierHook::sys_enter:
      return fmt::format(
          "{} is carried by raw_tracepoint/sys_enter (this kernel has no kprobes and no fentry): the same calls and "
          "arguments{}; "
          "other registers read as 0, stacks begin at the tracepoint",
          asked, carrier.status_offset ? "" : ", and those of 32-bit callers with the same number");
    case CarrierHook::sys_exit:
      return fmt::format(
          "{} is carried by {}/sys_exit (this kernel has no kprobes and no fexit): the return value is exact, calls "
          "that seccomp "
          "refused are seen too{}; other registers read as 0",
          asked, carrier.typed_context ? "tp_btf" : "raw_tracepoint",
          carrier.status_offset ? "" : ", and those of 32-bit callers with the same number");
    case CarrierHook::tracepoint_entry:
    case CarrierHook::tracepoint_return:
    case CarrierHook::boundary_entry:
    case CarrierHook::boundary_return:
      return fmt::format(
          "{} is carried by raw_tracepoint/{} ({}): {}; {}{}; stacks begin at the tracepoint", asked,
          carrier.tracepoint, carrier.reason, carrier.is_exact ? "exact" : "approximate", carrier.note,
          carrier.parameters_by_type ? "; parameters are those of the types that the program declares" : "");
    case CarrierHook::moved_tracepoint:
      return fmt::format(
          "{}: the program reads arguments that the tracepoint had {}: it is given those, from where they are "
          "now",
          asked, carrier.note);
    case CarrierHook::moved_fentry:
    case CarrierHook::moved_fexit:
      return describe_moved(carrier, asked);
    case CarrierHook::kprobe:
      if (!carrier.tracepoint.empty()) return describe_moved(carrier, asked);
      if (carrier.parameters_by_type)
        return fmt::format(
            "{}: this kernel's function has other parameters than the program declares: it is given those of "
            "the types that it declares",
            asked);
      return fmt::format(
          "{} has a pointer to the caller's registers, where the program declares the arguments of the system call: it "
          "is "
          "given those",
          asked);
  }
  return {};
}

}  // namespace

std::string describe(const Carrier& carrier, std::string_view asked) {
  std::string text = describe_hook(carrier, asked);
  if (carrier.callers_registers && carrier.hook != CarrierHook::kprobe)
    text += "; the program declares the arguments of the system call and is given those";
  return text;
}

}  // namespace skep::kernel
