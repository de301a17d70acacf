// The last words of a verifier log, as one sentence.
#include "kernel/verifier_log.hpp"

#include <fmt/core.h>

#include "catalog/kernel_log.hpp"

namespace skep::kernel {

namespace {

/// "; text @ file:line" (6.7 and later) gives "file:line: text"; "; text" gives "text".
std::string source_of(std::string_view line) {
  line.remove_prefix(2);
  const auto at = line.rfind(" @ ");
  if (at == std::string_view::npos) return std::string(line);
  return fmt::format("{}: {}", line.substr(at + 3), line.substr(0, at));
}

}  // namespace

Refusal read_refusal(std::string_view log) {
  Refusal refusal;
  const auto lines = catalog::lines_of_kernel_log(log);
  if (lines.empty()) return refusal;
  refusal.reason = lines.back();
  for (std::size_t i = lines.size(); i-- > 0;) {
    if (refusal.source.empty() && lines[i].starts_with("; ")) refusal.source = source_of(lines[i]);
    if (!refusal.insn) refusal.insn = catalog::insn_of_kernel_line(lines[i]);
    if (refusal.insn && !refusal.source.empty()) break;
  }
  return refusal;
}

std::string explain_rejection(std::string_view log, const ProgramSpec& program) {
  const Refusal refusal = read_refusal(log);
  if (refusal.reason.empty()) return "the kernel's verifier refused it without a word";
  std::string text = fmt::format("the kernel's verifier refused it: {}", refusal.reason);
  if (refusal.insn) text += fmt::format(" (at instruction {})", *refusal.insn);
  std::string source = refusal.source;
  if (const SourceLine* line = refusal.insn ? program.line_at(*refusal.insn) : nullptr)
    source = fmt::format(
        "{}:{}: {}", line->file, line->line,
        std::string_view(line->text).substr(std::min(line->text.find_first_not_of(" \t"), line->text.size())));
  if (!source.empty()) text += "\n  " + source;
  return text;
}

}  // namespace skep::kernel
