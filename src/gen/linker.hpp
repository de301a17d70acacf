// The state of one link. Private to this room.
#pragma once
#include <map>
#include <memory>
#include <unordered_map>

#include "btf/ext.hpp"
#include "gen/elf_writer.hpp"
#include "gen/link.hpp"
#include "gen/type_merge.hpp"

namespace skep::gen {

/// Bounds on what crafted objects may cost together.
inline constexpr u64 largest_linked_bytes = 256u << 20;
inline constexpr u32 most_linked_sections = 0xfe00;  // section numbers above are reserved

/// Where a section of an input went.
struct Placed {
  u32 section = 0;  ///< of the output; 0: left out
  u64 offset = 0;
  bool repeated = false;  ///< a licence or version like the one that is there
};

/// A named symbol as one input has it.
struct Named {
  u32 input = 0;
  elf::Symbol symbol;
  u32 output = 0;    ///< symbol of the output
  u32 type_id = 0;   ///< var or func in the input's types; 0: untyped
  std::string home;  ///< the section of types that names it (".maps", ".ksyms"), or ""
  bool defined() const { return symbol.section != elf::index_undefined; }
};

struct Input {
  std::string name;
  elf::File file;
  elf::SymbolTable symbols;
  TypesOf types;  ///< may be null
  std::unique_ptr<btf::Ext> ext;
  std::vector<Placed> placed;                          ///< by section
  std::vector<u32> outputs;                            ///< by symbol; 0: none
  std::unordered_map<std::string_view, u32> sections;  ///< kept ones by name
};

class Linker {
 public:
  /// The linked file's bytes.
  Result<std::vector<std::byte>> link(std::span<const LinkInput> inputs);

 private:
  // linker.cpp: sections, symbols, relocations
  Result<void> open(const LinkInput& from);
  Result<void> place_sections(Input& input);
  Result<void> place_section(Input& input, const elf::Section& section);
  Result<void> add_symbols(u32 index);
  Result<void> add_named(u32 index, const elf::Symbol& symbol, std::string_view name);
  Result<void> merge(Named& known, const Named& other, std::string_view name);
  Result<void> check_types(const Named& a, const Named& b, std::string_view name) const;
  u32 section_symbol(u32 section);
  elf::Symbol moved(const Input& input, elf::Symbol symbol) const;
  Result<void> move_relocations(Input& input);
  Result<void> move_relocation(Input& input, const Placed& place, const elf::Section& target, elf::Relocation r);
  // link_types.cpp: .BTF and .BTF.ext
  void find_types(Named& named) const;
  Result<void> write_types();
  void gather_variables(TypeMerge& merge, u32 index, const btf::Type& datasec, std::vector<btf::SecVar>& out) const;
  std::vector<std::byte> annotations(const TypeMerge& merge, BtfBytes& types) const;

  std::vector<Input> inputs_;
  ElfWriter out_;
  std::map<std::string, u32, std::less<>> section_numbers_;
  std::map<std::string, Named, std::less<>> globals_;
  std::vector<std::pair<Named, std::string>> losers_;  ///< externs that were found, definitions that lost; their names
  std::unordered_map<u32, u32> section_symbols_;
  u64 total_bytes_ = 0;
};

}  // namespace skep::gen
