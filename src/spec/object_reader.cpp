// The frame of reading an object: its passes in order, then sections, symbols, types and relocation tables.
#include "spec/object_reader.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_set>

#include "base/mapped_file.hpp"
#include "base/sort_by.hpp"

namespace skep::spec {
namespace {

constexpr u64 longest_names_bytes = 64u << 20;

std::string_view base_name(std::string_view path) {
  const auto slash = path.rfind('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  return path.substr(0, path.find('.'));
}

}  // namespace

ObjectReader::ObjectReader(std::span<const std::byte> bytes, std::string_view name) : bytes_(bytes), raw_name_(name) {}

Result<ObjectSpec> ObjectReader::read() {
  SKEP_TRY(open());                      // sections and the symbol table; the object's name
  SKEP_TRY(read_license_and_version());  //
  SKEP_TRY(read_btf());                  // types, before anything that is described by them
  SKEP_TRY(read_symbols());              // functions, named places, undefined names
  SKEP_TRY(read_annotations());          // functions, lines and CO-RE records by section
  SKEP_TRY(read_relocations());          // by the section they change
  SKEP_TRY(read_legacy_maps());          // SEC("maps")
  SKEP_TRY(read_btf_maps());             // SEC(".maps")
  SKEP_TRY(read_global_data());          // .data, .rodata, .bss, arena
  SKEP_TRY(read_externs());              // .kconfig (a map too) and .ksyms
  SKEP_TRY(read_struct_ops());           // tables of programs
  std::sort(map_places_.begin(), map_places_.end(), [](const MapPlace& a, const MapPlace& b) {
    return std::pair(a.section, a.offset) < std::pair(b.section, b.offset);
  });
  // From here on the maps and their order are fixed: references name them by index.
  SKEP_TRY(read_static_slots());  // contents of maps of maps, program arrays, struct_ops
  SKEP_TRY(read_programs());      // every program, linked with the functions it reaches
  SKEP_TRY(complete_btf());       // section sizes, offsets, linkage: what the kernel insists on
  return std::move(out_);
}

Result<void> ObjectReader::open() {
  if (bytes_.size() > largest_object_bytes)
    return fail(Code::limit,
                fmt::format("an object of {} bytes; skep reads up to {}", bytes_.size(), largest_object_bytes));
  file_ = SKEP_TRY(elf::File::parse(bytes_));
  if (file_->type() != elf::type_relocatable)
    return fail(Code::unsupported,
                fmt::format("ELF type {}: expected a relocatable object (1), as clang -c writes", file_->type()));
  if (file_->machine() != elf::machine_bpf && file_->machine() != 0)
    return fail(Code::unsupported,
                fmt::format("ELF machine {}: expected BPF (247); compile with clang -target bpf", file_->machine()));
  out_.name = base_name(raw_name_);
  for (const auto& section : file_->sections()) named_sections_.try_emplace(section.name, section.index);
  for (const auto& section : file_->sections()) {
    if (section.type != elf::section_symtab) continue;
    symbols_ = SKEP_TRY(file_->symbols(section));
    break;
  }
  if (!symbols_) return fail(Code::malformed, "no symbol table: the object was stripped with -s; use llvm-strip -g");
  return {};
}

const elf::Section* ObjectReader::section_at(u32 index) const {
  return index < file_->sections().size() ? &file_->sections()[index] : nullptr;
}

const elf::Section* ObjectReader::section_named(std::string_view name) const {
  const auto found = named_sections_.find(name);
  return found == named_sections_.end() ? nullptr : section_at(found->second);
}

std::string ObjectReader::place_of(u32 section, u64 offset) const {
  const auto* where = section_at(section);
  return fmt::format("section {} offset {:#x}", where == nullptr ? "?" : where->name, offset);
}

Result<void> ObjectReader::take_data_bytes(u64 size, std::string_view section) {
  if (size > largest_total_data_bytes - data_bytes_)
    return fail(Code::limit, fmt::format("section {}: {} bytes; global data may take {} bytes in all", section, size,
                                         largest_total_data_bytes));
  data_bytes_ += size;
  return {};
}

/// Every map goes in here, with its place, which has no bytes where none is addressed by one. A few bytes of types may
/// name the same definition any number of times.
Result<void> ObjectReader::add_map(MapSpec map, MapPlace place) {
  if (out_.maps.size() == most_maps) return fail(Code::limit, fmt::format("more than {} maps", most_maps));
  place.map = static_cast<u32>(out_.maps.size());
  if (place.size != 0) map_places_.push_back(place);
  out_.maps.push_back(std::move(map));
  return {};
}

Result<void> ObjectReader::read_license_and_version() {
  if (const auto* section = section_named("license")) {
    const auto bytes = SKEP_TRY(file_->contents(*section));
    const auto* text = reinterpret_cast<const char*>(bytes.data());
    out_.license.assign(text, bytes.empty() ? 0 : ::strnlen(text, std::min<std::size_t>(bytes.size(), 128)));
  }
  if (const auto* section = section_named("version")) {
    const auto bytes = SKEP_TRY(file_->contents(*section));
    const auto version = base::ByteReader(bytes).at<u32>(0);
    if (!version || bytes.size() != 4)
      return fail(Code::malformed, fmt::format("section version: {} bytes, expected 4", bytes.size()));
    out_.kernel_version = *version;
  }
  return {};
}

Result<void> ObjectReader::read_btf() {
  const auto* section = section_named(".BTF");
  if (section == nullptr) return {};
  const auto bytes = SKEP_TRY(file_->contents(*section));
  btf_ = SKEP_TRY_AT("section .BTF", btf::Btf::parse({bytes.begin(), bytes.end()}));
  out_.btf = btf_;
  constexpr std::string_view callback_tag = "exception_callback:", group_tag = "skep:one_of:";
  for (u32 id = 1; id < btf_->type_count(); id++) {
    const auto type = btf_->type(id);
    if (type.kind != btf::Kind::decl_tag) continue;
    if (type.name.starts_with(callback_tag))
      exception_callbacks_.try_emplace(type.type_id(), type.name.substr(callback_tag.size()));
    if (type.name.starts_with(group_tag)) groups_.try_emplace(type.type_id(), type.name.substr(group_tag.size()));
  }
  return {};
}

Result<void> ObjectReader::read_symbols() {
  for (u32 i = 1; i < symbols_->size(); i++) {
    const auto symbol = symbols_->at(i);
    if (symbol.name_offset == 0 || symbol.type == elf::symbol_file || symbol.type == elf::symbol_section) continue;
    const auto name = symbols_->name(symbol);
    name_bytes_ += name.size();
    if (name_bytes_ > longest_names_bytes)
      return fail(Code::limit, fmt::format("symbol names of more than {} bytes in all", longest_names_bytes));
    SKEP_TRY(add_symbol(symbol, name));
  }
  SKEP_TRY(add_untyped_functions());
  // A program section that has only static functions: its first is the program (libsinsp writes such objects).
  std::unordered_set<u32> entered;
  for (const auto& function : functions_)
    if (function.is_entry) entered.insert(function.section);
  for (auto& function : functions_)
    if (function.first == 0 && !entered.contains(function.section) && section_at(function.section)->name != ".text")
      function.is_entry = entered.insert(function.section).second;
  for (std::size_t i = 0; i < functions_.size(); i++)
    function_starts_.try_emplace(u64{functions_[i].section} << 32 | functions_[i].first, static_cast<u32>(i));
  return {};
}

Result<void> ObjectReader::add_symbol(const elf::Symbol& symbol, std::string_view name) {
  if (symbol.section == elf::index_undefined) {
    if (symbol.binding != elf::bind_local && !name.empty())
      externs_.try_emplace(name, Extern{.name = name, .weak = symbol.binding == elf::bind_weak});
    return {};
  }
  const auto* section = section_at(symbol.section);
  if (section == nullptr) return {};  // absolute, common and other reserved indices name nothing here
  // A global definition wins over a local of the same name.
  const SymbolKey key{symbol.section, name};
  if (symbol.binding != elf::bind_local)
    named_symbols_.insert_or_assign(key, symbol.index);
  else
    named_symbols_.try_emplace(key, symbol.index);
  if (section->name == "maps" || section->name.starts_with("maps/")) legacy_symbols_[section->index].push_back(symbol);
  if (!is_code(*section)) return {};
  if (symbol.type == elf::symbol_func) return add_function(symbol, name);
  if (symbol.type == elf::symbol_notype && symbol.binding != elf::bind_local) untyped_code_symbols_.push_back(symbol);
  return {};
}

/// Compilers before LLVM 7 gave functions neither type nor size: in sections without a typed one, every global symbol
/// begins a function that ends at the next.
Result<void> ObjectReader::add_untyped_functions() {
  std::unordered_set<u32> typed;
  for (const auto& function : functions_) typed.insert(function.section);
  std::erase_if(untyped_code_symbols_, [&](const auto& symbol) { return typed.contains(symbol.section); });
  std::sort(untyped_code_symbols_.begin(), untyped_code_symbols_.end(),
            [](const auto& a, const auto& b) { return std::pair(a.section, a.value) < std::pair(b.section, b.value); });
  for (std::size_t i = 0; i < untyped_code_symbols_.size(); i++) {
    auto symbol = untyped_code_symbols_[i];
    const bool last = i + 1 == untyped_code_symbols_.size() || untyped_code_symbols_[i + 1].section != symbol.section;
    const u64 end = last ? section_at(symbol.section)->size : untyped_code_symbols_[i + 1].value;
    if (end == symbol.value) continue;  // another name of the next one
    symbol.size = end - symbol.value;
    SKEP_TRY(add_function(symbol, symbols_->name(symbol)));
  }
  return {};
}

Result<void> ObjectReader::add_function(const elf::Symbol& symbol, std::string_view name) {
  const auto& section = *section_at(symbol.section);
  if (symbol.value % sizeof(Insn) != 0 || symbol.size % sizeof(Insn) != 0 || symbol.value >= section.size ||
      symbol.size > section.size - symbol.value)
    return fail(
        Code::malformed,
        fmt::format("function {}: {} bytes at offset {:#x} of section {}, which has {} bytes; instructions take 8",
                    name, symbol.size, symbol.value, section.name, section.size));
  if (symbol.size == 0)
    return fail(Code::malformed, fmt::format("function {} in section {}: it has no instructions", name, section.name));
  const bool is_global = symbol.binding != elf::bind_local;
  functions_.push_back({.name = name,
                        .section = symbol.section,
                        .first = static_cast<u32>(symbol.value / sizeof(Insn)),
                        .count = static_cast<u32>(symbol.size / sizeof(Insn)),
                        .is_global = is_global && symbol.visibility == elf::visibility_default,
                        .is_entry = is_global && section.name != ".text"});
  return {};
}

Result<void> ObjectReader::read_annotations() {
  const auto* section = section_named(".BTF.ext");
  if (section == nullptr || !btf_) return {};
  const auto bytes = SKEP_TRY(file_->contents(*section));
  const auto ext = SKEP_TRY_AT("section .BTF.ext", btf::Ext::parse(bytes, *btf_));
  std::unordered_map<std::string_view, u32> code_sections;
  for (const auto& candidate : file_->sections())
    if (is_code(candidate)) code_sections.try_emplace(candidate.name, candidate.index);
  auto distribute = [&](const auto& tables, auto Annotations::* list) {
    for (const auto& table : tables) {
      const auto found = code_sections.find(table.name);
      if (found == code_sections.end()) continue;  // its code was discarded
      auto& records = annotations_[found->second].*list;
      records.insert(records.end(), table.records.begin(), table.records.end());
    }
    for (auto& [section_index, notes] : annotations_)
      base::sort_by(notes.*list, [](const auto& record) { return record.offset; });
  };
  distribute(ext.functions, &Annotations::functions);
  distribute(ext.lines, &Annotations::lines);
  distribute(ext.core, &Annotations::core);
  return {};
}

Result<void> ObjectReader::read_relocations() {
  u64 total = 0;
  for (const auto& section : file_->sections()) {
    if (section.type != elf::section_rel && section.type != elf::section_rela) continue;
    const auto* target = section_at(section.info);
    if (target == nullptr)
      return fail(Code::malformed, fmt::format("relocations in section {} '{}' are for section {}, but there are {}",
                                               section.index, section.name, section.info, file_->sections().size()));
    // Types and debug information are read by name, not by address: their relocations say nothing new.
    const bool needed = is_code(*target) || target->name == ".maps" || is_struct_ops(target->name);
    if (!needed) continue;
    const auto table = SKEP_TRY(file_->relocations(section));
    total += table.size();
    if (total > largest_object_bytes / 16)
      return fail(Code::limit, fmt::format("more than {} relocations", largest_object_bytes / 16));
    auto& list = relocations_[target->index];
    for (u64 i = 0; i < table.size(); i++) list.push_back(table.at(i));
  }
  for (auto& [section, list] : relocations_)
    base::sort_by(list, [](const auto& relocation) { return relocation.offset; });
  return {};
}

Result<elf::Symbol> ObjectReader::symbol_at(u32 index, const std::string& place) const {
  if (index >= symbols_->size())
    return fail(Code::malformed,
                fmt::format("{}: relocation by symbol {}, but there are {}", place, index, symbols_->size()));
  return symbols_->at(index);
}

}  // namespace skep::spec

namespace skep {

Result<ObjectSpec> ObjectSpec::from_bytes(std::span<const std::byte> elf, std::string_view name) {
  return spec::ObjectReader(elf, name).read();
}

Result<ObjectSpec> ObjectSpec::from_file(const std::filesystem::path& path) {
  const auto bytes = SKEP_TRY(base::read_file(path));
  return SKEP_TRY_AT(path.native(), from_bytes(bytes, path.native()));
}

const ProgramSpec* ObjectSpec::program(std::string_view wanted) const noexcept {
  for (const auto& candidate : programs)
    if (candidate.name == wanted) return &candidate;
  return nullptr;
}

ProgramSpec* ObjectSpec::program(std::string_view wanted) noexcept {
  return const_cast<ProgramSpec*>(static_cast<const ObjectSpec*>(this)->program(wanted));
}

const MapSpec* ObjectSpec::map(std::string_view wanted) const noexcept {
  for (const auto& candidate : maps)
    if (candidate.name == wanted) return &candidate;
  return nullptr;
}

std::optional<ObjectSpec::Variable> ObjectSpec::variable(std::string_view wanted) const {
  if (!btf) return std::nullopt;
  for (std::size_t i = 0; i < maps.size(); ++i) {
    if (!maps[i].is_global_data || maps[i].btf_value_type_id == 0) continue;
    const auto section = btf->type(maps[i].btf_value_type_id);
    if (section.kind != btf::Kind::datasec) continue;
    for (const btf::SecVar& one : btf->section_vars(section))
      if (btf->type(one.type_id).name == wanted && u64{one.offset} + one.size <= maps[i].initial_value.size())
        return Variable{i, one.offset, one.size};
  }
  return std::nullopt;
}

const SourceLine* ProgramSpec::line_at(u32 insn) const noexcept {
  auto after = std::upper_bound(lines.begin(), lines.end(), insn,
                                [](u32 value, const SourceLine& line) { return value < line.insn; });
  while (after != lines.begin())
    if ((--after)->line != 0) return &*after;
  return nullptr;
}

}  // namespace skep
