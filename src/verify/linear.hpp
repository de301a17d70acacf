// Registers that move in step: `a pointer is 8 times the counter, less 256`.
//
// Joined states know each register's bounds, not that two of them belong together; but compilers walk an array with a
// pointer and count with a number, and check only one of the two. So beside a joined state it is kept which registers
// of the running function are factor * symbol + constant, modulo 2^64, of a common unknown. For a pointer that says how
// far it is from its base. What a comparison teaches of one register then holds for the others.
// Idea: Karr, "Affine relationships among variables of a program" (1976), for two at a time.
#pragma once
#include <array>

#include "verify/state.hpp"

namespace skep::verify {

struct Linear {
  u32 symbol = 0;                   ///< 0: nothing is known
  Kind kind = Kind::uninitialised;  ///< of the register this was said of: of another one it says nothing
  u64 factor = 0, constant = 0;
  friend bool operator==(const Linear&, const Linear&) = default;
};

class Linears {
 public:
  bool is_empty() const { return !says_something_; }
  void forget_all() { *this = {}; }
  /// `insn` was executed; its operands before, and the frame after it.
  void follow(const Insn& insn, isa::Op op, const Register& dst, const Register& src, const Frame& after);
  /// Drops what cover() cannot ask for: what is said of registers that hold something else by now, and symbols that no
  /// register is plus or minus a constant.
  void settle(const Frame& frame);
  /// Every register learns what the others of its symbol know. False: no number is possible.
  bool sharpen(Frame& frame) const;
  /// Whether everything that `this` says holds of `now`, too.
  bool cover(const Frame& frame, const Linears& now, const Frame& now_frame) const;
  /// What holds of both; the frames before they were joined.
  static Linears join(const Linears& a, const Frame& a_frame, const Linears& b, const Frame& b_frame);

 private:
  static constexpr u32 count = isa::frame_pointer;
  struct Relation;
  Linear at(u32 reg, const Register& value) const;
  bool speaks_of(u32 reg, const Frame& frame) const;
  Relation relation(u32 of, u32 to, const Frame& frame) const;

  std::array<Linear, count> regs_{};
  bool says_something_ = false;  ///< false: nothing, surely
};

}  // namespace skep::verify
