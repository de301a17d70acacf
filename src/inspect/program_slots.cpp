// A look at each slot of a program array.
#include "inspect/program_slots.hpp"

#include <cstring>

namespace skep::inspect {

ProgramSlots slots_with(const Map& map, const MapInfo& info, u32 program_id,
                        std::chrono::steady_clock::time_point until) {
  ProgramSlots found;
  for (; found.looked_at < info.max_entries && std::chrono::steady_clock::now() < until; ++found.looked_at) {
    const u32 index = found.looked_at;
    const auto value = map.lookup(std::as_bytes(std::span(&index, 1)));
    if (!value && value.error().code != Code::not_found) break;  // not an empty slot: the host is gone, or no array
    u32 id = 0;
    if (!value || value->size() != sizeof id) continue;
    std::memcpy(&id, value->data(), sizeof id);
    if (id == program_id) found.indices.push_back(index);
  }
  return found;
}

}  // namespace skep::inspect
