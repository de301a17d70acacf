// The thread of timers: order, waiting, and ends at every moment.
#include "map/timers.hpp"

#include <gtest/gtest.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <random>

#include "map/map.hpp"

namespace skep::map {
namespace {

using std::chrono::milliseconds;

struct Value {
  u64 timer[2];
  u64 number;
};

/// An array of timers whose callbacks are a function of the test.
struct Timed {
  std::shared_ptr<Timers> timers;
  std::shared_ptr<Map> map;
  base::Callback callback;

  explicit Timed(std::function<void(Value&)> body, u32 count = 1) {
    auto made = Timers::create([body = std::move(body)](const base::Callback&, Map&, void*, void* value) {
      body(*static_cast<Value*>(value));
    });
    EXPECT_TRUE(made);
    timers = *made;
    MapSpec spec;
    spec.name = "timed";
    spec.type = MapType::array;
    spec.key_size = 4;
    spec.value_size = sizeof(Value);
    spec.max_entries = count;
    map = *Map::create(spec);
    const std::vector<Field> fields{{Field::What::timer, 0, 16, 0}};
    EXPECT_TRUE(map->set_fields(std::make_shared<const Fields>(fields, u32{sizeof(Value)}, -1, timers)));
  }
  Value& value(u32 index) const { return *static_cast<Value*>(map->lookup(&index)); }
  void start(u32 index, u64 nanoseconds, u64 flags = 0) {
    Value& at = value(index);
    timers->init_timer(*map, at.timer, &at, CLOCK_MONOTONIC);
    EXPECT_EQ(timers->set_callback(at.timer, &callback, nullptr), 0);
    EXPECT_EQ(timers->start_timer(at.timer, nanoseconds, flags), 0);
  }
};

template <class Condition>
bool becomes_true(Condition condition) {
  for (int i = 0; i < 10000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

TEST(TimersThread, RunsInOrderOfTime) {
  std::vector<u64> order;
  std::atomic<u32> ran{0};
  Timed timed(
      [&](Value& value) {
        order.push_back(value.number);  // one thread runs them all
        ran++;
      },
      500);
  std::mt19937 random(20261201);
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const u64 begin = static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec) + 300'000'000;
  for (u32 i = 0; i < 500; ++i) {
    const u64 wait = random() % 1000;
    timed.value(i).number = wait;
    timed.start(i, begin + wait * 10'000, 1);
    if (i % 7 == 0) timed.start(i, begin + wait * 10'000, 1);  // again: moved, not doubled
  }
  ASSERT_TRUE(becomes_true([&] { return ran == 500; }));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(TimersThread, CancelWaitsForACallbackThatRuns) {
  std::atomic<bool> inside{false}, done{false};
  Timed timed([&](Value&) {
    inside = true;
    std::this_thread::sleep_for(milliseconds(100));
    done = true;
  });
  timed.start(0, 0);
  ASSERT_TRUE(becomes_true([&] { return inside.load(); }));
  EXPECT_EQ(timed.timers->cancel(timed.value(0).timer), 0);
  EXPECT_TRUE(done);
  timed.start(0, u64{3600} * 1'000'000'000);
  EXPECT_EQ(timed.timers->cancel(timed.value(0).timer), 1);
}

TEST(TimersThread, NegativeAndHugeTimesAreNowAndNever) {
  std::atomic<u32> ran{0};
  Timed timed([&](Value&) { ran++; }, 2);
  timed.start(0, ~u64{0});       // -1
  timed.start(1, ~u64{0} >> 1);  // never
  EXPECT_TRUE(becomes_true([&] { return ran == 1; }));
  EXPECT_EQ(timed.timers->cancel(timed.value(1).timer), 1);
}

TEST(TimersThread, AMapGoesOnlyWhenItsCallbackReturned) {
  std::atomic<bool> inside{false}, done{false};
  Timed timed([&](Value& value) {
    inside = true;
    std::this_thread::sleep_for(milliseconds(50));
    value.number++;  // still there
    done = true;
  });
  timed.start(0, 0);
  ASSERT_TRUE(becomes_true([&] { return inside.load(); }));
  timed.map.reset();
  EXPECT_TRUE(done);
}

TEST(TimersThread, TheLastReferenceMayGoInACallback) {
  std::atomic<bool> done{false};
  std::shared_ptr<Map> last_map;
  {
    Timed timed([&](Value&) {
      while (last_map.use_count() != 1) std::this_thread::sleep_for(milliseconds(1));
      last_map.reset();  // and with it the timers
      done = true;
    });
    last_map = timed.map;
    timed.start(0, 0);
  }
  EXPECT_TRUE(becomes_true([&] { return done.load(); }));
}

TEST(TimersThread, WhatAFunctionHeldGoesBehindTheLock) {
  // The callback gives its timer another function, then ends it: the thread lets go of what that function held, which
  // may end a map, and that map's timers.
  std::atomic<bool> gone{false};
  Timed* here = nullptr;
  Timed timed(
      [&](Value& value) {
        const auto let_go = [&](const void*) {
          Value& other = here->value(1);
          EXPECT_EQ(here->timers->init_timer(*here->map, other.timer, &other, CLOCK_MONOTONIC), 0);
          gone = true;
        };
        std::shared_ptr<const void> owner(&value, let_go);
        EXPECT_EQ(here->timers->set_callback(value.timer, &here->callback, std::move(owner)), 0);
        const u32 index = 0;
        const Value zero{};
        EXPECT_EQ(here->map->update(&index, &zero, 0), 0);
      },
      2);
  here = &timed;
  timed.start(0, 0);
  EXPECT_TRUE(becomes_true([&] { return gone.load(); }));
}

TEST(TimersThread, EndWithTheirHostWhileTheyWaitAndWhileOneRuns) {
  for (int round = 0; round < 6; ++round) {
    std::atomic<bool> inside{false};
    std::atomic<u32> asked{0};
    {
      Timers* timers = nullptr;
      Timed timed(
          [&](Value& value) {
            if (timers->cancel(value.timer) == -EDEADLK) asked++;
            inside = true;
            std::this_thread::sleep_for(milliseconds(round % 3));
            timers->start_timer(value.timer, 0, 0);  // again, at once
          },
          16);
      timers = timed.timers.get();
      for (u32 i = 1; i < 16; ++i) timed.start(i, u64{3600} * 1'000'000'000);
      timed.start(0, 0);
      ASSERT_TRUE(becomes_true([&] { return inside.load(); }));
    }
    EXPECT_GT(asked, 0u);
  }
}

TEST(TimersThread, ManyThreadsStartCancelAndOverwrite) {
  std::atomic<u64> ran{0};
  Timed timed([&](Value&) { ran++; }, 8);
  std::vector<std::thread> threads;
  for (u32 t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      const Value zero{};
      for (int i = 0; i < 3000; ++i) {
        const RunSection section(0);
        const u32 index = random() % 8;
        Value& value = timed.value(index);
        switch (random() % 5) {
          case 0:
            timed.timers->init_timer(*timed.map, value.timer, &value, CLOCK_MONOTONIC);
            break;
          case 1:
            timed.timers->set_callback(value.timer, &timed.callback, nullptr);
            break;
          case 2:
            timed.timers->start_timer(value.timer, random() % 100'000, 0);
            break;
          case 3:
            timed.timers->cancel(value.timer);
            break;
          default:
            timed.map->update(&index, &zero, 0);
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace skep::map
