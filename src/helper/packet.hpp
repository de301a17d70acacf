// The packet of a run: where it lies, what its headers are, what the program wants done with it.
//
// Whoever runs a packet program (a test run, a packet hook) puts the packet into a buffer with room before and behind
// it, fills the program's context (catalog/contexts.hpp) and a Packet, and runs. Helpers move the packet's ends inside
// the buffer and keep the context's fields true; afterwards the Packet says where the packet is and where it is to go.
// The context's 64-bit slots are the truth about data, data_end and data_meta: programs read them.
// Source: what struct xdp_buff and struct sk_buff are to net/core/filter.c.
#pragma once
#include <cstring>
#include <skep/types.hpp>

namespace skep::map {
class Map;
}

namespace skep::helper {

struct Packet {
  enum class Kind : u8 { xdp, skb };

  /// What bpf_redirect() and its relatives asked for. The last one counts, as in the kernel.
  struct Redirect {
    enum class To : u8 { nowhere, device, map, neighbour, peer } to = To::nowhere;
    u32 ifindex = 0;          ///< device, neighbour, peer; for maps what the map holds at `index`
    u32 index = 0;            ///< map
    map::Map* map = nullptr;  ///< devmap, devmap_hash, cpumap, xskmap
    u64 flags = 0;            ///< BPF_F_INGRESS, BPF_F_BROADCAST, BPF_F_EXCLUDE_INGRESS
  };

  Kind kind = Kind::skb;
  std::byte* context = nullptr;  ///< in the engine's layout
  std::byte* first = nullptr;    ///< the packet may begin here
  std::byte* limit = nullptr;    ///< and end here
  Redirect redirect;

  // Of a struct __sk_buff only. Places of headers move with the packet.
  std::byte* mac = nullptr;
  std::byte* network = nullptr;
  std::byte* transport = nullptr;  ///< null: nobody said where it is
  u16 protocol = 0;                ///< in network order, as in the packet
  bool encapsulated = false;       ///< an outer header was added
  s8 checksum_level = -1;          ///< of CHECKSUM_UNNECESSARY; -1: checksums were not looked at
  u32 clones = 0;                  ///< how often bpf_clone_redirect() sent a copy
  Redirect clone;                  ///< the last of them
  /// Called for each copy, with the packet as it is then; null: they are only counted.
  void (*on_clone)(void* self, const Packet& packet, u32 ifindex, u64 flags) noexcept = nullptr;
  void* on_clone_self = nullptr;

  std::byte* data() const noexcept { return slot(data_slot()); }
  std::byte* end() const noexcept { return slot(data_slot() + 8); }
  std::byte* meta() const noexcept { return slot(data_slot() + 16); }
  void set_data(std::byte* to) noexcept { set_slot(data_slot(), to); }
  void set_end(std::byte* to) noexcept { set_slot(data_slot() + 8, to); }
  void set_meta(std::byte* to) noexcept { set_slot(data_slot() + 16, to); }
  u64 size() const noexcept { return data() != nullptr && data() < end() ? static_cast<u64>(end() - data()) : 0; }

  // Behind struct xdp_md and struct __sk_buff; packet.cpp proves it from the rows.
  static constexpr u32 xdp_slots = 24, skb_slots = 192;

 private:
  u32 data_slot() const noexcept { return kind == Kind::xdp ? xdp_slots : skb_slots; }
  std::byte* slot(u32 offset) const noexcept {
    std::byte* address;
    std::memcpy(&address, context + offset, sizeof address);
    return address;
  }
  void set_slot(u32 offset, std::byte* address) noexcept { std::memcpy(context + offset, &address, sizeof address); }
};

/// Fields of struct __sk_buff that helpers keep true, by their offset.
namespace skb_field {
inline constexpr u32 len = 0, pkt_type = 4, protocol = 16, vlan_present = 20, vlan_tci = 24, vlan_proto = 28, hash = 68,
                     tstamp = 152, tstamp_type = 180;
}
inline u32 skb_number(const Packet& packet, u32 field) noexcept {
  u32 number;
  std::memcpy(&number, packet.context + field, sizeof number);
  return number;
}
inline void set_skb_number(Packet& packet, u32 field, u32 number) noexcept {
  std::memcpy(packet.context + field, &number, sizeof number);
}

/// Bytes of the packet that a context describes: what the load and store helpers and dynptrs share. All refuse what
/// lies outside with the kernel's numbers (-EFAULT of an skb; -EFAULT or -EINVAL of an xdp_buff).
struct PacketBytes {
  void* context;
  Packet::Kind kind;

  u64 size() const noexcept;
  /// The bytes themselves, or nullptr.
  std::byte* at(u64 offset, u64 length) const noexcept;
  s64 load(u32 offset, std::byte* to, u64 length) const noexcept;
  /// `flags`: BPF_F_RECOMPUTE_CSUM, BPF_F_INVALIDATE_HASH; 0 of an xdp_buff.
  s64 store(u32 offset, const std::byte* from, u64 length, u64 flags) const noexcept;
};

/// After data or end of an skb moved: its length and metadata follow.
void packet_moved(Packet& packet) noexcept;

}  // namespace skep::helper
