// Writes small ELF objects for tests: sections, symbols and relocations in, bytes out. Nothing is checked, so that
// tests can write broken files too.
#pragma once
#include <cstring>
#include <string>
#include <vector>

#include "elf/elf.hpp"

namespace skep::elf {

class TestWriter {
 public:
  TestWriter() {
    add_section("", 0, 0, {});
    strings_.push_back('\0');
    put_symbol(0, 0, 0, 0, 0, 0);
  }

  /// Returns the section's index. `nobits_size` is the size of a section_nobits section.
  u32 add_section(std::string name, u32 type, u64 flags, std::vector<std::byte> bytes, u64 nobits_size = 0) {
    sections_.push_back({std::move(name), type, flags, std::move(bytes), nobits_size, 0, 0, 0});
    return static_cast<u32>(sections_.size() - 1);
  }
  /// A section whose bytes are the elements of `values`.
  template <class T>
  u32 add_data(std::string name, u64 flags, const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    return add_section(std::move(name), section_progbits, flags, {bytes.begin(), bytes.end()});
  }
  /// Returns the symbol's index.
  u32 add_symbol(const std::string& name, u8 type, u8 binding, u32 section, u64 value, u64 size,
                 u8 visibility = visibility_default) {
    const u32 at = static_cast<u32>(strings_.size());
    strings_.insert(strings_.end(), name.begin(), name.end());
    strings_.push_back('\0');
    return put_symbol(name.empty() ? 0 : at, static_cast<u8>(binding << 4 | type), visibility, section, value, size);
  }
  void add_relocation(u32 section, u64 offset, u32 symbol, u32 type = 1) {
    relocations_.push_back({section, offset, symbol, type});
  }

  std::vector<std::byte> finish(u16 machine = machine_bpf, u16 type = type_relocatable) {
    const u32 symtab = static_cast<u32>(sections_.size());
    sections_.push_back({".symtab", section_symtab, 0, symbols_, 0, symtab + 1, 1, 24});
    sections_.push_back({".strtab", section_strtab, 0, bytes_of(strings_), 0, 0, 0, 0});
    std::vector<std::vector<std::byte>> tables(symtab);
    for (const auto& r : relocations_) {
      append(tables[r.section], r.offset);
      append(tables[r.section], u64{r.symbol} << 32 | r.type);
    }
    for (u32 i = 0; i < symtab; i++)
      if (!tables[i].empty())
        sections_.push_back({".rel" + sections_[i].name, section_rel, 0, tables[i], 0, symtab, i, 16});
    std::vector<char> names(1, '\0');
    std::vector<u32> name_offsets;
    sections_.push_back({".shstrtab", section_strtab, 0, {}, 0, 0, 0, 0});
    for (const auto& s : sections_) {
      name_offsets.push_back(static_cast<u32>(names.size()));
      names.insert(names.end(), s.name.begin(), s.name.end());
      names.push_back('\0');
    }
    sections_.back().bytes = bytes_of(names);

    std::vector<std::byte> out(64);
    std::vector<u64> offsets;
    for (const auto& s : sections_) {
      out.resize((out.size() + 7) / 8 * 8);
      offsets.push_back(out.size());
      out.insert(out.end(), s.bytes.begin(), s.bytes.end());
    }
    out.resize((out.size() + 7) / 8 * 8);
    const u64 table = out.size();
    for (std::size_t i = 0; i < sections_.size(); i++) {
      const auto& s = sections_[i];
      append(out, name_offsets[i]);
      append(out, s.type);
      append(out, s.flags);
      append(out, u64{0});
      append(out, offsets[i]);
      append(out, s.type == section_nobits ? s.nobits_size : u64{s.bytes.size()});
      append(out, s.link);
      append(out, s.info);
      append(out, u64{8});
      append(out, s.entry_size);
    }
    const u8 ident[16] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    std::memcpy(out.data(), ident, 16);
    write(out, 16, type);
    write(out, 18, machine);
    write(out, 20, u32{1});
    write(out, 40, table);
    write(out, 52, u16{64});
    write(out, 58, u16{64});
    write(out, 60, static_cast<u16>(sections_.size()));
    write(out, 62, static_cast<u16>(sections_.size() - 1));
    return out;
  }

 private:
  struct Section {
    std::string name;
    u32 type;
    u64 flags;
    std::vector<std::byte> bytes;
    u64 nobits_size;
    u32 link, info;
    u64 entry_size;
  };
  struct Relocation {
    u32 section;
    u64 offset;
    u32 symbol, type;
  };
  static std::vector<std::byte> bytes_of(const std::vector<char>& text) {
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
  }
  template <class T>
  static void append(std::vector<std::byte>& out, T value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  template <class T>
  static void write(std::vector<std::byte>& out, std::size_t at, T value) {
    std::memcpy(out.data() + at, &value, sizeof value);
  }
  u32 put_symbol(u32 name, u8 info, u8 other, u32 section, u64 value, u64 size) {
    append(symbols_, name);
    append(symbols_, info);
    append(symbols_, other);
    append(symbols_, static_cast<u16>(section));
    append(symbols_, value);
    append(symbols_, size);
    return symbol_count_++;
  }

  std::vector<Section> sections_;
  std::vector<std::byte> symbols_;
  std::vector<char> strings_;
  std::vector<Relocation> relocations_;
  u32 symbol_count_ = 0;
};

}  // namespace skep::elf
