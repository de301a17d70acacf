// Turns an ELF object into an ObjectSpec, pass by pass. Private to this room.
//
// Each pass fills one part of the object from what earlier passes found: sections get a role, symbols become
// functions and externs, maps come from three dialects, and at the end every program is linked from the functions it
// reaches. Nothing asks the machine anything: the same bytes give the same spec everywhere.
// Source: libbpf's conventions (SEC names, .maps, .kconfig, .ksyms); kernel Documentation/bpf/llvm_reloc.rst.
#pragma once
#include <skep/spec.hpp>
#include <unordered_map>

#include "btf/btf.hpp"
#include "btf/builder.hpp"
#include "btf/ext.hpp"
#include "elf/elf.hpp"

namespace skep::spec {

// Bounds on what a crafted object may cost. Real objects stay far below: the largest in the corpora has 60,000
// instructions.
inline constexpr u64 largest_object_bytes = 64u << 20;
inline constexpr u64 largest_program_insns = 1'000'000;  // the kernel's own limit
inline constexpr u64 largest_total_insns = 4'000'000;
inline constexpr u64 largest_total_data_bytes = 64u << 20;
inline constexpr u64 largest_total_text_bytes = 128u << 20;
inline constexpr std::size_t most_maps = 16384;
inline constexpr u32 most_definition_members = 64;  // there are a dozen names
inline constexpr std::size_t most_config_values = 1024;

/// One function in an executable section.
struct Function {
  std::string_view name;
  u32 section = 0;
  u32 first = 0;  ///< instruction index within the section
  u32 count = 0;  ///< instructions
  bool is_global = false;
  bool is_entry = false;  ///< a program of its own
};

/// Something the object refers to and does not define.
struct Extern {
  enum class Kind : u8 { unknown, kconfig, ksym, kfunc };
  Kind kind = Kind::unknown;
  std::string_view name;
  u32 type_id = 0;  ///< kfunc: the func; kconfig and ksym: the variable's type; 0: untyped
  u32 offset = 0;   ///< kconfig: bytes into the .kconfig map
  bool weak = false;
};

/// A section of instructions.
inline bool is_code(const elf::Section& section) {
  return section.type == elf::section_progbits && section.executable() && section.size > 0;
}

/// ".struct_ops", ".struct_ops.link", and both with the question mark of what is made only when asked for.
inline bool is_struct_ops(std::string_view section) {
  return section.starts_with(".struct_ops") || section.starts_with("?.struct_ops");
}

class ObjectReader {
 public:
  ObjectReader(std::span<const std::byte> bytes, std::string_view name);
  Result<ObjectSpec> read();

 private:
  struct SymbolKey {
    u32 section;
    std::string_view name;
    bool operator==(const SymbolKey&) const = default;
  };
  struct SymbolKeyHash {
    std::size_t operator()(const SymbolKey& key) const {
      return std::hash<std::string_view>{}(key.name) * 31 + key.section;
    }
  };
  struct MapPlace {
    u32 section = 0;
    u64 offset = 0, size = 0;
    u32 map = 0;
    u64 values_offset = ~0ULL;  ///< bytes into a .maps definition where its static contents begin
  };
  /// The .BTF.ext records of one executable section.
  struct Annotations {
    std::vector<btf::FuncRecord> functions;
    std::vector<btf::LineRecord> lines;
    std::vector<btf::CoreRecord> core;
  };

  // object_reader.cpp: the frame
  Result<void> open();
  Result<void> read_license_and_version();
  Result<void> read_btf();
  Result<void> read_symbols();
  Result<void> add_symbol(const elf::Symbol& symbol, std::string_view name);
  Result<void> add_untyped_functions();
  Result<void> add_function(const elf::Symbol& symbol, std::string_view name);
  Result<void> read_annotations();
  Result<void> read_relocations();
  const elf::Section* section_at(u32 index) const;
  const elf::Section* section_named(std::string_view name) const;
  std::string place_of(u32 section, u64 offset) const;
  Result<void> take_data_bytes(u64 size, std::string_view section);
  Result<void> add_map(MapSpec map, MapPlace place);
  bool is_first_of_its_name(const elf::Section& section) const { return section_named(section.name) == &section; }

