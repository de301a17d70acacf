// Words for block requests, and the option that picks one disk.
#pragma once
#include <array>
#include <string>

#include "kit/kit.hpp"

namespace skep::tools {

/// "Sync-Metadata-Read" of request.cmd_flags.
std::string block_flag_names(u32 flags);
/// 'R', 'W', 'F' for a flush ...; '?' for an operation that is not known.
char block_operation_letter(u32 flags);

/// The name of a disk as a program compares it. Errors: not_found.
Result<std::array<char, 32>> wanted_disk(const std::string& name);

}  // namespace skep::tools
