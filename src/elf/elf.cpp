// ELF64 reading: header, section and segment tables, symbol and relocation tables.
//
// The structures below are the file's own layout (System V ABI); they are copied out of the bytes, so alignment
// does not matter, and every table is bounds-checked as a whole before its first entry is read.
#include "elf/elf.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace skep::elf {
namespace {

struct RawHeader {
  u8 ident[16];
  u16 type, machine;
  u32 version;
  u64 entry, segments_offset, sections_offset;
  u32 flags;
  u16 header_size, segment_size, segment_count, section_size, section_count, names_index;
};
struct RawSection {
  u32 name, type;
  u64 flags, address, offset, size;
  u32 link, info;
  u64 alignment, entry_size;
};
struct RawSegment {
  u32 type, flags;
  u64 offset, address, physical, size_file, size_memory, alignment;
};
struct RawSymbol {
  u32 name;
  u8 info, other;
  u16 section;
  u64 value, size;
};
struct RawRel {
  u64 offset, info;
};
struct RawRela {
  u64 offset, info;
  s64 addend;
};
static_assert(sizeof(RawHeader) == 64 && sizeof(RawSection) == 64 && sizeof(RawSegment) == 56);
static_assert(sizeof(RawSymbol) == 24 && sizeof(RawRel) == 16 && sizeof(RawRela) == 24);

constexpr u16 index_extended = 0xffff;
constexpr u64 longest_section_name = 4096;
constexpr u64 longest_symbol_name = 16384;

/// The zero-terminated string at `offset`, at most `limit` bytes; "" when there is none.
std::string_view bounded_string(std::span<const std::byte> strings, u64 offset, u64 limit) {
  if (offset >= strings.size()) return {};
  const auto* begin = reinterpret_cast<const char*>(strings.data()) + offset;
  const u64 length = std::min<u64>(strings.size() - offset, limit);
  const auto* end = static_cast<const char*>(std::memchr(begin, 0, length));
  return end == nullptr ? std::string_view{} : std::string_view(begin, static_cast<std::size_t>(end - begin));
}

template <class T>
T entry_at(std::span<const std::byte> entries, u64 index) {
  T raw;
  std::memcpy(&raw, entries.data() + index * sizeof(T), sizeof raw);
  return raw;
}

}  // namespace

Symbol SymbolTable::at(u32 index) const {
  const auto raw = entry_at<RawSymbol>(entries_, index);
  u32 section = raw.section;
  if (raw.section == index_extended && (index + 1ULL) * sizeof(u32) <= extended_.size())
    section = entry_at<u32>(extended_, index);
  return {.index = index,
          .name_offset = raw.name,
          .type = static_cast<u8>(raw.info & 0xf),
          .binding = static_cast<u8>(raw.info >> 4),
          .visibility = static_cast<u8>(raw.other & 3),
          .section = section,
          .value = raw.value,
          .size = raw.size};
}

std::string_view SymbolTable::name(const Symbol& symbol) const {
  return bounded_string(strings_, symbol.name_offset, longest_symbol_name);
}

Relocation RelocationTable::at(u64 index) const {
  if (with_addend_) {
    const auto raw = entry_at<RawRela>(entries_, index);
    return {raw.offset, static_cast<u32>(raw.info), static_cast<u32>(raw.info >> 32), raw.addend};
  }
  const auto raw = entry_at<RawRel>(entries_, index);
  return {raw.offset, static_cast<u32>(raw.info), static_cast<u32>(raw.info >> 32), 0};
}

namespace {

Result<RawHeader> checked_header(const base::ByteReader& bytes) {
  const auto header = bytes.at<RawHeader>(0);
  static constexpr u8 magic[] = {0x7f, 'E', 'L', 'F'};
  if (const auto begin = bytes.at<std::array<u8, 4>>(0); !begin || std::memcmp(begin->data(), magic, 4) != 0)
    return fail(Code::malformed, "not an ELF file: it does not begin with 7f 45 4c 46");
  if (!header)
    return fail(Code::malformed, fmt::format("ELF header: 64 bytes expected, the file has {}", bytes.size()));
  if (header->ident[4] != 2) return fail(Code::unsupported, "ELF class: a 32-bit file; skep reads 64-bit ones");
  if (header->ident[5] != 1)
    return fail(Code::unsupported,
                "ELF byte order: a big-endian file; skep reads little-endian ones (clang -target bpfel)");
  return *header;
}

/// More than 0xfeff sections: the counts do not fit the header and lie in section 0.
u64 section_count(u16 count, const RawSection& first) { return count != 0 ? count : first.size; }

}  // namespace

Result<std::array<File::Range, 2>> File::tables(std::span<const std::byte> bytes) {
  const base::ByteReader reader(bytes);
  const RawHeader header = SKEP_TRY(checked_header(reader));
  std::array<Range, 2> ranges{};
  if (const auto first = reader.at<RawSection>(header.sections_offset); header.sections_offset != 0 && first) {
    const u64 most = (reader.size() - header.sections_offset) / sizeof(RawSection);
    const u64 count = std::clamp<u64>(section_count(header.section_count, *first), 1, most);
    ranges[0] = {header.sections_offset, count * sizeof(RawSection)};
  }
  const Range segments{header.segments_offset, u64{header.segment_count} * sizeof(RawSegment)};
  if (reader.contains(segments.offset, segments.size)) ranges[1] = segments;
  return ranges;
}

Result<File> File::parse(std::span<const std::byte> bytes) {
  File file;
  file.bytes_ = base::ByteReader(bytes);
  const RawHeader header = SKEP_TRY(checked_header(file.bytes_));
  file.type_ = header.type;
  file.machine_ = header.machine;
  file.entry_ = header.entry;
  SKEP_TRY(file.read_sections(header.sections_offset, header.section_size, header.section_count, header.names_index));
  SKEP_TRY(file.read_segments(header.segments_offset, header.segment_size, header.segment_count));
  return file;
}

