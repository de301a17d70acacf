// /proc/config.gz is unpacked; other places are read as they are.
#include "base/kernel_config.hpp"

#include <fmt/format.h>
#include <sys/utsname.h>

#include "base/gunzip.hpp"
#include "base/mapped_file.hpp"

namespace skep::base {

Result<std::string> kernel_config() {
  constexpr const char* packed = "/proc/config.gz";
  struct utsname names{};
  ::uname(&names);
  const std::string places[] = {fmt::format("/boot/config-{}", names.release),
                                fmt::format("/lib/modules/{}/config", names.release)};
  if (const auto bytes = read_file(packed, 16u << 20)) return gunzip(*bytes);
  for (const std::string& place : places)
    if (auto text = read_text(place, 16u << 20)) return *std::move(text);
  return fail(Code::not_found,
              fmt::format("this kernel's configuration is in none of {} (CONFIG_IKCONFIG_PROC), {}, {}", packed,
                          places[0], places[1]));
}

}  // namespace skep::base
