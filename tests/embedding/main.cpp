// Random and mutated programs under the oracle of state embedding, for as long as one likes.
//
//     embedded_programs [--count N] [--first SEED] [--processes P] [--state FILE] [--only SEED] [--source NAME]
//
// A seed names a source, a program and the rules it is verified by (user, kernel): `border` is the grammar of
// border.hpp, `loops` the one of loops.hpp (user rules), `engines` that of the differential test (every instruction,
// map and kind of call), `corpus` the kernel's own raw verifier cases (left out where the corpus is not present). A
// quarter of them, and three quarters of the corpus, are changed a little (mutation.hpp). An accepted program runs on a
// few inputs in the checked interpreter, and before every instruction some explored state must hold the machine
// (oracle.hpp). A run that is too long to be looked at goes on unwatched, as far as the proof lets it (runner.hpp): it
// has to end. Violations are made small and printed; exit code 1 when there was one.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "../differential/fleet.hpp"
#include "../differential/program.hpp"
#include "../differential/tally.hpp"
#include "../verify_corpus/corpus.hpp"
#include "border.hpp"
#include "isa/text.hpp"
#include "loops.hpp"
#include "mutation.hpp"
#include "runner.hpp"

namespace skep::embedding {
namespace {

constexpr u32 inputs_per_program = 4;
constexpr std::string_view sources[] = {"border", "engines", "corpus", "loops"};
constexpr u32 source_count = std::size(sources);
enum : u32 { border, engines, from_corpus, loops };

struct Tally {
  differential::Progress progress;
  u64 programs[source_count], accepted[source_count], joined[source_count], runs[source_count];
  u64 followed, too_long, looks, violations;
  differential::Group refused[differential::most_groups];  ///< by message id
};

/// A program and the object that has its maps.
struct Subject {
  const ObjectSpec* object = nullptr;
  ProgramSpec program;
  How how;
  u64 seed = 0;
};

class Programs {
 public:
  Programs() {
    const std::string folder = corpus::folder();
    if (folder.empty()) return;
    for (const char* file : {"/selftests-6.1-raw-insns.jsonl.xz", "/selftests-6.12-raw-insns.jsonl.xz"})
      for (corpus::Case& c : corpus::raw_cases(folder + file)) cases_.push_back(std::move(c));
  }
  bool has_corpus() const { return !cases_.empty(); }

  u32 source_of(u64 seed, s32 only) const {
    if (only >= 0) return static_cast<u32>(only);
    constexpr u32 turns[] = {border, loops, engines, from_corpus, border, border, engines, from_corpus};
    const u32 source = turns[seed % std::size(turns)];
    return source == from_corpus && !has_corpus() ? engines : source;
  }

  Subject subject(u64 seed, u32 source) {
    Subject s;
    s.seed = seed;
    s.how.rules = seed / 4 % 2 == 0 ? verify::Rules::user : verify::Rules::kernel;
    s.how.often = seed / 8 % 3 != 0;    // two thirds prune wherever they can
    s.how.at_once = seed / 8 % 3 == 1;  // half of those join paths, by user rules
    std::mt19937_64 random(seed * 0x9e3779b97f4a7c15u);
    if (source == border) {
      Border border(seed);
      s.program = seed % 3 == 0 ? border.packet_program() : border.program(seed % 3 == 1);
      s.object = &object_with_value();
    } else if (source == loops) {
      s.how.rules = random() % 8 == 0 ? verify::Rules::strict : verify::Rules::user;
      s.how.at_once = random() % 2 == 0;
      s.program = LoopPrograms(seed).program();
      s.object = &object_with_value();
    } else if (source == engines) {
      engines_object_ = differential::object_of(differential::generate(seed));
      s.program = std::move(engines_object_.programs.front());
      engines_maps_.maps = engines_object_.maps;
      engines_maps_.license = engines_object_.license;
      s.object = &engines_maps_;
    } else {
      const corpus::Case& c = cases_[random() % cases_.size()];
      s.program = c.program;
      s.object = &c.object;
    }
    // What no grammar writes: any register in any place, other operations.
    if (source == from_corpus ? seed / 32 % 4 != 0 : seed / 32 % 4 == 1) s.program = mutate(s.program, random);
    return s;
  }

