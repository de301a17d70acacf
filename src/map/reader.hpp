// Reads what programs put into a ring buffer or a perf event array.
#pragma once
#include <memory>
#include <skep/backend.hpp>
#include <skep/result.hpp>

namespace skep::map {

class Map;

/// A reader of `map`, which it keeps alive. Several readers of one map share its records, as with the kernel's rings.
/// The records' bytes are valid during the callback, which must not poll the same map again.
/// Errors: invalid_argument (a map of another type), limit, io.
Result<RingReader> open_reader(std::shared_ptr<Map> map);

}  // namespace skep::map
