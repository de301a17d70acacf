// Contexts whose layout is a function of the kernel: BTF tracepoints, fentry, LSM hooks, iterators, struct_ops.
//
// Such a program gets the arguments of the function it stands in for, eight bytes each. What they are is in the
// kernel's types; which of them may be null, and which may be believed, is not: a row here says so.
// Source: Linux 6.18, btf_ctx_access, bpf_iter_reg of each iterator, nf_is_valid_access.
#pragma once
#include <optional>
#include <skep/spec.hpp>
#include <string>
#include <vector>

#include "verify/register.hpp"

namespace skep::btf {
class Btf;
}

namespace skep::verify {

/// One argument in the context.
struct TypedArgument {
  enum class What : u8 {
    number,   ///< also pointers to anything but a structure
    object,   ///< a pointer to the structure `type`
    buffer,   ///< memory whose size is known at attachment (iterators over maps)
    refused,  ///< floating point, arrays
  };
  What what = What::number;
  Trust trust = Trust::none;
  bool or_null = false;
  bool read_only = false;   ///< buffer
  bool is_pointer = false;  ///< by its type, whatever it may be used for: read whole
  u32 offset = 0, size = 8;
  u32 type = 0;                                ///< object: id in the kernel's types
  std::optional<std::pair<s64, s64>> range{};  ///< number: what it may be
};

struct TypedContext {
  std::string name;                ///< "the arguments of tcp_congestion_ops.init"
  std::string operations, member;  ///< of a struct_ops program: "tcp_congestion_ops", "init"
  std::vector<TypedArgument> arguments;
  bool returns_nothing = false;
  bool refused = false;  ///< the operation of this name takes no program, or none that sleeps
  /// Values it may return; unset: whatever the program type says.
  std::optional<std::pair<s64, s64>> returns;
};

/// The context of `program`, or nothing where its target is not in the kernel's types (or its type has no such
/// context).
std::optional<TypedContext> typed_context(const ProgramSpec& program, const ObjectSpec& object, const btf::Btf& kernel);

/// Of a program without a context although its type has one: the target that the kernel's types lack, "function tcp_x";
/// "" where something else is missing.
std::string missing_target(const ProgramSpec& program);
/// Why nothing is known of a struct_ops program.
std::string unknown_operation(const ProgramSpec& program, const ObjectSpec& object, const btf::Btf* kernel);

}  // namespace skep::verify
