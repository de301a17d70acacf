// x86-64: instructions, with the moves that two-operand forms need. See emit_x86_64.hpp.
#include <bit>
#include <utility>

#include "vm/jit/backend/emit_x86_64.hpp"

namespace skep::vm::backend {

using x86::Label;
using x86::Mem;

namespace {

bool has_memory(const Inst& inst) { return inst.base != absent || inst.index != absent || inst.frame; }

}  // namespace

Mem EmitX86::memory(const Inst& inst) const {
  Mem m;
  m.disp = inst.disp;
  m.scale_log2 = inst.scale;
  if (inst.frame) m.base = Reg::rsp;
  if (inst.base != absent) m.base = r(inst, inst.base);
  if (inst.index != absent) m.index = r(inst, inst.index);
  if (m.base == Reg::none && m.scale_log2 == 0) std::swap(m.base, m.index);
  return m;
}

void EmitX86::result(const Inst& inst, Reg from) {
  if (inst.def_loc.kind() == Loc::reg)
    copy(def(inst), from);
  else if (inst.def_loc.kind() == Loc::slot)
    as_.mov(Width::w64, slot(inst.def_loc), from);
}

void EmitX86::instruction(const Inst& inst) {
  switch (static_cast<X>(inst.op)) {
    case X::label:
      moves(Move::enter);
      break;
    case X::jump:
      moves(Move::leave);
      return jump_to(code_.successors(code_.blocks[block_])[0]);
    case X::branch:
      return branch(inst);
    case X::switch_:
      return switch_(inst);
    case X::ret:
      if (std::exchange(has_left_, false)) return;
      fixed_operands(inst);
      leave_frame();
      return as_.ret();
    case X::trap:
      as_.zero(Reg::rax);
      leave_frame();
      return as_.ret();
    case X::select:
      select(inst);
      break;
    case X::set:
      set(inst);
      break;
    case X::call:
    case X::call_local:
    case X::call_pointer:
      call(inst);
      break;
    default:
      if (inst.op < static_cast<u8>(X::load))
        arithmetic(inst);
      else
        memory_access(inst);
  }
  moves(Move::keep);
}

void EmitX86::arithmetic(const Inst& inst) {
  const Width w = width_of(inst.width);
  switch (static_cast<X>(inst.op)) {
    case X::alu:
      return alu(inst);
    case X::alu_memory:
      flags_ = {};
      if (inst.flag) as_.lock();
      if (inst.a != absent)
        as_.alu(static_cast<x86::Alu>(inst.sub), width_of(inst.bits), memory(inst), r(inst, inst.a));
      else
        as_.alu(static_cast<x86::Alu>(inst.sub), width_of(inst.bits), memory(inst), static_cast<s32>(inst.imm));
      return;
    case X::lea:
      return lea(inst);
    case X::multiply:
      return multiply(inst);
    case X::multiply_imm:
      flags_ = {};
      if (in_slot(inst, inst.a))
        return as_.imul(w, def(inst), slot(code_.loc(inst, inst.a)), static_cast<s32>(inst.imm));
      return as_.imul(w, def(inst), r(inst, inst.a), static_cast<s32>(inst.imm));
    case X::multiply_high:
      return multiply_high(inst);
    case X::shift_imm:
      return shift_imm(inst);
    case X::shift:
      return shift(inst);
    case X::negate:
      fetch_to(def(inst), inst, inst.a);
      as_.unary(x86::Unary::neg, w, def(inst));
      return flags_of_result(inst, false);
    case X::count:
      flags_ = {};
      if (inst.flag) return as_.lzcnt(w, def(inst), r(inst, inst.a));
      return as_.popcnt(w, def(inst), r(inst, inst.a));
    case X::swap:
      fetch_to(def(inst), inst, inst.a);
      return swap_bytes(def(inst), inst.bits);
    default:
      return extend(inst);
  }
}

void EmitX86::memory_access(const Inst& inst) {
  const Width bits = width_of(inst.bits);
  switch (static_cast<X>(inst.op)) {
    case X::load:
      return load(def(inst), inst);
    case X::load_swapped:
      if (inst.bits >= 32 && target_.movbe) return as_.movbe(bits, def(inst), memory(inst));
      load(def(inst), inst);
      return swap_bytes(def(inst), inst.bits);
    case X::store:
    case X::store_swapped:
      return store(inst);
    case X::constant:
    case X::frame:
      if (inst.def_loc.kind() == Loc::reg) make(Loc::of(Loc::remat, inst.def), def(inst));
      return;
    case X::blinded: {
      const auto key = static_cast<s32>(random());
      flags_ = {};
      as_.mov(def(inst), static_cast<u64>(inst.imm ^ key));
      return as_.alu(x86::Alu::xor_, Width::w64, def(inst), key);
    }
    case X::divide:
      return divide(inst);
    case X::exchange:
      fetch_to(def(inst), inst, inst.a);
      return as_.xchg(bits, memory(inst), def(inst));
    case X::exchange_add:
      flags_ = {};
      fetch_to(def(inst), inst, inst.a);
      as_.lock();
      return as_.xadd(bits, memory(inst), def(inst));
    case X::compare_exchange:
      flags_ = {};
      fixed_operands(inst);
      as_.lock();
      as_.cmpxchg(bits, memory(inst), r(inst, inst.b));
      if (inst.bits == 32) as_.mov(Width::w32, Reg::rax, Reg::rax);
      return result(inst, Reg::rax);
    default:
      return fetch(inst);
  }
}

// --- arithmetic ---

void EmitX86::alu(const Inst& inst) {
  const Reg d = def(inst);
  const auto op = static_cast<x86::Alu>(inst.sub);
  const Width w = width_of(inst.width);
  const bool is_add = op == x86::Alu::add, a_in_slot = in_slot(inst, inst.a);
  if (has_memory(inst)) {
    fetch_to(d, inst, inst.a);
    as_.alu(op, w, d, memory(inst));
  } else if (inst.b == absent) {
    if (is_add && !a_in_slot && r(inst, inst.a) != d)  // flags stay
      return as_.lea(w, d, x86::at(r(inst, inst.a), static_cast<s32>(inst.imm)));
    fetch_to(d, inst, inst.a);
    as_.alu(op, w, d, static_cast<s32>(inst.imm));
  } else if (in_slot(inst, inst.b)) {
    fetch_to(d, inst, inst.a);
    as_.alu(op, w, d, slot(code_.loc(inst, inst.b)));
  } else if (r(inst, inst.b) == d) {  // commutative: of others the selector keeps b apart
    if (a_in_slot)
      as_.alu(op, w, d, slot(code_.loc(inst, inst.a)));
    else
      as_.alu(op, w, d, r(inst, inst.a));
  } else {
    if (is_add && !a_in_slot && r(inst, inst.a) != d)
      return as_.lea(w, d, x86::at(r(inst, inst.a), r(inst, inst.b), 0));
    fetch_to(d, inst, inst.a);
    as_.alu(op, w, d, r(inst, inst.b));
  }
  flags_of_result(inst, !is_add && op != x86::Alu::sub);
}

void EmitX86::lea(const Inst& inst) {
  const Reg d = def(inst);
  const Width w = width_of(inst.width);
  const Mem m = memory(inst);
  if (!inst.frame && m.index == Reg::none && m.base == d) {
    as_.alu(x86::Alu::add, w, d, m.disp);
    return flags_of_result(inst, false);
  }
  if (!inst.frame && m.scale_log2 == 0 && m.disp == 0 && (m.base == d || m.index == d)) {
    as_.alu(x86::Alu::add, w, d, m.base == d ? m.index : m.base);
    return flags_of_result(inst, false);
  }
  if (m.base == Reg::none && m.scale_log2 == 1) return as_.lea(w, d, x86::at(m.index, m.index, 0, m.disp));
  as_.lea(w, d, m);
}

void EmitX86::multiply(const Inst& inst) {
  const Reg d = def(inst);
  const Width w = width_of(inst.width);
  flags_ = {};
  if (has_memory(inst)) {
    fetch_to(d, inst, inst.a);
    return as_.imul(w, d, memory(inst));
  }
  if (in_slot(inst, inst.b)) {
    fetch_to(d, inst, inst.a);
    return as_.imul(w, d, slot(code_.loc(inst, inst.b)));
  }
  if (r(inst, inst.b) != d) {
    fetch_to(d, inst, inst.a);
    return as_.imul(w, d, r(inst, inst.b));
  }
  if (in_slot(inst, inst.a)) return as_.imul(w, d, slot(code_.loc(inst, inst.a)));
  as_.imul(w, d, r(inst, inst.a));
}

void EmitX86::multiply_high(const Inst& inst) {
  fixed_operands(inst);
  if (inst.flag) return as_.mulx(Width::w64, def(inst), def(inst), r(inst, inst.b));
  flags_ = {};
  as_.unary(inst.sign ? x86::Unary::imul : x86::Unary::mul, Width::w64, r(inst, inst.b));
  result(inst, Reg::rdx);
}

void EmitX86::shift_imm(const Inst& inst) {
  const Reg d = def(inst);
  const Width w = width_of(inst.width);
  const auto op = static_cast<x86::Shift>(inst.sub);
  const auto count = static_cast<u8>(inst.imm);
  if (in_slot(inst, inst.a) || r(inst, inst.a) == d) {
    fetch_to(d, inst, inst.a);
  } else {
    const Reg a = r(inst, inst.a);
    if (op == x86::Shift::rol && target_.bmi2 && count != 0)
      return as_.rorx(w, d, a, static_cast<u8>(inst.width - count));
    if (op == x86::Shift::shl && count == 1) return as_.lea(w, d, x86::at(a, a, 0));
    if (op == x86::Shift::shl && (count == 2 || count == 3)) return as_.lea(w, d, {Reg::none, a, count, 0});
    copy(d, a);
  }
  if (count == 0) {
    if (inst.width == 32) as_.mov(Width::w32, d, d);
    return;
  }
  if (op == x86::Shift::shl && count == 1)
    as_.alu(x86::Alu::add, w, d, d);
  else
    as_.shift(op, w, d, count);
  if (op == x86::Shift::rol)
    flags_ = {};
  else
    flags_of_result(inst, false);
}

void EmitX86::shift(const Inst& inst) {
  const Reg d = def(inst), a = r(inst, inst.a);
  const Width w = width_of(inst.width);
  const auto op = static_cast<x86::Shift>(inst.sub);
  if (inst.flag) {
    const Reg b = r(inst, inst.b);
    if (op == x86::Shift::shl) return as_.shlx(w, d, a, b);
    if (op == x86::Shift::shr) return as_.shrx(w, d, a, b);
    return as_.sarx(w, d, a, b);
  }
  flags_ = {};
  fixed_operands(inst);
  as_.mov(w, d, a);  // in 32 bits: a count of 0 would leave the upper half
  as_.shift_cl(op, w, d);
}

void EmitX86::swap_bytes(Reg d, u32 bits) {
  if (bits == 16) {
    flags_ = {};
    as_.shift(x86::Shift::rol, Width::w16, d, 8);
    return as_.movzx(d, Width::w16, d);
  }
  as_.bswap(width_of(bits), d);
}

void EmitX86::extend(const Inst& inst) {
  const Reg d = def(inst);
  const Width from = width_of(inst.bits), to = width_of(inst.width);
  if (in_slot(inst, inst.a)) {
    const Mem m = slot(code_.loc(inst, inst.a));
    if (inst.sign) return inst.bits == inst.width ? as_.mov(from, d, m) : as_.movsx(to, d, from, m);
    return inst.bits == 32 ? as_.mov(Width::w32, d, m) : as_.movzx(d, from, m);
  }
  const Reg a = r(inst, inst.a);
  if (inst.sign) return inst.bits == inst.width ? as_.mov(from, d, a) : as_.movsx(to, d, from, a);
  return inst.bits == 32 ? as_.mov(Width::w32, d, a) : as_.movzx(d, from, a);
}

/// Division by zero gives 0, a remainder by zero the dividend; the smallest number by -1 wraps.
void EmitX86::divide(const Inst& inst) {
  flags_ = {};
  fixed_operands(inst);
  const Width w = width_of(inst.width);
  const Reg b = r(inst, inst.b);
  const bool remainder = inst.sub != 0;
  const Label done = as_.new_label(), zero = as_.new_label(), minus = as_.new_label();
  if (!inst.flag) {
    as_.test(w, b, b);
    as_.jcc_short(Cond::e, zero);
    if (inst.sign) {
      as_.cmp(w, b, -1);
      as_.jcc_short(Cond::e, minus);
    }
  }
  if (!inst.sign)
    as_.zero(Reg::rdx);
  else if (w == Width::w64)
    as_.cqo();
  else
    as_.cdq();
  as_.unary(inst.sign ? x86::Unary::idiv : x86::Unary::div, w, b);
  if (!inst.flag) {
    as_.jmp_short(done);
    if (inst.sign) {
      as_.bind(minus);
      if (remainder)
        as_.zero(Reg::rdx);
      else
        as_.unary(x86::Unary::neg, w, Reg::rax);
      as_.jmp_short(done);
    }
    as_.bind(zero);
    if (remainder)
      as_.mov(w, Reg::rdx, Reg::rax);
    else
      as_.zero(Reg::rax);
    as_.bind(done);
  }
  result(inst, remainder ? Reg::rdx : Reg::rax);
}

// --- memory ---

void EmitX86::load(Reg d, const Inst& inst) {
  const Width bits = width_of(inst.bits);
  const Mem m = memory(inst);
  if (inst.sign && inst.bits < 64) return as_.movsx(Width::w64, d, bits, m);
  if (inst.bits < 32) return as_.movzx(d, bits, m);
  as_.mov(bits, d, m);
}

void EmitX86::store(const Inst& inst) {
  const Width bits = width_of(inst.bits);
  if (inst.a == absent) return as_.mov(bits, memory(inst), static_cast<s32>(inst.imm));
  if (static_cast<X>(inst.op) == X::store) return as_.mov(bits, memory(inst), r(inst, inst.a));
  if (target_.movbe) return as_.movbe(bits, memory(inst), r(inst, inst.a));
  copy(def(inst), r(inst, inst.a));
  swap_bytes(def(inst), inst.bits);
  as_.mov(bits, memory(inst), def(inst));
}

/// The old value of or, and, xor: again until nobody came between.
void EmitX86::fetch(const Inst& inst) {
  flags_ = {};
  const Width bits = width_of(inst.bits);
  const Label again = as_.new_label();
  as_.mov(bits, Reg::rax, memory(inst));
  as_.bind(again);
  as_.mov(Width::w64, Reg::rdx, Reg::rax);
  as_.alu(static_cast<x86::Alu>(inst.sub), bits, Reg::rdx, r(inst, inst.a));
  as_.lock();
  as_.cmpxchg(bits, memory(inst), Reg::rdx);
  as_.jcc(Cond::ne, again);
  result(inst, Reg::rax);
}

/// A call off the usual way: what the C function may destroy is on the stack meanwhile, so that nobody has to keep
/// values out of these registers for its sake.
void EmitX86::cold_call(const Inst& inst) {
  const u32 kept = places_.used & x86_clobbered & ~bit(Reg::rax);
  below_ = std::popcount(kept) * 8;
  below_ += below_ % 16;
  if (below_ != 0) as_.alu(x86::Alu::sub, Width::w64, Reg::rsp, below_);
  s32 at = 0;
  for (u32 rest = kept; rest != 0; rest &= rest - 1, at += 8)
    as_.mov(Width::w64, x86::at(Reg::rsp, at), static_cast<Reg>(std::countr_zero(rest)));
  fixed_operands(inst);
  as_.mov(Reg::rax, static_cast<u64>(inst.imm));
  as_.call(Reg::rax);
  at = 0;
  for (u32 rest = kept; rest != 0; rest &= rest - 1, at += 8)
    as_.mov(Width::w64, static_cast<Reg>(std::countr_zero(rest)), x86::at(Reg::rsp, at));
  if (below_ != 0) as_.alu(x86::Alu::add, Width::w64, Reg::rsp, below_);
  below_ = 0;
  if (inst.def != none) result(inst, Reg::rax);
}

void EmitX86::call(const Inst& inst) {
  flags_ = {};
  if (inst.flag) return cold_call(inst);
  fixed_operands(inst);
  if (static_cast<X>(inst.op) == X::call_local) {
    as_.call(functions_[inst.target]);
  } else {
    if (static_cast<X>(inst.op) == X::call) as_.mov(Reg::rax, static_cast<u64>(inst.imm));
    if (inst.sign) {
      leave_frame();
      as_.jmp(Reg::rax);
      has_left_ = true;
      return;
    }
    as_.call(Reg::rax);
  }
  if (inst.def != none) result(inst, Reg::rax);
}

}  // namespace skep::vm::backend
