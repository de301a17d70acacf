// Loads and stores through pointers to structures: a program's own objects, and what a kernel's types say.
//
// A program's own object (bpf_obj_new) is plain memory but for its special fields. A kernel's object is read field by
// field: a number, or a pointer to another structure, which may be believed less than the one it was read from.
// Source: Linux 6.18, btf_struct_walk and check_ptr_to_btf_access.
#include "btf/btf.hpp"
#include "verify/checker.hpp"

namespace skep::verify {

using catalog::MessageId;

namespace {
/// What lies at `at` in a structure: a pointer to a structure (its type), or plain bytes.
struct Found {
  bool inside = false, pointer = false;
  u32 target = 0;
};

Found walk(const btf::Btf& types, u32 id, u64 at, u32 size, u32 depth = 0) {
  constexpr u32 max_depth = 16;
  if (depth > max_depth || id >= types.type_count()) return {};
  btf::Type type = types.type(types.resolve(id));
  if (type.kind == btf::Kind::array) {
    auto array = types.array(type);
    auto element = types.size_of(array.element_id);
    if (!element || *element == 0 || at + size > *element * array.count) return {};
    return walk(types, array.element_id, at % *element, size, depth + 1);
  }
  if (btf::is_composite(type.kind)) {
    if (at + size > type.size()) return {};
    Found best{true, false, 0};
    for (const btf::Member& m : types.members(type)) {
      auto bytes = types.size_of(m.type_id);
      if (!bytes || m.bit_size != 0 || at < m.bit_offset / 8 || at + size > m.bit_offset / 8 + *bytes) continue;
      Found found = walk(types, m.type_id, at - m.bit_offset / 8, size, depth + 1);
      if (found.pointer && type.kind == btf::Kind::struct_) return found;
      if (type.kind == btf::Kind::struct_) best = found;
    }
    return best;
  }
  auto bytes = types.size_of(id);
  if (!bytes || at + size > *bytes) return {};
  if (type.kind != btf::Kind::ptr || at != 0 || size != 8) return {true, false, 0};
  u32 target = types.resolve(type.type_id());
  bool leads_on = target != 0 && btf::is_composite(types.type(target).kind);
  return {true, leads_on, target};
}
}  // namespace

bool Checker::check_object(u32 index, s32 off, u32 size, Access access, Register* result) {
  const Register r = reg(index);
  const ObjectType type = types_[r.object];
  const std::string what = fmt::format("struct {}", type.name);
  const bool own = r.trust == Trust::owned || r.trust == Trust::shared;
  if (type.types == nullptr || type.id == 0 || (!own && !is_kernel()))
    return refuse_for(static_cast<s32>(index), MessageId::unsupported_access, name(r));
  auto bytes = type.types->size_of(type.id);
  if (!r.number.is_const()) return refuse_for(static_cast<s32>(index), MessageId::context_offset_varies, name(r));
  if (!check_region(r, index, off, size, bytes.value_or(0), what, false)) return false;
  s64 low = s64{r.off} + off + r.number.wide.smin, end = s64{r.off} + off + static_cast<s64>(r.number.wide.umax) + size;
  if (own) {
    for (const SpecialField& f : type.fields) {
      if (low >= s64{f.offset} + f.size || f.offset >= end) continue;
      if (f.what == SpecialField::What::kptr && access == Access::read && r.is_fixed() && low == f.offset && size == 8)
        return load_kptr(f, result);
      return refuse_for(static_cast<s32>(index), MessageId::object_field_touched, f.type_name, f.offset, what, low,
                        end);
    }
    return true;
  }
  if (access != Access::read) return refuse_for(static_cast<s32>(index), MessageId::memory_not_writable, name(r));
  Found found = walk(*type.types, type.id, static_cast<u64>(low), size);
  if (!found.inside || result == nullptr) return true;
  if (found.pointer) {
    Register next = Register::pointer(Kind::object);
    next.object = type_index(type.types, found.target, type.types->type(found.target).name);
    next.trust = r.trust == Trust::untrusted ? Trust::untrusted : Trust::plain;
    *result = next;
  }
  return true;
}

/// A pointer to an object, read from where another program may take it away: valid inside an RCU section at most.
bool Checker::load_kptr(const SpecialField& field, Register* result) {
  Register r = Register::pointer(Kind::object);
  if (field.target == 0 || object_.btf == nullptr)
    return refuse(MessageId::unsupported_access, fmt::format("pointer of type {}", field.type_name));
  std::string_view type = object_.btf->type(field.target).name;
  r.object = is_kernel_type(type) ? kernel_type_index(type) : local_type_index(field.target);
  bool rcu_type = type == "task_struct" || type == "cgroup" || type == "bpf_cpumask" || !is_kernel_type(type);
  r.trust = state_.rcu && rcu_type && field.what == SpecialField::What::kptr ? Trust::rcu : Trust::untrusted;
  r.or_null = true;
  r.id = new_id();
  if (result != nullptr) *result = r;
  return true;
}

/// Whether a structure of this name is the kernel's rather than the program's own.
bool Checker::is_kernel_type(std::string_view type_name) const {
  if (options_.kernel_types != nullptr) return options_.kernel_types->find(type_name, btf::Kind::struct_).has_value();
  for (const catalog::Kfunc& k : catalog::kfuncs())
    if (k.result == catalog::KfuncResult::object && k.type == type_name) return true;
  return false;
}

}  // namespace skep::verify
