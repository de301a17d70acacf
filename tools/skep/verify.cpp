// skep verify: the verdict on every program of a file, with the reason and the fix. Nothing is loaded.
#include <fmt/format.h>

#include <unistd.h>

#include <cstring>

#include "base/json_writer.hpp"
#include "base/mapped_file.hpp"
#include "btf/btf.hpp"
#include "catalog/versions.hpp"
#include "compile/compile.hpp"
#include "kernel/close.hpp"
#include "user/prepare.hpp"
#include "verb.hpp"
#include "verify/verify.hpp"

namespace skep::tools {
namespace {

struct VerifyOptions {
  ProgramFile source;
  std::string program;
  std::string rules = "user";
  std::string kernel;
  bool unprivileged = false;
  bool json = false;
  bool log = false;
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

void print_json(const ProgramSpec& program, const verify::Report& report) {
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
  json.key("source");
  if (rejection && rejection->source) {
    json.begin_object();
    json.member("file", rejection->source->file);
    json.member("line", rejection->source->line);
    json.member("text", rejection->source->text);
    json.end_object();
  } else {
    json.null();
  }
  if (rejection) {
    json.member("insn", rejection->insn);
    json.member("insn_text", rejection->insn_text);
    json.member("registers", rejection->registers);
    json.member("cause", rejection->cause);
    json.member("advice", rejection->advice);
  }
  json.member("insns_processed", report.insns_processed);
  json.member("states", report.states);
  json.member("time_ns", report.time_ns);
  json.end_object();
  fmt::print("{}\n", json.text());
}

void print_text(const ProgramSpec& program, const verify::Report& report, bool log) {
  if (log && !report.log.empty()) fmt::print("{}", report.log);
  if (report.accepted) {
    fmt::print("accepted  {} ({}): {} instructions processed, {} states, {} us, stack {} bytes\n", program.name,
               name_of(program.type), report.insns_processed, report.states, report.time_ns / 1000, report.stack_bytes);
  } else {
    fmt::print("rejected  {} ({})\n{}", program.name, name_of(program.type), verify::explain(report, program));
  }
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

Result<int> run(const VerifyOptions& options) {
  auto spec = SKEP_TRY(read_program_file(options.source));
  if (!options.program.empty() && spec.program(options.program) == nullptr)
    return fail(Code::invalid_argument, fmt::format("{}: no program '{}'", options.source.file, options.program));
  const bool kernel = options.rules == "kernel" || options.unprivileged || !options.kernel.empty();
  spec = SKEP_TRY_AT(options.source.file, kernel ? kernel::close_object(spec) : user::prepare(spec));
  verify::Options rules = kernel ? SKEP_TRY(rules_of_kernel(options)) : user::engine_rules();
  if (options.rules == "strict") rules.rules = verify::Rules::strict;
  rules.log = options.log;
  int status = 0;
  u32 decided = 0;
  for (const auto& program : spec.programs) {
    if (!options.program.empty() && program.name != options.program) continue;
    ++decided;
    auto outcome = verify::verify(program, spec, rules);
    if (!outcome) {
      complain(fmt::format("program {}: could not decide: {}", program.name, outcome.error().message));
      status = 2;
      continue;
    }
    options.json ? print_json(program, outcome->report) : print_text(program, outcome->report, options.log);
    if (!outcome->report.accepted && status == 0) status = 1;
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

std::string explain_for_kernel(const ObjectSpec& spec) {
  const auto closed = kernel::close_object(spec);
  if (!closed) return {};
  verify::Options rules;
  rules.rules = verify::Rules::kernel;
  for (const auto& program : closed->programs) {
    if (!program.autoload) continue;
    const auto outcome = verify::verify(program, *closed, rules);
    if (outcome && !outcome->report.accepted) return verify::explain(outcome->report, program);
  }
  return {};
}

int verify_verb(const Arguments& arguments) {
  VerifyOptions options;
  CLI::App app("Proves each program of a file safe, or says which line is not, why, and what to do.", "verify");
  app.add_option("FILE", options.source.file, "C source (BCC dialect or libbpf style) or ELF object")->required();
  app.add_option("--program", options.program, "only this program");
  app.add_option("--rules", options.rules, "user: this engine; kernel: what Linux would say; strict")
      ->check(CLI::IsMember({"user", "kernel", "strict"}));
  app.add_option("--kernel", options.kernel, "what that version of Linux would say, such as 5.15 (rules: kernel)");
  app.add_flag("--unprivileged", options.unprivileged, "what Linux says without CAP_BPF (rules: kernel)");
  app.add_flag("-j,--json", options.json, "one JSON object a program");
  app.add_flag("--log", options.log, "the verifier's state at every instruction");
  app.add_flag("--raw", options.source.raw, "FILE holds bare 8-byte instructions");
  app.add_option("--type", options.source.type, "the program type of --raw: kprobe, xdp, tracepoint, ...");
  app.add_option("--cflag", options.source.cflags, "one more argument for clang (repeatable)");
  app.footer("example:\n  skep verify hello.bpf.c --json\n\nexit status: 0 accepted, 1 rejected, 2 could not decide");
  if (auto status = parse(app, arguments)) return *status;
  auto status = run(options);
  if (status) return *status;
  complain(status.error());
  return 2;
}

}  // namespace skep::tools
