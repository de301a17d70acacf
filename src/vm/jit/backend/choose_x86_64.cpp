// Machine instructions of x86-64 for SSA values: one pass over the blocks in their line.
//
// Additions that only addresses need vanish into them and zero extensions of what has no upper half are nothing
// (shapes.hpp decides); constants become immediates where they fit and are made right before their user where not.
// Whatever the CPU wants in a particular register is a fixed operand, and every other operand of such an instruction
// is read late, so that the moves into fixed registers cannot destroy it.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2; System V ABI AMD64, section 3.2.
#include "vm/jit/backend/passes.hpp"
#include "vm/jit/backend/shapes.hpp"
#include "vm/jit/backend/x86_form.hpp"
#include "vm/jit/x86_64.hpp"

namespace skep::vm::backend {
namespace {

using ir::Op;
using ir::Value;
using x86::Reg;

constexpr u8 number(Reg r) { return static_cast<u8>(r); }
constexpr u32 bit(Reg r) { return 1u << number(r); }
constexpr u32 caller_saved = bit(Reg::rax) | bit(Reg::rcx) | bit(Reg::rdx) | bit(Reg::rsi) | bit(Reg::rdi) |
                             bit(Reg::r8) | bit(Reg::r9) | bit(Reg::r10) | bit(Reg::r11);
constexpr Reg arguments[] = {Reg::rdi, Reg::rsi, Reg::rdx, Reg::rcx, Reg::r8, Reg::r9};

class Chooser {
 public:
  Chooser(const ir::Function& f, const Target& target, Code& code)
      : f_(f), target_(target), code_(code), facts_(f, code), register_(f.insns.size(), none) {}

  void run() {
    facts_.find(true);
    code_.frame_bytes = f_.frame_bytes;
    code_.parameters.assign(6, none);
    code_.insns.reserve(f_.insns.size() + code_.blocks.size() * 2);
    code_.operands.reserve(f_.operands.size() + 64);
    code_.registers.reserve(f_.insns.size() + 64);
    for (u32 b = 0; b < code_.blocks.size(); b++) block(b);
    for (const Phi& phi : code_.phis) phi_operands(phi);
    for (u32 i = 0; i < code_.operands.size(); i++) {
      Register& r = code_.registers[code_.operands[i].vreg];
      code_.operands[i].next = r.uses;
      r.uses = i;
    }
  }

 private:
  // --- blocks ---
  void block(u32 b) {
    block_ = b;
    code_.blocks[b].first = static_cast<u32>(code_.insns.size());
    begin(X::label);
    if (b == 0) keep_wide_constants();
    if (code_.blocks[b].source == ir::no_block) {
      begin(X::jump);
    } else {
      for (const Value v : f_.blocks[code_.blocks[b].source].insns) {
        at_ = v;
        if (!facts_.folded(v)) instruction(v, f_.insns[v]);
      }
    }
    code_.blocks[b].last = static_cast<u32>(code_.insns.size());
  }

  /// Ten-byte constants that a loop wants are made once, in front of everything; where registers are short the
  /// allocator makes them again instead of keeping them.
  void keep_wide_constants() {
    constexpr u32 most = 4;
    u32 kept = 0;
    for (const Block& block : code_.blocks) {
      if (block.source == ir::no_block || block.depth == 0) continue;
      for (const Value user : f_.blocks[block.source].insns) {
        const Op op = f_.insns[user].op;
        if (op == Op::phi || op == Op::call || op == Op::call_local || op == Op::call_pointer || facts_.folded(user))
          continue;
        for (const Value o : f_.operands_of(user)) {
          const Value v = facts_.root(o);
          if (!f_.is_constant(v) || register_[v] != none || kept == most) continue;
          const s64 n = f_.insns[v].imm;
          if (x86::fits_s32(n) || static_cast<u64>(n) <= 0xffffffffu) continue;
          kept++;
          begin(X::constant);
          last().imm = n;
          register_[v] = code_.new_register();
          code_.registers[register_[v]].remat = Remat::constant;
          code_.registers[register_[v]].imm = n;
          define(register_[v]);
        }
      }
    }
  }

