// Where each virtual register holds a value somebody will still read.
//
// SSA makes this one walk per use: from the use backwards over predecessors until the block that defines the value,
// stopping where another use of it has been already. That is done value by value, so that time and memory grow with
// what is found (in which blocks which values live on) and not with all blocks times all values. Then each block is
// read once from its end, and ranges grow at their front. Phi operands are read at the end of the predecessor, phi
// results are written at the start of their block.
// Source: Boissinot et al., "Computing Liveness Sets for SSA-Form Programs" (2011); Wimmer, Franz (2010).
#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {
namespace {

/// Blocks times the values that live on behind them: 64 MB.
constexpr std::size_t most_outs = std::size_t{1} << 23;

class Live {
 public:
  explicit Live(Code& code) : code_(code) {}

  bool run() {
    const std::size_t blocks = code_.blocks.size(), registers = code_.registers.size();
    find_uses();
    entered_.assign(blocks, none);
    left_.assign(blocks, none);
    outs_of_.assign(blocks, none);
    outs_.reserve(registers);
    for (VReg v = 0; v < registers; v++) {
      for (u32 u = first_use_[v]; u < first_use_[v + 1]; u++) {
        if (uses_[u].at_end) leave(v, uses_[u].block);
        live_in(v, uses_[u].block);
      }
      if (outs_.size() > most_outs) return false;
    }
    heads_.assign(registers, none);
    pool_.reserve(registers * 2);
    for (u32 b = static_cast<u32>(blocks); b-- > 0;) downward(b);
    flatten();
    return true;
  }

 private:
  struct Node {
    u32 from, to, next;
  };
  struct Reader {
    u32 block;
    bool at_end;  ///< by a phi of a successor
  };
  struct Out {
    VReg vreg;
    u32 next;
  };

  /// A rematerialised value is not kept alive for moves: they make it where it is wanted.
  bool keeps_alive(const Operand& o) const { return code_.registers[o.vreg].remat == Remat::no || o.use != Use::fixed; }

  template <class Note>
  void every_use(Note note) const {
    for (u32 b = 0; b < code_.blocks.size(); b++)
      for (u32 i = code_.blocks[b].first; i < code_.blocks[b].last; i++)
        for (u32 k = 0; k < code_.insns[i].count; k++)
          if (const Operand& o = code_.operands[code_.insns[i].first + k]; keeps_alive(o)) note(o.vreg, b, false);
    for (const Phi& phi : code_.phis) {
      const auto predecessors = code_.predecessors(code_.blocks[phi.block]);
      for (u32 k = 0; k < predecessors.size(); k++) {
        const VReg v = code_.phi_operands[phi.first + k];
        if (predecessors[k] != none && code_.registers[v].remat == Remat::no) note(v, predecessors[k], true);
      }
    }
  }

  /// Sorts them by value.
  void find_uses() {
    first_use_.assign(code_.registers.size() + 1, 0);
    every_use([&](VReg v, u32, bool) { first_use_[v + 1]++; });
    for (VReg v = 0; v < code_.registers.size(); v++) first_use_[v + 1] += first_use_[v];
    uses_.resize(first_use_.back());
    std::vector<u32> next(first_use_.begin(), first_use_.end() - 1);
    every_use([&](VReg v, u32 b, bool at_end) { uses_[next[v]++] = {b, at_end}; });
  }

  void live_in(VReg v, u32 b) {
    if (!enter(v, b)) return;
    work_.push_back(b);
    while (!work_.empty()) {
      const u32 at = work_.back();
      work_.pop_back();
      for (const u32 p : code_.predecessors(code_.blocks[at])) {
        if (p == none) continue;
        leave(v, p);
        if (enter(v, p)) work_.push_back(p);
      }
    }
  }

  /// False: it was known, or the value is made there.
  bool enter(VReg v, u32 b) {
    if (code_.registers[v].def_block == b || entered_[b] == v) return false;
    entered_[b] = v;
    return true;
  }
  void leave(VReg v, u32 b) {
    if (left_[b] == v) return;
    left_[b] = v;
    outs_.push_back({v, outs_of_[b]});
    outs_of_[b] = static_cast<u32>(outs_.size() - 1);
  }

  void downward(u32 b) {
    const Block& block = code_.blocks[b];
    const u32 start = 2 * block.first, end = 2 * block.last;
    for (u32 o = outs_of_[b]; o != none; o = outs_[o].next) grow(outs_[o].vreg, start, end);
    for (u32 i = block.last; i-- > block.first;) {
      const Inst& inst = code_.insns[i];
      if (inst.def != none) define(inst.def, inst.def_kind == Def::early ? 2 * i : 2 * i + 1);
      for (u32 k = 0; k < inst.count; k++) {
        const Operand& o = code_.operands[inst.first + k];
        if (!keeps_alive(o)) continue;
        grow(o.vreg, start, o.use == Use::late || o.use == Use::any_late ? 2 * i + 1 : 2 * i);
      }
    }
    // Phis and parameters are written at the very start, where their ranges begin anyway; unread ones still need room.
    if (b == 0)
      for (const VReg v : code_.parameters)
        if (v != none && heads_[v] == none) grow(v, start, start + 1);
    for (; phi_at_ < code_.phis.size() && code_.phis[code_.phis.size() - 1 - phi_at_].block == b; phi_at_++) {
      const VReg v = code_.phis[code_.phis.size() - 1 - phi_at_].def;
      if (heads_[v] == none) grow(v, start, start + 1);
    }
  }

  void grow(VReg v, u32 from, u32 to) {
    const u32 head = heads_[v];
    if (head != none && pool_[head].from <= to) {
      if (from < pool_[head].from) pool_[head].from = from;
      if (to > pool_[head].to) pool_[head].to = to;
      return;
    }
    heads_[v] = static_cast<u32>(pool_.size());
    pool_.push_back({from, to, head});
  }

  void define(VReg v, u32 at) {
    const u32 head = heads_[v];
    if (head == none || pool_[head].from > at)
      grow(v, at, at + 1);  // nobody reads it; the write needs a register all the same
    else
      pool_[head].from = at;
  }

  void flatten() {
    code_.ranges.clear();
    code_.ranges.reserve(pool_.size() * 2);
    for (VReg v = 0; v < code_.registers.size(); v++) {
      Register& r = code_.registers[v];
      r.ranges_first = static_cast<u32>(code_.ranges.size());
      for (u32 n = heads_[v]; n != none; n = pool_[n].next) {
        if (code_.ranges.size() > r.ranges_first && code_.ranges.back().to == pool_[n].from)
          code_.ranges.back().to = pool_[n].to;
        else
          code_.ranges.push_back({pool_[n].from, pool_[n].to});
      }
      r.ranges_count = static_cast<u32>(code_.ranges.size()) - r.ranges_first;
    }
  }

  Code& code_;
  std::vector<u32> first_use_;  ///< by value: in uses_
  std::vector<Reader> uses_;
  std::vector<VReg> entered_, left_;  ///< by block: the value that was last found to live into or out of it
  std::vector<u32> outs_of_;          ///< by block: in outs_
  std::vector<Out> outs_;
  std::vector<u32> work_;
  std::vector<Node> pool_;
  std::vector<u32> heads_;
  u32 phi_at_ = 0;
};

}  // namespace

bool find_live_ranges(Code& code) { return Live(code).run(); }

}  // namespace skep::vm::backend
