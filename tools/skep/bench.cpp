// skep bench: nanoseconds a run of one program takes in the interpreter, both JITs, code with checks or the kernel.
//
// Runs come in chunks of about 0.3 ms and the best chunk counts: what disturbs a shared machine only ever makes a
// chunk slower.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <skep/backend.hpp>
#include <utility>

#include "backend/selection.hpp"
#include "base/json_writer.hpp"
#include "base/mapped_file.hpp"
#include "base/printable.hpp"
#include "engines.hpp"
#include "map/map.hpp"
#include "user/loaded.hpp"
#include "user/prepare.hpp"
#include "user/registry.hpp"
#include "user/test_run.hpp"
#include "verb.hpp"
#include "vm/checked_program.hpp"

namespace skep::tools {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchOptions {
  ProgramFile source;
  std::string program, input, engine = "all", btf;
  u64 repeat = 100'000;
  bool json = false;
};

struct Measured {
  double ns_per_run = 0;
  u64 result = 0;
  double load_us = 0;  ///< maps, verification and compilation
  double jit_us = 0;   ///< of which compilation; 0 where it cannot be told apart
  std::size_t code_bytes = 0;
};

double us_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

bool takes_packet(ProgramType type) {
  return type == ProgramType::xdp || type == ProgramType::sched_cls || type == ProgramType::sched_act ||
         type == ProgramType::socket_filter || type == ProgramType::cgroup_skb;
}

Result<TestRun> input_of(const BenchOptions& options, ProgramType type) {
  TestRun run;
  auto& bytes = takes_packet(type) ? run.data : run.context;
  if (!options.input.empty()) bytes = SKEP_TRY(base::read_file(options.input));
  constexpr std::size_t plain_packet = 64;
  if (takes_packet(type) && options.input.empty()) bytes.resize(plain_packet);
  return run;
}

/// What one chunk took.
struct Chunk {
  u64 result = 0;
  double ns_per_run = 0;
};

/// Best mean of chunks of about 0.3 ms until `repeat` runs are made, or `most_chunks`. `measure` makes run.repeat runs.
/// The size of a chunk is found by doubling, as one run alone is mostly the way to it (cold code, cold data).
template <class Measure>
Result<void> best_chunk(TestRun run, u64 repeat, u64 most_chunks, Measured& out, Measure measure) {
  constexpr double chunk_ns = 300'000;
  constexpr u64 most_runs = 1'000'000;
  const u64 bound = std::clamp<u64>(repeat, 1, most_runs);
  out.ns_per_run = 1e18;
  run.repeat = 1;
  for (u64 done = 0, chunks = 0; done < repeat && chunks < most_chunks; done += run.repeat, ++chunks) {
    const Chunk chunk = SKEP_TRY(measure(run));
    if (done == 0) out.result = chunk.result;
    out.ns_per_run = std::min(out.ns_per_run, chunk.ns_per_run);
    const double fits = chunk_ns / std::max(chunk.ns_per_run, 0.1);
    run.repeat =
        static_cast<u32>(std::clamp<double>(fits, 1, static_cast<double>(std::min<u64>(u64{run.repeat} * 8, bound))));
  }
  return {};
}

/// What compilation takes in a process that has compiled before: the best of a few loads.
Result<double> compile_us(const ObjectSpec& prepared, const std::string& name, vm::Tier tier) {
  double best = 1e18;
  for (int i = 0; i < 5; ++i) {
    const auto object = SKEP_TRY(user::load_object(prepared, std::make_shared<user::Registry>(), {}, tier));
    for (const auto& program : object->programs)
      if (program->function->program().name() == name)
        best = std::min(best, static_cast<double>(program->function->compile_ns()) / 1000);
  }
  return best;
}

/// The global data of the object's maps: what code with checks may touch besides what the run brings.
std::vector<vm::MemoryRegion> data_of(const user::LoadedObject& object) {
  std::vector<vm::MemoryRegion> regions;
  for (const auto& map : object.maps)
    if (void* const value = map->map->direct_value(); value != nullptr)
      regions.push_back({reinterpret_cast<u64>(value), map->map->spec().value_size});
  return regions;
}

/// What making code with checks takes: a function keeps its own, so each time in a function of its own.
Result<double> checked_compile_us(const ObjectSpec& prepared, const std::string& name) {
  double best = 1e18;
  for (int i = 0; i < 5; ++i) {
    const auto object =
        SKEP_TRY(user::load_object(prepared, std::make_shared<user::Registry>(), {}, vm::Tier::interpreter));
    for (const auto& program : object->programs) {
      if (program->function->program().name() != name) continue;
      const auto begin = Clock::now();
      SKEP_TRY(vm::checked_machine_code(*program->function));
      best = std::min(best, us_since(begin));
    }
  }
  return best;
}

/// `checked`: as code with checks, as if nobody had verified it.
Result<Measured> measure_user(const ObjectSpec& spec, const std::string& name, const BenchOptions& options,
                              vm::Tier tier, bool checked) {
  const auto chosen = SKEP_TRY(backend::select_programs(spec, backend::with_tail_calls(spec, name), {}));
  const ObjectSpec prepared = SKEP_TRY(user::prepare(backend::only(spec, chosen)));
  Measured measured;
  const auto registry = std::make_shared<user::Registry>();
  const auto begin = Clock::now();
  const auto object = SKEP_TRY(user::load_object(prepared, registry, {}, tier));
  measured.load_us = us_since(begin);
  for (const auto& program : object->programs) {
    if (program->function->program().name() != name) continue;
    const vm::Function& function = *program->function;
    measured.jit_us = SKEP_TRY(checked ? checked_compile_us(prepared, name) : compile_us(prepared, name, tier));
    measured.code_bytes =
        checked ? SKEP_TRY(vm::checked_machine_code(function)).size() : function.machine_code().size();
    const auto regions = data_of(*object);
    const user::Checks checks{.max_insns = 1'000'000'000, .regions = &regions};
    const TestRun run = SKEP_TRY(input_of(options, function.program().type()));
    constexpr u64 all_chunks = ~u64{0};
    const auto measure = [&](const TestRun& r) -> Result<Chunk> {
      const auto chunk_begin = Clock::now();
      const TestRunResult ran = SKEP_TRY(user::test_run(function, r, nullptr, checked ? &checks : nullptr));
      return Chunk{ran.result, us_since(chunk_begin) * 1000 / std::max<u32>(r.repeat, 1)};
    };
    SKEP_TRY(best_chunk(run, options.repeat, all_chunks, measured, measure));
    return measured;
  }
  return fail(Code::not_found, fmt::format("program {} was not loaded", name));
}

Result<Measured> measure_kernel(const ObjectSpec& spec, const std::string& name, const BenchOptions& options) {
  const auto engine = SKEP_TRY(kernel_backend({.btf = options.btf}));
  Measured measured;
  const auto begin = Clock::now();
  const auto object =
      SKEP_TRY(engine->load(backend::without_pins(spec), {.programs = backend::with_tail_calls(spec, name)}));
  measured.load_us = us_since(begin);
  auto program = SKEP_TRY(object.program(name));
  measured.code_bytes = program.info().bytes_jited;
  const TestRun run = SKEP_TRY(input_of(options, spec.program(name)->type));
  // The kernel's own clock, in whole nanoseconds: for XDP a call waits for a grace period around the runs.
  constexpr u64 few_chunks = 20;
  const auto measure = [&](const TestRun& r) -> Result<Chunk> {
    const TestRunResult ran = SKEP_TRY(program.test_run(r));
    return Chunk{ran.result, static_cast<double>(ran.duration_ns)};
  };
  SKEP_TRY(best_chunk(run, options.repeat, few_chunks, measured, measure));
  return measured;
}

void print(const std::string& program, std::string_view engine, const Measured& m, bool as_json) {
  if (!as_json) {
    fmt::print("{:<16} {:<8} {:>10.1f} ns  result {}  load {:.0f} us  compile {:.1f} us  {} bytes\n",
               base::printable(program), engine, m.ns_per_run, m.result, m.load_us, m.jit_us, m.code_bytes);
    return;
  }
  fmt::print(
      R"({{"program":{},"engine":"{}","ns_per_run":{:.2f},"result":{},"load_us":{:.1f},"jit_us":{:.2f},"code_bytes":{}}})"
      "\n",
      base::json_quote(program), engine, m.ns_per_run, m.result, m.load_us, m.jit_us, m.code_bytes);
}

Result<int> run(const BenchOptions& options) {
  if (!options.btf.empty()) SKEP_TRY(takes_kernel_types(options.engine));
  const ObjectSpec spec = SKEP_TRY(read_program_file(options.source));
  if (spec.programs.empty()) return fail(Code::invalid_argument, options.source.file + ": no program in this file");
  const std::string name = options.program.empty() ? spec.programs.front().name : options.program;
  if (spec.program(name) == nullptr)
    return fail(Code::not_found, fmt::format("{}: no program '{}'", options.source.file, name));
  constexpr std::pair<std::string_view, vm::Tier> tiers[] = {{"interp", vm::Tier::interpreter},
                                                             {"jit", vm::Tier::baseline},
                                                             {"opt", vm::Tier::optimised},
                                                             {"checked", vm::Tier::interpreter}};
  bool any = false;
  std::string said;  // the tiers of one engine refuse with one voice
  const auto report = [&](std::string_view engine, const Result<Measured>& measured) {
    if (measured) {
      any = true;
      return print(name, engine, *measured, options.json);
    }
    const std::string& why = measured.error().message;
    if (why != std::exchange(said, why)) complain(fmt::format("{}: {}", engine, why));
  };
  for (const auto& [engine, tier] : tiers)
    if (options.engine == "all" || options.engine == engine)
      report(engine, measure_user(spec, name, options, tier, engine == "checked"));
  if (options.engine == "all" || options.engine == "kernel") report("kernel", measure_kernel(spec, name, options));
  return any ? 0 : 1;
}

}  // namespace

int bench_verb(const Arguments& arguments) {
  BenchOptions options;
  Options app("Measures one program: nanoseconds per run, the best chunk of about 0.3 ms.", "bench");
  app.add_option("FILE", options.source.file, "C source, ELF object or classic filter")->required();
  app.add_option("--program", options.program, "which one; default: the first");
  app.add_option("--input", options.input, "a file: the packet or the context; default: zeroes");
  app.add_option("--repeat", options.repeat, "runs in all, 1 to 10^12; default: 100000")
      ->check(range(1, 1'000'000'000'000));
  app.add_option("--engine", options.engine,
                 "interp, jit, opt, checked (machine code that checks every access), kernel or all")
      ->check(one_of({"interp", "jit", "opt", "checked", "kernel", "all"}));
  app.add_option("--btf", options.btf,
                 "kernel engine: a BTF file with this kernel's types, where it does not tell them itself");
  app.add_flag("-j,--json", options.json, "one JSON object an engine");
  app.add_flag("--raw", options.source.raw, "FILE holds bare 8-byte instructions");
  app.add_option("--type", options.source.type, "the program type of --raw: xdp, socket_filter, ...");
  app.add_option("--cflag", options.source.cflags, "one more argument for clang (repeatable)");
  app.footer("example:\n  skep bench filter.bpf.o --program xdp_filter --input packet.bin --engine opt --json");
  if (auto status = app.parse(arguments)) return *status;
  auto status = run(options);
  return status ? *status : complain(status.error(), options.json ? Form::json : Form::text);
}

}  // namespace skep::tools
