// Short cuts over an LPM map's binary trie: where many nodes lie close together, a table replaces a walk through them.
//
// A table belongs to a node and stands for the next k bits after its prefix (3 to 20). Each value of these bits has a
// slot of one word: the best entry among the prefixes that end within the k bits, and where the walk goes on below them
// (a node, or the next table at once). So a look-up among a million IPv4 prefixes reads one or two slots and an entry
// where the trie has twenty nodes one behind the other.
//
// Tables are only short cuts: every answer can be had without them. When the memory set aside for them is used up there
// are no more of them, and no update ever fails for one. They follow the trie slot by slot:
//
// - a new entry becomes the best of those of its slots that named the entry around it; a removed one gives them back
//   to that entry. No node is read for it, the slots lie in a row;
// - what lies below a slot changes only in the slot of the changed prefix.
//
// A node gets a table when the way below it is long and the nodes are dense; a table that was passed by as many
// inserts as it has slots is made larger if the nodes have become dense enough, so that all of this costs an insert a
// bounded time on average. No table begins inside of the k bits of another.
// Source: our own arrangement of level compression (Nilsson and Karlsson, "IP-address lookup using LC-tries", 1999) and
// controlled prefix expansion (Srinivasan and Varghese, 1999) that can be changed in place.
#pragma once
#include "map/lpm_nodes.hpp"

namespace skep::map {

class LpmTables {
 public:
  using Ref = LpmNodes::Ref;

  /// Bytes set aside for the tables of a map; paid for when touched. 0: too many nodes to tell them from tables.
  static u64 budget(u64 max_entries) noexcept;
  LpmTables(LpmNodes& nodes, Region region, u64 bytes) noexcept
      : nodes_(nodes), region_(std::move(region)), units_(bytes / unit_bytes) {}

  // --- look-ups ---

  static bool is_table(u32 ref) noexcept { return (ref & tag) != 0; }
  static u32 width(u32 ref) noexcept { return ref >> unit_bits & 31; }
  /// Of the value `index` of a table's bits: the best entry (0: none) in the upper half, where to go on in the lower.
  u64 slot(u32 ref, u64 index) const noexcept { return slots(ref)[index].load(std::memory_order_acquire); }
  Ref owner(u32 ref) const noexcept { return header(ref).owner.load(std::memory_order_acquire); }
  /// The bits [first, first + count) of a key as a number: count is 3 to 20, and they lie within the key.
  u64 bits_of(const u8* bytes, u32 first, u32 count) const noexcept {
    const u32 at = first / 8, rest = nodes_.data_bytes() - at;
    u64 word = 0;
    std::memcpy(&word, bytes + at, rest < 8 ? rest : 8);
    return __builtin_bswap64(word) << (first % 8) >> (64 - count);
  }
  u64 resident_bytes() const noexcept { return units_ != 0 ? region_.resident_bytes() : 0; }

  // --- under the lock, inside of a change ---

  /// After a change of the trie at this prefix, which was the entry `was` and now is `is` (0: no entry). For an insert
  /// the answer is the node that may need a table now, or 0.
  Ref follow(const u8* bytes, u32 count, Ref was, Ref is) noexcept;
  /// A node took the place of another one with the same prefix.
  void move(Ref from, Ref to) noexcept;
  /// The node goes.
  void drop(Ref ref) noexcept;

  // --- under the lock, outside of a change ---

  /// A table that is not in the trie yet, and the tables that it makes superfluous.
  struct Plan {
    Ref owner = 0;
    u32 table = 0;
    u32 superfluous = 0;  ///< list by Header::next
  };
  /// Makes a table for `node`, or a larger one; none if it would be too empty or there is no room.
  Plan plan(Ref node) noexcept;
  /// Inside of a change: from now on look-ups use it.
  void publish(const Plan& plan) noexcept;

 private:
  struct Header {
    std::atomic<Ref> owner;
    u32 next;      ///< free tables, and lists of tables to be freed
    u32 inserted;  ///< inserts that passed since it was made or last looked at
    u32 unused[13];
  };
  /// The bits that a table stands for: [begin, end) of the keys below its owner.
  struct Span {
    u32 table = 0, begin = 0, end = 0;
  };
  static constexpr u32 unit_bytes = 64, unit_bits = 26;
  static constexpr u32 tag = 1u << 31, unit_mask = (1u << unit_bits) - 1;
  static constexpr u32 narrowest = 3, widest = 20, first_widest = 6, growth = 2;

  Header& header(u32 ref) const noexcept {
    return *reinterpret_cast<Header*>(region_.data() + u64{ref & unit_mask} * unit_bytes);
  }
  std::atomic<u64>* slots(u32 ref) const noexcept { return reinterpret_cast<std::atomic<u64>*>(&header(ref) + 1); }
  static u64 word(Ref best, u32 below) noexcept { return u64{best} << 32 | below; }

  u32 allocate(u32 width) noexcept;
  void release(u32 table) noexcept;
  u32 below_of(Ref top, u32 end) const noexcept;
  void replace_best(const Span& span, const u8* bytes, u32 count, Ref from, Ref to) noexcept;
  void set_below(const Span& span, const u8* bytes, u32 below) noexcept;
  void count_nodes(Ref at, u32 begin, u32 most, u32* at_depth) const noexcept;
  u32 first_width(Ref node) const noexcept;
  u32 next_width(Ref node, u32 table) const noexcept;
  void place(const Span& span, Ref at, Ref best, u32& superfluous) noexcept;
  void place_below(const Span& span, Ref at, Ref best, u32& superfluous) noexcept;
  void place_slots(const Span& span, u32 old, u32& superfluous) noexcept;

  LpmNodes& nodes_;
  Region region_;
  u64 units_;
  u64 fresh_ = 0;
  u32 free_[widest + 1] = {};
};

}  // namespace skep::map
