// Fields of values and of a program's own objects that only helpers touch: where they are, what they hold.
//
// A value is bytes, and among them may be timers, owned pointers, list heads and trees. Whoever overwrites or removes a
// value leaves these bytes alone and lets go of what they hold; whoever copies one out reads them as zero. That is all
// a map must know of them. The layouts are ours (the program never looks inside), and zero bytes are a field at rest,
// so new memory needs no set-up. Source: Linux 6.18, include/linux/bpf.h (bpf_obj_memcpy, bpf_obj_memzero),
// kernel/bpf/syscall.c (bpf_obj_free_fields).
#pragma once
#include <memory>
#include <skep/types.hpp>
#include <span>
#include <vector>

namespace skep::map {

class Timers;

struct Field {
  enum class What : u8 {
    plain,      ///< nothing is let go of: locks, nodes, reference counts, pointers that may be stale
    pointer,    ///< an owned pointer to an object (object_pool.hpp)
    timer,      ///< of Timers
    work,       ///< the same, run at once
    list_head,  ///< objects in a list (graph.hpp)
    tree_root,  ///< objects in a tree
  };
  What what = What::plain;
  u32 offset = 0;
  u32 size = 0;
  u32 node_offset = 0;  ///< list_head, tree_root: where the node is in the object
};

/// Immutable; shared by a map and everything that runs on its behalf.
class Fields {
 public:
  /// `size`: of the value. `lock`: offset of its bpf_spin_lock, or -1. Fields lie inside of the value.
  /// `timers` may be null where there is neither timer nor work.
  Fields(std::vector<Field> fields, u32 size, s32 lock, std::shared_ptr<Timers> timers);

  /// Writes the value at `to` (8-byte aligned, padded) except for its fields.
  void store(void* to, const void* from) const noexcept;
  /// Reads the value at `from` (8-byte aligned, padded); its fields as zero. `padded`: `to` has room for whole words.
  void load(void* to, const void* from, bool padded = false) const noexcept;
  /// Lets go of what the fields hold: objects lose their owner, timers end (one whose callback is running is not
  /// waited for). The fields are at rest afterwards. May run beside programs that use the value.
  void release(void* value) const noexcept;
  /// The same for timers and work alone.
  void release_timers(void* value) const noexcept;
  /// Whether release() has anything to do for such values.
  bool owns() const noexcept { return owns_; }
  bool has_timers() const noexcept { return has_timers_; }
  Timers* timers() const noexcept { return timers_.get(); }
  std::span<const Field> all() const noexcept { return fields_; }
  /// The offset of the value's field of that kind, or -1.
  s32 offset_of(Field::What what) const noexcept;

 private:
  std::vector<Field> fields_;
  u32 size_;
  s32 lock_;
  bool owns_ = false, has_timers_ = false;
  std::shared_ptr<Timers> timers_;
  std::vector<u8> plain_;  ///< by word of the value: a bit for each byte that is no field's
};

}  // namespace skep::map
