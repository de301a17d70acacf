// What the user engine does not attach, and where it exists instead.
#pragma once
#include <optional>
#include <skep/result.hpp>
#include <skep/spec.hpp>

namespace skep::user {

/// Why a program of this type cannot be attached to this target here, or nothing when the system call hooks decide.
/// The sentence names the hook and where it is found.
std::optional<Error> refuse_attach(ProgramType type, const AttachTarget& target);

}  // namespace skep::user
