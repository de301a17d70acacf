// The short cuts of large tries: a program's look-up, which begins at a slot, and the host's, which begins at the root
// (and is compared with the kernel's in differential_test.cpp), always find the same entry.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <vector>

#include "map/map.hpp"

namespace skep::map {
namespace {

struct Shape {
  u32 key_size, max_entries;
  u32 common_bytes;  ///< how many first bytes nearly all keys share
};

class Trie {
 public:
  Trie(const Shape& shape, u64 seed) : shape_(shape), random_(seed) {
    MapSpec spec;
    spec.name = "trie";
    spec.type = MapType::lpm_trie;
    spec.key_size = shape.key_size;
    spec.value_size = 8;
    spec.max_entries = shape.max_entries;
    spec.flags = flag::no_prealloc;
    map_ = *Map::create(spec);
  }

  std::vector<u8> random_key(bool whole) {
    std::vector<u8> key(shape_.key_size);
    const u32 most = (shape_.key_size - 4) * 8;
    u32 bits = whole ? most : static_cast<u32>(random_() % (most + 1));
    if (!whole && random_() % 4 != 0) bits = most - bits % (most / 2 + 1);  // long ones are more
    std::memcpy(key.data(), &bits, sizeof bits);
    for (u32 i = 4; i < shape_.key_size; ++i) key[i] = static_cast<u8>(random_() % 3 == 0 ? random_() : random_() % 4);
    if (random_() % 64 != 0)
      for (u32 i = 0; i < shape_.common_bytes; ++i) key[4 + i] = static_cast<u8>(0x20 + i);
    return key;
  }

  void step() {
    const auto key = random_key(false);
    const u64 value = ++last_;
    if (random_() % 3 != 0)
      map_->update(key.data(), &value, 0);
    else
      map_->erase(key.data());
    for (int i = 0; i < 4; ++i) compare(random_key(random_() % 8 != 0));
    compare(key);
  }

  /// An entry somewhere in a block of 2^14 addresses behind the common bytes, as dense as a table likes it; or one
  /// that goes.
  void dense_step(bool add) {
    std::vector<u8> key(shape_.key_size);
    for (u32 i = 0; i < shape_.common_bytes; ++i) key[4 + i] = static_cast<u8>(0x20 + i);
    const u32 begin = shape_.common_bytes * 8, place = static_cast<u32>(random_());
    key[4 + shape_.common_bytes] = static_cast<u8>(place);
    key[5 + shape_.common_bytes] = static_cast<u8>(place >> 8 & 0xfc);
    const u32 bits = begin + (random_() % 8 != 0 ? 14 : static_cast<u32>(random_() % 15));
    std::memcpy(key.data(), &bits, sizeof bits);
    const u64 value = ++last_;
    if (add)
      map_->update(key.data(), &value, 0);
    else
      map_->erase(key.data());
    compare(key);
    const u32 whole = (shape_.key_size - 4) * 8;
    std::memcpy(key.data(), &whole, sizeof whole);
    compare(key);
    key[5 + shape_.common_bytes] = static_cast<u8>(random_());
    compare(key);
  }

  void compare(const std::vector<u8>& key) {
    u64 expected = 0;
    const s64 error = map_->copy_lookup(key.data(), &expected);
    const void* found = map_->lookup(key.data());
    ASSERT_EQ(found == nullptr, error == -ENOENT);
    if (found != nullptr) {
      ASSERT_EQ(*static_cast<const u64*>(found), expected);
    }
  }

 private:
  Shape shape_;
  std::mt19937_64 random_;
  std::shared_ptr<Map> map_;
  u64 last_ = 0;
};

TEST(LpmTrie, ShortCutsAndTheWayFromTheRootAgree) {
  for (const Shape& shape : {Shape{5, 200, 0}, Shape{8, 50, 0}, Shape{8, 5000, 0}, Shape{8, 3000, 2}, Shape{8, 3000, 3},
                             Shape{20, 4000, 4}, Shape{20, 100000, 13}, Shape{260, 500, 40}}) {
    SCOPED_TRACE("key of " + std::to_string(shape.key_size) + " bytes, " + std::to_string(shape.common_bytes) +
                 " in common");
    Trie trie(shape, shape.key_size * 131 + shape.common_bytes);
    for (int i = 0; i < 6000 && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE("step " + std::to_string(i));
      trie.step();
    }
    if (testing::Test::HasFailure()) return;
  }
}

/// Tables come, grow, are built over by others and go with their nodes while a trie fills and empties.
TEST(LpmTrie, DenseTriesGrowTablesAndLoseThem) {
  for (const Shape& shape : {Shape{6, 20000, 0}, Shape{8, 20000, 1}, Shape{20, 20000, 9}, Shape{260, 20000, 70}}) {
    SCOPED_TRACE("key of " + std::to_string(shape.key_size) + " bytes");
    Trie trie(shape, shape.key_size);
    for (const u32 adds : {15u, 3u, 12u, 0u})  // of 16 steps
      for (u32 i = 0; i < 30000 && !testing::Test::HasFailure(); ++i) trie.dense_step(i * 7 % 16 < adds);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace skep::map
