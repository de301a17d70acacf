// Longest-prefix-match tries: the most specific of all prefixes that cover an address.
//
// A binary trie in which a node stands for a whole run of bits. A key is a u32 prefix length and the bits, most
// significant first. A node is an entry or, where two entries part without one at the fork, an inner node with
// exactly two children; so n entries need at most 2n - 1 nodes, and these are the pool.
//
// A look-up of a large trie would spend its time on the upper levels, which all look-ups share. So there is a table of
// short cuts over it: one slot for each value of the bits that follow what all entries have in common (8 to 20 of them,
// by the size of the map). A slot holds the deepest node whose prefix those bits cover, and the best match up to there.
// Slots are filled by look-ups that find them empty and cleared by whoever changes a node that they may know; a change
// below them does not concern them.
//
// Writers take a lock and raise a version around each change. Look-ups take none: they walk, and walk again when
// the version moved. Nodes are used again but never unmapped, so a walk that strays reads valid memory.
// Source: kernel/bpf/lpm_trie.c (rules, errors, order of next_key: leaves before what contains them).
#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <memory>
#include <mutex>

#include "map/direct.hpp"
#include "map/memory.hpp"
#include "map/spin_lock.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

constexpr u32 entry = 1, inner_node = 2;

class LpmTrieMap final : public Map {
 public:
  struct Node {
    std::atomic<u32> child[2];
    std::atomic<u32> prefix_bits;
    std::atomic<u32> kind;  ///< entry, inner_node; of a free node: the next free one
  };

  LpmTrieMap(const MapSpec& spec, Region nodes, Region slots)
      : Map(spec),
        nodes_(std::move(nodes)),
        slots_(std::move(slots)),
        base_(nodes_.data()),
        stride_(node_stride(spec)),
        data_bytes_(spec.key_size - 4),
        max_bits_(data_bytes_ * 8),
        slot_bits_(slot_bits(spec)) {}

  /// How many bits choose a slot: about one slot an entry.
  static u32 slot_bits(const MapSpec& spec) noexcept {
    constexpr u32 fewest = 8, most = 20;
    const u32 wanted = static_cast<u32>(std::bit_width(spec.max_entries));
    const u32 bounded = wanted < fewest ? fewest : wanted > most ? most : wanted;
    const u32 key_bits = (spec.key_size - 4) * 8;
    return bounded < key_bits ? bounded : key_bits;
  }

  static u64 node_stride(const MapSpec& spec) noexcept {
    return sizeof(Node) + round_up(spec.key_size - 4, 8) + round_up(spec.value_size, 8);
  }

  void* lookup(const void* key) noexcept override {
    if (bits_of(key) > max_bits_) return nullptr;
    for (int attempts = 0; attempts < 64; ++attempts) {
      const u32 before = version_.load(std::memory_order_acquire);
      Walk walk = begin_of(key);
      longest_match(key, walk);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (walk.strayed || (before & 1) != 0 || version_.load(std::memory_order_relaxed) != before) continue;
      if (walk.slot != nullptr) fill_slot(key, walk.slot);
      return value_or_null(walk.found);
    }
    const std::lock_guard lock(lock_);
    Walk walk{.at = root_};
    longest_match(key, walk);
    return value_or_null(walk.found);
  }

  s64 update(const void* key, const void* value, u64 flags) noexcept override {
    if (flags > update_exist || bits_of(key) > max_bits_) return -EINVAL;
    const std::lock_guard lock(lock_);
    const Path path = descend(key);
    if (path.node != 0 && node(path.node).prefix_bits == path.matched && path.matched == bits_of(key))
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
    const Path path = descend(key);
    if (path.node == 0 || node(path.node).prefix_bits != path.matched || path.matched != bits_of(key) ||
        node(path.node).kind != entry)
      return -ENOENT;
    --entries_;
    remove(path);
    return 0;
  }

