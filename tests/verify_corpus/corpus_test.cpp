// The verifier's verdicts against the kernel's, on programs outside the project.
//
// The law: under the kernel's rules nothing that Linux 6.18 rejects for memory safety is accepted. Every program
// that we accept and the kernel rejects must stand in `explained`, with the reason why that is no hole.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "btf/btf.hpp"
#include "corpus.hpp"

namespace skep::corpus {
namespace {

/// Accepted here, rejected by the kernel, and safe all the same: name -> why.
const std::map<std::string_view, std::string_view> explained = {
    {"dynptr_fail.o:test_dynptr_reg_type",
     "no BTF with the case: the global function is followed with its real argument"},
    {"test_global_func11.o:global_func11",
     "no BTF with the case: the global function is followed with its real argument"},
    {"test_global_func12.o:global_func12",
     "no BTF with the case: the global function is followed with its real argument"},
    {"test_global_func14.o:global_func14",
     "no BTF with the case: the global function is followed with its real argument"},
    {"cpumask_failure.o:test_invalid_nested_array",
     "policy: the kernel gives up on pointers in deeply nested arrays, which are followed here"},
};

/// `least_near_percent`: of the programs that both accept, those with as many instructions processed, but for a tenth.
void check(const Tally& tally, std::string_view title, double least_accepted_percent, double least_near_percent) {
  fmt::print("{}", tally.text(title));
  for (const std::string& name : tally.accepted_names) {
    auto known = explained.find(name.substr(0, name.find(" | ")));
    if (known != explained.end())
      fmt::print("  accepted, kernel rejects: {} ({})\n", name, known->second);
    else
      ADD_FAILURE() << "accepted, but the kernel rejects it: " << name;
  }
  u32 all = tally.accepted + tally.wrongly_rejected + tally.unsupported + tally.errors;
  EXPECT_GE(100.0 * tally.accepted, least_accepted_percent * all) << title;
  EXPECT_EQ(tally.errors, 0u);
  u32 near = 0;
  for (const auto& count : tally.counts) near += count.is_near();
  EXPECT_GE(100.0 * near, least_near_percent * static_cast<double>(tally.counts.size())) << title;
}

verify::Options user_rules() {
  verify::Options options = kernel_rules();
  options.rules = verify::Rules::user;
  return options;
}

/// Where two registers say together what no path knows of one: `w3 = w2`, w2 < 9, so r3 < 9, whatever r2 has above.
bool is_proved_together(std::string_view name) { return name == "verifier_reg_equal.o:subreg_equality_2"; }

/// Joining paths from the start gives no other verdict than following each, but where that takes too long.
void check_joined(const std::vector<Case>& cases) {
  u32 joined = 0;
  for (const Case& c : cases) {
    verify::Options by_path = user_rules();
    by_path.max_insns_processed = 20'000;
    verify::Options at_once = by_path;
    at_once.insns_before_joining = 0;
    const auto one = verify::verify(c.program, c.object, by_path), other = verify::verify(c.program, c.object, at_once);
    ASSERT_EQ(one.has_value(), other.has_value()) << c.name;
    if (!one || (one->report.rejection &&
                 (one->report.rejection->id == "too_complex" || one->report.rejection->id == "loop_unbounded")))
      continue;
    EXPECT_EQ(one->report.accepted || is_proved_together(c.name), other->report.accepted) << c.name;
    joined += other->report.joined;
  }
  EXPECT_GT(joined, cases.size() / 8);
}

TEST(Corpus, RawCasesOfTheKernel) {
  if (folder().empty())
    GTEST_SKIP() << "no corpus at ../shared/corpus (SKEP_CORPUS): the kernel's raw verifier cases were left out";
  for (const char* file : {"selftests-6.1-raw-insns.jsonl.xz", "selftests-6.12-raw-insns.jsonl.xz"}) {
    auto cases = raw_cases(folder() + "/" + file);
    ASSERT_FALSE(cases.empty()) << file;
    check(judge(cases, kernel_rules()), file, 99.5, 97.5);
    check_joined(cases);
  }
}

TEST(Corpus, RawCasesWithoutPrivileges) {
  if (folder().empty())
    GTEST_SKIP() << "no corpus at ../shared/corpus (SKEP_CORPUS): what unprivileged processes may load was left out";
  for (const char* file : {"selftests-6.1-raw-insns.jsonl.xz", "selftests-6.12-raw-insns.jsonl.xz"}) {
    auto cases = raw_cases(folder() + "/" + file, true);
    ASSERT_FALSE(cases.empty()) << file;
    check(judge(cases, kernel_rules()), std::string(file) + ", unprivileged", 98.0, 0.0);
  }
}

TEST(Corpus, ProgramsOfTheKernelsTests) {
  if (folder().empty())
    GTEST_SKIP() << "no corpus at ../shared/corpus (SKEP_CORPUS): the kernel's program tests were left out";
  auto cases = relocated_cases(folder() + "/selftests-6.12-progs-relocated-insns.jsonl.xz");
  ASSERT_FALSE(cases.empty());
  check(judge(cases, kernel_rules()), "selftests 6.12 programs", 70.0, 0.0);
}

TEST(Corpus, ObjectsOfTheKernelsTests) {
  if (folder().empty())
    GTEST_SKIP() << "no corpus at ../shared/corpus (SKEP_CORPUS): the objects of the kernel's tests were left out";
  auto cases =
      object_cases(folder() + "/selftests-6.12-progs-objects.tar.xz", folder() + "/kernel-6.18-verdicts.tsv", "st612");
  ASSERT_FALSE(cases.empty());
  check(judge(cases, kernel_rules()), "selftests 6.12 objects", 99.5, 97.0);
  check_joined(cases);
  u32 found = 0;
  for (const char* name : {"strobemeta.o:on_event", "pyperf600.o:on_event", "verifier_search_pruning.o:short_loop1"})
    for (const Case& c : cases) {  // the kernel gives up on these
      if (c.name != name) continue;
      const auto outcome = verify::verify(c.program, c.object, user_rules());
      ASSERT_TRUE(outcome.has_value());
      EXPECT_TRUE(outcome->report.accepted && outcome->report.joined) << name;
      EXPECT_LT(outcome->report.insns_processed, 400'000u) << name;
      fmt::print("{}: {} instructions, {} us\n", name, outcome->report.insns_processed, outcome->report.time_ns / 1000);
      found++;
    }
  EXPECT_EQ(found, 3u);
}

TEST(Corpus, ProductionObjects) {
  if (folder().empty()) GTEST_SKIP() << "no corpus at ../shared/corpus (SKEP_CORPUS): production objects were left out";
  auto cases =
      object_cases(folder() + "/ebpf-samples-objects.tar.xz", folder() + "/kernel-6.18-verdicts.tsv", "samples");
  auto legacy =
      object_cases(folder() + "/ebpf-samples-objects.tar.xz", folder() + "/kernel-6.18-verdicts.tsv", "samples-legacy");
  cases.insert(cases.end(), std::make_move_iterator(legacy.begin()), std::make_move_iterator(legacy.end()));
  ASSERT_FALSE(cases.empty());
  check(judge(cases, kernel_rules()), "production objects, kernel rules", 99.5, 99.0);
  auto user = judge(cases, {});
  check(user, "production objects, user rules", 97.0, 0.0);
}

}  // namespace
}  // namespace skep::corpus
