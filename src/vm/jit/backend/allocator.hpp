// The allocator's state, shared by allocate.cpp (who gets which register) and split.cpp (how units are cut).
#pragma once
#include <vector>

#include "vm/jit/backend/allocation.hpp"

namespace skep::vm::backend {

class Allocator {
 public:
  Allocator(const Code& code, const Registers& registers, Allocation& out);
  void run();

 private:
  /// One place where a unit's value is read or written.
  struct Touch {
    u32 from = 0, to = 0;  ///< positions a register is needed for
    u32 block = 0;
    float cost = 0;
    bool needs_register = false;
  };

  // --- allocate.cpp ---
  void block_clobbers();
  void push(u32 unit);
  void place(u32 unit);
  bool is_free(u8 reg, std::span<const Range> ranges) const { return !meets(busy_, reg, ranges); }
  bool meets(const std::vector<u64>& bits, u8 reg, std::span<const Range> ranges) const;
  void mark(u8 reg, std::span<const Range> ranges, bool busy);
  bool take_hint(u32 unit);
  bool take_free(u32 unit);
  bool take_by_force(u32 unit);
  void assign(u32 unit, u8 reg);
  void release(u32 unit);
  void collect_pieces();

  // --- split.cpp ---
  void split(u32 unit);
  void split_by_value(u32 unit);
  void collect_touches(const Unit& unit, VReg v);
  bool split_around_calls(u32 unit, VReg v);
  bool split_by_loop(u32 unit, VReg v);
  bool split_by_block(u32 unit, VReg v);
  void split_by_touch(u32 unit, VReg v);
  /// A piece of `v` over what [from, to) has of its ranges, with touches [first, last).
  void add_piece(const Unit& whole, VReg v, u32 from, u32 to, std::size_t first, std::size_t last, u8 stage);
  u32 last_position(std::size_t first, std::size_t last) const;
  u32 block_at(u32 inst) const;
  u32 child_loop(u32 block, u32 around) const;

  const Code& code_;
  const Registers& registers_;
  Allocation& out_;
  std::size_t words_;
  std::vector<u64> busy_;   ///< by register: positions that are taken
  std::vector<u64> fixed_;  ///< by register: positions that instructions clobber
  std::vector<std::vector<u32>> assigned_;
  std::vector<u64> queue_;  ///< heap: length, then unit
  std::vector<u32> calls_;  ///< instructions that clobber many registers, ascending
  std::vector<Touch> touches_;
};

}  // namespace skep::vm::backend
