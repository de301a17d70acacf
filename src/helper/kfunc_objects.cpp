// Objects of the program's own types: made, counted, linked into lists and trees, kept in map values.
//
// The linker tells bpf_obj_new() the pool of its type (ObjectTypes::hidden); everything else is found from an address
// inside of the object (map/object_pool.hpp).
// Source: Linux 6.18, kernel/bpf/helpers.c: results and what happens to an object that is linked already.
#include <cerrno>

#include "helper/bind.hpp"
#include "helper/kfuncs.hpp"
#include "map/graph.hpp"
#include "map/object_pool.hpp"
#include "map/words.hpp"

namespace skep::helper {

namespace {

template <class T>
T& at(u64 address) noexcept {
  return *reinterpret_cast<T*>(address);  // NOLINT
}
void* pointer(u64 address) noexcept { return reinterpret_cast<void*>(address); }  // NOLINT
u64 word(const void* pointer_) noexcept { return reinterpret_cast<u64>(pointer_); }
base::Run& run_of(void* run) noexcept { return *static_cast<base::Run*>(run); }
/// An int as a C function returns it.
constexpr u64 error(int number) noexcept { return static_cast<u32>(-number); }

/// What a checked run may touch from now on.
u64 lend(void* run, void* inside) noexcept {
  if (inside != nullptr) run_of(run).lend(map::object_begin(inside), map::object_bytes(inside), true);
  return word(inside);
}

u64 make(void* run, u64, u64 pool, u64, u64, u64) noexcept {
  return pool != 0 ? lend(run, map::object_new(at<map::ObjectPool>(pool))) : 0;
}

/// Its parts are lent where they are picked.
u64 make_percpu(void*, u64, u64 pool, u64, u64, u64) noexcept {
  return pool != 0 ? word(map::object_new(at<map::ObjectPool>(pool))) : 0;
}

u64 drop(void*, u64 object, u64, u64, u64, u64) noexcept {
  map::object_put(pointer(object));
  return 0;
}

u64 acquire(void*, u64 object, u64, u64, u64, u64) noexcept { return map::object_get(pointer(object)) ? object : 0; }

// --- lists ---

/// An object that another list or tree has already is not linked twice: the program's reference is dropped.
u64 push(u64 head, u64 node, bool at_end) noexcept {
  if (map::list_add(at<map::ListHead>(head), at<map::ListNode>(node), at_end)) return 0;
  map::object_put(pointer(node));
  return error(EINVAL);
}
u64 push_front(void*, u64 head, u64 node, u64, u64, u64) noexcept { return push(head, node, false); }
u64 push_back(void*, u64 head, u64 node, u64, u64, u64) noexcept { return push(head, node, true); }

u64 pop_front(void* run, u64 head, u64, u64, u64, u64) noexcept {
  return lend(run, map::list_take(at<map::ListHead>(head), false));
}
u64 pop_back(void* run, u64 head, u64, u64, u64, u64) noexcept {
  return lend(run, map::list_take(at<map::ListHead>(head), true));
}
u64 front(void* run, u64 head, u64, u64, u64, u64) noexcept { return lend(run, at<map::ListHead>(head).first); }
u64 back(void* run, u64 head, u64, u64, u64, u64) noexcept { return lend(run, at<map::ListHead>(head).last); }

// --- trees ---

struct Comparison {
  void* run;
  const base::Callback& less;
};

bool stands_before(void* context, map::TreeNode& node, map::TreeNode& other) noexcept {
  const auto& comparison = *static_cast<const Comparison*>(context);
  lend(comparison.run, &other);
  return comparison.less(comparison.run, word(&node), word(&other), 0, 0, 0) != 0;
}

u64 tree_add(void* run, u64 root, u64 node, u64 less, u64, u64) noexcept {
  auto& tree = at<map::TreeRoot>(root);
  auto& own = at<map::TreeNode>(node);
  if (!map::tree_claim(tree, own)) {
    map::object_put(pointer(node));
    return error(EINVAL);
  }
  Comparison comparison{run, at<const base::Callback>(less)};
  map::tree_add(tree, own, stands_before, &comparison);
  return 0;
}

u64 tree_remove(void* run, u64 root, u64 node, u64, u64, u64) noexcept {
  return map::tree_remove(at<map::TreeRoot>(root), at<map::TreeNode>(node)) ? lend(run, pointer(node)) : 0;
}
u64 tree_first(void* run, u64 root, u64, u64, u64, u64) noexcept {
  return lend(run, map::tree_first(at<map::TreeRoot>(root)));
}
u64 tree_top(void* run, u64 root, u64, u64, u64, u64) noexcept { return lend(run, at<map::TreeRoot>(root).top); }
/// Of a node that is in another tree by now: nothing.
u64 tree_child(void* run, u64 root, map::TreeNode& node, map::TreeNode* map::TreeNode::* child) noexcept {
  return node.owner.load(std::memory_order_acquire) == pointer(root) ? lend(run, node.*child) : 0;
}
u64 tree_left(void* run, u64 root, u64 node, u64, u64, u64) noexcept {
  return tree_child(run, root, at<map::TreeNode>(node), &map::TreeNode::left);
}
u64 tree_right(void* run, u64 root, u64 node, u64, u64, u64) noexcept {
  return tree_child(run, root, at<map::TreeNode>(node), &map::TreeNode::right);
}

constexpr KfuncRow rows[] = {
    {"bpf_obj_new_impl", make},
    {"bpf_obj_drop_impl", drop},
    {"bpf_percpu_obj_new_impl", make_percpu},
    {"bpf_percpu_obj_drop_impl", drop},
    {"bpf_refcount_acquire_impl", acquire},
    {"bpf_list_push_front_impl", push_front},
    {"bpf_list_push_back_impl", push_back},
    {"bpf_list_pop_front", pop_front},
    {"bpf_list_pop_back", pop_back},
    {"bpf_list_front", front},
    {"bpf_list_back", back},
    {"bpf_rbtree_add_impl", tree_add},
    {"bpf_rbtree_remove", tree_remove},
    {"bpf_rbtree_first", tree_first},
    {"bpf_rbtree_root", tree_top},
    {"bpf_rbtree_left", tree_left},
    {"bpf_rbtree_right", tree_right},
};

}  // namespace

std::span<const KfuncRow> object_kfuncs() noexcept { return rows; }

/// Of variables of the kernel's there are none here, so it is an object of the program's.
static void* per_cpu_ptr(Call& call, const void* object, u32 cpu) noexcept {
  void* const part = map::object_copy(const_cast<void*>(object), cpu);
  if (part != nullptr) call.lend(part, map::object_bytes(part), true);
  return part;
}
SKEP_BIND(per_cpu_ptr)

static void* this_cpu_ptr(Call& call, const void* object) noexcept {
  return per_cpu_ptr(call, object, map::current_cpu());
}
SKEP_BIND(this_cpu_ptr)

static void* kptr_xchg(Call& call, void* field, void* object) noexcept {
  void* const before = pointer(map::word_at(field, 0).exchange(word(object), std::memory_order_acq_rel));
  lend(static_cast<base::Run*>(&call), before);
  return before;
}
SKEP_BIND(kptr_xchg)

}  // namespace skep::helper
