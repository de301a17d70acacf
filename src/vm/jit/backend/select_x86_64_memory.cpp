// x86-64: memory, atomics, calls, ends of blocks. See select_x86_64.hpp.
#include "vm/jit/backend/select_x86_64.hpp"

namespace skep::vm::backend {

using ir::Op;
using x86::Alu;
using x86::Reg;

/// Appends the parts of an address to the instruction at hand.
void SelectX86::address(const ir::Inst& inst, Use how) {
  const Value at = operand(inst, 0);
  Shape s = facts_.address(at);
  s64 disp = s.disp + inst.imm;
  if (!x86::fits_s32(disp)) {  // was too wide to be absorbed
    s = {};
    s.base = at;
    disp = inst.imm;
  }
  u8 base = absent, index = absent;
  if (s.base != ir::no_value && is_constant(s.base)) {  // global data, or a field of a map's memory: all one constant
    const s64 whole = imm(s.base) + disp;
    const s64 page = s.index == ir::no_value ? whole & ~s64{0xfff} : imm(s.base);
    base = use(constant(page), how);
    disp = whole - page;
  } else if (s.base != ir::no_value) {
    base = use_value(s.base, how);
  }
  if (!x86::fits_s32(disp)) {
    index = use(constant(disp), how);
    disp = 0;
  } else if (s.index != ir::no_value) {
    index = use_value(s.index, how);
    last().scale = s.scale;
  }
  last().base = base;
  last().index = index;
  last().frame = s.frame;
  last().disp = static_cast<s32>(disp);
}

/// The load becomes the memory operand of the instruction at hand.
void SelectX86::address_of_load(Value v, Use how) {
  take(v);
  last().bits = f_.insns[v].bits;
  address(f_.insns[v], how);
}

void SelectX86::load(Value v, const ir::Inst& inst) {
  begin(inst.op == Op::load_swapped ? X::load_swapped : X::load).bits = inst.bits;
  last().sign = inst.has(ir::Inst::sign);
  address(inst, Use::early);
  define(register_of(v));
}

void SelectX86::store(const ir::Inst& inst) {
  if (inst.op == Op::store && store_in_place(inst)) return;
  s64 value = 0;
  const bool is_imm = inst.op != Op::store_swapped && immediate(operand(inst, 1), inst.bits == 64 ? 64 : 32, value);
  const VReg stored = is_imm ? none : register_of(low_bits(operand(inst, 1), inst.bits));
  begin(inst.op == Op::store_swapped ? X::store_swapped : X::store).bits = inst.bits;
  last().imm = value;
  address(inst, Use::early);
  if (!is_imm) last().a = use(stored);
  if (inst.op == Op::store_swapped && !target_.movbe) define(temporary(), Def::early);  // to reverse it in
  if (inst.op == Op::store_swapped && !target_.movbe)
    for (u8 k = 0; k < last().count; k++) code_.operands[last().first + k].use = Use::late;
}

/// memory op= value, when the loaded value and the result are used for nothing else.
bool SelectX86::store_in_place(const ir::Inst& inst) {
  const Value stored = operand(inst, 1);
  const ir::Inst& made = f_.insns[stored];
  if (!only_here(stored) || made.block != inst.block || inst.bits > made.width) return false;
  Alu op = Alu::add;
  switch (made.op) {
    case Op::add:
      break;
    case Op::sub:
      op = Alu::sub;
      break;
    case Op::and_:
      op = Alu::and_;
      break;
    case Op::or_:
      op = Alu::or_;
      break;
    case Op::xor_:
      op = Alu::xor_;
      break;
    default:
      return false;
  }
  Value loaded = operand(made, 0), other = operand(made, 1);
  const auto fits = [&](Value v) {
    const ir::Inst& l = f_.insns[v];
    return l.op == Op::load && only_here(v) && l.block == inst.block && l.bits == inst.bits && l.imm == inst.imm &&
           operand(l, 0) == operand(inst, 0) && facts_.epoch(v) + 1 == facts_.epoch(at_);
  };
  if (!fits(loaded) && made.op != Op::sub) std::swap(loaded, other);
  if (!fits(loaded) || loaded == other) return false;
  if (facts_.folded(other) && !is_constant(other)) return false;  // a sum that absorbed more than its operands
  take(stored);
  take(loaded);
  s64 value = 0;
  const bool is_imm = immediate(other, inst.bits == 64 ? 64 : 32, value);
  const VReg second = is_imm ? none : register_of(low_bits(other, inst.bits));
  begin(X::alu_memory).bits = inst.bits;
  last().sub = static_cast<u8>(op);
  last().imm = value;
  address(inst, Use::early);
  if (!is_imm) last().a = use(second);
  return true;
}

void SelectX86::atomic(Value v, const ir::Inst& inst) {
  constexpr Alu kinds[] = {Alu::add, Alu::or_, Alu::and_, Alu::xor_};
  const Alu kind = kinds[static_cast<u8>(inst.atomic)];
  const Value given = operand(inst, 1);
  if (inst.op == Op::compare_exchange) {
    begin(X::compare_exchange).bits = inst.bits;
    address(inst, Use::late);
    last().a = use_value(given, Use::fixed, number(Reg::rax));
    last().b = use_value(operand(inst, 2), Use::late);
    last().clobbers = bit(Reg::rax);
    define(register_of(v), Def::fixed, number(Reg::rax));
    return;
  }
  const bool is_read = facts_.uses(v) != 0;
  if (inst.op == Op::exchange || (is_read && kind == Alu::add)) {
    begin(inst.op == Op::exchange ? X::exchange : X::exchange_add).bits = inst.bits;
    address(inst, Use::late);
    last().a = last().tied = use_value(given, Use::any);
    define(register_of(v), Def::early);
    return;
  }
  if (is_read) return fetch(v, inst, kind);
  s64 value = 0;
  const bool is_imm = immediate(given, inst.bits == 64 ? 64 : 32, value);
  begin(X::alu_memory).bits = inst.bits;
  last().flag = true;
  last().sub = static_cast<u8>(kind);
  last().imm = value;
  address(inst, Use::early);
  if (!is_imm) last().a = use_value(given);
}

void SelectX86::fetch(Value v, const ir::Inst& inst, Alu op) {
  begin(X::fetch).bits = inst.bits;
  last().sub = static_cast<u8>(op);
  address(inst, Use::late);
  last().a = use_value(operand(inst, 1), Use::late);
  last().clobbers = bit(Reg::rax) | bit(Reg::rdx);
  define(register_of(v), Def::fixed, number(Reg::rax));
}

void SelectX86::call(Value v, const ir::Inst& inst) {
  const bool by_pointer = inst.op == Op::call_pointer;
  const VReg run = run_register();
  begin(inst.op == Op::call ? X::call : inst.op == Op::call_local ? X::call_local : X::call_pointer).imm = inst.imm;
  last().target = static_cast<u32>(inst.imm);
  if (by_pointer) last().a = use_value(operand(inst, 0), Use::fixed, number(Reg::rax));
  last().sign = is_last(v, inst);
  use(run, Use::fixed, x86_arguments[0]);
  for (u32 i = by_pointer ? 1 : 0, to = 1; i < inst.count; i++, to++)
    use_value(operand(inst, i), Use::fixed, x86_arguments[to]);
  last().flag = inst.has(ir::Inst::cold);
  last().clobbers = last().flag ? bit(Reg::rax) : x86_clobbered;
  if (facts_.uses(v) != 0) define(register_of(v), Def::fixed, number(Reg::rax));
  code_.calls++;
}

// --- ends of blocks ---

void SelectX86::leave(const ir::Inst& inst) {
  switch (inst.op) {
    case Op::jump:
      begin(X::jump);
      return;
    case Op::branch:
      begin(X::branch);
      return compare(inst);
    case Op::switch_:
      return switch_(inst);
    case Op::ret:
      begin(X::ret);
      last().a = use_value(operand(inst, 0), Use::fixed, number(Reg::rax));
      last().clobbers = bit(Reg::rax);
      return;
    default:
      begin(X::trap);
  }
}

/// The index in a register of its own, which the jump may destroy.
void SelectX86::switch_(const ir::Inst& inst) {
  const VReg index = temporary(), given = register_of(operand(inst, 0));
  const s64 low = inst.width == 32 ? static_cast<s32>(inst.imm) : inst.imm;
  if (low != 0 && x86::fits_s32(-low))
    alu_imm(index, Alu::add, inst.width, given, -low);
  else if (low != 0)
    alu_rr(index, Alu::sub, inst.width, given, constant(low));
  else if (inst.width == 64)
    shift_imm(index, x86::Shift::shl, 64, given, 0);
  else
    extend(index, 64, given, 32, false);
  begin(X::switch_, inst.width);
  last().a = use(index, Use::late);
  define(temporary(), Def::early);
}

}  // namespace skep::vm::backend
