// Every way through a round of a loop, from its head back to it, each with what is known on it.
//
// A Guide says what that is (Way), what an instruction does to it, what a jump that was taken or not tells, and what is
// to be thought of a way that came round. Ways are never made one; where they meet, the same one goes on once.
//   void step(u32 at, Way&), void learn(u32 at, bool is_taken, Way&): jumps with a condition are learnt from only
//   bool comes_round(const Way&): false: enough was seen
#pragma once
#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "verify/loop_body.hpp"

namespace skep::verify {

template <class Guide, class Way>
class RoundWays {
 public:
  /// `steps_left`: instructions that may be looked at, of this round and others.
  RoundWays(const LoopBody& loop, Guide& guide, u32& steps_left)
      : loop_(loop), guide_(guide), steps_left_(steps_left) {}

  /// False: the guide has seen enough, or there are too many ways.
  bool follow_all(const Way& first) {
    constexpr std::size_t most_ways = 32;
    if (!follow(loop_.head(), first, true)) return false;
    while (!work_.empty()) {
      auto [at, way] = std::move(work_.back());
      work_.pop_back();
      if (known_[at].size() > most_ways || !follow(at, way, false)) return false;
    }
    return true;
  }

 private:
  /// From `at` to where ways part or meet.
  bool follow(u32 at, Way way, bool is_start) {
    for (;; is_start = false) {
      if (at == loop_.head() && !is_start) return guide_.comes_round(way);
      if (steps_left_ == 0) return false;
      steps_left_--;
      if (isa::is_conditional(loop_.form(at))) return branch(at, way);
      guide_.step(at, way);
      const Successors ways = loop_.ways(at);
      if (ways.count == 0 || !loop_.is_inside(ways.insns[0])) return true;  // it leaves the loop
      at = ways.insns[0];
      if (at != loop_.head() && loop_.facts(at).is_join && !isa::is_conditional(loop_.form(at))) {
        put(at, way);
        return true;
      }
    }
  }

  void put(u32 at, const Way& way) {
    auto& known = known_[at];
    if (std::ranges::find(known, way) != known.end()) return;
    known.push_back(way);
    work_.push_back({at, way});
  }

  bool branch(u32 at, const Way& way) {
    const Successors all = successors(loop_.explored().program, loop_.explored().analysis, at);
    const Successors taken = loop_.ways(at);
    for (u32 w = 0; w < all.count; w++) {
      const u32 to = all.insns[w];
      if (std::ranges::find(taken, to) == taken.end() || !loop_.is_inside(to)) continue;
      Way after = way;
      if (all.insns[0] != all.insns[1]) guide_.learn(at, w == 1, after);
      if (to != loop_.head())
        put(to, after);
      else if (!guide_.comes_round(after))
        return false;
    }
    return true;
  }

  const LoopBody& loop_;
  Guide& guide_;
  u32& steps_left_;
  std::map<u32, std::vector<Way>> known_;
  std::vector<std::pair<u32, Way>> work_;
};

}  // namespace skep::verify
