// See beyond_lines.hpp.
#include "explain/beyond_lines.hpp"

#include <algorithm>
#include <optional>

#include "verify/c_line.hpp"

namespace skep::explain {

using verify::Diagnosis;
using verify::Event;
using verify::Remedy;

namespace {
constexpr u32 longest_body = 24;  // lines between a loop's head and what is known of its body

/// The head of the innermost loop around line `number`, by the braces between.
std::optional<u32> loop_head(const Source& source, u32 number) {
  const auto function = source.function_at(number);
  int closed = 0;  // blocks that begin and end between the two lines
  for (u32 n = number - 1; function && n > function->body && number - n < longest_body; n--) {
    const std::string_view code = code_of(source.line(n));
    closed += static_cast<int>(std::ranges::count(code, '}'));
    const int opened = static_cast<int>(std::ranges::count(code, '{'));
    const bool surrounds = opened > closed || (opened == 0 && closed == 0 && n + 1 == number);
    if (surrounds && verify::c_line::heads_loop(code)) return n;
    closed = std::max(closed - opened, 0);
  }
  return std::nullopt;
}
}  // namespace

std::shared_ptr<const Diagnosis> with_source(std::shared_ptr<const Diagnosis> diagnosis, const Source& source) {
  if (diagnosis == nullptr || diagnosis->remedy != Remedy::bound_loop) return diagnosis;
  const Event* cause = diagnosis->cause();
  if (cause == nullptr || !cause->source || verify::c_line::heads_loop(cause->source->text)) return diagnosis;
  const u32 line = cause->source->line;
  if (line == 0 || source.line(line) != cause->source->text) return diagnosis;  // of another file, or edited since
  const auto head = loop_head(source, line);
  if (!head) return diagnosis;
  auto told = std::make_shared<Diagnosis>(*diagnosis);
  for (Event& e : told->events) {
    if (!e.is_cause) continue;
    e.source->line = *head;
    e.source->column = static_cast<u32>(source.indent(*head).size()) + 1;
    e.source->text = source.line(*head);
  }
  told->facts.branch_line = *head;
  return told;
}

}  // namespace skep::explain
