// User statically defined tracepoints: the notes that <sys/sdt.h> leaves in a program.
//
// Each note names a provider, a probe, the address of a nop, perhaps a semaphore (a counter that says whether anybody
// looks), and where the arguments are at that point, in the assembler's words: "-4@%edi 8@16(%rbp) 8@$5".
// Source: systemtap's sys/sdt.h, "UserSpaceProbeImplementation"; libbpf's usdt.c for the layout of argument specs.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "elf/elf.hpp"

namespace skep::elf {

/// One place of a tracepoint: a name may have several.
struct UsdtNote {
  std::string provider, name;
  std::string arguments;     ///< as the note has them
  u64 file_offset = 0;       ///< of the nop
  u64 semaphore_offset = 0;  ///< in the file; 0: none
  u64 address = 0;           ///< of the nop, linked
};

/// Every tracepoint of a program or library, in the file's order. Errors: malformed.
Result<std::vector<UsdtNote>> usdt_notes(const File& file);

/// Where an argument is when the tracepoint is hit.
struct UsdtArgument {
  enum class Kind : u8 { constant, reg, memory };
  Kind kind = Kind::constant;
  u8 bytes = 8;
  bool is_signed = false;
  std::string reg;    ///< "rdi": the 64-bit register (memory: the base, "" for none)
  std::string index;  ///< memory: the index register, or ""
  u8 scale = 1;       ///< memory: 1, 2, 4, 8
  s64 number = 0;     ///< constant: the value; memory: the displacement
};

/// Reads a note's arguments (x86-64 and arm64 assembler syntax). Errors: unsupported, naming the operand.
Result<std::vector<UsdtArgument>> usdt_arguments(std::string_view text);

}  // namespace skep::elf
