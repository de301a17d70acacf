// Timers: answers as the kernel's, callbacks that run later, and what ends them.
#include <chrono>
#include <thread>

#include "map/fields.hpp"
#include "support.hpp"

namespace skep {
namespace {

using std::chrono::milliseconds;
using test::Loaded;

/// struct timed of programs/timers.bpf.c.
struct Timed {
  u64 timer[2];
  u64 fired, key, limit;
};

template <class Key>
Timed read(map::Map& map, Key key) {
  Timed value{};
  EXPECT_EQ(map.copy_lookup(&key, &value), 0);
  EXPECT_EQ(value.timer[0], 0u);  // the host sees no addresses
  return value;
}

/// Waits until it holds, ten seconds at most.
template <class Condition>
bool becomes_true(Condition condition) {
  for (int i = 0; i < 10000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

class Timers : public testing::TestWithParam<vm::Tier> {
 protected:
  void SetUp() override {
    auto spec = test::program_object("timers");
    if (!spec) GTEST_SKIP() << "needs clang with the BPF target (package clang)";
    spec_ = std::move(*spec);
    loaded_ = std::make_unique<Loaded>(spec_, GetParam());
    ASSERT_TRUE(loaded_->object);
  }
  ObjectSpec spec_;
  std::unique_ptr<Loaded> loaded_;
};

TEST_P(Timers, AnswerAsTheKernelDoes) { EXPECT_EQ(loaded_->run("answers"), 0); }

TEST_P(Timers, FireAndStartThemselvesAgain) {
  EXPECT_EQ(loaded_->run("start"), 0);
  auto& timers = loaded_->map("timers");
  EXPECT_TRUE(becomes_true([&] { return read<u32>(timers, 1).fired == 5; }));
  std::this_thread::sleep_for(milliseconds(20));
  const Timed value = read<u32>(timers, 1);
  EXPECT_EQ(value.fired, 5u);
  EXPECT_EQ(value.key, 1u);
}

TEST_P(Timers, KnowTheirKeyAndTheirClock) {
  auto& map = loaded_->map("by_key");
  EXPECT_EQ(loaded_->run("with_key"), 0);
  EXPECT_EQ(loaded_->run("absolute"), 0);
  EXPECT_EQ(loaded_->run("pinned"), 0);
  for (const u64 key : {u64{0x1122334455667788}, u64{2}, u64{3}})
    EXPECT_TRUE(becomes_true([&] { return read<u64>(map, key).key == key; })) << key;
}

TEST_P(Timers, DoNotCancelThemselvesButMayDeleteTheirElement) {
  auto& map = loaded_->map("by_key");
  EXPECT_EQ(loaded_->run("own_cancel"), 0);
  EXPECT_TRUE(becomes_true([&] { return read<u64>(map, 4).fired == 1; }));
  EXPECT_EQ(static_cast<s64>(read<u64>(map, 4).key), -EDEADLK);
  EXPECT_EQ(loaded_->run("own_deletion"), 0);
  const u64 key = 5;
  Timed value{};
  EXPECT_TRUE(becomes_true([&] { return map.copy_lookup(&key, &value) == -ENOENT; }));
}

TEST_P(Timers, WorkRunsAtOnce) {
  EXPECT_EQ(loaded_->run("work"), 0);
  const u32 key = 2;
  u64 value[4] = {};
  auto& works = loaded_->map("works");
  EXPECT_TRUE(becomes_true([&] { return works.copy_lookup(&key, value) == 0 && value[2] == 1; }));
  EXPECT_EQ(value[3], 2u);
}

TEST_P(Timers, EndWithTheirElementAndWithTheLastUser) {
  EXPECT_EQ(loaded_->run("far_away"), 0);
  EXPECT_EQ(loaded_->run("forget"), 0);
  EXPECT_EQ(loaded_->run("far_away"), 0);
  // The timer's function holds the object, until the last handle goes and with it the timer.
  const std::weak_ptr<user::LoadedObject> object = loaded_->object;
  const auto types = loaded_->object->types.get();
  EXPECT_NE(types, nullptr);
  loaded_.reset();
  EXPECT_TRUE(object.expired());
}

TEST_P(Timers, EndWhileTheyFire) {
  for (int round = 0; round < 30; ++round) {
    const Loaded loaded(spec_, GetParam());
    ASSERT_TRUE(loaded.object);
    EXPECT_EQ(loaded.run("start"), 0);
    EXPECT_EQ(loaded.run("with_key"), 0);
    std::this_thread::sleep_for(std::chrono::microseconds(700 + round * 40));
  }
}

TEST_P(Timers, OfAMapWithoutUsersAreNotMade) {
  auto& map = loaded_->map("timers");
  map.release_users();
  EXPECT_EQ(loaded_->run("start"), 2);  // bpf_timer_init: -EPERM
  map.regain_users();
  EXPECT_EQ(loaded_->run("start"), 0);
}

INSTANTIATE_TEST_SUITE_P(Tiers, Timers, testing::ValuesIn(test::tiers),
                         [](const auto& each) { return std::string(vm::name_of(each.param)); });

TEST(TimersInTheKernel, AnswerAndFireAlike) {
  SKEP_OBJECT(spec, "timers");
  std::string why;
  auto kernel = test::in_kernel(*spec, why);
  if (!kernel) GTEST_SKIP() << "not compared with the kernel: " << why;
  const auto run = [&](const char* name) {
    const auto ran = kernel->program(name).value().test_run(test::input_for(ProgramType::sched_cls));
    EXPECT_TRUE(ran) << ran.error().message;
    return ran ? static_cast<s64>(ran->result) : -1;
  };
  EXPECT_EQ(run("answers"), 0);
  EXPECT_EQ(run("start"), 0);
  EXPECT_EQ(run("own_cancel"), 0);
  EXPECT_EQ(run("work"), 0);
  const auto map_value = [&](const char* map, auto key) {
    Timed value{};
    const auto* first = reinterpret_cast<const std::byte*>(&key);
    const auto found = kernel->map(map).value().lookup(std::vector<std::byte>(first, first + sizeof key));
    if (found) std::memcpy(&value, found->data(), sizeof value);
    return value;
  };
  EXPECT_TRUE(becomes_true([&] { return map_value("timers", u32{1}).fired == 5; }));
  EXPECT_TRUE(becomes_true([&] { return map_value("by_key", u64{4}).fired == 1; }));
  EXPECT_EQ(static_cast<s64>(map_value("by_key", u64{4}).key), -EDEADLK);
}

}  // namespace
}  // namespace skep
