// A dump of links, and of the filters of each device's queueing disciplines, by rtnetlink; what hangs on a device
// itself by bpf(2). Source: rtnetlink(7); include/uapi/linux/{if_link,rtnetlink,pkt_cls}.h; bpftool's net.c for which
// parents are asked.
#include "kernel/net_programs.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernel/info.hpp"
#include "kernel/netlink.hpp"
#include "kernel/open.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

using Bytes = NetlinkBytes;

u32 number_of(Bytes bytes) {
  u32 value = 0;
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value;
}
std::string text_of(Bytes bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  return std::string(text, ::strnlen(text, bytes.size()));
}

struct Device {
  std::string name;
  u32 index = 0;
};

/// One attribute of IFLA_XDP per mode.
void add_xdp(Bytes nested, const Device& device, std::vector<NetProgram>& found) {
  u32 attached = 0, id = 0;
  each_attribute(nested, [&](u32 type, Bytes value) {
    if (type == IFLA_XDP_ATTACHED && !value.empty()) attached = static_cast<u8>(value[0]);
    if (type == IFLA_XDP_PROG_ID) id = number_of(value);
  });
  if (attached == XDP_ATTACHED_NONE) return;
  const auto add = [&](std::string_view kind, u32 program) {
    if (program != 0) found.push_back({device.name, device.index, std::string(kind), "", program, 0, true});
  };
  if (attached != XDP_ATTACHED_MULTI) {
    add(attached == XDP_ATTACHED_SKB ? "generic" : attached == XDP_ATTACHED_HW ? "offload" : "driver", id);
    return;
  }
  each_attribute(nested, [&](u32 type, Bytes value) {
    if (type == IFLA_XDP_SKB_PROG_ID) add("generic", number_of(value));
    if (type == IFLA_XDP_DRV_PROG_ID) add("driver", number_of(value));
    if (type == IFLA_XDP_HW_PROG_ID) add("offload", number_of(value));
  });
}

Result<std::vector<Device>> list_devices(Netlink& netlink, std::vector<NetProgram>& found) {
  std::vector<Device> devices;
  ifinfomsg request{};
  request.ifi_family = AF_UNSPEC;
  SKEP_TRY(netlink.ask(NetlinkRequest(RTM_GETLINK, NLM_F_DUMP, request), [&](u16 type, Bytes payload) {
    if (type != RTM_NEWLINK || payload.size() < sizeof(ifinfomsg)) return;
    ifinfomsg head{};
    std::memcpy(&head, payload.data(), sizeof head);
    Device device{"", static_cast<u32>(head.ifi_index)};
    const Bytes attributes = payload.subspan(NLMSG_ALIGN(sizeof head));
    each_attribute(attributes, [&](u32 kind, Bytes value) {
      if (kind == IFLA_IFNAME) device.name = text_of(value);
    });
    each_attribute(attributes, [&](u32 kind, Bytes value) {
      if (kind == IFLA_XDP) add_xdp(value, device, found);
    });
    devices.push_back(std::move(device));
  }));
  return devices;
}

/// Filters of kind "bpf" below one parent of a device.
void add_filters(Netlink& netlink, const Device& device, u32 parent, std::string_view kind,
                 std::vector<NetProgram>& found) {
  tcmsg request{};
  request.tcm_family = AF_UNSPEC;
  request.tcm_ifindex = static_cast<int>(device.index);
  request.tcm_parent = parent;
  (void)netlink.ask(NetlinkRequest(RTM_GETTFILTER, NLM_F_DUMP, request), [&](u16 type, Bytes payload) {
    if (type != RTM_NEWTFILTER || payload.size() < sizeof(tcmsg)) return;
    std::string filter;
    Bytes options;
    each_attribute(payload.subspan(NLMSG_ALIGN(sizeof(tcmsg))), [&](u32 attribute, Bytes value) {
      if (attribute == TCA_KIND) filter = text_of(value);
      if (attribute == TCA_OPTIONS) options = value;
    });
    if (filter != "bpf") return;
    NetProgram program{device.name, device.index, std::string(kind), "", 0, 0, false};
    each_attribute(options, [&](u32 attribute, Bytes value) {
      if (attribute == TCA_BPF_NAME) program.name = text_of(value);
      if (attribute == TCA_BPF_ID) program.program_id = number_of(value);
    });
    if (program.program_id != 0) found.push_back(std::move(program));
  });
}

/// Programs that hang on a device itself (tcx 6.6, netkit 6.7) or on the network namespace.
void add_queried(const Device& device, AttachType type, std::string_view kind, std::vector<NetProgram>& found) {
  constexpr u32 most = 64;
  u32 ids[most] = {}, links[most] = {};
  uapi::ProgQuery attr;
  attr.target_fd = device.index;
  attr.attach_type = static_cast<u32>(type);
  attr.prog_ids = address_of(ids);
  attr.link_ids = address_of(links);
  attr.count = most;
  if (bpf(uapi::Cmd::prog_query, attr) < 0) return;
  for (u32 i = 0; i < std::min(attr.count, most); ++i) {
    std::string name;
    if (const auto fd = open_by_id(uapi::Cmd::prog_get_fd_by_id, ids[i], "program"))
      if (const auto info = program_info(fd->get())) name = info->name;
    found.push_back({device.name, device.index, std::string(kind), std::move(name), ids[i], links[i], false});
  }
}

