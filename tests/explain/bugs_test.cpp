// The explanations measured: real mistakes, at least three programs for each of the 15 most common errors.
//
// Every program must be refused on the marked line with the expected message, and its mended twin accepted. How often
// the cause, the kind of change and a verified patch are right is counted, and must not fall below what
// docs/PROMISES.md says. SKEP_BUG=NAME runs one and prints it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "btf/btf.hpp"
#include "bug_file.hpp"
#include "compile/compile.hpp"
#include "explain/beyond_lines.hpp"
#include "explain/fix.hpp"
#include "kernel/close.hpp"
#include "verify/diagnosis.hpp"
#include "verify/verify.hpp"

namespace skep {
namespace {

using test::Bug;

struct Verdict {
  verify::Report report;
  ProgramSpec program;
  std::shared_ptr<const verify::Diagnosis> diagnosis;  ///< of a refusal
};

/// The verdict on the first program that is refused, else on the last one.
Result<Verdict> verdict_of(const std::string& text, const Bug& bug) {
  auto object = SKEP_TRY(compile::load_text(text, bug.file + ".bpf.c"));
  explain::add_line_texts(object, bug.file + ".bpf.c", explain::Source(text));
  if (bug.kernel_rules) object = SKEP_TRY(kernel::close_object(object));
  verify::Options options;
  options.rules = bug.kernel_rules ? verify::Rules::kernel : verify::Rules::user;
  static const auto kernel_types = btf::Btf::from_file("/sys/kernel/btf/vmlinux");
  if (bug.kernel_rules && kernel_types) options.kernel_types = *kernel_types;
  Verdict verdict;
  for (const ProgramSpec& program : object.programs) {
    auto outcome = SKEP_TRY(verify::verify(program, object, options));
    verdict = {outcome.report, program, nullptr};
    if (outcome.report.accepted) continue;
    verdict.diagnosis = explain::with_source(verify::diagnose(program, object, options), explain::Source(text));
    break;
  }
  return verdict;
}

struct Tally {
  u32 all = 0, id = 0, line = 0, lines = 0, cause = 0, causes = 0, remedy = 0, patch = 0, patchable = 0, longest = 0;
};

bool has_kernel_types() { return std::filesystem::exists("/sys/kernel/btf/vmlinux"); }

TEST(Explanations, OfCommonErrors) {
  auto probe = compile::load_text("int f(void *ctx) { return 0; }\n", "probe.c");
  if (!probe) GTEST_SKIP() << "no clang: C sources cannot be compiled here: " << probe.error().message;
  const char* only = std::getenv("SKEP_BUG");
  const auto bugs = test::read_bugs();
  EXPECT_GE(bugs.size(), 45u);
  std::map<std::string, u32> kinds;
  Tally tally;
  for (const Bug& bug : bugs) {
    kinds[bug.kind]++;
    if (only != nullptr && bug.file.find(only) == std::string::npos) continue;
    if (bug.kernel_rules && !has_kernel_types()) {
      fmt::print("{}: left out, this kernel does not show its types\n", bug.file);
      continue;
    }
    auto refused = verdict_of(bug.refused, bug);
    ASSERT_TRUE(refused) << bug.file << ": " << refused.error().message;
    auto mended = verdict_of(bug.mended, bug);
    ASSERT_TRUE(mended) << bug.file << ": " << mended.error().message;
    EXPECT_TRUE(mended->report.accepted) << bug.file
                                         << ", mended: " << verify::explain(mended->report, mended->program);
    tally.all++;
    if (refused->report.accepted) {
      ADD_FAILURE() << bug.file << " is accepted";
      continue;
    }
    const verify::Rejection& r = *refused->report.rejection;
    ASSERT_NE(refused->diagnosis, nullptr);
    const verify::Diagnosis& d = *refused->diagnosis;
    std::string wrong;
    auto check = [&](bool right, u32& count, const std::string& what) {
      count += right ? 1 : 0;
      if (!right) wrong += what;
    };
    check(bug.ids.contains(r.id), tally.id, fmt::format("id {} ", r.id));
    if (bug.refused_line != 0) {
      tally.lines++;
      const u32 line = r.source ? r.source->line : 0;
      check(line == bug.refused_line, tally.line, fmt::format("line {}, expected {} ", line, bug.refused_line));
    }
    if (bug.cause_line != 0) {
      tally.causes++;
      const verify::Event* cause = d.cause();
      const u32 line = cause != nullptr && cause->source ? cause->source->line : 0;
      check(line == bug.cause_line, tally.cause, fmt::format("cause {}, expected {} ", line, bug.cause_line));
    }
    check(name_of(d.remedy) == bug.fix, tally.remedy, fmt::format("fix {}, expected {} ", name_of(d.remedy), bug.fix));
    explain::FixOptions options;
    options.type = refused->program.type;
    options.section = refused->program.section;
    options.time_limit = std::chrono::seconds(60);
    const auto fix =
        explain::find_fix(bug.refused, bug.file + ".bpf.c", {r, refused->diagnosis}, options,
                          [&](const std::string& text) -> std::optional<explain::Judgement> {
                            auto verdict = verdict_of(text, bug);
                            if (!verdict) {
                              if (only != nullptr)
                                fmt::print("--- not compiled:\n{}\n{}\n", text, verdict.error().message);
                              return std::nullopt;
                            }
                            if (only != nullptr && !verdict->report.accepted)
                              fmt::print("--- tried:\n{}\n{}\n", text,
                                         verify::explain(verdict->report, verdict->program, verdict->diagnosis.get()));
                            explain::Judgement judgement{verdict->report.accepted, std::nullopt};
                            if (verdict->report.rejection)
                              judgement.refused = {*verdict->report.rejection, verdict->diagnosis};
                            return judgement;
                          });
    check(fix.has_value(), tally.patch, "no patch ");
    if (fix) {
      auto again = verdict_of(fix->text, bug);
      EXPECT_TRUE(again && again->report.accepted) << bug.file << ": a patch was shown that does not verify\n"
                                                   << fix->diff;
    }
    const std::string shown = verify::explain(refused->report, refused->program, &d, fix ? fix->diff : "");
    const u32 lines = static_cast<u32>(std::count(shown.begin(), shown.end(), '\n'));
    tally.longest = std::max(tally.longest, lines);
    EXPECT_LE(lines, 25u) << shown;
    if (only != nullptr) fmt::print("{}\n", shown);
    if (!wrong.empty()) fmt::print("{:<28} {}\n", bug.file, wrong);
  }
  fmt::print(
      "explanations: {} programs; right message {}, right line {} of {}, cause {} of {}, kind of change {}, "
      "verified patch {}; longest {} lines\n",
      tally.all, tally.id, tally.line, tally.lines, tally.cause, tally.causes, tally.remedy, tally.patch,
      tally.longest);
  if (only != nullptr) return;
  EXPECT_EQ(kinds.size(), 16u);
  for (const auto& [kind, count] : kinds) EXPECT_GE(count, 3u) << kind;
  EXPECT_EQ(tally.line, tally.lines);
  EXPECT_GE(tally.id * 100, tally.all * 90);
  EXPECT_GE(tally.remedy * 100, tally.all * 75);
  EXPECT_GE(tally.patch * 100, tally.all * 40);
  EXPECT_GE(tally.cause * 100, tally.causes * 85);
}

}  // namespace
}  // namespace skep
