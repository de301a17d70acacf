// From a log's lines to a rejection with its cause.
#include "explain/kernel_log.hpp"

#include <fmt/format.h>

#include <charconv>
#include <span>
#include <utility>
#include <vector>

#include "catalog/kernel_log.hpp"
#include "catalog/kernel_messages.hpp"
#include "isa/isa.hpp"
#include "isa/registers.hpp"
#include "verify/c_line.hpp"
#include "verify/diagnosis.hpp"
#include "verify/explain.hpp"

namespace skep::explain {

namespace c_line = verify::c_line;

namespace {
/// How many instructions of a carrier (kernel/carry.cpp) stand before the program in the kernel's log: 0 mostly. The
/// carrier's instructions have a remark that says so; the program's own begin below the next remark.
u32 carrier_length(std::string_view log) {
  auto at = log.find("; /* skep: ");
  if (at == std::string_view::npos) return 0;
  at = log.find("\n; ", at);
  if (at == std::string_view::npos) return 0;
  const auto line = log.find('\n', at + 1);
  return line == std::string_view::npos ? 0 : catalog::insn_of_kernel_line(log.substr(line + 1)).value_or(0);
}

/// The program's own instruction that a line of the log tells of.
std::optional<u32> own_insn(std::string_view line, u32 carrier, const ProgramSpec& program) {
  const auto insn = catalog::insn_of_kernel_line(line);
  if (!insn || *insn < carrier || *insn - carrier >= program.insns.size()) return std::nullopt;
  return *insn - carrier;
}

/// "R7 invalid mem access" gives 7.
std::optional<u32> register_of(std::string_view line) {
  const auto at = line.find('R');
  if (at == std::string_view::npos) return std::nullopt;
  u32 number = 0;
  const auto parsed = std::from_chars(line.data() + at + 1, line.data() + line.size(), number);
  return parsed.ec == std::errc() && number < isa::register_count ? std::optional<u32>(number) : std::nullopt;
}

/// "R0_w=map_value_or_null(...)" of the last line that has the register's state.
std::string state_of(std::span<const std::string_view> lines, u32 reg) {
  for (std::size_t i = lines.size(); i-- > 0;)
    for (std::string_view suffix : {"_w=", "=", "_rw=", "_r="}) {
      const std::string name = fmt::format("R{}{}", reg, suffix);
      const auto at = lines[i].find(name);
      if (at == std::string_view::npos || (at > 0 && lines[i][at - 1] != ' ')) continue;
      std::string_view value = lines[i].substr(at + name.size());
      int depth = 0;
      std::size_t end = 0;
      for (; end < value.size() && (depth > 0 || value[end] != ' '); end++) {
        if (value[end] == '(') depth++;
        if (value[end] == ')') depth--;
      }
      return fmt::format("r{} = {}", reg, value.substr(0, end));
    }
  return {};
}

/// The last instruction of the trail, before the one refused, that wrote the register; moves are followed.
std::optional<u32> writer_of(std::span<const std::string_view> lines, u32 reg, u32 carrier,
                             const ProgramSpec& program) {
  bool at_refused = true;
  for (std::size_t i = lines.size(); i-- > 0;) {
    const auto insn = own_insn(lines[i], carrier, program);
    if (!insn) continue;
    if (std::exchange(at_refused, false)) continue;
    const Insn& written = program.insns[*insn];
    const auto op = isa::decode(written);
    if (!op || (isa::registers_written(written, isa::row(*op).form) >> reg & 1) == 0) continue;
    if (written.code == 0xbf && written.off == 0) {
      reg = written.src;
      continue;
    }
    return insn;
  }
  return std::nullopt;
}
}  // namespace

std::optional<verify::Refused> refusal_from_log(std::string_view log, const ProgramSpec& program) {
  const u32 carrier = carrier_length(log);
  const auto lines = catalog::lines_of_kernel_log(log);
  if (lines.empty() || catalog::insn_of_kernel_line(lines.back())) return std::nullopt;
  verify::Rejection r;
  std::string_view words = lines.back();
  auto id = catalog::message_of_kernel(words);
  // Some refusals end with a remark; the reason is a line above.
  for (std::size_t i = lines.size() - 1;
       !id && i-- > 0 && i + 4 > lines.size() && !catalog::insn_of_kernel_line(lines[i]);)
    if ((id = catalog::message_of_kernel(lines[i]))) words = lines[i];
  r.id = "kernel";
  r.advice = "The kernel's log (--log) has the registers at every instruction.";
  if (id) {
    const catalog::MessageRow& row = catalog::message(*id);
    r.id = row.name;
    r.advice = row.advice;
  }
  r.reason = fmt::format("the kernel says: {}", c_line::printable(words));
  bool found = false;
  for (std::size_t i = lines.size(); i-- > 0 && !found;)
    if (const auto insn = own_insn(lines[i], carrier, program)) {
      r.insn = *insn;
      found = true;
    }
  r.insn_text = verify::instruction_text(program, r.insn);
  if (const SourceLine* line = program.line_at(r.insn)) r.source = *line;
  auto diagnosis = std::make_shared<verify::Diagnosis>();
  if (const auto reg = register_of(words); found && reg) {
    r.registers = c_line::printable(state_of(lines, *reg));
    if (const auto writer = writer_of(lines, *reg, carrier, program)) {
      verify::Event e;
      e.role = verify::Event::Role::origin;
      e.is_cause = true;
      e.insn = *writer;
      e.text = fmt::format("r{} got its value here", *reg);
      if (const SourceLine* line = program.line_at(*writer)) e.source = *line;
      diagnosis->events.push_back(std::move(e));
    }
  }
  return verify::Refused{std::move(r), std::move(diagnosis)};
}

bool is_log_of(std::string_view log, const ProgramSpec& program) {
  const auto lines = catalog::lines_of_kernel_log(log);
  for (std::size_t i = lines.size(); i-- > 0;) {
    const auto insn = catalog::insn_of_kernel_line(lines[i]);
    if (!insn) continue;
    const auto code = lines[i].find(": (") + 3;
    u32 opcode = 0;
    std::from_chars(lines[i].data() + code, lines[i].data() + lines[i].size(), opcode, 16);
    return *insn < program.insns.size() && program.insns[*insn].code == opcode;
  }
  return false;
}

}  // namespace skep::explain
