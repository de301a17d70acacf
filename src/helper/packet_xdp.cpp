// Helpers that move the ends of an XDP packet.
//
// The kernel keeps a struct xdp_frame at the start of the buffer and a struct skb_shared_info at its end: the packet
// grows up to them and no further. Whoever makes the Packet sets `first` and `limit` to what lies between.
// Source: net/core/filter.c (bpf_xdp_adjust_*).
#include <cerrno>

#include "helper/bind.hpp"
#include "helper/packet.hpp"

namespace skep::helper {

namespace {

constexpr s64 ethernet_bytes = 14, most_metadata = 255;

Packet* xdp_packet(Call& call) noexcept {
  return call.packet != nullptr && call.packet->kind == Packet::Kind::xdp ? call.packet : nullptr;
}

}  // namespace

static s64 xdp_adjust_head(Call& call, void*, s32 delta) noexcept {
  Packet* packet = xdp_packet(call);
  if (packet == nullptr) return -EINVAL;
  const s64 metadata = packet->data() - packet->meta();
  const s64 room = packet->data() - packet->first - metadata, length = packet->end() - packet->data();
  if (-s64{delta} > room || delta > length - ethernet_bytes) return -EINVAL;
  std::byte* meta = packet->meta() + delta;
  if (metadata > 0) std::memmove(meta, packet->meta(), static_cast<u64>(metadata));
  packet->set_meta(meta);
  packet->set_data(packet->data() + delta);
  return 0;
}
SKEP_BIND(xdp_adjust_head)

static s64 xdp_adjust_tail(Call& call, void*, s32 delta) noexcept {
  Packet* packet = xdp_packet(call);
  if (packet == nullptr) return -EINVAL;
  const s64 room = packet->limit - packet->end(), length = packet->end() - packet->data();
  if (delta > room || length + delta < ethernet_bytes) return -EINVAL;
  if (delta > 0) std::memset(packet->end(), 0, static_cast<u32>(delta));
  packet->set_end(packet->end() + delta);
  return 0;
}
SKEP_BIND(xdp_adjust_tail)

static s64 xdp_adjust_meta(Call& call, void*, s32 delta) noexcept {
  Packet* packet = xdp_packet(call);
  if (packet == nullptr) return -EINVAL;
  const s64 metadata = packet->data() - packet->meta() - delta;
  if (metadata < 0 || metadata > packet->data() - packet->first) return -EINVAL;
  if (metadata % 4 != 0 || metadata > most_metadata) return -EACCES;
  packet->set_meta(packet->data() - metadata);
  return 0;
}
SKEP_BIND(xdp_adjust_meta)

}  // namespace skep::helper
