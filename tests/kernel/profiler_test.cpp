// Counters around each run of a program. Software counters show the mechanism on machines without hardware counters.
#include "kernel/profiler.hpp"
#include "kernel/features.hpp"
#include "kernel/perf_event.hpp"
#include "support.hpp"

namespace skep::kernel_test {
namespace {

class Profile : public KernelEngine {
 protected:
  void SetUp() override {
    KernelEngine::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    auto spec = compile("attach");
    ASSERT_OK(spec);
    auto loaded = load(*spec, {.programs = {"on_tc"}});
    ASSERT_OK(loaded);
    object_ = *std::move(loaded);
  }
  u32 id() { return object_->programs()[0].info().id; }
  void run(u32 times) {
    TestRun packet{.data = std::vector<std::byte>(64), .context = {}, .repeat = times};
    ASSERT_OK(object_->programs()[0].test_run(packet));
  }
  std::optional<Object> object_;
};

TEST_F(Profile, EachRunIsCountedWithItsCounters) {
  const std::string names[] = {"cpu-clock", "page-faults", "task-clock"};
  auto profiler = kernel::Profiler::start(id(), names);
  // The types that a fentry program on another program needs are that program's own, which may do where the kernel's
  // are missing.
  if (const kernel::Features features; !features.fentry() && (features.kernel_types() || !profiler)) {
    ASSERT_FALSE(profiler);
    EXPECT_NE(profiler.error().message.find("fentry"), std::string::npos) << profiler.error().message;
    GTEST_SKIP() << features.fentry_refusal();
  }
  ASSERT_OK(profiler);
  constexpr u32 times = 1000;
  run(times);
  const auto first = profiler->read();
  ASSERT_OK(first);
  EXPECT_EQ(first->runs, times);
  ASSERT_EQ(first->values.size(), 3u);
  EXPECT_GT(first->values[0].counter, 0u) << "nanoseconds";
  EXPECT_LT(first->values[0].counter, 1'000'000'000u);
  EXPECT_EQ(first->values[1].counter, 0u) << "programs make no page faults";
  EXPECT_GE(first->values[0].enabled, first->values[0].running);
  EXPECT_GT(first->values[0].running, 0u);
  run(times);
  EXPECT_EQ(profiler->read()->runs, 2 * times);
  profiler = fail(Code::io, "ended");
  run(times);  // nothing stands in the way any more
}

TEST_F(Profile, ACounterThatTheMachineLacksIsNamed) {
  const std::string cycles[] = {"cycles"};
  const auto profiler = kernel::Profiler::start(id(), cycles);
  if (profiler) {
    run(10);
    EXPECT_GT(profiler->read()->values[0].counter, 0u);
    return;
  }
  const std::string& said = profiler.error().message;
  const bool named = said.find("no hardware counters, which cpu-cycles is one of") != std::string::npos ||
                     said.find("do not have cpu-cycles") != std::string::npos ||
                     said.find("fentry") != std::string::npos;
  EXPECT_TRUE(named) << said;
  EXPECT_FALSE(kernel::check_profile_counter("nonsense"));
  const std::vector<std::string> many(kernel::Profiler::most_counters + 1, "cpu-clock");
  EXPECT_EQ(kernel::Profiler::start(id(), many).error().code, Code::limit);
}

}  // namespace
}  // namespace skep::kernel_test
