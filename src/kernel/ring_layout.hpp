// What the records of BPF ring buffers look like, in both directions. Source: kernel/bpf/ringbuf.c.
#pragma once
#include <fmt/core.h>

#include <skep/backend.hpp>

#include "kernel/mapping.hpp"

namespace skep::kernel {

/// A record begins with its length and these bits; the header's other half is the kernel's.
inline constexpr u32 ring_busy = 1u << 31, ring_discarded = 1u << 30, ring_header_bytes = 8;

/// What a record of `bytes` takes, header and padding included.
inline u64 ring_record_bytes(u32 bytes) noexcept { return (u64{bytes} + ring_header_bytes + 7) / 8 * 8; }

/// Bytes of data. Errors: malformed.
inline Result<u64> ring_size(const MapInfo& info) {
  const u64 size = info.max_entries;
  if (size != 0 && (size & (size - 1)) == 0 && size % page_bytes() == 0) return size;
  return fail(Code::malformed, fmt::format("{} bytes; expected a power of two of whole pages", size));
}

}  // namespace skep::kernel
