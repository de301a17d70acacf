// Proves a register allocation: follows which value is in which place through every path, and compares with what
// each operand should read.
//
// At the start of a block a place holds a value if it does at the end of every predecessor. Moves, results and
// clobbers change places; a phi renames the value its edge brings. For tests: it is as slow as it is simple.
// Source: the idea of regalloc2's checker.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {
namespace {

using State = std::map<u32, VReg>;  // Loc::word -> value

class Verifier {
 public:
  Verifier(const Code& code, const Registers& registers, const Allocation& places)
      : code_(code), registers_(registers), places_(places), starts_(code.blocks.size()), ends_(code.blocks.size()) {}

  std::string run() {
    std::vector<u32> work{0};
    State entry;
    for (u32 i = 0; i < code_.parameters.size(); i++)
      if (code_.parameters[i] != none) entry[Loc::of(Loc::reg, registers_.arguments[i]).word] = code_.parameters[i];
    starts_[0] = entry;
    while (!work.empty()) {
      const u32 b = work.back();
      work.pop_back();
      State state = *starts_[b];
      (void)block(b, state, false);
      ends_[b] = state;
      for (const u32 s : code_.successors(code_.blocks[b])) {
        State in = renamed(b, s, state);
        if (!starts_[s]) {
          starts_[s] = in;
          work.push_back(s);
          continue;
        }
        const auto before = starts_[s]->size();
        std::erase_if(*starts_[s], [&](const auto& p) { return !in.contains(p.first) || in[p.first] != p.second; });
        if (starts_[s]->size() != before) work.push_back(s);
      }
    }
    for (u32 b = 0; b < code_.blocks.size(); b++) {
      if (!starts_[b]) return fmt::format("block {} is never reached", b);
      State state = *starts_[b];
      if (auto problem = block(b, state, true); !problem.empty()) {
        std::string d;
        for (VReg v = 0; v < code_.registers.size(); v++) {
          if (code_.registers[v].ranges_count == 0) continue;
          d += fmt::format("v{} remat {} def {} web {}:", v, (int)code_.registers[v].remat,
                           (int)code_.registers[v].def_inst, places_.values[v].web);
          for (auto r : code_.ranges_of(v)) d += fmt::format(" [{},{})", r.from, r.to);
          if (places_.values[v].unit != none)
            d += fmt::format(" unit reg {}", places_.units[places_.values[v].unit].reg);
          for (u32 p = places_.values[v].pieces; p != none; p = places_.pieces[p].next) {
            d += fmt::format(" piece reg {}:", places_.units[places_.pieces[p].unit].reg);
            for (auto r : places_.ranges_of(places_.units[places_.pieces[p].unit]))
              d += fmt::format(" [{},{})", r.from, r.to);
          }
          d += "\n";
        }
        for (auto& m : places_.moves)
          d += fmt::format("move {}.{} {:#x} -> {:#x} v{} v{}\n", m.key / 4, m.key % 4, m.from.word, m.to.word,
                           m.from_value, m.to_value);
        for (auto& bb : code_.blocks) {
          d += fmt::format("block {} [{},{}) loop {} freq {} succ", &bb - code_.blocks.data(), bb.first, bb.last,
                           (int)bb.loop, bb.frequency);
          for (auto q : code_.successors(bb)) d += fmt::format(" {}", q);
          d += "\n";
        }
        fprintf(stderr, "%s", d.c_str());
        return fmt::format("block {}: {}", b, problem);
      }
    }
    return "";
  }

 private:
  /// What an edge brings, as the phis of its target name it. Moves at the head of `s` still stand for its operands.
  State renamed(u32 b, u32 s, State state) const {
    if (code_.blocks[b].successor_count != 1) return state;  // then the moves at the head of `s` rename
    rename(b, s, state);
    return state;
  }
  void rename(u32 b, u32 s, State& state) const {
    const auto predecessors = code_.predecessors(code_.blocks[s]);
    const auto k = static_cast<u32>(std::ranges::find(predecessors, b) - predecessors.begin());
    State out = state;
    for (const Phi& phi : code_.phis) {
      if (phi.block != s) continue;
      const Loc to = place(phi.def, 2 * code_.blocks[s].first);
      const VReg from = code_.phi_operands[phi.first + k];
      const auto held = state.find(to.word);
      const bool brought = held != state.end() && (held->second == from || held->second == phi.def);
      if (brought)
        out[to.word] = phi.def;
      else
        out.erase(to.word);
    }
    state = out;
  }

