// x86-64: what sets and reads flags. See emit_x86_64.hpp.
//
// The flags of the last comparison or result are remembered by value, not by register: values never change, so a
// comparison of the same two, or of that result with zero, is not written again.
#include "vm/jit/backend/emit_x86_64.hpp"

namespace skep::vm::backend {

namespace {

x86::Cond cond_of(ir::Condition c) {
  using x86::Cond;
  constexpr Cond table[] = {Cond::e, Cond::ne, Cond::b, Cond::be, Cond::a,  Cond::ae,
                            Cond::l, Cond::le, Cond::g, Cond::ge, Cond::ne, Cond::e};
  return table[static_cast<u8>(c)];
}

}  // namespace

/// Do the flags answer already? Then `c` becomes the condition to ask them for.
bool EmitX86::flags_say(const Inst& inst, Cond& c) const {
  const auto form = static_cast<Compare>(inst.compare);
  if (const Inst* last = flags_.comparison; last != nullptr) {
    const bool in_registers = form != Compare::rm && form != Compare::mi && form != Compare::test_mi;
    return in_registers && last->compare == inst.compare && last->width == inst.width && last->imm == inst.imm &&
           value(*last, last->a) == value(inst, inst.a) && value(*last, last->b) == value(inst, inst.b);
  }
  if (flags_.value == none || form != Compare::zero || value(inst, inst.a) != flags_.value) return false;
  switch (c) {
    case Cond::e:
    case Cond::ne:
      return flags_.width <= inst.width;  // a 32-bit result has no upper half
    case Cond::l:
    case Cond::ge:
      if (flags_.width != inst.width) return false;
      c = c == Cond::l ? Cond::s : Cond::ns;
      return true;
    default:
      return flags_.width == inst.width && flags_.no_overflow;
  }
}

/// Sets the flags, unless they are set; returns what to ask them for.
x86::Cond EmitX86::compare(const Inst& inst) {
  Cond c = cond_of(inst.condition);
  const auto form = static_cast<Compare>(inst.compare);
  if (form == Compare::bit) c = inst.condition == ir::Condition::set ? Cond::b : Cond::ae;
  if (flags_say(inst, c)) return c;
  const Width w = width_of(inst.width), bits = width_of(inst.bits);
  switch (form) {
    case Compare::rr:
      if (in_slot(inst, inst.b))
        as_.cmp(w, r(inst, inst.a), slot(code_.loc(inst, inst.b)));
      else
        as_.cmp(w, r(inst, inst.a), r(inst, inst.b));
      break;
    case Compare::ri:
      as_.cmp(w, r(inst, inst.a), static_cast<s32>(inst.imm));
      break;
    case Compare::rm:
      as_.cmp(w, r(inst, inst.a), memory(inst));
      break;
    case Compare::mi:
      as_.cmp(bits, memory(inst), static_cast<s32>(inst.imm));
      break;
    case Compare::zero:
      as_.test(w, r(inst, inst.a), r(inst, inst.a));
      break;
    case Compare::test_rr:
      as_.test(w, r(inst, inst.a), r(inst, inst.b));
      break;
    case Compare::test_ri:
      test_imm(inst);
      break;
    case Compare::test_mi:
      as_.test(bits, memory(inst), static_cast<s32>(inst.imm));
      break;
    case Compare::bit:
      as_.bt(Width::w64, r(inst, inst.a), static_cast<u8>(inst.imm));
      break;
  }
  flags_ = {&inst};
  return c;
}

/// A mask of low bits needs only them.
void EmitX86::test_imm(const Inst& inst) {
  const Width w = width_of(inst.width);
  const Reg a = r(inst, inst.a);
  if (inst.imm >= 0 && inst.imm <= 0x7f) return as_.test(Width::w8, a, static_cast<s32>(inst.imm));
  as_.test(w, a, static_cast<s32>(inst.imm));
}

void EmitX86::branch(const Inst& inst) {
  const auto to = code_.successors(code_.blocks[block_]);
  const Cond c = compare(inst);
  if (final_block(to[0]) == next_block()) return jump_if(x86::inverse(c), to[1]);
  jump_if(c, to[0]);
  jump_to(to[1]);
}

void EmitX86::switch_(const Inst& inst) {
  const auto to = code_.successors(code_.blocks[block_]);
  const Reg index = r(inst, inst.a);
  as_.cmp(width_of(inst.width), index, static_cast<s32>(to.size() - 1));
  jump_if(Cond::ae, to[0]);
  std::vector<x86::Label> table;
  for (const u32 b : to.subspan(1)) table.push_back(label_of(b));
  as_.jump_table(index, def(inst), table);
}

void EmitX86::select(const Inst& inst) {
  const Reg d = def(inst);
  const Cond c = compare(inst);
  const auto take = [&](Cond when, u8 place) {
    if (in_slot(inst, place))
      as_.cmov(when, Width::w64, d, slot(code_.loc(inst, place)));
    else
      as_.cmov(when, Width::w64, d, r(inst, place));
  };
  if (!in_slot(inst, inst.y) && r(inst, inst.y) == d) return take(c, inst.x);
  if (!in_slot(inst, inst.x) && r(inst, inst.x) == d) return take(x86::inverse(c), inst.y);
  fetch_to(d, inst, inst.y);
  take(c, inst.x);
}

/// Clearing the register first saves an extension, when nothing in it is compared.
void EmitX86::set(const Inst& inst) {
  const Reg d = def(inst);
  bool is_read = false;
  for (u32 k = 0; k < inst.count; k++) is_read = is_read || code_.operands[inst.first + k].loc == inst.def_loc;
  Cond c = cond_of(inst.condition);
  if (!is_read && !flags_say(inst, c)) {
    as_.zero(d);
    flags_ = {};
    is_read = false;
  } else {
    is_read = true;
  }
  c = compare(inst);
  as_.setcc(c, d);
  if (is_read) as_.movzx(d, Width::w8, d);
}

}  // namespace skep::vm::backend
