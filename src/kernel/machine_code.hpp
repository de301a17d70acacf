// The running kernel's machine code, as far as it tells which function another one calls.
//
// A compiler may put a function's body into its callers and keep the function for others: a probe of it is set, and is
// not reached. Types and symbols do not tell; the code does, in /proc/kcore (root's). Source: fs/proc/kcore.c.
#pragma once
#include <optional>
#include <skep/types.hpp>
#include <span>
#include <string_view>

namespace skep::kernel {

/// Whether the function `caller` calls, or ends with a jump to, one of these. Nothing where that cannot be seen: a name
/// that is not there, hidden addresses, no /proc/kcore.
std::optional<bool> calls_one_of(std::string_view caller, std::span<const std::string_view> functions);

/// Whether `code`, which lies at `address`, calls or jumps to `target`, or the first bytes behind it: calls pass over
/// the instruction that marks where indirect ones may land.
bool has_call(std::span<const std::byte> code, u64 address, u64 target) noexcept;

/// Bytes of an image like /proc/kcore: ELF64 with a segment that holds `address`. Nothing where it does not.
std::optional<u64> core_offset(std::span<const std::byte> headers, u64 address, u64 bytes);

}  // namespace skep::kernel
