// Interfaces (XDP, tc, netkit), netfilter hooks, network namespaces.
//
// Links where the kernel has them: XDP 5.9, tcx 6.6, netkit 6.7, netfilter 6.4, namespaces 5.8. Before that, XDP and tc
// are attached by rtnetlink, and a note says that the attachment would outlive a process that is killed.
// Source: net/core/dev.c (xdp link), kernel/bpf/tcx.c, drivers/net/netkit.c, net/netfilter/nf_bpf_link.c,
// kernel/bpf/net_namespace.c.
#include <fmt/core.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <linux/netfilter.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "kernel/attachers.hpp"
#include "kernel/netlink.hpp"

namespace skep::kernel {

namespace {

Result<int> interface_index(const AttachRequest& request, std::string_view name) {
  const std::string text(name);
  const u32 index = device_index(text);
  if (index != 0) return static_cast<int>(index);
  return fail(Code::not_found,
              fmt::format("{}: there is no interface \"{}\" in this network namespace", request.place, text), ENODEV);
}

void note_that_it_outlives_us(const AttachRequest& request, std::string_view remedy) {
  request.session.note(fmt::format(
      "{}: this kernel has no links for this hook; if skep is killed, the program stays ({})", request.place, remedy));
}

struct XdpTarget {
  std::string_view interface;
  u32 flags = 0;
};

Result<XdpTarget> read_xdp_target(const AttachRequest& request) {
  const std::string_view text = request.hook.target;
  const auto [interface, mode] = split_last(text);
  if (mode == "native") return XdpTarget{interface, XDP_FLAGS_DRV_MODE};
  if (mode == "generic") return XdpTarget{interface, XDP_FLAGS_SKB_MODE};
  if (mode == "offload") return XdpTarget{interface, XDP_FLAGS_HW_MODE};
  if (interface != text) return tl::unexpected(wrong_target(request, text));
  return XdpTarget{text, 0};
}

std::string_view xdp_hint(int error_number, u32 flags) {
  if (error_number == EBUSY || error_number == EEXIST)
    return "another program is attached there; `skep net show` names it, or it runs in another mode";
  if (error_number == EOPNOTSUPP && (flags & XDP_FLAGS_DRV_MODE) != 0)
    return "the driver has no native XDP; generic works on every interface";
  if ((error_number == EOPNOTSUPP || error_number == EINVAL) && (flags & XDP_FLAGS_HW_MODE) != 0)
    return "the card runs no programs: native or generic";
  if (error_number == EINVAL || error_number == ERANGE)
    return "the program does not fit the interface: a packet larger than a page needs the section xdp.frags, and "
           "programs for devmap and cpumap entries are not attached to interfaces";
  return {};
}

}  // namespace

Attached attach_xdp(const AttachRequest& request) {
  const auto target = SKEP_TRY(read_xdp_target(request));
  const int interface = SKEP_TRY(interface_index(request, target.interface));
  uapi::LinkCreate attr{link_target(request, interface, AttachType::xdp, target.flags), 0};
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  constexpr u32 first_with_links = 5u << 16 | 9u << 8;
  if (link != -EINVAL || Features::version_code() >= first_with_links)
    return tl::unexpected(link_error(request, -link, xdp_hint(-link, target.flags)));
  auto set = set_xdp(interface, request.program_fd, target.flags | XDP_FLAGS_UPDATE_IF_NOEXIST, -1);
  if (!set) return tl::unexpected(std::move(set).error().within(request.place));
  note_that_it_outlives_us(request, fmt::format("ip link set dev {} xdp off", target.interface));
  auto attachment = std::make_unique<Attachment>();
  attachment->undo_with([interface, flags = target.flags] { (void)set_xdp(interface, -1, flags, -1); });
  return attachment;
}

Attached attach_tc(const AttachRequest& request) {
  std::string_view name = request.hook.target;
  bool egress = request.hook.kind == AttachKind::tc_egress || request.hook.kind == AttachKind::tcx_egress;
  if (request.hook.kind == AttachKind::tc || request.hook.kind == AttachKind::classifier) {
    const auto [direction, interface] = split_first(name);
    if (interface.empty() || (direction != "ingress" && direction != "egress"))
      return tl::unexpected(wrong_target(request, name));
    egress = direction == "egress";
    name = interface;
  }
  const int interface = SKEP_TRY(interface_index(request, name));
  uapi::LinkCreateOrdered attr{
      .on = link_target(request, interface, egress ? AttachType::tcx_egress : AttachType::tcx_ingress)};
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  if (!is_unknown(-link)) return tl::unexpected(link_error(request, -link));
  auto place = add_tc(interface, egress, request.program_fd);
  if (!place) return tl::unexpected(std::move(place).error().within(request.place));
  note_that_it_outlives_us(request, fmt::format("tc filter del dev {} {}", name, egress ? "egress" : "ingress"));
  auto attachment = std::make_unique<Attachment>();
  attachment->undo_with([place = *place] { (void)remove_tc(place); });
  return attachment;
}

Attached attach_netkit(const AttachRequest& request) {
  const int interface = SKEP_TRY(interface_index(request, request.hook.target));
  uapi::LinkCreateOrdered attr{.on = link_target(request, interface, request.hook.attach_type())};
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  return tl::unexpected(
      link_error(request, -link,
                 is_unknown(-link) || link == -ENXIO
                     ? "the interface is not of type netkit, or this kernel has none (6.7, CONFIG_NETKIT)"
                 : link == -EACCES ? "programs are attached to the primary device of the pair"
                                   : ""));
}

Attached attach_netfilter(const AttachRequest& request) {
  struct Hook {
    std::string_view name;
    u32 number;
  };
  static constexpr Hook hooks[] = {{"pre_routing", NF_INET_PRE_ROUTING},
                                   {"local_in", NF_INET_LOCAL_IN},
                                   {"forward", NF_INET_FORWARD},
                                   {"local_out", NF_INET_LOCAL_OUT},
                                   {"post_routing", NF_INET_POST_ROUTING}};
  const auto [family, rest] = split_first(request.hook.target);
  const auto [name, number] = split_first(rest);
  const bool negative = number.starts_with('-');
  const auto priority = number.empty() ? std::optional<u64>(0) : whole_number(number.substr(negative ? 1 : 0));
  uapi::LinkCreateNetfilter attr{.on = link_target(request, 0, AttachType::netfilter)};
  attr.family = family == "ipv4" ? u32{NFPROTO_IPV4} : family == "ipv6" ? u32{NFPROTO_IPV6} : u32{0};
  const Hook* hook = nullptr;
  for (const Hook& row : hooks)
    if (row.name == name) hook = &row;
  if (attr.family == 0 || hook == nullptr || !priority || *priority > 0x7fffffff)
    return tl::unexpected(wrong_target(request, request.hook.target));
  attr.hook = hook->number;
  attr.priority = static_cast<s32>(*priority) * (negative ? -1 : 1);
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  std::string_view hint;
  if (link == -EINVAL || link == -EAFNOSUPPORT)
    hint =
        "this kernel has no netfilter links (6.4, CONFIG_NETFILTER_BPF_LINK), or the priority is the first or last, "
        "which are reserved";
  if (link == -EBUSY) hint = "another program has this priority";
  return tl::unexpected(link_error(request, -link, hint));
}

namespace {

/// A file of nsfs, whichever kind of namespace.
bool is_namespace(int fd) {
  struct statfs about{};
  return ::fstatfs(fd, &about) == 0 && about.f_type == NSFS_MAGIC;
}

}  // namespace

Attached attach_namespace(const AttachRequest& request) {
  const std::string& name = request.hook.target;
  std::string path = "/proc/self/ns/net";
  if (!name.empty()) path = name.find('/') == std::string::npos ? fmt::format("/run/netns/{}", name) : name;
  const auto space = SKEP_TRY(open_path(request, path, "network namespace"));
  uapi::LinkCreate attr{link_target(request, space.get(), request.hook.attach_type()), 0};
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  std::string_view hint;
  const bool dissects = request.hook.kind == AttachKind::flow_dissector;  // one for each namespace
  if (link == -E2BIG && !dissects) hint = "64 programs are attached to that namespace, which is all that it can have";
  if (link == -EEXIST || (link == -E2BIG && dissects)) hint = "the namespace, or the first one, has a flow dissector";
  if (is_unknown(-link))
    hint = is_namespace(space.get())
               ? "this is no network namespace, or this kernel has no links for them (5.8; sk_lookup 5.9)"
               : "this is no network namespace: expected a name of `ip netns`, or a path such as "
                 "/proc/PID/ns/net";
  return tl::unexpected(link_error(request, -link, hint));
}

}  // namespace skep::kernel
