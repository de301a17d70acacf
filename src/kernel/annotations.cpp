// Writing func_info and line_info.
#include "kernel/annotations.hpp"

#include <algorithm>

#include "isa/isa.hpp"

namespace skep::kernel {

namespace {

constexpr u32 most_line = (1u << 22) - 1, most_column = (1u << 10) - 1;  // the bits line_col has for each

std::vector<uapi::FuncInfo> function_records(const ProgramSpec& program) {
  std::vector<uapi::FuncInfo> records;
  for (const FunctionInfo& function : program.functions) {
    if (function.type_id == 0) return {};  // the kernel wants all or none
    records.push_back({function.insn, function.type_id});
  }
  return records;
}

bool covers_every_function(const std::vector<uapi::LineInfo>& lines, const ProgramSpec& program) {
  const auto has_line = [&](u32 insn) {
    return std::ranges::binary_search(lines, insn, {}, &uapi::LineInfo::insn_off);
  };
  if (program.functions.empty()) return has_line(0);
  return std::ranges::all_of(program.functions, has_line, &FunctionInfo::insn);
}

std::vector<bool> second_slots(const std::vector<Insn>& insns) {
  std::vector<bool> second(insns.size());
  for (std::size_t i = 0; i + 1 < insns.size(); ++i)
    if (isa::is_ld_imm64(insns[i])) second[++i] = true;
  return second;
}

std::vector<uapi::LineInfo> line_records(const ProgramSpec& program, TypesImage& image) {
  const auto second = second_slots(program.insns);
  std::vector<uapi::LineInfo> records;
  for (const SourceLine& line : program.lines) {
    if (line.insn >= program.insns.size() || second[line.insn]) continue;
    if (!records.empty() && records.back().insn_off >= line.insn) continue;
    records.push_back({line.insn, image.string(line.file), image.string(line.text),
                       std::min(line.line, most_line) << 10 | std::min(line.column, most_column)});
  }
  if (!covers_every_function(records, program)) records.clear();
  return records;
}

}  // namespace

Annotations annotate(const ProgramSpec& program, TypesImage& image) {
  return {function_records(program), line_records(program, image)};
}

void make_functions_static(ProgramSpec& program, TypesImage& image) {
  if (program.functions.empty()) return;
  for (std::size_t i = 1; i < program.functions.size(); ++i) {
    FunctionInfo& function = program.functions[i];
    const std::string name = i == 1 ? function.name + "_body" : function.name;
    function.type_id = image.static_twin(function.type_id, name);
    function.is_global = false;
  }
  program.functions[0].type_id = image.context_function(program.functions[0].name);
}

}  // namespace skep::kernel
