// Program contexts: what r1 points to when a program starts, field by field.
//
// contexts/*.def holds one file per UAPI structure. A field row says where it is, how wide, what a load of it
// yields, and which program types may read or write it.
//
// The engine's own layout. Some UAPI fields are pointers squeezed into 32 bits: xdp_md.data reads as a u32 in C,
// and yields a 64-bit packet pointer. The kernel rewrites such loads; our user engine keeps the UAPI structure
// as it is and puts 64-bit slots behind it:
//
//   struct context { UAPI structure, padded to 8; u64 data; u64 data_end; u64 data_meta; };   (struct __sk_buff)
//
// `native` is that slot's offset. The verifier reports every load of such a field (VerifiedProgram::context_loads),
// and the linker turns it into an 8-byte load at `native`. A field with native < 0 is loaded where it stands.
// user engine: allocate `engine_size` bytes, fill the UAPI part, then the slots.
// Source: include/uapi/linux/bpf.h; Linux 6.18 *_is_valid_access functions.
#pragma once
#include <span>
#include <string_view>

#include "catalog/program_classes.hpp"

namespace skep::catalog {

/// What a load of a field yields, and how it may be accessed.
enum class Field : u8 {
  number,  ///< loads of the field's width or narrower, aligned; stores of the full width
  exact,   ///< only the full width
  array,   ///< like number, at any aligned width up to 8 inside
  words,   ///< an array of u32: loads like array, stores of one word or of two
  port,    ///< a 16-bit number in 32 bits: the whole, or inside its first two bytes
  packet,  ///< 64-bit pointer to the packet
  packet_end,
  packet_meta,
  socket,  ///< struct bpf_sock *
  socket_or_null,
  sock_common_or_null,
  flow_keys,
};

struct ContextField {
  std::string_view name;
  u16 offset = 0;
  u16 size = 0;  ///< bytes
  Field kind = Field::number;
  ProgramSet readers = 0;
  ProgramSet writers = 0;
  s16 native = -1;  ///< offset of the 64-bit slot in the engine's layout, or -1
};

/// How a context without named fields is read: plain words.
struct ContextWords {
  u16 first = 0;  ///< lowest offset that may be read
  u16 size = 0;   ///< bytes
  bool writable = false;
};

struct Context {
  std::string_view name;  ///< "struct xdp_md"
  u16 size = 0;           ///< bytes of the UAPI structure
  u16 engine_size = 0;    ///< bytes the user engine allocates
  std::span<const ContextField> fields;
  ContextWords words;  ///< used when `fields` is empty
};

/// The context of a program type, or nullptr where it has none that can be verified yet.
const Context* context_of(ProgramType type) noexcept;

/// The kernel's own structure behind a program's context ("sk_buff" of a struct __sk_buff), or "".
std::string_view kernel_context(ProgramType type) noexcept;

/// Fields of what a socket pointer points to (struct bpf_sock, struct bpf_tcp_sock, struct bpf_flow_keys).
const Context& bpf_sock_fields() noexcept;
const Context& bpf_tcp_sock_fields() noexcept;
const Context& bpf_xdp_sock_fields() noexcept;
const Context& bpf_flow_keys_fields() noexcept;

/// Values a program may return.
struct ReturnRange {
  bool checked = false;  ///< false: anything, also a pointer
  s64 low = 0, high = 0;
};
ReturnRange return_range(ProgramType type, AttachType attach) noexcept;

}  // namespace skep::catalog
