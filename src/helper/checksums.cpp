// Helpers on checksums: differences, and fixing those of IP, TCP and UDP headers after a change.
//
// Which of the two zeros of one's complement comes out depends on the order of the sums: it is the kernel's.
// Source: net/core/filter.c (bpf_csum_*, bpf_l3_csum_replace, bpf_l4_csum_replace), include/net/checksum.h.
#include <cerrno>

#include "helper/bind.hpp"
#include "helper/packet.hpp"

namespace skep::helper {

namespace {

u32 add(u32 a, u32 b) noexcept {
  const u32 sum = a + b;
  return sum + (sum < b);
}
u32 subtract(u32 a, u32 b) noexcept { return add(a, ~b); }
u16 add_16(u16 a, u16 b) noexcept {
  const u16 sum = static_cast<u16>(a + b);
  return static_cast<u16>(sum + (sum < b));
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

u32 to_16(u32 sum) noexcept {
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}
u16 fold(u32 sum) noexcept { return static_cast<u16>(~to_16(sum)); }

constexpr u64 field_mask = 0xf;  // BPF_F_HDR_FIELD_MASK: the size of what changed, or 0 for a difference

/// The 16 bits at `offset`, or nullptr.
std::byte* sum_at(void* skb, u32 offset) noexcept {
  Packet packet;
  packet.context = static_cast<std::byte*>(skb);
  if (offset > 0xffff || (offset & 1) != 0 || u64{offset} + 2 > packet.size()) return nullptr;
  return packet.data() + offset;
}

}  // namespace

/// How a checksum changes when `from` becomes `to`; either may be empty. As kernels since 6.13: sizes need not be
/// multiples of 4, and the result is folded to 16 bits.
static s64 csum_diff(ReadMem from, ReadMem to, u32 seed) noexcept {
  if (from.size == 0) return to_16(sum_words(to.data, to.size, seed));
  if (to.size == 0) return to_16(~sum_words(from.data, from.size, ~seed));
  const u64 sum = u64{sum_words(to.data, to.size, seed)} + ~sum_words(from.data, from.size, 0);
  return to_16(sum_words(nullptr, 0, sum));
}
SKEP_BIND(csum_diff)

static s64 l3_csum_replace(void* skb, u32 offset, u64 from, u64 to, u64 flags) noexcept {
  if ((flags & ~field_mask) != 0) return -EINVAL;
  std::byte* at = sum_at(skb, offset);
  if (at == nullptr) return -EFAULT;
  u16 sum;
  std::memcpy(&sum, at, sizeof sum);
  const u16 inverse = static_cast<u16>(~sum);
  switch (flags) {
    case 0:
      if (from != 0) return -EINVAL;
      sum = fold(add(static_cast<u32>(to), inverse));
      break;
    case 2:
      sum = static_cast<u16>(~add_16(add_16(inverse, static_cast<u16>(~static_cast<u16>(from))), static_cast<u16>(to)));
      break;
    case 4:
      sum = fold(add(subtract(inverse, static_cast<u32>(from)), static_cast<u32>(to)));
      break;
    default:
      return -EINVAL;
  }
  std::memcpy(at, &sum, sizeof sum);
  return 0;
}
SKEP_BIND(l3_csum_replace)

static s64 l4_csum_replace(void* skb, u32 offset, u64 from, u64 to, u64 flags) noexcept {
  constexpr u64 pseudo_header = 1 << 4, zero_is_none = 1 << 5, always = 1 << 6, ipv6 = 1 << 7;
  if ((flags & ~(field_mask | pseudo_header | zero_is_none | always | ipv6)) != 0) return -EINVAL;
  std::byte* at = sum_at(skb, offset);
  if (at == nullptr) return -EFAULT;
  u16 sum;
  std::memcpy(&sum, at, sizeof sum);
  if ((flags & zero_is_none) != 0 && (flags & always) == 0 && sum == 0) return 0;  // UDP without a checksum
  const u16 inverse = static_cast<u16>(~sum);
  switch (flags & field_mask) {
    case 0:
      if (from != 0) return -EINVAL;
      sum = fold(add(static_cast<u32>(to), inverse));
      break;
    case 2:
      sum = fold(add(subtract(inverse, static_cast<u16>(from)), static_cast<u16>(to)));
      break;
    case 4:
      sum = fold(add(subtract(inverse, static_cast<u32>(from)), static_cast<u32>(to)));
      break;
    default:
      return -EINVAL;
  }
  if ((flags & zero_is_none) != 0 && sum == 0) sum = 0xffff;
  std::memcpy(at, &sum, sizeof sum);
  return 0;
}
SKEP_BIND(l4_csum_replace)

/// Packets here never carry a sum of the whole packet (CHECKSUM_COMPLETE).
static s64 csum_update(void*, u32) noexcept { return -map::not_supported; }
SKEP_BIND(csum_update)

static s64 csum_level(Call& call, void*, u64 level) noexcept {
  constexpr u64 query = 0, increment = 1, decrement = 2, reset = 3;
  constexpr s8 highest = 3;
  if (call.packet == nullptr) return -EINVAL;
  s8& known = call.packet->checksum_level;
  switch (level) {
    case query:
      return known >= 0 ? known : -EACCES;
    case increment:
      if (known < highest) ++known;
      return 0;
    case decrement:
      if (known >= 0) --known;
      return 0;
    case reset:
      known = -1;
      return 0;
    default:
      return -EINVAL;
  }
}
SKEP_BIND(csum_level)

namespace {

/// What is inside of any VLAN tags that stand in the packet.
u16 inner_protocol(const Packet& packet) noexcept {
  constexpr u16 vlan = 0x0081, vlan_ad = 0xa888;  // as they stand in the packet
  constexpr int deepest = 8;                      // VLAN_MAX_DEPTH
  u16 protocol = packet.protocol;
  const std::byte* at = packet.mac != nullptr ? packet.mac + 14 : nullptr;
  for (int depth = 0; at != nullptr && (protocol == vlan || protocol == vlan_ad); ++depth, at += 4) {
    if (depth == deepest - 1 || packet.end() - at < 4) return 0;
    std::memcpy(&protocol, at + 2, sizeof protocol);
  }
  return protocol;
}

}  // namespace

/// Marks the network header as having met congestion. 1: it is marked; 0: its sender does not want to know.
static s64 skb_ecn_set_ce(Call& call, void*) noexcept {
  constexpr u16 ipv4 = 0x0008, ipv6 = 0xdd86;  // as they stand in the packet
  constexpr u8 not_capable = 0, both_bits = 3;
  if (call.packet == nullptr) return 0;
  const Packet& packet = *call.packet;
  const u16 protocol = inner_protocol(packet);
  const u32 needed = protocol == ipv4 ? 20 : protocol == ipv6 ? 40 : 0;
  if (needed == 0 || packet.network == nullptr || packet.end() - packet.network < static_cast<s64>(needed)) return 0;
  auto* header = reinterpret_cast<u8*>(packet.network);
  if (protocol == ipv6) {
    if ((header[1] >> 4 & both_bits) == not_capable) return 0;
    header[1] |= both_bits << 4;
    return 1;
  }
  const u8 before = header[1] & both_bits;
  if (before == not_capable) return 0;
  if (before == both_bits) return 1;
  u16 sum;
  std::memcpy(&sum, header + 10, sizeof sum);
  // The header's word grows by 3 - before, so the sum shrinks by it.
  const u16 less = static_cast<u16>(~(both_bits - before));
  sum = add_16(sum, static_cast<u16>(less << 8 | less >> 8));
  std::memcpy(header + 10, &sum, sizeof sum);
  header[1] |= both_bits;
  return 1;
}
SKEP_BIND(skb_ecn_set_ce)

}  // namespace skep::helper
