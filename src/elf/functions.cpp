// Functions by name, from both symbol tables.
#include "elf/functions.hpp"

#include <algorithm>

namespace skep::elf {

namespace {

constexpr u32 segment_load = 1;

std::string_view without_version(std::string_view name) { return name.substr(0, name.find('@')); }

Result<void> collect(const File& file, const Section& table, const std::function<bool(std::string_view)>& wanted,
                     std::vector<Function>& found) {
  const auto symbols = SKEP_TRY(file.symbols(table));
  for (u32 i = 0; i < symbols.size(); ++i) {
    const Symbol symbol = symbols.at(i);
    if (symbol.type != symbol_func || symbol.section == index_undefined || symbol.value == 0) continue;
    const std::string_view name = without_version(symbols.name(symbol));
    if (name.empty() || !wanted(name)) continue;
    if (const auto offset = file_offset(file, symbol.value)) found.push_back({std::string(name), *offset, symbol.size});
  }
  return {};
}

}  // namespace

std::optional<u64> file_offset(const File& file, u64 address) {
  for (const Segment& segment : file.segments())
    if (segment.type == segment_load && address >= segment.address && address - segment.address < segment.size_file)
      return address - segment.address + segment.offset;
  return std::nullopt;
}

Result<std::vector<Function>> functions(const File& file, const std::function<bool(std::string_view)>& wanted) {
  if (file.type() == type_relocatable)
    return fail(Code::unsupported, "an object that is not linked: its functions have no place in memory yet");
  std::vector<Function> found;
  for (const Section& section : file.sections())
    if (section.type == section_symtab || section.type == section_dynsym)
      SKEP_TRY(collect(file, section, wanted, found));
  std::ranges::sort(found, [](const Function& a, const Function& b) {
    return a.file_offset != b.file_offset ? a.file_offset < b.file_offset : a.name < b.name;
  });
  const auto same_place = [](const Function& a, const Function& b) {
    return a.file_offset == b.file_offset && a.name == b.name;
  };
  found.erase(std::unique(found.begin(), found.end(), same_place), found.end());
  return found;
}

}  // namespace skep::elf
