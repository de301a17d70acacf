// skep verify: the verdict on every program of a file, with the reason and the fix. Nothing is loaded.
#include <fmt/format.h>

#include <unistd.h>

#include <cstring>
#include <set>

#include "backend/selection.hpp"
#include "base/mapped_file.hpp"
#include "btf/btf.hpp"
#include "catalog/versions.hpp"
#include "compile/compile.hpp"
#include "explain/beyond_lines.hpp"
#include "explain/fix.hpp"
#include "explain/insn_fix.hpp"
#include "explain/kernel_log.hpp"
#include "kernel/close.hpp"
#include "kernel/judge.hpp"
#include "user/prepare.hpp"
#include "verb.hpp"
#include "verify/c_line.hpp"
#include "verify/verify.hpp"
#include "verify_output.hpp"

namespace skep::tools {
namespace {

struct VerifyOptions {
  ProgramFile source;
  std::string program;
  std::string rules = "user";
  std::string kernel;
  bool unprivileged = false;
  std::string kernel_log;  ///< a file with the kernel's log of the program
  bool json = false;
  bool log = false;
  bool no_fix = false;
  bool compare_kernel = false;  ///< the running one's verdict beside ours
  u32 fix_milliseconds = 10'000;
};

Result<ProgramType> program_type(std::string_view name) {
  std::string known;
  for (u32 number = 1; name_of(static_cast<ProgramType>(number)) != "unknown"; ++number) {
    const auto type = static_cast<ProgramType>(number);
    if (name_of(type) == name) return type;
    known.append(known.empty() ? "" : ", ").append(name_of(type));
  }
  return fail(Code::invalid_argument, fmt::format("no program type '{}'; there are: {}", name, known));
}

/// Bare instructions, eight bytes each, as one program of the given type.
Result<ObjectSpec> read_raw(const ProgramFile& options) {
  if (options.type.empty()) return fail(Code::invalid_argument, "--raw needs --type, for example --type xdp");
  const auto bytes = SKEP_TRY(base::read_file(options.file));
  if (bytes.empty() || bytes.size() % sizeof(Insn) != 0)
    return fail(Code::malformed,
                fmt::format("{}: {} bytes; bare instructions are 8 bytes each", options.file, bytes.size()));
  ObjectSpec spec;
  spec.name = "raw";
  spec.license = "GPL";
  ProgramSpec program;
  program.name = "raw";
  program.type = SKEP_TRY(program_type(options.type));
  program.insns.resize(bytes.size() / sizeof(Insn));
  std::memcpy(program.insns.data(), bytes.data(), bytes.size());
  program.functions.push_back({.insn = 0, .type_id = 0, .name = "raw", .is_global = true});
  spec.programs.push_back(std::move(program));
  return spec;
}

/// Closes an object against what it is verified for.
Result<ObjectSpec> made_ready(const ObjectSpec& spec, bool kernel) {
  return kernel ? kernel::close_object(spec) : user::prepare(spec);
}

/// The text of a C source, with its lines where line information needs them; none for objects.
std::optional<std::string> source_text(const ProgramFile& file) {
  constexpr std::size_t largest = 1u << 20;
  if (file.raw) return std::nullopt;
  auto text = base::read_text(file.file, largest);
  if (!text ||
      text->starts_with("\x7f"
                        "ELF") ||
      text->find('\0') != std::string::npos)
    return std::nullopt;
  return *std::move(text);
}

/// A change of the source that makes the program verify, and leaves the verdicts of the others as good as they were.
std::optional<explain::Fix> suggestion(const VerifyOptions& options, const ObjectSpec& spec, const ProgramSpec& program,
                                       const verify::Refused& refused, verify::Options rules) {
  const auto text = source_text(options.source);
  const verify::Rejection& rejection = refused.rejection;
  if (options.no_fix || !text || !rejection.source) return std::nullopt;
  const std::string name = std::filesystem::path(options.source.file).filename();
  if (std::filesystem::path(rejection.source->file).filename() != name) return std::nullopt;  // in a header
  compile::CompileOptions compile_options;
  compile_options.cflags = options.source.cflags;
  compile_options.use_cache = false;
  compile_options.cflags.push_back("-I" + std::filesystem::absolute(options.source.file).parent_path().string());
  rules.log = false;
  auto accepts = [&](const ProgramSpec& p, const ObjectSpec& object) {
    const auto outcome = verify::verify(p, object, rules);
    return outcome && outcome->report.accepted;
  };
  std::set<std::string> accepted;
  for (const auto& p : spec.programs)
    if (p.name != program.name && accepts(p, spec)) accepted.insert(p.name);
  const auto judge = [&](const std::string& changed) -> std::optional<explain::Judgement> {
    auto object = compile::load_text(changed, name, compile_options);
    if (!object) return std::nullopt;
    explain::add_line_texts(*object, name, explain::Source(changed));
    auto ready = made_ready(*object, rules.rules == verify::Rules::kernel);
    const ProgramSpec* again = ready ? ready->program(program.name) : nullptr;
    if (again == nullptr) return std::nullopt;
    auto outcome = verify::verify(*again, *ready, rules);
    if (!outcome) return std::nullopt;
    explain::Judgement judgement{outcome->report.accepted, std::nullopt};
    if (outcome->report.rejection)
      judgement.refused = {*outcome->report.rejection, verify::diagnose(*again, *ready, rules)};
    for (const auto& p : ready->programs)
      if (judgement.accepted && accepted.contains(p.name)) judgement.accepted = accepts(p, *ready);
    return judgement;
  };
  explain::FixOptions fix_options;
  fix_options.type = program.type;
  fix_options.section = program.section;
  fix_options.time_limit = std::chrono::milliseconds(options.fix_milliseconds);
  return explain::find_fix(*text, name, refused, fix_options, judge);
}

/// The same where there is no source: as instructions.
std::optional<explain::Fix> insn_suggestion(const VerifyOptions& options, const ObjectSpec& spec,
                                            const ProgramSpec& program, const verify::Refused& refused,
                                            verify::Options rules) {
  if (options.no_fix || source_text(options.source)) return std::nullopt;
  rules.log = false;
  const auto fix = explain::find_insn_fix(program, refused, [&](const ProgramSpec& changed) {
    const auto outcome = verify::verify(changed, spec, rules);
    return outcome && outcome->report.accepted;
  });
  if (!fix) return std::nullopt;
  return explain::Fix{fix->diff, fix->what, ""};
}

/// The kernel's log of the file's program, told as our own refusals are.
Result<int> explain_log(const VerifyOptions& options, const ObjectSpec& spec) {
  constexpr std::size_t largest = 256u << 20;
  const std::string log = SKEP_TRY(base::read_text(options.kernel_log, largest));
  const ProgramSpec* program = options.program.empty() ? (spec.programs.empty() ? nullptr : &spec.programs.front())
                                                       : spec.program(options.program);
  if (program == nullptr) return fail(Code::invalid_argument, options.source.file + ": no program in this file");
  auto refused = explain::refusal_from_log(log, *program);
  if (!refused)
    return fail(Code::invalid_argument,
                options.kernel_log + ": no refusal in this log; it ends with an instruction or is empty");
  verify::Report report;
  report.rejection = std::move(refused->rejection);
  fmt::print("{}", options.json ? verdict_json(*program, report, refused->diagnosis.get(), {})
                                : verdict_text(*program, report, refused->diagnosis.get(), {}));
  return 1;
}

/// The kernel's rules: of the version and the process asked about, with the running kernel's types.
Result<verify::Options> rules_of_kernel(const VerifyOptions& options) {
  verify::Options rules;
  rules.rules = verify::Rules::kernel;
  rules.unprivileged = options.unprivileged;
  rules.possible_cpus = static_cast<u32>(sysconf(_SC_NPROCESSORS_CONF));
  if (auto types = btf::Btf::from_file("/sys/kernel/btf/vmlinux")) rules.kernel_types = *types;
  if (options.kernel.empty()) return rules;
  rules.kernel_version = catalog::version_of(options.kernel);
  constexpr catalog::Version oldest = 4000, newest = 6018;
  if (rules.kernel_version < oldest || rules.kernel_version > newest)
    return fail(Code::invalid_argument,
                fmt::format("--kernel {}: a version from {} to {}, such as 5.15", options.kernel,
                            catalog::text_of(oldest), catalog::text_of(newest)));
  return rules;
}

/// Sections that libbpf does not know leave the type open: it is `wanted`, or the program is not judged (its name is
/// in the result). Functions of BCC's dialect are what they are attached to.
Result<std::set<std::string>> name_types(ObjectSpec& spec, const std::string& wanted) {
  std::set<std::string> untyped;
  for (ProgramSpec& program : spec.programs) {
    if (program.type != ProgramType::unspec || program.section.starts_with("skep.")) continue;
    if (wanted.empty())
      untyped.insert(program.name);
    else
      program.type = SKEP_TRY(program_type(wanted));
  }
  return untyped;
}

Result<int> run(const VerifyOptions& options) {
  auto spec = SKEP_TRY(read_program_file(options.source));
  if (!options.program.empty() && spec.program(options.program) == nullptr)
    return fail(Code::invalid_argument, fmt::format("{}: no program '{}'", options.source.file, options.program));
  const auto untyped = SKEP_TRY(name_types(spec, options.source.type));
  if (options.compare_kernel && (options.unprivileged || !options.kernel.empty() || options.source.raw))
    return fail(Code::invalid_argument,
                "--compare-kernel asks the running kernel, as this process, about an object or a C source; leave out "
                "--kernel, --unprivileged and --raw");
  const bool kernel =
      options.rules == "kernel" || options.unprivileged || !options.kernel.empty() || options.compare_kernel;
  spec = SKEP_TRY_AT(options.source.file, made_ready(spec, kernel));
  if (!options.kernel_log.empty()) return explain_log(options, spec);
  verify::Options rules = kernel ? SKEP_TRY(rules_of_kernel(options)) : user::engine_rules();
  if (options.rules == "strict") rules.rules = verify::Rules::strict;
  rules.log = options.log;
  kernel::KernelTypes types({});
  std::optional<kernel::Judge> linux_judge;
  if (options.compare_kernel) {
    spec = backend::without_pins(std::move(spec));
    linux_judge.emplace(SKEP_TRY_AT("--compare-kernel", kernel::Judge::open(spec, types)));
  }
  int status = 0;
  u32 decided = 0;
  for (const auto& program : spec.programs) {
    if (!options.program.empty() && program.name != options.program) continue;
    ++decided;
    if (untyped.contains(program.name)) {
      complain(
          fmt::format("program {}: its section \"{}\" names no program type: write SEC(\"tc\"), SEC(\"xdp\") or what "
                      "it is, or say --type sched_cls",
                      program.name, program.section));
      status = 2;
      continue;
    }
    auto outcome = verify::verify(program, spec, rules);
    if (!outcome) {
      complain(fmt::format("program {}: could not decide: {}", program.name, outcome.error().message));
      status = 2;
      continue;
    }
    const verify::Report& report = outcome->report;
    std::optional<explain::Fix> fix;
    std::shared_ptr<const verify::Diagnosis> diagnosis;
    if (report.rejection) {
      diagnosis = verify::diagnose(program, spec, rules);
      if (const auto text = source_text(options.source))
        diagnosis = explain::with_source(std::move(diagnosis), explain::Source(*text));
      const verify::Refused refused{*report.rejection, diagnosis};
      fix = suggestion(options, spec, program, refused, rules);
      if (!fix) fix = insn_suggestion(options, spec, program, refused, rules);
    }
    std::optional<kernel::KernelVerdict> beside;
    if (linux_judge) beside = linux_judge->judge(program);
    const kernel::KernelVerdict* kernels = beside ? &*beside : nullptr;
    if (options.log && !options.json) fmt::print("{}", verify::c_line::printable_lines(report.log));
    fmt::print("{}", options.json ? verdict_json(program, report, diagnosis.get(), fix, kernels)
                                  : verdict_text(program, report, diagnosis.get(), fix, kernels));
    const bool is_refused = beside && beside->kind == kernel::KernelVerdict::Kind::refused;
    if ((!outcome->report.accepted || is_refused) && status == 0) status = 1;
    if (beside && !beside->is_judged()) status = 2;
  }
  if (decided == 0) return fail(Code::invalid_argument, options.source.file + ": no program in this file");
  return status;
}

}  // namespace

Result<ObjectSpec> read_program_file(const ProgramFile& source) {
  if (source.raw) return read_raw(source);
  compile::CompileOptions options;
  options.cflags = source.cflags;
  return compile::load_program(source.file, options);
}

std::string explain_for_kernel(const ObjectSpec& spec, std::string_view log) {
  const auto closed = kernel::close_object(spec);
  if (!closed) return {};
  const auto rules = rules_of_kernel({});
  if (!rules) return {};
  for (const auto& program : closed->programs) {
    if (!program.autoload) continue;
    const auto outcome = verify::verify(program, *closed, *rules);
    if (outcome && !outcome->report.accepted)
      return verify::explain(outcome->report, program, verify::diagnose(program, *closed, *rules).get());
  }
  // We would accept them: what the kernel says is all there is. Its log names the program by what it executes.
  for (const auto& program : closed->programs) {
    if (!program.autoload || !explain::is_log_of(log, program)) continue;
    auto refused = explain::refusal_from_log(log, program);
    if (!refused) continue;
    verify::Report report;
    report.rejection = std::move(refused->rejection);
    return verify::explain(report, program, refused->diagnosis.get());
  }
  return {};
}

int verify_verb(const Arguments& arguments) {
  VerifyOptions options;
  Options app("Proves each program of a file safe, or says which line is not, why, and what to do.", "verify");
  app.add_option("FILE", options.source.file, "C source (BCC dialect or libbpf style) or ELF object")->required();
  app.add_option("--program", options.program, "only this program");
  app.add_option("--rules", options.rules, "user: this engine; kernel: what Linux would say; strict")
      ->check(one_of({"user", "kernel", "strict"}));
  app.add_option("--kernel", options.kernel, "what that version of Linux would say, such as 5.15 (rules: kernel)");
  app.add_flag("--compare-kernel", options.compare_kernel,
               "the running kernel's own verdict and work beside each (rules: kernel; as root; nothing is attached)");
  app.add_flag("--unprivileged", options.unprivileged, "what Linux says without CAP_BPF (rules: kernel)");
  app.add_flag("-j,--json", options.json, "one JSON object a program");
  app.add_flag("--log", options.log, "the verifier's state at every instruction, as the kernel writes it");
  app.add_flag("--no-fix", options.no_fix, "do not look for a change that makes a refused program verify");
  app.add_option("--fix-time", options.fix_milliseconds, "milliseconds to look for one at most (default 10000)");
  app.add_option("--kernel-log", options.kernel_log, "explain this log of the kernel's verifier instead");
  app.add_flag("--raw", options.source.raw, "FILE holds bare 8-byte instructions");
  app.add_option("--type", options.source.type,
                 "the program type of --raw, and of programs whose section names none: kprobe, xdp, sched_cls, ...");
  app.add_option("--cflag", options.source.cflags, "one more argument for clang (repeatable)");
  app.footer("example:\n  skep verify hello.bpf.c --json\n\nexit status: 0 accepted, 1 rejected, 2 could not decide");
  if (auto status = app.parse(arguments)) return *status;
  auto status = run(options);
  return status ? *status : complain(status.error().message, 2, options.json ? Form::json : Form::text);
}

}  // namespace skep::tools
