// rtnetlink: requests to it, the answers, and what older kernels need of it to attach programs to interfaces (XDP
// before 5.9, tc before 6.6).
//
// What is attached so hangs on the interface, not on a descriptor: undoing it is another request.
// Source: rtnetlink(7), include/uapi/linux/if_link.h (IFLA_XDP), pkt_cls.h (TCA_BPF), pkt_sched.h (clsact).
#pragma once
#include <linux/netlink.h>

#include <array>
#include <cstring>
#include <functional>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <span>
#include <string>

#include "base/fd.hpp"

namespace skep::kernel {

/// The number of a network device, or 0 where there is none of that name. (The C library takes the label of an address,
/// "eth0:something", for the device.)
u32 device_index(const std::string& name) noexcept;

/// A request: a header, a fixed part, attributes. Attributes nest by begin() and end(). Requests are a few numbers and
/// names: what does not fit into 1 KiB is left out, and the kernel refuses the rest.
class NetlinkRequest {
 public:
  /// `flags` beside NLM_F_REQUEST and NLM_F_ACK.
  template <class Fixed>
  NetlinkRequest(u16 type, u16 flags, const Fixed& fixed) {
    header().nlmsg_type = type;
    header().nlmsg_flags = static_cast<u16>(NLM_F_REQUEST | NLM_F_ACK | flags);
    header().nlmsg_len = NLMSG_LENGTH(0);
    add_fixed(fixed);
  }

  template <class Value>
  void add(u16 type, const Value& value) {
    put(type, &value, sizeof value);
  }
  void add_text(u16 type, const char* text) { put(type, text, std::strlen(text) + 1); }
  u32 begin(u16 type) {
    const u32 at = NLMSG_ALIGN(header().nlmsg_len);
    put(type, nullptr, 0);
    return at;
  }
  void end(u32 at) {
    const auto bytes = static_cast<u16>(header().nlmsg_len - at);
    std::memcpy(bytes_.data() + at, &bytes, sizeof bytes);
  }
  /// A structure inside of a nest, as IFLA_NETKIT_PEER_INFO begins with one.
  template <class Fixed>
  void add_fixed(const Fixed& fixed) {
    append(&fixed, sizeof fixed);
  }

  /// The whole message, numbered.
  std::span<const char> bytes(u32 sequence) {
    header().nlmsg_seq = sequence;
    return {bytes_.data(), header().nlmsg_len};
  }

 private:
  nlmsghdr& header() { return *reinterpret_cast<nlmsghdr*>(bytes_.data()); }
  void put(u16 type, const void* value, std::size_t bytes);
  void append(const void* value, std::size_t bytes);

  alignas(nlmsghdr) std::array<char, 1024> bytes_{};
};

using NetlinkBytes = std::span<const std::byte>;

/// A socket for requests, one after the other.
class Netlink {
 public:
  using OnMessage = std::function<void(u16 type, NetlinkBytes payload)>;

  static Result<Netlink> open();
  /// Sends a request and waits for the end of the answer: of a dump (NLM_F_DUMP), or its acknowledgement. `on_message`
  /// sees what comes before that.
  Result<void> ask(NetlinkRequest request, const OnMessage& on_message = {});

 private:
  explicit Netlink(base::Fd socket) : socket_(std::move(socket)) {}
  base::Fd socket_;
  u32 sequence_ = 0;
};

/// Calls `each(type, payload)` for the attributes in `bytes`, as far as their lengths fit.
void each_attribute(NetlinkBytes bytes, const std::function<void(u32 type, NetlinkBytes payload)>& each);

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
