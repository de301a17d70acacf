// Writes relocatable eBPF objects: sections, symbols and relocations in, a file out.
//
// The caller's symbols are numbered in the order they are added; the file has local ones first, as ELF wants it, and
// relocations are renumbered to fit.
// Source: System V ABI, chapter 4.
#pragma once
#include <string>
#include <vector>

#include "elf/elf.hpp"

namespace skep::gen {

struct OutSection {
  std::string name;
  u32 type = elf::section_progbits;
  u64 flags = 0;
  u64 alignment = 1;
  u64 size = 0;  ///< bytes in memory; of section_nobits nothing is in the file
  std::vector<std::byte> bytes;
  std::vector<elf::Relocation> relocations;  ///< `symbol` counts as add_symbol() does
};

class ElfWriter {
 public:
  /// Numbers begin at 1, as section 0 is none.
  u32 add_section(OutSection section);
  OutSection& section(u32 index) { return sections_[index - 1]; }
  std::size_t section_count() const { return sections_.size(); }
  /// Numbers begin at 1. `symbol.section` is a number of add_section(), or elf::index_undefined.
  u32 add_symbol(elf::Symbol symbol, std::string_view name);
  elf::Symbol& symbol(u32 index) { return symbols_[index - 1].symbol; }
  std::vector<std::byte> finish() const;

 private:
  struct Named {
    elf::Symbol symbol;
    std::string name;
  };
  std::vector<OutSection> sections_;
  std::vector<Named> symbols_;
};

}  // namespace skep::gen
