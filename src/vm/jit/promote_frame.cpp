// Memory of the frame that only plain loads and stores touch becomes values (see passes.hpp).
//
// shape.cpp does this for each eBPF function before it is built. What it cannot see is that the context of a callback,
// or what a function of the program gets by address, is the frame of its caller: after inlining their accesses are to
// the frame, too. If no address of the frame goes anywhere else, pieces that are always touched as a whole are
// variables: a store sets one, a load is its value, and where ways meet there is a phi (the superfluous ones go in
// simplify()). Source: Cytron et al., "Efficiently Computing Static Single Assignment Form" (1991), with phis wherever
// ways meet.
#include <algorithm>
#include <map>

#include "vm/jit/dominators.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::ir {
namespace {

/// Bytes behind an address that a cold call reads: the key of a look-up (build_maps.cpp).
constexpr s64 given_bytes = 64;
/// Phis at most: a function with more has too many ways for what it would save.
constexpr std::size_t most_phis = 4096;

class Promoter {
 public:
  explicit Promoter(Function& f) : f_(f), dominators_(f) {}

  void run() {
    if (f_.frame_bytes == 0 || !find_pieces()) return;
    const auto joins = std::ranges::count_if(dominators_.reverse_postorder(),
                                             [&](BlockId b) { return f_.blocks[b].predecessors.size() > 1; });
    if (static_cast<std::size_t>(joins) * pieces_.size() > most_phis) return;
    rewrite();
    fill_phis();
    forget_loads();
    drop_frame();
  }

 private:
  struct Piece {
    u8 bits = 0;
    bool is_memory = false;
    u32 index = 0;
  };

  static bool is_load(Op op) { return op == Op::load || op == Op::load_swapped; }
  static bool is_store(Op op) { return op == Op::store || op == Op::store_swapped; }
  /// Where a load or store of the frame goes.
  s64 place_of(const Inst& inst) const { return f_.insns[f_.operands[inst.first]].imm + inst.imm; }
  bool is_frame(Value v) const { return f_.insns[v].op == Op::frame; }
  Piece* piece_of(const Inst& inst) {
    if ((!is_load(inst.op) && !is_store(inst.op)) || !is_frame(f_.operands[inst.first])) return nullptr;
    const auto it = pieces_.find(place_of(inst));
    return it != pieces_.end() ? &it->second : nullptr;
  }

  /// False: nothing can be promoted.
  bool find_pieces() {
    std::vector<std::pair<s64, s64>> memory;  // from, to
    for (const auto& block : f_.blocks)
      for (const Value v : block.insns) {
        const Inst& inst = f_.insns[v];
        const auto operands = f_.operands_of(inst);
        for (u32 i = 0; i < operands.size(); i++) {
          if (!is_frame(operands[i])) continue;
          const s64 at = f_.insns[operands[i]].imm;
          const bool is_access = inst.op >= Op::load && inst.op <= Op::store_release && i == 0;
          if (is_access && (is_load(inst.op) || is_store(inst.op)))
            touch(at + inst.imm, inst.bits, memory);
          else if (is_access)
            memory.emplace_back(at + inst.imm, at + inst.imm + inst.bits / 8);
          else if (inst.op == Op::call && inst.has(Inst::cold))
            memory.emplace_back(at, at + given_bytes);
          else
            return false;
        }
      }
    Piece* before = nullptr;
    s64 end_of_before = 0;
    for (auto& [at, piece] : pieces_) {
      for (const auto& [from, to] : memory)
        if (at < to && from < at + piece.bits / 8) piece.is_memory = true;
      if (before != nullptr && at < end_of_before) before->is_memory = piece.is_memory = true;
      end_of_before = std::max(end_of_before, at + piece.bits / 8);
      before = &piece;
    }
    std::erase_if(pieces_, [](const auto& p) { return p.second.is_memory; });
    u32 index = 0;
    for (auto& [at, piece] : pieces_) piece.index = index++;
    return !pieces_.empty();
  }