 private:
  std::vector<corpus::Case> cases_;
  ObjectSpec engines_object_, engines_maps_;
};

/// The same violation with as few instructions as can be: others become jumps to the next.
ProgramSpec made_small(Runner& runner, const Subject& subject) {
  ProgramSpec small = subject.program;
  const auto fails = [&](const ProgramSpec& p) {
    return !runner.judge(*subject.object, p, subject.how, subject.seed, inputs_per_program).violation.empty();
  };
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (std::size_t i = 0; i < small.insns.size(); i++) {
      const u8 code = small.insns[i].code;
      if (code == 0x18) i++;
      if (code == 0x18 || code == 0x05 || code == 0x95 || (code == 0x85 && small.insns[i].src != 0)) continue;
      ProgramSpec candidate = small;
      candidate.insns[i] = Insn{};
      candidate.insns[i].code = 0x05;
      if (!fails(candidate)) continue;
      small = std::move(candidate);
      smaller = true;
    }
  }
  return small;
}

void report(Runner& runner, const Subject& subject, std::string_view source) {
  constexpr const char* names[] = {"user", "kernel", "strict"};
  const ProgramSpec small = made_small(runner, subject);
  const Outcome outcome = runner.judge(*subject.object, small, subject.how, subject.seed, inputs_per_program);
  fmt::print("\nVIOLATION seed {} ({}, {} rules{}): {}\n{}\n", subject.seed, source,
             names[static_cast<u32>(subject.how.rules)], subject.how.at_once ? ", joined" : "", outcome.violation,
             isa::disassemble(small.insns));
  std::fflush(stdout);
}

struct Settings {
  differential::Fleet fleet{4'000, 1, 1, "", sizeof(Tally), nullptr};
  s32 source = -1;
  bool show = false;
};

void work(const Settings& settings, Programs& programs, u32 index) {
  Tally& tally = settings.fleet.tally<Tally>(index);
  // What one program's states took is kept for the next one's: given back and fetched again, it costs a sixth of the
  // time.
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  Runner runner;
  settings.fleet.each_seed(index, [&](u64 seed) {
    const u32 source = programs.source_of(seed, settings.source);
    const Subject subject = programs.subject(seed, source);
    if (settings.show) fmt::print("{}\n", isa::disassemble(subject.program.insns));
    const Outcome outcome = runner.judge(*subject.object, subject.program, subject.how, seed, inputs_per_program);
    if (settings.show) fmt::print("{}\n", outcome.accepted ? "accepted" : outcome.refused);
    tally.programs[source]++;
    tally.accepted[source] += outcome.accepted;
    tally.joined[source] += outcome.joined;
    if (!outcome.accepted) differential::Tally::count(tally.refused, outcome.refused, seed);
    tally.runs[source] += outcome.runs;
    tally.followed += outcome.followed;
    tally.too_long += outcome.too_long;
    tally.looks += outcome.looks;
    if (outcome.violation.empty()) return;
    tally.violations++;
    report(runner, subject, sources[source]);
  });
}

int run(Settings& settings) {
  Programs programs;
  if (!programs.has_corpus()) fmt::print("no corpus at ../shared/corpus (SKEP_CORPUS): its programs are left out\n");
  if (settings.source == from_corpus && !programs.has_corpus()) return 2;
  const auto died = [&](u32 index, u64 seed, int) {
    fmt::print("{}\n",
               isa::disassemble(programs.subject(seed, programs.source_of(seed, settings.source)).program.insns));
    settings.fleet.tally<Tally>(index).violations++;
  };
  if (!settings.fleet.run([&](u32 index) { work(settings, programs, index); }, died)) return 2;
  Tally sum{};
  for (u32 i = 0; i < settings.fleet.processes; i++) {
    const Tally& t = settings.fleet.tally<Tally>(i);
    for (u32 s = 0; s < source_count; s++)
      sum.programs[s] += t.programs[s], sum.accepted[s] += t.accepted[s], sum.joined[s] += t.joined[s],
          sum.runs[s] += t.runs[s];
    for (const differential::Group& g : t.refused)
      if (g.count != 0) differential::Tally::count(sum.refused, g.text, g.seed, g.count);
    sum.followed += t.followed, sum.too_long += t.too_long;
    sum.looks += t.looks, sum.violations += t.violations;
  }
  for (u32 s = 0; s < source_count; s++)
    fmt::print("{}: {} programs, {} accepted, {} of them with joined paths, {} runs to the end\n", sources[s],
               sum.programs[s], sum.accepted[s], sum.joined[s], sum.runs[s]);
  std::ranges::sort(sum.refused, [](const auto& a, const auto& b) { return a.count > b.count; });
  fmt::print("refused:");
  for (u32 g = 0; g < 12 && sum.refused[g].count != 0; g++)
    fmt::print(" {} {} (seed {})", sum.refused[g].text, sum.refused[g].count, sum.refused[g].seed);
  fmt::print(
      "\n{} machines compared with explored states, {} runs followed to their end unwatched, {} too long for that, {} "
      "violations\n",
      sum.looks, sum.followed, sum.too_long, sum.violations);
  return sum.violations == 0 && sum.looks != 0 ? 0 : 1;
}

}  // namespace
}  // namespace skep::embedding

int main(int argc, char** argv) {
  using namespace skep::embedding;
  Settings settings;
  for (int i = 1; i < argc; i++) {
    const std::string_view option = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    const auto number = [&] { return i++, std::strtoull(value.data(), nullptr, 10); };
    if (option == "--count")
      settings.fleet.count = number();
    else if (option == "--first")
      settings.fleet.first = number();
    else if (option == "--processes")
      settings.fleet.processes = std::max<skep::u32>(1, static_cast<skep::u32>(number()));
    else if (option == "--only")
      settings.fleet.first = number(), settings.fleet.count = 1, settings.show = true;
    else if (option == "--state")
      settings.fleet.state = value, i++;
    else if (option == "--source")
      settings.source = static_cast<skep::s32>(std::find(std::begin(sources), std::end(sources), value) - sources), i++;
    else
      return fmt::print(stderr, "unknown option {}; see the head of tests/embedding/main.cpp\n", option), 2;
  }
  if (settings.source >= static_cast<skep::s32>(source_count))
    return fmt::print(stderr, "--source is border, loops, engines or corpus\n"), 2;
  return run(settings);
}
