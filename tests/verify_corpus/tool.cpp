// Runs one part of the corpus and prints every disagreement: for people who work on the verifier.
//   verify_corpus_tool raw|unprivileged|progs|objects|samples [user|joined] [counts] [quiet] [NAME]
// joined: by user rules, paths joined from the start where that proves the program.
// counts: programs for which the kernel processed another number of instructions. NAME: only cases whose name contains
// it, explained; the only one with its log, unless quiet (for profilers).
//
//   verify_corpus_tool folder PLACE... [counts] [rows] [--program NAME]
// PLACE: a BPF object, or a folder with such below it (your build tree). Each program is judged by the running kernel
// (BPF_PROG_LOAD, nothing is attached) and here, by the kernel's rules; differences are named, sums follow as text and
// as one line of JSON. rows: a line for each program instead. --program: that one, with our log. Ends with 0 where no
// verdict differs, 1 where one does, 2 where the kernel could not be asked, 3 where there was nothing to judge.
#include <fmt/format.h>

#include <cstdio>

#include "btf/btf.hpp"
#include "corpus.hpp"
#include "folder.hpp"

using namespace skep;

namespace {

int folder(int argc, char** argv) {
  std::vector<std::string> places;
  std::string only;
  bool counts = false, rows = false;
  for (int a = 2; a < argc; a++) {
    const std::string word = argv[a];
    if (word == "counts")
      counts = true;
    else if (word == "rows")
      rows = true;
    else if (word == "--program" && a + 1 < argc)
      only = argv[++a];
    else
      places.push_back(word);
  }
  const auto result = corpus::judge_folder(places, only);
  if (rows)
    fmt::print("{}", corpus::folder_rows(result));
  else
    fmt::print("{}{}\n", corpus::folder_text(result, counts), corpus::folder_json(result));
  if (result.objects == 0) {
    fmt::print(stderr, "no BPF object found: say an object, or a folder that has some, such as a build tree\n");
    return 3;
  }
  if (result.kernel_silent) return 2;
  for (const auto& row : result.programs)
    if (row.is_judged() && row.accepted != row.kernel_accepts()) return 1;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "folder") return folder(argc, argv);
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
