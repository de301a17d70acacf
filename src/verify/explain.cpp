// Explanations: from a refused instruction back to where the trouble began, and out as text for people.
//
// The path that was being explored is still there when a rule fails. Walking it backwards from the register at
// fault finds the instruction that gave it its value: the look-up that was not checked, the load that read a
// pointer as a number, the helper that invalidated the packet. That line is what a programmer needs more often
// than the refused one.
#include "verify/explain.hpp"

#include "isa/text.hpp"
#include "verify/checker.hpp"

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

namespace {

std::string_view trimmed(std::string_view text) {
  auto first = text.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}
/// Registers an instruction changes, as a mask; calls change r0 to r5.
u16 written_by(const Insn& i, Form f) {
  switch (f) {
    case Form::alu_imm:
    case Form::alu_reg:
    case Form::alu_unary:
    case Form::movsx:
    case Form::addr_space_cast:
    case Form::endian:
    case Form::load:
    case Form::load_acquire:
    case Form::ld_imm64:
      return static_cast<u16>(1u << i.dst);
    case Form::atomic_fetch:
      return static_cast<u16>(1u << i.src);
    case Form::cmpxchg:
      return 1;
    case Form::call_helper:
    case Form::call_local:
    case Form::call_kfunc:
    case Form::callx:
    case Form::ld_abs:
    case Form::ld_ind:
      return 0x3f;
    default:
      return 0;
  }
}
}  // namespace

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
    if (f == Form::exit) {  // back into a function that has returned
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
      if (depth != frame || (written_by(i, f) >> wanted & 1) == 0) continue;
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
  while (!text.empty()) {
    auto end = std::min(text.find(' '), text.size());
    if (column != 0 && column + 1 + end > width) column = 0;
    if (column == 0) {
      if (!out.empty() && out.back() != '\n') out += '\n';
      out += indent;
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

std::string explain(const Report& report, const ProgramSpec& program) {
  if (report.accepted)
    return fmt::format("{}: accepted ({} instructions, {} states, {} us)\n", program.name, report.insns_processed,
                       report.states, report.time_ns / 1000);
  if (!report.rejection) return fmt::format("{}: not decided\n", program.name);
  const Rejection& r = *report.rejection;
  constexpr std::size_t width = 96;
  std::string out;
  if (r.source) {
    out += fmt::format("{}:{}:{}: {} refused [{}]\n", r.source->file, r.source->line, r.source->column, program.name,
                       r.id);
    out += fmt::format("  {:>5} | {}\n", r.source->line, trimmed(r.source->text));
  } else {
    out += fmt::format("{}: refused at instruction {} [{}]\n", program.name, r.insn, r.id);
  }
  wrap(out, "  ", r.reason + ".", width);
  out += fmt::format("  instruction {}: {}\n", r.insn, r.insn_text);
  if (!r.registers.empty()) wrap(out, "    ", r.registers, width);
  if (!r.cause.empty()) wrap(out, "  ", "because: " + r.cause, width);
  wrap(out, "  ", "what to do: " + r.advice, width);
  return out;
}

void Checker::log_state() {
  constexpr std::size_t limit = 64u << 20;
  if (log_.size() > limit) return;
  log_ += fmt::format("{}:", insn_);
  for (u32 r = 0; r < isa::register_count; r++)
    if (reg(r).kind != Kind::uninitialised && r != isa::frame_pointer) log_ += fmt::format(" r{}={}", r, name(reg(r)));
  log_ += fmt::format("\n    {}\n", instruction_text(program_, insn_));
}

}  // namespace skep::verify
