// Program arrays and maps of maps: objects in slots, and that none goes while a run may hold it.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "map/slots.hpp"

namespace skep::map {
namespace {

MapSpec make_spec(MapType type, u32 key_size, u32 value_size, u32 max_entries, u32 flags = 0) {
  MapSpec spec;
  spec.name = "slots";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.flags = flags;
  return spec;
}

TEST(ProgArray, TargetsAreSeenInsideOfARun) {
  const auto map = *Map::create(make_spec(MapType::prog_array, 4, 4, 3));
  const auto program = std::make_shared<int>(7);
  EXPECT_EQ(prog_array_set(*map, 3, program, 11), -E2BIG);
  EXPECT_EQ(prog_array_set(*map, 1, program, 11), 0);
  EXPECT_EQ(prog_array_target(*map, 1), nullptr);
  {
    const RunSection run(0);
    EXPECT_EQ(prog_array_target(*map, 1), program.get());
    EXPECT_EQ(prog_array_target(*map, 0), nullptr);
    EXPECT_EQ(prog_array_target(*map, 3), nullptr);
    EXPECT_EQ(prog_array_target(*map, 0xffffffff), nullptr);
    EXPECT_EQ(prog_array_set(*map, 1, nullptr, 0), -EBUSY);
  }
  u32 key = 1, id = 0;
  EXPECT_EQ(map->copy_lookup(&key, &id), 0);
  EXPECT_EQ(id, 11u);
  EXPECT_EQ(program.use_count(), 2);
  EXPECT_EQ(map->copy_erase(&key), 0);
  EXPECT_EQ(map->copy_erase(&key), -ENOENT);
  EXPECT_EQ(map->copy_lookup(&key, &id), -ENOENT);
  EXPECT_EQ(program.use_count(), 1);
  prog_array_set(*map, 0, program, 1);
  prog_array_clear(*map);
  EXPECT_EQ(program.use_count(), 1);
}

TEST(ProgArray, OtherMapsHaveNoTargets) {
  const auto map = *Map::create(make_spec(MapType::array, 4, 4, 3));
  const RunSection run(0);
  EXPECT_EQ(prog_array_target(*map, 0), nullptr);
  EXPECT_EQ(prog_array_set(*map, 0, nullptr, 0), -EINVAL);
  EXPECT_EQ(inner_map(*map, nullptr), nullptr);
}

TEST(MapOfMaps, LookUpGivesTheInnerMap) {
  for (const MapType type : {MapType::array_of_maps, MapType::hash_of_maps}) {
    MapSpec outer = make_spec(type, 4, 4, 2);
    outer.inner = std::make_shared<MapSpec>(make_spec(MapType::array, 4, 8, 5));
    const auto map = *Map::create(outer);
    const auto inner = *Map::create(*outer.inner);
    inner->info.id = 77;
    u32 key = 1, id = 0;
    EXPECT_EQ(map->copy_lookup(&key, &id), -ENOENT);
    EXPECT_EQ(set_inner_map(*map, &key, inner, 0), 0);
    EXPECT_EQ(map->copy_lookup(&key, &id), 0);
    EXPECT_EQ(id, 77u);
    EXPECT_EQ(inner_map(*map, &key), inner);
    EXPECT_EQ(map->lookup(&key), nullptr);
    {
      const RunSection run(0);
      EXPECT_EQ(map->lookup(&key), inner.get());
      const u32 other = 0;
      EXPECT_EQ(map->lookup(&other), nullptr);
      EXPECT_EQ(set_inner_map(*map, &key, inner, 0), -EBUSY);
    }
    EXPECT_EQ(map->update(&key, &id, 0), -EINVAL);
    EXPECT_EQ(inner.use_count(), 2);
    EXPECT_EQ(map->copy_erase(&key), 0);
    EXPECT_EQ(inner.use_count(), 1);
    EXPECT_EQ(map->copy_erase(&key), -ENOENT);
  }
}

TEST(MapOfMaps, FlagsOfTheHash) {
  MapSpec outer = make_spec(MapType::hash_of_maps, 8, 4, 1);
  outer.inner = std::make_shared<MapSpec>(make_spec(MapType::hash, 4, 8, 5));
  const auto map = *Map::create(outer);
  const auto inner = *Map::create(make_spec(MapType::hash, 4, 8, 100));  // a hash's bound may differ
  u64 first = 1, second = 2;
  EXPECT_EQ(set_inner_map(*map, &first, inner, update_exist), -ENOENT);
  EXPECT_EQ(set_inner_map(*map, &first, inner, update_noexist), 0);
  EXPECT_EQ(set_inner_map(*map, &first, inner, update_noexist), -EEXIST);
  EXPECT_EQ(set_inner_map(*map, &second, inner, 0), -E2BIG);
  EXPECT_EQ(inner_map(*map, &second), nullptr);
}

TEST(MapOfMaps, InnerMapsMustFitTheTemplate) {
  MapSpec outer = make_spec(MapType::array_of_maps, 4, 4, 2);
  outer.inner = std::make_shared<MapSpec>(make_spec(MapType::array, 4, 8, 5));
  const auto map = *Map::create(outer);
  const u32 key = 0;
  for (const MapSpec& wrong :
       {make_spec(MapType::array, 4, 8, 6), make_spec(MapType::array, 4, 16, 5), make_spec(MapType::hash, 4, 8, 5),
        make_spec(MapType::array, 4, 8, 5, flag::rdonly_prog)})
    EXPECT_EQ(set_inner_map(*map, &key, *Map::create(wrong), 0), -EINVAL);
  EXPECT_EQ(set_inner_map(*map, &key, nullptr, 0), -EINVAL);
  outer.inner = std::make_shared<MapSpec>(make_spec(MapType::array, 4, 8, 5, flag::inner_map));
  const auto open = *Map::create(outer);
  EXPECT_EQ(set_inner_map(*open, &key, *Map::create(make_spec(MapType::array, 4, 8, 99, flag::inner_map)), 0), 0);
}

/// The thing in a slot notices its end; runs that hold it must not see it.
struct Watched {
  std::atomic<bool>* alive;
  explicit Watched(std::atomic<bool>& flag) : alive(&flag) { flag = true; }
  ~Watched() { *alive = false; }
};

TEST(ProgArray, ATargetLivesUntilTheRunsThatHoldItEnd) {
  const auto map = *Map::create(make_spec(MapType::prog_array, 4, 4, 1));
  std::atomic<bool> alive = false, stop = false;
  std::atomic<u64> seen = 0;
  prog_array_set(*map, 0, std::make_shared<Watched>(alive), 1);
  std::thread runner([&] {
    while (!stop) {
      const RunSection run(0);
      const auto* target = static_cast<const Watched*>(prog_array_target(*map, 0));
      if (target == nullptr) continue;
      for (int i = 0; i < 50; ++i) EXPECT_TRUE(target->alive->load());
      ++seen;
    }
  });
  std::atomic<bool> flags[2] = {false, false};
  for (int i = 0; i < 2000 || seen < 100; ++i) {
    // Each new target has a flag of its own that is free again once the one before last is gone.
    prog_array_set(*map, 0, std::make_shared<Watched>(flags[i % 2]), 1);
    ASSERT_FALSE(i > 0 && flags[(i + 1) % 2]) << "the old target is gone when the call returns";
  }
  stop = true;
  runner.join();
  EXPECT_FALSE(alive);
}

TEST(Runs, OneThatNeverEndsHoldsNobodyUpForLong) {
  const auto programs = *Map::create(make_spec(MapType::prog_array, 4, 4, 1));
  auto array = *Map::create(make_spec(MapType::array, 4, 8, 1));
  std::atomic<bool> alive = false, inside = false, stop = false;
  prog_array_set(*programs, 0, std::make_shared<Watched>(alive), 1);
  const u32 key = 0;
  const auto* value = static_cast<const u64*>(array->lookup(&key));
  std::thread stuck([&] {
    const RunSection run(0);
    inside = true;
    while (!stop) std::this_thread::yield();
  });
  while (!inside) std::this_thread::yield();
  EXPECT_EQ(prog_array_set(*programs, 0, nullptr, 0), 0);
  EXPECT_TRUE(alive) << "the stuck run may hold it";
  array.reset();
  EXPECT_EQ(*value, 0u) << "the stuck run may read it";
  stop = true;
  stuck.join();
}

TEST(Runs, AForkedChildDoesNotWaitForThreadsItDoesNotHave) {
  auto array = *Map::create(make_spec(MapType::array, 4, 8, 1));
  std::atomic<bool> inside = false, stop = false;
  std::thread runner([&] {
    const RunSection run(0);
    inside = true;
    while (!stop) std::this_thread::yield();
  });
  while (!inside) std::this_thread::yield();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(synchronize_runs() ? 0 : 1);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  stop = true;
  runner.join();
}

}  // namespace
}  // namespace skep::map
