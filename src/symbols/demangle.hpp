// Names as their language writes them: C++ (Itanium ABI), Rust's first scheme, which borrows it, and its second.
//
// The names come from files that anybody may have written. A mangled name of 200 bytes can stand for more text than
// fits into memory: where that could be, and where the text is longer than 8 KiB, the mangled name is given instead.
// Source: Itanium C++ ABI, chapter 5; rustc, compiler/rustc_symbol_mangling (legacy); rust_v0.hpp.
#pragma once
#include <string>
#include <string_view>

namespace skep::symbols {

/// "skep::verify(skep::Program const&)" of "_ZN4skep6verifyERKNS_7ProgramE"; names that are not mangled, too long or
/// broken come back as they are.
std::string demangle(std::string_view name);

}  // namespace skep::symbols
