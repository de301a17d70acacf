// Addresses as text.
#pragma once
#include <string>

#include "kit/tool_address.h"

namespace skep::tools {

/// "127.0.0.1", "::1"; "?" for a family that is neither.
std::string address_text(int family, const void* bytes);

inline std::string local_address(const tool_addresses& a) { return address_text(a.family, a.local); }
inline std::string remote_address(const tool_addresses& a) { return address_text(a.family, a.remote); }
/// 4, 6.
int ip_version(const tool_addresses& a);

}  // namespace skep::tools
