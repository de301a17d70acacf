// Where the functions of a program or library lie in its file: what a user-space probe is set on.
//
// A probe is set on a file at an offset, for every process that maps it. The symbol tables (.symtab, which may be
// stripped, and .dynsym) give addresses; the segment that an address lies in gives the offset.
// Source: System V ABI, chapter 5; Documentation/trace/uprobetracer.rst.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "elf/elf.hpp"

namespace skep::elf {

struct Function {
  std::string name;
  u64 file_offset = 0;
  u64 size = 0;  ///< bytes; 0 where the file does not say
};

/// Functions whose name `wanted` accepts, sorted by offset, each place once. Versions ("name@VERSION") are cut off.
/// `chosen`: where the function is that an indirect one (STT_GNU_IFUNC) stands for; without an answer it is left out.
/// Errors: malformed; unsupported for objects that are not linked; limit.
Result<std::vector<Function>> functions(const File& file, const std::function<bool(std::string_view)>& wanted,
                                        const std::function<std::optional<u64>(const std::string&)>& chosen = {});
/// Why functions() may have found none of this name, or which name (`near`, if any) may be meant: for a message.
std::string why_no_function(const File& file, std::string_view name, std::string_view near = {});

/// The name of the function that a symbol's code belongs to: what compilers put aside as seldom run ("f.cold") is
/// jumped to from the middle of f.
constexpr std::string_view without_cold(std::string_view symbol) noexcept {
  return symbol.substr(0, symbol.find(".cold"));
}

/// Whoever asks for many addresses asks this before: file_offset() looks at every segment. Errors: malformed (more than
/// Linux loads).
Result<void> check_segments(const File& file);
/// The offset in the file of an address of the linked program; nullopt where no segment holds it.
std::optional<u64> file_offset(const File& file, u64 address);
/// The other way: the address of the linked program that a byte of the file is loaded at. Executable segments come
/// first, because what is mapped is rounded to pages and may show bytes of a neighbour. nullopt where none holds it.
std::optional<u64> loaded_address(std::span<const Segment> segments, u64 file_offset);

}  // namespace skep::elf
