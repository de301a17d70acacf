// ELF64 little-endian files, read from hostile bytes: sections, segments, symbols, relocations, names.
//
// Every file skep looks into is read here: eBPF objects (ET_REL, EM_BPF) and, for user-space probes, the programs
// and libraries of the host. A File is a view: it owns only the section and segment tables, and lives as long as
// the bytes do.
//
// The idea: all offsets and counts are checked when a table is opened, so reading an entry cannot fail; names are
// looked up on demand and bounded, so that no crafted string table makes a scan quadratic. Overlapping sections
// are fine, because nothing is ever written.
// Source: System V ABI, chapters 4 and 5 (ELF-64); kernel Documentation/bpf/llvm_reloc.rst for EM_BPF.
#pragma once
#include <array>
#include <optional>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "base/byte_reader.hpp"

namespace skep::elf {

// e_type, e_machine
inline constexpr u16 type_relocatable = 1;
inline constexpr u16 machine_x86_64 = 62, machine_bpf = 247;
// sh_type
inline constexpr u32 section_progbits = 1, section_symtab = 2, section_strtab = 3, section_rela = 4, section_nobits = 8,
                     section_note = 7, section_rel = 9, section_dynsym = 11, section_symtab_shndx = 18;
// sh_flags
inline constexpr u64 flag_write = 1, flag_alloc = 2, flag_exec = 4;
// symbol types and bindings
inline constexpr u8 symbol_notype = 0, symbol_object = 1, symbol_func = 2, symbol_section = 3, symbol_file = 4,
                    symbol_ifunc = 10;  ///< its value is the code that chooses the function (GNU)
inline constexpr u8 bind_local = 0, bind_global = 1, bind_weak = 2;
inline constexpr u8 visibility_default = 0, visibility_internal = 1, visibility_hidden = 2;
// p_type, p_flags
inline constexpr u32 segment_load = 1, segment_interpreter = 3, segment_executable = 1;
// special section indices of symbols
inline constexpr u32 index_undefined = 0, index_absolute = 0xfff1, index_common = 0xfff2;

struct Section {
  u32 index = 0;
  std::string_view name;
  u32 type = 0;
  u64 flags = 0;
  u64 address = 0;
  u64 offset = 0;
  u64 size = 0;  ///< bytes in the file; in memory only for section_nobits
  u32 link = 0;
  u32 info = 0;
  u64 alignment = 0;
  u64 entry_size = 0;

  bool executable() const { return (flags & flag_exec) != 0; }
};

struct Segment {
  u32 type = 0, flags = 0;
  u64 offset = 0, address = 0, size_file = 0, size_memory = 0, alignment = 0;
};

struct Symbol {
  u32 index = 0;
  u32 name_offset = 0;
  u8 type = symbol_notype;
  u8 binding = bind_local;
  u8 visibility = visibility_default;
  u32 section = index_undefined;  ///< index of its section, extended indices resolved
  u64 value = 0;
  u64 size = 0;
};

struct Relocation {
  u64 offset = 0;
  u32 type = 0;
  u32 symbol = 0;
  s64 addend = 0;  ///< 0 in section_rel tables, where the addend lies in the relocated bytes
};

/// An opened symbol table. A view into the file.
class SymbolTable {
 public:
  u32 size() const { return count_; }
  Symbol at(u32 index) const;  ///< index < size()
  /// The symbol's name; "" when its offset is out of range or the name is longer than 16 KiB.
  std::string_view name(const Symbol& symbol) const;

 private:
  friend class File;
  std::span<const std::byte> entries_, strings_, extended_;
  u32 count_ = 0;
};

/// An opened relocation table. A view into the file.
class RelocationTable {
 public:
  u64 size() const { return count_; }
  Relocation at(u64 index) const;  ///< index < size()

 private:
  friend class File;
  std::span<const std::byte> entries_;
  u64 count_ = 0;
  bool with_addend_ = false;
};

class File {
 public:
  /// Reads the header and the tables of sections and segments. Errors: malformed (not ELF, or a table outside
  /// the file), unsupported (32-bit or big-endian).
  static Result<File> parse(std::span<const std::byte> bytes);

  u16 type() const { return type_; }
  u16 machine() const { return machine_; }
  u64 entry() const { return entry_; }
  std::span<const Section> sections() const { return sections_; }
  std::span<const Segment> segments() const { return segments_; }
  /// First section with that name, or nullptr.
  const Section* section(std::string_view name) const;

  /// The section that holds the names of sections, or nullptr.
  const Section* names() const { return names_ < sections_.size() && names_ != 0 ? &sections_[names_] : nullptr; }

  /// Where the tables of sections and segments lie, for readers that fetch a file piece by piece: parse() reads the
  /// header, these, and the contents of names(). `bytes` is as long as the file; what was not fetched yet is zero, so
  /// ask again after fetching the first section, which may hold the real count. Errors: as parse().
  struct Range {
    u64 offset = 0, size = 0;
  };
  static Result<std::array<Range, 2>> tables(std::span<const std::byte> bytes);

  /// The section's bytes in the file: empty for section_nobits. Errors: malformed.
  Result<std::span<const std::byte>> contents(const Section& section) const;
  /// Opens a table of type section_symtab or section_dynsym. Errors: malformed.
  Result<SymbolTable> symbols(const Section& table) const;
  /// Opens a table of type section_rel or section_rela. Errors: malformed.
  Result<RelocationTable> relocations(const Section& table) const;

 private:
  Result<void> read_sections(u64 offset, u16 entry_size, u16 count, u16 names_index);
  Result<void> read_segments(u64 offset, u16 entry_size, u16 count);
  Result<std::span<const std::byte>> string_table(u32 index) const;

  base::ByteReader bytes_{{}};
  u16 type_ = 0, machine_ = 0;
  u32 names_ = 0;
  u64 entry_ = 0;
  std::vector<Section> sections_;
  std::vector<Segment> segments_;
};

}  // namespace skep::elf
