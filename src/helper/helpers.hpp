// The helper functions of the user engine, by helper id.
#pragma once
#include <skep/types.hpp>
#include <span>

#include "base/run.hpp"

namespace skep::helper {

/// The run that a helper gets is a helper::Call.
using base::HelperFn;

/// The table the user engine links programs with: index = helper id (catalog/helpers.def), null where this engine has
/// none.
std::span<const HelperFn> table() noexcept;

}  // namespace skep::helper
