// Ids never collide and come back; objects vanish with their last handle.
#include "user/registry.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "user/control/fake_objects.hpp"
#include "user/host.hpp"

namespace skep::user {
namespace {

TEST(Registry, IdsOfTwoHostsNeverMeet) {
  static_assert(object_id(0x3fffff, 511) == 0xffffffff);
  EXPECT_NE(object_id(1, 0), object_id(2, 0));
  EXPECT_EQ(object_id(4194303, 511) >> 9, (0x80000000u >> 9) | 4194303u);
  auto a = std::make_shared<Table<const RegisteredMap>>(100, "maps");
  auto b = std::make_shared<Table<const RegisteredMap>>(101, "maps");
  std::set<u32> ids;
  std::vector<Table<const RegisteredMap>::Lease> leases;
  for (u32 i = 0; i < objects_per_host; ++i) {
    leases.push_back(a->reserve().value());
    ids.insert(leases.back().id());
    leases.push_back(b->reserve().value());
    ids.insert(leases.back().id());
  }
  EXPECT_EQ(ids.size(), 2 * objects_per_host);
  EXPECT_GE(*ids.begin(), 0x80000000u);
  const auto full = a->reserve();
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Code::limit);
  leases.clear();
  EXPECT_TRUE(a->reserve());
}

TEST(Registry, NumbersAreNotUsedAgainAtOnce) {
  auto table = std::make_shared<Table<const RegisteredMap>>(100, "maps");
  const u32 first = table->reserve()->id();
  EXPECT_NE(table->reserve()->id(), first);
}

TEST(Registry, ObjectsGoWithTheirHandles) {
  testing::FakeObjects objects;
  Registry& registry = *objects.registry;
  ASSERT_EQ(registry.programs()->size(), 1u);
  EXPECT_EQ(registry.programs()->front().name, "hello");
  const u32 id = objects.map->info.id;
  {
    auto handle = registry.map(id);
    ASSERT_TRUE(handle);
    objects.map.reset();
    EXPECT_TRUE(handle->update(testing::bytes_of(1), testing::bytes_of(2)));  // the handle keeps it alive
    EXPECT_EQ(registry.maps()->size(), 1u);
  }
  EXPECT_TRUE(registry.maps()->empty());
  const auto gone = registry.map(id);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Code::not_found);
  EXPECT_FALSE(registry.map(17)) << "a kernel's id is never taken for one of ours";
}

TEST(Host, IsOneForTheWholeProcess) {
  const auto a = Host::of_this_process();
  const auto b = Host::of_this_process();
  EXPECT_EQ(a, b);
  EXPECT_EQ(a->registry()->pid(), ::getpid());
}

}  // namespace
}  // namespace skep::user
