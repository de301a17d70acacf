// Where in a program array a program stands.
#pragma once
#include <chrono>
#include <skep/backend.hpp>
#include <vector>

namespace skep::inspect {

struct ProgramSlots {
  std::vector<u32> indices;
  u32 looked_at = 0;  ///< slots, of `info.max_entries`
};

/// Looks at slot after slot, as many as the array says that it has, until `until`: what a host says of its own map may
/// be four thousand millions, each a question to it. Ends where the array does not answer any more.
ProgramSlots slots_with(const Map& map, const MapInfo& info, u32 program_id,
                        std::chrono::steady_clock::time_point until);

}  // namespace skep::inspect
