// Perf event arrays: opening and closing for readers. See perf_array.cpp.
#pragma once
#include "map/ring.hpp"

namespace skep::map {

class Map;
/// `map` is a perf_event_array.
Result<Ring*> open_perf_ring(Map& map);
void close_perf_ring(Map& map) noexcept;

}  // namespace skep::map
