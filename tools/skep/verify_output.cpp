// Verdicts as text and as JSON.
#include "verify_output.hpp"

#include <fmt/format.h>
#include <sys/utsname.h>

#include "base/json_writer.hpp"
#include "catalog/messages.hpp"
#include "verify/c_line.hpp"
#include "verify/diagnosis.hpp"

namespace skep::tools {

namespace {

void write_source(base::JsonWriter& json, const std::optional<SourceLine>& source) {
  json.key("source");
  if (!source) return json.null();
  json.begin_object();
  json.member("file", source->file);
  json.member("line", source->line);
  json.member("column", source->column);
  json.member("text", source->text);
  json.end_object();
}

void write_diagnosis(base::JsonWriter& json, const verify::Diagnosis& d) {
  json.key("variable");
  if (d.variable.name.empty()) {
    json.null();
  } else {
    json.begin_object();
    json.member("name", d.variable.name);
    json.member("type", d.variable.type);
    json.end_object();
  }
  json.member("needed", d.needed);
  json.member("proved", d.proved);
  json.member("remedy", name_of(d.remedy));
  json.key("events");
  json.begin_array();
  for (const verify::Event& e : d.events) {
    json.begin_object();
    json.member("role", name_of(e.role));
    json.member("is_cause", e.is_cause);
    json.member("insn", e.insn);
    json.member("text", e.text);
    write_source(json, e.source);
    json.end_object();
  }
  json.end_array();
  json.key("hot_lines");
  json.begin_array();
  for (const verify::HotLine& h : d.hot_lines) {
    json.begin_object();
    json.member("insn", h.insn);
    json.member("insns_processed", h.insns_processed);
    json.member("percent", static_cast<u64>(100 * h.share + 0.5));
    write_source(json, h.source);
    json.end_object();
  }
  json.end_array();
  json.member("kept_apart", d.kept_apart);
}

void write_rejection(base::JsonWriter& json, const verify::Rejection& r, const verify::Diagnosis* diagnosis,
                     const std::optional<explain::Fix>& fix) {
  json.member("insn", r.insn);
  json.member("insn_text", r.insn_text);
  json.member("registers", r.registers);
  json.member("cause", r.cause);
  json.member("advice", diagnosis != nullptr && !diagnosis->advice.empty() ? diagnosis->advice : r.advice);
  const catalog::MessageRow* row = catalog::message(r.id);
  json.member("id", row != nullptr ? fmt::format("V{:03}", row->number) : std::string());
  json.member("family", row != nullptr ? name_of(row->family) : std::string_view());
  if (diagnosis != nullptr) write_diagnosis(json, *diagnosis);
  json.key("fix");
  if (!fix) return json.null();
  json.begin_object();
  json.member("what", fix->what);
  json.member("verified", true);
  json.member("diff", fix->diff);
  json.end_object();
}

/// The change as lines of the explanation. What the diff takes from the file is made printable.
std::string fix_text(const explain::Fix& fix) {
  std::string text =
      fmt::format("  this change was {}verified: {}\n", fix.text.empty() ? "" : "compiled and ", fix.what);
  std::string_view rest = fix.diff;
  while (!rest.empty()) {
    const auto end = rest.find('\n');
    text += verify::c_line::printable(rest.substr(0, end)) + "\n";
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  }
  return text;
}

/// What Linux says, in one line.
std::string kernel_text(const verify::Report& report, const kernel::KernelVerdict& kernel) {
  utsname machine{};
  uname(&machine);
  const std::string work = fmt::format("{} instructions processed, {:.0f} us", kernel.insns, kernel.time_us);
  const char* differs = kernel.is_judged() && kernel.is_accepted() != report.accepted ? "  (differs)" : "";
  if (kernel.is_accepted()) return fmt::format("  Linux {}: accepted, {}{}\n", machine.release, work, differs);
  const std::string reason = verify::c_line::printable(kernel.reason);
  if (kernel.kind == kernel::KernelVerdict::Kind::refused)
    return fmt::format("  Linux {}: refused, {}: {}{}\n", machine.release, work, reason, differs);
  return fmt::format("  Linux {}: not judged: {}\n", machine.release, reason);
}

void write_kernel(base::JsonWriter& json, const kernel::KernelVerdict& kernel) {
  constexpr const char* kinds[] = {"accepted", "refused", "denied", "lacking"};
  json.key("kernel");
  json.begin_object();
  json.member("verdict", kinds[static_cast<std::size_t>(kernel.kind)]);
  json.key("reason");
  kernel.is_accepted() ? json.null() : json.string(kernel.reason);
  json.member("insns_processed", kernel.insns);
  json.member("states", kernel.states);
  json.member("time_ns", static_cast<u64>(kernel.time_us * 1e3));
  json.end_object();
}

}  // namespace

std::string verdict_json(const ProgramSpec& program, const verify::Report& report, const verify::Diagnosis* diagnosis,
                         const std::optional<explain::Fix>& fix, const kernel::KernelVerdict* kernel) {
  base::JsonWriter json;
  json.begin_object();
  json.member("program", program.name);
  json.member("section", program.section);
  json.member("type", name_of(program.type));
  json.member("accepted", report.accepted);
  const auto& rejection = report.rejection;
  json.key("reason_id");
  rejection ? json.string(rejection->id) : json.null();
  json.key("reason");
  rejection ? json.string(rejection->reason) : json.null();
  write_source(json, rejection ? rejection->source : std::nullopt);
  if (rejection) write_rejection(json, *rejection, diagnosis, fix);
  json.member("insns_processed", report.insns_processed);
  json.member("states", report.states);
  json.member("time_ns", report.time_ns);
  if (kernel != nullptr) write_kernel(json, *kernel);
  json.end_object();
  return json.text() + "\n";
}

std::string verdict_text(const ProgramSpec& program, const verify::Report& report, const verify::Diagnosis* diagnosis,
                         const std::optional<explain::Fix>& fix, const kernel::KernelVerdict* kernel) {
  const std::string beside = kernel != nullptr ? kernel_text(report, *kernel) : "";
  if (report.accepted)
    return fmt::format("accepted  {} ({}): {} instructions processed, {} states, {} us, stack {} bytes\n",
                       verify::c_line::printable(program.name), name_of(program.type), report.insns_processed,
                       report.states, report.time_ns / 1000, report.stack_bytes) +
           beside;
  return verify::explain(report, program, diagnosis, fix ? fix_text(*fix) : std::string()) + beside;
}

}  // namespace skep::tools
