// Every engine against the same C compiled natively: nanoseconds per run, compile time, code size, ratios.
//
// Each program is run once in every engine and the results compared; a difference ends the benchmark. Then the engines
// take turns: a round is a few chunks of 0.3 ms in each, of which the best counts; the figure is the median over the
// rounds. That is what a shared machine disturbs least.
//
//   bench_engine [--only NAME,...] [--engine NAME,...] [--rounds 7] [--cpu v3|v4] [--json]
//   bench_engine --dump NAME --tier TIER FILE      machine code, for `objdump -D -b binary -m i386:x86-64`
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/mapped_file.hpp"
#include "engine/engines.hpp"
#include "engine/report.hpp"

namespace skep::bench {
namespace {

constexpr const char* usage =
    "usage: bench_engine [--only NAME,...] [--engine NAME,...] [--rounds N] [--cpu v3|v4] [--json]\n"
    "       bench_engine --dump NAME --tier TIER FILE\n";

struct Options {
  std::vector<std::string> only, engine;
  std::string cpu = "v3", dump, tier, file;
  int rounds = 7;
  bool json = false;
};

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    out.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

Result<Options> parse(std::span<char*> arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view word = arguments[i];
    const std::string value = i + 1 < arguments.size() ? arguments[i + 1] : "";
    const bool takes_value = word == "--only" || word == "--engine" || word == "--rounds" || word == "--cpu" ||
                             word == "--dump" || word == "--tier";
    if (takes_value && value.empty()) return fail(Code::invalid_argument, fmt::format("{} needs a value", word));
    if (takes_value) ++i;
    if (word == "--only")
      options.only = split(value);
    else if (word == "--engine")
      options.engine = split(value);
    else if (word == "--rounds")
      options.rounds = std::max(1, std::atoi(value.c_str()));
    else if (word == "--cpu")
      options.cpu = value;
    else if (word == "--dump")
      options.dump = value;
    else if (word == "--tier")
      options.tier = value;
    else if (word == "--json")
      options.json = true;
    else if (!word.starts_with("-") && options.file.empty())
      options.file = word;
    else
      return fail(Code::invalid_argument, fmt::format("unknown argument {}\n{}", word, usage));
  }
  if (options.dump.empty() != options.file.empty() || options.dump.empty() != options.tier.empty())
    return fail(Code::invalid_argument, fmt::format("--dump NAME, --tier TIER and FILE go together\n{}", usage));
  for (const auto& name : options.only)
    if (std::ranges::none_of(rows(), [&](const Row& row) { return name == row.name; }))
      return fail(Code::invalid_argument, fmt::format("no program {} in bench/programs", name));
  return options;
}

bool wanted(const std::vector<std::string>& names, std::string_view name) {
  return names.empty() || std::ranges::find(names, name) != names.end();
}

/// Removes its directory when it goes.
struct Scratch {
  std::filesystem::path path;
  static Result<Scratch> make() {
    char name[] = "/tmp/skep-bench-XXXXXX";
    if (::mkdtemp(name) == nullptr) return fail(Code::io, "cannot make a directory in /tmp");
    return Scratch{name};
  }
  explicit Scratch(std::filesystem::path p) : path(std::move(p)) {}
  Scratch(Scratch&& other) noexcept : path(std::exchange(other.path, {})) {}
  ~Scratch() {
    std::error_code ignored;
    if (!path.empty()) std::filesystem::remove_all(path, ignored);
  }
};

struct Running {
  std::string engine;
  std::unique_ptr<Subject> subject;
  u32 times = 1;  ///< runs of a chunk
  std::vector<double> rounds;
};

/// So many runs that a chunk takes about 0.3 ms.
Result<u32> chunk_size(Subject& subject) {
  constexpr double chunk_ns = 300'000;
  for (u32 times = 1;; times *= 2) {
    const double ns = SKEP_TRY(subject.batch_ns(times));
    if (ns >= chunk_ns / 4 || times >= 1u << 24)
      return static_cast<u32>(std::max(1.0, times * chunk_ns / std::max(ns, 1.0)));
  }
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

Result<void> measure(std::vector<Running>& running, int rounds) {
  constexpr int chunks = 8;
  for (auto& one : running) one.times = SKEP_TRY(chunk_size(*one.subject));
  for (int round = 0; round < rounds; ++round)
    for (auto& one : running) {
      double best = 1e18;
      for (int chunk = 0; chunk < chunks; ++chunk)
        best = std::min(best, SKEP_TRY(one.subject->batch_ns(one.times)) / one.times);
      one.rounds.push_back(best);
    }
  return {};
}

/// One program in every engine that takes it.
Result<Line> line_of(const Row& row, const Options& options, const std::vector<Engine>& all, const Input& input,
                     const Native& native) {
  const ObjectSpec object = SKEP_TRY(bpf_object(row.name, options.cpu));
  const Sources sources{row.name, &input, &native, &object};
  Line line{row.name, row.headline, 0, {}};
  std::vector<Running> running;
  for (const Engine& engine : all) {
    auto subject = engine.prepare(sources);
    if (!subject) {
      line.cells[engine.name].refused = subject.error().message;
      continue;
    }
    // The second run is compared: the first may fill a map.
    SKEP_TRY((*subject)->run(1));
    const u32 result = SKEP_TRY((*subject)->run(1));
    if (running.empty()) line.result = result;
    if (result != line.result)
      return fail(Code::malformed, fmt::format("{}: {} gives {:#x}, {} gives {:#x}", row.name, running[0].engine,
                                               line.result, engine.name, result));
    running.push_back({engine.name, *std::move(subject), 1, {}});
  }
  SKEP_TRY(measure(running, options.rounds));
  for (const auto& one : running) {
    const auto [low, high] = std::ranges::minmax(one.rounds);
    const double middle = median(one.rounds);
    line.cells[one.engine] = {
        middle, (high - low) / middle, one.subject->verify_us, one.subject->compile_us, one.subject->code_bytes, {}};
  }
  return line;
}

/// The kernel's repetition costs a few nanoseconds a run, which no other engine pays: an empty program says how many.
void take_off_repetition(Report& report, const Line& empty) {
  const auto kernel = empty.cells.find("kernel"), native = empty.cells.find("native");
  if (kernel == empty.cells.end() || native == empty.cells.end() || !kernel->second.refused.empty()) return;
  const double loop_ns = std::max(0.0, kernel->second.ns_per_run - native->second.ns_per_run);
  for (Line& line : report.lines)
    if (const auto cell = line.cells.find("kernel"); cell != line.cells.end() && cell->second.refused.empty())
      cell->second.ns_per_run = std::max(0.0, cell->second.ns_per_run - loop_ns);
}

Result<Native> native_of(const char* name, const std::string& compiler, const Scratch& scratch, const Input& input) {
  return Native::build(name, compiler, scratch.path, input);
}

Result<int> dump(const Options& options, const std::vector<Engine>& all) {
  const auto engine = std::ranges::find(all, options.tier, &Engine::name);
  if (engine == all.end()) return fail(Code::invalid_argument, fmt::format("no tier {} in this build", options.tier));
  const Scratch scratch = SKEP_TRY(Scratch::make());
  const Input input = make_input();
  const std::string compiler = SKEP_TRY(native_compiler());
  const Native native = SKEP_TRY(native_of(options.dump.c_str(), compiler, scratch, input));
  const ObjectSpec object = SKEP_TRY(bpf_object(options.dump, options.cpu));
  const auto subject = SKEP_TRY(engine->prepare({options.dump, &input, &native, &object}));
  if (subject->code.empty())
    return fail(Code::unsupported, fmt::format("{} has no machine code of its own to show", options.tier));
  SKEP_TRY(base::write_file_atomic(options.file, subject->code));
  fmt::print("{} bytes: objdump -D -b binary -m i386:x86-64 {}\n", subject->code.size(), options.file);
  return 0;
}

Result<int> run(const Options& options) {
  std::vector<std::string> left_out;
  auto all = engines(left_out);
  if (!options.dump.empty()) return dump(options, all);
  std::erase_if(all, [&](const Engine& engine) { return !wanted(options.engine, engine.name); });
  if (all.empty()) return fail(Code::invalid_argument, "--engine names none of this build's engines");
  Report report;
  for (const auto& why : left_out) {
    fmt::print(stderr, "bench: left out: {}\n", why);
    report.no_kernel = why;  // the one engine that may be absent
  }
  report.cpu = options.cpu;
  const std::string compiler = SKEP_TRY(native_compiler());
  report.compiler = compiler + " -O2";
  for (const auto& engine : all) report.engines.push_back(engine.name);
  const Scratch scratch = SKEP_TRY(Scratch::make());
  const Input input = make_input();
  Line empty;
  for (const Row& row : rows()) {
    const bool is_empty = std::strcmp(row.name, "empty") == 0;
    if (!wanted(options.only, row.name) && !is_empty) continue;
    const Native native = SKEP_TRY(native_of(row.name, compiler, scratch, input));
    Line line = SKEP_TRY(line_of(row, options, all, input, native));
    if (is_empty) empty = line;
    if (!is_empty || wanted(options.only, row.name)) report.lines.push_back(std::move(line));
  }
  take_off_repetition(report, empty);
  fmt::print("{}", options.json ? json(report) : table(report));
  return 0;
}

}  // namespace
}  // namespace skep::bench

int main(int argc, char** argv) {
  const auto options = skep::bench::parse({argv + 1, static_cast<std::size_t>(argc - 1)});
  const auto status = options ? skep::bench::run(*options) : tl::unexpected<skep::Error>(options.error());
  if (status) return *status;
  fmt::print(stderr, "bench: {}\n", status.error().message);
  return 2;
}