  void phi(Value v) {
    if (facts_.uses(v) == 0) return;
    const VReg def = register_of(v);
    code_.registers[def].is_phi = true;
    code_.registers[def].def_block = block_;
    code_.phis.push_back({def, block_, static_cast<u32>(phi_values_.size())});
    // Operands by predecessor in the line: an edge that was split is another block there, in the same order.
    for (const Value o : f_.operands_of(v)) phi_values_.push_back(facts_.root(o));
  }

  void phi_operands(const Phi& phi) {
    const u32 count = code_.blocks[phi.block].predecessor_count;
    for (u32 k = 0; k < count; k++) {
      const Value v = phi_values_[phi.first + k];
      code_.phi_operands.push_back(is_leaf(v) ? leaf(v) : register_of(v));
    }
  }

  // --- registers and operands ---
  bool is_leaf(Value v) const { return f_.insns[v].op == Op::constant || f_.insns[v].op == Op::frame; }

  /// A value that is made where it is wanted and lives nowhere.
  VReg leaf(Value v) {
    const VReg made = code_.new_register();
    code_.registers[made].remat = f_.insns[v].op == Op::constant ? Remat::constant : Remat::frame;
    code_.registers[made].imm = f_.insns[v].imm;
    return made;
  }

  VReg register_of(Value v) {
    v = facts_.root(v);
    if (register_[v] != none) return register_[v];
    const ir::Inst& inst = f_.insns[v];
    const VReg made = register_[v] = code_.new_register();
    const bool is_run = inst.op == Op::run;
    if (is_run || inst.op == Op::parameter) {
      code_.registers[made].is_parameter = true;
      code_.registers[made].def_block = 0;
      code_.parameters[is_run ? 0 : static_cast<std::size_t>(inst.imm)] = made;
    }
    return made;
  }

  VReg run_register() {
    for (const Value v : f_.blocks[0].insns)
      if (f_.insns[v].op == Op::run) return register_of(v);
    if (run_ == none) {
      run_ = code_.new_register();
      code_.registers[run_].is_parameter = true;
      code_.registers[run_].def_block = 0;
      code_.parameters[0] = run_;
    }
    return run_;
  }

  /// In a register before the instruction at hand: constants and frame addresses are made now.
  VReg ready(Value v) {
    v = facts_.root(v);
    if (!is_leaf(v) || register_[v] != none) return register_of(v);
    return made(f_.insns[v].op == Op::constant ? X::constant : X::frame, f_.insns[v].imm);
  }
  VReg made(X op, s64 imm) {
    const VReg r = code_.new_register();
    begin(op);
    last().imm = imm;
    define(r);
    return r;
  }

  Inst& begin(X op, u8 width = 64) {
    Inst inst;
    inst.op = static_cast<u8>(op);
    inst.width = width;
    inst.first = static_cast<u32>(code_.operands.size());
    code_.insns.push_back(inst);
    return code_.insns.back();
  }
  Inst& last() { return code_.insns.back(); }
  u8 use(VReg v, Use how, Reg fixed = Reg::rax) {
    Operand o;
    o.vreg = v;
    o.use = how;
    o.fixed = number(fixed);
    o.inst = static_cast<u32>(code_.insns.size() - 1);
    code_.operands.push_back(o);
    return last().count++;
  }
  void define(VReg v, Def kind = Def::late, Reg fixed = Reg::rax) {
    last().def = v;
    last().def_kind = kind;
    last().def_fixed = number(fixed);
    code_.registers[v].def_inst = static_cast<u32>(code_.insns.size() - 1);
    code_.registers[v].def_block = block_;
  }

