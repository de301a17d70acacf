// The second gear: paths that meet are made one, where following each would take too long.
//
// The first gear (Checker::explore) follows every path by itself. That is exact, and hopeless where a loop's rounds or
// a row of branches multiply. When its budget is used up, the program is gone over again in this gear: in an order in
// which every instruction comes after those that lead to it (loops.hpp), with the states that meet joined (join.hpp),
// round after round of a loop until nothing new comes, bounds widened so that this is soon. What belongs together is
// kept where joined bounds would lose it (relations.hpp). That a loop ends is not seen from following it then:
// ranking.hpp has to find out why.
//
// Every number counts here: nothing is compared loosely, and no mark of precision is needed.
// A refusal in this gear says nothing about the program: the first gear goes on where it stopped.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "verify/checker.hpp"
#include "verify/join.hpp"
#include "verify/loops.hpp"
#include "verify/ranking.hpp"
#include "verify/relations.hpp"

namespace skep::verify {

class SecondGear {
 public:
  SecondGear(Checker& checker, const Patience& patience);
  ~SecondGear();
  SecondGear(const SecondGear&) = delete;
  SecondGear& operator=(const SecondGear&) = delete;

  /// From the checker's state on, every path; false: refused, or given up.
  bool explore();
  /// After everything was explored.
  Ends ends() const;

 private:
  static constexpr u32 most_levels = 4;  ///< loops around each other whose rounds are kept apart
  /// Where in the unrolled program: for each frame the instruction, and in which round of the loops around it.
  struct Where {
    u32 depth = 0;
    std::array<u32, isa::max_call_frames> insns{};
    std::array<std::array<u32, most_levels>, isa::max_call_frames> rounds{};
  };
  /// The same, as what comes first is explored first.
  using Place = std::vector<u32>;
  struct Variant {
    State state;
    Relations relations;
    u32 joins = 0;
    bool is_pending = true;
  };
  struct Point {
    Where where;
    std::vector<std::unique_ptr<Variant>> variants;
  };
  /// What a state is to the variants there are.
  struct Found {
    u32 count = 0;  ///< of its shape
    bool is_covered = false, covers = false;
  };
  struct Loose {
    State state;
    Relations relations;
    u32 insn = 0;
  };
  /// What the registers and slots hold at an instruction inside a loop with more rounds than are kept apart, in those
  /// that are not; none: not numbers.
  using Numbers = std::array<std::optional<Scalar>, counter_places>;

  using Points = std::map<Place, Point>;
  struct Earlier {
    bool operator()(Points::iterator a, Points::iterator b) const { return a->first < b->first; }
  };
  bool explore_point(Points::iterator entry);
  bool comes_again(const Point& point) const;
  bool run_from_here(Relations relations);
  bool step(Relations& relations);
  bool learn(Relations& relations, u32 at, u32 to, Frame& frame) const;
  bool take_branches(const Relations& before, const Relations& after, u32 depth);
  bool arrive(Relations relations);
  bool join_into(Variant& variant, const Relations& relations, bool is_circle, bool loses_pointers);
  Variant* find_alike(Point& point, const Relations& relations, bool loses_pointers, Found& found);
  void add_variant(Point& point, const Relations& relations);
  bool give_up();
  void forget_dead(State& state, u32 insn);
  Where next_place();
  Place order_of(const Where& where) const;
  /// Indices into loops_.loops, outer ones first.
  std::span<const u32> loops_around(u32 insn) const {
    if (innermost_[insn] < 0) return {};
    return around_[static_cast<u32>(innermost_[insn])];
  }
  void note_numbers();
  void note_alike(u32 insn, const Variant& variant, bool is_first);
  void note_entry();
  void note_round(Relations& relations);
  void mark_head(Relations& relations) const;
  bool meets_others(u32 insn) const { return c_.analysis_.insns[insn].is_join || is_head_[insn]; }
  const Movements* movements_of(const Loop& loop) const;
  const Numbers* entry_of(const ExploredProgram& explored, const Loop& loop) const;
  void release();

  Checker& c_;
  const Patience patience_;
  Loops loops_;
  Landmarks landmarks_;
  std::vector<s32> innermost_;            ///< by instruction: the innermost loop around it, or -1
  std::vector<bool> is_head_;             ///< by instruction
  std::vector<std::vector<u32>> around_;  ///< by loop: those around it and itself
  std::vector<bool> is_endless_;          ///< by loop: more rounds than are kept apart
  Where where_;                           ///< where the block being explored began
  Points points_;
  std::set<Points::iterator, Earlier> pending_;
  std::vector<Loose> loose_;
  State joined_;  ///< find_alike()'s
  std::map<u32, Numbers> numbers_;
  std::map<u32, Alike> alike_;          ///< by head
  std::map<u32, Movements> movements_;  ///< by head
  std::map<u32, Numbers> entries_;  ///< by head, in every round of the loops around: when it is reached from outside
};

}  // namespace skep::verify
