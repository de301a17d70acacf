// Lists and trees of objects: bpf_list_head and bpf_rb_root with their nodes.
//
// Heads lie in map values and objects, nodes in objects of object_pool.hpp; whoever calls these holds the lock beside
// the head (the verifier's proof), except for put_list() and put_tree(). Zero bytes are an empty head and a node that
// is in nothing. A node knows the head it is linked in, so an object that several hold (bpf_refcount) is linked once.
// The tree is a treap: a node's rank is a hash of its address, so the expected depth is logarithmic whatever order
// objects come in, and no rank needs room. Source: Linux 6.18, kernel/bpf/helpers.c (__bpf_list_add,
// bpf_list_head_free, __bpf_rbtree_add, bpf_rb_root_free).
#pragma once
#include <atomic>
#include <skep/types.hpp>

namespace skep::map {

struct ListNode {
  ListNode *next, *previous;
  std::atomic<void*> owner;  ///< the head
};
struct ListHead {
  ListNode *first, *last;
};
struct TreeNode {
  TreeNode *left, *right, *parent;
  std::atomic<void*> owner;  ///< the root
};
struct TreeRoot {
  TreeNode* top;
  u64 unused;
};
static_assert(sizeof(ListNode) == 24 && sizeof(ListHead) == 16 && sizeof(TreeNode) == 32 && sizeof(TreeRoot) == 16);

/// False: the node is linked already.
bool list_add(ListHead& head, ListNode& node, bool at_end) noexcept;
/// Takes the first or the last one out, or nullptr.
ListNode* list_take(ListHead& head, bool at_end) noexcept;

/// Whether the first node stands before the second; called once for each level.
using Less = bool (*)(void* context, TreeNode& node, TreeNode& other);
/// Claims a node for a root before it is added; false: it is linked already.
bool tree_claim(TreeRoot& root, TreeNode& node) noexcept;
void tree_add(TreeRoot& root, TreeNode& node, Less less, void* context) noexcept;
/// False: the node is not in this tree.
bool tree_remove(TreeRoot& root, TreeNode& node) noexcept;
TreeNode* tree_first(const TreeRoot& root) noexcept;

/// Gives back the reference to every object that is linked. `lock`: the bpf_spin_lock beside the head, or nullptr.
void put_list(ListHead& head, void* lock) noexcept;
void put_tree(TreeRoot& root, void* lock) noexcept;

/// bpf_spin_lock: a word, 0 when free. A bpf_res_spin_lock (resilient_lock.hpp) may be taken as one, too.
void lock_word(void* lock) noexcept;
void unlock_word(void* lock) noexcept;

}  // namespace skep::map
