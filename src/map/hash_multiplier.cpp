// See hash_multiplier.hpp.
#include "map/hash_multiplier.hpp"

#include <algorithm>
#include <array>

namespace skep::map {
namespace {

/// The largest partial quotients: for neighbours, and for each of the other distances, which are powers of two: words,
/// cache lines and pages, and numbers in the upper half of a key (addresses before ports, processes before threads).
constexpr u64 most_for_neighbours = 8, most_for_others = 32;
constexpr std::array other_distances{3u, 6u, 12u, 32u};
/// A bound for the draws: they are a hundred on average.
constexpr u32 most_draws = 10'000;

/// The partial quotients of number / 2^64 are at most `most`, as long as the denominators are at most `keys`.
bool is_even(u64 number, u64 most, u64 keys) noexcept {
  if (number == 0) return false;
  // The first quotient is that of 2^64 itself.
  u64 quotient = (0 - number) / number + 1, dividend = number, divisor = (0 - number) % number;
  u64 before = 0, denominator = 1;
  for (;;) {
    if (quotient > most) return false;
    const u64 next = quotient * denominator + before;
    if (next > keys || divisor == 0) return true;
    before = denominator;
    denominator = next;
    quotient = dividend / divisor;
    const u64 rest = dividend % divisor;
    dividend = divisor;
    divisor = rest;
  }
}

/// SplitMix64. Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
u64 next_random(u64& state) noexcept {
  u64 number = state += 0x9e3779b97f4a7c15;
  number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9;
  number = (number ^ number >> 27) * 0x94d049bb133111eb;
  return number ^ number >> 31;
}

}  // namespace

u64 hash_multiplier(u64 seed, u64 keys) noexcept {
  u64 number = 0;
  for (u32 draws = 0; draws < most_draws; ++draws) {
    number = next_random(seed) | 1;
    const auto fits = [&](u32 shift) { return is_even(number << shift, most_for_others, keys); };
    if (is_even(number, most_for_neighbours, keys) && std::ranges::all_of(other_distances, fits)) break;
  }
  return number;
}

}  // namespace skep::map
