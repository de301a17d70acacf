// The walk over the program, control flow and calls. See baseline_arm64.hpp for registers and frames.
#include "vm/jit/baseline_arm64.hpp"

#include <cerrno>
#include <cstddef>

#include "vm/jit/entry.hpp"
#include "vm/timed_loop.hpp"

namespace skep::vm::jit {

using arm64::Alu;
using arm64::at;
using arm64::Cond;

namespace {

/// Our own two words at the bottom of a frame.
constexpr s32 word_slot = 0, loop_slot = 8, own_bytes = 16;
constexpr s32 tail_calls_at = offsetof(base::Run, tail_calls), thrown_at = offsetof(base::Run, thrown);

constexpr Cond condition_of(u8 code) {
  switch (code & 0xf0) {
    case 0x10:
      return Cond::eq;
    case 0x20:
      return Cond::hi;
    case 0x30:
      return Cond::hs;
    case 0x60:
      return Cond::gt;
    case 0x70:
      return Cond::ge;
    case 0xa0:
      return Cond::lo;
    case 0xb0:
      return Cond::ls;
    case 0xc0:
      return Cond::lt;
    case 0xd0:
      return Cond::le;
    default:  // jne, jset
      return Cond::ne;
  }
}

}  // namespace

Result<void> BaselineArm64::run() {
  const u32 count = static_cast<u32>(bytecode_.insns.size());
  for (u32 i = 0; i < count; i++) as_.new_label();  // label = instruction; more are made behind them
  starts_ = function_starts(bytecode_);
  for (std::size_t i = 0; i < starts_.size(); i++)
    SKEP_TRY(function(starts_[i], i + 1 < starts_.size() ? starts_[i + 1] : count));
  if (!as_.finish())
    return fail(Code::limit, "a jump of the machine code leads too far (128 MiB); use the interpreter tier");
  return {};
}

std::vector<u8> BaselineArm64::code() const {
  std::vector<u8> bytes;
  bytes.reserve(as_.size());
  for (const u32 word : as_.words())
    for (u32 i = 0; i < 4; i++) bytes.push_back(static_cast<u8>(word >> 8 * i));
  return bytes;
}

// --- functions ---

Result<void> BaselineArm64::function(u32 begin, u32 end) {
  begin_ = begin;
  end_ = end;
  Needs needs = needs_of(bytecode_, begin, end);
  needs.calls |= needs.may_goto;  // the return address is in a register
  as_.align(16);
  const auto start = as_.mark();
  is_far_ = false;
  SKEP_TRY(write_function(needs));
  if (as_.settle(start) == Reach::all) return {};
  as_.rewind(start);
  is_far_ = true;
  SKEP_TRY(write_function(needs));
  if (as_.settle(start) != Reach::all)
    return fail(Code::limit, "a jump of the machine code leads too far (128 MiB); use the interpreter tier");
  return {};
}

Result<void> BaselineArm64::write_function(const Needs& needs) {
  body_label_ = as_.new_label();
  throw_label_ = as_.new_label();
  trap_label_ = as_.new_label();
  throw_used_ = trap_used_ = false;
  stray_ = {};
  prologue(needs);
  for (u32 i = begin_; i < end_; i += isa::slots(bytecode_.insns[i])) {
    as_.bind(i == begin_ ? body_label_ : i);
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

void BaselineArm64::prologue(const Needs& needs) {
  frame_ = {};
  const auto save = [&](Reg reg) { frame_.saved[frame_.saved_count++] = reg; };
  const bool has_stack = (needs.registers >> isa::frame_pointer & 1) != 0;
  if (needs.calls) {
    save(Reg::x29);
    save(Reg::x30);
    save(run_reg);
  }
  for (u8 r = 6; r <= 9; r++)
    if (needs.registers >> r & 1) save(host(r));
  if (has_stack) save(host(isa::frame_pointer));
  if (frame_.saved_count % 2 != 0) save(Reg::zr);
  stack_end_ = (needs.own_words ? own_bytes : 0) + (has_stack ? static_cast<s32>(isa::stack_size_bytes) : 0);
  frame_.bytes = static_cast<u32>(stack_end_);

  as_.bind(begin_);
  for (u32 i = 0; i < frame_.saved_count; i += 2) as_.push_pair(frame_.saved[i], frame_.saved[i + 1], Reg::sp, -16);
  if (needs.calls) {
    as_.sum_imm(Alu::add, Width::w64, Reg::x29, Reg::sp, (frame_.saved_count - 2) * 8);  // the frame record
    as_.mov(Width::w64, run_reg, Reg::x0);
  }
  if (frame_.bytes != 0) as_.sum_imm(Alu::sub, Width::w64, Reg::sp, Reg::sp, frame_.bytes);
  if (has_stack) as_.sum_imm(Alu::add, Width::w64, host(isa::frame_pointer), Reg::sp, static_cast<u32>(stack_end_));
  if (needs.own_words) {
    as_.mov(spare1, timed_loop_begin);
    as_.store(Size::b64, spare1, at(Reg::sp, loop_slot));
  }
  if (has_stack && bytecode_.clear_frames) clear_stack();
}

void BaselineArm64::clear_stack() {
  constexpr u32 step = 64;
  const Label again = as_.new_label();
  as_.sum_imm(Alu::sub, Width::w64, spare1, host(isa::frame_pointer), isa::stack_size_bytes);
  as_.bind(again);
  for (s32 offset = 0; offset < static_cast<s32>(step); offset += 16) as_.store_pair(Reg::zr, Reg::zr, spare1, offset);
  as_.sum_imm(Alu::add, Width::w64, spare1, spare1, step);
  as_.alu(Alu::subs, Width::w64, Reg::zr, spare1, host(isa::frame_pointer));
  as_.b(Cond::ne, again);
}

/// Undoes the prologue; touches no argument and not `place`.
void BaselineArm64::epilogue() {
  if (frame_.bytes != 0) as_.sum_imm(Alu::add, Width::w64, Reg::sp, Reg::sp, frame_.bytes);
  for (u32 i = frame_.saved_count; i != 0; i -= 2) as_.pop_pair(frame_.saved[i - 2], frame_.saved[i - 1], Reg::sp, 16);
}

void BaselineArm64::leave(u64 result) {
  as_.mov(Reg::x0, result);
  epilogue();
  as_.ret();
}

/// Where an unverified program goes astray: as in the interpreter it ends with 0.
void BaselineArm64::trap() {
  if (!runs_off(bytecode_, end_) && !trap_used_) return;
  as_.bind(trap_label_);
  leave(0);
}

// --- jumps ---

void BaselineArm64::jump(u32 i, Form form) {
  const Insn& insn = bytecode_.insns[i];
  const auto to = target_within(bytecode_, i, begin_, end_);
  if (!to) {
    stray_ = tl::unexpected(to.error());
    return;
  }
  // A loop may begin at the function's first instruction, behind the prologue that calls go to.
  const Label target = *to == begin_ ? body_label_ : static_cast<Label>(*to);
  switch (form) {
    case Form::may_goto:
      return may_goto(target);
    case Form::jump_imm:
      return conditional(insn, number(insn.imm), target);
    case Form::jump_reg:
      return conditional(insn, in(insn.src), target);
    default:
      if (*to != i + 1) as_.b(target);
  }
}

void BaselineArm64::conditional(const Insn& insn, Operand b, Label target) {
  const Width w = alu_width(insn);
  const Reg a = host(insn.dst);
  const u8 kind = insn.code & 0xf0;
  if (kind == 0x40) {  // jset
    const u64 mask = w == Width::w64 ? static_cast<u64>(s64{b.imm}) : static_cast<u32>(b.imm);
    const auto fields = b.is_reg ? std::nullopt : arm64::mask_fields(mask, w);
    if (fields)
      as_.logic_imm(Alu::ands, w, Reg::zr, a, *fields);
    else
      as_.alu(Alu::ands, w, Reg::zr, a, in_register(b, w));
  } else if (!b.is_reg && b.imm == 0 && (kind == 0x10 || kind == 0x50)) {
    return branch_if_zero(kind == 0x10, w, a, target);
  } else {
    compare(w, a, b);
  }
  branch(condition_of(insn.code), target);
}

void BaselineArm64::branch(Cond c, Label target) {
  if (!is_far_) return as_.b(c, target);
  const Label on = as_.new_label();
  as_.b(arm64::inverse(c), on);
  as_.b(target);
  as_.bind(on);
}

void BaselineArm64::branch_if_zero(bool zero, Width w, Reg reg, Label target) {
  const Label to = is_far_ ? as_.new_label() : target;
  if (zero != is_far_)
    as_.cbz(w, reg, to);
  else
    as_.cbnz(w, reg, to);
  if (!is_far_) return;
  as_.b(target);
  as_.bind(to);
}

/// See timed_loop.hpp. A look at the clock keeps r0 to r5 (x7, x1 to x5).
void BaselineArm64::may_goto(Label target) {
  constexpr Reg kept[][2] = {{Reg::x7, Reg::x1}, {Reg::x2, Reg::x3}, {Reg::x4, Reg::x5}};
  constexpr s32 kept_bytes = 16 * static_cast<s32>(std::size(kept));
  const Label on = as_.new_label();
  as_.load(Size::b32, false, spare1, at(Reg::sp, loop_slot));
  as_.sum_imm(Alu::subs, Width::w32, spare1, spare1, 1);
  as_.store(Size::b32, spare1, at(Reg::sp, loop_slot));
  as_.b(Cond::ne, on);
  for (const auto& pair : kept) as_.push_pair(pair[0], pair[1], Reg::sp, -16);
  as_.load(Size::b64, false, Reg::x0, at(Reg::sp, loop_slot + kept_bytes));
  as_.mov(place, reinterpret_cast<u64>(&look_at_clock));
  as_.blr(place);
  as_.store(Size::b64, Reg::x0, at(Reg::sp, loop_slot + kept_bytes));
  for (std::size_t i = std::size(kept); i-- > 0;) as_.pop_pair(kept[i][0], kept[i][1], Reg::sp, 16);
  as_.sum_imm(Alu::subs, Width::w32, Reg::zr, Reg::x0, timed_loop_over);
  branch(Cond::eq, target);
  as_.bind(on);
}

// --- calls ---

void BaselineArm64::call(u32 i) {
  as_.mov(place, reinterpret_cast<u64>(bytecode_.slots[i].helper));
  call_place(bytecode_.throws(i));
}

void BaselineArm64::call_place(bool may_throw) {
  as_.mov(Width::w64, Reg::x0, run_reg);
  as_.blr(place);
  after_call(may_throw);
}

void BaselineArm64::after_call(bool may_throw) {
  as_.mov(Width::w64, result_reg, Reg::x0);
  if (!may_throw) return;
  as_.load(Size::b8, false, spare1, at(run_reg, thrown_at));
  branch_if_zero(false, Width::w32, spare1, throw_label_);
  throw_used_ = true;
}

/// bpf_throw happened below or here: the main function settles it, every other returns at once.
void BaselineArm64::thrown() {
  if (begin_ != 0) return leave(0);
  as_.mov(Width::w64, Reg::x0, run_reg);
  as_.mov(Reg::x1, reinterpret_cast<u64>(&bytecode_));
  as_.mov(place, reinterpret_cast<u64>(&settle_throw));
  as_.blr(place);
  epilogue();
  as_.ret();
}

void BaselineArm64::call_local(u32 i) {
  as_.mov(Width::w64, Reg::x0, run_reg);
  as_.bl(static_cast<Label>(static_cast<s64>(i) + 1 + bytecode_.insns[i].imm));
  after_call(bytecode_.throws(i));
}

/// The register holds the address of one of our callbacks, or (vectors of the conformance suite) a helper's number.
void BaselineArm64::callx(u32 i) {
  const Reg callee = host(bytecode_.insns[i].dst);
  const Label not_callback = as_.new_label(), found = as_.new_label();
  trap_used_ = true;
  if (!bytecode_.callbacks.empty()) {
    as_.mov(place, reinterpret_cast<u64>(bytecode_.callbacks.data()));
    as_.alu(Alu::sub, Width::w64, spare1, callee, place);
    as_.mov(spare2, bytecode_.callbacks.size() * sizeof(base::Callback));
    as_.alu(Alu::subs, Width::w64, Reg::zr, spare1, spare2);
    as_.b(Cond::hs, not_callback);
    as_.load(Size::b64, false, place, at(callee, offsetof(base::Callback, native)));
    as_.b(found);
  }
  as_.bind(not_callback);
  as_.mov(spare2, bytecode_.helpers.size());
  as_.alu(Alu::subs, Width::w64, Reg::zr, callee, spare2);
  branch(Cond::hs, trap_label_);
  as_.mov(place, reinterpret_cast<u64>(bytecode_.helpers.data()));
  as_.load(Size::b64, false, place, {.base = place, .index = callee, .scaled = true});
  branch_if_zero(true, Width::w64, place, trap_label_);
  as_.bind(found);
  call_place(bytecode_.throws(i));
}

/// Leaves this function's frame and enters the target's program; falls through with an error in r0 when there is none.
void BaselineArm64::tail_call(u32) {
  static_assert(function_entry_at == 0);
  const Label missing = as_.new_label(), too_many = as_.new_label(), end = as_.new_label();
  as_.store(Size::b64, host(1), at(Reg::sp, word_slot));
  as_.mov(Width::w64, Reg::x0, host(2));
  as_.mov(Width::w32, Reg::x1, host(3));
  as_.mov(place, reinterpret_cast<u64>(bytecode_.tail_target));
  as_.blr(place);
  as_.cbz(Width::w64, Reg::x0, missing);
  as_.load(Size::b32, false, spare1, at(run_reg, tail_calls_at));
  as_.sum_imm(Alu::subs, Width::w32, Reg::zr, spare1, isa::max_tail_calls);
  as_.b(Cond::hs, too_many);
  as_.sum_imm(Alu::add, Width::w32, spare1, spare1, 1);
  as_.store(Size::b32, spare1, at(run_reg, tail_calls_at));
  as_.load(Size::b64, false, Reg::x1, at(Reg::sp, word_slot));
  as_.mov(Width::w64, Reg::x5, Reg::x0);  // see entry.hpp: a program is told which Function it is
  as_.load_acquire(Size::b64, place, Reg::x0);
  as_.mov(Width::w64, Reg::x0, run_reg);
  epilogue();
  as_.br(place);
  as_.bind(missing);
  as_.mov(result_reg, static_cast<u64>(s64{-ENOENT}));
  as_.b(end);
  as_.bind(too_many);
  as_.mov(result_reg, static_cast<u64>(s64{-ELOOP}));
  as_.bind(end);
}

void BaselineArm64::exit() {
  as_.mov(Width::w64, Reg::x0, result_reg);
  epilogue();
  as_.ret();
}

void BaselineArm64::ld_packet(u32 i) {
  const Insn& insn = bytecode_.insns[i];
  const Form form = isa::row(bytecode_.ops[i]).form;
  as_.mov(Reg::x0, static_cast<u32>(insn.imm));
  as_.alu(Alu::add, Width::w32, Reg::x2, Reg::x0, form == Form::ld_ind ? host(insn.src) : Reg::zr);
  as_.mov(Width::w64, Reg::x0, run_reg);
  as_.mov(Width::w64, Reg::x1, host(6));
  as_.mov(Reg::x3, u64{1} << static_cast<u32>(access_size(insn)));
  as_.sum_imm(Alu::add, Width::w64, Reg::x4, Reg::sp, word_slot);
  as_.mov(place, reinterpret_cast<u64>(bytecode_.load_packet));
  as_.blr(place);
  branch_if_zero(false, Width::w64, Reg::x0, trap_label_);  // outside the packet: the function ends with 0
  trap_used_ = true;
  as_.load(Size::b64, false, result_reg, at(Reg::sp, word_slot));
}

}  // namespace skep::vm::jit
