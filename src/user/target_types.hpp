// The user engine's own BTF: what CO-RE resolves against instead of a kernel's.
//
// Built from target_types.def and the helper table: programs may ask which fields, structures and helpers there
// are (`bpf_core_field_exists`, `bpf_core_enum_value_exists(enum bpf_func_id, ...)`), and get this engine's
// answer.
#pragma once
#include <memory>
#include <skep/result.hpp>

#include "btf/btf.hpp"

namespace skep::user {

/// The types; made at the first call (about 0.1 ms).
Result<std::shared_ptr<const btf::Btf>> target_types();

}  // namespace skep::user
