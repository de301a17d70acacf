// One line of C, as far as an explanation needs it: the expression at a column, its parts, declarations.
//
// Line information gives a line's text and a column; it names no variables. The compiler's columns are those of its
// expressions, though: the name behind `->` or `.` of a member, the beginning of `a[i]` and of a call, the `*` of a
// dereference, the operator of a sum. Reading outwards from there finds what the programmer calls the value.
// The text comes from a file somebody made: nothing is believed of it, and an answer may be empty.
#pragma once
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::verify::c_line {

/// The expression that begins, or has its member name or operator, at `column` (1-based): "ip->addr[i]", "*p",
/// "data + off". For a call its callee's name; empty for keywords and anything else.
std::string expression_at(std::string_view text, u32 column);

/// What is dereferenced: "a" of "a->b", "a[i]", "*a"; "a->b" of "a->b->c". Empty where nothing is.
std::string pointer_of(std::string_view expression);
/// What stands in the last brackets, if it is not a number: "i" of "a->b[i]".
std::string index_of(std::string_view expression);

/// What the index is applied to: "a->b" of "a->b[i]".
std::string array_of(std::string_view expression, std::string_view index);

/// The left side of the line's assignment or initialisation, without its type: "p" of "struct x *p = f();". Of several
/// the one of the statement or declarator at `column`
/// (1-based), else the first.
std::string assigned(std::string_view text, u32 column = 0);
/// The arguments of the first call of `callee` on the line, split at its commas. Empty where it does not end there.
std::vector<std::string> arguments_of(std::string_view text, std::string_view callee);
/// The type in a declaration of `name` on this line: "struct tcphdr *" of "struct tcphdr *tcp = x;". Empty if it is
/// none.
std::string declared_type(std::string_view text, std::string_view name);

/// "__u32", "unsigned int", "size_t"; false for what is signed and for what is not known.
bool is_unsigned(std::string_view type);
/// What is true of a variable that has none of the numbers 0 to `most`: "i < 0 || i > 63", "i > 63" where it is
/// unsigned.
std::string is_outside(std::string_view name, std::string_view type, std::string_view most);
bool is_identifier(std::string_view text);
/// "x" of "(long)x" and of "(void *)(long)x".
std::string_view without_cast(std::string_view expression);
/// "x" of "&x"; anything else as it is.
std::string_view addressed(std::string_view expression);
/// Whether a loop's head stands on the line: "for (", "while (", "bpf_for(", "do {".
bool heads_loop(std::string_view text);
/// Where `name` stands as a word of its own; npos where it does not.
std::size_t word_at(std::string_view text, std::string_view name);
/// Whether `name` occurs as a word of its own.
bool mentions(std::string_view text, std::string_view name);
std::string_view trimmed(std::string_view text);
/// Control characters (a terminal would obey them) and bytes that are no UTF-8 text written as \xNN; tabs as a space.
std::string printable(std::string_view text);
/// The same for every line of a text.
std::string printable_lines(std::string_view text);

}  // namespace skep::verify::c_line
