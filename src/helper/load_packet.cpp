// The packet lies between two 64-bit slots behind the UAPI structure; numbers in it are big-endian.
// Offsets above 2^31 (SKF_NET_OFF, SKF_LL_OFF of classic BPF) are out of bounds here: the engine's packets have no
// header marks.
// Source: net/core/filter.c, bpf_skb_load_helper_*.
#include "helper/load_packet.hpp"

#include <cstring>

#include "catalog/contexts.hpp"

namespace skep::helper {
namespace {

constexpr int slot_of(catalog::Field wanted) {
  using namespace catalog::programs;
  using enum catalog::Field;
#define SKEP_FIELD(name, offset, size, kind, readers, writers, native) \
  if (kind == wanted) return native;
#include "catalog/contexts/sk_buff.def"
#undef SKEP_FIELD
  return -1;
}

constexpr int begin_slot = slot_of(catalog::Field::packet), end_slot = slot_of(catalog::Field::packet_end);
static_assert(begin_slot >= 0 && end_slot >= 0);

}  // namespace

s64 load_packet(void*, void* context, u32 offset, u32 size, u64* out) noexcept {
  const std::byte *begin, *end;
  std::memcpy(&begin, static_cast<const std::byte*>(context) + begin_slot, sizeof begin);
  std::memcpy(&end, static_cast<const std::byte*>(context) + end_slot, sizeof end);
  const u64 available = begin != nullptr && begin < end ? static_cast<u64>(end - begin) : 0;
  if (offset > 0x7fffffffu || offset > available || size > available - offset) return -1;
  u64 value = 0;
  for (u32 i = 0; i < size; ++i) value = value << 8 | std::to_integer<u64>(begin[offset + i]);
  *out = value;
  return 0;
}

}  // namespace skep::helper
