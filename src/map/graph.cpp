// Lists and trees. See graph.hpp.
#include "map/graph.hpp"

#include <utility>

#include "map/object_pool.hpp"
#include "map/spin_lock.hpp"

namespace skep::map {

void lock_word(void* lock) noexcept {
  const std::atomic_ref word(*static_cast<u32*>(lock));
  u32 free = 0;
  // Not an exchange: in a resilient lock's word stands who has it.
  for (u32 spins = 0; !word.compare_exchange_weak(free, 1, std::memory_order_acquire); ++spins, free = 0)
    pause_briefly(spins);
}
void unlock_word(void* lock) noexcept { std::atomic_ref(*static_cast<u32*>(lock)).store(0, std::memory_order_release); }

// --- lists ---

bool list_add(ListHead& head, ListNode& node, bool at_end) noexcept {
  void* nobody = nullptr;
  if (!node.owner.compare_exchange_strong(nobody, &head, std::memory_order_acq_rel)) return false;
  node.next = at_end ? nullptr : head.first;
  node.previous = at_end ? head.last : nullptr;
  (node.previous != nullptr ? node.previous->next : head.first) = &node;
  (node.next != nullptr ? node.next->previous : head.last) = &node;
  return true;
}

ListNode* list_take(ListHead& head, bool at_end) noexcept {
  ListNode* const node = at_end ? head.last : head.first;
  if (node == nullptr) return nullptr;
  (node->previous != nullptr ? node->previous->next : head.first) = node->next;
  (node->next != nullptr ? node->next->previous : head.last) = node->previous;
  node->next = node->previous = nullptr;
  node->owner.store(nullptr, std::memory_order_release);
  return node;
}

void put_list(ListHead& head, void* lock) noexcept {
  if (lock != nullptr) lock_word(lock);
  ListNode* node = std::exchange(head.first, nullptr);
  head.last = nullptr;
  if (lock != nullptr) unlock_word(lock);
  while (node != nullptr) {
    ListNode* const next = node->next;
    node->next = node->previous = nullptr;
    node->owner.store(nullptr, std::memory_order_release);
    object_put(node);
    node = next;
  }
}

// --- trees ---

namespace {

u64 rank(const TreeNode& node) noexcept {
  u64 bits = reinterpret_cast<u64>(&node) * 0x9e3779b97f4a7c15;
  return (bits ^ bits >> 29) * 0xbf58476d1ce4e5b9;
}

TreeNode*& place_of(TreeRoot& root, TreeNode& node) noexcept {
  if (node.parent == nullptr) return root.top;
  return node.parent->left == &node ? node.parent->left : node.parent->right;
}

/// `child` takes its parent's place, the parent becomes its child on the other side.
void rotate_up(TreeRoot& root, TreeNode& child) noexcept {
  TreeNode& parent = *child.parent;
  place_of(root, parent) = &child;
  child.parent = parent.parent;
  const bool was_left = parent.left == &child;
  TreeNode*& inner = was_left ? child.right : child.left;
  (was_left ? parent.left : parent.right) = inner;
  if (inner != nullptr) inner->parent = &parent;
  inner = &parent;
  parent.parent = &child;
}

}  // namespace

bool tree_claim(TreeRoot& root, TreeNode& node) noexcept {
  void* nobody = nullptr;
  return node.owner.compare_exchange_strong(nobody, &root, std::memory_order_acq_rel);
}

void tree_add(TreeRoot& root, TreeNode& node, Less less, void* context) noexcept {
  TreeNode *parent = nullptr, **place = &root.top;
  while (*place != nullptr) {
    parent = *place;
    place = less(context, node, *parent) ? &parent->left : &parent->right;
  }
  node.left = node.right = nullptr;
  node.parent = parent;
  *place = &node;
  while (node.parent != nullptr && rank(node) < rank(*node.parent)) rotate_up(root, node);
}

bool tree_remove(TreeRoot& root, TreeNode& node) noexcept {
  if (node.owner.load(std::memory_order_acquire) != &root) return false;
  while (node.left != nullptr && node.right != nullptr)
    rotate_up(root, rank(*node.left) < rank(*node.right) ? *node.left : *node.right);
  TreeNode* const child = node.left != nullptr ? node.left : node.right;
  place_of(root, node) = child;
  if (child != nullptr) child->parent = node.parent;
  node.left = node.right = node.parent = nullptr;
  node.owner.store(nullptr, std::memory_order_release);
  return true;
}

TreeNode* tree_first(const TreeRoot& root) noexcept {
  TreeNode* node = root.top;
  while (node != nullptr && node->left != nullptr) node = node->left;
  return node;
}

void put_tree(TreeRoot& root, void* lock) noexcept {
  if (lock != nullptr) lock_word(lock);
  TreeNode* node = std::exchange(root.top, nullptr);
  if (lock != nullptr) unlock_word(lock);
  // Leaf by leaf: down as far as it goes, then the leaf goes and its parent is next.
  while (node != nullptr) {
    if (node->left != nullptr) {
      node = node->left;
      continue;
    }
    if (node->right != nullptr) {
      node = node->right;
      continue;
    }
    TreeNode* const parent = node->parent;
    if (parent != nullptr) (parent->left == node ? parent->left : parent->right) = nullptr;
    node->parent = nullptr;
    node->owner.store(nullptr, std::memory_order_release);
    object_put(node);
    node = parent;
  }
}

}  // namespace skep::map
