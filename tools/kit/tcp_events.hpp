// Events of tool_tcp.bpf.h.
#pragma once
#include <functional>

#include "kit/address.hpp"
#include "kit/kit.hpp"
#include "kit/tool_tcp.h"

namespace skep::tools {

/// `kinds`: of tcp_event_kind. Before kit.run().
void on_tcp_events(Kit& kit, u32 kinds, std::function<void(const tcp_event&)> handler);

/// The own address of a connection that failed, where the event has none. User engine: the socket has forgotten it when
/// connect() returns. The route chose it, as it does for a datagram socket of ours in the same network namespace.
void look_up_local_address(tcp_event& event);

/// "80,443" as a set of ports. Errors: invalid_argument.
Result<std::vector<u16>> port_list(const std::string& text);
/// Whether `port` is in the list, or the list is empty.
bool is_listed(const std::vector<u16>& ports, u16 port);

}  // namespace skep::tools
