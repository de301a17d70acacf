// The functions of one file, by the address it is linked at: what an offset in it is called.
//
// Sixteen bytes are kept for a function; its name stays in the file and is read when it is asked for, so the symbol
// table of a browser costs 16 MiB and not 100. Both tables are used: .symtab, or that of a separate debug file where it
// was stripped, and .dynsym for what only that has.
// Source: System V ABI, chapter 4.
#pragma once
#include <memory>
#include <optional>
#include <skep/result.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "elf/file_image.hpp"

namespace skep::symbols {

/// A table of symbols as a search wants it.
class CodeSymbols {
 public:
  struct Found {
    std::string name;
    u64 offset = 0;  ///< from the beginning of the function
  };

  /// From the symbol table `table` of a file. Names are read from `strings` later on, which stays open.
  /// Errors: malformed, limit (more than four million functions), io.
  static Result<CodeSymbols> read(elf::FileImage& image, const elf::Section& table,
                                  std::shared_ptr<const base::Fd> strings);
  /// From a file that is wholly in memory and is copied: the vdso.
  static Result<CodeSymbols> read(const elf::File& file, const elf::Section& table);

  /// The function an address lies in; of several around it, the one that begins last. nullopt between functions.
  std::optional<Found> find(u64 address) const;
  std::size_t size() const noexcept { return entries_.size(); }
  u64 address(std::size_t index) const noexcept { return entries_[index].address; }
  std::string name(std::size_t index) const;
  std::size_t memory_bytes() const noexcept { return entries_.capacity() * sizeof(Entry) + name_bytes_.capacity(); }

 private:
  struct Entry {
    u64 address;
    u32 size;
    u32 name;
  };
  struct Ranked;
  Result<void> collect(const elf::SymbolTable& symbols, const elf::File& file);

  std::vector<Entry> entries_;
  std::shared_ptr<const base::Fd> names_;
  u64 names_offset_ = 0, names_size_ = 0;  ///< in the file
  std::vector<std::byte> name_bytes_;      ///< instead of the file
};

}  // namespace skep::symbols
