// Where each virtual register holds a value somebody will still read.
//
// SSA makes this one walk per use: from the use backwards over predecessors until the block that defines the value,
// stopping where another use has been already. Then each block is read once from its end, and ranges grow at their
// front. Phi operands are read at the end of the predecessor, phi results are written at the start of their block.
// Source: Boissinot et al., "Computing Liveness Sets for SSA-Form Programs" (2011); Wimmer, Franz (2010).
#include <bit>

#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {
namespace {

constexpr u64 most_bits = u64{1} << 28;  // of a set per block: 32 MB

class Live {
 public:
  explicit Live(Code& code) : code_(code), words_((code.registers.size() + 63) / 64) {}

  bool run() {
    if (code_.blocks.size() * words_ * 64 > most_bits) return false;
    in_.assign(code_.blocks.size() * words_, 0);
    out_.assign(code_.blocks.size() * words_, 0);
    for (u32 b = 0; b < code_.blocks.size(); b++) upward(b);
    for (const Phi& phi : code_.phis) phi_operands(phi);
    heads_.assign(code_.registers.size(), none);
    pool_.reserve(code_.registers.size() * 2);
    for (u32 b = static_cast<u32>(code_.blocks.size()); b-- > 0;) downward(b);
    flatten();
    return true;
  }

 private:
  struct Node {
    u32 from, to, next;
  };

  /// A rematerialised value is not kept alive for moves: they make it where it is wanted.
  bool keeps_alive(const Operand& o) const { return code_.registers[o.vreg].remat == Remat::no || o.use != Use::fixed; }

  void upward(u32 b) {
    const Block& block = code_.blocks[b];
    for (u32 i = block.first; i < block.last; i++) {
      const Inst& inst = code_.insns[i];
      for (u32 k = 0; k < inst.count; k++) {
        const Operand& o = code_.operands[inst.first + k];
        if (keeps_alive(o)) live_in(o.vreg, b);
      }
    }
  }

  void phi_operands(const Phi& phi) {
    const auto predecessors = code_.predecessors(code_.blocks[phi.block]);
    for (u32 k = 0; k < predecessors.size(); k++) {
      const VReg v = code_.phi_operands[phi.first + k];
      if (predecessors[k] == none || code_.registers[v].remat != Remat::no) continue;
      set(out_, predecessors[k], v);
      live_in(v, predecessors[k]);
    }
  }

  void live_in(VReg v, u32 b) {
    if (code_.registers[v].def_block == b || !set(in_, b, v)) return;
    work_.push_back(b);
    while (!work_.empty()) {
      const u32 at = work_.back();
      work_.pop_back();
      for (const u32 p : code_.predecessors(code_.blocks[at])) {
        if (p == none) continue;
        set(out_, p, v);
        if (code_.registers[v].def_block != p && set(in_, p, v)) work_.push_back(p);
      }
    }
  }

  /// False: it was there.
  bool set(std::vector<u64>& bits, u32 b, VReg v) {
    u64& word = bits[b * words_ + v / 64];
    const u64 bit = u64{1} << v % 64;
    if ((word & bit) != 0) return false;
    word |= bit;
    return true;
  }

  void downward(u32 b) {
    const Block& block = code_.blocks[b];
    const u32 start = 2 * block.first, end = 2 * block.last;
    for (std::size_t w = 0; w < words_; w++)
      for (u64 bits = out_[b * words_ + w]; bits != 0; bits &= bits - 1)
        grow(static_cast<VReg>(w * 64 + static_cast<u32>(std::countr_zero(bits))), start, end);
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
  const std::size_t words_;
  std::vector<u64> in_, out_;
  std::vector<u32> work_;
  std::vector<Node> pool_;
  std::vector<u32> heads_;
  u32 phi_at_ = 0;
};

}  // namespace

bool find_live_ranges(Code& code) { return Live(code).run(); }

}  // namespace skep::vm::backend
