// What the kernel asks of maps of each type when they are made.
#pragma once
#include <skep/spec.hpp>
#include <string_view>

namespace skep::kernel {

/// A clause for whoever was refused with EINVAL, which says no more: "keys of 4 bytes, ..."; "" where nothing is known
/// of the type.
std::string_view needs_of(MapType type) noexcept;

}  // namespace skep::kernel
