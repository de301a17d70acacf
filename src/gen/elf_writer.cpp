// The file's order: header, sections, relocation tables, symbols, strings, section headers.
#include "gen/elf_writer.hpp"

#include <cstring>

namespace skep::gen {
namespace {

struct RawHeader {
  u8 ident[16] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
  u16 type = elf::type_relocatable, machine = elf::machine_bpf;
  u32 version = 1;
  u64 entry = 0, segments = 0, sections = 0;
  u32 flags = 0;
  u16 header_size = 64, segment_size = 0, segment_count = 0, section_size = 64, section_count = 0, names = 0;
};
struct RawSection {
  u32 name = 0, type = 0;
  u64 flags = 0, address = 0, offset = 0, size = 0;
  u32 link = 0, info = 0;
  u64 alignment = 0, entry_size = 0;
};
struct RawSymbol {
  u32 name = 0;
  u8 info = 0, other = 0;
  u16 section = 0;
  u64 value = 0, size = 0;
};
struct RawRelocation {
  u64 offset = 0;
  u32 type = 0, symbol = 0;
};
static_assert(sizeof(RawHeader) == 64 && sizeof(RawSection) == 64 && sizeof(RawSymbol) == 24);

class Strings {
 public:
  u32 add(std::string_view text) {
    if (text.empty()) return 0;
    const u32 at = static_cast<u32>(bytes.size());
    bytes.append(text).push_back('\0');
    return at;
  }
  std::string bytes = std::string(1, '\0');
};

template <class T>
void append(std::vector<std::byte>& out, std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

}  // namespace

u32 ElfWriter::add_section(OutSection section) {
  sections_.push_back(std::move(section));
  return static_cast<u32>(sections_.size());
}

u32 ElfWriter::add_symbol(elf::Symbol symbol, std::string_view name) {
  symbols_.push_back({symbol, std::string(name)});
  return static_cast<u32>(symbols_.size());
}

std::vector<std::byte> ElfWriter::finish() const {
  Strings names;
  std::vector<std::byte> out(sizeof(RawHeader));
  std::vector<RawSection> headers(1);
  const auto place = [&](RawSection header, std::span<const std::byte> bytes) {
    out.resize((out.size() + 7) / 8 * 8);
    header.offset = out.size();
    append(out, bytes);
    headers.push_back(header);
  };
  for (const auto& s : sections_)
    place({.name = names.add(s.name), .type = s.type, .flags = s.flags, .size = s.size, .alignment = s.alignment},
          s.bytes);

  std::vector<RawSymbol> symbols(1);
  std::vector<u32> renumbered(symbols_.size() + 1);
  u32 first_global = 1;
  for (const bool local : {true, false}) {
    for (std::size_t i = 0; i < symbols_.size(); i++) {
      const auto& s = symbols_[i].symbol;
      if ((s.binding == elf::bind_local) != local) continue;
      renumbered[i + 1] = static_cast<u32>(symbols.size());
      symbols.push_back({names.add(symbols_[i].name), static_cast<u8>(s.binding << 4 | s.type), s.visibility,
                         static_cast<u16>(s.section), s.value, s.size});
    }
    if (local) first_global = static_cast<u32>(symbols.size());
  }

  u32 tables = 0;
  for (const auto& s : sections_) tables += !s.relocations.empty();
  const u32 symbol_table = static_cast<u32>(headers.size()) + tables;
  for (std::size_t i = 0; i < sections_.size(); i++) {
    std::vector<RawRelocation> raw;
    for (const auto& r : sections_[i].relocations) raw.push_back({r.offset, r.type, renumbered[r.symbol]});
    if (raw.empty()) continue;
    place({.name = names.add(".rel" + sections_[i].name),
           .type = elf::section_rel,
           .size = raw.size() * sizeof(RawRelocation),
           .link = symbol_table,
           .info = static_cast<u32>(i + 1),
           .alignment = 8,
           .entry_size = sizeof(RawRelocation)},
          std::as_bytes(std::span(raw)));
  }
  place({.name = names.add(".symtab"),
         .type = elf::section_symtab,
         .size = symbols.size() * sizeof(RawSymbol),
         .link = symbol_table + 1,
         .info = first_global,
         .alignment = 8,
         .entry_size = sizeof(RawSymbol)},
        std::as_bytes(std::span(symbols)));
  const u32 strings_name = names.add(".strtab");
  place({.name = strings_name, .type = elf::section_strtab, .size = names.bytes.size(), .alignment = 1},
        std::as_bytes(std::span(names.bytes)));

  out.resize((out.size() + 7) / 8 * 8);
  RawHeader header;
  header.sections = out.size();
  header.section_count = static_cast<u16>(headers.size());
  header.names = static_cast<u16>(headers.size() - 1);
  append(out, std::span<const RawSection>(headers));
  std::memcpy(out.data(), &header, sizeof header);
  return out;
}

}  // namespace skep::gen
