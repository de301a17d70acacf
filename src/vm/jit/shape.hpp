// The shape of one eBPF function before it becomes SSA: basic blocks, and which stack bytes can live in registers.
//
// A stack slot is a piece of the frame that only plain loads and stores with a constant offset from r10 touch. The
// verifier's StackTouch entries name every other access to the frame (through computed pointers, by helpers, from
// callees), so everything they do not name is a slot, and becomes a variable like r0..r9.
//
// The key of a map and the value of an update are read by the helper and by nobody behind it, so bytes that a call on
// a known map is given may be slots too: the builder puts them into memory for the call, or needs no memory at all
// where it writes the look-up itself.
#pragma once
#include <array>
#include <vector>

#include "vm/bytecode.hpp"

namespace skep::vm::jit {

/// Where a load or store of the frame goes.
struct SlotAccess {
  u16 slot = 0;  ///< index + 1; 0: memory
  u8 shift = 0;  ///< bits from the slot's low end
};

struct Slot {
  s16 low = 0;  ///< relative to r10
  u8 bytes = 0;
};

/// Bytes of the frame that a map helper reads and that lie in slots.
struct Passed {
  s16 low = 0;   ///< relative to r10
  u8 bytes = 0;  ///< 0: the helper's argument is an address of memory
};

struct ShapeBlock {
  u32 begin = 0, end = 0;  ///< instructions
  std::array<u32, 2> successors{};
  u8 successor_count = 0;  ///< taken first, then the one that follows
  u32 predecessors = 0;    ///< how many edges lead here
};

/// One function.
struct Shape {
  u32 entry = 0;
  std::vector<ShapeBlock> blocks;  ///< in reverse postorder; 0 is the entry
  std::vector<Slot> slots;
  u32 insn_count = 0;
  u32 frame_bytes = 0;  ///< of memory below r10 that is left, a multiple of 8
  bool has_may_goto = false;
};

/// What all functions of a program share while they are looked at.
class Shaper {
 public:
  explicit Shaper(const Bytecode& code);

  /// Valid as long as the Shaper.
  const Shape& at(u32 entry);
  /// By instruction of a shaped function.
  SlotAccess slot_access(u32 insn) const { return access_[insn]; }
  /// The map that r1 is at this helper call, where its address is a constant of the program; or nullptr.
  const base::MapView* map_at(u32 insn) const { return maps_[insn]; }
  /// What the map helper at this call is given by r2 (the key) or r3 (the value).
  Passed passed(u32 insn, u32 argument) const { return passed_[insn][argument - 2]; }
  const base::MapView* view_of(u64 map_address) const;
  /// How many instructions call the function that begins there.
  u32 calls_of(u32 entry) const { return calls_[entry]; }

 private:
  struct Direct;
  struct Accesses;
  /// What a register holds.
  struct Known {
    enum class Kind : u8 { nothing, frame, map } kind = Kind::nothing;
    s32 offset = 0;
    const base::MapView* view = nullptr;
    bool operator==(const Known&) const = default;
  };
  void find_blocks(Shape& shape);
  void end_block(Shape& shape, ShapeBlock& block);
  using Registers = std::array<Known, isa::register_count>;
  void follow_all(const Shape& shape, Accesses& found);
  void follow(const ShapeBlock& block, Registers& known, Accesses* found);
  void follow_call(u32 insn, const Registers& known, Accesses& found);
  Accesses accesses_of(const Shape& shape);
  bool find_spills(const Accesses& found);
  void find_slots(Shape& shape);
  bool make_slots(Shape& shape, Accesses& found);

  const Bytecode& code_;
  std::vector<u8> leader_;
  std::vector<u32> block_at_;
  std::vector<SlotAccess> access_;
  std::vector<u32> calls_;                                 ///< by first instruction of a function
  std::array<Known, isa::stack_size_bytes / 8> spills_{};  ///< of the function at hand, from r10 - 512 up
  std::vector<const base::MapView*> maps_;
  std::vector<std::array<Passed, 2>> passed_;
  std::vector<std::unique_ptr<Shape>> shapes_;
  std::vector<Shape*> by_entry_;
  std::vector<u32> touches_;  ///< indexes into Bytecode::stack_touches, by function
};

}  // namespace skep::vm::jit
