// How many bytes a CPU mask of the user engine has: one bit for every possible CPU, in whole words.
#pragma once
#include <skep/types.hpp>

namespace skep::helper {

u32 cpumask_bytes() noexcept;

}  // namespace skep::helper
