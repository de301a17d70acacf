// What the attach type decides beyond the program type: rows of attach_rules.def.
#pragma once
#include <skep/spec.hpp>

#include "catalog/helpers.hpp"

namespace skep::catalog {

/// Whether a program attached there goes without `helper` although its type may call it.
bool withheld_at(HelperId helper, AttachType attach) noexcept;
/// Whether a program attached there may call `helper` although its type may not.
bool granted_at(HelperId helper, const AttachTarget& attach) noexcept;
/// The same of a struct_ops program that is a member of one of the kernel's structures.
bool granted_to(HelperId helper, std::string_view operations, std::string_view member) noexcept;
/// Whether a tracing program there, which is not an iterator, may call `helper` although only some functions' may.
bool is_callable_at(HelperId helper, std::string_view function) noexcept;
/// Whether the field at `offset` of the type's context exists for a program attached there.
bool has_field_at(ProgramType type, u32 offset, AttachType attach) noexcept;

}  // namespace skep::catalog
