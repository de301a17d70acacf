// Text that somebody else wrote, on its way to a terminal: a terminal obeys control characters.
//
// Names of processes, of files, of types in an object, of functions in a library are anybody's. Whoever prints one
// sends it through here, or through JsonWriter, which escapes the same characters in JSON's way.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace skep::base {

/// Bytes of the valid UTF-8 sequence at the start of `text`, which is not empty; 0 where none begins.
/// Source: RFC 3629 (no overlong forms, no surrogates, nothing beyond U+10FFFF).
std::size_t utf8_length(std::string_view text) noexcept;

/// Whether the sequence at the start of `text` is a control character: U+0000 to U+001F, U+007F to U+009F.
bool begins_with_control(std::string_view text) noexcept;

/// Control characters and bytes that are not UTF-8 as \n, \t, \x1b, \xff; everything else as it is.
std::string printable(std::string_view text);

/// The same for text of whole lines that holds what others wrote: newlines and tabs stay.
std::string printable_text(std::string text);

}  // namespace skep::base
