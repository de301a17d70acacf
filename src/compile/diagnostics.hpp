// Clang's words, with what skep knows about them added.
#pragma once
#include <string>
#include <string_view>

#include "compile/compile.hpp"

namespace skep::compile {

/// The text without a directory that means nothing to the user.
std::string hide_directory(std::string_view text, std::string_view directory);

/// The text with each error once: clang says of every store to a stack that is too large where it is, in the same
/// words.
std::string without_repetition(std::string_view text);

/// Sentences for errors that have a known cause, one line each; "" when nothing is known.
std::string advice(std::string_view diagnostics, Dialect dialect);

}  // namespace skep::compile
