// Explanations: from a refused instruction back to where the trouble began, and out as text for people.
//
// The path that was being explored is still there when a rule fails. Walking it backwards from the register at
// fault finds the instruction that gave it its value: the look-up that was not checked, the load that read a
// pointer as a number, the helper that invalidated the packet. That line is what a programmer needs more often
// than the refused one.
#include "verify/explain.hpp"

#include <algorithm>

#include "isa/registers.hpp"
#include "isa/text.hpp"
#include "verify/c_line.hpp"
#include "verify/checker.hpp"
#include "verify/diagnosis.hpp"

namespace skep::verify {

using isa::Form;

std::string instruction_text(const ProgramSpec& program, u32 insn) {
  if (insn >= program.insns.size() || !isa::decode(program.insns[insn])) return "?";
  isa::PrintOptions options;
  options.call = [](const Insn& call, std::size_t) -> std::string {
    if (call.src != isa::call_src_helper) return {};
    const auto* helper = catalog::helper(static_cast<u32>(call.imm));
    return helper != nullptr ? fmt::format("bpf_{}", helper->name) : std::string();
  };
  return isa::print(program.insns, insn, options);
}

std::string Checker::name(const Register& r) const {
  bool has_map = (r.kind == Kind::map || r.kind == Kind::map_value) && r.object < maps_.size();
  return describe(r, has_map ? std::string_view(maps_[r.object].spec->name) : std::string_view());
}

bool Checker::refuse_with(s32 reg_index, catalog::MessageId id, fmt::format_args args) {
  if (refused_) return false;
  refused_ = true;
  refusal_ = {id, insn_, fmt::vformat(catalog::message(id).reason, args)};
  culprit_ = reg_index;
  return false;
}

std::string Checker::involved_registers() const {
  if (state_.frames[0] == nullptr || refusal_.insn >= analysis_.insns.size() || path_.empty()) return {};
  const Insn& i = program_.insns[refusal_.insn];
  const auto& row = isa::row(analysis_.insns[refusal_.insn].op);
  u16 shown = 0;
  auto show = [&](u32 r) { shown = static_cast<u16>(shown | 1u << r); };
  if (culprit_ >= 0) show(static_cast<u32>(culprit_));
  if (row.form == Form::call_helper) {
    const auto* prototype = catalog::prototype(static_cast<u32>(i.imm));
    for (u32 a = 1; prototype != nullptr && a <= prototype->arg_count(); a++) show(a);
  } else if (row.form == Form::exit) {
    show(0);
  } else {
    if (isa::uses_dst(row.form) && row.form != Form::load && row.form != Form::ld_imm64) show(i.dst);
    if (isa::uses_src(row.op)) show(i.src);
  }
  std::string text;
  for (u32 r = 0; r < isa::register_count; r++)
    if ((shown >> r & 1) != 0) text += fmt::format("{}r{} = {}", text.empty() ? "" : "; ", r, name(state_.reg(r)));
  return text;
}

using c_line::trimmed;

std::string Checker::cause() const {
  if (culprit_ < 0 || path_.size() < 2) return {};
  u32 wanted = static_cast<u32>(culprit_);
  if (const Register& lost = state_.reg(wanted); lost.is_scalar() && lost.object != 0) {
    const u32 at = lost.object - 1;
    std::string where = fmt::format("what r{} held was a pointer until instruction {} ({}) made it invalid", wanted, at,
                                    instruction_text(program_, at));
    if (const SourceLine* line = program_.line_at(at))
      where += fmt::format(", {}:{}: {}", line->file, line->line, trimmed(line->text));
    return where;
  }
  s32 slot = -1;
  u32 depth = state_.depth, frame = depth;
  for (std::size_t at = path_.size() - 1; at-- > 0;) {
    const Step& step = path_[at];
    const Insn& i = program_.insns[step.insn];
    Form f = isa::row(analysis_.insns[step.insn].op).form;
    if (leaves_function(step)) {  // back into a function that has returned
      depth++;
      continue;
    }
    if (step.what == Step::What::descended) {
      bool mine = slot < 0 && frame == depth;
      if (depth > 0) depth--;
      if (mine && wanted >= 1 && wanted <= 5) frame = depth;  // an argument
      if (!(mine && wanted == 0)) continue;
    }
    if (slot >= 0) {
      if (step.what != Step::What::stack_write || step.frame != frame || step.slot != slot) continue;
      slot = -1;
      wanted = i.src;
      frame = depth;
      if (f == Form::store_reg) continue;
    } else {
      if (depth != frame || (isa::registers_written(i, f) >> wanted & 1) == 0) continue;
      bool copies = (f == Form::alu_reg && (i.code & 0xf0) == 0xb0) || f == Form::movsx;
      if (copies && i.code == 0xbf && i.off == 0) {
        wanted = i.src;
        continue;
      }
      if (f == Form::load && step.what == Step::What::stack_read) {
        slot = step.slot;
        frame = step.frame;
        continue;
      }
    }
    std::string where = fmt::format("r{} got its value at instruction {} ({})", wanted, step.insn,
                                    instruction_text(program_, step.insn));
    if (f == Form::call_helper && wanted >= 1 && wanted <= 5)
      where = fmt::format("r{} was given up by the call at instruction {} ({})", wanted, step.insn,
                          instruction_text(program_, step.insn));
    if (const SourceLine* line = program_.line_at(step.insn))
      where += fmt::format(", {}:{}: {}", line->file, line->line, trimmed(line->text));
    return where;
  }
  return {};
}

namespace {
/// Words of `text` in lines of at most `width`, each after `indent`.
void wrap(std::string& out, std::string_view indent, std::string_view text, std::size_t width) {
  std::size_t column = 0;
  bool first = true;
  std::string again;  // of the lines after the first: what marks an event stands once
  for (char c : indent) again += c == '-' || c == '>' ? ' ' : c;
  while (!text.empty()) {
    auto end = std::min(text.find(' '), text.size());
    if (column != 0 && column + 1 + end > width) column = 0;
    if (column == 0) {
      if (!out.empty() && out.back() != '\n') out += '\n';
      out += first ? indent : std::string_view(again);
      first = false;
    } else {
      out += ' ';
      column++;
    }
    out += text.substr(0, end);
    column += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  out += '\n';
}
}  // namespace

namespace {
constexpr std::size_t width = 96, most_lines = 25;

std::string place_of(const SourceLine& l) { return c_line::printable(fmt::format("{}:{}", l.file, l.line)); }

/// The C line with what is refused underlined.
std::string source_text(const SourceLine& l, std::string_view marked) {
  const std::string_view text = c_line::trimmed(l.text);
  const std::size_t shift = l.text.find_first_not_of(" \t\r\n");
  std::string out = fmt::format("  {:>5} | {}\n", l.line, c_line::printable(text));
  if (shift == std::string::npos || l.column <= shift || l.column - 1 - shift >= text.size()) return out;
  std::size_t at = l.column - 1 - shift, from = at, length = 1;
  if (const std::size_t found = c_line::word_at(text, marked); found != std::string_view::npos && found <= at) {
    from = found;
    length = marked.size();
  }
  if (c_line::printable(text.substr(0, from + length)).size() != from + length) return out;  // columns would not fit
  std::string line(from, ' ');
  line += std::string(length, '~');
  line.resize(std::max(line.size(), at + 1), ' ');
  line[at] = '^';
  return out + fmt::format("        | {}\n", line);
}

void add_event(std::string& out, const Event& e, const SourceLine* before) {
  const std::string lead = e.is_cause ? "-> " : "   ";
  if (!e.source) {
    wrap(out, "  " + lead, fmt::format("instruction {}: {}", e.insn, e.text), width);
    return;
  }
  const bool same = before != nullptr && before->line == e.source->line && before->file == e.source->file;
  if (!same) out += fmt::format("  {:>5} | {}\n", e.source->line, c_line::printable(c_line::trimmed(e.source->text)));
  wrap(out, "        " + lead, e.text, width);
}

/// What is told in `space` lines at most: the cause first of all, then the others as they fit.
std::string story(const Diagnosis& d, std::size_t space) {
  std::vector<const Event*> shown;
  for (const Event& e : d.events) shown.push_back(&e);
  while (shown.size() * 2 > space && shown.size() > 1) {
    auto spare = std::find_if(shown.begin(), shown.end(), [](const Event* e) { return !e->is_cause; });
    if (spare == shown.end()) break;
    shown.erase(spare);
  }
  std::string out;
  const SourceLine* before = nullptr;
  for (const Event* e : shown) {
    add_event(out, *e, before);
    before = e->source ? &*e->source : nullptr;
  }
  return out;
}

std::string heat(const Diagnosis& d, u64 insns_processed) {
  constexpr double least_share = 0.0005;  // what would be printed as 0.0 % says nothing
  std::string out;
  if (!d.hot_lines.empty()) out += fmt::format("  where the {} processed instructions went:\n", insns_processed);
  for (const HotLine& h : d.hot_lines)
    if (h.share >= least_share)
      out += fmt::format("  {:>5} | {:>5.1f} % {}\n", h.source.line, 100 * h.share,
                         c_line::printable(c_line::trimmed(h.source.text)));
  if (!d.kept_apart.empty()) wrap(out, "  ", "kept states apart: " + d.kept_apart, width);
  return out;
}

std::size_t line_count(std::string_view text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}
}  // namespace

std::string explain(const Report& report, const ProgramSpec& program) { return explain(report, program, nullptr); }

std::string explain(const Report& report, const ProgramSpec& program, const Diagnosis* diagnosis,
                    std::string_view fix) {
  const std::string program_name = c_line::printable(program.name);
  if (report.accepted)
    return fmt::format("{}: accepted ({} instructions, {} states, {} us)\n", program_name, report.insns_processed,
                       report.states, report.time_ns / 1000);
  if (!report.rejection) return fmt::format("{}: not decided\n", program_name);
  const Rejection& r = *report.rejection;
  static const Diagnosis nothing{};
  const Diagnosis& d = diagnosis != nullptr ? *diagnosis : nothing;
  const catalog::MessageRow* row = catalog::message(r.id);
  std::string head, tail;
  const std::string title = fmt::format("{} refused [V{:03} {}]", program_name, row != nullptr ? row->number : 0, r.id);
  if (r.source)
    head = fmt::format("{}:{}: {}\n{}", place_of(*r.source), r.source->column, title,
                       source_text(*r.source, d.variable.name));
  else
    head = fmt::format("{} at instruction {}\n", title, r.insn);
  std::string what;
  if (!d.variable.name.empty())
    what = d.variable.type.empty() ? fmt::format("`{}`: ", d.variable.name)
                                   : fmt::format("`{}` ({}): ", d.variable.name, d.variable.type);
  wrap(head, "  ", c_line::printable(what + r.reason) + ".", width);
  if (!d.needed.empty() && !d.proved.empty())
    wrap(head, "  ", c_line::printable(fmt::format("needed: {}; proved: {}", d.needed, d.proved)), width);
  else if (!d.needed.empty())
    wrap(head, "  ", c_line::printable(d.needed) + ".", width);
  std::string machine = fmt::format("  instruction {}: {}\n", r.insn, r.insn_text);
  if (!r.registers.empty()) wrap(machine, "    ", c_line::printable(r.registers), width);
  if (d.events.empty() && !r.cause.empty()) wrap(tail, "  ", "because: " + c_line::printable(r.cause), width);
  tail += heat(d, report.insns_processed);
  wrap(tail, "  ", "what to do: " + c_line::printable(d.advice.empty() ? r.advice : d.advice), width);
  tail += fix;
  const std::size_t fixed = line_count(head) + line_count(tail);
  if (!fix.empty() && fixed + line_count(machine) + 2 * std::min<std::size_t>(d.events.size(), 2) > most_lines)
    machine.clear();
  const std::size_t used = fixed + line_count(machine);
  return head + story(d, used < most_lines ? most_lines - used : 2) + machine + tail;
}

}  // namespace skep::verify
