// Helpers that change the shape of an skb: its ends, room between its headers, VLAN tags, protocol and kind.
//
// Packets lie in one piece, so what is a chain of buffers in the kernel is a memmove here. The limits (16064 bytes, no
// shorter than its headers) and the order of checks are the kernel's.
// Source: net/core/filter.c (bpf_skb_change_*, bpf_skb_adjust_room, bpf_skb_vlan_*), net/core/skbuff.c (skb_vlan_*).
#include <cerrno>
#include <cstdlib>

#include "helper/bind.hpp"
#include "helper/packet.hpp"

namespace skep::helper {

namespace {

constexpr u32 longest = 16064;  // SKB_MAX_ALLOC: four pages without struct skb_shared_info
constexpr u32 ipv4_bytes = 20, ipv6_bytes = 40, ethernet_bytes = 14, vlan_bytes = 4;

constexpr u16 be16(u16 number) noexcept { return static_cast<u16>(number << 8 | number >> 8); }
constexpr u16 eth_ipv4 = be16(0x0800), eth_ipv6 = be16(0x86dd), eth_vlan = be16(0x8100), eth_vlan_ad = be16(0x88a8);
constexpr bool is_vlan(u16 protocol) noexcept { return protocol == eth_vlan || protocol == eth_vlan_ad; }

Packet* skb_packet(Call& call) noexcept {
  return call.packet != nullptr && call.packet->kind == Packet::Kind::skb ? call.packet : nullptr;
}

u32 length_between(const std::byte* from, const std::byte* to) noexcept {
  return from != nullptr && to > from ? static_cast<u32>(to - from) : 0;
}

void set_protocol(Packet& packet, u16 protocol) noexcept {
  packet.protocol = protocol;
  set_skb_number(packet, skb_field::protocol, protocol);
}

/// Moves the packet inside its buffer so that there is room at one end. False: the buffer is too small.
bool move_packet(Packet& packet, u32 front, u32 back) noexcept {
  std::byte* begin = packet.mac != nullptr && packet.mac < packet.data() ? packet.mac : packet.data();
  const u64 size = static_cast<u64>(packet.end() - begin), buffer = static_cast<u64>(packet.limit - packet.first);
  if (size + front + back > buffer) return false;
  std::byte* to = front > 0 ? packet.limit - size : packet.first;
  const std::ptrdiff_t by = to - begin;
  std::memmove(to, begin, size);
  packet.set_data(packet.data() + by);
  packet.set_end(packet.end() + by);
  for (std::byte** mark : {&packet.mac, &packet.network, &packet.transport})
    if (*mark != nullptr) *mark += by;
  return true;
}
bool room_in_front(Packet& packet, u32 length) noexcept {
  return length_between(packet.first, packet.data()) >= length || move_packet(packet, length, 0);
}
bool room_behind(Packet& packet, u32 length) noexcept {
  return length_between(packet.end(), packet.limit) >= length || move_packet(packet, 0, length);
}

/// Opens `length` zeroed bytes after the first `offset` ones: the packet grows to the front.
s64 push_bytes(Packet& packet, u32 offset, u32 length) noexcept {
  if (!room_in_front(packet, length)) return -ENOMEM;
  // A packet shorter than its headers say: the kernel moves what happens to lie behind it, here it becomes zeros.
  if (offset > packet.size()) offset = static_cast<u32>(packet.size());
  std::byte* begin = packet.data() - length;
  std::memmove(begin, packet.data(), offset);
  std::memset(begin + offset, 0, length);
  packet.set_data(begin);
  return 0;
}

/// Takes `length` bytes out after the first `offset` ones.
s64 pop_bytes(Packet& packet, u32 offset, u32 length) noexcept {
  if (u64{offset} + length > packet.size()) return -ENOMEM;
  std::memmove(packet.data() + length, packet.data(), offset);
  packet.set_data(packet.data() + length);
  return 0;
}

/// Moves the marks of headers; the transport header follows the network header where they are one.
void shift_headers(Packet& packet, std::ptrdiff_t by) noexcept {
  const bool same = packet.transport == packet.network;
  packet.mac += by;
  packet.network += by;
  if (same) packet.transport = packet.network;
}

s64 push_header(Packet& packet, u32 offset, u32 length) noexcept {
  const s64 error = push_bytes(packet, offset, length);
  if (error == 0) shift_headers(packet, -static_cast<std::ptrdiff_t>(length));
  return error;
}
s64 pop_header(Packet& packet, u32 offset, u32 length) noexcept {
  const s64 error = pop_bytes(packet, offset, length);
  if (error == 0) shift_headers(packet, length);
  return error;
}

/// No shorter than up to its last known header.
u32 shortest(const Packet& packet) noexcept {
  u32 length = length_between(packet.data(), packet.network);
  if (packet.transport != nullptr && packet.transport > packet.data())
    length = length_between(packet.data(), packet.transport);
  return length;
}

}  // namespace

static s64 skb_change_tail(Call& call, void*, u32 length, u64 flags) noexcept {
  Packet* packet = skb_packet(call);
  if (packet == nullptr || flags != 0 || length > longest || length < shortest(*packet)) return -EINVAL;
  if (packet->encapsulated) return -map::not_supported;
  const u64 before = packet->size();
  if (length > before) {
    const u32 more = length - static_cast<u32>(before);
    if (!room_behind(*packet, more)) return -ENOMEM;
    std::memset(packet->end(), 0, more);
  }
  packet->set_end(packet->data() + length);
  packet_moved(*packet);
  return 0;
}
SKEP_BIND(skb_change_tail)

static s64 skb_change_head(Call& call, void*, u32 length, u64 flags) noexcept {
  Packet* packet = skb_packet(call);
  if (packet == nullptr || flags != 0 || length > longest || packet->size() + length > longest) return -EINVAL;
  if (const s64 error = push_bytes(*packet, 0, length); error != 0) return error;
  packet->mac = packet->data();
  packet_moved(*packet);
  return 0;
}
SKEP_BIND(skb_change_head)

static s64 skb_change_type(Call& call, void*, u32 type) noexcept {
  constexpr u32 other_host = 3;  // PACKET_OTHERHOST, the last that may be chosen
  Packet* packet = skb_packet(call);
  if (packet == nullptr || skb_number(*packet, skb_field::pkt_type) > other_host || type > other_host) return -EINVAL;
  set_skb_number(*packet, skb_field::pkt_type, type);
  return 0;
}
SKEP_BIND(skb_change_type)

/// From IPv4 to IPv6 and back: room for the header, which the program writes.
static s64 skb_change_proto(Call& call, void*, u16 protocol, u64 flags) noexcept {
  constexpr u32 difference = ipv6_bytes - ipv4_bytes;
  Packet* packet = skb_packet(call);
  if (packet == nullptr || flags != 0) return -EINVAL;
  const u32 offset = length_between(packet->mac, packet->network);
  s64 error = -map::not_supported;
  if (packet->protocol == eth_ipv4 && protocol == eth_ipv6)
    error = push_header(*packet, offset, difference);
  else if (packet->protocol == eth_ipv6 && protocol == eth_ipv4)
    error = pop_header(*packet, offset, difference);
  if (error != 0) return error;
  set_protocol(*packet, protocol);
  set_skb_number(*packet, skb_field::hash, 0);
  packet_moved(*packet);
  return 0;
}
SKEP_BIND(skb_change_proto)

namespace {

/// Flags of bpf_skb_adjust_room().
namespace room {
constexpr u64 fixed_gso = 1, encap_ipv4 = 2, encap_ipv6 = 4, encap_gre = 8, encap_udp = 16, no_csum_reset = 32,
              encap_ethernet = 64, decap_ipv4 = 128, decap_ipv6 = 256, inner_mac = u64{0xff} << 56;
constexpr u64 encap_l3 = encap_ipv4 | encap_ipv6, decap = decap_ipv4 | decap_ipv6;
constexpr u64 all = fixed_gso | encap_l3 | encap_gre | encap_udp | no_csum_reset | encap_ethernet | decap | inner_mac;
constexpr u32 net = 0, mac = 1;  // enum bpf_adj_room_mode
}  // namespace room

/// An outer header in front of the network header: the old one is the inner one from now on.
s64 grow(Packet& packet, u32 offset, u32 length, u64 flags) noexcept {
  const u32 mac_bytes = length_between(packet.mac, packet.network), inner_mac_bytes = static_cast<u32>(flags >> 56);
  const bool encap = (flags & room::encap_l3) != 0;
  if (encap) {
    constexpr u64 both_transports = room::encap_gre | room::encap_udp;
    if ((flags & room::encap_l3) == room::encap_l3 || (flags & both_transports) == both_transports) return -EINVAL;
    if ((flags & room::encap_ethernet) != 0 && inner_mac_bytes < ethernet_bytes) return -EINVAL;
    if (packet.encapsulated) return -EALREADY;
    if (inner_mac_bytes > length) return -EINVAL;
  }
  if (const s64 error = push_header(packet, offset, length); error != 0) return error;
  if (!encap) return 0;
  packet.encapsulated = true;
  packet.network = packet.mac + mac_bytes;
  const bool to_ipv4 = (flags & room::encap_ipv4) != 0;
  set_protocol(packet, to_ipv4 ? eth_ipv4 : eth_ipv6);
  packet.transport = packet.network + (to_ipv4 ? ipv4_bytes : ipv6_bytes);
  return 0;
}

s64 shrink(Packet& packet, u32 offset, u32 length, u64 flags) noexcept {
  if ((flags & ~(room::fixed_gso | room::decap | room::no_csum_reset)) != 0) return -EINVAL;
  if (const s64 error = pop_header(packet, offset, length); error != 0) return error;
  if (packet.protocol == eth_ipv4 && (flags & room::decap_ipv6) != 0) set_protocol(packet, eth_ipv6);
  if (packet.protocol == eth_ipv6 && (flags & room::decap_ipv4) != 0) set_protocol(packet, eth_ipv4);
  return 0;
}

}  // namespace

static s64 skb_adjust_room(Call& call, void*, s32 difference, u32 mode, u64 flags) noexcept {
  Packet* packet = skb_packet(call);
  if (packet == nullptr || (flags & ~room::all) != 0) return -EINVAL;
  const u32 length = static_cast<u32>(std::abs(s64{difference}));
  if (length > 0xfff) return -EFAULT;
  const u16 protocol = packet->protocol;
  if (protocol != eth_ipv4 && protocol != eth_ipv6) return -map::not_supported;
  const u32 header = protocol == eth_ipv4 ? ipv4_bytes : ipv6_bytes;
  u32 offset = length_between(packet->mac, packet->network), least = header;
  if (mode > room::mac) return -map::not_supported;
  if (mode == room::net) offset += header;
  const bool shrinks = difference < 0;
  if ((flags & room::decap) != 0) {
    if (!shrinks || (flags & room::decap) == room::decap) return -EINVAL;
    least = (flags & room::decap_ipv4) != 0 ? ipv4_bytes : ipv6_bytes;
  }
  const u64 current = packet->size() - length_between(packet->data(), packet->network);
  if (shrinks && (length >= current || current - length < least)) return -map::not_supported;
  if (!shrinks && packet->size() + length > longest) return -map::not_supported;
  const s64 error = shrinks ? shrink(*packet, offset, length, flags) : grow(*packet, offset, length, flags);
  if (error == 0 && (flags & room::no_csum_reset) == 0) packet->checksum_level = -1;
  packet_moved(*packet);
  return error;
}
SKEP_BIND(skb_adjust_room)

// --- VLAN: one tag beside the packet, as network devices keep it, the others in the packet ---

namespace {

void set_tag(Packet& packet, u16 protocol, u16 tag) noexcept {
  set_skb_number(packet, skb_field::vlan_present, 1);
  set_skb_number(packet, skb_field::vlan_proto, protocol);
  set_skb_number(packet, skb_field::vlan_tci, tag);
}
void clear_tag(Packet& packet) noexcept {
  for (const u32 field : {skb_field::vlan_present, skb_field::vlan_proto, skb_field::vlan_tci})
    set_skb_number(packet, field, 0);
}

/// Writes the tag that stands beside the packet into it, behind the two addresses.
s64 insert_tag(Packet& packet) noexcept {
  constexpr u32 addresses = 12;
  if (const s64 error = push_bytes(packet, addresses, vlan_bytes); error != 0) return error;
  packet.mac -= vlan_bytes;
  packet.network -= vlan_bytes;  // the tag is what follows the Ethernet header now
  const u16 protocol = static_cast<u16>(skb_number(packet, skb_field::vlan_proto));
  const u16 tag = be16(static_cast<u16>(skb_number(packet, skb_field::vlan_tci)));
  std::memcpy(packet.data() + addresses, &protocol, sizeof protocol);
  std::memcpy(packet.data() + addresses + 2, &tag, sizeof tag);
  set_protocol(packet, protocol);
  return 0;
}

/// Takes the first tag out of the packet; the protocol becomes what stood behind it.
s64 remove_tag(Packet& packet, u16& tag) noexcept {
  constexpr u32 addresses = 12, least_protocol = 0x600;
  if (packet.size() < ethernet_bytes + vlan_bytes) return -ENOMEM;
  u16 protocol;
  std::memcpy(&tag, packet.data() + ethernet_bytes, sizeof tag);
  std::memcpy(&protocol, packet.data() + ethernet_bytes + 2, sizeof protocol);
  tag = be16(tag);
  if (be16(protocol) < least_protocol) {  // a length: IEEE 802.3, with or without a service header
    u16 service = 0;
    if (packet.size() >= ethernet_bytes + vlan_bytes + sizeof service)
      std::memcpy(&service, packet.data() + ethernet_bytes + vlan_bytes, sizeof service);
    protocol = be16(service == 0xffff ? 0x0001 : 0x0004);  // ETH_P_802_3, ETH_P_802_2
  }
  if (const s64 error = pop_bytes(packet, addresses, vlan_bytes); error != 0) return error;
  packet.mac += vlan_bytes;
  if (packet.network < packet.data() + ethernet_bytes) packet.network = packet.data() + ethernet_bytes;
  set_protocol(packet, protocol);
  return 0;
}

}  // namespace

static s64 skb_vlan_push(Call& call, void*, u16 protocol, u16 tag) noexcept {
  Packet* packet = skb_packet(call);
  if (packet == nullptr) return -EINVAL;
  if (!is_vlan(protocol)) protocol = eth_vlan;
  if (skb_number(*packet, skb_field::vlan_present) != 0)
    if (const s64 error = insert_tag(*packet); error != 0) return error;
  set_tag(*packet, protocol, tag);
  packet_moved(*packet);
  return 0;
}
SKEP_BIND(skb_vlan_push)

static s64 skb_vlan_pop(Call& call, void*) noexcept {
  Packet* packet = skb_packet(call);
  if (packet == nullptr) return -EINVAL;
  u16 tag = 0;
  s64 error = 0;
  if (skb_number(*packet, skb_field::vlan_present) != 0)
    clear_tag(*packet);
  else if (is_vlan(packet->protocol))
    error = remove_tag(*packet, tag);
  else
    return 0;
  // What is the outermost tag in the packet now stands beside it.
  if (const u16 outer = packet->protocol; error == 0 && is_vlan(outer)) {
    error = remove_tag(*packet, tag);
    if (error == 0) set_tag(*packet, outer, tag);
  }
  packet_moved(*packet);
  return error;
}
SKEP_BIND(skb_vlan_pop)

}  // namespace skep::helper
