// The binary trie under an LPM map. See lpm_nodes.hpp.
#include "map/lpm_nodes.hpp"

namespace skep::map {

LpmNodes::Path LpmNodes::descend(const u8* bytes, u32 count) noexcept {
  Path path;
  path.link = &root_;
  for (path.node = root_; path.node != 0; path.node = path.link->load(std::memory_order_relaxed)) {
    path.matched = common_bits(path.node, bytes, count);
    const u32 node_bits = bits(path.node);
    if (node_bits != path.matched || node_bits == count) break;
    path.parent = path.node;
    path.parent_link = path.link;
    path.link = &child(path.node, bit_at(bytes, node_bits));
  }
  return path;
}

LpmNodes::Ref LpmNodes::take() noexcept {
  if (const Ref ref = free_; ref != 0) {
    free_ = child(ref, false).load(std::memory_order_relaxed);
    return ref;
  }
  return ++fresh_;  // bounded: never more than 2 * max_entries nodes are in use at once
}

void LpmNodes::give_back(Ref ref) noexcept {
  child(ref, false).store(free_, std::memory_order_release);
  free_ = ref;
}

LpmNodes::Ref LpmNodes::leftmost(Ref ref) const noexcept {
  for (;;) {
    const Ref left = child(ref, false), right = child(ref, true);
    if (left == 0 && right == 0) return ref;
    ref = left != 0 ? left : right;
  }
}

LpmNodes::Ref LpmNodes::after(const u8* bytes, u32 count) const noexcept {
  Ref following = 0;  // what comes after everything below `at`
  Ref at = root_;
  for (;;) {
    const u32 matched = common_bits(at, bytes, count), node_bits = bits(at);
    if (node_bits == matched && node_bits == count) return is_entry(at) ? following : leftmost(root_);
    if (node_bits != matched) return leftmost(root_);
    const bool side = bit_at(bytes, node_bits);
    const Ref left = child(at, false), right = child(at, true);
    if (!side && right != 0)
      following = leftmost(right);
    else if (is_entry(at))
      following = at;
    at = side ? right : left;
    if (at == 0) return leftmost(root_);
  }
}

}  // namespace skep::map
