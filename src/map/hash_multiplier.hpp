// The random number that keys of one word are multiplied with (HashView::hash_of_word).
//
// Over all odd numbers, a look-up of a key that is there takes 1.25 steps in a full table, as with any good hash. But
// keys mostly lie at equal distances (indexes, process numbers, addresses), and then the steps depend on one thing:
// whether a small multiple of distance * number comes close to a multiple of 2^64. If none does, the keys fall apart
// more evenly than random ones, 1.05 steps; with one number of a hundred it takes 4 steps, with one of a thousand 20.
// How close small multiples come is what the continued fraction of distance * number / 2^64 says: closely where
// it has a large partial quotient. So numbers are drawn until there is none for the distances that are the commonest.
// Numbers that pass are about one in a hundred, which leaves more of them than anybody can try.
// Source: Knuth, "The Art of Computer Programming", volume 3, section 6.4 (the three-distance theorem).
#pragma once
#include <skep/types.hpp>

namespace skep::map {

/// An odd number for a table of `keys` keys; the same for the same seed. Takes some microseconds.
u64 hash_multiplier(u64 seed, u64 keys) noexcept;

}  // namespace skep::map
