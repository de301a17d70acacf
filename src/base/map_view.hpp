// What machine code needs to know of a map to do its commonest operations without asking the map.
//
// A look-up in an array is one compare and one multiplication, and one in a hash map is a walk over a chain that is
// usually one element long, so a JIT writes both into the program:
//
//   array          index < max_entries ? values + index * stride : null
//   percpu_array   the same, + run.cpu * cpu_stride
//   hash           HashView below
//
// Every map that can be looked up also gives the address of a function made for its key size, which skips the
// helper's and the map's dispatch. A view is plain data: the room of the machine and the room of the maps both read
// it and need not know each other. All addresses are good for as long as the map lives.
#pragma once
#include <skep/types.hpp>

#include "base/run.hpp"

namespace skep::base {

/// How to find a key of 1 to 16 bytes in a hash map without a lock.
///
/// The key is one word (up to 8 bytes) or two, little-endian, zero above its end. The chain of bucket
/// hash >> hash_shift (0 where hash_shift is 64) begins in the lower half of the bucket's word: the number of an
/// element, 0 for none. The upper half changes with every change of the chain. Element r lies at
/// elements + r * element_stride:
///
///   0  u32  the next element of the chain
///   8  u32  generation: odd while the element is being written, different after it
///   16      the key, padded with zeros to whole words
///
/// Writers may change chains and use elements again during a look-up. Therefore all of this is read with acquire
/// semantics, in this order:
///   - One word: the key, then the generation. An even one says that the element was that key's.
///   - Two words: the generation, the key, the generation again: even and the same.
///   - Before going to the next element: the link, then the bucket's word again. If it is still the one that the walk
///     began with, the link belongs to this chain; and a link of 0 then says that the key is not in the map.
/// What does not hold calls MapView::lookup, which tries again and in the end takes the lock.
struct HashView {
  u64 buckets = 0;
  u64 elements = 0;
  u32 element_stride = 0;
  u32 hash_shift = 0;
  u64 seeds[2] = {};  ///< of hash_of_word (the first) or hash_of_words
  u64 used = 0;       ///< LRU maps: byte used + r is not 0 after a use of element r; 0: no such bytes

  static constexpr s32 next_at = 0, generation_at = 8, key_at = 16;

  /// Multiplication by a random odd number: two keys meet in one of 2^n buckets with a probability of at most 2/2^n.
  /// Source: Dietzfelbinger, Hagerup, Katajainen, Penttonen, "A Reliable Randomized Algorithm for the Closest-Pair
  /// Problem" (1997). The number is drawn with care: map/hash_multiplier.hpp.
  static constexpr u64 hash_of_word(u64 word, u64 seed) noexcept { return word * seed; }
  static constexpr u64 hash_of_words(u64 first, u64 second, const u64 (&seeds)[2]) noexcept {
    const u64 number = product(first, second, seeds);
    return (number ^ number >> 32) * factor;
  }
  /// Both halves of one 128-bit product. The seeds are not small.
  static constexpr u64 product(u64 first, u64 second, const u64 (&seeds)[2]) noexcept {
    const auto whole = static_cast<unsigned __int128>(first ^ seeds[0]) * (second ^ seeds[1]);
    return static_cast<u64>(whole) ^ static_cast<u64>(whole >> 64);
  }
  static constexpr u64 factor = 0x9e3779b97f4a7c15;
};

struct MapView {
  enum class Kind : u8 {
    none,          ///< nothing to inline: `lookup` may still be set
    array,         ///< values[index], the same for every CPU
    percpu_array,  ///< values[index] of the CPU that the run is on
    hash,          ///< `hash`; the value lies at values + r * stride, with cpu_stride as above where that is not 0
    arena,  ///< no look-ups: `values` is the window's base, a multiple of 4 GiB, and an arena pointer its lower half
  };
  Kind kind = Kind::none;
  u32 key_size = 0;
  u32 value_size = 0;
  u32 max_entries = 0;  ///< an index at or above it has no value
  u32 stride = 0;       ///< bytes from one value to the next, a multiple of 8
  u64 values = 0;       ///< address of the value at index 0
  u64 cpu_stride = 0;   ///< bytes from the value of one CPU to that of the next; 0: one value for all
  HashView hash;

  /// Direct forms of the helpers map_lookup_elem, map_update_elem and map_delete_elem for this map: the arguments and
  /// the result are those of the helper (the map first). Null: call the helper.
  HelperFn lookup = nullptr;
  HelperFn update = nullptr;
  HelperFn erase = nullptr;
};

}  // namespace skep::base
