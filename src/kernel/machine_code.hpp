// The running kernel's machine code, as far as it tells which function another one calls.
//
// A compiler may put a function's body into some of its callers and keep the function for others: a probe of it is set,
// and does not see their calls. Types and symbols do not tell; the code does, in /proc/kcore (root's).
// Source: fs/proc/kcore.c.
#pragma once
#include <filesystem>
#include <optional>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "symbols/kernel_symbols.hpp"

namespace skep::kernel {

inline constexpr const char* kcore_path = "/proc/kcore";

/// Those of `callers`, by the names that this kernel has for them ("do_fsync", or its clone "do_fsync.isra.0"), whose
/// code comes neither to `function` nor to another of `callers`: it has the function's body inside, or a clone of it.
/// Errors: permission, unsupported, io: why the code cannot be seen.
Result<std::vector<std::string>> callers_with_body_of(std::string_view function,
                                                      std::span<const std::string_view> callers,
                                                      const std::filesystem::path& symbols = symbols::kallsyms_path,
                                                      const std::filesystem::path& core = kcore_path);

inline constexpr u64 landing_bytes = 4;  // endbr64, bti: calls pass over what marks where indirect ones may land

/// Whether `code`, which lies at `address`, calls or jumps to `target`, or to one of the bytes `within` behind it.
bool has_call(std::span<const std::byte> code, u64 address, u64 target, u64 within = landing_bytes) noexcept;

/// Bytes of an image like /proc/kcore: ELF64 with a segment that holds `address`. Nothing where it does not.
std::optional<u64> core_offset(std::span<const std::byte> headers, u64 address, u64 bytes);

}  // namespace skep::kernel
