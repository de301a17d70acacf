// Names of Rust's second mangling scheme, "_RNvNtC3foo3bar3baz", as the source has them.
//
// Rust's first scheme looks like a C++ name and goes the way of those. The second is a small language: paths and types
// in prefix form, with references to earlier places of the same name. Source: Rust RFC 2603, "Symbol Name Mangling v0".
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace skep::symbols {

/// nullopt: not such a name, or one that stands for more than `longest` bytes.
std::optional<std::string> rust_v0_name(std::string_view mangled, std::size_t longest);

}  // namespace skep::symbols
