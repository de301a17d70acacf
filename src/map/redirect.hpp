// Where packets can be sent: devices, CPUs and AF_XDP sockets by number.
#pragma once
#include "map/map.hpp"

namespace skep::map {

/// What bpf_redirect_map() finds at `index`: the device's number, the CPU's, or the socket's descriptor; 0 with
/// `found` false where there is nothing or the map is of another type.
struct RedirectTarget {
  bool found = false;
  u32 to = 0;
};
RedirectTarget redirect_target(Map& map, u32 index) noexcept;

/// Flags of bpf_redirect_map() that a map of this type takes, beyond the two bits of the action for "nothing there".
u64 redirect_flags(MapType type) noexcept;

}  // namespace skep::map
