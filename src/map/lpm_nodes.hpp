// The binary trie under an LPM map: nodes, where a key's way down ends, and the order of iteration.
//
// A node stands for a whole run of bits. It is an entry or, where two entries part without one at the fork, an inner
// node with exactly two children; so n entries need at most 2n - 1 nodes, and these are the pool. A key is a u32
// prefix length and the bits, most significant first.
//
// Everything that look-ups read beside a writer is atomic. Nodes are used again but never unmapped, so a walk that
// strays reads valid memory. Who writes holds the map's lock.
// Source: kernel/bpf/lpm_trie.c (rules, order of next_key: leaves before what contains them).
#pragma once
#include <atomic>
#include <bit>
#include <cstring>
#include <skep/types.hpp>

#include "map/memory.hpp"
#include "map/words.hpp"

namespace skep::map {

class LpmNodes {
 public:
  /// A node by number + 1; 0 is none.
  using Ref = u32;

  /// `data_bytes`: of a key without its length.
  LpmNodes(Region region, u32 data_bytes, u32 value_bytes) noexcept
      : region_(std::move(region)),
        base_(region_.data()),
        stride_(stride(data_bytes, value_bytes)),
        data_bytes_(data_bytes),
        max_bits_(data_bytes * 8) {}

  static u64 stride(u32 data_bytes, u32 value_bytes) noexcept {
    return sizeof(Node) + round_up(data_bytes, 8) + round_up(value_bytes, 8);
  }

  // --- a node ---

  u32 bits(Ref ref) const noexcept { return node(ref).shape.load(std::memory_order_acquire) & bits_mask; }
  bool is_entry(Ref ref) const noexcept { return (node(ref).shape.load(std::memory_order_acquire) & entry_flag) != 0; }
  std::atomic<u32>& child(Ref ref, bool side) const noexcept { return node(ref).child[side]; }
  /// The table of short cuts that begins here, or 0 (lpm_tables.hpp).
  std::atomic<u32>& table(Ref ref) const noexcept { return node(ref).table; }
  std::byte* data(Ref ref) const noexcept { return reinterpret_cast<std::byte*>(&node(ref)) + sizeof(Node); }
  std::byte* value(Ref ref) const noexcept { return data(ref) + round_up(data_bytes_, 8); }
  void prefetch(Ref ref) const noexcept { __builtin_prefetch(&node(ref)); }
  void set_shape(Ref ref, u32 prefix_bits, bool is_an_entry) noexcept {
    node(ref).shape.store(prefix_bits | (is_an_entry ? entry_flag : 0), std::memory_order_release);
  }

  std::atomic<Ref>& root() noexcept { return root_; }
  Ref root_ref() const noexcept { return root_.load(std::memory_order_acquire); }
  u32 data_bytes() const noexcept { return data_bytes_; }
  u32 max_bits() const noexcept { return max_bits_; }
  u64 resident_bytes() const noexcept { return region_.resident_bytes(); }

  // --- bits ---

  static bool bit_at(const u8* bytes, u32 bit) noexcept { return (bytes[bit / 8] >> (7 - bit % 8) & 1) != 0; }
  bool node_bit(Ref ref, u32 bit) const noexcept {
    const u64 word = word_at(data(ref), bit / 64 * 8).load(std::memory_order_acquire);
    return (word >> ((bit / 8 % 8) * 8 + (7 - bit % 8)) & 1) != 0;
  }
  /// The bits [first, first + count) of a node's key as a number: count is at most 57, and they lie within the key.
  u64 bits_of(Ref ref, u32 first, u32 count) const noexcept {
    const u32 offset = first / 64 * 8, skipped = first % 64;
    u64 word = __builtin_bswap64(word_at(data(ref), offset).load(std::memory_order_acquire)) << skipped;
    if (skipped + count > 64)
      word |= __builtin_bswap64(word_at(data(ref), offset + 8).load(std::memory_order_acquire)) >> (64 - skipped);
    return word >> (64 - count);
  }
  /// Leading bits that the node and `bytes`, of which `count` bits count, share: at most the shorter of the two.
  u32 common_bits(Ref ref, const u8* bytes, u32 count) const noexcept {
    const u32 node_bits = bits(ref), limit = node_bits < count ? node_bits : count;
    for (u32 offset = 0; offset * 8 < limit; offset += 8) {
      const u64 ours = word_at(data(ref), offset).load(std::memory_order_acquire);
      u64 theirs = 0;
      std::memcpy(&theirs, bytes + offset, data_bytes_ - offset < 8 ? data_bytes_ - offset : 8);
      const u64 difference = __builtin_bswap64(ours ^ theirs);
      if (difference == 0) continue;
      const u32 shared = offset * 8 + static_cast<u32>(std::countl_zero(difference));
      return shared < limit ? shared : limit;
    }
    return limit;
  }

  // --- under the lock ---

  /// Where a key's way down ends: the node that is its own, that it parts from, or an empty link.
  struct Path {
    std::atomic<Ref>* link = nullptr;         ///< what points to `node`
    std::atomic<Ref>* parent_link = nullptr;  ///< what points to `parent`
    Ref node = 0, parent = 0;
    u32 matched = 0;  ///< bits that key and node have in common
  };
  Path descend(const u8* bytes, u32 count) noexcept;

  /// A node that nobody sees yet; there is one as long as the entries fit the map.
  Ref take() noexcept;
  void give_back(Ref ref) noexcept;

  /// The first entry below `ref` in post-order.
  Ref leftmost(Ref ref) const noexcept;
  /// The entry after this prefix in post-order, 0 after the last; the first one when the prefix is no entry. The trie
  /// is not empty.
  Ref after(const u8* bytes, u32 count) const noexcept;

 private:
  struct Node {
    std::atomic<Ref> child[2];  ///< of a free node, the first: the next free one
    std::atomic<u32> shape;     ///< length of the prefix, and whether it is an entry
    std::atomic<u32> table;
  };
  static constexpr u32 entry_flag = 1u << 31, bits_mask = entry_flag - 1;

  Node& node(Ref ref) const noexcept { return *reinterpret_cast<Node*>(base_ + stride_ * (ref - 1)); }

  Region region_;
  std::byte* base_;
  u64 stride_;
  u32 data_bytes_, max_bits_;
  std::atomic<Ref> root_{0};
  Ref free_ = 0, fresh_ = 0;
};

}  // namespace skep::map