  // maps_btf.cpp
  Result<void> read_btf_maps();
  Result<void> read_map_variable(const elf::Section& section, const btf::SecVar& entry);
  Result<MapSpec> read_map_definition(const btf::Type& definition, std::string_view name, bool is_inner);
  Result<void> read_map_member(MapSpec& map, const btf::Member& member, bool is_inner);
  Result<void> read_map_values(MapSpec& map, const btf::Member& member, bool is_inner);
  Result<void> read_static_slots();
  Result<void> add_static_slot(const elf::Relocation& relocation, const elf::Section& section);
  Result<u64> number_of(u32 type_id) const;

  // maps_data.cpp
  Result<void> read_legacy_maps();
  Result<void> read_legacy_section(const elf::Section& section, bool one_map);
  Result<void> read_global_data();
  Result<void> read_legacy_extras(const base::ByteReader& reader, u64 record, u32 first,
                                  std::span<const elf::Symbol> symbols);
  Result<void> add_data_map(const elf::Section& section);
  Result<void> read_arena_data(const elf::Section& section);
  Result<void> read_struct_ops();
  Result<void> read_struct_ops_section(const elf::Section& section, u32 flags);
  std::string data_map_name(std::string_view section) const;
  const MapPlace* map_at(u32 section, u64 offset) const;

  // externs.cpp
  Result<void> read_externs();
  Result<void> lay_out_kconfig(u32 datasec_id);
  Result<void> complete_btf();
  void complete_section(btf::Builder& builder, u32 datasec_id);
  struct Ksyms;
  void complete_ksyms(btf::Builder& builder, u32 datasec_id, Ksyms& made);
  void complete_linkage(btf::Builder& builder);
  void complete_functions(btf::Builder& builder);

  // programs.cpp
  struct Link;
  Result<void> read_programs();
  void add_tail_call_slot(const ProgramSpec& program);
  Result<ProgramSpec> link_program(const Function& entry);
  Result<u32> append(Link& link, u32 function);
  Result<void> append_exception_callback(Link& link);
  Result<void> append_annotations(ProgramSpec& out, const Function& function, u32 start);
  Result<void> take_text_bytes(u64 size);
  Result<void> walk(Link& link);
  Result<void> relocate(Link& link, u32 function, u32 index, const elf::Relocation* relocation);
  Result<void> relocate_call(Link& link, u32 function, u32 index, const elf::Relocation* relocation);
  Result<void> relocate_address(Link& link, u32 function, u32 index, const elf::Relocation& relocation);
  Result<void> refer_to_extern(Link& link, u32 at, const elf::Symbol& symbol);
  Result<u32> function_starting_at(u32 section, u64 insn, const std::string& place) const;
  Result<elf::Symbol> symbol_at(u32 index, const std::string& place) const;

  std::span<const std::byte> bytes_;
  std::string_view raw_name_;
  std::optional<elf::File> file_;
  std::optional<elf::SymbolTable> symbols_;
  std::shared_ptr<const btf::Btf> btf_;  ///< as in the file
  ObjectSpec out_;

  std::unordered_map<std::string_view, u32> named_sections_;          ///< the first of each name
  std::unordered_map<u32, std::vector<elf::Symbol>> legacy_symbols_;  ///< of "maps" sections, by section index
  std::vector<elf::Symbol> untyped_code_symbols_;
  std::vector<Function> functions_;
  std::unordered_map<u64, u32> function_starts_;  ///< section << 32 | first insn -> index into functions_
  std::unordered_map<SymbolKey, u32, SymbolKeyHash> named_symbols_;
  std::unordered_map<std::string_view, Extern> externs_;
  std::unordered_map<u32, Annotations> annotations_;                   ///< by section index
  std::unordered_map<u32, std::vector<elf::Relocation>> relocations_;  ///< by section index, sorted by offset
  std::unordered_map<u32, std::string_view> exception_callbacks_;      ///< func type id -> name, from BTF tags
  std::unordered_map<u32, std::string_view> groups_;                   ///< func type id -> SKEP_ONE_OF's name
  std::vector<MapPlace> map_places_;                                   ///< sorted by section and offset
  std::unordered_map<u64, u32> program_arrays_;  ///< iproute2's map id -> index of the program array
  std::optional<u32> kconfig_map_;
  u64 data_bytes_ = 0, text_bytes_ = 0, name_bytes_ = 0, total_insns_ = 0;
};

}  // namespace skep::spec
