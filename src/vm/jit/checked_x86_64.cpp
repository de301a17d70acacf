// See checked_x86_64.hpp; what needs no check and why: checked_plan.hpp.
#include "vm/jit/checked_x86_64.hpp"

#include <bit>
#include <cstddef>

#include "vm/timed_loop.hpp"

namespace skep::vm::jit {

using isa::Form;
using x86::Alu;
using x86::at;
using x86::Cond;
using x86::Label;
using x86::Mem;

namespace {

constexpr auto checks_reg = x86::Reg::r12, budget_reg = x86::Reg::rdi;
constexpr auto w64 = x86::Width::w64, w32 = x86::Width::w32;
Mem field(std::size_t offset) { return at(checks_reg, static_cast<s32>(offset)); }
Mem window_begin(u32 window) { return field(offsetof(CheckState, windows) + window * sizeof(Window)); }
Mem window_places(u32 window, u32 log2_size) {
  return field(offsetof(CheckState, windows) + window * sizeof(Window) + offsetof(Window, places) + 8 * log2_size);
}
Mem register_at(u8 reg) { return field(offsetof(CheckState, registers) + 8u * reg); }

constexpr x86::Reg callee_saved[] = {x86::Reg::rbx, x86::Reg::rbp, x86::Reg::r12,
                                     x86::Reg::r13, x86::Reg::r14, x86::Reg::r15};
constexpr s32 frame = static_cast<s32>(frame_stride);

}  // namespace

Result<void> CheckedX86::run() {
  const u32 count = static_cast<u32>(bytecode_.insns.size());
  as_.reserve_labels(count + 1);  // label = instruction, the last one is behind them
  entries_.assign(count, 0);
  bodies_.assign(count, 0);
  service_label_ = as_.new_label();
  leave_label_ = as_.new_label();
  write_enter();
  write_service();
  bool falls_through = false;
  for (u32 i = 0; i < count; i += isa::slots(bytecode_.insns[i])) {
    if (plan_.is_called(i)) {
      if (falls_through) as_.jmp(i);
      write_frame(i);
    }
    as_.bind(i);
    if (plan_.leads(i)) charge(i);
    bodies_[i] = as_.new_label();
    as_.bind(bodies_[i]);
    checked_instruction(i);
    falls_through = runs_on(bytecode_, i);
  }
  as_.bind(count);
  as_.jmp(cold(Event::ran_off, count - 1, leave_label_));
  write_cold();
  if (!as_.finish()) return fail(Code::malformed, "a jump of the machine code has no target");

  out_.leave = as_.offset_of(leave_label_);
  out_.offsets.assign(count + 1, 0);
  out_.bodies.assign(count, 0);
  for (u32 i = 0; i < count; i += isa::slots(bytecode_.insns[i])) {
    out_.offsets[i] = as_.offset_of(i);
    out_.bodies[i] = as_.offset_of(bodies_[i]);
  }
  out_.offsets[count] = as_.offset_of(count);
  for (std::size_t n = 0; n < cold_.size(); n++) out_.events[n].resume = as_.offset_of(cold_[n].resume);
  for (std::size_t n = 0; n < bytecode_.callbacks.size(); n++)
    out_.call_table[n] = as_.offset_of(entries_[bytecode_.callbacks[n].insn]);
  return {};
}

/// u64 enter(Checks*, target): from C++ into an activation and back.
void CheckedX86::write_enter() {
  const Label unwind = as_.new_label(), enter = as_.new_label();
  as_.bind(enter);
  for (const Reg reg : callee_saved) as_.push(reg);
  as_.mov(w64, checks_reg, Reg::rdi);
  as_.mov(w64, scratch2, Reg::rsi);
  as_.mov(w64, scratch1, field(offsetof(CheckState, native_stack)));
  as_.push(scratch1);
  as_.mov(w64, field(offsetof(CheckState, native_stack)), Reg::rsp);
  for (u8 r = 0; r < isa::register_count; r++) as_.mov(w64, host(r), register_at(r));
  as_.mov(w64, budget_reg, field(offsetof(CheckState, insns_left)));
  as_.call(scratch2);
  as_.bind(unwind);
  as_.mov(w64, Reg::rsp, field(offsetof(CheckState, native_stack)));
  as_.mov(w64, field(offsetof(CheckState, insns_left)), budget_reg);
  as_.pop(scratch1);
  as_.mov(w64, field(offsetof(CheckState, native_stack)), scratch1);
  for (std::size_t i = std::size(callee_saved); i-- > 0;) as_.pop(callee_saved[i]);
  as_.bind(leave_label_);
  as_.ret();
  out_.enter = as_.offset_of(enter);
  out_.unwind = as_.offset_of(unwind);
}

/// Calls service() with the event in r11 and goes where it says.
void CheckedX86::write_service() {
  as_.bind(service_label_);
  for (u8 r = 0; r < isa::register_count; r++) as_.mov(w64, register_at(r), host(r));
  as_.mov(w64, field(offsetof(CheckState, insns_left)), budget_reg);
  as_.mov(w64, Reg::rdi, checks_reg);
  as_.mov(w32, Reg::rsi, scratch2);
  as_.alu(Alu::sub, w64, Reg::rsp, 8);
  as_.mov(Reg::rax, reinterpret_cast<u64>(&service));
  as_.call(Reg::rax);
  as_.alu(Alu::add, w64, Reg::rsp, 8);
  as_.mov(w64, scratch2, Reg::rax);
  for (u8 r = 0; r < isa::register_count; r++) as_.mov(w64, host(r), register_at(r));
  as_.mov(w64, budget_reg, field(offsetof(CheckState, insns_left)));
  as_.jmp(scratch2);
}

/// Where calls enter the function at `insn`: the next frame, cleared as far as the function touches it.
void CheckedX86::write_frame(u32 insn) {
  constexpr s32 step = 16;
  const s32 touched = (static_cast<s32>(plan_.touched(insn)) + step - 1) / step * step;
  entries_[insn] = entries_[insn] != 0 ? entries_[insn] : as_.new_label();
  as_.bind(entries_[insn]);
  as_.alu(Alu::add, w64, Reg::rbp, frame);
  as_.mov(w32, at(Reg::rbp, untouched_at), frame - touched);
  if (touched == 0) return;
  as_.xorps(x86::Xmm::xmm0, x86::Xmm::xmm0);
  for (s32 offset = -touched; offset < 0; offset += step) as_.movups(at(Reg::rbp, offset), x86::Xmm::xmm0);
}

// --- what fails ---

x86::Label CheckedX86::cold(Event::Kind kind, u32 insn, Label resume) {
  const Label label = as_.new_label();
  cold_.push_back({label, resume});
  out_.events.push_back({kind, insn, 0});
  return label;
}

void CheckedX86::write_cold() {
  for (std::size_t n = 0; n < cold_.size(); n++) {
    as_.bind(cold_[n].label);
    as_.mov(scratch2, n);
    as_.jmp(service_label_);
  }
}

void CheckedX86::pay(s32 price) {
  if (price != 0) as_.alu(Alu::sub, w64, budget_reg, price);
}

void CheckedX86::charge(u32 i) {
  if (plan_.looks_at_budget(i)) {
    as_.cmp(w64, budget_reg, static_cast<s32>(plan_.longest_way(i)));
    as_.jcc(Cond::b, cold(Event::budget, i, leave_label_));
  }
  pay(plan_.price(i));
}

void CheckedX86::execute(u32 i) {
  const Label on = as_.new_label();
  as_.jmp(cold(Event::execute, i, on));
  as_.bind(on);
}

/// Where instruction `i` reaches, asked for as the plan says. The register does not change between question and access.
Mem CheckedX86::address(u32 i, u8 base) {
  const Question& question = plan_.question(i);
  const Insn& insn = bytecode_.insns[i];
  if (question.kind != Question::nothing) {
    const Label again = as_.new_label();
    as_.bind(again);
    const Label astray = cold(Event::access, i, again);
    as_.lea(w64, scratch1, at(host(base), question.from));
    as_.alu(Alu::sub, w64, scratch1, window_begin(question.window));
    if (question.kind == Question::access) {
      const auto log2_size = static_cast<u32>(std::countr_zero(question.bytes));
      as_.cmp(w64, scratch1, window_places(question.window, log2_size));
    } else {  // its last byte, without wrapping around
      as_.alu(Alu::add, w64, scratch1, static_cast<s32>(question.bytes - 1));
      as_.jcc(Cond::b, astray);
      as_.cmp(w64, scratch1, window_places(question.window, 0));
    }
    as_.jcc(Cond::ae, astray);
  }
  if (question.alignment) {
    as_.lea(w64, scratch1, at(host(base), insn.off));
    as_.test(w32, scratch1, static_cast<s32>(isa::access_bytes(insn) - 1));
    as_.jcc(Cond::ne, cold(Event::alignment, i, leave_label_));
  }
  return at(host(base), insn.off);
}

// --- instructions ---

void CheckedX86::checked_instruction(u32 i) {
  if (writes_frame_pointer(bytecode_, i) || reaches_arena(bytecode_, i)) return execute(i);
  write_instruction(*this, bytecode_, i);
}

/// Division uses rdi.
void CheckedX86::alu(const Insn& insn, Operand b) {
  const bool divides = (insn.code & 0xf0) == 0x30 || (insn.code & 0xf0) == 0x90;
  if (divides) as_.push(budget_reg);
  BaselineX86::alu(insn, b);
  if (divides) as_.pop(budget_reg);
}

void CheckedX86::jump(u32 i, Form form) {
  const auto target = static_cast<Label>(static_cast<s64>(i) + 1 + isa::jump_distance(form, bytecode_.insns[i]));
  if (form == Form::may_goto) {
    const Label on = as_.new_label();
    as_.dec(w32, field(offsetof(CheckState, timed_loop)));
    as_.jcc(Cond::e, cold(Event::clock, i, on));
    as_.bind(on);
  } else {
    jump_to(i, form, target);
  }
  if (isa::is_conditional(form)) pay(plan_.edge_price(i));
}

// --- calls ---

void CheckedX86::keep(u32 registers, bool budget, bool may_goto) {
  u32 words = static_cast<u32>(std::popcount(registers)) + budget + may_goto;
  for (u8 r = 0; r < isa::frame_pointer; r++)
    if ((registers >> r & 1) != 0) as_.push(host(r));
  if (may_goto) {
    as_.mov(w64, scratch2, field(offsetof(CheckState, timed_loop)));
    as_.push(scratch2);
    as_.mov(w64, field(offsetof(CheckState, timed_loop)), static_cast<s32>(timed_loop_begin));
  }
  if (budget) as_.push(budget_reg);
  if (words % 2 == 0) as_.alu(Alu::sub, w64, Reg::rsp, 8);
}

void CheckedX86::restore(u32 registers, bool budget, bool may_goto) {
  u32 words = static_cast<u32>(std::popcount(registers)) + budget + may_goto;
  if (words % 2 == 0) as_.alu(Alu::add, w64, Reg::rsp, 8);
  if (budget) as_.pop(budget_reg);
  if (may_goto) {
    as_.pop(scratch2);
    as_.mov(w64, field(offsetof(CheckState, timed_loop)), scratch2);
  }
  for (u8 r = isa::frame_pointer; r-- > 0;)
    if ((registers >> r & 1) != 0) as_.pop(host(r));
}

void CheckedX86::call_local(u32 i) {
  constexpr u32 callee_kept = 0x3c0;
  const bool by_register = isa::row(bytecode_.ops[i]).form == Form::callx;
  const u32 kept = plan_.kept(i) & callee_kept;
  as_.cmp(w64, Reg::rbp, field(offsetof(CheckState, deepest)));
  as_.jcc(Cond::ae, cold(Event::execute, i, leave_label_));
  keep(kept, false, plan_.has_may_goto());
  if (by_register) {
    as_.call(scratch1);
  } else {
    const u32 target = static_cast<u32>(static_cast<s64>(i) + 1 + bytecode_.insns[i].imm);
    entries_[target] = entries_[target] != 0 ? entries_[target] : as_.new_label();
    as_.call(entries_[target]);
  }
  restore(kept, false, plan_.has_may_goto());
  const Label on = as_.new_label();
  as_.cmp(w64, field(offsetof(CheckState, granted)), Reg::rbp);
  as_.jcc(Cond::ae, cold(Event::returned, i, on));
  as_.bind(on);
  as_.alu(Alu::sub, w64, Reg::rbp, frame);
}

/// The register holds the address of one of our callbacks, or (vectors of the conformance suite) a helper's number.
void CheckedX86::callx(u32 i) {
  const Reg value = host(bytecode_.insns[i].dst);
  const Label not_callback = as_.new_label(), end = as_.new_label();
  const Label astray = cold(Event::execute, i, leave_label_);
  if (!bytecode_.callbacks.empty()) {
    constexpr s32 size = sizeof(base::Callback);
    static_assert(std::has_single_bit(sizeof(base::Callback)));
    as_.mov(scratch1, reinterpret_cast<u64>(bytecode_.callbacks.data()));
    as_.mov(w64, scratch2, value);
    as_.alu(Alu::sub, w64, scratch2, scratch1);
    as_.cmp(w64, scratch2, static_cast<s32>(bytecode_.callbacks.size()) * size);
    as_.jcc(Cond::ae, not_callback);
    as_.test(w32, scratch2, size - 1);
    as_.jcc(Cond::ne, astray);
    as_.shift(x86::Shift::shr, w64, scratch2, static_cast<u8>(std::countr_zero(sizeof(base::Callback))));
    as_.mov(scratch1, reinterpret_cast<u64>(out_.call_table.get()));
    as_.mov(w64, scratch1, at(scratch1, scratch2, 3));
    call_local(i);
    as_.jmp(end);
  }
  as_.bind(not_callback);
  as_.cmp(w64, value, static_cast<s32>(bytecode_.helpers.size()));
  as_.jcc(Cond::ae, astray);
  as_.mov(scratch1, reinterpret_cast<u64>(bytecode_.helpers.data()));
  as_.mov(w64, scratch1, at(scratch1, value, 3));
  as_.test(w64, scratch1, scratch1);
  as_.jcc(Cond::e, astray);
  as_.mov(w64, field(offsetof(CheckState, lookup_id)), value);
  as_.mov(w64, field(offsetof(CheckState, lookup_map)), host(1));
  call_body(i, nullptr);
  if (!bytecode_.map_uses.empty()) {
    const Label on = as_.new_label();
    as_.jmp(cold(Event::lend, i, on));
    as_.bind(on);
  }
  as_.bind(end);
}

/// The map of a look-up when it is known and its size fits into an instruction.
const Bytecode::MapUse* CheckedX86::map_of(u32 i) const {
  const Bytecode::MapUse* map = plan_.map_of_call(i);
  return map != nullptr && map->view.value_size <= 0x7fffffff ? map : nullptr;
}

void CheckedX86::call_body(u32 i, HelperFn callee) {
  constexpr u32 arguments = 0x3e;
  const Form form = isa::row(bytecode_.ops[i]).form;
  const bool looks_up = form == Form::call_helper && bytecode_.insns[i].imm == 1 && !bytecode_.map_uses.empty();
  const bool calls_back = !bytecode_.callbacks.empty();
  const u32 kept = plan_.kept(i) & arguments;
  if (looks_up && map_of(i) == nullptr) {
    as_.mov(w64, field(offsetof(CheckState, lookup_map)), host(1));
    as_.mov(w64, field(offsetof(CheckState, lookup_id)), 1);
  }
  keep(kept, !calls_back, false);
  if (calls_back) {
    as_.mov(w64, field(offsetof(CheckState, insns_left)), budget_reg);
    as_.mov(w64, field(offsetof(CheckState, frame_end)), Reg::rbp);
  }
  as_.mov(w64, Reg::rdi, field(offsetof(CheckState, run)));
  if (callee != nullptr) as_.mov(Reg::rax, reinterpret_cast<u64>(callee));
  as_.call(callee != nullptr ? Reg::rax : scratch1);
  if (calls_back) as_.mov(w64, budget_reg, field(offsetof(CheckState, insns_left)));
  restore(kept, !calls_back, false);
  if (calls_back || form == Form::call_kfunc) {
    as_.mov(w64, scratch1, field(offsetof(CheckState, run)));
    as_.cmp(x86::Width::w8, at(scratch1, offsetof(Run, thrown)), 0);
    as_.jcc(Cond::ne, cold(Event::thrown, i, leave_label_));
  }
  if (looks_up) look_up(i);
}

/// The element whose address is in r0 is the program's: a window over it, and a note unless it is an array's.
void CheckedX86::look_up(u32 i) {
  const Bytecode::MapUse* map = map_of(i);
  const Label end = as_.new_label();
  if (map == nullptr) {
    as_.jmp(cold(Event::lend, i, end));
    return as_.bind(end);
  }
  as_.test(w64, Reg::rax, Reg::rax);
  as_.jcc(Cond::e, end);
  const u32 bytes = map->view.value_size;
  if (map->view.kind != base::MapView::Kind::array) {
    static_assert(std::has_single_bit(Checks::most_lent) && sizeof(Checks::Lent) == 16);
    as_.mov(w32, scratch1, field(offsetof(CheckState, lent_count)));
    as_.inc(w64, field(offsetof(CheckState, lent_count)));
    as_.alu(Alu::and_, w32, scratch1, static_cast<s32>(Checks::most_lent - 1));
    as_.shift(x86::Shift::shl, w32, scratch1, 4);
    as_.alu(Alu::add, w64, scratch1, checks_reg);
    as_.mov(w64, at(scratch1, offsetof(CheckState, lent)), Reg::rax);
    as_.mov(w64, at(scratch1, offsetof(CheckState, lent) + 8), static_cast<s32>(bytes));
  }
  for (u32 window = plan_.window_of_call(i); window < 2 * window_count; window += window_count) {
    if ((plan_.windows() >> window & 1) == 0) continue;
    as_.mov(w64, window_begin(window), Reg::rax);
    for (u32 k = 0; k < 4; k++) as_.mov(w64, window_places(window, k), static_cast<s32>(places_in(bytes, k)));
  }
  as_.bind(end);
}

}  // namespace skep::vm::jit
