// What the verifier knows of one register (or of one spilled one): what kind of value it is, and its number.
//
// For a scalar, `number` is the value. For a pointer, the address is base + off + number: `off` is the part that
// is certain, `number` the part that varies. The meaning of id, object and extent depends on the kind; each field
// says which kinds use it.
#pragma once
#include <string_view>

#include "verify/domain/scalar.hpp"

namespace skep::verify {

enum class Kind : u8 {
  uninitialised,
  scalar,
  context,      ///< r1 at entry
  stack,        ///< `frame` says whose
  map,          ///< the map itself, from ld_imm64; `object` = index into ObjectSpec::maps
  map_value,    ///< inside a value of map `object`
  packet,       ///< inside [data, data_end); `extent` bytes from its base are proved present
  packet_meta,  ///< inside [data_meta, data)
  packet_end,
  memory,       ///< `extent` bytes of plain memory (ring buffer record, argument of a global function)
  sock_common,  ///< struct sock_common as struct bpf_sock shows it: the shared fields only
  socket,       ///< struct bpf_sock
  tcp_socket,   ///< struct bpf_tcp_sock
  xdp_socket,   ///< struct bpf_xdp_sock
  flow_keys,    ///< struct bpf_flow_keys
  tp_buffer,    ///< the writable buffer of a raw tracepoint
  task,         ///< struct task_struct, read by helpers only
  function,     ///< a callback: `object` = first instruction
  object,       ///< a structure with a type: `object` = index into the checker's types, `trust` says whose it is
  dynptr,       ///< the dynptr a callback gets; on the stack, a slot of one: `object` = its DynptrKind
  iterator,     ///< on the stack, a slot of an iterator: `object` = row of its family's `new`
  irq_flag,     ///< on the stack: saved interrupts
  arena,        ///< an address in the arena: every access is confined to it
};

/// How far a pointer to an object may be believed.
enum class Trust : u8 {
  none,
  trusted,        ///< alive: the kernel, or an acquired reference, keeps it
  rcu,            ///< alive inside the RCU section
  plain,          ///< read from a trusted object: may be read, and passed where no trust is asked for
  untrusted,      ///< may be stale: may be read, no more
  user,           ///< an address of a process: only helpers read it
  percpu,         ///< one of each CPU: a helper picks
  owned,          ///< made by bpf_obj_new() and held by nobody else (ref_id)
  owned_percpu,   ///< made by bpf_percpu_obj_new() and held by nobody else (ref_id): one of each CPU
  shared_percpu,  ///< such an object, read from a map inside the RCU section
  cpu_part,       ///< a CPU's part of it, alive inside the RCU section
  over,           ///< the program's own, from an RCU section that is over: nothing may be done with it
  shared,         ///< in a list or tree whose lock is held
};

/// What is no longer alive for sure when the RCU section ends.
constexpr bool ends_with_rcu(Trust trust) noexcept {
  return trust == Trust::rcu || trust == Trust::shared_percpu || trust == Trust::cpu_part;
}

std::string_view name_of(Kind kind) noexcept;

/// What a comparison said of a pointer into the packet that does not lie inside.
enum class PastEnd : u8 {
  unknown,
  reached,  ///< it is the end, or behind it
  passed,   ///< it is behind the end
};

struct Register {
  Kind kind = Kind::uninitialised;
  bool or_null = false;          ///< pointers: may be null; every copy shares `id`
  bool read_only = false;        ///< memory, map_value
  bool is_record = false;        ///< memory: a ring buffer record, at its start when off == 0; iterator: gives no more
  bool is_packet_slice = false;  ///< memory: may be a part of the packet, and goes when that moves
  Trust trust = Trust::none;     ///< object
  bool has_delta = false;        ///< scalar: `off` is its distance from the other scalars of `id`
  bool narrow_delta = false;     ///< ... in 32 bits: of numbers below 2^32, modulo 2^32
  PastEnd past_end = PastEnd::unknown;  ///< packet; until it moves
  u8 frame = 0;                         ///< stack
  s32 off = 0;
  u32 id = 0;  ///< scalar: equal (up to off) to those of the same id; or_null: one check frees all; packet: one range
  u32 ref_id = 0;  ///< the acquired reference this stands for, or 0
  u32 object = 0;  ///< map, map_value, function, object; memory: the dynptr it is a slice of, or 0;
                   ///< scalar: one more than the instruction that took a pointer's meaning away, or 0
  u32 extent = 0;  ///< memory: size; packet: proved bytes
  Scalar number = Scalar::of(0);

  bool is_scalar() const { return kind == Kind::scalar; }
  bool is_pointer() const { return kind > Kind::scalar; }
  bool is_const() const { return kind == Kind::scalar && number.is_const(); }
  bool is_zero() const { return is_const() && number.value() == 0; }
  bool is_packet() const { return kind == Kind::packet || kind == Kind::packet_meta; }
  /// Pointers that have no variable part.
  bool is_fixed() const { return number.is_const() && number.value() == 0; }

  /// Nothing ties a scalar to others any more.
  void unlink() {
    id = 0, off = 0;
    has_delta = narrow_delta = false;
  }

  static Register scalar(const Scalar& number) {
    Register r;
    r.kind = Kind::scalar;
    r.number = number;
    return r;
  }
  static Register unknown() { return scalar(Scalar::unknown()); }
  static Register constant(u64 value) { return scalar(Scalar::of(value)); }
  static Register pointer(Kind kind) {
    Register r;
    r.kind = kind;
    return r;
  }

  friend bool operator==(const Register&, const Register&) = default;
};

/// Memory that is nobody's for certain: it is read as if every load might fault, and passed to nobody. Where in it the
/// pointer points does not matter.
inline Register untrusted_memory() {
  Register r = Register::pointer(Kind::memory);
  r.trust = Trust::untrusted;
  r.read_only = true;
  return r;
}

inline bool is_untrusted_memory(const Register& r) { return r.kind == Kind::memory && r.trust == Trust::untrusted; }

/// What a register holds, for people: "scalar [0, 255]", "map_value(counter)+8".
std::string describe(const Register& r, std::string_view map_name);

}  // namespace skep::verify