  // --- constants ---
  bool is_constant(Value v) const { return f_.is_constant(facts_.root(v)); }
  s64 imm(Value v) const { return f_.insns[facts_.root(v)].imm; }
  /// As an instruction of this width sees it; false when it does not fit in 32 bits.
  bool immediate(Value v, u8 width, s64& out) const {
    if (!is_constant(v)) return false;
    out = width == 32 ? static_cast<s32>(imm(v)) : imm(v);
    return x86::fits_s32(out);
  }

  // --- addresses ---
  struct Address {
    VReg base = none, index = none;
    u8 scale = 0;
    bool frame = false;
    s64 disp = 0;
  };
  Address from_shape(const Shape& s, s64 more) {
    Address a;
    a.scale = s.scale;
    a.frame = s.frame;
    a.disp = s.disp + more;
    if (s.base != ir::no_value) a.base = ready(s.base);
    if (s.index != ir::no_value) a.index = ready(s.index);
    return a;
  }
  Address address_of(const ir::Inst& inst, u32 operand = 0) {
    const Value v = facts_.root(f_.operands_of(inst)[operand]);
    Address a;
    if (is_constant(v)) {  // an absolute address: global data, or a field of a map's memory
      const s64 whole = imm(v) + inst.imm;
      if (register_[v] != none && x86::fits_s32(inst.imm)) {
        a.base = register_[v];
        a.disp = inst.imm;
        return a;
      }
      a.base = made(X::constant, whole);
      return a;
    }
    const Shape s = facts_.address(v);
    if (const s64 sum = s.disp + inst.imm; x86::fits_s32(sum)) return from_shape(s, inst.imm);
    a.base = ready(v);
    a.index = made(X::constant, inst.imm);
    return a;
  }
  void put(const Address& a, Use how) {
    if (a.base != none) {
      const u8 place = use(a.base, how);
      last().base = place;
    }
    if (a.index != none) {
      const u8 place = use(a.index, how);
      last().index = place;
    }
    last().scale = a.scale;
    last().frame = a.frame;
    last().disp = static_cast<s32>(a.disp);
  }

  // --- instructions ---
  void instruction(Value v, const ir::Inst& inst) {
    if (ir::row(inst.op).effect == ir::Effect::pure) return pure(v, inst);
    switch (inst.op) {
      case Op::load:
      case Op::load_swapped:
      case Op::load_acquire:
        return load(v, inst);
      case Op::store:
      case Op::store_swapped:
      case Op::store_release:
        return store(inst);
      case Op::atomic:
      case Op::exchange:
      case Op::compare_exchange:
        return atomic(v, inst);
      case Op::call:
      case Op::call_local:
      case Op::call_pointer:
        return call(v, inst);
      case Op::jump:
        begin(X::jump);
        return;
      case Op::branch: {
        const auto o = f_.operands_of(inst);
        const Compared c = prepare(inst.condition, inst.width, o[0], o[1]);
        begin(X::branch, inst.width);
        compare(c);
        return;
      }
      case Op::switch_: {
        const VReg a = ready(f_.operands_of(inst)[0]);
        begin(X::switch_, inst.width);
        last().a = use(a, Use::fixed, Reg::rax);
        last().imm = inst.imm;
        last().clobbers = bit(Reg::rax) | bit(Reg::rdx);
        return;
      }
      case Op::ret: {
        const Value r = facts_.root(f_.operands_of(inst)[0]);
        const VReg a = is_leaf(r) ? leaf(r) : register_of(r);
        begin(X::ret);
        last().a = use(a, Use::fixed, Reg::rax);
        last().clobbers = bit(Reg::rax);
        return;
      }
      default:
        begin(X::trap);
    }
  }

