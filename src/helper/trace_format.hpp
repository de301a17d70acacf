// The kernel's format language of bpf_trace_printk, bpf_trace_vprintk and bpf_snprintf.
//
// Two steps, as in the kernel: prepare() checks the whole format and fetches what its arguments point to, so
// that a wrong format prints nothing; print() writes the text.
//
//   %d %i %u %x %X, with l or ll   numbers; without l the argument's lower 32 bits
//   %c                             a character
//   %s %pks %pus                   a string (kernel or user, kernel, user memory)
//   %p %pK %px                     a pointer (hashed, hashed, as it is)
//   %pB %ps %pS                    a symbol: here always the address, as the kernel prints one it does not know
//   %pi4 %pI4 %pi6 %pI6            an address in memory
//   %%
// Bytes beyond ASCII are text (UTF-8 passes), control characters other than white space are refused.
// Flags '0', '+', '-', ' ' and a width may precede any but %%.
// Source: kernel/bpf/helpers.c (bpf_bprintf_prepare), lib/vsprintf.c (bstr_printf).
#pragma once
#include <skep/types.hpp>
#include <span>
#include <string_view>

#include "helper/call.hpp"

namespace skep::helper {

class Format {
 public:
  static constexpr u32 max_arguments = 12;    // MAX_BPRINTF_VARARGS
  static constexpr u32 argument_bytes = 512;  // MAX_BPRINTF_BIN_ARGS: strings are cut to what is left of it

  /// `text` ends at its first zero byte, which must be inside. 0, -EINVAL (format), -ENOSPC (arguments too long).
  s64 prepare(Call& call, std::string_view text, std::span<const u64> arguments) noexcept;

  /// Writes at most `size` bytes with the terminator and returns the length of the whole text, without it.
  s64 print(char* to, u64 size) const noexcept;

 private:
  struct Conversion {
    enum class Kind : u8 { number, character, string, pointer, hashed_pointer, symbol } kind = Kind::number;
    bool zero = false, plus = false, left = false, space = false;
    bool is_signed = false, upper = false, wide = false;
    bool from_pointer = false;  ///< began with %p
    u32 base = 10;
    u32 width = 0;
    std::size_t end = 0;  ///< the first character after it
  };
  class Out;

  bool parse(std::size_t percent, Conversion& conversion) const noexcept;
  s64 fetch(Call& call, const Conversion& conversion, u64 argument) noexcept;
  s64 fetch_string(Call& call, char space, u64 address) noexcept;
  s64 fetch_ip(Call& call, bool upper, bool v6, u64 address) noexcept;
  s64 fetch_symbol(u64 address) noexcept;
  s64 pack(u64 value, u32 bytes, u32 alignment) noexcept;
  u64 unpack(u32& cursor, u32 bytes, u32 alignment) const noexcept;
  std::string_view unpack_text(u32& cursor) const noexcept;
  static void print_number(Out& out, const Conversion& conversion, u64 argument) noexcept;
  static void print_text(Out& out, const Conversion& conversion, std::string_view text) noexcept;
  static void print_symbol(Out& out, const Conversion& conversion, u64 address) noexcept;
  static void print_address(Out& out, Conversion conversion, u64 address, bool hashed) noexcept;

  char at(std::size_t i) const noexcept { return i < text_.size() ? text_[i] : '\0'; }

  std::string_view text_;
  u32 used_ = 0;  ///< of the argument bytes
  /// The arguments as the kernel packs them: numbers aligned to 4, strings with their terminators, characters.
  char bytes_[argument_bytes + 64];
};

}  // namespace skep::helper
