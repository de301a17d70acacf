// A move whose target nobody reads any more can be made; when there is none, all that is left are circles.
#include "vm/jit/backend/moves.hpp"

#include <algorithm>

namespace skep::vm::backend {

void move_at_once(std::vector<Pair>& pairs, MoveSink& sink) {
  std::erase_if(pairs, [](const Pair& p) { return p.from == p.to; });
  const auto is_read = [&](Loc l) { return std::ranges::any_of(pairs, [&](const Pair& p) { return p.from == l; }); };
  while (!pairs.empty()) {
    const auto free = std::ranges::find_if(pairs, [&](const Pair& p) { return !is_read(p.to); });
    if (free != pairs.end()) {
      const Pair p = *free;
      pairs.erase(free);
      sink.move(p.from, p.to);
      continue;
    }
    const Pair p = pairs.back();
    sink.swap(p.from, p.to);
    for (Pair& other : pairs) {
      if (other.from == p.from)
        other.from = p.to;
      else if (other.from == p.to)
        other.from = p.from;
    }
    std::erase_if(pairs, [](const Pair& q) { return q.from == q.to; });
  }
}

}  // namespace skep::vm::backend
