// Dynptrs: memory whose size only the run knows, with a window over it.
//
// A program keeps one in 16 bytes of its stack that the verifier guards, so its layout is ours. It stands over local
// memory (a map value), a ring buffer record, or a packet; of a packet it holds the context, because helpers may move
// the packet between two uses. Every use asks the window first and then, of packets, the packet.
// Source: Linux 6.18, struct bpf_dynptr_kern and kernel/bpf/helpers.c.
#pragma once
#include <skep/types.hpp>

namespace skep::helper {

struct Dynptr {
  enum class Over : u8 { nothing, memory, record, skb, xdp };

  std::byte* data = nullptr;  ///< memory, or a packet's context; nullptr: a null dynptr
  u32 size : 24 = 0;          ///< of the window
  u32 over : 7 = 0;           ///< Over
  u32 read_only : 1 = 0;
  u32 offset = 0;  ///< of the window

  static constexpr u64 most_bytes = (1u << 24) - 1;  // Linux DYNPTR_MAX_SIZE

  static Dynptr of(Over over, void* data, u64 size, bool read_only = false) noexcept {
    Dynptr made;
    made.data = static_cast<std::byte*>(data);
    made.size = static_cast<u32>(size) & most_bytes;
    made.over = static_cast<u32>(over) & 0x7f;
    made.read_only = read_only ? 1 : 0;
    return made;
  }
  bool holds(u64 at, u64 length) const noexcept { return length <= size && at <= size - length; }
  /// The bytes themselves, or nullptr: outside of the window, or of the packet as it is now.
  std::byte* bytes(u32 at, u64 length) const noexcept;
  s64 read(std::byte* to, u64 length, u32 at, u64 flags) const noexcept;
  s64 write(u32 at, const std::byte* from, u64 length, u64 flags) const noexcept;
};
static_assert(sizeof(Dynptr) == 16);

}  // namespace skep::helper
