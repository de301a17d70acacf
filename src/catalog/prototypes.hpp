// What the verifier must know to let a program call a helper: argument kinds, result, who may call.
//
// One row per helper in helper_prototypes.def, next to its C declaration in helpers.def. A helper whose use the
// verifier cannot prove safe yet has a row too, with `unmodelled` where the knowledge is missing: a call to it is
// refused by name. A test fails when a helper has no row.
// Source: Linux 6.18, struct bpf_func_proto of each helper.
#pragma once
#include <array>

#include "catalog/helpers.hpp"
#include "catalog/program_classes.hpp"

namespace skep::catalog {

/// What an argument must be.
enum class Arg : u8 {
  none,         ///< the helper has fewer arguments
  anything,     ///< any initialised value
  ctx,          ///< the context, unmodified
  ctx_or_null,  ///< the context, or 0
  map,          ///< a map, as ld_imm64 gives it
  map_key,      ///< memory of the map's key size, readable
  map_value,    ///< memory of the map's value size, readable
  map_value_or_null,
  map_value_out,  ///< memory of the map's value size, filled by the helper
  read,           ///< memory to read; the next argument is its size
  read_or_null,
  write,  ///< memory the helper fills, need not be initialised; the next argument is its size
  write_or_null,
  modify,  ///< memory read and written; the next argument is its size
  size,    ///< size of the memory before it, not 0
  size_or_zero,
  alloc_size,   ///< a constant: size of the memory the helper returns
  record,       ///< a ring buffer record from reserve, at its start
  out_u32,      ///< 4 aligned bytes the helper fills
  out_u64,      ///< 8 aligned bytes the helper fills
  inout_u32,    ///< 4 aligned bytes, read and written
  read_20,      ///< exactly 20 readable bytes (IPv4 or TCP header)
  read_40,      ///< exactly 40 readable bytes (IPv6 header)
  string,       ///< a constant string in a read-only map
  spin_lock,    ///< the bpf_spin_lock inside a map value
  sock_common,  ///< any socket pointer
  socket,       ///< a full socket
  any_sock,     ///< any socket pointer, or a kernel socket
  task,         ///< a task_struct pointer
  task_or_null,
  object,  ///< a kernel structure: object_argument() says which
  object_or_null,
  percpu_object,      ///< a kernel variable, or an object in a map, of which each CPU has one
  callback,           ///< a static function of the program
  callback_ctx,       ///< what the callback gets: stack memory or 0
  timer,              ///< the bpf_timer inside a map value
  dynptr,             ///< an initialised dynptr
  dynptr_local,       ///< room for a dynptr over the memory in the first argument
  dynptr_new_record,  ///< room for a dynptr over a new ring buffer record
  dynptr_record,      ///< a dynptr over a ring buffer record, given back
  kptr_field,         ///< a pointer field of a map value or object that may own an object
  kptr_value,         ///< an owned object of that field's type, or 0
  unmodelled,         ///< not provable at this stage: a call is refused
};

/// What r0 holds afterwards.
enum class Returns : u8 {
  number,
  nothing,  ///< r0 becomes unreadable
  map_value_or_null,
  map_value,
  record_or_null,
  sock_common_or_null,
  socket_or_null,
  tcp_socket_or_null,
  task,
  object,  ///< a kernel structure: object_result() says which
  object_or_null,
  cpu_object,  ///< one CPU's of the variable passed
  cpu_object_or_null,
  dynptr_memory_or_null,
  kptr_or_null,
  unmodelled,
};

namespace helper_flags {
inline constexpr u16 gpl = 1;                ///< only for programs with a GPL-compatible licence
inline constexpr u16 moves_packet = 2;       ///< packet pointers are invalid afterwards
inline constexpr u16 acquires = 4;           ///< the result must be released
inline constexpr u16 releases = 8;           ///< the first referenced argument is released
inline constexpr u16 sleeps = 16;            ///< only for sleepable programs
inline constexpr u16 negative_or_size = 32;  ///< r0 is an errno, or at most the size argument
inline constexpr u16 takes_packet = 64;      ///< packet pointers may be passed as memory
}  // namespace helper_flags

struct Prototype {
  HelperId id;
  ProgramSet callers;
  u16 flags;
  Returns returns;
  std::array<Arg, 5> args;

  constexpr bool has(u16 flag) const { return (flags & flag) != 0; }
  constexpr bool is_modelled() const {
    for (Arg a : args)
      if (a == Arg::unmodelled) return false;
    return returns != Returns::unmodelled;
  }
  constexpr u32 arg_count() const {
    u32 count = 0;
    while (count < args.size() && args[count] != Arg::none) count++;
    return count;
  }
};

/// Prototypes in order of id.
std::span<const Prototype> prototypes() noexcept;
/// nullptr for an id without a row.
const Prototype* prototype(u32 id) noexcept;

/// The kernel structure that an `object` argument of a helper is, and that its result is; "" where there is none.
std::string_view object_argument(HelperId id) noexcept;
std::string_view object_result(HelperId id) noexcept;
/// Whether this helper, called by a program of this type, wants a socket where others pass the context.
bool takes_socket_for_context(HelperId id, ProgramType type) noexcept;

/// What an argument kind asks for, as a phrase: "a map", "memory to read".
std::string_view name_of(Arg arg) noexcept;

}  // namespace skep::catalog
