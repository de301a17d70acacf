// Maps whose values stand for objects, beyond the kernel's answers (differential_objects_test.cpp): stacks, records
// from the host, tasks, control groups, redirect targets, arenas.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "map/arena.hpp"
#include "map/cgroup.hpp"
#include "map/memory.hpp"
#include "map/redirect.hpp"
#include "map/stack_trace.hpp"
#include "map/task_storage.hpp"
#include "map/user_ringbuf.hpp"

namespace skep::map {
namespace {

std::shared_ptr<Map> made(MapType type, u32 key_size, u32 value_size, u32 max_entries, u32 flags = 0,
                          u64 map_extra = 0) {
  MapSpec spec;
  spec.name = "mine";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.flags = flags;
  spec.map_extra = map_extra;
  if (type == MapType::task_storage) spec.btf_key_type_id = spec.btf_value_type_id = 1;
  auto map = Map::create(spec);
  EXPECT_TRUE(map) << (map ? "" : map.error().message);
  return *map;
}

TEST(StackTrace, AStackKeepsItsNumber) {
  const auto map = made(MapType::stack_trace, 4, 24, 256);
  const u64 first[] = {0x1000, 0x2000}, second[] = {0x1000, 0x2000, 0x3000, 0x4000};
  const s64 id = store_stack(*map, first, 0);
  ASSERT_GE(id, 0);
  EXPECT_EQ(store_stack(*map, first, 0), id);
  const s64 longer = store_stack(*map, second, stack_flag::reuse_id);
  u64 value[3] = {9, 9, 9};
  u32 key = static_cast<u32>(longer);
  EXPECT_EQ(map->copy_lookup(&key, value), 0);
  EXPECT_EQ(value[2], 0x3000u);  // cut to the three that fit
  if (longer != id) {
    key = static_cast<u32>(id);
    EXPECT_EQ(map->copy_lookup(&key, value), 0);
    EXPECT_EQ(value[1], 0x2000u);
    EXPECT_EQ(value[2], 0u);
  }
  EXPECT_EQ(map->copy_erase(&key), 0);
  EXPECT_EQ(map->copy_lookup(&key, value), -ENOENT);
}

TEST(StackTrace, TwoStacksWithOneNumberCollide) {
  const auto map = made(MapType::stack_trace, 4, 16, 1);  // one place
  const u64 first[] = {1}, second[] = {2};
  EXPECT_EQ(store_stack(*map, first, 0), 0);
  EXPECT_EQ(store_stack(*map, second, 0), -EEXIST);
  EXPECT_EQ(store_stack(*map, second, stack_flag::reuse_id), 0);
  EXPECT_EQ(store_stack(*map, second, 0), 0);
}

s64 collect(void* context, const std::byte* data, u32 size) noexcept {
  auto& seen = *static_cast<std::string*>(context);
  seen.append(reinterpret_cast<const char*>(data), size).append(";");
  return seen.ends_with("stop;") ? 1 : 0;
}

std::span<const std::byte> bytes(const char* text) {
  return {reinterpret_cast<const std::byte*>(text), std::strlen(text)};
}

TEST(UserRingbuf, RecordsArriveInOrderAndCanStopTheDrain) {
  const auto map = made(MapType::user_ringbuf, 0, 0, 4096);
  std::string seen;
  EXPECT_EQ(user_ring_drain(*map, collect, &seen, 0), 0);
  for (const char* text : {"one", "two", "stop", "three"}) EXPECT_EQ(user_ring_write(*map, bytes(text)), 0);
  void* unwanted = user_ring_reserve(*map, 5);
  ASSERT_NE(unwanted, nullptr);
  user_ring_discard(*map, unwanted);
  void* pending = user_ring_reserve(*map, 4);
  std::memcpy(pending, "late", 4);
  EXPECT_EQ(user_ring_drain(*map, collect, &seen, 0), 3);
  EXPECT_EQ(seen, "one;two;stop;");
  EXPECT_EQ(user_ring_drain(*map, collect, &seen, 0), 1);  // then the busy one
  user_ring_submit(*map, pending);
  EXPECT_EQ(user_ring_drain(*map, collect, &seen, 3), 1);
  EXPECT_EQ(seen, "one;two;stop;three;late;");
  EXPECT_EQ(user_ring_drain(*map, collect, &seen, 4), -EINVAL);
}

TEST(UserRingbuf, AFullRingRefusesAndComesBack) {
  const auto map = made(MapType::user_ringbuf, 0, 0, 4096);
  const std::vector<std::byte> record(1000);
  int written = 0;
  while (user_ring_write(*map, record) == 0) ++written;
  EXPECT_EQ(written, 4);
  EXPECT_EQ(user_ring_write(*map, std::vector<std::byte>(4089)), -E2BIG);
  u32 total = 0;
  const auto count = [](void* context, const std::byte*, u32 size) noexcept -> s64 {
    *static_cast<u32*>(context) += size;
    return 0;
  };
  for (int round = 0; round < 100; ++round) {
    EXPECT_GT(user_ring_drain(*map, count, &total, 0), 0);
    EXPECT_EQ(user_ring_write(*map, record), 0);
  }
  EXPECT_EQ(total, 1000u * 103);
}

TEST(UserRingbuf, OneThreadWritesWhileAnotherDrains) {
  const auto map = made(MapType::user_ringbuf, 0, 0, 4096);
  constexpr u64 records = 20000;
  std::thread producer([&] {
    for (u64 i = 1; i <= records;)
      if (user_ring_write(*map, std::as_bytes(std::span(&i, 1))) == 0)
        ++i;
      else
        std::this_thread::yield();
  });
  struct State {
    u64 last = 0;
    bool in_order = true;
  } state;
  const auto check = [](void* context, const std::byte* data, u32) noexcept -> s64 {
    auto& at = *static_cast<State*>(context);
    u64 number = 0;
    std::memcpy(&number, data, sizeof number);
    at.in_order = at.in_order && number == at.last + 1;
    at.last = number;
    return 0;
  };
  while (state.last < records)
    if (user_ring_drain(*map, check, &state, 0) == 0) std::this_thread::yield();
  producer.join();
  EXPECT_TRUE(state.in_order);
}

TEST(TaskStorage, OneValueATask) {
  const auto map = made(MapType::task_storage, 4, 16, 0, flag::no_prealloc);
  const TaskIdentity self = identify_task(static_cast<u32>(::gettid()));
  ASSERT_TRUE(self.known());
  EXPECT_FALSE(identify_task(0x7fffffff).known());
  EXPECT_EQ(task_storage_get(*map, self, false, nullptr), nullptr);
  const u64 initial[2] = {5, 6};
  auto* value = static_cast<u64*>(task_storage_get(*map, self, true, initial));
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(value[1], 6u);
  value[0] = 77;
  EXPECT_EQ(task_storage_get(*map, self, true, nullptr), value);
  EXPECT_EQ(value[0], 77u);
  TaskIdentity before = self;
  before.started -= 1;  // an earlier task with this number
  EXPECT_EQ(task_storage_get(*map, before, false, nullptr), nullptr);
  EXPECT_EQ(task_storage_erase(*map, self), 0);
  EXPECT_EQ(task_storage_erase(*map, self), -ENOENT);
}

TEST(TaskStorage, ValuesOfEndedTasksMakeRoom) {
  const auto map = made(MapType::task_storage, 4, 65000, 0, flag::no_prealloc);  // room for 4123
  u32 refused = 0;
  for (u32 tid = 1; tid <= 10000; ++tid) {
    const TaskIdentity gone{.tid = 0x40000000u + tid, .started = 1};
    refused += task_storage_get(*map, gone, true, nullptr) == nullptr;
  }
  EXPECT_EQ(refused, 0u);
  EXPECT_NE(task_storage_get(*map, identify_task(static_cast<u32>(::getpid())), true, nullptr), nullptr);
}

TEST(Cgroup, ATaskIsUnderTheGroupsOfItsPath) {
  const CgroupPath path = cgroup_of_task(static_cast<u32>(::gettid()));
  EXPECT_EQ(cgroup_of_task(0x7fffffff).count, 0u);
  EXPECT_EQ(cgroup_of_fd(0x7fffffff), 0u);
  const base::Fd here(::open(".", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(cgroup_of_fd(here.get()), 0u);
  if (path.count == 0) GTEST_SKIP() << "no cgroup2 is mounted here";
  EXPECT_NE(path.id(), 0u);
  EXPECT_EQ(path.ancestor(path.count), 0u);
  EXPECT_EQ(path.ancestor(path.count - 1), path.id());
  EXPECT_FALSE(path.is_under(~u64{0}));
  u32 roots = 0;
  for (const char* place : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    const base::Fd root(::open(place, O_RDONLY | O_CLOEXEC));
    if (cgroup_of_fd(root.get()) == 0) continue;
    ++roots;
    EXPECT_EQ(path.ancestor(0), cgroup_of_fd(root.get()));
    EXPECT_TRUE(path.is_under(cgroup_of_fd(root.get())));
  }
  EXPECT_EQ(roots, 1u);
}

TEST(Redirect, ATargetIsFoundByNumber) {
  for (const MapType type : {MapType::devmap, MapType::devmap_hash}) {
    const auto map = made(type, 4, 8, 4);
    u32 key = 2;
    const u32 value[2] = {1, 0};
    ASSERT_EQ(map->update(&key, value, 0), 0);
    EXPECT_TRUE(redirect_target(*map, 2).found);
    EXPECT_EQ(redirect_target(*map, 2).to, 1u);
    EXPECT_FALSE(redirect_target(*map, 1).found);
    EXPECT_FALSE(redirect_target(*map, 99).found);
    ASSERT_NE(map->lookup(&key), nullptr);
    EXPECT_EQ(*static_cast<u32*>(map->lookup(&key)), 1u);
    EXPECT_NE(map->spec().flags & flag::rdonly_prog, 0u);
  }
  const auto cpus = made(MapType::cpumap, 4, 4, 1);
  u32 cpu = 0, queue = 192;
  ASSERT_EQ(cpus->update(&cpu, &queue, 0), 0);
  EXPECT_TRUE(redirect_target(*cpus, 0).found);
  EXPECT_EQ(redirect_target(*cpus, 0).to, 0u);
  EXPECT_FALSE(redirect_target(*made(MapType::hash, 4, 4, 1), 0).found);
}

TEST(Sockets, ASlotWhoseSocketClosedIsEmpty) {
  const auto map = made(MapType::sockhash, 4, 8, 1);
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  u32 key = 1;
  u64 fd = static_cast<u64>(pair[0]), cookie = 0;
  ASSERT_EQ(map->copy_update(&key, &fd, 0), 0);
  EXPECT_EQ(map->copy_lookup(&key, &cookie), 0);
  EXPECT_NE(cookie, 0u);
  u32 other = 2;
  fd = static_cast<u64>(pair[1]);
  EXPECT_EQ(map->copy_update(&other, &fd, 0), -E2BIG);
  ::close(pair[0]);
  EXPECT_EQ(map->copy_lookup(&key, &cookie), -ENOENT);
  // The other end is not connected any more but was established, and the closed one makes room.
  int fresh[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fresh), 0);
  fd = static_cast<u64>(fresh[1]);
  EXPECT_EQ(map->copy_update(&other, &fd, 0), 0);
  for (const int each : {pair[1], fresh[0], fresh[1]}) ::close(each);
}

TEST(Arena, PagesAreZeroedBoundedAndComeBack) {
  const auto map = made(MapType::arena, 0, 0, 10, flag::mmapable);
  const ArenaWindow window = arena_window(*map);
  EXPECT_EQ(window.base & 0xffffffff, 0u);
  EXPECT_EQ(window.end - window.begin, 10 * page_bytes);
  std::set<u64> pages;
  for (int i = 0; i < 10; ++i) {
    const u64 page = arena_alloc_pages(*map, 0, 1, -1, 0);
    ASSERT_NE(page, 0u);
    EXPECT_TRUE(pages.insert(page).second);
    EXPECT_GE(page, window.begin);
    EXPECT_LE(page + page_bytes, window.end);
    std::memset(reinterpret_cast<void*>(page), 0xab, page_bytes);
  }
  EXPECT_EQ(map->memory_bytes(), 10 * page_bytes);
  EXPECT_EQ(arena_alloc_pages(*map, 0, 1, -1, 0), 0u);
  const u64 third = *std::next(pages.begin(), 2);
  arena_free_pages(*map, third, 2);
  EXPECT_EQ(*reinterpret_cast<u64*>(third), 0u);
  EXPECT_EQ(arena_alloc_pages(*map, 0, 3, -1, 0), 0u);
  EXPECT_EQ(arena_reserve_pages(*map, third, 1), 0);
  EXPECT_EQ(arena_reserve_pages(*map, third, 1), -EBUSY);
  EXPECT_EQ(arena_alloc_pages(*map, third, 1, -1, 0), 0u);
  EXPECT_EQ(arena_alloc_pages(*map, 0, 1, -1, 0), third + page_bytes);
  EXPECT_EQ(arena_alloc_pages(*map, 0, 1, -1, 1), 0u);
  EXPECT_EQ(arena_alloc_pages(*map, 0, 11, -1, 0), 0u);
  EXPECT_EQ(arena_alloc_pages(*map, window.begin + 1, 1, -1, 0), 0u);
  // Every 32-bit pointer with every offset of an instruction hits memory.
  for (const u64 address : {window.base - 32768, window.end, window.base + 0xffffffff + 32760}) {
    auto* byte = reinterpret_cast<volatile u8*>(address);
    *byte = 1;
  }
  for (const u64 page : pages)
    if (page != third && page != third + page_bytes) {
      EXPECT_EQ(*reinterpret_cast<u64*>(page), 0xabababababababab);
    }
}

TEST(Arena, StandsWhereItIsAskedTo) {
  // A place that is free here, whatever a sanitizer has mapped: asked of the system and given back.
  constexpr u64 room = u64{16} << 30;
  void* const free_place = ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(free_place, MAP_FAILED);
  ASSERT_EQ(::munmap(free_place, room), 0);
  const u64 wanted = (reinterpret_cast<u64>(free_place) + (room / 2)) / page_bytes * page_bytes;
  const auto map = made(MapType::arena, 0, 0, 4, flag::mmapable, wanted);
  EXPECT_EQ(arena_window(*map).begin, wanted);
  const auto second = made(MapType::arena, 0, 0, 4, flag::mmapable, wanted);  // the place is taken
  EXPECT_NE(arena_window(*second).begin, wanted);
  EXPECT_EQ(static_cast<u32>(arena_window(*second).begin), static_cast<u32>(wanted));
  EXPECT_EQ(arena_alloc_pages(*second, wanted + page_bytes, 1, -1, 0), arena_window(*second).begin + page_bytes);
}

}  // namespace
}  // namespace skep::map
