// Building rtnetlink requests, reading their answers.
//
// Answers come from the kernel, and are read as carefully as a file: each length against what is there.
#include "kernel/netlink.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace skep::kernel {

u32 device_index(const std::string& name) noexcept {
  return name.find(':') == name.npos ? ::if_nametoindex(name.c_str()) : 0;
}

namespace {

/// One request by a socket of its own.
Result<void> send(const NetlinkRequest& request, const Netlink::OnMessage& on_message = {}) {
  auto netlink = SKEP_TRY(Netlink::open());
  return netlink.ask(request, on_message);
}

constexpr u32 clsact_parent = TC_H_CLSACT, clsact_handle = TC_H_MAKE(TC_H_CLSACT, 0);

tcmsg qdisc_message(int interface) {
  tcmsg message{};
  message.tcm_family = AF_UNSPEC;
  message.tcm_ifindex = interface;
  message.tcm_handle = clsact_handle;
  message.tcm_parent = clsact_parent;
  return message;
}

tcmsg filter_message(const TcPlace& place) {
  tcmsg message{};
  message.tcm_family = AF_UNSPEC;
  message.tcm_ifindex = place.interface;
  message.tcm_handle = place.handle;
  message.tcm_parent = TC_H_MAKE(TC_H_CLSACT, place.egress ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS);
  message.tcm_info = TC_H_MAKE(place.priority << 16, htons(ETH_P_ALL));
  return message;
}

}  // namespace

void NetlinkRequest::put(u16 type, const void* value, std::size_t bytes) {
  const rtattr attribute{static_cast<u16>(RTA_LENGTH(bytes)), type};
  append(&attribute, sizeof attribute);
  append(value, bytes);
}

void NetlinkRequest::append(const void* value, std::size_t bytes) {
  const u32 at = NLMSG_ALIGN(header().nlmsg_len);
  if (at + bytes > bytes_.size()) return;
  if (bytes != 0) std::memcpy(bytes_.data() + at, value, bytes);
  header().nlmsg_len = at + static_cast<u32>(bytes);
}

Result<Netlink> Netlink::open() {
  base::Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket) return tl::unexpected(base::os_error("open an rtnetlink socket"));
  const timeval patience{2, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return Netlink(std::move(socket));
}

Result<void> Netlink::ask(NetlinkRequest request, const OnMessage& on_message) {
  const auto bytes = request.bytes(++sequence_);
  if (::send(socket_.get(), bytes.data(), bytes.size(), 0) < 0)
    return tl::unexpected(base::os_error("rtnetlink: send"));
  std::vector<std::byte> buffer(1u << 16);
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(base::os_error("rtnetlink: receive"));
    NetlinkBytes rest(buffer.data(), static_cast<std::size_t>(got));
    while (rest.size() >= sizeof(nlmsghdr)) {
      nlmsghdr head{};
      std::memcpy(&head, rest.data(), sizeof head);
      if (head.nlmsg_len < sizeof head || head.nlmsg_len > rest.size())
        return fail(Code::malformed, "rtnetlink: an answer's length does not fit");
      const NetlinkBytes payload = rest.subspan(NLMSG_HDRLEN, head.nlmsg_len - NLMSG_HDRLEN);
      rest = rest.subspan(std::min<std::size_t>(rest.size(), NLMSG_ALIGN(head.nlmsg_len)));
      if (head.nlmsg_seq != sequence_) continue;
      if (head.nlmsg_type == NLMSG_DONE) return {};
      if (head.nlmsg_type == NLMSG_ERROR) {
        int error = -EBADMSG;
        if (payload.size() >= sizeof error) std::memcpy(&error, payload.data(), sizeof error);
        if (error == 0) return {};
        return tl::unexpected(base::os_error("rtnetlink", -error));
      }
      if (on_message) on_message(head.nlmsg_type, payload);
    }
  }
}

void each_attribute(NetlinkBytes bytes, const std::function<void(u32 type, NetlinkBytes payload)>& each) {
  while (bytes.size() >= sizeof(rtattr)) {
    rtattr head{};
    std::memcpy(&head, bytes.data(), sizeof head);
    if (head.rta_len < sizeof head || head.rta_len > bytes.size()) return;
    each(static_cast<u32>(head.rta_type & NLA_TYPE_MASK), bytes.subspan(sizeof head, head.rta_len - sizeof head));
    bytes = bytes.subspan(std::min<std::size_t>(bytes.size(), RTA_ALIGN(head.rta_len)));
  }
}

Result<void> set_xdp(int interface, int program_fd, u32 flags, int expected_fd) {
  ifinfomsg message{};
  message.ifi_family = AF_UNSPEC;
  message.ifi_index = interface;
  NetlinkRequest request(RTM_SETLINK, 0, message);
  const u32 nest = request.begin(IFLA_XDP | NLA_F_NESTED);
  request.add(IFLA_XDP_FD, program_fd);
  if (expected_fd >= 0) {
    request.add(IFLA_XDP_EXPECTED_FD, expected_fd);
    flags |= XDP_FLAGS_REPLACE;
  }
  if (flags != 0) request.add(IFLA_XDP_FLAGS, flags);
  request.end(nest);
  return send(request);
}

Result<TcPlace> add_tc(int interface, bool egress, int program_fd) {
  TcPlace place{interface, egress, 0, 0};
  bool made_qdisc = true;
  NetlinkRequest qdisc(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, qdisc_message(interface));
  qdisc.add_text(TCA_KIND, "clsact");
  if (auto made = send(qdisc); !made) {
    if (made.error().os_error != EEXIST) return tl::unexpected(std::move(made).error());
    made_qdisc = false;
  }
  NetlinkRequest filter(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, filter_message(place));
  filter.add_text(TCA_KIND, "bpf");
  const u32 nest = filter.begin(TCA_OPTIONS | NLA_F_NESTED);
  filter.add(TCA_BPF_FD, static_cast<u32>(program_fd));
  filter.add_text(TCA_BPF_NAME, "skep");
  filter.add(TCA_BPF_FLAGS, static_cast<u32>(TCA_BPF_FLAG_ACT_DIRECT));
  filter.end(nest);
  // The kernel chooses handle and priority and tells them in the echo.
  auto added = send(filter, [&](u16 type, NetlinkBytes answer) {
    tcmsg told{};
    if (type != RTM_NEWTFILTER || answer.size() < sizeof told) return;
    std::memcpy(&told, answer.data(), sizeof told);
    place.handle = told.tcm_handle;
    place.priority = TC_H_MAJ(told.tcm_info) >> 16;
  });
  if (added && place.handle != 0) return place;
  if (made_qdisc) (void)send(NetlinkRequest(RTM_DELQDISC, 0, qdisc_message(interface)));
  if (!added) return tl::unexpected(std::move(added).error());
  return fail(Code::unsupported, "rtnetlink: the kernel did not say which filter it made");
}

Result<void> remove_tc(const TcPlace& place) {
  // The qdisc stays: others may have put filters there since, and an empty one does nothing.
  return send(NetlinkRequest(RTM_DELTFILTER, 0, filter_message(place)));
}

}  // namespace skep::kernel
