// Longest-prefix-match tries: the most specific of all prefixes that cover an address.
//
// A binary trie (lpm_nodes.hpp) holds the entries, their order and their values. A look-up of a large trie would wait
// for memory at every node of its way, so tables of short cuts stand in for the dense parts of it (lpm_tables.hpp).
// A look-up of whole addresses goes through the tables; one of a shorter key, and those of the host, may go node by
// node and find the same.
//
// Writers take a lock and raise a version around each change. Look-ups take none and write nothing: they walk, and walk
// again when the version moved. Large maps ask for huge pages beyond their first 2 MiB: without them half of a look-up
// among a million prefixes is waiting for page tables.
// Source: kernel/bpf/lpm_trie.c (rules, errors).
#include <sys/mman.h>

#include <cerrno>
#include <memory>
#include <mutex>

#include "map/direct.hpp"
#include "map/lpm_tables.hpp"
#include "map/spin_lock.hpp"
#include "map/types.hpp"

namespace skep::map {

namespace {

using Ref = LpmNodes::Ref;

class LpmTrieMap final : public Map {
 public:
  LpmTrieMap(const MapSpec& spec, Region nodes, Region tables, u64 table_bytes)
      : Map(spec),
        nodes_(std::move(nodes), spec.key_size - 4, spec.value_size),
        tables_(nodes_, std::move(tables), table_bytes),
        max_bits_(nodes_.max_bits()) {}

  void* lookup(const void* key) noexcept override {
    if (bits_of(key) > max_bits_) return nullptr;
    for (int attempts = 0; attempts < 64; ++attempts) {
      const u32 before = version_.load(std::memory_order_acquire);
      if ((before & 1) != 0) {
        pause_briefly(0);
        continue;
      }
      Ref found = 0;
      const bool arrived = max_bits_ <= 64 ? walk<true>(key, found) : walk<false>(key, found);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (arrived && version_.load(std::memory_order_relaxed) == before) return value_or_null(found);
    }
    const std::lock_guard lock(lock_);
    return value_or_null(match_from_root(key));
  }

  s64 update(const void* key, const void* value, u64 flags) noexcept override {
    if (flags > update_exist || bits_of(key) > max_bits_) return -EINVAL;
    const std::lock_guard lock(lock_);
    const LpmNodes::Path path = nodes_.descend(bytes_of(key), bits_of(key));
    if (path.node != 0 && nodes_.bits(path.node) == path.matched && path.matched == bits_of(key))
      return replace(path, key, value, flags);
    if (flags == update_exist) return -ENOENT;
    if (entries_ == spec_.max_entries) return -ENOSPC;
    ++entries_;
    insert(path, key, value);
    return 0;
  }

  s64 erase(const void* key) noexcept override {
    if (bits_of(key) > max_bits_) return -EINVAL;
    const std::lock_guard lock(lock_);
    const LpmNodes::Path path = nodes_.descend(bytes_of(key), bits_of(key));
    if (path.node == 0 || nodes_.bits(path.node) != path.matched || path.matched != bits_of(key) ||
        !nodes_.is_entry(path.node))
      return -ENOENT;
    --entries_;
    remove(path, key);
    return 0;
  }

  u64 memory_bytes() const noexcept override { return nodes_.resident_bytes() + tables_.resident_bytes(); }
  base::MapView inline_view() noexcept override { return Direct<LpmTrieMap>::add_to(sizes_of_view()); }

 protected:
  BatchSupport batch_support() const noexcept override { return {.look_up = true, .update = true, .erase = true}; }
  s64 host_lookup(const void* key, void* to) noexcept override {
    const std::lock_guard lock(lock_);
    const Ref found = bits_of(key) <= max_bits_ ? match_from_root(key) : 0;
    if (found == 0) return -ENOENT;
    load_words(to, nodes_.value(found), spec_.value_size);
    return 0;
  }
  s64 host_update(const void* key, const void* value, u64 flags) noexcept override { return update(key, value, flags); }

  s64 host_next_key(const void* key, void* next) noexcept override {
    const std::lock_guard lock(lock_);
    const Ref root = nodes_.root_ref();
    if (root == 0) return -ENOENT;
    const bool from_start = key == nullptr || bits_of(key) > max_bits_;
    const Ref following = from_start ? nodes_.leftmost(root) : nodes_.after(bytes_of(key), bits_of(key));
    if (following == 0) return -ENOENT;
    const u32 bits = nodes_.bits(following);
    std::memcpy(next, &bits, sizeof bits);
    load_words(static_cast<std::byte*>(next) + 4, nodes_.data(following), nodes_.data_bytes());
    return 0;
  }

