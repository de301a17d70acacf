// Timers: answers as the kernel's, callbacks that run later, and what ends them.
#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

#include "map/fields.hpp"
#include "map/run.hpp"
#include "map/slots.hpp"
#include "map/timers.hpp"
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

// The last handle's end waits for runs between one program array and the next: what a handle that is opened meanwhile
// starts and puts in is not its to take.
TEST(LastHandle, TakesNothingFromOneThatIsOpenedWhileItGoes) {
  SKEP_OBJECT(compiled, "timers");
  ObjectSpec spec = *compiled;
  for (const char* name : {"first_jumps", "second_jumps"}) {
    MapSpec jumps;
    jumps.name = name;
    jumps.type = MapType::prog_array;
    jumps.key_size = jumps.value_size = 4;
    jumps.max_entries = 1;
    spec.maps.push_back(std::move(jumps));
  }
  const auto prepared = user::prepare(spec);
  ASSERT_TRUE(prepared) << prepared.error().message;
  const auto registry = std::make_shared<user::Registry>();
  auto handle = user::load_object(*prepared, registry, {}, vm::Tier::interpreter).value();
  user::LoadedObject* const loaded = handle.get();
  // Keeps the object, and is no handle.
  const std::shared_ptr<user::LoadedObject> object(registry->map_table->find(loaded->maps.front()->id.id()), loaded);
  map::Map& first = *loaded->maps[loaded->maps.size() - 2]->map;
  map::Map& second = *loaded->maps.back()->map;
  const auto& target = loaded->programs.front();
  const auto jump_from = [&](map::Map& array) {
    return map::prog_array_set(array, 0, target->function, target->id.id());
  };
  const auto lookup = [](map::Map& array) {
    u32 slot = 0, id = 0;
    return array.copy_lookup(&slot, &id);
  };
  ASSERT_EQ(jump_from(first), 0);

  std::atomic<bool> is_running{false}, may_end{false};
  std::thread run([&] {
    const map::RunSection section(0);
    is_running = true;
    while (!may_end) std::this_thread::sleep_for(milliseconds(1));
  });
  EXPECT_TRUE(becomes_true([&] { return is_running.load(); }));
  std::thread last([&] { handle.reset(); });
  EXPECT_TRUE(becomes_true([&] { return lookup(first) == -ENOENT; }));
  auto opened = user::user_reference(object);
  EXPECT_EQ(jump_from(second), 0);
  map::Map* by_key = nullptr;
  for (const auto& map : loaded->maps)
    if (map->map->spec().name == "by_key") by_key = map->map.get();
  for (const auto& program : loaded->programs)
    if (program->facts.name == "far_away") {
      EXPECT_EQ(user::test_run(*program->function, test::input_for(ProgramType::sched_cls), nullptr)->result, 0u);
    }
  may_end = true;
  run.join();
  last.join();

  EXPECT_EQ(lookup(second), 0);
  ASSERT_NE(by_key, nullptr);
  const u64 key = 6;
  const map::RunSection section(0);
  void* const timer = by_key->lookup(&key);
  ASSERT_NE(timer, nullptr);
  EXPECT_EQ(map::Timers::of(timer)->cancel(timer), 1) << "it waits for its hour";
}

TEST(LastHandle, EmptiesProgramArraysAndEndsTimers) {
  SKEP_OBJECT(compiled, "timers");
  auto loaded = std::make_unique<Loaded>(*compiled, vm::Tier::interpreter);
  const std::weak_ptr<const vm::Function> program = loaded->program("far_away")->function;
  EXPECT_EQ(loaded->run("far_away"), 0);
  loaded.reset();
  EXPECT_TRUE(program.expired()) << "its timer would run in an hour";
}

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
