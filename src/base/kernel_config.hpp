// How the running kernel was configured.
#pragma once
#include <skep/result.hpp>
#include <string>

namespace skep::base {

/// The running kernel's configuration as text: /proc/config.gz, /boot/config-RELEASE or, since Debian 14,
/// /lib/modules/RELEASE/config. Errors: not_found, naming the places; those of reading.
Result<std::string> kernel_config();

}  // namespace skep::base