 private:
  static u32 bits_of(const void* key) noexcept { return index_of(key); }
  static const u8* bytes_of(const void* key) noexcept { return static_cast<const u8*>(key) + 4; }
  void* value_or_null(Ref ref) const noexcept { return ref != 0 ? nodes_.value(ref) : nullptr; }

  // --- look-ups ---

  /// Whether a node's prefix, of `bits` bits, covers the key. `Short`: keys of at most 64 bits, `word` is the key.
  template <bool Short>
  bool covers(Ref at, u32 bits, const u8* bytes, u64 word) const noexcept {
    if constexpr (!Short) return nodes_.common_bits(at, bytes, bits) == bits;
    if (bits == 0) return true;
    const u64 ours = word_at(nodes_.data(at), 0).load(std::memory_order_acquire);
    return __builtin_bswap64(ours ^ word) >> (64 - bits) == 0;
  }

  /// The best match by way of the tables. False: the walk strayed, so something changed under it.
  template <bool Short>
  bool walk(const void* key, Ref& found) const noexcept {
    const u8* const bytes = bytes_of(key);
    const u32 count = bits_of(key);
    u64 key_word = 0;
    if constexpr (Short) std::memcpy(&key_word, bytes, nodes_.data_bytes());
    bool by_tables = true;
    u32 position = 0, steps = 0;  // the key's bits before `position` are known to be covered
    for (u32 at = nodes_.root_ref(); at != 0;) {
      if (++steps > 2 * max_bits_ + 4) return false;
      if (LpmTables::is_table(at)) {
        const u32 width = LpmTables::width(at);
        if (position + width > count) {
          if (position + width > max_bits_) return false;
          by_tables = false;  // a short key: node by node from where the table begins
          at = tables_.owner(at);
          continue;
        }
        const u64 index =
            Short ? __builtin_bswap64(key_word) << position >> (64 - width) : tables_.bits_of(bytes, position, width);
        const u64 slot = tables_.slot(at, index);
        if (const Ref best = static_cast<Ref>(slot >> 32); best != 0) {
          found = best;
          nodes_.prefetch(best);
        }
        at = static_cast<u32>(slot);
        position += width;
        continue;
      }
      const u32 bits = nodes_.bits(at);
      if (bits > count || !covers<Short>(at, bits, bytes, key_word)) return true;
      if (nodes_.is_entry(at)) found = at;
      if (bits == max_bits_) return true;
      position = bits;
      const u32 table = by_tables ? nodes_.table(at).load(std::memory_order_acquire) : 0;
      at = table != 0 ? table : nodes_.child(at, LpmNodes::bit_at(bytes, bits)).load(std::memory_order_acquire);
    }
    return true;
  }

  /// The best match node by node, under the lock.
  Ref match_from_root(const void* key) const noexcept {
    Ref found = 0;
    for (Ref at = nodes_.root_ref(); at != 0;) {
      const u32 bits = nodes_.bits(at);
      if (nodes_.common_bits(at, bytes_of(key), bits_of(key)) < bits) break;
      if (nodes_.is_entry(at)) found = at;
      if (bits == max_bits_) break;
      at = nodes_.child(at, LpmNodes::bit_at(bytes_of(key), bits)).load(std::memory_order_relaxed);
    }
    return found;
  }

  // --- changes ---

