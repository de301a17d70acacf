// LD_ABS and LD_IND of the user engine: classic packet loads from the packet of a struct __sk_buff.
#pragma once
#include <skep/types.hpp>

namespace skep::helper {

/// vm::LoadPacketFn for contexts in the engine's layout of struct __sk_buff (catalog/contexts.hpp).
s64 load_packet(void* run, void* context, u32 offset, u32 size, u64* out) noexcept;

}  // namespace skep::helper
