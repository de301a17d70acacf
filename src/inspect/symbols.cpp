// The kernel replaces a helper's number by the distance of its function from __bpf_call_base. The symbol
// table has about 200,000 lines, so it is read once and searched only for the addresses that are called.
#include "inspect/symbols.hpp"

#include <charconv>
#include <optional>
#include <string_view>

#include "base/mapped_file.hpp"

namespace skep::inspect {
namespace {

struct Symbol {
  u64 address = 0;
  std::string_view name;
};

/// The next "ffffffff81000000 T name [module]" of `text`, which moves past it.
std::optional<Symbol> next_symbol(std::string_view& text) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    Symbol symbol;
    const auto [stop, error] = std::from_chars(line.data(), line.data() + line.size(), symbol.address, 16);
    const auto used = static_cast<std::size_t>(stop - line.data());
    if (error != std::errc() || line.size() < used + 4) continue;
    symbol.name = line.substr(
        used + 3, line.find('\t') == std::string_view::npos ? std::string_view::npos : line.find('\t') - used - 3);
    return symbol;
  }
  return std::nullopt;
}

}  // namespace

CallNames kernel_call_names(const ProgramCode& code) {
  CallNames names;
  names.subprograms.resize(code.jited_addresses.size());
  constexpr std::size_t limit_bytes = 256u << 20;
  const auto table = base::read_text("/proc/kallsyms", limit_bytes);
  if (!table) return names;
  std::string_view text = *table;
  u64 base_address = 0;
  while (const auto symbol = next_symbol(text))
    if (symbol->name == "__bpf_call_base") base_address = symbol->address;
  if (base_address == 0) return names;
  std::unordered_map<u64, s32> helpers;
  for (const auto& insn : code.insns)
    if (insn.code == 0x85 && (insn.src == 0 || insn.src == 2))  // kernel functions are called as helpers are
      helpers.emplace(base_address + static_cast<u64>(static_cast<s64>(insn.imm)), insn.imm);
  std::unordered_map<u64, std::size_t> subprograms;
  for (std::size_t i = 0; i < code.jited_addresses.size(); ++i) subprograms.emplace(code.jited_addresses[i], i);
  text = *table;
  while (const auto symbol = next_symbol(text)) {
    if (const auto found = helpers.find(symbol->address); found != helpers.end())
      names.helpers.emplace(found->second, symbol->name);
    if (const auto found = subprograms.find(symbol->address); found != subprograms.end())
      names.subprograms[found->second] = symbol->name;
  }
  return names;
}

}  // namespace skep::inspect
