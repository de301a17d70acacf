// The eBPF programs that bench_maps measures: the same operation on one map 64 times, in either engine.
#pragma once
#include <initializer_list>
#include <skep/spec.hpp>
#include <vector>

namespace skep::bench {

/// Operations in a run of the program; drawn keys come from an LCG whose state lies in the packet at `state_offset`.
inline constexpr u32 operations = 64;
inline constexpr u64 multiplier = 6364136223846793005, increment = 1442695040888963407;
/// In the packet: the random state, and how many operations were refused (rings: records lost).
inline constexpr u32 state_offset = 16, refused_offset = 24, packet_bytes = 64;
/// Of a record that a program writes into a ring.
inline constexpr u32 record_bytes = 64;

enum class Operation {
  nothing,           ///< draws the key: what is taken off the others
  look_up,           ///< and reads the value
  update,            ///< writes the state
  insert_and_erase,  ///< two operations, counted as one
  push_and_pop,      ///< queues and stacks; two operations, counted as one
  push,              ///< bloom filters
  peek,              ///< bloom filters
  output,            ///< ring buffers: a record of record_bytes
  reserve,           ///< ring buffers: reserve, fill 8 bytes, submit
};

/// How a random number becomes a key at r10-24 (key_size bytes).
enum class Keys { index, number, address, routes, routes6 };
inline bool is_address(Keys keys) { return keys >= Keys::address; }

/// The first 4 bytes of an IPv6 address that is looked up: 0x20, 4 random bits, 15 random bits.
inline constexpr u32 routes6_mask = 0x7fff0f00;

/// An object with `map` (named "table") and an XDP program for each operation, in this order. `mask`: of drawn keys.
ObjectSpec object_of(MapSpec map, Keys keys, u32 mask, std::initializer_list<Operation> list);

}  // namespace skep::bench
