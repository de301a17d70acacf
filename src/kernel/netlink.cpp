// Building rtnetlink requests, reading their answers.
#include "kernel/netlink.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/fd.hpp"

namespace skep::kernel {

namespace {

/// One request: a header, a fixed part, attributes. Attributes nest by begin() and end().
class Request {
 public:
  template <class Fixed>
  Request(u16 type, u16 flags, const Fixed& fixed) {
    header().nlmsg_type = type;
    header().nlmsg_flags = static_cast<u16>(NLM_F_REQUEST | NLM_F_ACK | flags);
    header().nlmsg_len = NLMSG_LENGTH(sizeof fixed);
    std::memcpy(bytes_.data() + NLMSG_HDRLEN, &fixed, sizeof fixed);
  }

  template <class Value>
  void add(u16 type, const Value& value) {
    put(type, &value, sizeof value);
  }
  void add_text(u16 type, const char* text) { put(type, text, std::strlen(text) + 1); }
  u32 begin(u16 type) {
    const u32 at = header().nlmsg_len;
    put(type, nullptr, 0);
    return at;
  }
  void end(u32 at) {
    const auto bytes = static_cast<u16>(header().nlmsg_len - at);
    std::memcpy(bytes_.data() + at, &bytes, sizeof bytes);
  }

  std::span<const char> bytes() { return {bytes_.data(), header().nlmsg_len}; }

 private:
  nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(bytes_.data()); }
  void put(u16 type, const void* value, std::size_t bytes) {
    const u32 at = NLMSG_ALIGN(header().nlmsg_len);
    const rtattr attribute{static_cast<u16>(RTA_LENGTH(bytes)), type};
    std::memcpy(bytes_.data() + at, &attribute, sizeof attribute);
    if (bytes != 0) std::memcpy(bytes_.data() + at + RTA_LENGTH(0), value, bytes);
    header().nlmsg_len = at + static_cast<u32>(RTA_ALIGN(RTA_LENGTH(bytes)));
  }

  alignas(nlmsghdr) std::array<char, 512> bytes_{};
};

/// Sends a request and waits for its acknowledgement. `on_answer` sees a message that came before it (NLM_F_ECHO).
template <class OnAnswer>
Result<void> send(Request request, OnAnswer&& on_answer) {
  const base::Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (socket.get() < 0) return tl::unexpected(base::os_error("open an rtnetlink socket"));
  const auto bytes = request.bytes();
  if (::send(socket.get(), bytes.data(), bytes.size(), 0) < 0) return tl::unexpected(base::os_error("rtnetlink: send"));
  alignas(nlmsghdr) std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t count = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return tl::unexpected(base::os_error("rtnetlink: receive"));
    auto left = static_cast<u32>(count);
    for (auto* message = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(message, left);
         message = NLMSG_NEXT(message, left)) {
      if (message->nlmsg_type != NLMSG_ERROR) {
        on_answer(*message);
        continue;
      }
      const auto* answer = static_cast<const nlmsgerr*>(NLMSG_DATA(message));
      if (answer->error == 0) return {};
      return tl::unexpected(base::os_error("rtnetlink", -answer->error));
    }
  }
}
Result<void> send(const Request& request) {
  return send(request, [](const nlmsghdr&) {});
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

Result<void> set_xdp(int interface, int program_fd, u32 flags, int expected_fd) {
  ifinfomsg message{};
  message.ifi_family = AF_UNSPEC;
  message.ifi_index = interface;
  Request request(RTM_SETLINK, 0, message);
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
  Request qdisc(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, qdisc_message(interface));
  qdisc.add_text(TCA_KIND, "clsact");
  if (auto made = send(qdisc); !made) {
    if (made.error().os_error != EEXIST) return tl::unexpected(std::move(made).error());
    made_qdisc = false;
  }
  Request filter(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, filter_message(place));
  filter.add_text(TCA_KIND, "bpf");
  const u32 nest = filter.begin(TCA_OPTIONS | NLA_F_NESTED);
  filter.add(TCA_BPF_FD, static_cast<u32>(program_fd));
  filter.add_text(TCA_BPF_NAME, "skep");
  filter.add(TCA_BPF_FLAGS, static_cast<u32>(TCA_BPF_FLAG_ACT_DIRECT));
  filter.end(nest);
  // The kernel chooses handle and priority and tells them in the echo.
  auto added = send(filter, [&](const nlmsghdr& answer) {
    if (answer.nlmsg_type != RTM_NEWTFILTER || answer.nlmsg_len < NLMSG_LENGTH(sizeof(tcmsg))) return;
    const auto* told = static_cast<const tcmsg*>(NLMSG_DATA(&answer));
    place.handle = told->tcm_handle;
    place.priority = TC_H_MAJ(told->tcm_info) >> 16;
  });
  if (added && place.handle != 0) return place;
  if (made_qdisc) (void)send(Request(RTM_DELQDISC, 0, qdisc_message(interface)));
  if (!added) return tl::unexpected(std::move(added).error());
  return fail(Code::unsupported, "rtnetlink: the kernel did not say which filter it made");
}

Result<void> remove_tc(const TcPlace& place) {
  // The qdisc stays: others may have put filters there since, and an empty one does nothing.
  return send(Request(RTM_DELTFILTER, 0, filter_message(place)));
}

}  // namespace skep::kernel
