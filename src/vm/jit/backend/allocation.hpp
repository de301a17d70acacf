// What the allocator knows and decides: units of values that share a register, their pieces, slots and moves.
#pragma once
#include <vector>

#include "vm/jit/backend/machine.hpp"

namespace skep::vm::backend {

/// Values (or one piece of a value) that get one register. Ranges are ascending and disjoint.
struct Unit {
  u32 members = none;        ///< first Member
  u32 size = 1;              ///< members
  u32 first = 0, count = 0;  ///< of Allocation::ranges
  u32 length = 0;            ///< positions
  float cost = 0;            ///< executions of the loads and stores that a register saves
  float weight = 0;          ///< cost by length: who evicts whom
  u8 reg = absent;
  u8 stage = 0;          ///< how it was cut already
  bool minimal = false;  ///< one use or one result: must have a register
  bool piece = false;    ///< of a split value
  bool dead = false;     ///< replaced by its parts
};

struct Member {
  VReg vreg = none;
  u32 next = none;
};

/// What the allocator knows of a virtual register.
struct Value {
  u32 unit = none;    ///< none: split into pieces, or lives nowhere
  u32 pieces = none;  ///< first of Allocation::pieces
  u32 web = none;     ///< values of one web share a slot
  float cost = 0;
  u8 hint = absent;  ///< a register that saves a move
  float hint_frequency = 0;
  VReg partners[2] = {none, none};  ///< sharing their register saves a move
  bool needs_slot = false;          ///< something reads it from memory
};

struct Piece {
  u32 unit = none;
  u32 next = none;
};

/// A move. Those with the same key happen at once.
struct Move {
  /// When, around one instruction.
  enum Phase : u8 {
    reload,  ///< before: a piece begins
    leave,   ///< before a jump: the edge out of the block
    enter,   ///< after a label: the edge into the block
    keep,    ///< after: a result is stored to its slot
  };
  u32 key = 0;  ///< instruction * 4 + phase
  Loc from, to;
  VReg from_value = none, to_value = none;  ///< for the proof
};

struct Allocation {
  std::vector<Unit> units;
  std::vector<Member> members;
  std::vector<Range> ranges;
  std::vector<Value> values;  ///< by virtual register
  std::vector<Piece> pieces;
  std::vector<u32> web_slots;  ///< by web
  std::vector<Move> moves;     ///< sorted by key
  u32 slots = 0;
  u32 used = 0;         ///< registers, as bits
  bool failed = false;  ///< some instruction wants more registers than there are: a mistake of the selector

  std::span<const Range> ranges_of(const Unit& u) const { return {ranges.data() + u.first, u.count}; }
  /// Where the value is at `position` (in its range).
  Loc at(const Code& code, VReg v, u32 position) const;
};

/// Do two lists of ranges meet?
bool overlap(std::span<const Range> a, std::span<const Range> b);

/// Makes one unit of every value, joins those that want the same register, and fills Allocation::values.
void make_units(const Code& code, const Registers& registers, Allocation& allocation);

/// Weight that nothing evicts.
inline constexpr float minimal_weight = 1e30f;
/// A unit's weight, from cost and length.
inline float weight_of(const Unit& u) {
  return u.minimal ? minimal_weight : u.cost / static_cast<float>(u.length + 16);
}

}  // namespace skep::vm::backend
