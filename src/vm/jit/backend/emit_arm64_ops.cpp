// AArch64: instructions. See emit_arm64.hpp.
#include <utility>

#include "vm/jit/backend/emit_arm64.hpp"

namespace skep::vm::backend {

using arm64::Alu;
using arm64::Label;
using arm64::Modifier;

namespace {

constexpr arm64::Reg scratch = arm64::Reg::x16, scratch_too = arm64::Reg::x17;

/// After a comparison, or after a test.
arm64::Cond cond_of(ir::Condition c) {
  using arm64::Cond;
  constexpr Cond table[] = {Cond::eq, Cond::ne, Cond::lo, Cond::ls, Cond::hi, Cond::hs,
                            Cond::lt, Cond::le, Cond::gt, Cond::ge, Cond::ne, Cond::eq};
  return table[static_cast<u8>(c)];
}

}  // namespace

arm64::Mem EmitArm64::memory(const Inst& inst) const {
  arm64::Mem m{inst.frame ? Reg::sp : r(inst, inst.base), inst.disp};
  if (inst.index == absent) return m;
  m.index = r(inst, inst.index);
  m.index_by = static_cast<Modifier>(inst.compare);
  m.scaled = inst.scale != 0;
  return m;
}

void EmitArm64::instruction(const Inst& inst) {
  switch (static_cast<A>(inst.op)) {
    case A::label:
      moves(Move::enter);
      break;
    case A::jump:
      moves(Move::leave);
      return jump_to(code_.successors(code_.blocks[block_])[0]);
    case A::branch:
      return branch(inst);
    case A::switch_:
      return switch_(inst);
    case A::ret:
      if (std::exchange(has_left_, false)) return;
      fixed_operands(inst);
      leave_frame();
      return as_.ret();
    case A::trap:
      as_.mov(Reg::x0, 0);
      leave_frame();
      return as_.ret();
    case A::select: {
      const Cond c = compare(inst);
      as_.select(static_cast<arm64::Else>(inst.target), Width::w64, def(inst), r(inst, inst.x), r(inst, inst.y), c);
      break;
    }
    case A::call:
    case A::call_local:
    case A::call_pointer:
      call(inst);
      break;
    default:
      if (inst.op < static_cast<u8>(A::load))
        arithmetic(inst);
      else
        memory_access(inst);
  }
  moves(Move::keep);
}

// --- arithmetic ---

void EmitArm64::arithmetic(const Inst& inst) {
  const Width w = arm_width(inst.width);
  const Reg d = def(inst), a = r(inst, inst.a), b = r(inst, inst.b), x = r(inst, inst.x);
  const u32 amount = static_cast<u32>(inst.imm);
  switch (static_cast<A>(inst.op)) {
    case A::alu:
      return alu(inst);
    case A::shift:
      return as_.shift(static_cast<arm64::Shift>(inst.sub), w, d, a, b);
    case A::shift_imm:
      return as_.shift_imm(static_cast<arm64::Shift>(inst.sub), w, d, a, amount);
    case A::extract:
      return as_.extract(inst.sign, w, d, a, amount, inst.bits);
    case A::insert:
      return as_.insert(inst.sign, w, d, a, amount, inst.bits);
    case A::extr:
      return as_.extr(w, d, a, b, amount);
    case A::madd:
      return as_.madd(w, d, a, b, x);
    case A::msub:
      return as_.msub(w, d, a, b, x);
    case A::mull:
      return as_.mull(inst.sign, d, a, b);
    case A::mulh:
      return as_.mulh(inst.sign, d, a, b);
    case A::divide:
      return as_.div(inst.sign, w, d, a, b);
    case A::count:
      return inst.flag ? as_.clz(w, d, a) : as_.popcount(w, d, a);
    case A::rev:
      swap_bytes(d, a, inst.bits);
      if (inst.bits == 16) as_.extract(false, Width::w32, d, d, 0, 16);
      return;
    default:
      return as_.mov(w, d, a);
  }
}

void EmitArm64::alu(const Inst& inst) {
  const Width w = arm_width(inst.width);
  const auto op = static_cast<Alu>(inst.sub);
  if (inst.b != absent)
    return as_.alu(op, w, def(inst), r(inst, inst.a), r(inst, inst.b), static_cast<Modifier>(inst.compare), inst.scale);
  if (arm64::is_sum(op)) return as_.sum_imm(op, w, def(inst), r(inst, inst.a), static_cast<u32>(inst.imm));
  as_.logic_imm(op, w, def(inst), r(inst, inst.a), *arm64::mask_fields(static_cast<u64>(inst.imm), w));
}

/// Of 16 bits: what is above them stays to be cleared, unless it was clear.
void EmitArm64::swap_bytes(Reg d, Reg a, u32 bits) {
  if (bits == 16) return as_.rev16(Width::w32, d, a);
  as_.rev(arm_width(bits), d, a);
}

// --- memory ---

void EmitArm64::memory_access(const Inst& inst) {
  const auto size = arm_size(inst.bits);
  switch (static_cast<A>(inst.op)) {
    case A::load:
      return as_.load(size, inst.sign, def(inst), memory(inst));
    case A::load_swapped:
      as_.load(size, false, def(inst), memory(inst));
      return swap_bytes(def(inst), def(inst), inst.bits);
    case A::store:
      return as_.store(size, r(inst, inst.a), memory(inst));
    case A::store_swapped:
      if (inst.a == absent) return as_.store(size, Reg::zr, memory(inst));
      swap_bytes(scratch, r(inst, inst.a), inst.bits);
      return as_.store(size, scratch, memory(inst));
    case A::constant:
    case A::frame:
      if (inst.def_loc.kind() == Loc::reg) make(Loc::of(Loc::remat, inst.def), def(inst));
      return;
    case A::blinded: {
      const u64 key = random();
      as_.mov(def(inst), static_cast<u64>(inst.imm) ^ key);
      as_.mov(scratch, key);
      return as_.alu(Alu::eor, Width::w64, def(inst), def(inst), scratch);
    }
    case A::load_acquire:
      return as_.load_acquire(size, def(inst), r(inst, inst.base));
    case A::store_release:
      return as_.store_release(size, r(inst, inst.a), r(inst, inst.base));
    case A::exchange:
      return exchange(inst);
    case A::compare_exchange:
      return compare_exchange(inst);
    default:
      return target_.lse ? atomic(inst) : atomic_loop(inst);
  }
}

void EmitArm64::atomic(const Inst& inst) {
  constexpr arm64::Rmw kinds[] = {arm64::Rmw::add, arm64::Rmw::set, arm64::Rmw::clear, arm64::Rmw::eor};
  const auto kind = kinds[inst.sub];
  const Reg d = inst.def != none ? def(inst) : Reg::zr;
  Reg a = r(inst, inst.a);
  if (kind == arm64::Rmw::clear) {
    as_.alu(Alu::orn, Width::w64, scratch, Reg::zr, a);
    a = scratch;
  }
  as_.atomic(kind, arm_size(inst.bits), inst.flag, d, a, r(inst, inst.base));
}

/// Again until nobody came between. What gives the old value is ordered with everything around it, as in Linux.
void EmitArm64::atomic_loop(const Inst& inst) {
  constexpr Alu kinds[] = {Alu::add, Alu::orr, Alu::and_, Alu::eor};
  const auto size = arm_size(inst.bits);
  const Reg old = inst.def != none ? def(inst) : scratch_too, base = r(inst, inst.base);
  const Label again = as_.new_label();
  as_.bind(again);
  as_.load_exclusive(size, old, base);
  as_.alu(kinds[inst.sub], arm_width(inst.bits), scratch_too, old, r(inst, inst.a));
  as_.store_exclusive(size, inst.flag, scratch, scratch_too, base);
  as_.cbnz(Width::w32, scratch, again);
  if (inst.flag) as_.barrier();
}

void EmitArm64::exchange(const Inst& inst) {
  const auto size = arm_size(inst.bits);
  const Reg base = r(inst, inst.base);
  if (target_.lse) return as_.atomic(arm64::Rmw::swap, size, true, def(inst), r(inst, inst.a), base);
  const Label again = as_.new_label();
  as_.bind(again);
  as_.load_exclusive(size, def(inst), base);
  as_.store_exclusive(size, true, scratch, r(inst, inst.a), base);
  as_.cbnz(Width::w32, scratch, again);
  as_.barrier();
}

void EmitArm64::compare_exchange(const Inst& inst) {
  const auto size = arm_size(inst.bits);
  const Width w = arm_width(inst.bits);
  const Reg base = r(inst, inst.base), old = def(inst), expected = r(inst, inst.a);
  if (target_.lse) {
    as_.mov(Width::w64, old, expected);
    return as_.compare_and_swap(size, old, r(inst, inst.b), base);
  }
  const Label again = as_.new_label(), differs = as_.new_label();
  as_.bind(again);
  as_.load_exclusive(size, old, base);
  as_.alu(Alu::subs, w, Reg::zr, old, expected);
  as_.b(Cond::ne, differs);
  as_.store_exclusive(size, true, scratch, r(inst, inst.b), base);
  as_.cbnz(Width::w32, scratch, again);
  as_.bind(differs);
  as_.barrier();
}

void EmitArm64::call(const Inst& inst) {
  fixed_operands(inst);
  if (static_cast<A>(inst.op) == A::call_local) {
    as_.bl(functions_[inst.target]);
  } else {
    if (static_cast<A>(inst.op) == A::call) as_.mov(scratch, static_cast<u64>(inst.imm));
    if (inst.sign) {
      leave_frame();
      as_.br(scratch);
      has_left_ = true;
      return;
    }
    as_.blr(scratch);
  }
  if (inst.def != none) move(Loc::of(Loc::reg, 0), inst.def_loc);
}

// --- comparisons ---

/// Sets the flags; returns what to ask them for.
arm64::Cond EmitArm64::compare(const Inst& inst) {
  const Width w = arm_width(inst.width);
  const Reg a = r(inst, inst.a), b = r(inst, inst.b);
  const auto by = static_cast<Modifier>(inst.compare);
  switch (static_cast<ArmCompare>(inst.sub)) {
    case ArmCompare::rr:
      as_.alu(Alu::subs, w, Reg::zr, a, b, by, inst.scale);
      break;
    case ArmCompare::zero:
    case ArmCompare::ri:
      as_.sum_imm(inst.imm < 0 ? Alu::adds : Alu::subs, w, Reg::zr, a,
                  static_cast<u32>(inst.imm < 0 ? -inst.imm : inst.imm));
      break;
    case ArmCompare::test_rr:
      as_.alu(Alu::ands, w, Reg::zr, a, b, by, inst.scale);
      break;
    case ArmCompare::test_ri:
      as_.logic_imm(Alu::ands, w, Reg::zr, a, *arm64::mask_fields(static_cast<u64>(inst.imm), w));
      break;
    case ArmCompare::bit:
      as_.logic_imm(Alu::ands, w, Reg::zr, a, *arm64::mask_fields(u64{1} << inst.imm, w));
      break;
  }
  return cond_of(inst.condition);
}

void EmitArm64::branch(const Inst& inst) {
  const auto to = code_.successors(code_.blocks[block_]);
  if (final_block(to[0]) == next_block()) return jump_if(inst, false, to[1]);
  jump_if(inst, true, to[0]);
  jump_to(to[1]);
}

void EmitArm64::jump_if(const Inst& inst, bool holds, u32 b) {
  const auto form = static_cast<ArmCompare>(inst.sub);
  const bool is_far = far_ >= Reach::branches_too_far || (far_ == Reach::tests_too_far && form == ArmCompare::bit);
  // Around an unconditional jump, when the distance is too great.
  const Label target = is_far ? as_.new_label() : label_of(b);
  if (is_far) holds = !holds;
  const Reg a = r(inst, inst.a);
  if (form == ArmCompare::zero) {
    if ((inst.condition == ir::Condition::eq) == holds)
      as_.cbz(arm_width(inst.width), a, target);
    else
      as_.cbnz(arm_width(inst.width), a, target);
  } else if (form == ArmCompare::bit) {
    if ((inst.condition == ir::Condition::set) == holds)
      as_.tbnz(a, static_cast<u32>(inst.imm), target);
    else
      as_.tbz(a, static_cast<u32>(inst.imm), target);
  } else {
    const Cond c = compare(inst);
    as_.b(holds ? c : arm64::inverse(c), target);
  }
  if (!is_far) return;
  as_.b(label_of(b));
  as_.bind(target);
}

void EmitArm64::switch_(const Inst& inst) {
  const auto to = code_.successors(code_.blocks[block_]);
  const Reg index = r(inst, inst.a);
  const u64 count = to.size() - 1;
  if (arm64::fits_sum(count)) {
    as_.sum_imm(Alu::subs, Width::w64, Reg::zr, index, static_cast<u32>(count));
  } else {
    as_.mov(scratch, count);
    as_.alu(Alu::subs, Width::w64, Reg::zr, index, scratch);
  }
  const Label inside = as_.new_label();
  as_.b(Cond::lo, inside);
  as_.b(label_of(to[0]));
  as_.bind(inside);
  std::vector<Label> table;
  for (const u32 b : to.subspan(1)) table.push_back(label_of(b));
  as_.jump_table(index, scratch, scratch_too, table);
}

}  // namespace skep::vm::backend
