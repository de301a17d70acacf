// See listing.hpp.
#include "spec/listing.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/helpers.hpp"
#include "isa/isa.hpp"
#include "isa/text.hpp"

namespace skep::spec {
namespace {

constexpr u8 call_code = 0x85, call_of_helper = 0;

std::string helper_name(const Insn& call) {
  if (call.code != call_code || call.src != call_of_helper || call.imm <= 0) return {};
  const auto* row = catalog::helper(static_cast<u32>(call.imm));
  return row == nullptr ? std::string() : "bpf_" + std::string(row->name);
}

const Reference* reference_at(const ProgramSpec& program, std::size_t insn) {
  const auto found = std::ranges::lower_bound(program.references, insn, {}, &Reference::insn);
  return found != program.references.end() && found->insn == insn ? &*found : nullptr;
}

const FunctionInfo* function_at(const ProgramSpec& program, s64 insn) {
  const auto found =
      std::ranges::lower_bound(program.functions, insn, {}, [](const FunctionInfo& f) { return s64{f.insn}; });
  return found != program.functions.end() && s64{found->insn} == insn ? &*found : nullptr;
}

std::string call_name(const ProgramSpec& program, const Insn& call, std::size_t index) {
  constexpr u8 call_of_subprogram = 1;
  if (const Reference* const reference = reference_at(program, index)) return reference->name;
  if (call.src != call_of_subprogram) return helper_name(call);
  const FunctionInfo* const target = function_at(program, static_cast<s64>(index) + 1 + call.imm);
  return target == nullptr ? std::string() : target->name;
}

/// "map[hits]", "map[.rodata][0]+8"; "" where the number says all.
std::string immediate_name(const ObjectSpec& object, const ProgramSpec& program, std::size_t index) {
  const Reference* const reference = reference_at(program, index);
  if (reference == nullptr || reference->kind == Reference::Kind::function) return {};
  const bool is_map = reference->kind == Reference::Kind::map || reference->kind == Reference::Kind::map_value;
  if (!is_map) return reference->name;
  if (reference->map >= object.maps.size()) return {};
  const std::string& name = object.maps[reference->map].name;
  return reference->kind == Reference::Kind::map ? fmt::format("map[{}]", name)
                                                 : fmt::format("map[{}][0]+{}", name, reference->addend);
}

}  // namespace

std::string listing(const ObjectSpec& object, const ProgramSpec& program) {
  isa::PrintOptions options;
  options.opcode = true;
  options.call = [&](const Insn& call, std::size_t index) { return call_name(program, call, index); };
  options.immediate = [&](const Insn&, std::size_t index) { return immediate_name(object, program, index); };
  std::string out;
  const SourceLine* shown = nullptr;
  for (std::size_t i = 0; i < program.insns.size(); i += isa::is_ld_imm64(program.insns[i]) ? 2 : 1) {
    const FunctionInfo* const function = function_at(program, static_cast<s64>(i));
    if (function != nullptr && i != 0) out += fmt::format("{}:\n", function->name);
    const SourceLine* const line = program.line_at(static_cast<u32>(i));
    const bool same = shown != nullptr && line != nullptr && shown->line == line->line && shown->file == line->file;
    if (line != nullptr && !same && !line->text.empty()) {
      const std::size_t from = line->text.find_first_not_of(" \t");
      if (from != std::string::npos) out += fmt::format("; {}\n", std::string_view(line->text).substr(from));
    }
    shown = line;
    out += fmt::format("{:4}: {}\n", i, isa::print(program.insns, i, options));
  }
  return out;
}

std::string listing(std::span<const Insn> insns) {
  isa::PrintOptions options;
  options.call = [](const Insn& call, std::size_t) { return helper_name(call); };
  return isa::disassemble(insns, options);
}

}  // namespace skep::spec
