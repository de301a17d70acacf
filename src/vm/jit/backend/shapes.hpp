// What a selector wants to know of a function before it begins: how often values are used, which are really another
// value, which have an empty upper half, and which additions vanish into addresses.
#pragma once
#include <skep/types.hpp>
#include <vector>

#include "vm/jit/backend/machine.hpp"

namespace skep::vm::backend {

/// An address in the making: base + index * 2^scale + disp, or the frame instead of the base.
struct Shape {
  ir::Value base = ir::no_value, index = ir::no_value;
  u8 scale = 0;
  bool frame = false;
  s64 disp = 0;
};

class Facts {
 public:
  Facts(const ir::Function& f, const Code& code) : f_(f), code_(code) {}
  /// `scales`: the CPU's addresses can multiply an index by 2, 4 and 8 and add a 32-bit displacement.
  void find(bool scales);

  /// The value itself, or the one it only repeats (a zero extension of what has no upper half).
  ir::Value root(ir::Value v) const { return root_[v]; }
  u32 uses(ir::Value v) const { return uses_[v]; }
  bool upper_zero(ir::Value v) const { return upper_zero_[v] != 0; }
  /// Nobody needs the value in a register: its users took it in.
  bool folded(ir::Value v) const { return folded_[v] != 0; }
  void fold(ir::Value v) { folded_[v] = 1; }
  /// Counts the writes to memory before it, over the whole function: what a load may be moved across.
  u32 epoch(ir::Value v) const { return epoch_[v]; }
  /// Of an addition: what it adds.
  Shape sum(ir::Value v) const;
  /// Of any value: what to address instead of it.
  Shape address(ir::Value v) const;

 private:
  void count();
  void find_upper_zero();
  bool upper_zero_now(ir::Value v) const;
  void find_roots();
  void find_shapes();
  bool may_absorb(ir::Value v) const;
  Shape shape_of(ir::Value v);
  bool add_term(Shape& into, ir::Value term, u8 width, bool absorb) const;
  bool can_absorb(ir::Value term, const ir::Inst& user) const;

  const ir::Function& f_;
  const Code& code_;
  std::vector<ir::Value> root_;
  std::vector<u32> uses_, epoch_, address_uses_, absorbed_;
  std::vector<u8> upper_zero_, folded_;
  std::vector<u8> absorbable_;
  std::vector<u32> shape_at_;  // index into shapes_, or none
  std::vector<Shape> shapes_;
};

}  // namespace skep::vm::backend
