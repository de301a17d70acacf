// skep test: a program on given inputs, in every tier and the kernel, with what is expected of it.
//
// Each case is run with fresh maps in each engine; engines that give different answers fail the case even when nothing
// was expected. Exit status: 0 all cases hold, 1 some do not, 2 wrong usage.
#include <fmt/format.h>

#include <algorithm>
#include <skep/backend.hpp>

#include "backend/selection.hpp"
#include "base/json_writer.hpp"
#include "catalog/helpers.hpp"
#include "engines.hpp"
#include "helper/call.hpp"
#include "map/map.hpp"
#include "test_cases.hpp"
#include "user/loaded.hpp"
#include "user/prepare.hpp"
#include "user/registry.hpp"
#include "user/test_run.hpp"
#include "verb.hpp"
#include "vm/checked_program.hpp"

namespace skep::tools {
namespace {

struct TestOptions {
  ProgramFile source;
  std::string cases, program, packet, context, expect, engine = "all", btf;
  bool json = false;
};

/// What one engine made of one case.
struct Outcome {
  std::string engine;
  u64 result = 0;
  Bytes output, context;              ///< afterwards
  std::vector<MapEntry> maps;         ///< of the keys the case names
  std::vector<std::string> said;      ///< trace_printk lines (user engine)
  std::vector<std::string> failures;  ///< expectations that do not hold
};

std::string hex(const Bytes& bytes) {
  std::string out;
  for (const std::byte b : bytes) out += fmt::format("{:02x}", static_cast<unsigned>(b));
  return out;
}
std::string text_of(const std::optional<Bytes>& value) { return value ? hex(*value) : "none"; }

struct Lines final : helper::TraceSink {
  std::vector<std::string> lines;
  bool line(std::string_view text) noexcept override {
    constexpr std::size_t most = 1000;
    if (lines.size() >= most) return false;
    lines.emplace_back(text);
    return true;
  }
};

TestRun input_of(const TestCase& c) {
  TestRun run;
  run.data = c.packet;
  run.context = c.context;
  return run;
}

Error map_error(const MapEntry& entry, s64 error) {
  return Error{Code::invalid_argument,
               fmt::format("map {}: key {}: {}", entry.map, hex(entry.key), strerrordesc_np(static_cast<int>(-error))),
               static_cast<int>(-error)};
}

/// Sizes as the map has them, or a sentence about what does not fit.
Result<void> fits(const MapEntry& entry, u32 key_size, u32 value_size) {
  if (entry.key.size() != key_size)
    return fail(Code::invalid_argument,
                fmt::format("map {}: the key has {} bytes, the map's have {}", entry.map, entry.key.size(), key_size));
  if (entry.value && entry.value->size() != value_size)
    return fail(Code::invalid_argument, fmt::format("map {}: the value has {} bytes, the map's have {}", entry.map,
                                                    entry.value->size(), value_size));
  return {};
}

Result<map::Map*> map_of(const user::LoadedObject& object, const std::string& name) {
  for (const auto& loaded : object.maps)
    if (loaded->map->spec().name == name) return loaded->map.get();
  return fail(Code::not_found, fmt::format("the file has no map '{}'", name));
}

/// Code with checks knows the memory that map look-ups return and what helpers lend; what others return is not told to
/// it. Errors: unsupported, naming such a helper.
Result<void> can_check(const vm::Function& function) {
  for (const Insn& insn : function.insns()) {
    if (insn.code == 0x85 && insn.src == 2)
      return fail(Code::unsupported, "code with checks does not know what kernel functions return");
    const auto* row = insn.code == 0x85 && insn.src == 0 ? catalog::helper(static_cast<u32>(insn.imm)) : nullptr;
    if (row == nullptr || row->c_result.find('*') == std::string_view::npos) continue;
    if (row->id == catalog::HelperId::map_lookup_elem || row->id == catalog::HelperId::ringbuf_reserve) continue;
    return fail(Code::unsupported,
                fmt::format("code with checks does not know the memory that bpf_{} returns", row->name));
  }
  return {};
}

/// One run, in a tier or with checks.
Result<TestRunResult> run_once(const user::LoadedObject& object, const vm::Function& function, const TestCase& c,
                               Lines& lines, bool checked) {
  if (!checked) return user::test_run(function, input_of(c), &lines);
  SKEP_TRY(can_check(function));
  std::vector<vm::MemoryRegion> regions;
  for (const auto& map : object.maps)
    if (void* const value = map->map->direct_value(); value != nullptr)
      regions.push_back({reinterpret_cast<u64>(value), map->map->spec().value_size});
  const user::Checks checks{.max_insns = 1'000'000'000, .regions = &regions};
  return user::test_run(function, input_of(c), &lines, &checks);
}

Result<Outcome> run_user(const ObjectSpec& prepared, const std::string& program, const TestCase& c, vm::Tier tier,
                         bool checked) {
  const auto registry = std::make_shared<user::Registry>();
  const auto object = SKEP_TRY(user::load_object(prepared, registry, {}, tier));
  const auto loaded =
      std::ranges::find_if(object->programs, [&](const auto& p) { return p->function->program().name() == program; });
  if (loaded == object->programs.end()) return fail(Code::not_found, fmt::format("program {} was not loaded", program));
  for (const MapEntry& entry : c.before) {
    map::Map* map = SKEP_TRY(map_of(*object, entry.map));
    SKEP_TRY(fits(entry, map->spec().key_size, map->host_value_size()));
    if (const s64 error = map->copy_update(entry.key.data(), entry.value->data(), 0); error != 0)
      return tl::unexpected<Error>(map_error(entry, error));
  }
  Lines lines;
  const auto ran = SKEP_TRY(run_once(*object, *(*loaded)->function, c, lines, checked));
  Outcome outcome;
  outcome.result = ran.result;
  outcome.output = ran.data;
  outcome.context = ran.context;
  outcome.said = std::move(lines.lines);
  for (const MapEntry& entry : c.after) {
    map::Map* map = SKEP_TRY(map_of(*object, entry.map));
    SKEP_TRY(fits(entry, map->spec().key_size, map->host_value_size()));
    Bytes value(map->host_value_size());
    const bool found = map->copy_lookup(entry.key.data(), value.data()) == 0;
    outcome.maps.push_back({entry.map, entry.key, found ? std::optional(value) : std::nullopt});
  }
  return outcome;
}

Result<Outcome> run_kernel(const ObjectSpec& spec, const std::string& program, const TestCase& c,
                           const std::string& types) {
  const auto engine = SKEP_TRY(kernel_backend({.btf = types}));
  auto object =
      SKEP_TRY(engine->load(backend::without_pins(spec), {.programs = backend::with_tail_calls(spec, program)}));
  for (const MapEntry& entry : c.before) {
    const auto map = SKEP_TRY(object.map(entry.map));
    SKEP_TRY_AT("map " + entry.map, map.update(entry.key, *entry.value));
  }
  auto loaded = SKEP_TRY(object.program(program));
  const auto ran = SKEP_TRY(loaded.test_run(input_of(c)));
  Outcome outcome;
  outcome.result = ran.result;
  outcome.output = ran.data;
  outcome.context = ran.context;
  for (const MapEntry& entry : c.after) {
    const auto map = SKEP_TRY(object.map(entry.map));
    auto value = map.lookup(entry.key);
    if (!value && value.error().code != Code::not_found) return tl::unexpected<Error>(value.error());
    outcome.maps.push_back({entry.map, entry.key, value ? std::optional(std::move(*value)) : std::nullopt});
  }
  return outcome;
}

/// Results are 32 bits wide where a program type's are; the kernel tells no more.
bool same_result(u64 a, u64 b) { return static_cast<u32>(a) == static_cast<u32>(b); }

void judge(const TestCase& c, Outcome& outcome) {
  if (c.result && !same_result(*c.result, outcome.result))
    outcome.failures.push_back(fmt::format("result is {}, expected {}", outcome.result, *c.result));
  if (c.output && *c.output != outcome.output)
    outcome.failures.push_back(fmt::format("output is {}, expected {}", hex(outcome.output), hex(*c.output)));
  if (c.context_after && *c.context_after != outcome.context)
    outcome.failures.push_back(fmt::format("context is {}, expected {}", hex(outcome.context), hex(*c.context_after)));
  for (std::size_t i = 0; i < c.after.size(); i++)
    if (c.after[i].value != outcome.maps[i].value)
      outcome.failures.push_back(fmt::format("map {} key {} is {}, expected {}", c.after[i].map, hex(c.after[i].key),
                                             text_of(outcome.maps[i].value), text_of(c.after[i].value)));
}

/// What differs from the first engine that ran.
void compare(const Outcome& first, Outcome& outcome) {
  if (!same_result(first.result, outcome.result))
    outcome.failures.push_back(fmt::format("result is {}, {} says {}", outcome.result, first.engine, first.result));
  if (first.output != outcome.output)
    outcome.failures.push_back(fmt::format("output differs from that of {}", first.engine));
  for (std::size_t i = 0; i < first.maps.size(); i++)
    if (first.maps[i].value != outcome.maps[i].value)
      outcome.failures.push_back(fmt::format("map {} key {} differs from that of {}", first.maps[i].map,
                                             hex(first.maps[i].key), first.engine));
}

void print_text(const TestCase& c, u32 type, const Outcome& outcome) {
  const auto name = verdict_name(type, static_cast<u32>(outcome.result));
  fmt::print("{:<6} {} [{}]: result {}{}\n", outcome.failures.empty() ? "ok" : "FAILED", c.name, outcome.engine,
             outcome.result, name.empty() ? "" : fmt::format(" ({})", name));
  for (const auto& line : outcome.said) fmt::print("       says: {}\n", line);
  for (const auto& failure : outcome.failures) fmt::print("       {}\n", failure);
}

void print_json(const TestCase& c, const std::string& program, const Outcome& outcome) {
  base::JsonWriter json;
  json.begin_object();
  json.member("case", c.name);
  json.member("program", program);
  json.member("engine", outcome.engine);
  json.member("ok", outcome.failures.empty());
  json.member("result", outcome.result);
  json.member("output", hex(outcome.output));
  json.member("context", hex(outcome.context));
  json.key("failures");
  json.begin_array();
  for (const auto& failure : outcome.failures) json.string(failure);
  json.end_array();
  json.end_object();
  fmt::print("{}\n", json.text());
}

/// The cases of a file, or the one that the options describe.
Result<std::vector<TestCase>> cases_of(const TestOptions& options) {
  if (!options.cases.empty()) return read_test_cases(options.cases);
  TestCase c;
  c.name = "run";
  if (!options.packet.empty()) c.packet = SKEP_TRY_AT("--packet", read_bytes(options.packet));
  if (!options.context.empty()) c.context = SKEP_TRY_AT("--context", read_bytes(options.context));
  if (!options.expect.empty()) c.result = SKEP_TRY_AT("--expect", read_result(options.expect));
  return std::vector<TestCase>{c};
}

bool takes_packet(ProgramType type) {
  return type == ProgramType::xdp || type == ProgramType::sched_cls || type == ProgramType::sched_act ||
         type == ProgramType::socket_filter;
}

class Runner {
 public:
  Runner(const ObjectSpec& spec, const TestOptions& options) : spec_(spec), options_(options) {}

  Result<int> run(std::vector<TestCase> cases) {
    u32 failed = 0;
    for (TestCase& c : cases) {
      if (c.program.empty()) c.program = options_.program.empty() ? spec_.programs.front().name : options_.program;
      const ProgramSpec* program = spec_.program(c.program);
      if (program == nullptr)
        return fail(Code::not_found,
                    fmt::format("case {}: {} has no program '{}'", c.name, options_.source.file, c.program));
      constexpr std::size_t plain_packet = 64;
      if (takes_packet(program->type) && c.packet.empty()) c.packet.resize(plain_packet);
      failed += SKEP_TRY_AT("case " + c.name, run_case(c, *program)) ? 0 : 1;
    }
    if (!options_.json) fmt::print("{} of {} cases hold\n", cases.size() - failed, cases.size());
    return failed == 0 ? 0 : 1;
  }

 private:
  Result<bool> run_case(const TestCase& c, const ProgramSpec& program) {
    constexpr std::pair<std::string_view, vm::Tier> tiers[] = {{"interp", vm::Tier::interpreter},
                                                               {"jit", vm::Tier::baseline},
                                                               {"opt", vm::Tier::optimised},
                                                               {"checked", vm::Tier::interpreter}};
    std::vector<Outcome> outcomes;
    const auto add = [&](std::string_view engine, Result<Outcome> outcome) -> Result<void> {
      if (!outcome && options_.engine == "all" && outcome.error().code != Code::invalid_argument &&
          is_left_out(outcome.error())) {
        note(fmt::format("{} is left out: {}", engine, outcome.error().message), !noted_.insert(std::string(engine)));
        return {};
      }
      outcomes.push_back(SKEP_TRY_AT(std::string(engine), std::move(outcome)));
      outcomes.back().engine = engine;
      return {};
    };
    const auto chosen = SKEP_TRY(backend::select_programs(spec_, backend::with_tail_calls(spec_, c.program), {}));
    for (const auto& [engine, tier] : tiers) {
      // With checks only when asked for: it does not know the memory of every helper.
      if (options_.engine != engine && (options_.engine != "all" || engine == "checked")) continue;
      auto prepared = user::prepare(backend::only(spec_, chosen));
      SKEP_TRY(add(engine, prepared ? run_user(*prepared, c.program, c, tier, engine == "checked")
                                    : Result<Outcome>(tl::unexpected<Error>(prepared.error()))));
    }
    if (options_.engine == "all" || options_.engine == "kernel")
      SKEP_TRY(add("kernel", run_kernel(spec_, c.program, c, options_.btf)));
    if (outcomes.empty()) return fail(Code::unsupported, "no engine could run it");
    bool ok = true;
    for (Outcome& outcome : outcomes) {
      judge(c, outcome);
      if (&outcome != &outcomes.front()) compare(outcomes.front(), outcome);
      options_.json ? print_json(c, c.program, outcome) : print_text(c, static_cast<u32>(program.type), outcome);
      ok = ok && outcome.failures.empty();
    }
    return ok;
  }

  /// An engine that cannot work here, or lacks something the program needs, is no failure of the program.
  static bool is_left_out(const Error& error) {
    return error.code == Code::permission || error.code == Code::unsupported;
  }

  /// Engines that were named once already.
  struct Once {
    std::vector<std::string> seen;
    bool insert(std::string name) {
      if (std::ranges::find(seen, name) != seen.end()) return false;
      seen.push_back(std::move(name));
      return true;
    }
  };

  const ObjectSpec& spec_;
  const TestOptions& options_;
  Once noted_;
};

Result<int> run(const TestOptions& options) {
  if (!options.btf.empty()) SKEP_TRY(takes_kernel_types(options.engine));
  const auto cases = SKEP_TRY(cases_of(options));
  const ObjectSpec spec = SKEP_TRY(read_program_file(options.source));
  if (spec.programs.empty()) return fail(Code::invalid_argument, options.source.file + ": no program in this file");
  return Runner(spec, options).run(cases);
}

}  // namespace

int test_verb(const Arguments& arguments) {
  TestOptions options;
  Options app("Runs a program on given inputs in every engine that is there, and compares with what is expected.",
              "test");
  app.add_option("FILE", options.source.file, "C source, ELF object or classic filter")->required();
  app.add_option("--cases", options.cases, "a file of cases: inputs, maps and what should come of them");
  app.add_option("--program", options.program, "which one; default: the first");
  app.add_option("--packet", options.packet, "the packet: hexadecimal, @FILE or 'zeroes N'; default: 64 zeroes");
  app.add_option("--context", options.context, "the context, for programs without a packet");
  app.add_option("--expect", options.expect, "the result: a number or a verdict's name");
  app.add_option("--engine", options.engine, "interp, jit, opt, checked, kernel or all")
      ->check(one_of({"interp", "jit", "opt", "checked", "kernel", "all"}));
  app.add_option("--btf", options.btf,
                 "kernel engine: a BTF file with this kernel's types, where it does not tell them itself");
  app.add_flag("-j,--json", options.json, "one JSON object a case and engine");
  app.add_flag("--raw", options.source.raw, "FILE holds bare 8-byte instructions");
  app.add_option("--type", options.source.type, "the program type of --raw: xdp, socket_filter, ...");
  app.add_option("--cflag", options.source.cflags, "one more argument for clang (repeatable)");
  app.footer(
      "example:\n  skep test filter.bpf.c --packet @syn.bin --expect XDP_DROP\n"
      "  skep test filter.bpf.c --cases filter.cases\n\n"
      "a case:\n  case small packets are dropped\n  packet zeroes 60\n  set counters 00000000 = 05000000\n"
      "  result XDP_DROP\n  map counters 00000000 = 06000000\n");
  if (auto status = app.parse(arguments)) return *status;
  auto status = run(options);
  return status ? *status : complain(status.error(), options.json ? Form::json : Form::text);
}

}  // namespace skep::tools