  void pure(Value v, const ir::Inst& inst) {
    if (inst.op == Op::phi) return phi(v);
    if (is_leaf(v) || inst.op == Op::run || inst.op == Op::parameter || facts_.uses(v) == 0) return;
    const auto o = f_.operands_of(inst);
    switch (inst.op) {
      case Op::add:
        return add(v, inst);
      case Op::sub:
        return two(v, inst, x86::Alu::sub, false);
      case Op::and_:
        return two(v, inst, x86::Alu::and_, true);
      case Op::or_:
        return two(v, inst, x86::Alu::or_, true);
      case Op::xor_:
        return two(v, inst, x86::Alu::xor_, true);
      case Op::mul:
        return multiply(v, inst);
      case Op::shl:
        return shift(v, inst, x86::Shift::shl);
      case Op::shr:
        return shift(v, inst, x86::Shift::shr);
      case Op::sar:
        return shift(v, inst, x86::Shift::sar);
      case Op::rol:
        return shift(v, inst, x86::Shift::rol);
      case Op::udiv:
      case Op::sdiv:
      case Op::umod:
      case Op::smod:
        return divide(v, inst);
      case Op::select:
        return select(v, inst);
      case Op::neg:
      case Op::zext:
      case Op::sext:
      case Op::bswap: {
        const VReg a = ready(o[0]);
        begin(inst.op == Op::neg ? X::negate : inst.op == Op::bswap ? X::swap : X::extend, inst.width);
        last().bits = inst.bits;
        last().sign = inst.op == Op::sext;
        last().a = use(a, Use::early);
        if (inst.op == Op::zext) last().width = 32;
        if (inst.op != Op::sext && inst.op != Op::zext) last().tied = last().a;
        define(register_of(v));
        return;
      }
      default:
        return;
    }
  }

  void add(Value v, const ir::Inst& inst) {
    const Address a = from_shape(facts_.sum(v), 0);
    if (!x86::fits_s32(a.disp)) return two(v, inst, x86::Alu::add, true);
    begin(X::lea, inst.width);
    put(a, Use::early);
    if (last().base != absent) last().tied = last().base;
    if (last().index != absent && last().scale == 0)
      (last().tied == absent ? last().tied : last().tied_too) = last().index;
    define(register_of(v));
  }

  void two(Value v, const ir::Inst& inst, x86::Alu op, bool commutative) {
    const auto o = f_.operands_of(inst);
    s64 number_ = 0;
    const bool is_imm = immediate(o[1], inst.width, number_);
    const VReg a = ready(o[0]);
    const VReg b = is_imm ? none : ready(o[1]);
    begin(X::alu, inst.width);
    last().sub = static_cast<u8>(op);
    last().a = use(a, Use::early);
    last().tied = last().a;
    if (is_imm) {
      last().imm = number_;
    } else {
      last().b = use(b, commutative ? Use::any : Use::any_late);
      if (commutative) last().tied_too = last().b;
    }
    define(register_of(v), commutative || is_imm ? Def::late : Def::early);
  }

  void multiply(Value v, const ir::Inst& inst) {
    const auto o = f_.operands_of(inst);
    s64 number_ = 0;
    const bool is_imm = immediate(o[1], inst.width, number_);
    const VReg a = ready(o[0]);
    const VReg b = is_imm ? none : ready(o[1]);
    if (is_imm && (number_ == 3 || number_ == 5 || number_ == 9)) {
      begin(X::lea, inst.width);
      last().base = use(a, Use::early);
      last().index = use(a, Use::early);
      last().scale = number_ == 3 ? 1 : number_ == 5 ? 2 : 3;
      define(register_of(v));
      return;
    }
    begin(is_imm ? X::multiply_imm : X::multiply, inst.width);
    last().a = use(a, Use::early);
    last().imm = number_;
    if (!is_imm) {
      last().b = use(b, Use::any);
      last().tied = last().a;
      last().tied_too = last().b;
    }
    define(register_of(v));
  }

