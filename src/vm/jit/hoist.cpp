// Loop-invariant computations move in front of their loops (see passes.hpp).
//
// clang has done this for what a C programmer can see. What is left is what became part of a loop here: look-ups in
// maps, functions and callbacks of the program, products of constants that the compiler thought cheap.
//
// What moves must be the same wherever it is computed: pure operations, which have a result for all operands (a
// division that was proved not to be by zero asks again, unless it was done in every round anyway), and loads of what
// does not change during a run (Inst::steady). Loads of the program's own are left alone: other threads write to maps,
// and a program may wait for that; nor may a load be done on a way on which nobody has checked its address.
//
// A value that moved takes a register through the whole loop. So only what costs more than it saves moves: chains of
// operations are weighed against a guess of how many registers the loop has left, and what an address or a user takes
// in for nothing stays where it is. Inner loops first, so that values go out through several. Source: Aho, Lam, Sethi,
// Ullman, "Compilers", section 9.6 (natural loops); Muchnick, "Advanced Compiler Design", section 13.2.
#include <algorithm>
#include <utility>

#include "vm/jit/dominators.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::ir {
namespace {

/// Registers for values, in a loop without calls and in one with them: what x86-64 has.
constexpr u32 registers_free = 12, registers_over_calls = 5;
/// Cycles that are worth a load from the stack in every round.
constexpr u32 worth_reload = 4;
/// Bounds of the work: blocks visited per block of the function, that is how deep a nest of loops is looked at; and
/// operations that are weighed as one.
constexpr std::size_t most_visits = 16, most_chain = 64;

/// About how many cycles it takes.
u32 cost_of(const Function& f, const Inst& inst) {
  const auto is_constant = [&](u32 operand) { return f.is_constant(f.operands[inst.first + operand]); };
  switch (inst.op) {
    case Op::udiv:
    case Op::sdiv:
    case Op::umod:
    case Op::smod:
      return is_constant(1) ? 5 : 20;
    case Op::mul:
    case Op::mulh:
    case Op::popcount:
    case Op::leading_zeros:
      return 3;
    case Op::load:
      return 4;
    case Op::select:
    case Op::bswap:
      return 2;
    case Op::shl:
    case Op::shr:
    case Op::sar:
    case Op::rol:
      return is_constant(1) ? 1 : 2;
    case Op::zext:
      return 0;
    default:
      return 1;
  }
}

class Hoister {
 public:
  explicit Hoister(Function& f)
      : f_(f), dominators_(f), old_blocks_(f.blocks.size()), visits_left_(most_visits * f.blocks.size()) {}

  void run() {
    const auto order = dominators_.reverse_postorder();
    if (std::ranges::none_of(order, [&](BlockId b) { return is_header(b); })) return;
    rank_.resize(old_blocks_);
    for (const BlockId b : order) rank_[b] = 2 * dominators_.rank(b) + 1;
    loop_of_.assign(old_blocks_, 0);
    notes_.resize(f_.insns.size());
    // Headers of inner loops come last.
    for (std::size_t i = order.size(); i-- > 0;)
      if (is_header(order[i]) && find_body(order[i])) leave_loop();
  }

 private:
  /// What is known of a value in the loop at hand. One of another loop says nothing.
  struct Note {
    u32 loop = 0;
    u32 uses = 0;             ///< in the loop
    u32 taken = 0;            ///< of those, by the chain that is being weighed
    BlockId seen = no_block;  ///< by find_pressure, there
    bool invariant = false;   ///< defined in the loop, and may move
    bool chosen = false;      ///< and will
    bool chained = false;     ///< belongs to the chain that is being weighed
    bool wanted = false;      ///< invariant, and something that stays uses it
    bool by_address = true;   ///< what stays uses it as an address only
  };

  Note& note(Value v) {
    if (notes_[v].loop != loop_) notes_[v] = {.loop = loop_};
    return notes_[v];
  }
  bool is_invariant(Value v) const { return notes_[v].loop == loop_ && notes_[v].invariant; }
  bool is_inside(Value v) const { return loop_of_[f_.insns[v].block] == loop_; }
  /// Made where it is used, without a register of its own.
  bool is_leaf(Value v) const { return f_.insns[v].op < Op::phi; }

  // --- loops ---

  /// Blocks that this pass made have no place in the tree; none of them ends a loop.
  bool goes_back(BlockId from, BlockId to) const {
    return from < old_blocks_ && dominators_.reachable(from) && dominators_.dominates(to, from);
  }
  bool is_header(BlockId b) const {
    return std::ranges::any_of(f_.blocks[b].predecessors, [&](BlockId p) { return goes_back(p, b); });
  }