void add_flow_dissector(std::vector<NetProgram>& found) {
  const base::Fd netns(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (netns.get() < 0) return;
  u32 id = 0;
  uapi::ProgQuery attr;
  attr.target_fd = static_cast<u32>(netns.get());
  attr.attach_type = static_cast<u32>(AttachType::flow_dissector);
  attr.prog_ids = address_of(&id);
  attr.count = 1;
  if (bpf(uapi::Cmd::prog_query, attr) == 0 && attr.count == 1)
    found.push_back({"", 0, "flow_dissector", "", id, 0, false});
}

Result<void> set_device_xdp(int program_fd, const std::string& device, u32 flags) {
  const u32 index = device_index(device);
  if (index == 0) return fail(Code::not_found, fmt::format("there is no network device {}", device), ENODEV);
  const auto done = set_xdp(static_cast<int>(index), program_fd, flags, -1);
  if (done) return {};
  const int number = done.error().os_error;
  if (number == EBUSY || number == EEXIST)
    return fail(Code::invalid_argument,
                fmt::format("{}: an XDP program is attached already; add `overwrite` to replace it", device), number);
  if (number == EOPNOTSUPP)
    return fail(Code::unsupported, fmt::format("{}: its driver has no XDP; use xdpgeneric", device), number);
  return tl::unexpected(Error(done.error()).within(device));
}

/// tcx and netkit: lists of programs on a device.
Result<void> change_list(uapi::Cmd cmd, u32 program_id, const std::string& device, AttachType type) {
  const u32 index = device_index(device);
  if (index == 0) return fail(Code::not_found, fmt::format("there is no network device {}", device), ENODEV);
  const auto program = SKEP_TRY(open_by_id(uapi::Cmd::prog_get_fd_by_id, program_id, "program"));
  const bool netkit = type == AttachType::netkit_primary || type == AttachType::netkit_peer;
  uapi::ProgAttach attr;
  attr.target_fd = index;
  attr.attach_bpf_fd = static_cast<u32>(program.get());
  attr.attach_type = static_cast<u32>(type);
  const int status = bpf(cmd, attr);
  if (status >= 0) return {};
  const auto no = [&](Code code, std::string_view what) {
    return fail(code, fmt::format("{}: program {} {}", device, program_id, what), -status);
  };
  if (status == -EEXIST) return no(Code::invalid_argument, "is there already");
  if (status == -ENOENT) return no(Code::not_found, "is not attached there");
  if (status == -EACCES && netkit)
    return no(Code::invalid_argument, "is attached to the primary device of the pair, which this is not");
  if (status == -ENXIO || (status == -EINVAL && netkit))
    return no(
        Code::invalid_argument,
        "is not of type sched_cls, the device is not of type netkit, or this kernel has none (6.7, CONFIG_NETKIT)");
  if (status == -EINVAL) return no(Code::invalid_argument, "is not of type sched_cls, or this kernel has no tcx (6.6)");
  return tl::unexpected(bpf_error(cmd, device, -status));
}

}  // namespace

Result<std::vector<NetProgram>> find_net_programs() {
  std::vector<NetProgram> found;
  auto netlink = SKEP_TRY(Netlink::open());
  const auto devices = SKEP_TRY(list_devices(netlink, found));
  for (const Device& device : devices) {
    add_queried(device, AttachType::tcx_ingress, "tcx/ingress", found);
    add_queried(device, AttachType::tcx_egress, "tcx/egress", found);
    add_queried(device, AttachType::netkit_primary, "netkit/primary", found);
    add_queried(device, AttachType::netkit_peer, "netkit/peer", found);
    add_filters(netlink, device, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), "clsact/ingress", found);
    add_filters(netlink, device, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS), "clsact/egress", found);
  }
  add_flow_dissector(found);
  return found;
}

Result<void> attach_xdp(u32 program_id, const std::string& device, u32 mode, bool replace) {
  const auto program = SKEP_TRY(open_by_id(uapi::Cmd::prog_get_fd_by_id, program_id, "program"));
  return set_device_xdp(program.get(), device, mode | (replace ? 0 : XDP_FLAGS_UPDATE_IF_NOEXIST));
}

Result<void> detach_xdp(const std::string& device, u32 mode) { return set_device_xdp(-1, device, mode); }

Result<void> attach_to_device(u32 program_id, const std::string& device, AttachType type) {
  return change_list(uapi::Cmd::prog_attach, program_id, device, type);
}
Result<void> detach_from_device(u32 program_id, const std::string& device, AttachType type) {
  return change_list(uapi::Cmd::prog_detach, program_id, device, type);
}

}  // namespace skep::kernel
