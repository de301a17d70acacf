// The kernel replaces a helper's number by the distance of its function from __bpf_call_base, so a call's address is
// known, and its name stands in the symbol table.
#include "inspect/symbols.hpp"

#include "symbols/kernel_symbols.hpp"

namespace skep::inspect {

CallNames kernel_call_names(const ProgramCode& code) {
  CallNames names;
  names.subprograms.resize(code.jited_addresses.size());
  const auto table = symbols::KernelSymbols::read();
  const auto base = table ? table->address_of("__bpf_call_base") : std::nullopt;
  if (!base) return names;
  const auto name_at = [&](u64 address) {
    const auto found = table->find(address);
    return found && found->offset == 0 ? std::string(found->symbol.name) : std::string();
  };
  for (const auto& insn : code.insns) {
    if (insn.code != 0x85 || (insn.src != 0 && insn.src != 2)) continue;  // kernel functions are called as helpers are
    const std::string name = name_at(*base + static_cast<u64>(static_cast<s64>(insn.imm)));
    if (!name.empty()) names.helpers.emplace(insn.imm, name);
  }
  for (std::size_t i = 0; i < code.jited_addresses.size(); ++i) names.subprograms[i] = name_at(code.jited_addresses[i]);
  return names;
}

}  // namespace skep::inspect
