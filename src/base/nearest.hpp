// The name that somebody may have meant.
#pragma once
#include <span>
#include <string_view>

namespace skep::base {

/// The candidate nearest to `wanted` by edit distance (Levenshtein's), or "" when none is near enough to be a slip: at
/// most a third of the letters differ. A case slip ("Hello" for "hello") costs one like any other.
std::string_view nearest(std::string_view wanted, std::span<const std::string_view> candidates);

}  // namespace skep::base
