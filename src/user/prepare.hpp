// From what a file says to what the user engine can verify.
//
// An ObjectSpec is the same on every machine; this step answers what it leaves open, from the user engine's point of
// view: where fields are (target_types.hpp), what __kconfig externs hold, which program type an attach target
// means. What only a kernel has is refused by name here, before the verifier sees it.
#pragma once
#include <skep/result.hpp>
#include <skep/spec.hpp>

#include "verify/verify.hpp"

namespace skep::user {

/// The resolved spec that verify::verify() takes, with every program that `spec` has.
/// Errors: unsupported (kernel symbols and functions, configuration values; each names what and where it exists),
/// those of spec::apply_core.
Result<ObjectSpec> prepare(const ObjectSpec& spec);

/// What this engine verifies by: its rules, and which helpers it has.
verify::Options engine_rules();

}  // namespace skep::user
