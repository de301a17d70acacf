// Events of tool_tcp.bpf.h.
#pragma once
#include <functional>

#include "kit/address.hpp"
#include "kit/kit.hpp"
#include "kit/tool_tcp.h"

namespace skep::tools {

/// `kinds`: of tcp_event_kind. Before kit.run().
void on_tcp_events(Kit& kit, u32 kinds, std::function<void(const tcp_event&)> handler);

/// "80,443" as a set of ports. Errors: invalid_argument.
Result<std::vector<u16>> port_list(const std::string& text);
/// Whether `port` is in the list, or the list is empty.
bool is_listed(const std::vector<u16>& ports, u16 port);

}  // namespace skep::tools