  /// The blocks of the natural loop of `header`, in an order in which definitions come first. False: too much work.
  bool find_body(BlockId header) {
    loop_++;
    body_ = {header};
    loop_of_[header] = loop_;
    const auto enter = [&](BlockId b) {
      if (loop_of_[b] == loop_ || (b < old_blocks_ && !dominators_.reachable(b))) return;
      loop_of_[b] = loop_;
      body_.push_back(b);
    };
    latches_.clear();
    for (const BlockId p : f_.blocks[header].predecessors)
      if (goes_back(p, header)) {
        latches_.push_back(p);
        enter(p);
      }
    for (std::size_t i = 1; i < body_.size(); i++) {
      if (visits_left_ == 0) return false;
      visits_left_--;
      for (const BlockId p : f_.blocks[body_[i]].predecessors) enter(p);
    }
    std::ranges::sort(body_, {}, [&](BlockId b) { return rank_[b]; });
    return true;
  }

  void leave_loop() {
    find_invariants();
    if (invariants_.empty()) return;
    count_uses();
    u32 pressure = find_pressure();
    bool any = false;
    for (const Value v : invariants_)
      if (notes_[v].wanted && !notes_[v].chosen) any = weigh(v, pressure) || any;
    if (any) move();
  }

  // --- what may move ---

  bool may_move(const Inst& inst) const {
    if (inst.op == Op::load) return inst.has(Inst::steady);
    // Too long to be done where no round may ask for it.
    if (is_division(inst) && !std::ranges::all_of(latches_, [&](BlockId b) {
          return inst.block < old_blocks_ && dominators_.dominates(inst.block, b);
        }))
      return false;
    return inst.op > Op::phi && inst.count != 0 && row(inst.op).effect == Effect::pure;
  }

  /// By anything but a constant.
  bool is_division(const Inst& inst) const {
    return inst.op >= Op::udiv && inst.op <= Op::smod && !f_.is_constant(f_.operands[inst.first + 1]);
  }

  void find_invariants() {
    invariants_.clear();
    has_calls_ = false;
    for (const BlockId b : body_)
      for (const Value v : f_.blocks[b].insns) {
        const Inst& inst = f_.insns[v];
        const bool is_call = inst.op == Op::call || inst.op == Op::call_local || inst.op == Op::call_pointer;
        has_calls_ = has_calls_ || (is_call && !inst.has(Inst::cold));
        const auto is_known = [&](Value o) { return !is_inside(o) || is_invariant(o); };
        if (!may_move(inst) || !std::ranges::all_of(f_.operands_of(inst), is_known)) continue;
        note(v).invariant = true;
        invariants_.push_back(v);
      }
  }

  void count_uses() {
    outside_ = 0;
    for (const BlockId b : body_)
      for (const Value v : f_.blocks[b].insns) {
        const Inst& inst = f_.insns[v];
        const bool stays = !is_invariant(v), is_access = inst.op >= Op::load && inst.op <= Op::store_release;
        const auto operands = f_.operands_of(inst);
        for (u32 i = 0; i < operands.size(); i++) {
          Note& used = note(operands[i]);
          if (used.uses++ == 0 && !is_inside(operands[i]) && !is_leaf(operands[i])) outside_++;
          used.wanted = used.wanted || (used.invariant && stays);
          if (stays && !(is_access && i == 0)) used.by_address = false;
        }
      }
    // What only somebody behind the loop uses is computed in every round for the last one.
    for (const Value v : invariants_)
      if (notes_[v].uses == 0) {
        notes_[v].wanted = true;
        notes_[v].by_address = false;
      }
  }

  // --- what is worth it ---

  /// A guess of the registers taken: what comes from outside, what the header carries around, and the most that one
  /// block has in use of its own.
  u32 find_pressure() {
    u32 most = 0;
    for (const BlockId b : body_) {
      u32 live = 0;
      const auto& insns = f_.blocks[b].insns;
      for (std::size_t i = insns.size(); i-- > 0;) {
        const Inst& inst = f_.insns[insns[i]];
        if (inst.op == Op::phi) break;
        if (notes_[insns[i]].loop == loop_ && notes_[insns[i]].seen == b) live--;
        for (const Value o : f_.operands_of(inst)) {
          const bool is_carried = f_.insns[o].op == Op::phi && f_.insns[o].block == body_[0];
          if (!is_inside(o) || is_carried || notes_[o].seen == b) continue;
          notes_[o].seen = b;
          live++;
        }
        most = std::max(most, live);
      }
    }
    const auto carried =
        std::ranges::count_if(f_.blocks[body_[0]].insns, [&](Value v) { return f_.insns[v].op == Op::phi; });
    return outside_ + most + static_cast<u32>(carried);
  }