  void touch(s64 at, u8 bits, std::vector<std::pair<s64, s64>>& memory) {
    Piece& piece = pieces_[at];
    if (piece.bits != 0 && piece.bits != bits) memory.emplace_back(at, at + std::max(piece.bits, bits) / 8);
    piece.bits = std::max(piece.bits, bits);
  }

  Value& at_end(BlockId block, const Piece& piece) { return at_end_[block * pieces_.size() + piece.index]; }
  Value resolved(Value v) const { return v < instead_.size() && instead_[v] != no_value ? instead_[v] : v; }

  void rewrite() {
    at_end_.assign(f_.blocks.size() * pieces_.size(), no_value);
    instead_.assign(f_.insns.size(), no_value);
    // What a verified program reads was written; on a way that never runs it is any number.
    zero_ = f_.add({.op = Op::constant, .block = 0}, {});
    f_.blocks[0].insns.insert(f_.blocks[0].insns.begin(), zero_);
    for (const BlockId b : dominators_.reverse_postorder()) {
      begin(b);
      std::erase_if(f_.blocks[b].insns, [&](Value v) {
        const Piece* const piece = piece_of(f_.insns[v]);
        return piece != nullptr && access(v, at_end(b, *piece));
      });
    }
  }

  void begin(BlockId b) {
    const auto& predecessors = f_.blocks[b].predecessors;
    for (const auto& [at, piece] : pieces_) {
      if (predecessors.empty()) {
        at_end(b, piece) = zero_;
      } else if (predecessors.size() == 1) {
        at_end(b, piece) = at_end(predecessors[0], piece);
      } else {
        const Value phi = f_.add({.op = Op::phi, .block = b}, {});
        f_.blocks[b].insns.insert(f_.blocks[b].insns.begin(), phi);
        phis_.push_back({phi, piece.index});
        at_end(b, piece) = phi;
      }
    }
  }

  /// The variable is `now`. True: nothing is left of the instruction.
  bool access(Value v, Value& now) {
    Inst& inst = f_.insns[v];
    const auto become = [&](Op op, Value operand) {
      inst = {.op = op, .bits = inst.bits, .count = 1, .first = inst.first, .block = inst.block};
      f_.operands[inst.first] = operand;
      return false;
    };
    switch (inst.op) {
      case Op::load:
        if (inst.bits < 64) return become(inst.has(Inst::sign) ? Op::sext : Op::zext, now);
        instead_[v] = now;
        return true;
      case Op::load_swapped:
        return become(Op::bswap, now);
      case Op::store:
        now = resolved(f_.operands[inst.first + 1]);
        return true;
      default:
        become(Op::bswap, resolved(f_.operands[inst.first + 1]));
        now = v;
        return false;
    }
  }

  void fill_phis() {
    std::vector<Value> operands;
    for (const auto& [phi, index] : phis_) {
      operands.clear();
      for (const BlockId p : f_.blocks[f_.insns[phi].block].predecessors)
        operands.push_back(at_end_[p * pieces_.size() + index]);
      f_.insns[phi].first = static_cast<u32>(f_.operands.size());
      f_.insns[phi].count = static_cast<u16>(operands.size());
      f_.operands.insert(f_.operands.end(), operands.begin(), operands.end());
    }
  }

  void forget_loads() {
    for (const auto& block : f_.blocks)
      for (const Value v : block.insns)
        for (Value& operand : f_.operands_of(v)) operand = resolved(operand);
  }

  void drop_frame() {
    for (const auto& block : f_.blocks)
      for (const Value v : block.insns)
        if (std::ranges::any_of(f_.operands_of(v), [&](Value o) { return is_frame(o); })) return;
    f_.frame_bytes = 0;
  }

  Function& f_;
  Dominators dominators_;
  std::map<s64, Piece> pieces_;  ///< by byte of the frame
  std::vector<Value> at_end_;    ///< by block and piece
  std::vector<Value> instead_;   ///< by load that is gone: its value
  struct Phi {
    Value phi;
    u32 index;
  };
  std::vector<Phi> phis_;
  Value zero_ = no_value;
};

}  // namespace

void promote_frame(Function& f) { Promoter(f).run(); }

}  // namespace skep::vm::ir
