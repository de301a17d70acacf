// Linking, first half: sections are placed, symbols meet, relocations move.
#include "gen/linker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "gen/link.hpp"

namespace skep::gen {
namespace {

constexpr u32 relocation_64_64 = 1, relocation_abs64 = 2, relocation_abs32 = 3, relocation_nodyld32 = 4,
              relocation_64_32 = 10;
constexpr u64 largest_alignment = 4096;
constexpr u8 call_code = 0x85;

bool is_said_once(std::string_view section) { return section == "license" || section == "version"; }

bool is_kept(const elf::Section& section) {
  if (section.type != elf::section_progbits && section.type != elf::section_nobits) return false;
  if (section.name == ".BTF" || section.name == ".BTF.ext" || section.name == ".eh_frame") return false;
  return (section.flags & elf::flag_alloc) != 0;
}

/// The text of a licence, for a message.
std::string_view text_of(std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  return {text, strnlen(text, std::min<std::size_t>(bytes.size(), 64))};
}

template <class T>
bool add_to(std::vector<std::byte>& bytes, u64 at, u64 value) {
  if (at > bytes.size() || bytes.size() - at < sizeof(T)) return false;
  T number;
  std::memcpy(&number, &bytes[at], sizeof number);
  number = static_cast<T>(number + value);
  std::memcpy(&bytes[at], &number, sizeof number);
  return true;
}

}  // namespace

Result<std::vector<std::byte>> link_objects(std::span<const LinkInput> inputs) {
  if (inputs.empty()) return fail(Code::invalid_argument, "no objects to link");
  return Linker().link(inputs);
}

/// The passes. From the third on, every symbol knows who defines it.
Result<std::vector<std::byte>> Linker::link(std::span<const LinkInput> inputs) {
  for (const auto& input : inputs) SKEP_TRY_AT(input.name, open(input));
  for (auto& input : inputs_) SKEP_TRY_AT(input.name, place_sections(input));
  for (u32 i = 0; i < inputs_.size(); i++) SKEP_TRY_AT(inputs_[i].name, add_symbols(i));
  for (auto& input : inputs_) SKEP_TRY_AT(input.name, move_relocations(input));
  SKEP_TRY(write_types());
  return out_.finish();
}

Result<void> Linker::open(const LinkInput& from) {
  auto file = SKEP_TRY(elf::File::parse(from.bytes));
  if (file.machine() != elf::machine_bpf || file.type() != elf::type_relocatable)
    return fail(Code::malformed,
                fmt::format("machine {}, type {}: expected a relocatable eBPF object", file.machine(), file.type()));
  const auto symbols = std::find_if(file.sections().begin(), file.sections().end(),
                                    [](const auto& s) { return s.type == elf::section_symtab; });
  if (symbols == file.sections().end()) return fail(Code::malformed, "no symbol table");
  auto table = SKEP_TRY(file.symbols(*symbols));
  Input input{.name = from.name,
              .file = std::move(file),
              .symbols = table,
              .types = {},
              .ext = {},
              .placed = {},
              .outputs = {},
              .sections = {}};
  if (const auto* types = input.file.section(".BTF")) {
    const auto bytes = SKEP_TRY(input.file.contents(*types));
    input.types = SKEP_TRY_AT("section .BTF", btf::Btf::parse({bytes.begin(), bytes.end()}));
    if (const auto* ext = input.file.section(".BTF.ext")) {
      const auto annotations = SKEP_TRY(input.file.contents(*ext));
      input.ext = std::make_unique<btf::Ext>(SKEP_TRY(btf::Ext::parse(annotations, *input.types)));
    }
  }
  inputs_.push_back(std::move(input));
  return {};
}

Result<void> Linker::place_sections(Input& input) {
  input.placed.resize(input.file.sections().size());
  for (const auto& section : input.file.sections())
    if (is_kept(section)) SKEP_TRY_AT(fmt::format("section {}", section.name), place_section(input, section));
  return {};
}

Result<void> Linker::place_section(Input& input, const elf::Section& section) {
  if (!input.sections.try_emplace(section.name, section.index).second)
    return fail(Code::unsupported, "the file has two sections of that name");
  const u64 alignment = std::max<u64>(section.alignment, section.executable() ? 8 : 1);
  if ((alignment & (alignment - 1)) != 0 || alignment > largest_alignment)
    return fail(Code::malformed, fmt::format("alignment {}, expected a power of two up to 4096", alignment));
  total_bytes_ += section.size + alignment;
  if (section.size > largest_linked_bytes || total_bytes_ > largest_linked_bytes)
    return fail(Code::limit, "more than 256 MiB together");
  const auto bytes = SKEP_TRY(input.file.contents(section));
  const auto [entry, added] = section_numbers_.try_emplace(std::string(section.name), 0);
  if (added) {
    if (out_.section_count() >= most_linked_sections) return fail(Code::limit, "more than 65024 sections together");
    entry->second = out_.add_section({.name = std::string(section.name),
                                      .type = section.type,
                                      .flags = section.flags,
                                      .alignment = 1,
                                      .size = 0,
                                      .bytes = {},
                                      .relocations = {}});
  }
  auto& out = out_.section(entry->second);
  auto& place = input.placed[section.index];
  place.section = entry->second;
  if (!added && is_said_once(section.name)) {
    if (!std::equal(bytes.begin(), bytes.end(), out.bytes.begin(), out.bytes.end()))
      return fail(Code::rejected, fmt::format("is '{}' here and '{}' in the objects before; they must be equal",
                                              text_of(bytes), text_of(out.bytes)));
    place.repeated = true;
    return {};
  }
  if (out.type != section.type || ((out.flags ^ section.flags) & elf::flag_exec) != 0)
    return fail(Code::rejected, "is code or data here and something else in the objects before");
  if (section.executable() && section.size % 8 != 0)
    return fail(Code::malformed, fmt::format("{} bytes are no whole instructions", section.size));
  out.flags |= section.flags;
  out.alignment = std::max(out.alignment, alignment);
  place.offset = (out.size + alignment - 1) / alignment * alignment;
  out.size = place.offset + section.size;
  if (out.type == elf::section_progbits) {
    out.bytes.resize(place.offset);
    out.bytes.insert(out.bytes.end(), bytes.begin(), bytes.end());
  }
  return {};
}

u32 Linker::section_symbol(u32 section) {
  const auto [entry, added] = section_symbols_.try_emplace(section, 0);
  if (added)
    entry->second = out_.add_symbol({.type = elf::symbol_section, .binding = elf::bind_local, .section = section}, {});
  return entry->second;
}

/// The symbol where its section went.
elf::Symbol Linker::moved(const Input& input, elf::Symbol symbol) const {
  if (symbol.section == elf::index_undefined) return symbol;
  const auto& place = input.placed[symbol.section];
  symbol.section = place.section;
  symbol.value += place.offset;
  return symbol;
}

Result<void> Linker::add_symbols(u32 index) {
  auto& input = inputs_[index];
  input.outputs.assign(input.symbols.size(), 0);
  for (u32 i = 1; i < input.symbols.size(); i++) {
    const auto symbol = input.symbols.at(i);
    const auto name = input.symbols.name(symbol);
    if (symbol.type == elf::symbol_file) continue;
    if (symbol.section == elf::index_undefined) {
      if (symbol.binding != elf::bind_local && !name.empty()) SKEP_TRY(add_named(index, symbol, name));
      continue;
    }
    const auto place = fmt::format("symbol {} '{}'", i, name);
    if (symbol.section >= input.placed.size())
      return fail(Code::unsupported, fmt::format("{}: section {}; absolute and common symbols have no place in a BPF "
                                                 "object",
                                                 place, symbol.section));
    if (input.placed[symbol.section].section == 0) continue;  // of debug information
    const u64 size = input.file.sections()[symbol.section].size;
    if (symbol.value > size || symbol.size > size - symbol.value)
      return fail(Code::malformed,
                  fmt::format("{}: {} bytes at {:#x} of a section of {}", place, symbol.size, symbol.value, size));
    if (symbol.type == elf::symbol_section)
      input.outputs[i] = section_symbol(input.placed[symbol.section].section);
    else if (symbol.binding == elf::bind_local)
      input.outputs[i] = out_.add_symbol(moved(input, symbol), name);
    else if (name.empty())
      return fail(Code::malformed, fmt::format("{}: global, and without a name", place));
    else
      SKEP_TRY(add_named(index, symbol, name));
  }
  return {};
}

Result<void> Linker::add_named(u32 index, const elf::Symbol& symbol, std::string_view name) {
  auto& input = inputs_[index];
  Named named{.input = index, .symbol = symbol, .output = 0, .type_id = 0, .home = {}};
  find_types(named);
  const auto known = globals_.find(name);
  if (known == globals_.end()) {
    named.output = out_.add_symbol(moved(input, symbol), name);
    input.outputs[symbol.index] = named.output;
    globals_.emplace(std::string(name), named);
    return {};
  }
  input.outputs[symbol.index] = known->second.output;
  return merge(known->second, named, name);
}

/// Two inputs (or two symbols of one) name the same thing: who defines it, and do they agree what it is?
Result<void> Linker::merge(Named& known, const Named& other, std::string_view name) {
  const auto& first = inputs_[known.input].name;
  const auto& second = inputs_[other.input].name;
  const bool strong = known.symbol.binding != elf::bind_weak, other_strong = other.symbol.binding != elf::bind_weak;
  if (known.defined() && other.defined()) {
    if (inputs_[other.input].placed[other.symbol.section].repeated) return {};
    if (strong && other_strong)
      return fail(Code::rejected, fmt::format("'{}' is defined in {} and in {}; make one of them static or __weak",
                                              name, first, second));
    if (out_.section(out_.symbol(known.output).section).name !=
        inputs_[other.input].file.sections()[other.symbol.section].name)
      return fail(Code::rejected, fmt::format("'{}' lies in another section in {} than in {}", name, first, second));
  }
  SKEP_TRY(check_types(known, other, name));
  const bool other_wins = other.defined() && (!known.defined() || (!strong && other_strong));
  const auto visibility = std::max(known.symbol.visibility, other.symbol.visibility);
  auto& out = out_.symbol(known.output);
  if (other_wins) {
    losers_.emplace_back(known, name);
    const u32 output = known.output;
    known = other;
    known.output = output;
    out = moved(inputs_[other.input], other.symbol);
  } else {
    losers_.emplace_back(other, name);
    // An extern that one file needs is needed.
    if (!known.defined() && other_strong) out.binding = known.symbol.binding = elf::bind_global;
    if (known.type_id == 0 && !known.defined()) {
      known.type_id = other.type_id;
      known.input = other.input;
      known.home = other.home;
    }
  }
  out.visibility = known.symbol.visibility = visibility;
  return {};
}

Result<void> Linker::check_types(const Named& a, const Named& b, std::string_view name) const {
  if (a.type_id == 0 || b.type_id == 0) return {};
  const auto& first = inputs_[a.input];
  const auto& second = inputs_[b.input];
  const auto differs = [&](std::string_view how) {
    return fail(Code::rejected, fmt::format("'{}' {} in {} than in {}", name, how, first.name, second.name));
  };
  const auto x = first.types->type(a.type_id), y = second.types->type(b.type_id);
  if (x.kind != y.kind) return differs("is another kind of thing (a function or a variable)");
  if (!a.home.empty() && !b.home.empty() && a.home != b.home)
    return differs(fmt::format("is declared for another section ({} and {})", a.home, b.home));
  // What only the kernel or its configuration provides cannot be defined here.
  for (const auto* one : {&a, &b})
    if ((one->home == ".ksyms" || one->home == ".kconfig") && a.defined() != b.defined())
      return differs(fmt::format("is declared otherwise ({})", one->home));
  if (!same_type(*first.types, x.type_id(), *second.types, y.type_id()))
    return differs(x.kind == btf::Kind::func ? "has other parameters or another result" : "has another type");
  return {};
}

Result<void> Linker::move_relocations(Input& input) {
  for (const auto& table : input.file.sections()) {
    if (table.type == elf::section_rela)
      return fail(Code::unsupported, fmt::format("section {}: relocations with addends", table.name));
    if (table.type != elf::section_rel || table.info >= input.placed.size()) continue;
    const auto& place = input.placed[table.info];
    if (place.section == 0 || place.repeated) continue;
    const auto relocations = SKEP_TRY(input.file.relocations(table));
    for (u64 i = 0; i < relocations.size(); i++)
      SKEP_TRY_AT(fmt::format("section {}: relocation {}", table.name, i),
                  move_relocation(input, place, input.file.sections()[table.info], relocations.at(i)));
  }
  return {};
}

/// What a relocation adds lies in the relocated place. Against a section it counts from the section's begin, which
/// moved.
Result<void> Linker::move_relocation(Input& input, const Placed& place, const elf::Section& target, elf::Relocation r) {
  auto& out = out_.section(place.section);
  const u64 width = r.type == relocation_64_64 ? 16 : r.type == relocation_64_32 || r.type == relocation_abs64 ? 8 : 4;
  if (r.type == 0 || (r.type > relocation_nodyld32 && r.type != relocation_64_32))
    return fail(Code::unsupported, fmt::format("type {}; known are 1 to 4 and 10", r.type));
  if (out.type != elf::section_progbits || r.offset > target.size || target.size - r.offset < width)
    return fail(Code::malformed, fmt::format("offset {:#x} in a section of {} bytes", r.offset, target.size));
  if (r.symbol >= input.outputs.size() || input.outputs[r.symbol] == 0)
    return fail(Code::malformed, fmt::format("symbol {} is none that has a place", r.symbol));
  r.offset += place.offset;
  const auto symbol = input.symbols.at(r.symbol);
  if (symbol.type == elf::symbol_section) {
    const u64 shift = input.placed[symbol.section].offset;
    bool added = true;
    if (r.type == relocation_64_64)
      added = add_to<u32>(out.bytes, r.offset + 4, shift);
    else if (r.type == relocation_64_32)
      added = add_to<u32>(out.bytes, r.offset + 4,
                          out.bytes[r.offset] == std::byte{call_code} ? shift / sizeof(u64) : shift);
    else if (r.type == relocation_abs64)
      added = add_to<u64>(out.bytes, r.offset, shift);
    else
      added = add_to<u32>(out.bytes, r.offset, shift);
    if (!added) return fail(Code::malformed, "lies outside the section");
  }
  r.symbol = input.outputs[r.symbol];
  out.relocations.push_back(r);
  return {};
}

}  // namespace skep::gen