  u64 memory_bytes() const noexcept override { return nodes_.resident_bytes() + slots_.resident_bytes(); }
  base::MapView inline_view() noexcept override { return Direct<LpmTrieMap>::add_to(sizes_of_view()); }

 protected:
  BatchSupport batch_support() const noexcept override { return {.look_up = true, .update = true, .erase = true}; }
  s64 host_lookup(const void* key, void* to) noexcept override {
    const std::lock_guard lock(lock_);
    Walk walk{.at = root_};
    if (bits_of(key) <= max_bits_) longest_match(key, walk);
    if (walk.found == 0) return -ENOENT;
    load_words(to, value_of(walk.found), spec_.value_size);
    return 0;
  }
  s64 host_update(const void* key, const void* value, u64 flags) noexcept override { return update(key, value, flags); }

  s64 host_next_key(const void* key, void* next) noexcept override {
    const std::lock_guard lock(lock_);
    if (root_.load(std::memory_order_relaxed) == 0) return -ENOENT;
    const u32 following = key == nullptr || bits_of(key) > max_bits_ ? leftmost(root_) : after(key);
    if (following == 0) return -ENOENT;
    const u32 bits = node(following).prefix_bits;
    std::memcpy(next, &bits, sizeof bits);
    load_words(static_cast<std::byte*>(next) + 4, data_of(following), data_bytes_);
    return 0;
  }

 private:
  /// Where a key's way down ends: the node that is its own, that it parts from, or an empty link.
  struct Path {
    std::atomic<u32>* link = nullptr;         ///< what points to `node`
    std::atomic<u32>* parent_link = nullptr;  ///< what points to `parent`
    u32 node = 0, parent = 0;
    u32 matched = 0;  ///< bits that key and node have in common
  };

  static u32 bits_of(const void* key) noexcept { return index_of(key); }
  static const u8* bytes_of(const void* key) noexcept { return static_cast<const u8*>(key) + 4; }
  Node& node(u32 ref) const noexcept { return *reinterpret_cast<Node*>(base_ + stride_ * (ref - 1)); }
  std::byte* data_of(u32 ref) const noexcept { return reinterpret_cast<std::byte*>(&node(ref)) + sizeof(Node); }
  std::byte* value_of(u32 ref) const noexcept { return data_of(ref) + round_up(data_bytes_, 8); }
  void* value_or_null(u32 ref) const noexcept { return ref != 0 ? value_of(ref) : nullptr; }
  static bool bit_at(const u8* data, u32 bit) noexcept { return (data[bit / 8] >> (7 - bit % 8) & 1) != 0; }
  bool node_bit(u32 ref, u32 bit) const noexcept {
    u64 word = word_at(data_of(ref), bit / 64 * 8).load(std::memory_order_acquire);
    return (word >> ((bit / 8 % 8) * 8 + (7 - bit % 8)) & 1) != 0;
  }

  /// Leading bits that the key and the node share, at most the shorter of the two.
  u32 common_bits(u32 ref, const void* key) const noexcept {
    const u32 node_bits = node(ref).prefix_bits.load(std::memory_order_acquire);
    const u32 limit = node_bits < bits_of(key) ? node_bits : bits_of(key);
    for (u32 offset = 0; offset * 8 < limit; offset += 8) {
      u64 ours = word_at(data_of(ref), offset).load(std::memory_order_acquire), theirs = 0;
      std::memcpy(&theirs, bytes_of(key) + offset, data_bytes_ - offset < 8 ? data_bytes_ - offset : 8);
      const u64 difference = __builtin_bswap64(ours ^ theirs);
      if (difference == 0) continue;
      const u32 shared = offset * 8 + static_cast<u32>(std::countl_zero(difference));
      return shared < limit ? shared : limit;
    }
    return limit;
  }

  /// A way down: where it goes on, and the best entry so far.
  struct Walk {
    u32 at = 0, found = 0;
    bool strayed = false;
    std::atomic<u64>* slot = nullptr;  ///< an empty one that this way may fill
  };

