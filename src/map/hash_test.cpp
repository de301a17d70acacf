// How evenly keys fall into buckets: keys as programs have them, in many tables.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <vector>

#include "base/map_view.hpp"
#include "map/hash_multiplier.hpp"

namespace skep::map {
namespace {

using base::HashView;
using Key = std::array<u64, 2>;

struct Pattern {
  const char* name;
  Key (*key)(u64 number);
};

constexpr u32 keys = 4096, bits = 13, tables = 300;

/// Steps of a look-up of a key that is there, on average; by table, sorted. Random numbers need 1 + 4096 / 8192 / 2.
template <class Hash>
std::vector<double> steps(const Pattern& pattern, Hash hash) {
  std::mt19937_64 random(11);
  std::vector<double> means;
  for (u32 i = 0; i < tables; ++i) {
    const u64 seed = random();
    const u64 seeds[2] = {hash_multiplier(seed, keys), random()};
    std::vector<u32> chains(1u << bits);
    u64 sum = 0;
    for (u32 number = 0; number < keys; ++number) sum += ++chains[hash(pattern.key(number), seeds) >> (64 - bits)];
    means.push_back(static_cast<double>(sum) / keys);
  }
  std::ranges::sort(means);
  return means;
}

double mean(const std::vector<double>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0) / static_cast<double>(numbers.size());
}

constexpr auto of_word = [](const Key& key, const u64 (&seeds)[2]) { return HashView::hash_of_word(key[0], seeds[0]); };
constexpr auto of_words = [](const Key& key, const u64 (&seeds)[2]) {
  return HashView::hash_of_words(key[0], key[1], seeds);
};

TEST(Hash, KeysAtTheCommonestDistancesFallApart) {
  const Pattern patterns[] = {
      {"numbers", [](u64 i) { return Key{i}; }},
      {"numbers from somewhere", [](u64 i) { return Key{0x1234'5678 + i}; }},
      {"words", [](u64 i) { return Key{0x7fff'0000'0000 + i * 8}; }},
      {"cache lines", [](u64 i) { return Key{0xffff'8881'0000'0000 + i * 64}; }},
      {"pages", [](u64 i) { return Key{i << 12}; }},
      {"upper half", [](u64 i) { return Key{i << 32}; }},
  };
  for (const auto& pattern : patterns) {
    const auto means = steps(pattern, of_word);
    EXPECT_LT(mean(means), 1.15) << pattern.name;
    EXPECT_LT(means.back(), 2.5) << pattern.name;
  }
}

TEST(Hash, OtherKeysOfOneWordAreAsGoodAsRandomOnesOnAverage) {
  const Pattern patterns[] = {
      {"multiples", [](u64 i) { return Key{i * 1000}; }},
      {"process and thread", [](u64 i) { return Key{i << 32 | i}; }},
      {"address and port", [](u64 i) { return Key{(0x0a00'0000 + i / 64) << 32 | (40'000 + i % 64)}; }},
      {"network byte order", [](u64 i) { return Key{__builtin_bswap32(static_cast<u32>(i))}; }},
      {"upper quarter", [](u64 i) { return Key{i << 48}; }},
      {"squares", [](u64 i) { return Key{i * i}; }},
  };
  for (const auto& pattern : patterns) EXPECT_LT(mean(steps(pattern, of_word)), 1.4) << pattern.name;
}

TEST(Hash, KeysOfTwoWordsAreAsGoodAsRandomOnes) {
  const Pattern patterns[] = {
      {"first", [](u64 i) { return Key{i, 7}; }},
      {"second", [](u64 i) { return Key{7, i}; }},
      {"both", [](u64 i) { return Key{i, ~i}; }},
      {"grid", [](u64 i) { return Key{i % 64, i / 64}; }},
      {"flow",
       [](u64 i) { return Key{0x0a00'0001'0a00'0000 + i / 256, 443u << 16 | (32'768 + i % 256) | 6ull << 32}; }},
      {"upper", [](u64 i) { return Key{i << 32, i << 48}; }},
  };
  for (const auto& pattern : patterns) {
    const auto means = steps(pattern, of_words);
    EXPECT_LT(mean(means), 1.3) << pattern.name;
    EXPECT_LT(means.back(), 1.5) << pattern.name;
  }
}

TEST(Hash, MultipliersAreOddTheSameForTheSameSeedAndDiffer) {
  std::vector<u64> drawn;
  for (u64 seed = 0; seed < 200; ++seed)
    for (const u64 size : {1u, 100u, 1u << 27}) {
      drawn.push_back(hash_multiplier(seed, size));
      EXPECT_EQ(drawn.back() % 2, 1u);
      EXPECT_EQ(hash_multiplier(seed, size), drawn.back());
    }
  std::ranges::sort(drawn);
  drawn.erase(std::ranges::unique(drawn).begin(), drawn.end());
  EXPECT_GT(drawn.size(), 400u);
}

}  // namespace
}  // namespace skep::map
