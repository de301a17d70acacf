// Linking, second half: one .BTF and one .BTF.ext from those of the inputs.
//
// Compilers leave the sections of types (DATASEC) without sizes and offsets of globals; they are filled in from the
// symbols, because afterwards nothing else says which of two static variables of one name lies where.
#include <fmt/format.h>

#include <cstring>
#include <set>

#include "base/sort_by.hpp"
#include "gen/linker.hpp"

namespace skep::gen {
namespace {

using btf::Kind;

constexpr u32 linkage_static = 0;

template <class Record>
void append(std::vector<std::byte>& out, const Record& record) {
  const auto bytes = std::as_bytes(std::span(&record, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

/// One table of .BTF.ext from the records of each output section.
template <class Record>
std::vector<std::byte> table_of(const std::map<std::string, std::vector<Record>, std::less<>>& sections,
                                BtfBytes& types) {
  std::vector<std::byte> out;
  if (sections.empty()) return out;
  append(out, static_cast<u32>(sizeof(Record)));
  for (const auto& [name, records] : sections) {
    append(out, types.string(name));
    append(out, static_cast<u32>(records.size()));
    for (const auto& record : records) append(out, record);
  }
  return out;
}

}  // namespace

/// The var or func of a global symbol, and the section of types that lists it.
void Linker::find_types(Named& named) const {
  const auto& input = inputs_[named.input];
  if (!input.types) return;
  const auto name = input.symbols.name(named.symbol);
  const auto& types = *input.types;
  if (const auto func = types.find(name, Kind::func)) named.type_id = *func;
  if (named.type_id == 0)
    if (const auto var = types.find(name, Kind::var)) {
      named.type_id = *var;
      // A static variable of the same name may come first.
      if (types.linkage(types.type(*var)) == linkage_static) named.type_id = 0;
      for (u32 id = *var; named.type_id == 0 && id < types.type_count(); id++) {
        const auto t = types.type(id);
        if (t.kind == Kind::var && t.name == name && types.linkage(t) != linkage_static) named.type_id = id;
      }
    }
  if (named.type_id == 0) return;
  for (u32 id = 1; id < types.type_count(); id++) {
    const auto datasec = types.type(id);
    if (datasec.kind != Kind::datasec) continue;
    for (const auto& entry : types.section_vars(datasec))
      if (entry.type_id == named.type_id) named.home = datasec.name;
  }
}

void Linker::gather_variables(TypeMerge& merge, u32 index, const btf::Type& datasec,
                              std::vector<btf::SecVar>& out) const {
  const auto& input = inputs_[index];
  const auto& types = *input.types;
  const auto section = input.sections.find(datasec.name);
  const Placed place = section == input.sections.end() ? Placed{} : input.placed[section->second];
  if (place.repeated) return;
  std::unordered_map<std::string_view, elf::Symbol> symbols;
  if (place.section != 0 && datasec.size() == 0)
    for (u32 i = 1; i < input.symbols.size(); i++)
      if (const auto symbol = input.symbols.at(i);
          symbol.section == section->second && symbol.type != elf::symbol_section)
        symbols.try_emplace(input.symbols.name(symbol), symbol);
  for (auto entry : types.section_vars(datasec)) {
    const auto t = types.type(entry.type_id);
    const auto known = globals_.find(t.name);
    const bool is_global = (t.kind == Kind::var || t.kind == Kind::func) && types.linkage(t) != linkage_static;
    if (is_global && known != globals_.end()) {
      const auto& winner = known->second;
      if (winner.input != index || winner.type_id != entry.type_id) continue;  // listed where it is defined
      if (winner.defined() && place.section == 0) continue;
    }
    const auto symbol = symbols.find(t.name);
    if (symbol != symbols.end()) entry.offset = static_cast<u32>(symbol->second.value);
    if (t.kind == Kind::var && entry.size == 0) entry.size = static_cast<u32>(types.size_of(t.type_id()).value_or(0));
    entry.offset += static_cast<u32>(place.offset);
    entry.type_id = merge.id_of({index, entry.type_id});
    out.push_back(entry);
  }
}

Result<void> Linker::write_types() {
  std::vector<TypesOf> all;
  bool any = false;
  for (const auto& input : inputs_) {
    all.push_back(input.types);
    any |= input.types != nullptr;
  }
  if (!any) return {};
  TypeMerge merge(all);
  for (const auto& [loser, name] : losers_) {
    const auto& winner = globals_.find(name)->second;
    if (loser.type_id != 0 && winner.type_id != 0 && (loser.input != winner.input || loser.type_id != winner.type_id))
      merge.redirect({loser.input, loser.type_id}, {winner.input, winner.type_id});
  }
  BtfBytes types;
  merge.write(types);
  std::map<std::string, std::vector<btf::SecVar>, std::less<>> sections;
  for (u32 i = 0; i < inputs_.size(); i++) {
    if (!inputs_[i].types) continue;
    for (u32 id = 1; id < inputs_[i].types->type_count(); id++)
      if (const auto t = inputs_[i].types->type(id); t.kind == Kind::datasec)
        gather_variables(merge, i, t, sections[std::string(t.name)]);
  }
  for (auto& [name, vars] : sections) {
    if (vars.empty()) continue;
    if (vars.size() > 0xffff)
      return fail(Code::limit, fmt::format("section {}: more than 65535 variables together", name));
    base::sort_by(vars, [](const auto& var) { return var.offset; });
    const auto placed = section_numbers_.find(name);
    const u32 size = placed == section_numbers_.end() ? 0 : static_cast<u32>(out_.section(placed->second).size);
    types.begin(name, static_cast<u32>(vars.size()) | static_cast<u32>(Kind::datasec) << 24, size);
    for (const auto& var : vars)
      for (const u32 word : {var.type_id, var.offset, var.size}) types.put(word);
  }
  auto ext = annotations(merge, types);
  const auto add = [&](std::string_view name, std::vector<std::byte> bytes) {
    const u64 size = bytes.size();
    out_.add_section({.name = std::string(name),
                      .type = elf::section_progbits,
                      .flags = 0,
                      .alignment = 4,
                      .size = size,
                      .bytes = std::move(bytes),
                      .relocations = {}});
  };
  add(".BTF", types.finish());
  if (!ext.empty()) add(".BTF.ext", std::move(ext));
  return {};
}

std::vector<std::byte> Linker::annotations(const TypeMerge& merge, BtfBytes& types) const {
  std::map<std::string, std::vector<btf::FuncRecord>, std::less<>> functions;
  std::map<std::string, std::vector<btf::LineRecord>, std::less<>> lines;
  std::map<std::string, std::vector<btf::CoreRecord>, std::less<>> core;
  for (u32 i = 0; i < inputs_.size(); i++) {
    const auto& input = inputs_[i];
    if (!input.ext) continue;
    const auto each = [&](const auto& sections, auto& out, auto&& change) {
      for (const auto& section : sections) {
        const auto found = input.sections.find(section.name);
        if (found == input.sections.end()) continue;
        auto& records = out[std::string(section.name)];
        for (auto record : section.records) {
          record.offset += static_cast<u32>(input.placed[found->second].offset);
          change(record);
          records.push_back(record);
        }
      }
    };
    each(input.ext->functions, functions, [&](auto& r) { r.type_id = merge.id_of({i, r.type_id}); });
    each(input.ext->lines, lines, [&](auto& r) {
      r.file = types.string(input.types->string(r.file));
      r.text = types.string(input.types->string(r.text));
    });
    each(input.ext->core, core, [&](auto& r) {
      r.type_id = merge.id_of({i, r.type_id});
      r.access = types.string(input.types->string(r.access));
    });
  }
  const auto a = table_of(functions, types), b = table_of(lines, types), c = table_of(core, types);
  if (a.empty() && b.empty() && c.empty()) return {};
  const auto size = [](const auto& bytes) { return static_cast<u32>(bytes.size()); };
  const u32 header[] = {0x0001eb9f, 32, 0, size(a), size(a), size(b), size(a) + size(b), size(c)};
  std::vector<std::byte> out;
  for (const auto part : {std::span<const std::byte>(std::as_bytes(std::span(header))), std::span<const std::byte>(a),
                          std::span<const std::byte>(b), std::span<const std::byte>(c)})
    out.insert(out.end(), part.begin(), part.end());
  return out;
}

}  // namespace skep::gen
