// Ring buffer and perf event array as programs use them: the bodies behind the helpers.
#pragma once
#include "map/map.hpp"
#include "map/ring.hpp"

namespace skep::map {

/// bpf_ringbuf_reserve: nullptr when there is no space, for flags other than 0, or for another map type.
void* ringbuf_reserve(Map& map, u64 size, u64 flags) noexcept;
/// bpf_ringbuf_submit / bpf_ringbuf_discard on what ringbuf_reserve() returned.
void ringbuf_submit(void* sample, u64 flags) noexcept;
void ringbuf_discard(void* sample, u64 flags) noexcept;
/// bpf_ringbuf_output: 0, -EINVAL (flags), -EAGAIN (no space).
s64 ringbuf_output(Map& map, const void* data, u64 size, u64 flags) noexcept;
/// bpf_ringbuf_query.
u64 ringbuf_query(Map& map, u64 flags) noexcept;

/// bpf_perf_event_output: 0, -EINVAL (flags), -E2BIG (index), -ENOENT (nobody opened a reader), -EOPNOTSUPP (another
/// CPU's slot), -ENOSPC (no space). `more`: bytes that follow the data in the record.
s64 perf_event_output(Map& map, u64 flags, const void* data, u64 size, const void* more = nullptr,
                      u64 more_size = 0) noexcept;

/// The ring of a ringbuf or perf_event_array for one more reader, which must call close_ring() when it goes. A perf
/// event array makes its ring for the first reader and takes records while it has one: all CPUs' slots count as open.
/// Errors: invalid_argument (another map type), limit, io.
Result<Ring*> open_ring(Map& map);
void close_ring(Map& map) noexcept;

}  // namespace skep::map
