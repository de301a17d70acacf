// The version of the running kernel.
#pragma once
#include <cstddef>
#include <optional>
#include <skep/types.hpp>
#include <span>
#include <string_view>

namespace skep::base {

/// As LINUX_VERSION_CODE has it: major << 16 | minor << 8 | patch, which is at most 255. 0 where nobody says.
///
/// Distributions keep the release of their first build in `uname -r` (Debian's 5.10.0-32-amd64 is Linux 5.10.223), so
/// the kernel's own note in the vDSO, which every process has, is asked first.
u32 kernel_version_code();

/// A release as such a code, for rows that say since when something is so.
constexpr u32 release(u32 major, u32 minor) noexcept { return major << 16 | minor << 8; }

/// The code in an ELF image's note of the owner "Linux" and type 0, or nullopt.
/// Source: arch/x86/entry/vdso/vdso-note.S, arch/arm64/kernel/vdso/note.S.
std::optional<u32> version_in_notes(std::span<const std::byte> image);

/// "5.10.0-32-amd64" is 5.10.0; what is no number reads as 0.
u32 version_of_release(std::string_view release);

}  // namespace skep::base