  void longest_match(const void* key, Walk& walk) const noexcept {
    u32 steps = 0;
    for (u32 at = walk.at; at != 0;) {
      if (++steps > max_bits_ + 2) {
        walk.strayed = true;
        return;
      }
      const u32 bits = node(at).prefix_bits.load(std::memory_order_acquire);
      if (bits > max_bits_ || common_bits(at, key) < bits) {
        // At the first step: the key differs in what all entries have in common, so nothing covers it.
        if (steps == 1) walk.found = 0, walk.slot = nullptr;
        break;
      }
      if (node(at).kind.load(std::memory_order_acquire) == entry) walk.found = at;
      if (bits == max_bits_) break;
      at = node(at).child[bit_at(bytes_of(key), bits)].load(std::memory_order_acquire);
    }
  }

  // --- short cuts ---

  std::atomic<u64>& slot(u64 index) const noexcept { return reinterpret_cast<std::atomic<u64>*>(slots_.data())[index]; }

  /// The bits [first, first + slot_bits_) as a number; `first` + slot_bits_ <= max_bits_.
  u64 slot_index(const u8* bytes, u32 first) const noexcept {
    u64 word = 0;
    const u32 at = first / 8;
    std::memcpy(&word, bytes + at, data_bytes_ - at < 8 ? data_bytes_ - at : 8);
    return __builtin_bswap64(word) << (first % 8) >> (64 - slot_bits_);
  }

  /// Where a look-up begins: at the node its slot knows, or at the root.
  Walk begin_of(const void* key) const noexcept {
    const u32 first = slot_first_.load(std::memory_order_relaxed);
    const u32 root = root_.load(std::memory_order_acquire);
    if (bits_of(key) < first + slot_bits_ || first + slot_bits_ > max_bits_) return {.at = root};
    std::atomic<u64>& place = slot(slot_index(bytes_of(key), first));
    const u64 known = place.load(std::memory_order_acquire);
    if (known != 0) return {.at = static_cast<u32>(known), .found = static_cast<u32>(known >> 32)};
    return {.at = root, .slot = &place};
  }

  /// A slot is filled under the lock, so never beside a change. Keys that differ in the bits before the slot's share
  /// it: a look-up compares the whole prefix of the node that it begins at.
  void fill_slot(const void* key, std::atomic<u64>* place) noexcept {
    if (!lock_.try_lock()) return;
    const u32 first = slot_first_.load(std::memory_order_relaxed);
    u32 start = 0, best = 0;
    if (first + slot_bits_ <= max_bits_ && bits_of(key) >= first + slot_bits_ &&
        &slot(slot_index(bytes_of(key), first)) == place)
      for (u32 at = root_; at != 0;) {
        const u32 bits = node(at).prefix_bits;
        if (bits > first + slot_bits_ || common_bits(at, key) < bits) break;
        start = at;
        if (bits == first + slot_bits_) break;
        if (node(at).kind == entry) best = at;
        if (bits == max_bits_) break;
        at = node(at).child[bit_at(bytes_of(key), bits)];
      }
    if (start != 0) place->store(u64{best} << 32 | start, std::memory_order_release);
    lock_.unlock();
  }

