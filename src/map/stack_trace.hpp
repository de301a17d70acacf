// Stacks under numbers: what bpf_get_stackid() stores and the host reads back.
#pragma once
#include <span>

#include "map/map.hpp"

namespace skep::map {

/// Flags of bpf_get_stackid() and bpf_get_stack(). Source: include/uapi/linux/bpf.h.
namespace stack_flag {
inline constexpr u64 skip_mask = 0xff, user = 1u << 8, compare_hash_only = 1u << 9, reuse_id = 1u << 10,
                     build_ids = 1u << 11;
}

/// The number of this stack (innermost address first), or -EEXIST where another stack has that number and
/// stack_flag::reuse_id is not given, or -EINVAL for another map type.
s64 store_stack(Map& map, std::span<const u64> addresses, u64 flags) noexcept;

/// The most addresses one value of the map holds.
u32 stack_depth(const Map& map) noexcept;

}  // namespace skep::map
