// Reads what programs put into a ring buffer or a perf event array, and writes what they take out of a user ring
// buffer.
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

/// A writer of `map`, which it keeps alive. Errors: unsupported (a map of another type).
Result<RingWriter> open_writer(std::shared_ptr<Map> map);

/// The memory that `map` shares with its host: an arena's, or that of an array with BPF_F_MMAPABLE.
/// Errors: unsupported (other maps), permission (frozen, or read-only for programs or the host).
Result<std::span<std::byte>> shared_memory(Map& map);

}  // namespace skep::map