  /// Inside of a change: the slots that may know a node of this prefix know nothing any more.
  void forget_slots(const void* bytes, u32 bits) noexcept {
    const u32 first = slot_first_.load(std::memory_order_relaxed);
    if (first + slot_bits_ > max_bits_ || bits > first + slot_bits_) return;
    if (bits <= first) return forget_all_slots();
    const u32 open = first + slot_bits_ - bits;  // bits that the prefix leaves free
    const u64 begin = slot_index(static_cast<const u8*>(bytes), first) >> open << open, count = u64{1} << open;
    constexpr u64 many = 4 * page_bytes / sizeof(u64);
    if (count > many) return clear_pages(begin, count);
    for (u64 index = begin; index < begin + count; ++index) slot(index).store(0, std::memory_order_release);
  }
  void forget_all_slots() noexcept { clear_pages(0, u64{1} << slot_bits_); }
  void clear_pages(u64 begin, u64 count) noexcept {
    if (count * sizeof(u64) % page_bytes == 0 &&
        ::madvise(slots_.data() + begin * sizeof(u64), count * sizeof(u64), MADV_DONTNEED) == 0)
      return;
    for (u64 index = begin; index < begin + count; ++index) slot(index).store(0, std::memory_order_release);
  }
  /// Inside of a change: the slots stand for the bits behind the root's prefix.
  void follow_root() noexcept {
    const u32 root = root_;
    const u32 first = root == 0 ? 0 : node(root).prefix_bits.load(std::memory_order_relaxed);
    if (first == slot_first_.load(std::memory_order_relaxed)) return;
    slot_first_.store(first, std::memory_order_release);
    forget_all_slots();
  }

  Path descend(const void* key) noexcept {
    Path path;
    path.link = &root_;
    for (path.node = root_; path.node != 0; path.node = *path.link) {
      path.matched = common_bits(path.node, key);
      const u32 bits = node(path.node).prefix_bits;
      if (bits != path.matched || bits == bits_of(key)) break;
      path.parent = path.node;
      path.parent_link = path.link;
      path.link = &node(path.node).child[bit_at(bytes_of(key), bits)];
    }
    return path;
  }

