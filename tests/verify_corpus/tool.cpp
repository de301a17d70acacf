// Runs one part of the corpus and prints every disagreement: for people who work on the verifier.
//   verify_corpus_tool raw|unprivileged|progs|objects|samples [user|joined] [counts] [quiet] [NAME]
// joined: by user rules, paths joined from the start where that proves the program.
// counts: programs for which the kernel processed another number of instructions. NAME: only cases whose name contains
// it, explained; the only one with its log, unless quiet (for profilers).
#include <fmt/format.h>

#include <cstdio>

#include "btf/btf.hpp"
#include "corpus.hpp"

using namespace skep;

int main(int argc, char** argv) {
  std::string part = argc > 1 ? argv[1] : "raw", filter;
  bool counts = false, quiet = false;
  verify::Options options;
  options = corpus::kernel_rules();
  for (int a = 2; a < argc; a++) {
    if (std::string(argv[a]) == "user")
      options.rules = verify::Rules::user;
    else if (std::string(argv[a]) == "joined")
      options.rules = verify::Rules::user, options.insns_before_joining = 0;
    else if (std::string(argv[a]) == "counts")
      counts = true;
    else if (std::string(argv[a]) == "quiet")
      quiet = true;
    else
      filter = argv[a];
  }
  std::string base = corpus::folder();
  std::vector<corpus::Case> cases;
  if (part == "raw") {
    cases = corpus::raw_cases(base + "/selftests-6.1-raw-insns.jsonl.xz");
    for (auto& c : corpus::raw_cases(base + "/selftests-6.12-raw-insns.jsonl.xz")) cases.push_back(std::move(c));
  } else if (part == "unprivileged") {
    cases = corpus::raw_cases(base + "/selftests-6.1-raw-insns.jsonl.xz", true);
    for (auto& c : corpus::raw_cases(base + "/selftests-6.12-raw-insns.jsonl.xz", true)) cases.push_back(std::move(c));
  } else if (part == "progs") {
    cases = corpus::relocated_cases(base + "/selftests-6.12-progs-relocated-insns.jsonl.xz");
  } else if (part == "objects") {
    cases = corpus::object_cases(base + "/selftests-6.12-progs-objects.tar.xz", base + "/kernel-6.18-verdicts.tsv",
                                 "st612");
  } else {
    cases = corpus::object_cases(base + "/ebpf-samples-objects.tar.xz", base + "/kernel-6.18-verdicts.tsv", "samples");
    for (auto& c : corpus::object_cases(base + "/ebpf-samples-objects.tar.xz", base + "/kernel-6.18-verdicts.tsv",
                                        "samples-legacy"))
      cases.push_back(std::move(c));
  }
  if (!filter.empty()) {
    std::erase_if(cases, [&](const corpus::Case& c) { return c.name.find(filter) == std::string::npos; });
    for (const auto& c : cases) {
      options.log = cases.size() == 1 && !quiet;
      options.unprivileged = c.unprivileged;
      auto outcome = verify::verify(c.program, c.object, options);
      if (!outcome) continue;
      if (options.log) fmt::print("{}", outcome->report.log);
      fmt::print("{} (kernel {} {} {} us) {}{}{} states\n", c.name,
                 c.kernel_accepts ? "accepts" : "rejects: " + c.kernel_message, c.kernel_insns, c.kernel_time_us,
                 verify::explain(outcome->report, c.program), outcome->report.joined ? "joined, " : "",
                 outcome->report.states);
    }
    return 0;
  }
  auto tally = corpus::judge(cases, options);
  for (const auto& name : tally.accepted_names) fmt::print("ACCEPTED {}\n", name);
  for (const auto& name : tally.rejected_names) fmt::print("REFUSED {}\n", name);
  if (counts)
    for (const auto& c : tally.counts)
      if (c.ours != c.kernels) fmt::print("COUNT {:8} kernel {:8} {}\n", c.ours, c.kernels, c.name);
  fmt::print("{}", tally.text(part));
}