  /// Changes between begin_change() and end_change() are seen whole or the look-up repeats. Every store of a change
  /// is a release, so who sees one of them sees the version that began it.
  void begin_change() noexcept {
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void end_change() noexcept {
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  Ref make_entry(const void* key, const void* value, Ref child0, Ref child1) noexcept {
    const Ref ref = nodes_.take();
    nodes_.set_shape(ref, bits_of(key), true);
    nodes_.child(ref, false).store(child0, std::memory_order_release);
    nodes_.child(ref, true).store(child1, std::memory_order_release);
    store_words<std::memory_order_release>(nodes_.data(ref), bytes_of(key), nodes_.data_bytes());
    store_words<std::memory_order_release>(nodes_.value(ref), value, spec_.value_size);
    return ref;
  }

  s64 replace(const LpmNodes::Path& path, const void* key, const void* value, u64 flags) noexcept {
    const Ref old = path.node;
    const bool is_new = !nodes_.is_entry(old);
    if (!is_new && flags == update_noexist) return -EEXIST;
    if (is_new && flags == update_exist) return -ENOENT;
    if (is_new && entries_ == spec_.max_entries) return -ENOSPC;
    if (is_new) ++entries_;
    begin_change();
    const Ref made = make_entry(key, value, nodes_.child(old, false), nodes_.child(old, true));
    path.link->store(made, std::memory_order_release);
    tables_.move(old, made);
    tables_.follow(bytes_of(key), bits_of(key), is_new ? 0 : old, made);
    nodes_.give_back(old);
    end_change();
    return 0;
  }

  void insert(const LpmNodes::Path& path, const void* key, const void* value) noexcept {
    begin_change();
    Ref made = 0;
    if (path.node == 0) {
      made = make_entry(key, value, 0, 0);
      path.link->store(made, std::memory_order_release);
    } else if (path.matched == bits_of(key)) {  // the new prefix contains the node
      const bool side = nodes_.node_bit(path.node, path.matched);
      made = make_entry(key, value, side ? 0 : path.node, side ? path.node : 0);
      path.link->store(made, std::memory_order_release);
    } else {  // they part below a common prefix
      made = make_entry(key, value, 0, 0);
      const bool side = LpmNodes::bit_at(bytes_of(key), path.matched);
      const Ref fork = nodes_.take();
      nodes_.set_shape(fork, path.matched, false);
      nodes_.child(fork, side).store(made, std::memory_order_release);
      nodes_.child(fork, !side).store(path.node, std::memory_order_release);
      store_words<std::memory_order_release>(nodes_.data(fork), bytes_of(key), nodes_.data_bytes());
      path.link->store(fork, std::memory_order_release);
    }
    const Ref wants_table = tables_.follow(bytes_of(key), bits_of(key), 0, made);
    end_change();
    if (wants_table != 0) add_table(wants_table);
  }

  /// The table is made while look-ups go on; only what makes it known is a change.
  void add_table(Ref node) noexcept {
    const LpmTables::Plan plan = tables_.plan(node);
    if (plan.table == 0) return;
    begin_change();
    tables_.publish(plan);
    end_change();
  }

  void remove(const LpmNodes::Path& path, const void* key) noexcept {
    begin_change();
    const Ref old = path.node;
    const Ref left = nodes_.child(old, false), right = nodes_.child(old, true);
    if (left != 0 && right != 0) {
      nodes_.set_shape(old, bits_of(key), false);
      tables_.follow(bytes_of(key), bits_of(key), old, 0);
      end_change();
      return;
    }
    Ref fork = 0;
    if (left == 0 && right == 0 && path.parent != 0 && !nodes_.is_entry(path.parent)) {
      // A fork that loses one side is no fork: its other side takes its place.
      fork = path.parent;
      const bool was_left = path.link == &nodes_.child(fork, false);
      path.parent_link->store(nodes_.child(fork, was_left), std::memory_order_release);
    } else {
      path.link->store(left != 0 ? left : right, std::memory_order_release);
    }
    tables_.drop(old);
    if (fork != 0) tables_.drop(fork);
    tables_.follow(bytes_of(key), bits_of(key), old, 0);
    nodes_.give_back(old);
    if (fork != 0) nodes_.give_back(fork);
    end_change();
  }

  LpmNodes nodes_;
  LpmTables tables_;
  u32 max_bits_;
  SpinLock lock_;
  std::atomic<u32> version_{0};
  u32 entries_ = 0;
};

/// Maps that stay small keep small pages.
void ask_for_huge_pages(const Region& region) noexcept {
  constexpr u64 huge = 2 << 20;
  const u64 begin = round_up(reinterpret_cast<u64>(region.data()), huge) + huge;
  const u64 end = reinterpret_cast<u64>(region.data()) + region.bytes();
  if (begin < end) (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // NOLINT: an address
}

}  // namespace

Result<std::shared_ptr<Map>> make_lpm_trie(const MapSpec& spec) {
  // A replacement holds one node more for a moment.
  const u64 nodes = 2 * u64{spec.max_entries} + 1;
  if (nodes > 0xffffffffu)
    return fail(Code::limit,
                "max_entries is " + std::to_string(spec.max_entries) + ": an lpm_trie has at most 2^31 - 1", ENOMEM);
  const u64 table_bytes = LpmTables::budget(spec.max_entries);
  auto region = SKEP_TRY(Region::allocate(nodes * LpmNodes::stride(spec.key_size - 4, spec.value_size)));
  auto tables = SKEP_TRY(Region::allocate(table_bytes));
  ask_for_huge_pages(region);
  ask_for_huge_pages(tables);
  return std::make_shared<LpmTrieMap>(spec, std::move(region), std::move(tables), table_bytes);
}

}  // namespace skep::map