  /// Chooses `root` and what it is made of, or leaves them.
  bool weigh(Value root, u32& pressure) {
    chain_ = {root};
    notes_[root].chained = true;
    u32 gain = 0, taken = 0, freed = 0;
    for (std::size_t i = 0; i < chain_.size() && chain_.size() <= most_chain; i++) {
      gain += cost_of(f_, f_.insns[chain_[i]]);
      taken += notes_[chain_[i]].wanted ? 1 : 0;
      for (const Value o : f_.operands_of(chain_[i])) {
        Note& used = notes_[o];
        used.taken++;
        if (!used.invariant || used.chosen) {
          freed += used.taken == used.uses && !is_leaf(o) ? 1 : 0;
        } else if (!used.chained) {
          used.chained = true;
          chain_.push_back(o);
        }
      }
    }
    const u32 after = pressure + taken - std::min(freed, pressure + taken);
    const u32 budget = has_calls_ ? registers_over_calls : registers_free;
    // base + index * scale + displacement costs nothing in an address.
    const bool is_address = notes_[root].by_address && f_.insns[root].op == Op::add && gain <= 2;
    const bool is_worth = chain_.size() <= most_chain && !is_address && gain > 0 &&
                          (after <= std::max(budget, pressure) || gain >= worth_reload);
    for (const Value v : chain_) {
      notes_[v].chained = false;
      notes_[v].chosen = is_worth;
      for (const Value o : f_.operands_of(v)) {
        if (is_worth) notes_[o].uses -= notes_[o].taken;
        notes_[o].taken = 0;
      }
    }
    if (is_worth) pressure = after;
    return is_worth;
  }

  // --- moving ---

  void move() {
    const BlockId header = body_[0], to = preheader(header);
    for (const BlockId b : body_)
      std::erase_if(f_.blocks[b].insns, [&](Value v) { return notes_[v].loop == loop_ && notes_[v].chosen; });
    auto& insns = f_.blocks[to].insns;
    const Value leave = insns.back();
    insns.pop_back();
    for (const Value v : invariants_) {
      if (!notes_[v].chosen) continue;
      Inst& inst = f_.insns[v];
      // What was proved of a divisor was proved for the way to it. The header is on every way.
      if (is_division(inst) && inst.block != header) inst.flags &= static_cast<u8>(~Inst::nonzero);
      inst.block = to;
      insns.push_back(v);
    }
    insns.push_back(leave);
  }

  /// The block that everything from outside the loop comes through, and that leads nowhere else.
  BlockId preheader(BlockId header) {
    outer_.clear();
    for (const BlockId p : f_.blocks[header].predecessors)
      if (loop_of_[p] != loop_) outer_.push_back(p);
    if (outer_.size() == 1 && f_.blocks[outer_[0]].successors.size() == 1) return outer_[0];
    const auto made = static_cast<BlockId>(f_.blocks.size());
    f_.blocks.emplace_back();
    rank_.push_back(rank_[header] - 1);
    loop_of_.push_back(0);
    for (const Value v : std::vector(f_.blocks[header].insns)) {
      if (f_.insns[v].op != Op::phi) break;
      join(v, made);
    }
    f_.blocks[made].insns.push_back(f_.add({.op = Op::jump, .block = made}, {}));
    notes_.resize(f_.insns.size());
    f_.blocks[made].predecessors = outer_;
    f_.blocks[made].successors = {header};
    for (const BlockId p : outer_) std::ranges::replace(f_.blocks[p].successors, header, made);
    bool is_first = true;
    std::erase_if(f_.blocks[header].predecessors, [&](BlockId& p) {
      if (loop_of_[p] == loop_) return false;
      p = made;
      return !std::exchange(is_first, false);
    });
    return made;
  }

  /// What a phi of the header is when the loop is entered becomes one operand, which stands where the first one stood.
  void join(Value phi, BlockId made) {
    entering_.clear();
    kept_.clear();
    const auto& predecessors = f_.blocks[f_.insns[phi].block].predecessors;
    const auto operands = f_.operands_of(phi);
    for (std::size_t i = 0; i < operands.size(); i++) {
      const bool is_outer = loop_of_[predecessors[i]] != loop_;
      if (!is_outer || entering_.empty()) kept_.push_back(operands[i]);
      if (!is_outer) continue;
      if (entering_.empty()) place_ = kept_.size() - 1;
      entering_.push_back(operands[i]);
    }
    if (std::ranges::count(entering_, entering_[0]) != std::ssize(entering_)) {
      kept_[place_] = f_.add({.op = Op::phi, .bits = f_.insns[phi].bits, .block = made}, entering_);
      f_.blocks[made].insns.push_back(kept_[place_]);
    }
    std::ranges::copy(kept_, f_.operands_of(phi).begin());
    f_.insns[phi].count = static_cast<u16>(kept_.size());
  }

  Function& f_;
  Dominators dominators_;
  std::size_t old_blocks_, visits_left_;
  u32 loop_ = 0;                   ///< the number of the loop at hand
  std::vector<u32> rank_;          ///< by block: its place in reverse postorder
  std::vector<u32> loop_of_;       ///< by block: the last loop that had it
  std::vector<Note> notes_;        ///< by value
  std::vector<BlockId> body_;      ///< of the loop at hand, the header first
  std::vector<Value> invariants_;  ///< in it, definitions first
  std::vector<Value> chain_, entering_, kept_;
  std::vector<BlockId> outer_, latches_;
  std::size_t place_ = 0;
  u32 outside_ = 0;  ///< values from outside that it uses
  bool has_calls_ = false;
};

}  // namespace

void hoist_invariants(Function& f) { Hoister(f).run(); }

}  // namespace skep::vm::ir
