// Records from the host to programs: the ring buffer in the other direction.
//
// The host reserves a place, fills it and submits; a program drains: bpf_user_ringbuf_drain() hands each record to a
// callback. Any number of producers; a record that is reserved and not submitted holds up those behind it. One consumer
// at a time.
#pragma once
#include <span>

#include "map/map.hpp"

namespace skep::map {

/// Space for `size` bytes in a user_ringbuf, or nullptr: no room now, or another map type. Ends with submit
/// or discard.
void* user_ring_reserve(Map& map, u32 size) noexcept;
void user_ring_submit(Map& map, void* record) noexcept;
void user_ring_discard(Map& map, void* record) noexcept;
/// Reserve, copy, submit. 0, -ENOSPC, -E2BIG (never fits), -EINVAL.
s64 user_ring_write(Map& map, std::span<const std::byte> data) noexcept;

/// Hands records to `on_record` until it returns other than 0, none is left, or 131072 were read. How many were handed
/// over (discarded ones are passed by), -EBUSY while another drain runs, -EINVAL for another map type or flags other
/// than BPF_RB_NO_WAKEUP and BPF_RB_FORCE_WAKEUP.
using UserRingFn = s64 (*)(void* context, const std::byte* data, u32 size) noexcept;
s64 user_ring_drain(Map& map, UserRingFn on_record, void* context, u64 flags) noexcept;

}  // namespace skep::map
