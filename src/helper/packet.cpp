// Helpers that read and write bytes of packets.
//
// A packet program's context is the UAPI structure followed by 64-bit slots with the packet's first byte and its end
// (catalog/contexts.hpp); helpers that take an offset find the packet there. Those that need to know more (where
// headers begin) ask the run's Packet. Source: net/core/filter.c.
#include "helper/packet.hpp"

#include <cerrno>

#include "catalog/contexts.hpp"
#include "helper/bind.hpp"

namespace skep::helper {

namespace {

// Proof that packet.hpp has the slots and fields where the rows of the contexts have them.
constexpr int place_of(std::string_view wanted, bool xdp) {
  using namespace catalog::programs;
  using enum catalog::Field;
#define SKEP_FIELD(name, offset, size, kind, readers, writers, native) \
  if (wanted == #name) return native >= 0 ? native : offset;
  if (!xdp) {
#include "catalog/contexts/sk_buff.def"
  }
  if (xdp) {
#include "catalog/contexts/xdp_md.def"
  }
#undef SKEP_FIELD
  return -1;
}
constexpr bool slots_at(int first, bool xdp) {
  return place_of("data", xdp) == first && place_of("data_end", xdp) == first + 8 &&
         place_of("data_meta", xdp) == first + 16;
}
static_assert(slots_at(Packet::skb_slots, false) && slots_at(Packet::xdp_slots, true));
static_assert(place_of("len", false) == skb_field::len && place_of("pkt_type", false) == skb_field::pkt_type &&
              place_of("protocol", false) == skb_field::protocol && place_of("hash", false) == skb_field::hash &&
              place_of("vlan_present", false) == skb_field::vlan_present &&
              place_of("vlan_tci", false) == skb_field::vlan_tci &&
              place_of("vlan_proto", false) == skb_field::vlan_proto &&
              place_of("tstamp", false) == skb_field::tstamp &&
              place_of("tstamp_type", false) == skb_field::tstamp_type);

}  // namespace

void packet_moved(Packet& packet) noexcept {
  set_skb_number(packet, skb_field::len, static_cast<u32>(packet.size()));
  packet.set_meta(packet.data());  // metadata of an skb does not outlive a change of its headers
}

namespace {

constexpr u32 farthest = 0x7fffffff;

/// The packet of a context: the run's own, or one that only has ends.
Packet packet_of(void* context, Packet::Kind kind) noexcept {
  Packet packet;
  packet.kind = kind;
  packet.context = static_cast<std::byte*>(context);
  return packet;
}

/// `length` bytes at `offset`, or nullptr.
std::byte* bytes_at(const Packet& packet, u64 offset, u64 length) noexcept {
  return offset <= packet.size() && length <= packet.size() - offset ? packet.data() + offset : nullptr;
}

s64 fail_and_clear(WriteMem to, s64 error) noexcept {
  std::memset(to.data, 0, to.size);
  return error;
}

/// What __bpf_skb_load_bytes() or bpf_xdp_pointer() refuse, in their order.
s64 find_bytes(const PacketBytes& packet, u32 offset, u64 length, std::byte*& at) noexcept {
  constexpr u32 farthest_of_xdp = 0xffff;
  const bool xdp = packet.kind == Packet::Kind::xdp;
  if (xdp && (offset > farthest_of_xdp || length > farthest_of_xdp)) return -EFAULT;
  at = xdp || offset <= farthest ? packet.at(offset, length) : nullptr;
  return at != nullptr ? 0 : xdp ? -EINVAL : -EFAULT;
}

}  // namespace

u64 PacketBytes::size() const noexcept { return packet_of(context, kind).size(); }

std::byte* PacketBytes::at(u64 offset, u64 length) const noexcept {
  return bytes_at(packet_of(context, kind), offset, length);
}

s64 PacketBytes::load(u32 offset, std::byte* to, u64 length) const noexcept {
  std::byte* from = nullptr;
  if (const s64 error = find_bytes(*this, offset, length, from); error != 0) return error;
  std::memmove(to, from, length);
  return 0;
}

s64 PacketBytes::store(u32 offset, const std::byte* from, u64 length, u64 flags) const noexcept {
  constexpr u64 recompute_checksum = 1, invalidate_hash = 2;  // BPF_F_RECOMPUTE_CSUM, BPF_F_INVALIDATE_HASH
  if ((flags & ~(recompute_checksum | invalidate_hash)) != 0) return -EINVAL;
  std::byte* to = nullptr;
  if (const s64 error = find_bytes(*this, offset, length, to); error != 0) return error;
  std::memmove(to, from, length);
  if ((flags & invalidate_hash) != 0) {
    Packet packet = packet_of(context, kind);
    set_skb_number(packet, skb_field::hash, 0);
  }
  return 0;
}

static s64 skb_load_bytes(void* skb, u32 offset, WriteMem to) noexcept {
  const s64 error = PacketBytes{skb, Packet::Kind::skb}.load(offset, to.data, to.size);
  return error == 0 ? 0 : fail_and_clear(to, error);
}
SKEP_BIND(skb_load_bytes)

/// From the beginning of the Ethernet header or of the network header, wherever the program's data begins.
static s64 skb_load_bytes_relative(Call& call, void*, u32 offset, WriteMem to, u32 header) noexcept {
  constexpr u32 from_mac = 0, from_network = 1;  // enum bpf_hdr_start_off
  if (call.packet == nullptr || offset > 0xffff || header > from_network) return fail_and_clear(to, -EFAULT);
  const Packet& packet = *call.packet;
  const std::byte* start = header == from_mac ? packet.mac : packet.network;
  if (start == nullptr || start > packet.end()) return fail_and_clear(to, -EFAULT);
  const u64 available = static_cast<u64>(packet.end() - start);
  if (offset > available || to.size > available - offset) return fail_and_clear(to, -EFAULT);
  std::memcpy(to.data, start + offset, to.size);
  return 0;
}
SKEP_BIND(skb_load_bytes_relative)

static s64 skb_store_bytes(void* skb, u32 offset, ReadMem from, u64 flags) noexcept {
  return PacketBytes{skb, Packet::Kind::skb}.store(offset, from.data, from.size, flags);
}
SKEP_BIND(skb_store_bytes)

/// Packets here lie in one piece: this only says whether there is so much of it.
static s64 skb_pull_data(void* skb, u32 length) noexcept {
  return length <= packet_of(skb, Packet::Kind::skb).size() ? 0 : -ENOMEM;
}
SKEP_BIND(skb_pull_data)

static u64 xdp_get_buff_len(void* xdp) noexcept { return packet_of(xdp, Packet::Kind::xdp).size(); }
SKEP_BIND(xdp_get_buff_len)

static s64 xdp_load_bytes(void* xdp, u32 offset, WriteMem to) noexcept {
  return PacketBytes{xdp, Packet::Kind::xdp}.load(offset, to.data, to.size);
}
SKEP_BIND(xdp_load_bytes)

static s64 xdp_store_bytes(void* xdp, u32 offset, ReadMem from) noexcept {
  return PacketBytes{xdp, Packet::Kind::xdp}.store(offset, from.data, from.size, 0);
}
SKEP_BIND(xdp_store_bytes)

}  // namespace skep::helper
