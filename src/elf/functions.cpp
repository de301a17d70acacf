// Functions by name, from both symbol tables.
#include "elf/functions.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace skep::elf {

namespace {

constexpr std::size_t most_segments = 65536 / 56;           // Linux, fs/binfmt_elf.c: load_elf_phdrs()
constexpr std::size_t most_name_bytes = 256 * 1024 * 1024;  // names may overlap in the file: 24 bytes name 16 KiB each

std::string_view without_version(std::string_view name) { return name.substr(0, name.find('@')); }

struct Found {
  std::vector<Function> functions;
  std::size_t name_bytes = 0;
};

bool is_defined(const Symbol& symbol, u8 type) {
  return symbol.type == type && symbol.section != index_undefined && symbol.value != 0;
}

Result<void> collect(const File& file, const Section& table, const std::function<bool(std::string_view)>& wanted,
                     const std::function<std::optional<u64>(const std::string&)>& chosen, Found& found) {
  const auto symbols = SKEP_TRY(file.symbols(table));
  for (u32 i = 0; i < symbols.size(); ++i) {
    const Symbol symbol = symbols.at(i);
    const bool is_indirect = chosen && is_defined(symbol, symbol_ifunc);
    if (!is_indirect && !is_defined(symbol, symbol_func)) continue;
    const std::string_view name = without_version(symbols.name(symbol));
    if (name.empty() || !wanted(name)) continue;
    const auto offset = is_indirect ? chosen(std::string(name)) : file_offset(file, symbol.value);
    if (!offset) continue;
    found.name_bytes += name.size();
    if (found.name_bytes > most_name_bytes)
      return fail(Code::limit, fmt::format("the names of its functions take more than {} MiB", most_name_bytes >> 20));
    found.functions.push_back({std::string(name), *offset, is_indirect ? 0 : symbol.size});
  }
  return {};
}

}  // namespace

Result<void> check_segments(const File& file) {
  const std::size_t count = file.segments().size();
  if (count <= most_segments) return {};
  return fail(Code::malformed, fmt::format("{} program headers, Linux takes at most {}", count, most_segments));
}

std::optional<u64> file_offset(const File& file, u64 address) {
  for (const Segment& segment : file.segments())
    if (segment.type == segment_load && address >= segment.address && address - segment.address < segment.size_file)
      return address - segment.address + segment.offset;
  return std::nullopt;
}

std::optional<u64> loaded_address(std::span<const Segment> segments, u64 file_offset) {
  for (const u32 wanted : {segment_executable, u32{0}})
    for (const Segment& segment : segments)
      if (segment.type == segment_load && (segment.flags & segment_executable) == wanted &&
          file_offset >= segment.offset && file_offset - segment.offset < segment.size_file)
        return file_offset - segment.offset + segment.address;
  return std::nullopt;
}

std::string why_no_function(const File& file, std::string_view name, std::string_view near) {
  for (const Section& table : file.sections()) {
    if (table.type != section_symtab && table.type != section_dynsym) continue;
    const auto symbols = file.symbols(table);
    for (u32 i = 0; symbols && i < symbols->size(); ++i)
      if (const Symbol one = symbols->at(i);
          is_defined(one, symbol_ifunc) && without_version(symbols->name(one)) == name)
        return "it is indirect: each process chooses its code when it is loaded, and this file is not loaded here, so "
               "nobody can tell: give the offset of the code in the file";
  }
  return near.empty() ? "it may be inlined, or the file is stripped" : fmt::format("did you mean \"{}\"?", near);
}

Result<std::vector<Function>> functions(const File& file, const std::function<bool(std::string_view)>& wanted,
                                        const std::function<std::optional<u64>(const std::string&)>& chosen) {
  if (file.type() == type_relocatable)
    return fail(Code::unsupported, "an object that is not linked: its functions have no place in memory yet");
  SKEP_TRY(check_segments(file));
  Found both;
  for (const u32 type : {section_symtab, section_dynsym}) {  // a file has one of each kind at most
    const auto table = std::ranges::find(file.sections(), type, &Section::type);
    if (table != file.sections().end()) SKEP_TRY(collect(file, *table, wanted, chosen, both));
  }
  std::vector<Function>& found = both.functions;
  std::ranges::sort(found, [](const Function& a, const Function& b) {
    return a.file_offset != b.file_offset ? a.file_offset < b.file_offset : a.name < b.name;
  });
  const auto same_place = [](const Function& a, const Function& b) {
    return a.file_offset == b.file_offset && a.name == b.name;
  };
  found.erase(std::unique(found.begin(), found.end(), same_place), found.end());
  return std::move(found);
}

}  // namespace skep::elf
