// Moves that happen at once, as a sequence of single ones.
#pragma once
#include <span>
#include <vector>

#include "vm/jit/backend/allocation.hpp"

namespace skep::vm::backend {

/// What a CPU does one at a time. `from` of move() may be a rematerialised value.
class MoveSink {
 public:
  virtual ~MoveSink() = default;
  virtual void move(Loc from, Loc to) = 0;
  virtual void swap(Loc a, Loc b) = 0;
};

struct Pair {
  Loc from, to;
};

/// No two may have the same `to`. A circle is turned by swaps. Empties `pairs`.
void move_at_once(std::vector<Pair>& pairs, MoveSink& sink);

}  // namespace skep::vm::backend
