// Fields of map values and of a program's own objects that only their helpers may touch.
//
// A bpf_spin_lock, a bpf_timer, a list head or a pointer to a kernel object looks like plain bytes, and a program
// that wrote them would break the engine. The types say where they are; whatever a search cannot follow to its end
// (too many, too deeply nested) protects all of the value.
// Source: Linux 6.18, btf_parse_fields.
#pragma once
#include <skep/types.hpp>
#include <string_view>
#include <vector>

namespace skep::btf {
class Btf;
}

namespace skep::spec {

struct SpecialField {
  enum class What : u8 {
    spin_lock,
    resilient_lock,
    timer,
    workqueue,
    task_work,
    kptr,            ///< an owned pointer to an object: exchanged, not written
    kptr_untrusted,  ///< a pointer that may be stale: written and read as one
    kptr_percpu,
    uptr,  ///< memory of the process that a task storage belongs to, which the kernel keeps in place
    list_head,
    list_node,
    rb_root,
    rb_node,
    refcount,
    other,  ///< protected, and no more is known of it
  };
  What what = What::other;
  std::string_view type_name;  ///< "bpf_spin_lock"
  u32 offset = 0;
  u32 size = 0;
  u32 target = 0;       ///< kptr: the structure pointed to; list_head, rb_root: the structure that is linked; 0 unknown
  u32 node_offset = 0;  ///< list_head, rb_root: where its node is in `target`
};

/// The special fields of a value of `type_id`, which has `size` bytes, in order of offset.
std::vector<SpecialField> special_fields(const btf::Btf& types, u32 type_id, u32 size);

/// The first of that kind, or nullptr.
inline const SpecialField* field_of(const std::vector<SpecialField>& fields, SpecialField::What what) {
  for (const SpecialField& f : fields)
    if (f.what == what) return &f;
  return nullptr;
}

}  // namespace skep::spec
