// A traced process's socket, looked at through a copy of its descriptor (pidfd_getfd(2), Linux 5.6), which needs no
// more rights than tracing it does. The process may have closed it by then.
#pragma once
#include <skep/types.hpp>

#include "kit/tool_address.h"

namespace skep::tools {

/// Both ends of the socket and its protocol (IPPROTO_*). False, and `out` as it was: no IPv4 or IPv6 socket, or not to
/// be seen.
bool look_at_socket(u32 pid, int descriptor, tool_addresses& out, u32& protocol);

}  // namespace skep::tools