  Loc place(VReg v, u32 position) const {
    const Loc l = places_.at(code_, v, position);
    return l.kind() == Loc::slot ? Loc::of(Loc::slot, places_.web_slots[l.number()]) : l;
  }

  std::string moves(u32 key, State& state, bool report) {
    auto it = std::ranges::lower_bound(places_.moves, key, {}, &Move::key);
    State out = state;
    for (; it != places_.moves.end() && it->key == key; ++it) {
      const bool right =
          it->from.kind() == Loc::remat ? it->from.number() == it->from_value : holds(state, it->from, it->from_value);
      if (report && !right)
        return fmt::format("a move at {} reads {:#x}, which does not hold v{}", key / 4, it->from.word, it->from_value);
      if (right)
        out[it->to.word] = it->to_value;
      else
        out.erase(it->to.word);
    }
    state = out;
    return "";
  }
  static bool holds(const State& state, Loc loc, VReg v) {
    const auto it = state.find(loc.word);
    return it != state.end() && it->second == v;
  }

  std::string block(u32 b, State& state, bool report) {
    const Block& block = code_.blocks[b];
    for (u32 i = block.first; i < block.last; i++) {
      if (i == block.first) {
        if (auto problem = moves(4 * i + Move::enter, state, report); !problem.empty()) return problem;
        if (block.predecessor_count == 1 && code_.blocks[code_.predecessors(block)[0]].successor_count != 1)
          rename(code_.predecessors(block)[0], b, state);
      }
      if (auto problem = moves(4 * i + Move::reload, state, report); !problem.empty()) return problem;
      if (auto problem = instruction(code_.insns[i], i, state, report); !problem.empty()) return problem;
      if (i + 1 == block.last)
        if (auto problem = moves(4 * i + Move::leave, state, report); !problem.empty()) return problem;
      if (auto problem = moves(4 * i + Move::keep, state, report); !problem.empty()) return problem;
    }
    return "";
  }

  std::string instruction(const Inst& inst, u32 i, State& state, bool report) const {
    for (u32 k = 0; k < inst.count && report; k++) {
      const Operand& o = code_.operands[inst.first + k];
      const bool right =
          o.loc.kind() == Loc::remat ? o.use == Use::fixed && o.loc.number() == o.vreg : holds(state, o.loc, o.vreg);
      if (!right)
        return fmt::format("instruction {} (op {}) operand {} reads {:#x}, which does not hold v{}", i, inst.op, k,
                           o.loc.word, o.vreg);
      const bool must = o.use == Use::early || o.use == Use::late;
      if (must && o.loc.kind() != Loc::reg) return fmt::format("instruction {} operand {} is in no register", i, k);
      const bool late = o.use == Use::late || o.use == Use::any_late;
      if (late && o.loc.kind() == Loc::reg) {
        if (inst.clobbers >> o.loc.number() & 1) return fmt::format("instruction {} clobbers operand {}", i, k);
        if (inst.def_kind == Def::early && inst.def != none && inst.def_loc == o.loc)
          return fmt::format("instruction {} overwrites operand {}", i, k);
      }
    }
    for (u32 r = 0; r < 32; r++)
      if (inst.clobbers >> r & 1) state.erase(Loc::of(Loc::reg, r).word);
    if (inst.def == none || inst.def_loc.kind() == Loc::remat) return "";
    state[inst.def_loc.word] = inst.def;
    return "";
  }

  const Code& code_;
  const Registers& registers_;
  const Allocation& places_;
  std::vector<std::optional<State>> starts_, ends_;
};

}  // namespace

std::string verify_allocation(const Code& code, const Registers& registers, const Allocation& allocation) {
  return Verifier(code, registers, allocation).run();
}

}  // namespace skep::vm::backend
