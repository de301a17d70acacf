// Checks of the baseline JIT, for code that no verifier has seen (checks.hpp, vm/checked_program.hpp).
//
// Scratch registers: rdi holds the address of an access, r10 how far it is from its window, r11 the Checks. What is
// rare stands behind the function: asking find_region for an address that is not in the window, and every violation.
#include <bit>
#include <cstddef>

#include "vm/jit/baseline_x86_64.hpp"
#include "vm/jit/checks.hpp"

namespace skep::vm::jit {

using x86::Alu;
using x86::at;
using x86::Cond;
using x86::Mem;

namespace {

constexpr s32 checks_at = offsetof(Run, checks);
constexpr s32 budget_at = offsetof(Checks, insns_left), frame_end_at = offsetof(Checks, frame_end),
              stack_end_at = offsetof(Checks, stack_end);
constexpr s32 window_at(bool write) { return offsetof(Checks, windows) + (write ? sizeof(Window) : 0); }

constexpr u32 bytes_of(x86::Width w) {
  return w == x86::Width::w8 ? 1 : w == x86::Width::w16 ? 2 : w == x86::Width::w32 ? 4 : 8;
}

}  // namespace

/// r11 = the run's Checks.
void BaselineX86::load_checks() { as_.mov(Width::w64, scratch2, at(run_reg, checks_at)); }

/// The frame is the next 512 bytes of the Checks' stack, cleared; the function is charged for its instructions.
void BaselineX86::enter_checked() {
  const bool is_entry = begin_ == 0;
  load_checks();
  as_.mov(Width::w64, Reg::rbp, at(scratch2, frame_end_at));
  as_.alu(Alu::add, Width::w64, Reg::rbp, static_cast<s32>(isa::stack_size_bytes));
  as_.mov(Width::w64, at(scratch2, frame_end_at), Reg::rbp);
  as_.cmp(Width::w64, Reg::rbp, at(scratch2, stack_end_at));
  as_.jcc(Cond::a, cold_violation(Violation::depth, begin_));
  charge(end_ - begin_, begin_);
  clear_stack();
  if (!is_entry) return;
  for (const u8 r : {0, 3, 4, 5, 6, 7, 8, 9}) as_.zero(host(r));
}

/// Addresses in the frame that ends are outside the program's memory from here on.
void BaselineX86::leave_checked() {
  load_checks();
  as_.alu(Alu::sub, Width::w64, at(scratch2, frame_end_at), static_cast<s32>(isa::stack_size_bytes));
  if (begin_ == 0) return;
  as_.lea(Width::w64, scratch1, at(scratch2, offsetof(Checks, stack)));
  for (const bool write : {false, true}) {
    as_.mov(Width::w64, at(scratch2, window_at(write)), scratch1);
    for (s32 i = 0; i < 4; i++)
      as_.mov(Width::w64, at(scratch2, window_at(write) + static_cast<s32>(offsetof(Window, last)) + 8 * i),
              static_cast<s32>(isa::stack_size_bytes) - (1 << i));
  }
}

/// Takes `insns` from the budget; expects the Checks in r11.
void BaselineX86::charge(u32 insns, u32 insn) {
  as_.alu(Alu::sub, Width::w64, at(scratch2, budget_at), static_cast<s32>(insns));
  as_.jcc(Cond::s, cold_violation(Violation::budget, insn));
}

/// A loop begins here: a round costs all the instructions up to where it is closed.
void BaselineX86::charge_loop(u32 insn) {
  if (loop_ends_.empty() || loop_ends_[insn] == 0) return;
  load_checks();
  charge(loop_ends_[insn] - insn, insn);
}

/// Where backward jumps go, with the farthest place they come from.
void BaselineX86::find_loops() {
  loop_ends_.assign(bytecode_.insns.size(), 0);
  for (u32 i = 0; i < bytecode_.insns.size(); i += isa::slots(bytecode_.insns[i])) {
    const Form form = isa::row(bytecode_.ops[i]).form;
    if (!isa::is_jump(form)) continue;
    const s64 to = static_cast<s64>(i) + 1 + isa::jump_distance(form, bytecode_.insns[i]);
    if (to <= static_cast<s64>(i)) loop_ends_[static_cast<u32>(to)] = i + 1;
  }
}

/// The address of an access after it was checked. In the function's own frame there is nothing to ask.
Mem BaselineX86::checked_address(u32 i, u8 base, bool write, bool atomic) {
  const Insn& insn = bytecode_.insns[i];
  const u32 size = bytes_of(access_width(insn)), log2_size = static_cast<u32>(std::countr_zero(size));
  const s32 frame = static_cast<s32>(isa::stack_size_bytes);
  const bool in_frame = insn.off >= -frame && insn.off <= -static_cast<s32>(size);
  if (base == isa::frame_pointer && in_frame && (!atomic || insn.off % static_cast<s32>(size) == 0))
    return at(Reg::rbp, insn.off);
  const u32 word = access_word(i, log2_size, write);
  as_.lea(Width::w64, scratch3, at(host(base), insn.off));
  load_checks();
  as_.mov(Width::w64, scratch1, scratch3);
  as_.alu(Alu::sub, Width::w64, scratch1, at(scratch2, window_at(write)));
  as_.cmp(Width::w64, scratch1,
          at(scratch2, window_at(write) + static_cast<s32>(offsetof(Window, last) + 8 * log2_size)));
  const x86::Label slow = as_.new_label(), done = as_.new_label();
  as_.jcc(Cond::a, slow);
  as_.bind(done);
  cold_.push_back({slow, done, Violation::memory, word});
  if (atomic && size > 1) {
    as_.test(Width::w32, scratch3, static_cast<s32>(size - 1));
    as_.jcc(Cond::ne, cold_violation(Violation::misaligned, i, word));
  }
  return at(scratch3);
}

x86::Label BaselineX86::cold_violation(Violation what, u32 insn, u32 word) {
  const x86::Label label = as_.new_label();
  cold_.push_back({label, 0, what, word != 0 ? word : access_word(insn, 0, false)});
  return label;
}

/// What stands behind a function.
void BaselineX86::cold_code() {
  constexpr Reg kept[] = {Reg::rax, Reg::rsi, Reg::rdx, Reg::rcx, Reg::r8, Reg::r9, Reg::rdi};
  for (std::size_t n = 0; n < cold_.size(); n++) {
    const Cold cold = cold_[n];
    as_.bind(cold.label);
    if (cold.what == Violation::memory) {
      for (const Reg reg : kept) as_.push(reg);
      as_.push(Reg::r10);  // eight in all: the stack stays aligned
      as_.mov(Width::w64, Reg::rdx, Reg::rdi);
      as_.mov(Reg::rsi, cold.word);
      as_.mov(Width::w64, Reg::rdi, run_reg);
      as_.mov(Reg::rax, reinterpret_cast<u64>(&find_region));
      as_.call(Reg::rax);
      as_.test(Width::w64, Reg::rax, Reg::rax);
      as_.pop(Reg::r10);  // pops leave the flags alone
      for (std::size_t i = std::size(kept); i-- > 0;) as_.pop(kept[i]);
      as_.jcc(Cond::ne, cold.back);
    } else {
      as_.mov(Width::w64, Reg::rcx, Reg::rdi);
      as_.mov(Reg::rdx, cold.word);
      as_.mov(Reg::rsi, static_cast<u64>(cold.what));
      as_.mov(Width::w64, Reg::rdi, run_reg);
      as_.mov(Reg::rax, reinterpret_cast<u64>(&violate));
      as_.call(Reg::rax);
    }
    throw_used_ = true;
    as_.jmp(throw_label_);
  }
  cold_.clear();
}

/// r1 to r5 keep their values over a call, as in the interpreters: no verifier has seen whether they are used.
void BaselineX86::keep_arguments() {
  for (u8 r = 1; r <= 5; r++) as_.mov(Width::w64, at(Reg::rsp, kept_slot + 8 * (r - 1)), host(r));
}
/// Behind a call of map_lookup_elem, whose result is a value that may be used.
void BaselineX86::lend_value() {
  as_.mov(Width::w64, Reg::rcx, Reg::rax);
  as_.mov(Width::w64, Reg::rdx, at(Reg::rsp, kept_slot));
  as_.mov(Reg::rsi, reinterpret_cast<u64>(&bytecode_));
  as_.mov(Width::w64, Reg::rdi, run_reg);
  as_.mov(Reg::rax, reinterpret_cast<u64>(&lend));
  as_.call(Reg::rax);
}
void BaselineX86::restore_arguments() {
  for (u8 r = 1; r <= 5; r++) as_.mov(Width::w64, host(r), at(Reg::rsp, kept_slot + 8 * (r - 1)));
}

/// Instructions that only unverified programs have: they end the run when they are reached.
bool BaselineX86::writes_frame_pointer(u32 i) const {
  const Insn& insn = bytecode_.insns[i];
  switch (isa::row(bytecode_.ops[i]).form) {
    case Form::alu_imm:
    case Form::alu_reg:
    case Form::alu_unary:
    case Form::movsx:
    case Form::addr_space_cast:
    case Form::endian:
    case Form::load:
    case Form::load_acquire:
    case Form::ld_imm64:
      return insn.dst == isa::frame_pointer;
    case Form::atomic_fetch:
      return insn.src == isa::frame_pointer;
    default:
      return false;
  }
}

/// Errors: unsupported, naming the instruction.
Result<void> BaselineX86::can_check() const {
  const auto& insns = bytecode_.insns;
  for (u32 i = 0; i < insns.size(); i += isa::slots(insns[i])) {
    const Form form = isa::row(bytecode_.ops[i]).form;
    const std::string place = "instruction " + std::to_string(i) + ": ";
    if (form == Form::call_local && static_cast<s64>(i) + 1 + insns[i].imm == 0)
      return fail(Code::unsupported, place + "calls the program itself; use the checked interpreter");
    if (form == Form::callx)
      return fail(Code::unsupported, place + "callx has no checked machine code; use the checked interpreter");
    if (form == Form::call_helper && insns[i].imm == isa::helper_tail_call)
      return fail(Code::unsupported, place + "a tail call has no checked machine code; use the checked interpreter");
  }
  if (!bytecode_.may_throw.empty())
    return fail(Code::unsupported, "bpf_throw has no checked machine code; use the checked interpreter");
  for (const u32 start : starts_) {
    if (start == 0) continue;
    u32 last = start - 1;
    if (last > 0 && isa::is_ld_imm64(insns[last - 1])) last--;
    const Form form = isa::row(bytecode_.ops[last]).form;
    if (form != Form::exit && form != Form::jump && form != Form::jump_long)
      return fail(Code::unsupported, "instruction " + std::to_string(last) +
                                         ": runs from one function into the next; use the checked interpreter");
  }
  return {};
}

}  // namespace skep::vm::jit
