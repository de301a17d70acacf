// Runs .case files on every engine present and compares: with the expectation, and with each other.
//
//     run_cases [--bless] FILE...
//
// An engine that cannot work here is named once, with what it lacks; a case an engine leaves out says why in the
// file. Exit code: 0 when everything agreed, 1 otherwise.
#include <fmt/format.h>

#include <cstdio>
#include <span>

#include "engines.hpp"

namespace {

using namespace skep;
using namespace skep::cases;

struct Counts {
  std::size_t cases = 0, runs = 0, wrong = 0, left_out = 0;
};

class Runner {
 public:
  explicit Runner(bool bless) : bless_(bless) {
    for (auto make : {interpreter, checked_interpreter, baseline, optimised, kernel}) {
      auto engine = make();
      if (const auto can = engine->supported())
        engines_.push_back(std::move(engine));
      else
        fmt::print("left out: engine {}: {}\n", engine->name(), can.error().message);
    }
  }

  void run_file(const std::string& path) {
    auto file = CaseFile::read(path);
    if (!file) return complain(path, file.error().message);
    if (file->cases.empty()) return complain(path, "holds no case");
    for (Case& c : file->cases) run_case(fmt::format("{}:{} ({})", path, c.first_line + 1, c.name), c);
    if (!bless_) return;
    if (const auto written = file->write_blessed(); !written) complain(path, written.error().message);
  }

  int finish() const {
    fmt::print("cases: {} cases, {} runs on {} engines, {} left out, {} wrong\n", counts_.cases, counts_.runs,
               engines_.size(), counts_.left_out, counts_.wrong);
    return counts_.wrong == 0 && counts_.cases != 0 ? 0 : 1;
  }

 private:
  void complain(std::string_view place, std::string_view message) {
    fmt::print("{}: {}\n", place, message);
    counts_.wrong++;
  }

  void run_case(const std::string& place, Case& c) {
    counts_.cases++;
    std::optional<Outcome> first;
    std::string first_name;
    for (const auto& engine : engines_) {
      if (c.raw && !engine->takes_raw()) continue;
      if (const auto* why = c.left_out_by(engine->name())) {
        counts_.left_out++;
        fmt::print("{}: left out of {}: {}\n", place, engine->name(), *why);
        continue;
      }
      auto outcome = engine->run(c);
      if (!outcome && outcome.error().code == Code::unsupported && engine->name() == "kernel") {
        counts_.left_out++;
        fmt::print("{}: left out of kernel: {}\n", place, outcome.error().message);
        continue;
      }
      if (!outcome) {
        complain(place, fmt::format("{}: {}", engine->name(), outcome.error().message));
        continue;
      }
      counts_.runs++;
      if (!first) {
        first = *outcome;
        first_name = engine->name();
        if (bless_) take(*outcome, c);
      } else if (first->rejected != outcome->rejected || !outcome->agrees_with(first->result)) {
        complain(place,
                 fmt::format("{} says {}, {} says {}", first_name, text(*first), engine->name(), text(*outcome)));
      }
      compare(place, engine->name(), *outcome, c);
    }
  }

  /// The answer becomes the expectation.
  static void take(const Outcome& outcome, Case& c) {
    if (c.expects_rejection)
      c.rejection = outcome.rejection;
    else
      c.result = outcome.result;
  }

  void compare(const std::string& place, std::string_view engine, const Outcome& outcome, const Case& c) {
    if (c.expects_rejection != outcome.rejected)
      return complain(place, fmt::format("{}: {}, expected {}", engine, text(outcome),
                                         c.expects_rejection ? "a rejection" : "a result"));
    if (c.expects_rejection) {
      if (engine != "kernel" && c.rejection != outcome.rejection)
        complain(place, fmt::format("{}: {}, expected {}", engine, text(outcome), c.rejection));
      return;
    }
    if (!c.result) return complain(place, fmt::format("has no expectation; {} says {}", engine, text(outcome)));
    if (!outcome.agrees_with(*c.result))
      complain(place, fmt::format("{}: {}, expected {:#x}", engine, text(outcome), *c.result));
  }

  static std::string text(const Outcome& outcome) {
    return outcome.rejected ? fmt::format("rejected ({})", outcome.rejection) : fmt::format("{:#x}", outcome.result);
  }

  bool bless_;
  std::vector<std::unique_ptr<Engine>> engines_;
  Counts counts_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv + 1, static_cast<std::size_t>(argc - 1));
  const bool bless = !arguments.empty() && std::string_view(arguments.front()) == "--bless";
  Runner runner(bless);
  for (const char* path : arguments.subspan(bless ? 1 : 0)) runner.run_file(path);
  return runner.finish();
}
