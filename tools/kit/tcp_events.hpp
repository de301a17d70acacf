// Events of tool_tcp.bpf.h, made whole: in the user engine the local address is asked of the socket itself.
#pragma once
#include <functional>
#include <map>

#include "kit/address.hpp"
#include "kit/kit.hpp"
#include "kit/tool_tcp.h"

namespace skep::tools {

class TcpEvents {
 public:
  /// `kinds`: of tcp_event_kind. Before kit.run().
  TcpEvents(Kit& kit, u32 kinds, std::function<void(const tcp_event&)> handler);

 private:
  void complete(tcp_event& event);
  Kit& kit_;
  std::function<void(const tcp_event&)> handler_;
  std::map<u64, tool_addresses> known_;  ///< by process and descriptor
};

/// "80,443" as a set of ports. Errors: invalid_argument.
Result<std::vector<u16>> port_list(const std::string& text);
/// Whether `port` is in the list, or the list is empty.
bool is_listed(const std::vector<u16>& ports, u16 port);

}  // namespace skep::tools
