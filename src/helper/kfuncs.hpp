// The kernel functions that the user engine has, by name.
#pragma once
#include <string_view>

#include "base/run.hpp"

namespace skep::helper {

/// The body of the kernel function of that name (a flavour "name___x" is the function), or nullptr.
base::HelperFn kfunc(std::string_view name) noexcept;

}  // namespace skep::helper
