// See select.hpp.
#include "vm/jit/backend/select.hpp"

#include <algorithm>
#include <bit>

namespace skep::vm::backend {

using ir::Op;

void Selector::run(bool scaled_addresses) {
  facts_.find(scaled_addresses);
  code_.frame_bytes = f_.frame_bytes;
  code_.parameters.assign(6, none);
  code_.operands.reserve(f_.operands.size() + f_.insns.size());
  code_.registers.reserve(f_.insns.size() + 64);
  reversed_.reserve(f_.insns.size() + code_.blocks.size() * 2);
  register_.assign(f_.insns.size(), none);
  table_.assign(std::bit_ceil(f_.insns.size() + 64), none);
  begins_.assign(code_.blocks.size() + 1, 0);
  prepare();
  find_dominators();
  for (u32 b = 0; b < code_.blocks.size(); b++) make_phis(b);
  for (u32 b = static_cast<u32>(code_.blocks.size()); b-- > 0;) read_block(b);
  place_constants();
  write_line();
  for (u32 i = 0; i < code_.insns.size(); i++)
    for (u32 k = 0; k < code_.insns[i].count; k++) {
      Operand& o = code_.operands[code_.insns[i].first + k];
      o.inst = i;
      o.next = code_.registers[o.vreg].uses;
      code_.registers[o.vreg].uses = code_.insns[i].first + k;
    }
}

void Selector::make_phis(u32 b) {
  if (code_.blocks[b].source == ir::no_block) return;
  for (const Value v : f_.blocks[code_.blocks[b].source].insns) {
    if (f_.insns[v].op != Op::phi) break;
    if (facts_.uses(v) == 0) continue;
    const VReg def = register_of(v);
    code_.registers[def].is_phi = true;
    code_.registers[def].def_block = b;
    code_.phis.push_back({def, b, static_cast<u32>(code_.phi_operands.size())});
    // By predecessor in the line: an edge that was split is another block there, in the same order.
    for (const Value o : f_.operands_of(v)) code_.phi_operands.push_back(register_of(o));
  }
}

void Selector::read_block(u32 b) {
  block_ = b;
  begins_[b] = static_cast<u32>(reversed_.size());
  const ir::BlockId from = code_.blocks[b].source;
  if (from == ir::no_block) {
    made_.clear();
    begin(ops().jump);
    reversed_.push_back(made_[0]);
    return;
  }
  const auto& insns = f_.blocks[from].insns;
  for (std::size_t i = insns.size(); i-- > 0;) {
    const Value v = insns[i];
    const ir::Inst& inst = f_.insns[v];
    if (inst.op <= Op::phi) {
      if (inst.op == Op::phi) break;
      continue;
    }
    const bool optional =
        ir::row(inst.op).effect == ir::Effect::pure || inst.op == Op::load || inst.op == Op::load_swapped;
    if (facts_.folded(v) || (optional && facts_.uses(v) == 0)) continue;
    made_.clear();
    pending_.clear();
    at_ = v;
    instruction(v, inst);
    reversed_.insert(reversed_.end(), made_.rbegin(), made_.rend());
    for (const u32 r : pending_) remats_[r].mark = static_cast<u32>(reversed_.size()) - 1;
  }
}

// --- the instruction being made ---

Inst& Selector::begin(u8 op, u8 width) {
  Inst inst;
  inst.op = op;
  inst.width = width;
  inst.first = static_cast<u32>(code_.operands.size());
  made_.push_back(inst);
  return made_.back();
}

u8 Selector::use(VReg v, Use how, u8 fixed) {
  if (how != Use::fixed && code_.registers[v].remat != Remat::no) wanted(v);
  Operand o;
  o.vreg = v;
  o.use = how;
  o.fixed = fixed;
  code_.operands.push_back(o);
  return last().count++;
}

Inst& Selector::define(VReg v, Def kind, u8 fixed) {
  last().def = v;
  last().def_kind = kind;
  last().def_fixed = fixed;
  return last();
}

// --- values ---

bool Selector::is_last(Value v, const ir::Inst& call) const {
  const auto& insns = f_.blocks[call.block].insns;
  if (!call.has(ir::Inst::last) || insns.size() < 2 || insns[insns.size() - 2] != v) return false;
  const ir::Inst& end = f_.insns[insns.back()];
  return end.op == Op::ret && operand(end, 0) == v;
}

VReg Selector::register_of(Value v) {
  v = facts_.root(v);
  if (register_[v] != none) return register_[v];
  const ir::Inst& inst = f_.insns[v];
  if (inst.op == Op::constant) return register_[v] = remat(Remat::constant, inst.imm);
  if (inst.op == Op::frame) return register_[v] = remat(Remat::frame, inst.imm);
  if (inst.op == Op::run) return register_[v] = run_register();
  register_[v] = code_.new_register();
  if (inst.op == Op::parameter) {
    code_.registers[register_[v]].is_parameter = true;
    code_.registers[register_[v]].def_block = 0;
    code_.parameters[static_cast<std::size_t>(inst.imm)] = register_[v];
  }
  return register_[v];
}

VReg Selector::run_register() {
  if (run_ == none) {
    run_ = code_.new_register();
    code_.registers[run_].is_parameter = true;
    code_.registers[run_].def_block = 0;
    code_.parameters[0] = run_;
  }
  return run_;
}

VReg Selector::remat(Remat kind, s64 value) {
  if (remats_.size() * 2 > table_.size()) {  // the constants that selection adds
    table_.assign(table_.size() * 2, none);
    for (u32 i = 0; i < remats_.size(); i++) {
      std::size_t h = static_cast<u64>(code_.registers[remats_[i].vreg].imm) * 0x9e3779b97f4a7c15u >> 32;
      while (table_[h & (table_.size() - 1)] != none) h++;
      table_[h & (table_.size() - 1)] = i;
    }
  }
  for (std::size_t h = static_cast<u64>(value) * 0x9e3779b97f4a7c15u >> 32;; h++) {
    u32& slot = table_[h & (table_.size() - 1)];
    if (slot == none) {
      slot = static_cast<u32>(remats_.size());
      const VReg v = code_.new_register();
      code_.registers[v].remat = kind;
      code_.registers[v].imm = value;
      remats_.push_back({v});
      remat_of_.resize(v + 1, none);
      remat_of_[v] = slot;
      return v;
    }
    const VReg v = remats_[slot].vreg;
    if (code_.registers[v].imm == value && code_.registers[v].remat == kind) return v;
  }
}

bool Selector::can_take_load(Value v) const {
  const ir::Inst& inst = f_.insns[v];
  return inst.op == Op::load && only_here(v) && inst.block == f_.insns[at_].block &&
         facts_.epoch(v) == facts_.epoch(at_);
}

Selector::Value Selector::low_bits(Value v, u8 bits) {
  for (;;) {
    v = facts_.root(v);
    const ir::Inst& inst = f_.insns[v];
    const bool skipped = (inst.op == Op::zext || (inst.op == Op::sext && inst.width >= bits)) && inst.bits >= bits;
    if (!skipped || !only_here(v)) return v;
    take(v);
    v = f_.operands_of(inst)[0];
  }
}

// --- constants ---

void Selector::wanted(VReg v) {
  const u32 r = remat_of_[v];
  Made& made = remats_[r];
  made.block = made.block == none ? block_ : common_dominator(made.block, block_);
  if (made.block == block_)
    pending_.push_back(r);
  else
    made.mark = none;
}

void Selector::find_dominators() {
  dominator_.assign(code_.blocks.size(), none);
  dominator_[0] = 0;
  for (bool changed = true; changed;) {
    changed = false;
    for (u32 b = 1; b < code_.blocks.size(); b++) {
      u32 best = none;
      for (const u32 p : code_.predecessors(code_.blocks[b])) {
        if (p == none || dominator_[p] == none) continue;
        best = best == none ? p : common_dominator(best, p);
      }
      if (dominator_[b] == best) continue;
      dominator_[b] = best;
      changed = true;
    }
  }
}

u32 Selector::common_dominator(u32 a, u32 b) const {
  while (a != b) (a > b ? a : b) = dominator_[a > b ? a : b];
  return a;
}

/// Out of loops.
void Selector::place_constants() {
  for (Made& made : remats_) {
    if (made.block == none) continue;
    for (u32 loop = code_.blocks[made.block].loop; loop != none; loop = code_.blocks[made.block].loop) {
      const u32 before = dominator_[code_.loops[loop].header];
      if (code_.blocks[before].frequency >= code_.blocks[made.block].frequency) break;
      made.block = before;
      made.mark = none;
    }
  }
}

void Selector::write_line() {
  std::vector<u32> order;
  for (u32 i = 0; i < remats_.size(); i++)
    if (remats_[i].block != none) order.push_back(i);
  // By block, and within it from the first wanted (the highest mark) to those that wait for its end.
  std::ranges::sort(order, [&](u32 a, u32 b) {
    const Made &x = remats_[a], &y = remats_[b];
    if (x.block != y.block) return x.block < y.block;
    return x.mark + 1 > y.mark + 1;  // none + 1 is 0: last
  });
  code_.insns.reserve(reversed_.size() + order.size() + code_.blocks.size());
  auto next = order.begin();
  for (u32 b = 0; b < code_.blocks.size(); b++) {
    code_.blocks[b].first = static_cast<u32>(code_.insns.size());
    Inst label;
    label.op = ops().label;
    label.first = 0;
    append(label, b);
    const u32 begin = begins_[b], end = b == 0 ? static_cast<u32>(reversed_.size()) : begins_[b - 1];
    for (u32 i = end; i-- > begin;) {
      while (next != order.end() && remats_[*next].block == b && (remats_[*next].mark == i || i == begin))
        make(remats_[*next++], b);
      append(reversed_[i], b);
    }
    code_.blocks[b].last = static_cast<u32>(code_.insns.size());
  }
}

void Selector::append(Inst inst, u32 b) {
  if (inst.def != none) {
    code_.registers[inst.def].def_inst = static_cast<u32>(code_.insns.size());
    code_.registers[inst.def].def_block = b;
  }
  code_.insns.push_back(inst);
}

void Selector::make(const Made& made, u32 b) {
  Inst inst;
  const Register& r = code_.registers[made.vreg];
  inst.op = r.remat == Remat::constant ? ops().constant : ops().frame;
  inst.imm = r.imm;
  inst.def = made.vreg;
  append(inst, b);
}

}  // namespace skep::vm::backend
