// Loops in C, compiled as users compile them: those that end are accepted, those that nearly do are refused.
//
// The folder's C files say what is to be thought of each program (loops.h). Every program that is accepted runs on a
// few inputs under the oracle of state embedding (tests/embedding): no state of a run may lie outside of what was
// proved, and none may take longer than was promised. Compilers differ in what they make of a loop, so two kinds of
// machine code are asked for: v3, which has 32-bit instructions, and v2, which cuts numbers off by shifts; of v2 fewer
// are proved. SKEP_LOOP=NAME judges one program and prints it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "../embedding/runner.hpp"
#include "compile/compile.hpp"
#include "user/prepare.hpp"

namespace skep {
namespace {

struct Tally {
  u32 ends = 0, proved = 0, endless = 0, open = 0, quick = 0;
  u64 slowest_ns = 0;
};

class Judge {
 public:
  explicit Judge(std::string cpu) : cpu_(std::move(cpu)) {}

  void file(const std::string& name) {
    compile::CompileOptions options;
    options.cpu = cpu_;
    options.cflags = {"-fno-finite-loops"};  // else clang 14 leaves loops out that never end: C lets it think they do
    auto object = compile::load_program(fmt::format("{}/{}", SKEP_LOOPS, name), options);
    ASSERT_TRUE(object) << object.error().message;
    for (const ProgramSpec& program : object->programs) judge(*object, program);
  }

  const Tally& tally() const { return tally_; }

 private:
  void judge(const ObjectSpec& object, const ProgramSpec& program) {
    constexpr u32 most_insns = 400'000, inputs = 3;
    constexpr u64 seed = 1, slow_ns = 100'000'000;
    const char* only = std::getenv("SKEP_LOOP");
    if (only != nullptr && program.name.find(only) == std::string::npos) return;
    verify::Options options = user::engine_rules();
    options.max_insns_processed = most_insns;
    const auto verdict = verify::verify(program, object, options);
    ASSERT_TRUE(verdict) << verdict.error().message;
    const verify::Report& report = verdict->report;
    if (only != nullptr)
      fmt::print("{} {}: {}{}, {} instructions, {:.1f} ms\n", cpu_, program.name,
                 report.accepted ? "accepted" : report.rejection->reason, report.joined ? " with joined paths" : "",
                 report.insns_processed, static_cast<double>(report.time_ns) / 1e6);
    if (program.name.starts_with("not_")) {
      EXPECT_FALSE(report.accepted) << cpu_ << " " << program.name;
      tally_.endless++;
    } else if (program.name.starts_with("open_")) {
      EXPECT_FALSE(report.accepted) << cpu_ << " " << program.name << " is proved now: say ENDS";
      tally_.open++;
    } else {
      tally_.ends++;
      tally_.proved += report.accepted;
      tally_.quick += report.accepted && report.time_ns < slow_ns;
      if (!report.accepted) fmt::print("{} {}: {}\n", cpu_, program.name, report.rejection->reason);
      if (report.accepted) tally_.slowest_ns = std::max(tally_.slowest_ns, report.time_ns);
    }
    for (const bool at_once : {false, true}) {
      const auto outcome = runner_.judge(object, program, {verify::Rules::user, false, at_once}, seed, inputs);
      EXPECT_EQ(outcome.violation, "") << cpu_ << " " << program.name;
    }
  }

  std::string cpu_;
  embedding::Runner runner_;
  Tally tally_;
};

bool has_clang() { return compile::load_text("int f(void *ctx) { return 0; }\n", "probe.c").has_value(); }

Tally tally_of(const std::string& cpu) {
  Judge judge(cpu);
  for (const char* name : {"searching.c", "sorting.c", "text.c", "numbers.c"}) judge.file(name);
  const Tally& t = judge.tally();
  fmt::print(
      "-mcpu={}: {} loops end, {} of them proved, {} within 100 ms of computing (slowest {:.0f} ms); {} open; {} that "
      "do "
      "not end or leave their memory, refused\n",
      cpu, t.ends, t.proved, t.quick, static_cast<double>(t.slowest_ns) / 1e6, t.open, t.endless);
  return t;
}

TEST(LoopsInC, AreProvedOrRefused) {
  if (!has_clang()) GTEST_SKIP() << "no clang: C sources cannot be compiled here";
  const Tally v3 = tally_of("v3");
  if (std::getenv("SKEP_LOOP") != nullptr) return;
  EXPECT_GE(v3.ends, 60u);
  EXPECT_EQ(v3.proved, v3.ends);
  EXPECT_GE(v3.endless, 60u);
}

TEST(LoopsInC, AreProvedOrRefusedWithoutInstructionsOf32Bits) {
  if (!has_clang()) GTEST_SKIP() << "no clang: C sources cannot be compiled here";
  const Tally v2 = tally_of("v2");
  if (std::getenv("SKEP_LOOP") != nullptr) return;
  EXPECT_GE(v2.proved + 3, v2.ends);
}

}  // namespace
}  // namespace skep
