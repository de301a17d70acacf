// Sockets, socket maps and control groups.
//
// A socket's own programs (filter, reuseport) end with the socket. Control groups have links since 5.7, socket maps
// since 6.10; before that BPF_PROG_ATTACH does it, and a note says that the attachment outlives a process that is
// killed.
#include <arpa/inet.h>
#include <fmt/core.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fcntl.h>
#include <algorithm>
#include <cerrno>

#include "kernel/attachers.hpp"
#include "kernel/netlink.hpp"

namespace skep::kernel {

namespace {

constexpr int attach_bpf = 50, detach_filter = 27, attach_reuseport_bpf = 52;  // SO_ATTACH_BPF and its kind

/// A copy of the descriptor that "fd:NUMBER" names, or nullopt for another form.
Result<std::optional<base::Fd>> named_socket(const AttachRequest& request) {
  const auto [word, number] = split_first(request.hook.target);
  if (word != "fd") return std::nullopt;
  const auto fd = whole_number(number);
  if (!fd || *fd > 0x7fffffff) return tl::unexpected(wrong_target(request, request.hook.target));
  base::Fd copy(::fcntl(static_cast<int>(*fd), F_DUPFD_CLOEXEC, 0));
  if (copy.get() < 0) return tl::unexpected(base::os_error(fmt::format("{}: descriptor {}", request.place, *fd)));
  return std::optional<base::Fd>(std::move(copy));
}

/// A packet socket that sees what an interface sees.
Result<base::Fd> packet_socket(const AttachRequest& request) {
  const std::string& name = request.hook.target;
  if (device_index(name) == 0)
    return fail(Code::not_found,
                fmt::format("{}: there is no interface \"{}\" in this network namespace", request.place, name), ENODEV);
  // Bound to no protocol first, so that nothing arrives before the filter is there.
  base::Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return tl::unexpected(base::os_error(fmt::format("{}: open a packet socket", request.place)));
  return socket;
}

Result<void> set_program(const AttachRequest& request, int socket, int option) {
  const int program = request.program_fd;
  if (::setsockopt(socket, SOL_SOCKET, option, &program, sizeof program) == 0) return {};
  return tl::unexpected(base::os_error(fmt::format("{}: attach to the socket", request.place)));
}

}  // namespace

Attached attach_socket(const AttachRequest& request) {
  auto named = SKEP_TRY(named_socket(request));
  auto attachment = std::make_unique<Attachment>();
  if (named) {
    SKEP_TRY(set_program(request, named->get(), attach_bpf));
    const int socket = named->get();
    attachment->hold(*std::move(named));
    attachment->undo_with([socket] {
      const int ignored = 0;
      ::setsockopt(socket, SOL_SOCKET, detach_filter, &ignored, sizeof ignored);
    });
    return attachment;
  }
  auto socket = SKEP_TRY(packet_socket(request));
  SKEP_TRY(set_program(request, socket.get(), attach_bpf));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(device_index(request.hook.target));
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return tl::unexpected(base::os_error(fmt::format("{}: bind the packet socket", request.place)));
  attachment->hold(std::move(socket));
  return attachment;
}

Attached attach_reuseport(const AttachRequest& request) {
  auto named = SKEP_TRY(named_socket(request));
  if (!named) return tl::unexpected(wrong_target(request, request.hook.target));
  SKEP_TRY(set_program(request, named->get(), attach_reuseport_bpf));
  auto attachment = std::make_unique<Attachment>();
  const int socket = named->get();
  attachment->hold(*std::move(named));
  attachment->undo_with([socket] {
    constexpr int detach_reuseport_bpf = 68;  // SO_DETACH_REUSEPORT_BPF, since 5.3
    const int ignored = 0;
    ::setsockopt(socket, SOL_SOCKET, detach_reuseport_bpf, &ignored, sizeof ignored);
  });
  return attachment;
}

namespace {

/// BPF_PROG_ATTACH, undone by BPF_PROG_DETACH. `until`: how long a program stays that nobody detached.
Attached attach_without_link(const AttachRequest& request, base::Fd target, AttachType type, u32 flags,
                             std::string_view until) {
  uapi::ProgAttach attr;
  attr.target_fd = static_cast<u32>(target.get());
  attr.attach_bpf_fd = static_cast<u32>(request.program_fd);
  attr.attach_type = static_cast<u32>(type);
  attr.attach_flags = flags;
  base::Fd program(::fcntl(request.program_fd, F_DUPFD_CLOEXEC, 0));  // undoing needs it: before anything is attached
  if (!program) return tl::unexpected(base::os_error(fmt::format("{}: duplicate the program", request.place)));
  const int status = bpf(uapi::Cmd::prog_attach, attr);
  if (status < 0) return tl::unexpected(bpf_error(uapi::Cmd::prog_attach, request.place, -status));
  request.session.note(
      fmt::format("{}: this kernel has no links for this hook; if skep is killed, the program stays until {}",
                  request.place, until));
  auto attachment = std::make_unique<Attachment>();
  attr.attach_bpf_fd = static_cast<u32>(program.get());
  attr.attach_flags = 0;
  attachment->hold(std::move(target));
  attachment->hold(std::move(program));
  attachment->undo_with([attr]() mutable { (void)bpf(uapi::Cmd::prog_detach, attr); });
  return attachment;
}

Result<base::Fd> sock_map(const AttachRequest& request, const std::string& name) {
  if (name.starts_with('/')) {
    uapi::ObjPath attr{address_of(name.c_str()), 0, 0};
    return bpf_fd(uapi::Cmd::obj_get, attr, fmt::format("{}: pinned map", request.place));
  }
  const KernelMap* const map = map_named(request, name);
  if (map == nullptr)
    return fail(Code::not_found, fmt::format("{}: this object has no map \"{}\"; a pinned one is named by its path",
                                             request.place, name));
  base::Fd copy(::fcntl(map->fd(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return tl::unexpected(base::os_error(fmt::format("{}: duplicate the map", request.place)));
  return copy;
}

}  // namespace

Attached attach_sock_map(const AttachRequest& request) {
  std::string name = request.hook.target;
  AttachType type = request.hook.attach_type();
  if (request.hook.kind == AttachKind::sk_skb) {  // the section does not say as what
    const auto [as, rest] = split_first(request.hook.target);
    const auto kind = AttachTarget::from_section(fmt::format("sk_skb/{}", as));
    if (!kind || kind->kind == AttachKind::sk_skb || rest.empty())
      return tl::unexpected(wrong_target(request, request.hook.target));
    type = kind->attach_type();
    name = rest;
  }
  auto map = SKEP_TRY(sock_map(request, name));
  uapi::LinkCreate attr{link_target(request, map.get(), type), 0};
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  if (link == -EBUSY) return tl::unexpected(link_error(request, EBUSY, "the map has such a program"));
  constexpr u32 first_with_links = 6u << 16 | 10u << 8;
  if (!is_unknown(-link) || Features::version_code() >= first_with_links)
    return tl::unexpected(link_error(request, -link, link == -EINVAL ? "the map is no sockmap or sockhash" : ""));
  return attach_without_link(request, std::move(map), type, 0, "`bpftool prog detach`");
}

Attached attach_infrared(const AttachRequest& request) {
  auto device = SKEP_TRY(open_path(request, request.hook.target, "device"));
  auto attached = attach_without_link(request, std::move(device), AttachType::lirc_mode2, 0, "the device goes");
  if (!attached && attached.error().os_error == EINVAL)
    attached.error().message += " (this is no infrared receiver, or the kernel has no CONFIG_BPF_LIRC_MODE2)";
  return attached;
}

Attached attach_cgroup(const AttachRequest& request) {
  std::string_view path = request.hook.target;
  AttachType type = request.hook.attach_type();
  if (request.hook.kind == AttachKind::cgroup_skb) {
    const auto [direction, rest] = split_first(path);
    if (rest.empty() || (direction != "ingress" && direction != "egress"))
      return tl::unexpected(wrong_target(request, path));
    type = direction == "egress" ? AttachType::cgroup_inet_egress : AttachType::cgroup_inet_ingress;
    path = rest;
  }
  auto group = SKEP_TRY(open_path(request, std::string(path), "control group"));
  uapi::LinkCreate attr{link_target(request, group.get(), type), 0};
  const int link = bpf(uapi::Cmd::link_create, attr);
  if (link >= 0) return std::make_unique<Attachment>(base::Fd(link));
  if (link == -EBADF)
    return tl::unexpected(link_error(request, EBADF, "this is no directory of a cgroup2 file system"));
  constexpr u32 first_with_links = 5u << 16 | 7u << 8;
  if (!is_unknown(-link) || Features::version_code() >= first_with_links)
    return tl::unexpected(
        link_error(request, -link, link == -EPERM ? "a program of the group above does not allow others" : ""));
  return attach_without_link(request, std::move(group), type, uapi::attach_flag_multi, "`bpftool cgroup detach`");
}

}  // namespace skep::kernel
