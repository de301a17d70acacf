// What a program is bound to when it is loaded: attach_btf_id and its owner.
#pragma once
#include <optional>
#include <skep/spec.hpp>

#include "base/fd.hpp"
#include "kernel/kernel_types.hpp"

namespace skep::kernel {

/// What a program is bound to when it is loaded: a function or type of the kernel, of a module, or of another BPF
/// program.
struct LoadTarget {
  base::Fd owner;             ///< of `type_id`: a program, or a module's types; closed: the kernel
  u32 type_id = 0;            ///< 0: bound to nothing
  std::optional<u32> member;  ///< struct_ops: which member of the type it is
};

/// Of `program`, one of the object's, for the hook that the kernel is asked for; empty for most. Errors: not_found,
/// unsupported, naming what this kernel lacks.
Result<LoadTarget> load_target(const ObjectSpec& object, const ProgramSpec& program, const AttachTarget& hook,
                               KernelTypes& types);

}  // namespace skep::kernel
