// Writes the places into instructions and lists the moves that connect them.
//
// A value that is one unit has one register and needs no moves but those of phis. A split value is stored once, where
// it is defined, if anything reads it from memory; a piece that begins inside a block loads it there; on every edge
// where its place changes there is a move. Moves of an edge stand at the end of the predecessor when that has no
// other successor, else at the start of the block, which then has no other predecessor: critical edges are split.
#include <algorithm>

#include "base/sort_by.hpp"
#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {
namespace {

class Resolver {
 public:
  Resolver(Code& code, const Registers& registers, Allocation& out) : code_(code), registers_(registers), out_(out) {}

  void run() {
    for (u32 i = 0; i < code_.parameters.size(); i++)
      if (const VReg v = code_.parameters[i]; v != none)
        move(0, Move::enter, Loc::of(Loc::reg, registers_.arguments[i]), at(v, 0), v, v);
    for (u32 i = 0; i < code_.insns.size(); i++) instruction(i);
    for (VReg v = 0; v < code_.registers.size(); v++)
      if (out_.values[v].unit == none && code_.registers[v].ranges_count != 0) connect(v);
    for (const Phi& phi : code_.phis) join(phi);
    for (VReg v = 0; v < code_.registers.size(); v++)
      if (out_.values[v].needs_slot) keep(v);
    base::sort_by(out_.moves, &Move::key);
  }

 private:
  /// Where `v` is; a slot that is read must be written.
  Loc at(VReg v, u32 position) {
    const Loc loc = out_.at(code_, v, position);
    if (loc.kind() != Loc::slot) return loc;
    u32& slot = out_.web_slots[loc.number()];
    if (slot == none) slot = out_.slots++;
    out_.values[v].needs_slot = true;
    return Loc::of(Loc::slot, slot);
  }

  void move(u32 inst, Move::Phase phase, Loc from, Loc to, VReg from_value, VReg to_value) {
    if (from == to || to.kind() == Loc::remat) return;
    out_.moves.push_back({inst * 4 + phase, from, to, from_value, to_value});
  }

  void instruction(u32 i) {
    Inst& inst = code_.insns[i];
    for (u32 k = 0; k < inst.count; k++) {
      Operand& o = code_.operands[inst.first + k];
      const bool made = o.use == Use::fixed && code_.registers[o.vreg].remat != Remat::no;
      o.loc = made ? Loc::of(Loc::remat, o.vreg) : at(o.vreg, 2 * i - 1);
    }
    if (inst.def != none) inst.def_loc = at(inst.def, inst.def_kind == Def::early ? 2 * i : 2 * i + 1);
  }

  /// The moves of a split value.
  void connect(VReg v) {
    for (u32 p = out_.values[v].pieces; p != none; p = out_.pieces[p].next)
      for (const Range& r : out_.ranges_of(out_.units[out_.pieces[p].unit])) begin_piece(v, r.from);
    for (const Range& r : code_.ranges_of(v)) {
      auto block = std::lower_bound(code_.blocks.begin(), code_.blocks.end(), r.from,
                                    [](const Block& b, u32 position) { return 2 * b.first < position; });
      for (; block != code_.blocks.end() && 2 * block->first < r.to; ++block)
        if (block - code_.blocks.begin() != code_.registers[v].def_block || code_.registers[v].def_inst != none)
          enter(v, static_cast<u32>(block - code_.blocks.begin()));
    }
  }

  void begin_piece(VReg v, u32 position) {
    const Register& r = code_.registers[v];
    if (position % 2 == 0) return;  // a block or a result begins here
    if (r.def_inst != none && code_.insns[r.def_inst].def_kind != Def::early && position == 2 * r.def_inst + 1) return;
    const u32 inst = (position + 1) / 2;
    const Loc from = r.remat != Remat::no ? Loc::of(Loc::remat, v) : slot_of(v);
    move(inst, Move::reload, from, out_.at(code_, v, position), v, v);
  }

  Loc slot_of(VReg v) {
    u32& slot = out_.web_slots[out_.values[v].web];
    if (slot == none) slot = out_.slots++;
    out_.values[v].needs_slot = true;
    return Loc::of(Loc::slot, slot);
  }

  /// The edges into a block where `v` lives already.
  void enter(VReg v, u32 b) {
    const Block& block = code_.blocks[b];
    const Loc to = out_.at(code_, v, 2 * block.first);
    if (to.kind() != Loc::reg) return;  // the slot holds it from its definition on
    for (const u32 p : code_.predecessors(block)) {
      if (p == none) continue;
      const Loc raw = out_.at(code_, v, 2 * code_.blocks[p].last - 1);
      if (raw == to) continue;
      edge(p, b, raw.kind() == Loc::slot ? slot_of(v) : raw, to, v, v);
    }
  }

  void edge(u32 p, u32 b, Loc from, Loc to, VReg from_value, VReg to_value) {
    if (code_.blocks[p].successor_count == 1)
      move(code_.blocks[p].last - 1, Move::leave, from, to, from_value, to_value);
    else
      move(code_.blocks[b].first, Move::enter, from, to, from_value, to_value);
  }

  void join(const Phi& phi) {
    const Block& block = code_.blocks[phi.block];
    const Loc to = at(phi.def, 2 * block.first);
    for (u32 k = 0; k < block.predecessor_count; k++) {
      const u32 p = code_.edges[block.predecessors + k];
      if (p == none) continue;
      const VReg v = code_.phi_operands[phi.first + k];
      const Loc from =
          code_.registers[v].remat != Remat::no ? Loc::of(Loc::remat, v) : at(v, 2 * code_.blocks[p].last - 1);
      edge(p, phi.block, from, to, v, phi.def);
    }
  }

  /// Stores a value to its slot where it is defined.
  void keep(VReg v) {
    const Register& r = code_.registers[v];
    if (r.remat != Remat::no) return;
    const u32 inst = r.def_inst != none ? r.def_inst : code_.blocks[r.def_block].first;
    const Loc from = r.def_inst != none ? code_.insns[inst].def_loc : out_.at(code_, v, 2 * inst);
    if (from.kind() == Loc::reg) move(inst, Move::keep, from, slot_of(v), v, v);
  }

  Code& code_;
  const Registers& registers_;
  Allocation& out_;
};

}  // namespace

void resolve(Code& code, const Registers& registers, Allocation& allocation) {
  Resolver(code, registers, allocation).run();
}

}  // namespace skep::vm::backend
