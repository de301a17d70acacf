// Programs on network devices of this network namespace: XDP, tc (classifiers and tcx), netkit, the flow dissector.
#pragma once
#include <skep/inspect.hpp>
#include <string>
#include <vector>

namespace skep::kernel {

struct NetProgram {
  std::string device;
  u32 ifindex = 0;
  /// bpftool's words: "driver", "generic", "offload" (XDP); "clsact/ingress", "tcx/ingress", "netkit/primary";
  /// "flow_dissector".
  std::string kind;
  std::string name;  ///< tc: the filter's name; tcx: the program's
  u32 program_id = 0;
  u32 link_id = 0;
  bool is_xdp = false;
};

/// Asks rtnetlink and BPF_PROG_QUERY. Errors: permission, io.
Result<std::vector<NetProgram>> find_net_programs();

/// XDP on a device. `mode`: 0 the driver's where it has one, 2 generic, 4 driver. `replace`: where one is already.
Result<void> attach_xdp(u32 program_id, const std::string& device, u32 mode, bool replace);
Result<void> detach_xdp(const std::string& device, u32 mode);

/// Behind what is there. `type`: tcx_ingress, tcx_egress (6.6), netkit_primary, netkit_peer (6.7).
Result<void> attach_to_device(u32 program_id, const std::string& device, AttachType type);
Result<void> detach_from_device(u32 program_id, const std::string& device, AttachType type);

}  // namespace skep::kernel
