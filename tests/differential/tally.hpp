// What a worker has seen, in memory that outlives it: plain numbers and fixed texts.
//
// The parent maps one Tally a worker; when a program makes the worker crash, the parent reads which one it was.
#pragma once
#include <skep/types.hpp>
#include <string_view>

#include "fleet.hpp"

namespace skep::differential {

inline constexpr u32 most_groups = 96;

/// Verdicts that differ, by reason.
struct Group {
  char text[128];
  u64 count;
  u64 seed;  ///< of the first
};

struct Tally {
  Progress progress;
  u64 programs, accepted, mutated_accepted, runs, checked_runs, kernel_runs, kernel_mistakes, over_budget, addresses,
      failures;
  u64 both_accept, both_reject, only_we, only_kernel;
  u64 ops[256];      ///< accepted programs with the instruction (isa::Op) on a path that is reached
  u64 ir_ops[64];    ///< accepted programs with the IR operation (vm::ir::Op)
  u64 helpers[256];  ///< accepted programs that call it
  u64 maps[16];      ///< accepted programs that use the map (MapIndex)
  u64 types[8];      ///< accepted programs by type
  u64 functions, callbacks, back_edges, tail_calls, spilled_pointers;
  Group we_only[most_groups], kernel_only[most_groups], refused[most_groups];  ///< the last: by us, all of them

  static void count(Group (&groups)[most_groups], std::string_view reason, u64 seed, u64 times = 1) noexcept {
    for (Group& group : groups) {
      if (group.count != 0 && std::string_view(group.text) != reason.substr(0, sizeof group.text - 1)) continue;
      if (group.count == 0) {
        reason.substr(0, sizeof group.text - 1).copy(group.text, sizeof group.text - 1);
        group.seed = seed;
      }
      group.count += times;
      return;
    }
  }
};

/// `into` += `from`.
void add(Tally& into, const Tally& from);

}  // namespace skep::differential
