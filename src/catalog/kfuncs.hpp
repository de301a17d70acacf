// Kernel functions ("kfuncs") that programs call by name: what the verifier must know to let them.
//
// One row per function in kfuncs.def, as helper_prototypes.def has them for helpers. Where a helper's prototype is
// part of the UAPI, a kernel function's is part of one kernel's types; the rows below hold for Linux 6.18. Functions
// that have a body in the user engine (helper/kfuncs.def) are the same in both engines.
// Source: Linux 6.18, the BTF_KFUNCS tables of kernel/bpf/*.c and net/core/filter.c.
#pragma once
#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "catalog/program_classes.hpp"

namespace skep::catalog {

enum class KfuncId : u16 {
#define SKEP_KFUNC(name, ...) name,
#include "catalog/kfuncs.def"
#undef SKEP_KFUNC
};

/// What an argument must be.
enum class KfuncArg : u8 {
  none,
  hidden,           ///< the engine passes what it likes: the program's value does not count
  number,           ///< any number
  constant,         ///< a number the verifier knows
  anything,         ///< number or pointer
  ctx,              ///< the context
  map,              ///< a map, as ld_imm64 gives it
  read,             ///< memory to read; the next argument is its size
  write,            ///< memory to fill; the next argument is its size
  buffer,           ///< memory of the next argument's (constant) size, or 0: where a slice is copied to if need be
  size_or_zero,     ///< size of the memory before it; kernel functions all take 0
  size,             ///< the same; the memory is not null, whatever its size
  fixed,            ///< memory of `bytes`, read and written
  string,           ///< where a string begins, whose end the function finds; Linux checks it only when it runs
  constant_string,  ///< a string in a map's value that nobody can change
  dynptr,           ///< an initialised dynptr
  dynptr_or_null,
  dynptr_new,  ///< room for a dynptr on the stack
  iterator,    ///< the iterator of this function's family on the stack
  object,      ///< a trusted pointer to a kernel `type`
  object_or_null,
  local,            ///< what bpf_obj_new() or a graph function returned, owned
  local_or_shared,  ///< the same, owned or not
  local_percpu,     ///< what bpf_percpu_obj_new() returned, owned
  local_type,       ///< a constant: the program's own type
  list_head,
  list_node,
  rb_root,
  rb_node,
  rb_node_linked,  ///< a node that is in a tree
  workqueue,       ///< the bpf_wq of a map value
  task_work,       ///< the bpf_task_work of a map value
  deferred,        ///< a static function that runs later with a map, a key and a value
  less,            ///< a static function that compares two nodes
  irq_flag,        ///< 8 bytes of stack for the interrupt state
  irq_flag_saved,
  resilient_lock,  ///< the bpf_res_spin_lock of a map value or of an object of the program's own
};

/// What r0 holds afterwards.
enum class KfuncResult : u8 {
  number,
  nothing,
  boolean,
  object,        ///< a kernel `type`
  local,         ///< a new object of the program's own type
  local_percpu,  ///< a new one of each CPU
  same_local,    ///< another reference to the object passed
  list_node,     ///< the object behind a list head, owned
  rb_node,       ///< the object behind a list head or a tree, not owned
  rb_node_owned,
  number_pointer,  ///< the iterator's number
  slice,           ///< memory of the size of the `buffer` argument
  context,         ///< the kernel's own context structure
  cast,            ///< an untrusted pointer to the type named by a constant
  arena,           ///< an address in the arena
};

namespace kfunc_flags {
inline constexpr u16 acquires = 1;  ///< the result must be released
inline constexpr u16 releases = 2;  ///< the first object argument is released
inline constexpr u16 or_null = 4;   ///< the result may be null
inline constexpr u16 sleeps = 8;    ///< only for sleepable programs
inline constexpr u16 rcu = 16;      ///< objects may be RCU-protected ones
inline constexpr u16 iter_new = 32;
inline constexpr u16 iter_next = 64;
inline constexpr u16 iter_destroy = 128;
inline constexpr u16 under_lock = 256;   ///< may be called while a spin lock is held
inline constexpr u16 plain = 512;        ///< objects need not be trusted (no KF_TRUSTED_ARGS)
inline constexpr u16 rcu_result = 1024;  ///< the object is valid inside the RCU section only
inline constexpr u16 read_only = 2048;   ///< the slice may not be written
inline constexpr u16 throws = 4096;
inline constexpr u16 moves_packet = 16384;  ///< packet pointers mean nothing afterwards
inline constexpr u16 untrusted = 32768;     ///< the object may be gone: it may be read, and passed to nobody
inline constexpr u16 may_fail = 8192;       ///< takes a lock and returns 0, or takes none and returns a negative error
}  // namespace kfunc_flags

struct KfuncParameter {
  KfuncArg kind = KfuncArg::none;
  u16 bytes = 0;               ///< fixed
  std::string_view type = {};  ///< object: "task_struct"
};

struct Kfunc {
  KfuncId id;
  std::string_view name;
  ProgramSet callers;
  u16 flags;
  KfuncResult result;
  std::string_view type;  ///< of the result; of an iterator: its family ("num")
  std::array<KfuncParameter, 5> args;

  constexpr bool has(u16 flag) const { return (flags & flag) != 0; }
  constexpr u32 arg_count() const {
    u32 count = 0;
    while (count < args.size() && args[count].kind != KfuncArg::none) count++;
    return count;
  }
};

std::span<const Kfunc> kfuncs() noexcept;
/// nullptr where no row has this name. A flavour ("bpf_task_acquire___new") is the function without it.
const Kfunc* kfunc_by_name(std::string_view name) noexcept;
/// What an argument kind asks for, as a phrase.
std::string_view name_of(KfuncArg arg) noexcept;

/// Slots of 8 bytes that an iterator of this family takes on the stack; 0: there is no such family.
u32 iterator_slots(std::string_view family) noexcept;

}  // namespace skep::catalog
