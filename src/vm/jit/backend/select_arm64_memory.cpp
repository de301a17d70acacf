// AArch64: memory, atomics, calls, ends of blocks. See select_arm64.hpp.
//
// A sum is part of an address when it is needed for addresses alone and fits into all of them: a constant into the
// displacement, or a second register (shifted by the access's width, or extended) as the index.
#include "vm/jit/backend/select_arm64.hpp"

namespace skep::vm::backend {

using ir::Op;

namespace {

bool has_modes(Op op) { return op >= Op::load && op <= Op::store_swapped; }

}  // namespace

void SelectArm64::prepare() {
  std::vector<u32> fitting(f_.insns.size(), 0);
  address_only_.assign(f_.insns.size(), 0);
  access_bits_.assign(f_.insns.size(), 1);
  const auto every_access = [&](auto&& what) {
    for (const Block& block : code_.blocks) {
      if (block.source == ir::no_block) continue;
      for (const Value v : f_.blocks[block.source].insns)
        if (has_modes(f_.insns[v].op)) what(f_.insns[v], operand(f_.insns[v], 0));
    }
  };
  every_access([&](const ir::Inst& inst, Value at) {
    if (!can_address(inst, at)) return;
    fitting[at]++;
    u8& bits = access_bits_[at];
    bits = bits == 1 || bits == inst.bits ? inst.bits : 0;
  });
  every_access(
      [&](const ir::Inst&, Value at) { address_only_[at] = fitting[at] != 0 && fitting[at] == facts_.uses(at); });
}

bool SelectArm64::can_address(const ir::Inst& access, Value sum) const {
  const ir::Inst& made = f_.insns[sum];
  if (made.op != Op::add || made.width != 64 || facts_.folded(sum)) return false;
  const Value a = operand(made, 0), b = operand(made, 1);
  if (is_constant(a)) return false;
  s64 disp = 0;
  if (is_constant(b))
    return !__builtin_add_overflow(imm(b), access.imm, &disp) && arm64::fits_disp(disp, arm_size(access.bits));
  const auto loop_of = [&](const ir::Inst& of) { return code_.blocks[code_.place[of.block]].loop; };
  return access.imm == 0 && loop_of(made) == loop_of(access);
}

/// What the sum's operand `place` is as an index: false when it is not changed.
bool SelectArm64::index_of(Value sum, u8 place, u8 bits, Value& index, Modifier& by, bool& scaled) const {
  index = operand(f_.insns[sum], place);
  const auto only_in_sum = [&](Value v) { return facts_.uses(v) == 1; };
  const auto loop_of = [&](Value v) { return code_.blocks[code_.place[f_.insns[v].block]].loop; };
  const ir::Inst* made = &f_.insns[index];
  if (made->op == Op::shl && made->width == 64 && only_in_sum(index) && is_constant(operand(*made, 1)) &&
      imm(operand(*made, 1)) >= 1 && imm(operand(*made, 1)) <= 3 && u32{8} << imm(operand(*made, 1)) == bits &&
      loop_of(index) == loop_of(sum)) {
    scaled = true;
    index = operand(*made, 0);
    made = &f_.insns[index];
  }
  const bool is_extended = made->bits == 32 && (made->op == Op::zext || (made->op == Op::sext && made->width == 64));
  if (is_extended && only_in_sum(index) && loop_of(index) == loop_of(sum)) {
    by = made->op == Op::zext ? Modifier::uxtw : Modifier::sxtw;
    index = operand(*made, 0);
  }
  return scaled || by != Modifier::lsl;
}

SelectArm64::Address SelectArm64::address_of_sum(const ir::Inst& inst, Value sum) {
  const ir::Inst& made = f_.insns[sum];
  take(sum);
  Address a;
  if (const Value b = operand(made, 1); is_constant(b)) {
    const ir::Inst& base = source(operand(made, 0));
    a.disp = imm(b) + inst.imm;
    if (base.op == Op::frame) return {.base = remat(Remat::frame, base.imm), .disp = a.disp};
    a.base = register_of(operand(made, 0));
    return a;
  }
  Value index = 0;
  u8 place = 1;
  if (!index_of(sum, 1, access_bits_[sum], index, a.by, a.scaled) &&
      index_of(sum, 0, access_bits_[sum], index, a.by, a.scaled))
    place = 0;
  else
    (void)index_of(sum, 1, access_bits_[sum], index, a.by, a.scaled);
  // What was looked through is not made any more.
  for (Value v = operand(made, place); v != index; v = operand(f_.insns[v], 0)) take(v);
  a.base = register_of(operand(made, place == 0 ? 1 : 0));
  a.index = register_of(index);
  return a;
}

/// Base, and what is too far away for a displacement.
SelectArm64::Address SelectArm64::far(Address a, s64 disp, u8 bits) {
  a.disp = disp;
  if (arm64::fits_disp(disp, arm_size(bits))) return a;
  a.disp = 0;
  a.index = constant(disp);
  return a;
}

SelectArm64::Address SelectArm64::address(const ir::Inst& inst) {
  const Value at = operand(inst, 0);
  const ir::Inst& made = f_.insns[at];
  if (address_only_[at] != 0) return address_of_sum(inst, at);
  if (made.op == Op::frame) {
    if (arm64::fits_disp(made.imm + inst.imm, arm_size(inst.bits))) return {.frame = true, .disp = made.imm + inst.imm};
    return {.base = remat(Remat::frame, made.imm + inst.imm)};
  }
  if (!is_constant(at)) return far({.base = register_of(at)}, inst.imm, inst.bits);
  // Global data, or a field of a map's memory: neighbours share the constant.
  const s64 whole = static_cast<s64>(static_cast<u64>(imm(at)) + static_cast<u64>(inst.imm));
  const bool is_aligned = whole % (inst.bits / 8) == 0;
  const s64 page = whole & ~(is_aligned ? s64{0xfff} : s64{0xff});
  return {.base = constant(page), .disp = whole - page};
}

/// The whole address in one register: atomic accesses know nothing else.
VReg SelectArm64::bare_address(const ir::Inst& inst) {
  const Value at = operand(inst, 0);
  const ir::Inst& made = f_.insns[at];
  if (made.op == Op::frame) return remat(Remat::frame, made.imm + inst.imm);
  if (is_constant(at)) return constant(static_cast<s64>(static_cast<u64>(imm(at)) + static_cast<u64>(inst.imm)));
  if (inst.imm == 0) return register_of(at);
  const VReg whole = temporary();
  add_constant(whole, 64, register_of(at), inst.imm);
  return whole;
}

/// Appends the parts of an address to the instruction at hand.
void SelectArm64::attach(const Address& a) {
  last().frame = a.frame;
  last().disp = static_cast<s32>(a.disp);
  if (a.base != none) last().base = use(a.base);
  if (a.index == none) return;
  last().index = use(a.index);
  last().compare = static_cast<u8>(a.by);
  last().scale = a.scaled ? 1 : 0;
}

void SelectArm64::load(Value v, const ir::Inst& inst) {
  const Address a = address(inst);
  begin(inst.op == Op::load_swapped ? A::load_swapped : A::load).bits = inst.bits;
  last().sign = inst.has(ir::Inst::sign);
  attach(a);
  define(register_of(v));
}

void SelectArm64::store(const ir::Inst& inst) {
  const Value given = operand(inst, 1);
  const bool is_zero = is_constant(given) && (static_cast<u64>(imm(given)) << (64 - inst.bits)) == 0;
  const VReg stored = is_zero ? none : register_of(low_bits(given, inst.bits));
  const Address a = address(inst);
  begin(inst.op == Op::store_swapped ? A::store_swapped : A::store).bits = inst.bits;
  attach(a);
  if (!is_zero) last().a = use(stored);
}

void SelectArm64::atomic(Value v, const ir::Inst& inst) {
  const VReg at = bare_address(inst);
  if (inst.op == Op::load_acquire || inst.op == Op::store_release) {
    const bool is_load = inst.op == Op::load_acquire;
    begin(is_load ? A::load_acquire : A::store_release).bits = inst.bits;
    last().base = use(at);
    if (is_load)
      define(register_of(v));
    else
      last().a = use_or_zero(operand(inst, 1));
    return;
  }
  begin(inst.op == Op::atomic     ? A::atomic
        : inst.op == Op::exchange ? A::exchange
                                  : A::compare_exchange)
      .bits = inst.bits;
  last().sub = static_cast<u8>(inst.atomic);
  last().flag = inst.op != Op::atomic || inst.has(ir::Inst::fetch);
  last().base = use(at, Use::late);
  last().a = use_or_zero(operand(inst, 1), Use::late);
  if (inst.op == Op::compare_exchange) last().b = use_or_zero(operand(inst, 2), Use::late);
  if (facts_.uses(v) != 0)
    define(register_of(v), Def::early);
  else if (last().flag)
    define(temporary(), Def::early);
}

void SelectArm64::call(Value v, const ir::Inst& inst) {
  const bool by_pointer = inst.op == Op::call_pointer;
  const VReg run = run_register();
  begin(inst.op == Op::call ? A::call : inst.op == Op::call_local ? A::call_local : A::call_pointer).imm = inst.imm;
  last().target = static_cast<u32>(inst.imm);
  if (by_pointer) last().a = use_value(operand(inst, 0), Use::fixed, 16);
  last().sign = is_last(v, inst);
  use(run, Use::fixed, arm_arguments[0]);
  for (u32 i = by_pointer ? 1 : 0, to = 1; i < inst.count; i++, to++)
    use_value(operand(inst, i), Use::fixed, arm_arguments[to]);
  last().clobbers = arm_clobbered;
  if (facts_.uses(v) != 0) define(register_of(v), Def::fixed, 0);
  code_.calls++;
}

// --- ends of blocks ---

void SelectArm64::leave(const ir::Inst& inst) {
  switch (inst.op) {
    case Op::jump:
      begin(A::jump);
      return;
    case Op::branch:
      begin(A::branch);
      return compare(inst);
    case Op::switch_:
      return switch_(inst);
    case Op::ret:
      begin(A::ret);
      last().a = use_value(operand(inst, 0), Use::fixed, 0);
      last().clobbers = 1;
      return;
    default:
      begin(A::trap);
  }
}

void SelectArm64::switch_(const ir::Inst& inst) {
  const Value given = operand(inst, 0);
  VReg index = register_of(given);
  const s64 low = inst.width == 32 ? static_cast<s32>(inst.imm) : inst.imm;
  if (low != 0) {
    const VReg from = index;
    add_constant(index = temporary(), inst.width, from, static_cast<s64>(0 - static_cast<u64>(low)));
  } else if (inst.width == 32 && !facts_.upper_zero(given)) {
    const VReg from = index;
    begin(A::move, 32);
    last().a = use(from);
    define(index = temporary());
  }
  begin(A::switch_, inst.width);
  last().a = use(index);
}

}  // namespace skep::vm::backend