  void shift(Value v, const ir::Inst& inst, x86::Shift op) {
    const auto o = f_.operands_of(inst);
    const VReg a = ready(o[0]);
    if (is_constant(o[1])) {
      begin(X::shift_imm, inst.width);
      last().sub = static_cast<u8>(op);
      last().imm = imm(o[1]) & (inst.width - 1);
      last().a = use(a, Use::early);
      last().tied = last().a;
      define(register_of(v));
      return;
    }
    const VReg b = ready(o[1]);
    begin(X::shift, inst.width);
    last().sub = static_cast<u8>(op);
    if (target_.bmi2 && op != x86::Shift::rol) {
      last().flag = true;
      last().a = use(a, Use::early);
      last().b = use(b, Use::early);
      define(register_of(v));
      return;
    }
    last().a = use(a, Use::late);
    last().b = use(b, Use::fixed, Reg::rcx);
    last().clobbers = bit(Reg::rcx) | bit(Reg::rax);
    define(register_of(v), Def::fixed, Reg::rax);
  }

  void divide(Value v, const ir::Inst& inst) {
    const auto o = f_.operands_of(inst);
    const Value dividend = facts_.root(o[0]);
    const VReg a = is_leaf(dividend) ? leaf(dividend) : register_of(dividend);
    const VReg b = ready(o[1]);
    const bool is_remainder = inst.op == Op::umod || inst.op == Op::smod;
    begin(X::divide, inst.width);
    last().sub = is_remainder;
    last().sign = inst.op == Op::sdiv || inst.op == Op::smod;
    last().flag = inst.has(ir::Inst::nonzero);
    last().a = use(a, Use::fixed, Reg::rax);
    last().b = use(b, Use::late);
    last().clobbers = bit(Reg::rax) | bit(Reg::rdx);
    define(register_of(v), Def::fixed, is_remainder ? Reg::rdx : Reg::rax);
  }

  // --- comparisons ---
  struct Compared {
    Compare form = Compare::rr;
    ir::Condition condition = ir::Condition::eq;
    VReg a = none, b = none;
    s64 imm = 0;
  };
  Compared prepare(ir::Condition condition, u8 width, Value left, Value right) {
    Compared c;
    c.condition = condition;
    const bool is_test = condition == ir::Condition::set || condition == ir::Condition::clear;
    c.a = ready(left);
    if (immediate(right, width, c.imm))
      c.form = is_test ? Compare::test_ri : c.imm == 0 ? Compare::zero : Compare::ri;
    else {
      c.b = ready(right);
      c.form = is_test ? Compare::test_rr : Compare::rr;
    }
    return c;
  }
  /// `late`: the result is written before the operands are compared.
  void compare(const Compared& c, bool late = false) {
    last().compare = static_cast<u8>(c.form);
    last().condition = c.condition;
    last().imm = c.imm;
    last().a = use(c.a, late ? Use::late : Use::early);
    if (c.b == none) return;
    const bool in_memory = c.form == Compare::rr;
    last().b = use(c.b, in_memory ? (late ? Use::any_late : Use::any) : (late ? Use::late : Use::early));
  }

  void select(Value v, const ir::Inst& inst) {
    const auto o = f_.operands_of(inst);
    const Compared c = prepare(inst.condition, inst.width, o[0], o[1]);
    if (is_constant(o[2]) && is_constant(o[3]) && imm(o[2]) + imm(o[3]) == 1 && (imm(o[2]) == 0 || imm(o[2]) == 1)) {
      begin(X::set, inst.width);
      compare(c, true);
      if (imm(o[2]) == 0) last().condition = ir::inverse(last().condition);
      define(register_of(v), Def::early);
      return;
    }
    const VReg x = ready(o[2]), y = ready(o[3]);
    begin(X::select, inst.width);
    compare(c);
    last().x = use(x, Use::any_late);
    last().y = use(y, Use::early);
    last().tied = last().y;
    define(register_of(v), Def::early);
  }

  // --- memory ---
  void load(Value v, const ir::Inst& inst) {
    if (facts_.uses(v) == 0 && inst.op != Op::load_acquire) return;
    const Address a = address_of(inst);
    begin(inst.op == Op::load_swapped ? X::load_swapped : X::load);
    last().bits = inst.bits;
    last().sign = inst.has(ir::Inst::sign);
    put(a, Use::early);
    define(register_of(v));
  }

