// Collecting and searching functions. See code_symbols.hpp.
#include "symbols/code_symbols.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

namespace skep::symbols {

namespace {

constexpr u32 most_symbols = 4u << 20;
constexpr std::size_t longest_name = 16384;
constexpr std::size_t most_steps_back = 64;  // functions inside functions; a file may claim more to waste our time
constexpr u64 size_unknown = 4096;           // of the last function, where the file says no size

/// Code that has a name worth printing. Labels of assembly have no type; local ones are marks inside functions.
bool names_code(const elf::Symbol& symbol, const elf::File& file) {
  if (symbol.section == elf::index_undefined || symbol.value == 0 || symbol.name_offset == 0) return false;
  if (symbol.type == elf::symbol_func || symbol.type == elf::symbol_ifunc) return true;
  return symbol.type == elf::symbol_notype && symbol.binding != elf::bind_local &&
         symbol.section < file.sections().size() && file.sections()[symbol.section].executable();
}

/// Of several names for one place: global before weak before local, typed before labels, sized before not.
u8 rank(const elf::Symbol& symbol) {
  const int binding = symbol.binding == elf::bind_global ? 0 : symbol.binding == elf::bind_weak ? 1 : 2;
  return static_cast<u8>((symbol.type == elf::symbol_notype ? 8 : 0) + (symbol.size == 0 ? 4 : 0) + binding);
}

}  // namespace

struct CodeSymbols::Ranked {
  Entry entry;
  u32 index;
  u8 rank;
};

Result<void> CodeSymbols::collect(const elf::SymbolTable& symbols, const elf::File& file) {
  std::vector<Ranked> found;
  for (u32 i = 0; i < symbols.size(); ++i) {
    const elf::Symbol symbol = symbols.at(i);
    if (!names_code(symbol, file)) continue;
    if (found.size() == most_symbols) return fail(Code::limit, fmt::format("more than {} functions", most_symbols));
    const auto size = static_cast<u32>(std::min<u64>(symbol.size, std::numeric_limits<u32>::max()));
    found.push_back({{symbol.value, size, symbol.name_offset}, i, rank(symbol)});
  }
  std::ranges::sort(found, [](const Ranked& a, const Ranked& b) {
    if (a.entry.address != b.entry.address) return a.entry.address < b.entry.address;
    return a.rank != b.rank ? a.rank < b.rank : a.index < b.index;
  });
  const auto same = [](const Ranked& a, const Ranked& b) { return a.entry.address == b.entry.address; };
  found.erase(std::unique(found.begin(), found.end(), same), found.end());
  entries_.reserve(found.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    Entry entry = found[i].entry;
    if (entry.size == 0) {
      const u64 space = i + 1 < found.size() ? found[i + 1].entry.address - entry.address : size_unknown;
      entry.size = static_cast<u32>(std::min<u64>(space, std::numeric_limits<u32>::max()));
    }
    entries_.push_back(entry);
  }
  return {};
}

Result<CodeSymbols> CodeSymbols::read(elf::FileImage& image, const elf::Section& table,
                                      std::shared_ptr<const base::Fd> strings) {
  if (table.size / 24 > 2 * u64{most_symbols})
    return fail(Code::limit, fmt::format("a symbol table of {} MiB", table.size >> 20));
  SKEP_TRY(image.load(table));
  for (const elf::Section& section : image.file().sections())  // extended section numbers, where there are any
    if (section.link == table.index && section.type == elf::section_symtab_shndx) {
      SKEP_TRY(image.load(section));
      break;
    }
  const auto symbols = SKEP_TRY(image.file().symbols(table));
  CodeSymbols out;
  SKEP_TRY(out.collect(symbols, image.file()));
  const elf::Section& names = image.file().sections()[table.link];  // symbols() has looked
  out.names_ = std::move(strings);
  out.names_offset_ = names.offset;
  out.names_size_ = names.size;
  return out;
}

Result<CodeSymbols> CodeSymbols::read(const elf::File& file, const elf::Section& table) {
  const auto symbols = SKEP_TRY(file.symbols(table));
  CodeSymbols out;
  SKEP_TRY(out.collect(symbols, file));
  const auto names = SKEP_TRY(file.contents(file.sections()[table.link]));
  out.name_bytes_.assign(names.begin(), names.end());
  out.names_size_ = names.size();
  return out;
}

std::string CodeSymbols::name(std::size_t index) const {
  const u32 at = entries_[index].name;
  if (at >= names_size_) return {};
  const std::size_t most = std::min<u64>(names_size_ - at, longest_name);
  if (!names_) {
    const auto* begin = reinterpret_cast<const char*>(name_bytes_.data()) + at;
    return {begin, ::strnlen(begin, most)};
  }
  std::string name;
  std::array<char, 256> piece;
  while (name.size() < most) {
    const std::size_t wanted = std::min(piece.size(), most - name.size());
    const ssize_t got =
        ::pread(names_->get(), piece.data(), wanted, static_cast<off_t>(names_offset_ + at + name.size()));
    if (got <= 0) return {};
    const std::size_t length = ::strnlen(piece.data(), static_cast<std::size_t>(got));
    name.append(piece.data(), length);
    if (length < static_cast<std::size_t>(got)) break;
  }
  return name;
}

std::optional<CodeSymbols::Found> CodeSymbols::find(u64 address) const {
  auto at = std::upper_bound(entries_.begin(), entries_.end(), address,
                             [](u64 wanted, const Entry& entry) { return wanted < entry.address; });
  for (std::size_t steps = 0; at != entries_.begin() && steps < most_steps_back; ++steps) {
    --at;
    if (address - at->address >= at->size) continue;
    Found found{name(static_cast<std::size_t>(at - entries_.begin())), address - at->address};
    if (!found.name.empty()) return found;
  }
  return std::nullopt;
}

}  // namespace skep::symbols
