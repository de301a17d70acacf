// Running one classic filter on one packet: in the kernel, and translated in the user engine in both forms.
#pragma once
#include <random>
#include <skep/result.hpp>
#include <span>
#include <string>
#include <vector>

#include "spec/classic.hpp"

namespace skep::classic_test {

using Filter = std::vector<spec::ClassicInsn>;
using Packet = std::vector<std::byte>;

/// A socket with the filter attached (SO_ATTACH_FILTER, no privileges needed).
class KernelFilter {
 public:
  static Result<KernelFilter> attach(const Filter& filter);
  KernelFilter(KernelFilter&& other) noexcept;
  ~KernelFilter();
  /// Bytes of the packet that pass: 0 when it is dropped.
  Result<u32> run(const Packet& packet);

 private:
  KernelFilter(int in, int out) : in_(in), out_(out) {}
  int in_ = -1, out_ = -1;
};

/// The filter translated, verified and linked.
class UserFilter {
 public:
  static Result<UserFilter> make(const Filter& filter, ProgramType type);
  /// The filter's return value.
  u32 run(Packet packet) const;

 private:
  struct Data;
  std::shared_ptr<const Data> data_;
};

/// tcpdump's translation of an expression for Ethernet. Errors: not_found (no tcpdump), invalid_argument.
Result<Filter> compile_expression(const std::string& expression);

/// A filter that check_classic() accepts: forward jumps, initialised scratch words, loads in and around a packet of
/// `packet_bytes`.
Filter random_filter(std::mt19937_64& random, u32 packet_bytes);

/// Ethernet frames with ARP, IPv4, IPv6, VLAN, TCP, UDP, ICMP, fragments, options, and some that are cut off.
std::vector<Packet> sample_packets();

}  // namespace skep::classic_test
