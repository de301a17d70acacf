// Locks that are refused: to who has them, to circles of two and of three, after a time; and threads that share one.
#include "map/resilient_lock.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

#include "map/graph.hpp"

namespace skep::map {
namespace {

TEST(ResilientLock, IsRefusedToWhoHasIt) {
  u32 lock = 0, other = 0;
  EXPECT_EQ(take_resilient(&lock), 0);
  EXPECT_EQ(take_resilient(&lock), -EDEADLK);
  EXPECT_EQ(take_resilient(&other), 0);
  give_resilient(&other);
  give_resilient(&lock);
  EXPECT_EQ(lock, 0u);
  EXPECT_EQ(take_resilient(&lock), 0);
  give_resilient(&lock);
}

/// Each thread has one lock and asks for the next one's: at least one is refused at once, and those that go on get
/// what they asked for.
void circle_of(u32 size) {
  std::vector<u32> locks(size, 0);
  std::barrier all_have_one(size);
  std::atomic<u32> refused{0}, timed_out{0};
  std::vector<std::thread> threads;
  for (u32 i = 0; i < size; i++)
    threads.emplace_back([&, i] {
      ASSERT_EQ(take_resilient(&locks[i]), 0);
      all_have_one.arrive_and_wait();
      u32& next = locks[(i + 1) % size];
      const s64 result = take_resilient(&next);
      if (result == 0) give_resilient(&next);
      refused += result == -EDEADLK;
      timed_out += result == -ETIMEDOUT;
      give_resilient(&locks[i]);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_GE(refused, 1u);
  EXPECT_EQ(timed_out, 0u);
  for (const u32 lock : locks) EXPECT_EQ(lock, 0u);
}
TEST(ResilientLock, CirclesAreSeen) {
  for (u32 round = 0; round < 20; round++) {
    circle_of(2);
    circle_of(3);
    circle_of(7);
  }
}

TEST(ResilientLock, ADeadHolderIsNotWaitedForForEver) {
  u32 lock = 0;
  std::thread([&] { EXPECT_EQ(take_resilient(&lock), 0); }).join();
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(take_resilient(&lock), -ETIMEDOUT);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(250));
}

/// A waiter is not refused because its holder waited for something once.
TEST(ResilientLock, OneAtATime) {
  constexpr u32 threads = 4, rounds = 20'000;
  u32 locks[2] = {};
  u64 counts[2] = {};
  std::atomic<u64> taken{0}, deadlocks{0};
  std::vector<std::thread> all;
  for (u32 t = 0; t < threads; t++)
    all.emplace_back([&] {
      for (u32 i = 0; i < rounds; i++) {
        const s64 outer = take_resilient(&locks[0]);
        deadlocks += outer == -EDEADLK;
        if (outer != 0) continue;
        counts[0]++;
        const s64 inner = take_resilient(&locks[1]);
        deadlocks += inner == -EDEADLK;
        if (inner == 0) counts[1]++, give_resilient(&locks[1]);
        taken += 1 + (inner == 0);
        give_resilient(&locks[0]);
      }
    });
  for (auto& thread : all) thread.join();
  EXPECT_EQ(counts[0] + counts[1], taken);
  EXPECT_EQ(deadlocks, 0u);
  EXPECT_GT(taken, u64{threads} * rounds);
}

/// Who lets go of a list holds its lock as a plain one.
TEST(ResilientLock, IsAPlainLockToWhoLetsGoOfAValue) {
  u32 lock = 0;
  u64 count = 0;
  std::thread plain([&] {
    for (u32 i = 0; i < 20'000; i++) lock_word(&lock), count++, unlock_word(&lock);
  });
  u64 refused = 0;
  for (u32 i = 0; i < 20'000; i++) {
    if (take_resilient(&lock) != 0) {
      refused++;
      continue;
    }
    count++;
    give_resilient(&lock);
  }
  plain.join();
  EXPECT_EQ(count + refused, 40'000u);
}

}  // namespace
}  // namespace skep::map
