// The helper functions of the user engine, by helper id.
#pragma once
#include <skep/types.hpp>
#include <span>

namespace skep::helper {

/// Same shape as vm::HelperFn: `call` is a helper::Call*.
using HelperFn = u64 (*)(void* call, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept;

/// The table the user engine links programs with: index = helper id (catalog/helpers.def), null where this engine has
/// none.
std::span<const HelperFn> table() noexcept;

}  // namespace skep::helper
