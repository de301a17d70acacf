// Helpers on packets and checksums.
//
// A packet program's context is the UAPI structure followed by 64-bit slots with the packet's first byte and its end
// (catalog/contexts.hpp); helpers that take an offset find the packet there.
// Source: net/core/filter.c.
#include <cerrno>

#include "catalog/contexts.hpp"
#include "helper/bind.hpp"

namespace skep::helper {

namespace {

/// Where the engine keeps a pointer of struct __sk_buff.
constexpr int slot_of(catalog::Field wanted) {
  using namespace catalog::programs;
  using enum catalog::Field;
#define SKEP_FIELD(name, offset, size, kind, readers, writers, native) \
  if (kind == wanted) return native;
#include "catalog/contexts/sk_buff.def"
#undef SKEP_FIELD
  return -1;
}
static_assert(slot_of(catalog::Field::packet) >= 0 && slot_of(catalog::Field::packet_end) >= 0);

struct Packet {
  std::byte* begin;
  u64 size;
  bool contains(u32 offset, u64 length) const noexcept {
    return offset <= 0x7fffffffu && offset <= size && length <= size - offset;
  }
};

Packet packet_of(void* skb) noexcept {
  std::byte *begin, *end;
  std::memcpy(&begin, static_cast<std::byte*>(skb) + slot_of(catalog::Field::packet), sizeof begin);
  std::memcpy(&end, static_cast<std::byte*>(skb) + slot_of(catalog::Field::packet_end), sizeof end);
  return {begin, begin != nullptr && begin < end ? static_cast<u64>(end - begin) : 0};
}

/// The one's complement sum of 32-bit words; the last one is filled up with zeros.
u32 sum_words(const std::byte* data, u64 size, u64 sum) noexcept {
  for (u64 offset = 0; offset < size; offset += 4) {
    u32 word = 0;
    std::memcpy(&word, data + offset, size - offset < 4 ? size - offset : 4);
    sum += word;
  }
  while (sum >> 32 != 0) sum = (sum & 0xffffffffu) + (sum >> 32);
  return static_cast<u32>(sum);
}

u32 fold_to_16(u32 sum) noexcept {
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

}  // namespace

static s64 skb_load_bytes(void* skb, u32 offset, WriteMem to) noexcept {
  const Packet packet = packet_of(skb);
  if (!packet.contains(offset, to.size)) {
    std::memset(to.data, 0, to.size);
    return -EFAULT;
  }
  std::memcpy(to.data, packet.begin + offset, to.size);
  return 0;
}
SKEP_BIND(skb_load_bytes)

static s64 skb_store_bytes(void* skb, u32 offset, ReadMem from, u64 flags) noexcept {
  constexpr u64 recompute_checksum = 1, invalidate_hash = 2;  // BPF_F_RECOMPUTE_CSUM, BPF_F_INVALIDATE_HASH
  if ((flags & ~(recompute_checksum | invalidate_hash)) != 0) return -EINVAL;
  const Packet packet = packet_of(skb);
  if (!packet.contains(offset, from.size)) return -EFAULT;
  std::memcpy(packet.begin + offset, from.data, from.size);
  return 0;
}
SKEP_BIND(skb_store_bytes)

/// How a checksum changes when `from` becomes `to`; either may be empty. As kernels since 6.13: sizes need not be
/// multiples of 4, and the result is folded to 16 bits.
static s64 csum_diff(ReadMem from, ReadMem to, u32 seed) noexcept {
  // Which zero comes out (0 or all ones) depends on the order of these sums: it is the kernel's.
  if (from.size == 0) return fold_to_16(sum_words(to.data, to.size, seed));
  if (to.size == 0) return fold_to_16(~sum_words(from.data, from.size, ~seed));
  const u64 sum = u64{sum_words(to.data, to.size, seed)} + ~sum_words(from.data, from.size, 0);
  return fold_to_16(sum_words(nullptr, 0, sum));
}
SKEP_BIND(csum_diff)

}  // namespace skep::helper
