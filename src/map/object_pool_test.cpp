// Pools, lists and trees against a model; chains that are freed without a stack; several threads at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>
#include <set>
#include <thread>

#include "map/fields.hpp"
#include "map/graph.hpp"
#include "map/map.hpp"
#include "map/object_pool.hpp"

namespace skep::map {
namespace {

struct Item {
  u64 key;
  ListNode link;
  TreeNode branch;
  void* next;  ///< an owned pointer
};

std::shared_ptr<const Fields> item_fields() {
  return std::make_shared<const Fields>(
      std::vector<Field>{{Field::What::plain, offsetof(Item, link), sizeof(ListNode), 0},
                         {Field::What::plain, offsetof(Item, branch), sizeof(TreeNode), 0},
                         {Field::What::pointer, offsetof(Item, next), 8, 0}},
      u32{sizeof(Item)}, -1, nullptr);
}

std::shared_ptr<ObjectPool> item_pool() {
  auto pool = make_object_pool({.size = sizeof(Item), .fields = item_fields()});
  EXPECT_TRUE(pool) << pool.error().message;
  return *pool;
}

Item* item_of(ListNode* node) {
  return node != nullptr ? reinterpret_cast<Item*>(reinterpret_cast<char*>(node) - offsetof(Item, link)) : nullptr;
}
Item* item_of(TreeNode* node) {
  return node != nullptr ? reinterpret_cast<Item*>(reinterpret_cast<char*>(node) - offsetof(Item, branch)) : nullptr;
}
bool by_key(void*, TreeNode& a, TreeNode& b) noexcept { return item_of(&a)->key < item_of(&b)->key; }

Item* make(ObjectPool& pool, u64 key) {
  auto* made = static_cast<Item*>(object_new(pool));
  EXPECT_NE(made, nullptr);
  made->key = key;
  return made;
}

TEST(ObjectPool, AnAddressInsideTellsTheObjectAndReferencesAreCounted) {
  const auto pool = item_pool();
  Item* const item = make(*pool, 1);
  for (u32 i = 0; i < sizeof(Item); ++i) EXPECT_EQ(object_begin(reinterpret_cast<char*>(item) + i), item);
  EXPECT_TRUE(object_get(&item->branch));
  object_put(item);
  EXPECT_EQ(object_count(*pool), 1u);
  object_put(&item->link);
  EXPECT_EQ(object_count(*pool), 0u);
  EXPECT_FALSE(object_get(item));  // type-stable: it may be asked, and is gone
  Item* const again = make(*pool, 2);
  EXPECT_EQ(again->next, nullptr);
  object_put(again);
}

TEST(ObjectPool, IsBounded) {
  const auto made = make_object_pool({.size = 4000, .fields = nullptr});
  ASSERT_TRUE(made);
  std::vector<void*> all;
  while (void* object = object_new(**made)) all.push_back(object);
  EXPECT_GT(all.size(), (u64{64} << 20) / 4100);
  EXPECT_LT(all.size(), (u64{64} << 20) / 4000);
  object_put(all.back());
  EXPECT_EQ(object_new(**made), all.back());
  for (void* object : all) object_put(object);
  EXPECT_EQ(object_count(**made), 0u);
  EXPECT_FALSE(make_object_pool({.size = 4096, .fields = nullptr}));
}

TEST(ObjectPool, ALongChainOfOwnersIsFreed) {
  const auto pool = item_pool();
  Item* first = nullptr;
  constexpr u64 length = 200'000;
  for (u64 i = 0; i < length; ++i) {
    Item* const item = make(*pool, i);
    item->next = first;
    first = item;
  }
  EXPECT_EQ(object_count(*pool), length);
  object_put(first);
  EXPECT_EQ(object_count(*pool), 0u);
}

TEST(ObjectPool, OutlivesItsOwnerWhileObjectsLive) {
  auto pool = item_pool();
  Item* const item = make(*pool, 7);
  pool.reset();
  EXPECT_EQ(item->key, 7u);
  object_put(item);
}

TEST(Graph, ListsAgreeWithAModel) {
  const auto pool = item_pool();
  std::mt19937 random(20261129);
  ListHead head{};
  std::deque<u64> model;
  for (u64 i = 0; i < 20000; ++i) {
    const bool at_end = random() % 2 != 0;
    if (random() % 3 != 0) {
      ASSERT_TRUE(list_add(head, make(*pool, i)->link, at_end));
      at_end ? model.push_back(i) : model.push_front(i);
      continue;
    }
    Item* const item = item_of(list_take(head, at_end));
    ASSERT_EQ(item != nullptr, !model.empty());
    if (item == nullptr) continue;
    ASSERT_EQ(item->key, at_end ? model.back() : model.front());
    at_end ? model.pop_back() : model.pop_front();
    object_put(item);
  }
  EXPECT_EQ(object_count(*pool), model.size());
  EXPECT_FALSE(list_add(head, *head.first, false));  // it is linked already
  put_list(head, nullptr);
  EXPECT_EQ(object_count(*pool), 0u);
}

u32 depth_of(const TreeNode* node) {
  return node == nullptr ? 0 : 1 + std::max(depth_of(node->left), depth_of(node->right));
}

TEST(Graph, TreesAgreeWithAModelAndStayShallow) {
  const auto pool = item_pool();
  std::mt19937 random(20261130);
  TreeRoot root{}, other{};
  std::multiset<u64> model;
  std::vector<Item*> linked;
  for (u64 i = 0; i < 20000; ++i) {
    if (linked.empty() || random() % 3 != 0) {
      Item* const item = make(*pool, i < 10000 ? i : random() % 1000);  // in order at first: no chain comes of it
      ASSERT_TRUE(tree_claim(root, item->branch));
      ASSERT_FALSE(tree_claim(other, item->branch));
      tree_add(root, item->branch, by_key, nullptr);
      model.insert(item->key);
      linked.push_back(item);
    } else {
      const auto at = random() % linked.size();
      Item* const item = linked[at];
      linked[at] = linked.back();
      linked.pop_back();
      ASSERT_FALSE(tree_remove(other, item->branch));
      ASSERT_TRUE(tree_remove(root, item->branch));
      ASSERT_FALSE(tree_remove(root, item->branch));
      model.erase(model.find(item->key));
      object_put(item);
    }
    Item* const first = item_of(tree_first(root));
    ASSERT_EQ(first != nullptr, !model.empty());
    ASSERT_TRUE(first == nullptr || first->key == *model.begin());
  }
  EXPECT_LT(depth_of(root.top), 60u) << model.size();
  for (int i = 0; i < 1000; ++i) {  // in order, to the end
    Item* const first = item_of(tree_first(root));
    ASSERT_EQ(first->key, *model.begin());
    model.erase(model.begin());
    ASSERT_TRUE(tree_remove(root, first->branch));
    object_put(first);
  }
  put_tree(root, nullptr);
  EXPECT_EQ(root.top, nullptr);
  EXPECT_EQ(object_count(*pool), 0u);
}

/// A map whose values hold a pointer and a lock.
std::shared_ptr<Map> map_with_pointers(MapType type) {
  MapSpec spec;
  spec.name = "held";
  spec.type = type;
  spec.key_size = 4;
  spec.value_size = 20;  // { lock, number, pointer, number }: a field that shares a word, a tail that is no word
  spec.max_entries = 64;
  auto map = Map::create(spec);
  EXPECT_TRUE(map) << map.error().message;
  const std::vector<Field> fields{{Field::What::plain, 0, 4, 0}, {Field::What::pointer, 8, 8, 0}};
  EXPECT_TRUE((*map)->set_fields(std::make_shared<const Fields>(fields, 20, 0, nullptr)));
  return *map;
}

TEST(MapFields, ValuesLetGoOfWhatTheyHold) {
  for (const MapType type :
       {MapType::array, MapType::hash, MapType::lru_hash, MapType::percpu_array, MapType::percpu_hash}) {
    const auto pool = item_pool();
    auto map = map_with_pointers(type);
    const RunSection section(0);
    const bool is_array = type == MapType::array || type == MapType::percpu_array;
    std::byte value[20];
    std::memset(value, 0x5a, sizeof value);
    u32 stored = 0;
    for (u32 key = 0; key < 1000; ++key) {
      const u32 index = is_array ? key % 64 : key;
      const s64 error = map->update(&index, value, 0);
      ASSERT_TRUE(error == 0 || (error == -E2BIG && !is_array)) << error;
      void* const found = map->lookup(&index);
      if (found == nullptr) continue;
      u64 word = 0;
      std::memcpy(&word, found, 8);
      ASSERT_EQ(word, u64{0x5a5a5a5a} << 32);  // the lock is left alone
      std::memcpy(&word, static_cast<std::byte*>(found) + 8, 8);
      ASSERT_EQ(word, 0u);  // and so is the pointer: what was there is let go
      Item* const item = make(*pool, key);
      std::memcpy(static_cast<std::byte*>(found) + 8, &item, 8);
      stored++;
      if (!is_array && key % 3 == 0) {
        ASSERT_EQ(map->erase(&index), 0);
      }
    }
    EXPECT_GT(stored, 64u);
    EXPECT_LE(object_count(*pool), 64u) << name_of(type);
    EXPECT_GT(object_count(*pool), 0u);
    map.reset();
    EXPECT_EQ(object_count(*pool), 0u) << name_of(type);
  }
}

TEST(MapFields, ThreadsExchangeDeleteAndUpdate) {
  const auto pool = item_pool();
  auto map = map_with_pointers(MapType::hash);
  std::vector<std::thread> threads;
  for (u32 t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      const std::byte value[20] = {};
      for (int i = 0; i < 20000; ++i) {
        const RunSection section(0);
        const u32 key = random() % 8;
        switch (random() % 3) {
          case 0:
            map->update(&key, value, 0);
            break;
          case 1:
            map->erase(&key);
            break;
          default: {
            void* const found = map->lookup(&key);
            if (found == nullptr) break;
            const std::atomic_ref<u64> field(*reinterpret_cast<u64*>(static_cast<std::byte*>(found) + 8));
            const u64 before = field.exchange(reinterpret_cast<u64>(make(*pool, t)));
            if (before != 0) object_put(reinterpret_cast<void*>(before));
          }
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  map.reset();
  EXPECT_EQ(object_count(*pool), 0u);
}

TEST(MapFields, OtherMapsRefuseThem) {
  MapSpec spec;
  spec.name = "queue";
  spec.type = MapType::queue;
  spec.value_size = 8;
  spec.max_entries = 1;
  auto map = Map::create(spec);
  ASSERT_TRUE(map);
  const auto set = (*map)->set_fields(
      std::make_shared<const Fields>(std::vector<Field>{{Field::What::pointer, 0, 8, 0}}, 8, -1, nullptr));
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().code, Code::unsupported);
}

}  // namespace
}  // namespace skep::map
