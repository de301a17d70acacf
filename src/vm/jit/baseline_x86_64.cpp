// The walk over the program, control flow and calls. See baseline_x86_64.hpp for registers and frames.
#include "vm/jit/baseline_x86_64.hpp"

#include <cerrno>
#include <cstddef>

#include "vm/jit/entry.hpp"
#include "vm/timed_loop.hpp"

namespace skep::vm::jit {

using isa::Form;
using x86::Alu;
using x86::at;
using x86::Cond;
using x86::Mem;

namespace {

/// Our own two words at the bottom of a frame.
constexpr s32 word_slot = 0, loop_slot = 8, own_bytes = 16;

constexpr Cond condition_of(u8 code) {
  switch (code & 0xf0) {
    case 0x10:
      return Cond::e;
    case 0x20:
      return Cond::a;
    case 0x30:
      return Cond::ae;
    case 0x50:
      return Cond::ne;
    case 0x60:
      return Cond::g;
    case 0x70:
      return Cond::ge;
    case 0xa0:
      return Cond::b;
    case 0xb0:
      return Cond::be;
    case 0xc0:
      return Cond::l;
    case 0xd0:
      return Cond::le;
    default:  // jset
      return Cond::ne;
  }
}

constexpr s32 tail_calls_at = offsetof(Run, tail_calls), thrown_at = offsetof(Run, thrown);

}  // namespace

BaselineX86::BaselineX86(const Bytecode& code, const BaselineOptions& options)
    : bytecode_(code),
      bmi2_(x86::cpu_features().bmi2),
      random_(options.blinding_seed),
      as_(256 + code.insns.size() * 8) {}

Result<void> BaselineX86::run() {
  const u32 count = static_cast<u32>(bytecode_.insns.size());
  as_.reserve_labels(count);  // label = instruction; more are made behind them
  starts_ = function_starts(bytecode_);
  for (std::size_t i = 0; i < starts_.size(); i++)
    SKEP_TRY(function(starts_[i], i + 1 < starts_.size() ? starts_[i + 1] : count));
  if (!as_.finish()) return fail(Code::malformed, "a jump of the machine code has no target");
  return {};
}

// --- functions ---

Result<void> BaselineX86::function(u32 begin, u32 end) {
  begin_ = begin;
  end_ = end;
  body_label_ = as_.new_label();
  throw_label_ = as_.new_label();
  trap_label_ = as_.new_label();
  throw_used_ = trap_used_ = false;
  stray_ = {};
  prologue(needs_of(bytecode_, begin, end));
  for (u32 i = begin; i < end; i += isa::slots(bytecode_.insns[i])) {
    as_.bind(i == begin ? body_label_ : i);
    write_instruction(*this, bytecode_, i);
  }
  SKEP_TRY(std::move(stray_));
  trap();  // nothing verified gets here
  if (throw_used_) {
    as_.bind(throw_label_);
    thrown();
  }
  return {};
}

void BaselineX86::prologue(const Needs& needs) {
  frame_ = {};
  const auto save = [&](Reg reg) { frame_.saved[frame_.saved_count++] = reg; };
  const bool has_stack = (needs.registers >> isa::frame_pointer & 1) != 0;
  if (has_stack) save(Reg::rbp);
  if (needs.calls) save(run_reg);
  for (u8 r = 6; r <= 9; r++)
    if (needs.registers >> r & 1) save(host(r));
  if (has_stack) frame_.stack_end = isa::stack_size_bytes;
  if (needs.own_words) frame_.stack_end += own_bytes;
  // At entry rsp is 8 past a multiple of 16; it ends at a multiple where it matters to anyone.
  frame_.bytes = frame_.stack_end;
  const bool misaligned = frame_.saved_count % 2 == 0;
  if (misaligned && (needs.calls || has_stack || needs.own_words)) frame_.bytes += 8;

  as_.bind(begin_);
  for (u32 i = 0; i < frame_.saved_count; i++) as_.push(frame_.saved[i]);
  if (needs.calls) as_.mov(Width::w64, run_reg, Reg::rdi);
  if (frame_.bytes != 0) as_.alu(Alu::sub, Width::w64, Reg::rsp, static_cast<s32>(frame_.bytes));
  if (has_stack) as_.lea(Width::w64, Reg::rbp, at(Reg::rsp, static_cast<s32>(frame_.stack_end)));
  if (needs.own_words) as_.mov(Width::w64, at(Reg::rsp, loop_slot), static_cast<s32>(timed_loop_begin));
  if (has_stack && bytecode_.clear_frames) clear_stack();
}

void BaselineX86::clear_stack() {
  constexpr s32 step = 64;
  const x86::Label again = as_.new_label();
  as_.xorps(x86::Xmm::xmm0, x86::Xmm::xmm0);
  as_.lea(Width::w64, scratch1, at(Reg::rbp, -static_cast<s32>(isa::stack_size_bytes)));
  as_.bind(again);
  for (s32 offset = 0; offset < step; offset += 16) as_.movups(at(scratch1, offset), x86::Xmm::xmm0);
  as_.alu(Alu::add, Width::w64, scratch1, step);
  as_.cmp(Width::w64, scratch1, Reg::rbp);
  as_.jcc(Cond::ne, again);
}

/// Undoes the prologue; with `returns` also goes back to the caller.
void BaselineX86::epilogue(bool returns) {
  if (frame_.bytes != 0) as_.alu(Alu::add, Width::w64, Reg::rsp, static_cast<s32>(frame_.bytes));
  for (u32 i = frame_.saved_count; i-- > 0;) as_.pop(frame_.saved[i]);
  if (returns) as_.ret();
}

/// Where an unverified program goes astray: as in the interpreter it ends with 0.
void BaselineX86::trap() {
  if (!runs_off(bytecode_, end_) && !trap_used_) return;
  as_.bind(trap_label_);
  as_.zero(Reg::rax);
  epilogue(true);
}

// --- jumps ---

void BaselineX86::jump(u32 i, Form form) {
  const auto to = target_within(bytecode_, i, begin_, end_);
  if (!to) {
    stray_ = tl::unexpected(to.error());
    return;
  }
  // A loop may begin at the function's first instruction, behind the prologue that calls go to.
  const auto target = *to == begin_ ? body_label_ : static_cast<x86::Label>(*to);
  if (form == Form::may_goto)
    may_goto(target);
  else
    jump_to(i, form, target);
}

/// Every jump but may_goto. `target` stands for where instruction `i` jumps to.
void BaselineX86::jump_to(u32 i, Form form, x86::Label target) {
  const Insn& insn = bytecode_.insns[i];
  if (form == Form::jump_imm)
    conditional(insn, {.imm = insn.imm}, target);
  else if (form == Form::jump_reg)
    conditional(insn, {.reg = host(insn.src)}, target);
  else if (isa::jump_distance(form, insn) != 0)
    as_.jmp(target);
}

void BaselineX86::conditional(const Insn& insn, Operand b, x86::Label target) {
  const Width w = alu_width(insn);
  const Reg a = host(insn.dst);
  const bool is_test = (insn.code & 0xf0) == 0x40;
  if (!b.is_reg() && b.imm != 0) b = number(b.imm);
  if (b.is_reg())
    is_test ? as_.test(w, a, b.reg) : as_.cmp(w, a, b.reg);
  else if (is_test)
    as_.test(b.imm >= 0 ? Width::w32 : w, a, b.imm);
  else if (b.imm == 0)
    as_.test(w, a, a);
  else
    as_.cmp(w, a, b.imm);
  as_.jcc(condition_of(insn.code), target);
}

/// See timed_loop.hpp. A look at the clock keeps r0 to r5.
void BaselineX86::may_goto(x86::Label target) {
  constexpr Reg kept[] = {Reg::rax, Reg::rsi, Reg::rdx, Reg::rcx, Reg::r8, Reg::r9};
  constexpr s32 kept_bytes_here = 8 * static_cast<s32>(std::size(kept));  // a multiple of 16
  const x86::Label on = as_.new_label();
  as_.dec(Width::w32, at(Reg::rsp, loop_slot));
  as_.jcc_short(Cond::ne, on);
  for (const Reg reg : kept) as_.push(reg);
  as_.mov(Width::w64, Reg::rdi, at(Reg::rsp, loop_slot + kept_bytes_here));
  as_.mov(Reg::rax, reinterpret_cast<u64>(&look_at_clock));
  as_.call(Reg::rax);
  as_.mov(Width::w64, at(Reg::rsp, loop_slot + kept_bytes_here), Reg::rax);
  for (std::size_t i = std::size(kept); i-- > 0;) as_.pop(kept[i]);
  as_.cmp(Width::w32, at(Reg::rsp, loop_slot), static_cast<s32>(timed_loop_over));
  as_.jcc(Cond::e, target);
  as_.bind(on);
}

// --- calls ---

void BaselineX86::call(u32 i) {
  as_.mov(Width::w64, Reg::rdi, run_reg);
  as_.mov(Reg::rax, reinterpret_cast<u64>(bytecode_.slots[i].helper));
  as_.call(Reg::rax);
  after_call(bytecode_.throws(i));
}

void BaselineX86::after_call(bool may_throw) {
  if (!may_throw) return;
  as_.cmp(Width::w8, at(run_reg, thrown_at), 0);
  as_.jcc(Cond::ne, throw_label_);
  throw_used_ = true;
}

/// bpf_throw happened below or here: the main function settles it, every other returns at once.
void BaselineX86::thrown() {
  if (begin_ == 0) {
    as_.mov(Width::w64, Reg::rdi, run_reg);
    as_.mov(Reg::rsi, reinterpret_cast<u64>(&bytecode_));
    as_.mov(Reg::rax, reinterpret_cast<u64>(&settle_throw));
    as_.call(Reg::rax);
  } else {
    as_.zero(Reg::rax);
  }
  epilogue(true);
}

void BaselineX86::call_local(u32 i) {
  as_.mov(Width::w64, Reg::rdi, run_reg);
  as_.call(static_cast<x86::Label>(static_cast<s64>(i) + 1 + bytecode_.insns[i].imm));
  after_call(bytecode_.throws(i));
}

/// The register holds the address of one of our callbacks, or (vectors of the conformance suite) a helper's number.
void BaselineX86::callx(u32 i) {
  const Reg value = host(bytecode_.insns[i].dst);
  const x86::Label not_callback = as_.new_label(), found = as_.new_label();
  trap_used_ = true;
  if (!bytecode_.callbacks.empty()) {
    const auto bytes = static_cast<s32>(bytecode_.callbacks.size() * sizeof(base::Callback));
    as_.mov(scratch1, reinterpret_cast<u64>(bytecode_.callbacks.data()));
    as_.mov(Width::w64, scratch2, value);
    as_.alu(Alu::sub, Width::w64, scratch2, scratch1);
    as_.cmp(Width::w64, scratch2, bytes);
    as_.jcc(Cond::ae, not_callback);
    as_.mov(Width::w64, scratch1, at(value, offsetof(base::Callback, native)));
    as_.jmp(found);
  }
  as_.bind(not_callback);
  as_.cmp(Width::w64, value, static_cast<s32>(bytecode_.helpers.size()));
  as_.jcc(Cond::ae, trap_label_);
  as_.mov(scratch1, reinterpret_cast<u64>(bytecode_.helpers.data()));
  as_.mov(Width::w64, scratch1, at(scratch1, value, 3));
  as_.test(Width::w64, scratch1, scratch1);
  as_.jcc(Cond::e, trap_label_);
  as_.bind(found);
  as_.mov(Width::w64, Reg::rdi, run_reg);
  as_.call(scratch1);
  after_call(bytecode_.throws(i));
}

/// Leaves this function's frame and enters the target's program; falls through with an error in r0 when there is none.
void BaselineX86::tail_call(u32) {
  const x86::Label missing = as_.new_label(), too_many = as_.new_label(), end = as_.new_label();
  as_.mov(Width::w64, at(Reg::rsp, word_slot), host(1));
  as_.mov(Width::w64, Reg::rdi, host(2));
  as_.mov(Width::w32, Reg::rsi, host(3));
  as_.mov(Reg::rax, reinterpret_cast<u64>(bytecode_.tail_target));
  as_.call(Reg::rax);
  as_.test(Width::w64, Reg::rax, Reg::rax);
  as_.jcc_short(Cond::e, missing);
  as_.cmp(Width::w32, at(run_reg, tail_calls_at), static_cast<s32>(isa::max_tail_calls));
  as_.jcc_short(Cond::ae, too_many);
  as_.inc(Width::w32, at(run_reg, tail_calls_at));
  as_.mov(Width::w64, Reg::rsi, at(Reg::rsp, word_slot));
  as_.mov(Width::w64, Reg::rdi, run_reg);
  as_.mov(Width::w64, Reg::r9, Reg::rax);  // see entry.hpp: a program is told which Function it is
  as_.mov(Width::w64, Reg::rax, at(Reg::rax, function_entry_at));
  epilogue(false);
  as_.jmp(Reg::rax);
  as_.bind(missing);
  as_.mov(Reg::rax, static_cast<u64>(static_cast<s64>(-ENOENT)));
  as_.jmp_short(end);
  as_.bind(too_many);
  as_.mov(Reg::rax, static_cast<u64>(static_cast<s64>(-ELOOP)));
  as_.bind(end);
}

void BaselineX86::ld_packet(u32 i) {
  const Insn& insn = bytecode_.insns[i];
  if (isa::row(bytecode_.ops[i]).form == Form::ld_ind)
    as_.lea(Width::w32, Reg::rdx, at(host(insn.src), insn.imm));
  else
    as_.mov(Reg::rdx, static_cast<u32>(insn.imm));
  as_.mov(Width::w64, Reg::rsi, host(6));
  as_.mov(Width::w64, Reg::rdi, run_reg);
  as_.mov(Reg::rcx, static_cast<u64>(access_width(insn)));
  as_.lea(Width::w64, Reg::r8, at(Reg::rsp, word_slot));
  as_.mov(Reg::rax, reinterpret_cast<u64>(bytecode_.load_packet));
  as_.call(Reg::rax);
  as_.test(Width::w64, Reg::rax, Reg::rax);
  as_.jcc(Cond::ne, trap_label_);  // outside the packet: the function ends with 0
  trap_used_ = true;
  as_.mov(Width::w64, Reg::rax, at(Reg::rsp, word_slot));
}

}  // namespace skep::vm::jit
