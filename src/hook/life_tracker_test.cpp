// Children that nobody announces: they wait for their maker's report, and no longer than there can be one.
#include "hook/life_tracker.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace skep::hook {
namespace {

class Recorder final : public LifeEmitter {
 public:
  void emit_life(u32 tid, u32, const LifeEvent& event) noexcept override {
    if (event.kind == LifeKind::fork) births.push_back({tid, event.subject});
  }
  bool is_traced(u32) const noexcept override { return parent_is_traced; }

  std::vector<std::pair<u32, u32>> births;  ///< maker, child
  bool parent_is_traced = false;
};

std::vector<LifeTracker::Held> released(LifeTracker& life) {
  std::vector<LifeTracker::Held> all;
  life.begin_released([&](const LifeTracker::Held& held) {
    for (const auto& waiting : life.all_held())
      EXPECT_EQ(std::ranges::count(waiting, held.child, &LifeTracker::Held::child), waiting.data() == &held ? 1 : 0)
          << "whoever lets everything go meanwhile finds it, once";
    all.push_back(held);
  });
  return all;
}

class Newborn : public testing::Test {
 protected:
  void SetUp() override {
    child = ::fork();
    while (child == 0) ::pause();
    ASSERT_GT(child, 0);
    interest.fork = true;
  }
  void TearDown() override {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  pid_t child = 0;
  LifeInterest interest;
  Recorder recorder;
};

TEST_F(Newborn, WaitsWhileItsMakerMayReport) {
  LifeTracker life(interest, recorder);
  recorder.parent_is_traced = true;
  EXPECT_FALSE(life.has_held());
  EXPECT_FALSE(life.may_begin(static_cast<u32>(child), SIGSTOP));
  life.release_strays();
  EXPECT_TRUE(life.has_held());
  EXPECT_TRUE(released(life).empty());
  life.forked(7, 7, static_cast<u32>(child));
  EXPECT_FALSE(life.has_held());
  EXPECT_EQ(recorder.births, (std::vector<std::pair<u32, u32>>{{7, child}}));
  EXPECT_EQ(released(life).size(), 1u);
}

TEST_F(Newborn, OfAMakerThatIsGoneBeginsWhenNothingIsLeftToHear) {
  LifeTracker life(interest, recorder);
  EXPECT_FALSE(life.may_begin(static_cast<u32>(child), SIGSTOP));
  EXPECT_TRUE(life.has_held());
  life.release_strays();
  EXPECT_FALSE(life.has_held());
  const auto begun = released(life);
  ASSERT_EQ(begun.size(), 1u);
  EXPECT_EQ(begun[0].child, static_cast<u32>(child));
  EXPECT_EQ(begun[0].stop, SIGSTOP);
  ASSERT_EQ(recorder.births.size(), 1u);
  life.forked(7, 7, static_cast<u32>(child));  // a report that comes late tells nothing twice
  EXPECT_EQ(recorder.births.size(), 1u);
}

}  // namespace
}  // namespace skep::hook
