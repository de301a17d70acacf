// rtnetlink, as far as older kernels need it to attach programs to interfaces: XDP before 5.9, tc before 6.6.
//
// What is attached here hangs on the interface, not on a descriptor: undoing it is another request.
// Source: rtnetlink(7), include/uapi/linux/if_link.h (IFLA_XDP), pkt_cls.h (TCA_BPF), pkt_sched.h (clsact).
#pragma once
#include <skep/result.hpp>
#include <skep/types.hpp>

namespace skep::kernel {

/// Sets (or with `program_fd` -1 clears) the XDP program of an interface. `flags`: XDP_FLAGS_*. With `expected_fd` >= 0
/// only where that program is there now.
Result<void> set_xdp(int interface, int program_fd, u32 flags, int expected_fd);

/// Where a tc program was put: what it takes to remove it.
struct TcPlace {
  int interface = 0;
  bool egress = false;
  u32 handle = 0;
  u32 priority = 0;
};

/// Adds a program as a direct-action filter, with the clsact qdisc where it is missing.
Result<TcPlace> add_tc(int interface, bool egress, int program_fd);
/// Removes it. A clsact qdisc that add_tc() made stays: it may hold filters of others.
Result<void> remove_tc(const TcPlace& place);

}  // namespace skep::kernel