  /// Changes between begin_change() and end_change() are seen whole or the look-up repeats.
  void begin_change() noexcept {
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void end_change() noexcept {
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  u32 take() noexcept {
    if (const u32 ref = free_; ref != 0) {
      free_ = node(ref).kind.load(std::memory_order_relaxed);
      return ref;
    }
    return ++fresh_;  // bounded: never more than 2 * max_entries nodes are in use at once
  }
  void give_back(u32 ref) noexcept {
    node(ref).kind.store(free_, std::memory_order_release);
    free_ = ref;
  }

  u32 make_entry(const void* key, const void* value, u32 child0, u32 child1) noexcept {
    const u32 ref = take();
    Node& made = node(ref);
    made.kind.store(entry, std::memory_order_release);
    made.prefix_bits.store(bits_of(key), std::memory_order_release);
    made.child[0].store(child0, std::memory_order_release);
    made.child[1].store(child1, std::memory_order_release);
    store_words<std::memory_order_release>(data_of(ref), bytes_of(key), data_bytes_);
    store_words<std::memory_order_release>(value_of(ref), value, spec_.value_size);
    return ref;
  }

  s64 replace(const Path& path, const void* key, const void* value, u64 flags) noexcept {
    Node& old = node(path.node);
    const bool is_new = old.kind != entry;
    if (!is_new && flags == update_noexist) return -EEXIST;
    if (is_new && flags == update_exist) return -ENOENT;
    if (is_new && entries_ == spec_.max_entries) return -ENOSPC;
    if (is_new) ++entries_;
    begin_change();
    forget_slots(bytes_of(key), bits_of(key));
    path.link->store(make_entry(key, value, old.child[0], old.child[1]), std::memory_order_release);
    give_back(path.node);
    end_change();
    return 0;
  }

  void insert(const Path& path, const void* key, const void* value) noexcept {
    begin_change();
    // The new entry and the fork it may need lie on the way of the slots that its bits choose.
    forget_slots(bytes_of(key), bits_of(key));
    if (path.node == 0) {
      path.link->store(make_entry(key, value, 0, 0), std::memory_order_release);
    } else if (path.matched == bits_of(key)) {  // the new prefix contains the node
      const bool side = node_bit(path.node, path.matched);
      path.link->store(make_entry(key, value, side ? 0 : path.node, side ? path.node : 0), std::memory_order_release);
    } else {  // they part below a common prefix
      const u32 made = make_entry(key, value, 0, 0);
      const bool side = bit_at(bytes_of(key), path.matched);
      const u32 fork = take();
      forget_slots(bytes_of(key), path.matched);
      Node& at = node(fork);
      at.kind.store(inner_node, std::memory_order_release);
      at.prefix_bits.store(path.matched, std::memory_order_release);
      at.child[side].store(made, std::memory_order_release);
      at.child[!side].store(path.node, std::memory_order_release);
      store_words<std::memory_order_release>(data_of(fork), bytes_of(key), data_bytes_);
      path.link->store(fork, std::memory_order_release);
    }
    follow_root();
    end_change();
  }

  void remove(const Path& path) noexcept {
    begin_change();
    Node& old = node(path.node);
    forget_slots(data_of(path.node), old.prefix_bits);
    const u32 left = old.child[0], right = old.child[1];
    if (left != 0 && right != 0) {
      old.kind.store(inner_node, std::memory_order_release);
    } else if (left == 0 && right == 0 && path.parent != 0 && node(path.parent).kind == inner_node) {
      // A fork that loses one side is no fork: its other side takes its place.
      Node& parent = node(path.parent);
      const u32 sibling = path.link == &parent.child[0] ? parent.child[1] : parent.child[0];
      forget_slots(data_of(path.parent), parent.prefix_bits);
      path.parent_link->store(sibling, std::memory_order_release);
      give_back(path.parent);
      give_back(path.node);
    } else {
      path.link->store(left != 0 ? left : right, std::memory_order_release);
      give_back(path.node);
    }
    follow_root();
    end_change();
  }

  /// The first entry below `ref` in post-order.
  u32 leftmost(u32 ref) const noexcept {
    for (;;) {
      const u32 left = node(ref).child[0], right = node(ref).child[1];
      if (left == 0 && right == 0) return ref;
      ref = left != 0 ? left : right;
    }
  }

  /// The entry after `key` in post-order; the first one when `key` is not in the trie.
  u32 after(const void* key) const noexcept {
    u32 following = 0;  // what comes after everything below `at`
    u32 at = root_;
    for (;;) {
      const u32 matched = common_bits(at, key), bits = node(at).prefix_bits;
      if (bits == matched && bits == bits_of(key)) return node(at).kind == entry ? following : leftmost(root_);
      if (bits != matched) return leftmost(root_);
      const bool side = bit_at(bytes_of(key), bits);
      const u32 left = node(at).child[0], right = node(at).child[1];
      if (!side && right != 0)
        following = leftmost(right);
      else if (node(at).kind == entry)
        following = at;
      at = side ? right : left;
      if (at == 0) return leftmost(root_);
    }
  }

  Region nodes_, slots_;
  std::byte* base_;
  u64 stride_;
  u32 data_bytes_;
  u32 max_bits_;
  u32 slot_bits_;                   ///< how many bits choose a slot
  std::atomic<u32> slot_first_{0};  ///< the first of them: the length of the root's prefix
  SpinLock lock_;
  std::atomic<u32> version_{0};
  std::atomic<u32> root_{0};
  u32 free_ = 0;
  u32 fresh_ = 0;
  u32 entries_ = 0;
};

}  // namespace

Result<std::shared_ptr<Map>> make_lpm_trie(const MapSpec& spec) {
  // A replacement holds one node more for a moment.
  const u64 nodes = 2 * u64{spec.max_entries} + 1;
  if (nodes > 0xffffffffu)
    return fail(Code::limit,
                "max_entries is " + std::to_string(spec.max_entries) + ": an lpm_trie has at most 2^31 - 1", ENOMEM);
  auto region = SKEP_TRY(Region::allocate(nodes * LpmTrieMap::node_stride(spec)));
  auto slots = SKEP_TRY(Region::allocate(sizeof(u64) << LpmTrieMap::slot_bits(spec)));
  return std::make_shared<LpmTrieMap>(spec, std::move(region), std::move(slots));
}

}  // namespace skep::map