  void store(const ir::Inst& inst) {
    const Value value = facts_.root(f_.operands_of(inst)[1]);
    const Address a = address_of(inst);
    s64 number_ = 0;
    const bool is_imm = inst.op != Op::store_swapped && immediate(value, inst.bits == 64 ? 64 : 32, number_);
    const VReg r = is_imm ? none : ready(value);
    begin(inst.op == Op::store_swapped ? X::store_swapped : X::store);
    last().bits = inst.bits;
    last().flag = is_imm;
    last().imm = number_;
    put(a, Use::early);
    if (!is_imm) last().a = use(r, Use::early);
  }

  void atomic(Value v, const ir::Inst& inst) {
    const auto o = f_.operands_of(inst);
    const Address at = address_of(inst);
    const VReg operand = ready(o[1]);
    constexpr x86::Alu kinds[] = {x86::Alu::add, x86::Alu::or_, x86::Alu::and_, x86::Alu::xor_};
    const x86::Alu kind = kinds[static_cast<u8>(inst.atomic)];
    const bool is_read = facts_.uses(v) != 0;
    if (inst.op == Op::compare_exchange) {
      const VReg desired = ready(o[2]);
      begin(X::compare_exchange);
      last().bits = inst.bits;
      put(at, Use::late);
      last().a = use(operand, Use::fixed, Reg::rax);
      last().b = use(desired, Use::late);
      last().clobbers = bit(Reg::rax);
      define(register_of(v), Def::fixed, Reg::rax);
    } else if (inst.op == Op::exchange || (is_read && kind == x86::Alu::add)) {
      begin(inst.op == Op::exchange ? X::exchange : X::exchange_add);
      last().bits = inst.bits;
      put(at, Use::late);
      last().a = use(operand, Use::early);
      last().tied = last().a;
      define(register_of(v), Def::early);
    } else if (is_read) {
      begin(X::fetch);
      last().bits = inst.bits;
      last().sub = static_cast<u8>(kind);
      put(at, Use::late);
      last().a = use(operand, Use::late);
      last().clobbers = bit(Reg::rax) | bit(Reg::rdx);
      define(register_of(v), Def::fixed, Reg::rax);
    } else {
      begin(X::alu_memory);
      last().bits = inst.bits;
      last().sub = static_cast<u8>(kind);
      put(at, Use::early);
      last().a = use(operand, Use::early);
    }
  }

  void call(Value v, const ir::Inst& inst) {
    const auto o = f_.operands_of(inst);
    const u32 skip = inst.op == Op::call_pointer ? 1 : 0;
    VReg values[6] = {run_register()};
    for (u32 i = skip; i < o.size(); i++) {
      const Value root = facts_.root(o[i]);
      values[1 + i - skip] = is_leaf(root) ? leaf(root) : register_of(root);
    }
    const VReg target = skip != 0 ? ready(o[0]) : none;
    begin(inst.op == Op::call ? X::call : inst.op == Op::call_local ? X::call_local : X::call_pointer);
    last().imm = inst.imm;
    last().target = static_cast<u32>(inst.imm);
    if (skip != 0) last().a = use(target, Use::fixed, Reg::rax);
    for (u32 i = 0; i < 1 + o.size() - skip; i++) use(values[i], Use::fixed, arguments[i]);
    last().clobbers = caller_saved;
    define(register_of(v), Def::fixed, Reg::rax);
    code_.calls++;
  }

  const ir::Function& f_;
  const Target& target_;
  Code& code_;
  Facts facts_;
  std::vector<VReg> register_;
  std::vector<Value> phi_values_;
  VReg run_ = none;
  u32 block_ = 0;
  Value at_ = 0;
};

}  // namespace

void select_x86_64(const ir::Function& f, const Target& target, Code& code) { Chooser(f, target, code).run(); }

}  // namespace skep::vm::backend
