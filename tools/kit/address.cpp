// inet_ntop(3) behind one name.
#include "kit/address.hpp"

#include <arpa/inet.h>

namespace skep::tools {

std::string address_text(int family, const void* bytes) {
  char text[INET6_ADDRSTRLEN];
  const char* known = ::inet_ntop(family, bytes, text, sizeof text);
  return known != nullptr ? known : "?";
}

int ip_version(const tool_addresses& a) { return a.family == AF_INET6 ? 6 : 4; }

}  // namespace skep::tools
