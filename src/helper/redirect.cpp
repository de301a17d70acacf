// Helpers that say where a packet goes, and what is known of where it came from.
//
// They record the wish in the run's Packet and return the verdict that the program is to return; whoever ran the
// program sends the packet. A wish that the kernel would refuse at once (flags, a device that does not exist) is
// refused here too.
// Source: net/core/filter.c (bpf_redirect*, bpf_clone_redirect, bpf_xdp_redirect*), kernel/bpf/devmap.c.
#include "map/redirect.hpp"

#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "helper/bind.hpp"
#include "helper/packet.hpp"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace skep::helper {

namespace {

using To = Packet::Redirect::To;

constexpr u64 ingress = 1;  // BPF_F_INGRESS
constexpr s64 xdp_aborted = 0, xdp_redirect = 4, tc_shot = 2, tc_redirect = 7;

s64 redirect_skb(Call& call, To to, u32 ifindex, u64 flags) noexcept {
  if (call.packet != nullptr) call.packet->redirect = {.to = to, .ifindex = ifindex, .flags = flags};
  return tc_redirect;
}

}  // namespace

static s64 redirect(Call& call, u32 ifindex, u64 flags) noexcept {
  if (call.packet != nullptr && call.packet->kind == Packet::Kind::xdp) {
    if (flags != 0) return xdp_aborted;
    call.packet->redirect = {.to = To::device, .ifindex = ifindex};
    return xdp_redirect;
  }
  return (flags & ~ingress) != 0 ? tc_shot : redirect_skb(call, To::device, ifindex, flags);
}
SKEP_BIND(redirect)

static s64 redirect_peer(Call& call, u32 ifindex, u64 flags) noexcept {
  return flags != 0 ? tc_shot : redirect_skb(call, To::peer, ifindex, 0);
}
SKEP_BIND(redirect_peer)

static s64 redirect_neigh(Call& call, u32 ifindex, ReadMem next_hop, u64 flags) noexcept {
  constexpr u64 next_hop_bytes = 20;  // sizeof(struct bpf_redir_neigh)
  if (flags != 0 || (next_hop.size != 0 && next_hop.size < next_hop_bytes)) return tc_shot;
  return redirect_skb(call, To::neighbour, ifindex, 0);
}
SKEP_BIND(redirect_neigh)

/// The lower two bits of `flags` are the verdict for an empty place.
static s64 redirect_map(Call& call, Map& map, u64 index, u64 flags) noexcept {
  constexpr u64 verdict = 3, broadcast = 1u << 3;
  if ((flags & ~(verdict | map::redirect_flags(map.spec().type))) != 0) return xdp_aborted;
  const auto key = static_cast<u32>(index);
  const map::RedirectTarget target = map::redirect_target(map, key);
  if (!target.found && (flags & broadcast) == 0) {
    if (call.packet != nullptr) call.packet->redirect = {};
    return static_cast<s64>(flags & verdict);
  }
  if (call.packet != nullptr)
    call.packet->redirect = {.to = To::map, .ifindex = target.to, .index = key, .map = &map, .flags = flags & ~verdict};
  return xdp_redirect;
}
SKEP_BIND(redirect_map)

static s64 clone_redirect(Call& call, void*, u32 ifindex, u64 flags) noexcept {
  char name[IF_NAMESIZE];
  if ((flags & ~ingress) != 0 || ::if_indextoname(ifindex, name) == nullptr || call.packet == nullptr) return -EINVAL;
  Packet& packet = *call.packet;
  ++packet.clones;
  packet.clone = {.to = To::device, .ifindex = ifindex, .flags = flags};
  if (packet.on_clone != nullptr) packet.on_clone(packet.on_clone_self, packet, ifindex, flags);
  return 0;
}
SKEP_BIND(clone_redirect)

// --- the flow: its hash, its clock, its socket ---

/// A number for the flow that is never 0. Devices and kernels choose their own, so only equality means anything.
static u32 get_hash_recalc(Call& call, void* skb) noexcept {
  Packet packet;
  packet.context = static_cast<std::byte*>(skb);
  if (const u32 known = skb_number(packet, skb_field::hash); known != 0) return known;
  const std::byte* from =
      call.packet != nullptr && call.packet->network != nullptr ? call.packet->network : packet.data();
  if (from == nullptr || from > packet.end()) return 0;
  // Addresses and ports stand in the first 44 bytes of either protocol; what changes from packet to packet is left out.
  u64 state = 0x9e3779b97f4a7c15;
  const u64 available = static_cast<u64>(packet.end() - from);
  const bool is_ipv6 = available > 0 && std::to_integer<u32>(*from) >> 4 == 6;
  const u64 begin = is_ipv6 ? 8 : 12, end = is_ipv6 ? 44 : 24;
  for (u64 at = begin; at < end && at < available; ++at)
    state = (state ^ std::to_integer<u64>(from[at])) * 0x100000001b3;
  const u32 hash = static_cast<u32>(state >> 32) | 1;
  set_skb_number(packet, skb_field::hash, hash);
  return hash;
}
SKEP_BIND(get_hash_recalc)

static void set_hash_invalid(void* skb) noexcept {
  Packet packet;
  packet.context = static_cast<std::byte*>(skb);
  set_skb_number(packet, skb_field::hash, 0);
}
SKEP_BIND(set_hash_invalid)

static s64 set_hash(void* skb, u32 hash) noexcept {
  Packet packet;
  packet.context = static_cast<std::byte*>(skb);
  set_skb_number(packet, skb_field::hash, hash);
  return 0;
}
SKEP_BIND(set_hash)

static s64 skb_set_tstamp(Call& call, void*, u64 time, u32 clock) noexcept {
  constexpr u16 ipv4 = 0x0008, ipv6 = 0xdd86;
  constexpr u32 realtime = 0, monotonic = 1, tai = 2;  // BPF_SKB_CLOCK_*
  if (call.packet == nullptr) return -EINVAL;
  Packet& packet = *call.packet;
  if (packet.protocol != ipv4 && packet.protocol != ipv6) return -EOPNOTSUPP;
  if (clock > tai || ((clock == monotonic || clock == tai) && time == 0)) return -EINVAL;
  static_assert(realtime == 0);
  std::memcpy(packet.context + skb_field::tstamp, &time, sizeof time);
  packet.context[skb_field::tstamp_type] = static_cast<std::byte>(clock);
  return 0;
}
SKEP_BIND(skb_set_tstamp)

/// Packets here come from no socket: the kernel's answers for those.
static u64 get_socket_cookie(void*) noexcept { return 0; }
SKEP_BIND(get_socket_cookie)

static u32 get_socket_uid(void*) noexcept {
  constexpr u32 nobody = 65534;  // overflowuid
  return nobody;
}
SKEP_BIND(get_socket_uid)

/// The network namespace of this process, which is where its packets are.
static u64 get_netns_cookie(void*) noexcept {
  static const u64 cookie = [] {
    u64 number = 0;
    socklen_t size = sizeof number;
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return number;
    ::getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &number, &size);
    ::close(fd);
    return number;
  }();
  return cookie;
}
SKEP_BIND(get_netns_cookie)

}  // namespace skep::helper