Result<void> File::read_sections(u64 offset, u16 entry_size, u16 count, u16 names_index) {
  if (offset == 0) return {};
  if (entry_size != sizeof(RawSection))
    return fail(Code::malformed, fmt::format("ELF section table: entries of {} bytes, expected 64", entry_size));
  const auto first = bytes_.at<RawSection>(offset);
  if (!first)
    return fail(Code::malformed,
                fmt::format("ELF section table: offset {} lies outside the file ({} bytes)", offset, bytes_.size()));
  const u64 real_count = section_count(count, *first);
  const u32 real_names = names_index != index_extended ? names_index : first->link;
  if (real_count > bytes_.size() / sizeof(RawSection) || !bytes_.contains(offset, real_count * sizeof(RawSection)))
    return fail(Code::malformed,
                fmt::format("ELF section table: {} sections at offset {} do not fit the file ({} bytes)", real_count,
                            offset, bytes_.size()));
  sections_.reserve(real_count);
  std::vector<u32> names;
  names.reserve(real_count);
  for (u64 i = 0; i < real_count; i++) {
    const auto raw = *bytes_.at<RawSection>(offset + i * sizeof(RawSection));
    names.push_back(raw.name);
    sections_.push_back({.index = static_cast<u32>(i),
                         .name = {},
                         .type = raw.type,
                         .flags = raw.flags,
                         .address = raw.address,
                         .offset = raw.offset,
                         .size = raw.size,
                         .link = raw.link,
                         .info = raw.info,
                         .alignment = raw.alignment,
                         .entry_size = raw.entry_size});
  }
  names_ = real_names;
  if (real_names == 0) return {};
  const auto strings = SKEP_TRY_AT("ELF section names", string_table(real_names));
  for (u64 i = 0; i < real_count; i++) sections_[i].name = bounded_string(strings, names[i], longest_section_name);
  return {};
}

Result<void> File::read_segments(u64 offset, u16 entry_size, u16 count) {
  if (offset == 0 || count == 0) return {};
  if (entry_size != sizeof(RawSegment))
    return fail(Code::malformed, fmt::format("ELF program headers: entries of {} bytes, expected 56", entry_size));
  if (!bytes_.contains(offset, u64{count} * sizeof(RawSegment)))
    return fail(Code::malformed, fmt::format("ELF program headers: {} at offset {} do not fit the file ({} bytes)",
                                             count, offset, bytes_.size()));
  segments_.reserve(count);
  for (u64 i = 0; i < count; i++) {
    const auto raw = *bytes_.at<RawSegment>(offset + i * sizeof(RawSegment));
    segments_.push_back({raw.type, raw.flags, raw.offset, raw.address, raw.size_file, raw.size_memory, raw.alignment});
  }
  return {};
}

const Section* File::section(std::string_view name) const {
  const auto found = std::find_if(sections_.begin(), sections_.end(), [&](const Section& s) { return s.name == name; });
  return found == sections_.end() ? nullptr : &*found;
}

Result<std::span<const std::byte>> File::contents(const Section& section) const {
  if (section.type == section_nobits) return std::span<const std::byte>{};
  const auto bytes = bytes_.slice(section.offset, section.size);
  if (!bytes)
    return fail(Code::malformed, fmt::format("section {} '{}': {} bytes at offset {} lie outside the file ({} bytes)",
                                             section.index, section.name, section.size, section.offset, bytes_.size()));
  return *bytes;
}

Result<std::span<const std::byte>> File::string_table(u32 index) const {
  if (index >= sections_.size())
    return fail(Code::malformed,
                fmt::format("string table in section {}, but there are {} sections", index, sections_.size()));
  return contents(sections_[index]);
}

Result<SymbolTable> File::symbols(const Section& table) const {
  const auto place = fmt::format("symbol table in section {}", table.index);
  SymbolTable out;
  out.entries_ = SKEP_TRY_AT(place, contents(table));
  if (table.entry_size != sizeof(RawSymbol) || out.entries_.size() % sizeof(RawSymbol) != 0)
    return fail(Code::malformed, fmt::format("{}: {} bytes with entries of {}, expected entries of 24", place,
                                             out.entries_.size(), table.entry_size));
  if (out.entries_.size() / sizeof(RawSymbol) > 0xffffffffULL)
    return fail(Code::limit, fmt::format("{}: more than 2^32 symbols", place));
  out.count_ = static_cast<u32>(out.entries_.size() / sizeof(RawSymbol));
  out.strings_ = SKEP_TRY_AT(place, string_table(table.link));
  for (const auto& section : sections_) {
    if (section.type != section_symtab_shndx || section.link != table.index) continue;
    out.extended_ = SKEP_TRY_AT(place, contents(section));
    break;
  }
  return out;
}

Result<RelocationTable> File::relocations(const Section& table) const {
  const auto place = fmt::format("relocations in section {} '{}'", table.index, table.name);
  RelocationTable out;
  out.with_addend_ = table.type == section_rela;
  out.entries_ = SKEP_TRY_AT(place, contents(table));
  const u64 expected = out.with_addend_ ? sizeof(RawRela) : sizeof(RawRel);
  if (table.entry_size != expected || out.entries_.size() % expected != 0)
    return fail(Code::malformed, fmt::format("{}: {} bytes with entries of {}, expected entries of {}", place,
                                             out.entries_.size(), table.entry_size, expected));
  out.count_ = out.entries_.size() / expected;
  return out;
}

}  // namespace skep::elf
