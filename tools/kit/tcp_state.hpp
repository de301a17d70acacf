// Names of TCP's states.
#pragma once
#include <array>
#include <skep/types.hpp>
#include <string>

namespace skep::tools {

/// "ESTABLISHED"; the number as text where it has none. Source: include/net/tcp_states.h.
inline std::string tcp_state_name(u32 state) {
  constexpr std::array<const char*, 14> names = {
      nullptr, "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",    "TIME_WAIT",
      "CLOSE", "CLOSE_WAIT",  "LAST_ACK", "LISTEN",   "CLOSING",   "NEW_SYN_RECV", "BOUND_INACTIVE"};
  return state < names.size() && names[state] != nullptr ? names[state] : std::to_string(state);
}

}  // namespace skep::tools
