// The headers that programs include, carried inside the binary and written to the cache once.
#pragma once
#include <filesystem>
#include <skep/result.hpp>
#include <span>
#include <string>
#include <string_view>

#include "compile/cache.hpp"

namespace skep::compile {

struct EmbeddedHeader {
  std::string_view path;  ///< "bpf/bpf_helpers.h"
  std::string_view text;
};

/// Every header (written at build time by bpf/embed.cpp).
std::span<const EmbeddedHeader> embedded_headers() noexcept;
/// A name for all of their contents.
std::string_view embedded_digest() noexcept;

/// The directory in the cache that holds them. Errors: io.
Result<std::filesystem::path> header_directory(const Cache& cache);

/// What identifies the running kernel's types: its build id, or else its release and the size of its BTF; "" where it
/// has no BTF.
std::string kernel_types_id();

/// A directory with a vmlinux.h that describes the running kernel, made from its BTF at the first call.
/// Where the kernel has no BTF: skep's own small one; `note` says so. Errors: io, malformed.
Result<std::filesystem::path> vmlinux_directory(const Cache& cache, const std::filesystem::path& headers,
                                                std::string& note);

}  // namespace skep::compile
