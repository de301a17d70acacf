// The last words of a verifier log.
#include "kernel/verifier_log.hpp"

#include <fmt/core.h>

#include <charconv>
#include <vector>

namespace skep::kernel {

namespace {

std::vector<std::string_view> lines_of(std::string_view log) {
  std::vector<std::string_view> lines;
  while (!log.empty()) {
    const auto end = log.find('\n');
    lines.push_back(log.substr(0, end));
    log = end == std::string_view::npos ? std::string_view() : log.substr(end + 1);
  }
  return lines;
}

/// The statistics behind the reason.
bool is_statistics(std::string_view line) {
  return line.empty() || line.starts_with("processed ") || line.starts_with("verification time ") ||
         line.starts_with("stack depth ") || line.find_first_not_of('\0') == std::string_view::npos;
}

/// "12: (79) r1 = ..." gives 12.
std::optional<u32> insn_of(std::string_view line) {
  u32 insn = 0;
  const auto parsed = std::from_chars(line.data(), line.data() + line.size(), insn);
  if (parsed.ec != std::errc() || parsed.ptr == line.data() + line.size() || *parsed.ptr != ':') return std::nullopt;
  return insn;
}

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
  const auto lines = lines_of(log);
  std::size_t last = lines.size();
  while (last > 0 && is_statistics(lines[last - 1])) --last;
  if (last == 0) return refusal;
  refusal.reason = lines[last - 1];
  for (std::size_t i = last; i-- > 0;) {
    if (refusal.source.empty() && lines[i].starts_with("; ")) refusal.source = source_of(lines[i]);
    if (!refusal.insn) refusal.insn = insn_of(lines[i]);
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
