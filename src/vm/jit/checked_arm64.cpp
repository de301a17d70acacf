// See checked_arm64.hpp; what needs no check and why: checked_plan.hpp.
#include "vm/jit/checked_arm64.hpp"

#include <bit>
#include <cstddef>

#include "vm/timed_loop.hpp"

namespace skep::vm::jit {

using arm64::Alu;
using arm64::at;
using arm64::Cond;
using arm64::Label;
using arm64::Mem;
using isa::Form;

namespace {

constexpr auto w64 = arm64::Width::w64, w32 = arm64::Width::w32;
constexpr auto b64 = arm64::Size::b64;
constexpr std::size_t window_begin(u32 window) { return offsetof(CheckState, windows) + window * sizeof(Window); }
constexpr std::size_t window_places(u32 window, u32 log2_size) {
  return window_begin(window) + offsetof(Window, places) + 8 * log2_size;
}
constexpr std::size_t register_at(u8 reg) { return offsetof(CheckState, registers) + 8u * reg; }
static_assert(arm64::fits_disp(sizeof(CheckState) - 8, b64));

constexpr arm64::Reg callee_saved[][2] = {{arm64::Reg::x29, arm64::Reg::x30},
                                          {arm64::Reg::x19, arm64::Reg::x20},
                                          {arm64::Reg::x21, arm64::Reg::x22},
                                          {arm64::Reg::x23, arm64::Reg::x24},
                                          {arm64::Reg::x25, arm64::Reg::zr}};

}  // namespace

void CheckedArm64::load_field(Reg reg, std::size_t offset) {
  as_.load(b64, false, reg, at(checks_reg, static_cast<s64>(offset)));
}
void CheckedArm64::store_field(Reg reg, std::size_t offset) {
  as_.store(b64, reg, at(checks_reg, static_cast<s64>(offset)));
}

Result<void> CheckedArm64::run() {
  const auto start = as_.mark();
  write();
  if (as_.settle(start) != Reach::all) {  // a conditional jump leads too far: all of them go around
    as_.rewind(start);
    cold_.clear();
    out_.events.clear();
    is_far_ = true;
    write();
  }
  if (!as_.finish())
    return fail(Code::limit, "a jump of the machine code leads too far (128 MiB); use the checked interpreter");
  note_offsets();
  return {};
}

void CheckedArm64::write() {
  const u32 count = static_cast<u32>(bytecode_.insns.size());
  for (u32 i = 0; i <= count; i++) as_.new_label();  // label = instruction, the last one is behind them
  entries_.assign(count, 0);
  bodies_.assign(count, 0);
  service_label_ = as_.new_label();
  leave_label_ = as_.new_label();
  write_enter();
  write_service();
  bool falls_through = false;
  for (u32 i = 0; i < count; i += isa::slots(bytecode_.insns[i])) {
    if (plan_.is_called(i)) {
      if (falls_through) as_.b(i);
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
  as_.b(cold(Event::ran_off, count - 1, leave_label_));
  write_cold();
}

void CheckedArm64::note_offsets() {
  const u32 count = static_cast<u32>(bytecode_.insns.size());
  out_.enter = as_.offset_of(enter_label_);
  out_.unwind = as_.offset_of(unwind_label_);
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
}

/// u64 enter(Checks*, target): from C++ into an activation and back.
void CheckedArm64::write_enter() {
  const Label unwind = as_.new_label(), enter = as_.new_label();
  as_.bind(enter);
  for (const auto& pair : callee_saved) as_.push_pair(pair[0], pair[1], Reg::sp, -16);
  as_.mov(w64, checks_reg, Reg::x0);
  as_.mov(w64, place, Reg::x1);
  load_field(spare1, offsetof(CheckState, native_stack));
  as_.push_pair(spare1, Reg::zr, Reg::sp, -16);
  as_.sum_imm(Alu::add, w64, spare1, Reg::sp, 0);
  store_field(spare1, offsetof(CheckState, native_stack));
  for (u8 r = 0; r < isa::register_count; r++) load_field(host(r), register_at(r));
  load_field(budget_reg, offsetof(CheckState, insns_left));
  as_.adr(Reg::x30, unwind);
  as_.push_pair(Reg::x30, Reg::zr, Reg::sp, -16);
  as_.br(place);
  as_.bind(unwind);
  load_field(spare1, offsetof(CheckState, native_stack));
  as_.sum_imm(Alu::add, w64, Reg::sp, spare1, 0);
  store_field(budget_reg, offsetof(CheckState, insns_left));
  as_.pop_pair(spare1, Reg::zr, Reg::sp, 16);
  store_field(spare1, offsetof(CheckState, native_stack));
  as_.mov(w64, Reg::x0, result_reg);
  for (std::size_t i = std::size(callee_saved); i-- > 0;)
    as_.pop_pair(callee_saved[i][0], callee_saved[i][1], Reg::sp, 16);
  as_.ret();
  as_.bind(leave_label_);
  exit();
  enter_label_ = enter;
  unwind_label_ = unwind;
}

void CheckedArm64::exit() {
  as_.pop_pair(Reg::x30, Reg::zr, Reg::sp, 16);
  as_.ret();
}

/// Calls service() with the event in `value` and goes where it says.
void CheckedArm64::write_service() {
  as_.bind(service_label_);
  for (u8 r = 0; r < isa::register_count; r++) store_field(host(r), register_at(r));
  store_field(budget_reg, offsetof(CheckState, insns_left));
  as_.mov(w64, Reg::x0, checks_reg);
  as_.mov(w32, Reg::x1, value);
  as_.mov(place, reinterpret_cast<u64>(&service));
  as_.blr(place);
  as_.mov(w64, place, Reg::x0);
  for (u8 r = 0; r < isa::register_count; r++) load_field(host(r), register_at(r));
  load_field(budget_reg, offsetof(CheckState, insns_left));
  as_.br(place);
}

/// Where calls enter the function at `insn`: the next frame, cleared as far as the function touches it.
void CheckedArm64::write_frame(u32 insn) {
  constexpr s32 step = 16;
  const Reg frame = host(isa::frame_pointer);
  const s32 touched = (static_cast<s32>(plan_.touched(insn)) + step - 1) / step * step;
  entries_[insn] = entries_[insn] != 0 ? entries_[insn] : as_.new_label();
  as_.bind(entries_[insn]);
  as_.push_pair(Reg::x30, Reg::zr, Reg::sp, -16);
  as_.sum_imm(Alu::add, w64, frame, frame, frame_stride);
  as_.mov(spare1, frame_stride - static_cast<u32>(touched));
  as_.store(arm64::Size::b32, spare1, at(frame, untouched_at));
  for (s32 offset = -touched; offset < 0; offset += step) as_.store_pair(Reg::zr, Reg::zr, frame, offset);
}

// --- what fails ---

Label CheckedArm64::cold(Event::Kind kind, u32 insn, Label resume) {
  const Label label = as_.new_label();
  cold_.push_back({label, resume});
  out_.events.push_back({kind, insn, 0});
  return label;
}

void CheckedArm64::write_cold() {
  for (std::size_t n = 0; n < cold_.size(); n++) {
    as_.bind(cold_[n].label);
    as_.mov(value, n);
    as_.b(service_label_);
  }
}

/// d = a + number; destroys spare2.
void CheckedArm64::sum(Reg d, Reg a, s64 number) {
  const u64 size = number < 0 ? 0 - static_cast<u64>(number) : static_cast<u64>(number);
  const Alu op = number < 0 ? Alu::sub : Alu::add;
  if (arm64::fits_sum(size)) return as_.sum_imm(op, w64, d, a, static_cast<u32>(size));
  as_.mov(spare2, size);
  as_.alu(op, w64, d, a, spare2);
}

void CheckedArm64::pay(s32 price) {
  if (price != 0) sum(budget_reg, budget_reg, -s64{price});
}

void CheckedArm64::charge(u32 i) {
  if (plan_.looks_at_budget(i)) {
    if (arm64::fits_sum(plan_.longest_way(i))) {
      as_.sum_imm(Alu::subs, w64, Reg::zr, budget_reg, plan_.longest_way(i));
    } else {
      as_.mov(spare1, plan_.longest_way(i));
      as_.alu(Alu::subs, w64, Reg::zr, budget_reg, spare1);
    }
    branch(Cond::lo, cold(Event::budget, i, leave_label_));
  }
  pay(plan_.price(i));
}

void CheckedArm64::execute(u32 i) {
  const Label on = as_.new_label();
  as_.b(cold(Event::execute, i, on));
  as_.bind(on);
}

/// Asks for the access of instruction `i`, as the plan says. The register does not change between question and access.
void CheckedArm64::ask(u32 i, u8 base) {
  const Question& question = plan_.question(i);
  const Insn& insn = bytecode_.insns[i];
  if (question.kind != Question::nothing) {
    const Label again = as_.new_label();
    as_.bind(again);
    const Label astray = cold(Event::access, i, again);
    sum(spare1, host(base), question.from);
    load_field(spare2, window_begin(question.window));
    as_.alu(Alu::sub, w64, spare1, spare1, spare2);
    u32 log2_size = 0;
    if (question.kind == Question::access) {
      log2_size = static_cast<u32>(std::countr_zero(question.bytes));
    } else {  // its last byte, without wrapping around
      as_.mov(spare2, question.bytes - 1);
      as_.alu(Alu::adds, w64, spare1, spare1, spare2);
      branch(Cond::hs, astray);
    }
    load_field(spare2, window_places(question.window, log2_size));
    as_.alu(Alu::subs, w64, Reg::zr, spare1, spare2);
    branch(Cond::hs, astray);
  }
  if (question.alignment) {
    sum(spare1, host(base), insn.off);
    as_.logic_imm(Alu::ands, w64, Reg::zr, spare1, *arm64::mask_fields(isa::access_bytes(insn) - 1, w64));
    branch(Cond::ne, cold(Event::alignment, i, leave_label_));
  }
}

Mem CheckedArm64::address(u32 i, u8 base, Size size) {
  ask(i, base);
  const s64 off = bytecode_.insns[i].off;
  if (arm64::fits_disp(off, size)) return at(host(base), off);
  as_.mov(place, static_cast<u64>(off));
  return {.base = host(base), .index = place};
}
arm64::Reg CheckedArm64::bare_address(u32 i, u8 base) {
  ask(i, base);
  return BaselineArm64::bare_address(i, base);
}

// --- instructions ---

void CheckedArm64::checked_instruction(u32 i) {
  if (writes_frame_pointer(bytecode_, i) || reaches_arena(bytecode_, i)) return execute(i);
  write_instruction(*this, bytecode_, i);
}

void CheckedArm64::jump(u32 i, Form form) {
  const Insn& insn = bytecode_.insns[i];
  const s64 to = static_cast<s64>(i) + 1 + isa::jump_distance(form, insn);
  const auto target = static_cast<Label>(to);
  const Label on = as_.new_label();
  switch (form) {
    case Form::may_goto:
      as_.load(arm64::Size::b32, false, spare1, at(checks_reg, offsetof(CheckState, timed_loop)));
      as_.sum_imm(Alu::subs, w32, spare1, spare1, 1);
      as_.store(arm64::Size::b32, spare1, at(checks_reg, offsetof(CheckState, timed_loop)));
      branch(Cond::eq, cold(Event::clock, i, on));
      as_.bind(on);
      break;
    case Form::jump_imm:
      conditional(insn, number(insn.imm), target);
      break;
    case Form::jump_reg:
      conditional(insn, in(insn.src), target);
      break;
    default:
      if (to != static_cast<s64>(i) + 1) as_.b(target);
      return;
  }
  pay(plan_.edge_price(i));
}

// --- calls ---

std::vector<arm64::Reg> CheckedArm64::kept_registers(u32 registers) const {
  std::vector<Reg> kept;
  for (u8 r = 0; r < isa::frame_pointer; r++)
    if ((registers >> r & 1) != 0) kept.push_back(host(r));
  if (kept.size() % 2 != 0) kept.push_back(Reg::zr);
  return kept;
}

void CheckedArm64::keep(u32 registers, bool timed_loop) {
  const auto kept = kept_registers(registers);
  for (std::size_t i = 0; i < kept.size(); i += 2) as_.push_pair(kept[i], kept[i + 1], Reg::sp, -16);
  if (!timed_loop) return;
  load_field(spare1, offsetof(CheckState, timed_loop));
  as_.push_pair(spare1, Reg::zr, Reg::sp, -16);
  as_.mov(spare1, timed_loop_begin);
  store_field(spare1, offsetof(CheckState, timed_loop));
}

void CheckedArm64::restore(u32 registers, bool timed_loop) {
  if (timed_loop) {
    as_.pop_pair(spare1, Reg::zr, Reg::sp, 16);
    store_field(spare1, offsetof(CheckState, timed_loop));
  }
  const auto kept = kept_registers(registers);
  for (std::size_t i = kept.size(); i != 0; i -= 2) as_.pop_pair(kept[i - 2], kept[i - 1], Reg::sp, 16);
}

void CheckedArm64::call_local(u32 i) {
  constexpr u32 callee_kept = 0x3c0;
  const bool by_register = isa::row(bytecode_.ops[i]).form == Form::callx;
  const u32 kept = plan_.kept(i) & callee_kept;
  const Reg frame = host(isa::frame_pointer);
  load_field(spare1, offsetof(CheckState, deepest));
  as_.alu(Alu::subs, w64, Reg::zr, frame, spare1);
  branch(Cond::hs, cold(Event::execute, i, leave_label_));
  keep(kept, plan_.has_may_goto());
  if (by_register) {
    as_.blr(place);
  } else {
    const u32 target = static_cast<u32>(static_cast<s64>(i) + 1 + bytecode_.insns[i].imm);
    entries_[target] = entries_[target] != 0 ? entries_[target] : as_.new_label();
    as_.bl(entries_[target]);
  }
  restore(kept, plan_.has_may_goto());
  const Label on = as_.new_label();
  load_field(spare1, offsetof(CheckState, granted));
  as_.alu(Alu::subs, w64, Reg::zr, spare1, frame);
  branch(Cond::hs, cold(Event::returned, i, on));
  as_.bind(on);
  as_.sum_imm(Alu::sub, w64, frame, frame, frame_stride);
}

/// The register holds the address of one of our callbacks, or (vectors of the conformance suite) a helper's number.
void CheckedArm64::callx(u32 i) {
  const Reg callee = host(bytecode_.insns[i].dst);
  const Label not_callback = as_.new_label(), end = as_.new_label();
  const Label astray = cold(Event::execute, i, leave_label_);
  if (!bytecode_.callbacks.empty()) {
    constexpr u64 size = sizeof(base::Callback);
    static_assert(std::has_single_bit(size));
    as_.mov(place, reinterpret_cast<u64>(bytecode_.callbacks.data()));
    as_.alu(Alu::sub, w64, spare1, callee, place);
    as_.mov(spare2, bytecode_.callbacks.size() * size);
    as_.alu(Alu::subs, w64, Reg::zr, spare1, spare2);
    as_.b(Cond::hs, not_callback);
    as_.logic_imm(Alu::ands, w64, Reg::zr, spare1, *arm64::mask_fields(size - 1, w64));
    branch(Cond::ne, astray);
    as_.shift_imm(arm64::Shift::lsr, w64, spare1, spare1, static_cast<u32>(std::countr_zero(size)));
    as_.mov(place, reinterpret_cast<u64>(out_.call_table.get()));
    as_.load(b64, false, place, {.base = place, .index = spare1, .scaled = true});
    call_local(i);
    as_.b(end);
  }
  as_.bind(not_callback);
  as_.mov(spare2, bytecode_.helpers.size());
  as_.alu(Alu::subs, w64, Reg::zr, callee, spare2);
  branch(Cond::hs, astray);
  as_.mov(place, reinterpret_cast<u64>(bytecode_.helpers.data()));
  as_.load(b64, false, place, {.base = place, .index = callee, .scaled = true});
  branch_if_zero(true, w64, place, astray);
  store_field(callee, offsetof(CheckState, lookup_id));
  store_field(host(1), offsetof(CheckState, lookup_map));
  call_body(i, nullptr);
  if (!bytecode_.map_uses.empty()) {
    const Label on = as_.new_label();
    as_.b(cold(Event::lend, i, on));
    as_.bind(on);
  }
  as_.bind(end);
}

/// The map of a look-up when it is known.
const Bytecode::MapUse* CheckedArm64::map_of(u32 i) const { return plan_.map_of_call(i); }

void CheckedArm64::call_body(u32 i, HelperFn callee) {
  constexpr u32 arguments = 0x3e;
  const Form form = isa::row(bytecode_.ops[i]).form;
  const bool looks_up = form == Form::call_helper && bytecode_.insns[i].imm == 1 && !bytecode_.map_uses.empty();
  const bool calls_back = !bytecode_.callbacks.empty();
  const u32 kept = plan_.kept(i) & arguments;
  if (looks_up && map_of(i) == nullptr) {
    store_field(host(1), offsetof(CheckState, lookup_map));
    as_.mov(spare1, 1);
    store_field(spare1, offsetof(CheckState, lookup_id));
  }
  keep(kept, false);
  if (calls_back) {
    store_field(budget_reg, offsetof(CheckState, insns_left));
    store_field(host(isa::frame_pointer), offsetof(CheckState, frame_end));
  }
  load_field(Reg::x0, offsetof(CheckState, run));
  if (callee != nullptr) as_.mov(place, reinterpret_cast<u64>(callee));
  as_.blr(place);
  as_.mov(w64, result_reg, Reg::x0);
  if (calls_back) load_field(budget_reg, offsetof(CheckState, insns_left));
  restore(kept, false);
  if (calls_back || form == Form::call_kfunc) {
    load_field(spare1, offsetof(CheckState, run));
    as_.load(arm64::Size::b8, false, spare1, at(spare1, offsetof(Run, thrown)));
    branch_if_zero(false, w32, spare1, cold(Event::thrown, i, leave_label_));
  }
  if (looks_up) look_up(i);
}

/// The element whose address is in r0 is the program's: a window over it, and a note unless it is an array's.
void CheckedArm64::look_up(u32 i) {
  const Bytecode::MapUse* map = map_of(i);
  const Label end = as_.new_label();
  if (map == nullptr) {
    as_.b(cold(Event::lend, i, end));
    return as_.bind(end);
  }
  as_.cbz(w64, result_reg, end);
  const u32 bytes = map->view.value_size;
  if (map->view.kind != base::MapView::Kind::array) {
    static_assert(std::has_single_bit(Checks::most_lent) && sizeof(Checks::Lent) == 16);
    load_field(spare1, offsetof(CheckState, lent_count));
    as_.sum_imm(Alu::add, w64, spare2, spare1, 1);
    store_field(spare2, offsetof(CheckState, lent_count));
    as_.logic_imm(Alu::and_, w64, spare1, spare1, *arm64::mask_fields(Checks::most_lent - 1, w64));
    as_.alu(Alu::add, w64, spare1, checks_reg, spare1, arm64::Modifier::lsl, 4);
    as_.store(b64, result_reg, at(spare1, offsetof(CheckState, lent)));
    as_.mov(spare2, bytes);
    as_.store(b64, spare2, at(spare1, offsetof(CheckState, lent) + 8));
  }
  for (u32 window = plan_.window_of_call(i); window < 2 * window_count; window += window_count) {
    if ((plan_.windows() >> window & 1) == 0) continue;
    store_field(result_reg, window_begin(window));
    for (u32 k = 0; k < 4; k++) {
      as_.mov(spare1, places_in(bytes, k));
      store_field(spare1, window_places(window, k));
    }
  }
  as_.bind(end);
}

}  // namespace skep::vm::jit
