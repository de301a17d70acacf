// Loads and stores through pointers to structures: a program's own objects, and what a kernel's types say.
//
// A program's own object (bpf_obj_new) is plain memory but for its special fields. A kernel's object is read field by
// field: a number, or a pointer to another structure, which may be believed less than the one it was read from.
// Source: Linux 6.18, btf_struct_walk and check_ptr_to_btf_access.
#include <algorithm>

#include "btf/btf.hpp"
#include "catalog/map_rules.hpp"
#include "verify/checker.hpp"

namespace skep::verify {

using catalog::MessageId;

namespace {
/// What lies at one place of a structure.
struct Found {
  enum class What : u8 { nothing, bytes, pointer, pointer_to_bytes };
  What what = What::nothing;
  u32 target = 0;           ///< pointer: the structure
  Trust tag = Trust::none;  ///< pointer: user, percpu, or rcu, as its type is tagged
  bool in_union = false;    ///< what it is depends on another field
  std::string_view field;
};

/// Follows the types from structure `id` to the field that holds the bytes [at, at + size).
Found find_field(const btf::Btf& types, u32 id, u64 at, u64 size) {
  constexpr u32 max_depth = 32;
  Found found;
  for (u32 depth = 0; depth < max_depth; depth++) {
    btf::Type type = types.type(types.resolve(id));
    if (!btf::is_composite(type.kind)) return {};
    if (type.kind == btf::Kind::union_ && type.vlen != 1) found.in_union = true;
    const bool beyond = at + size > type.size();
    bool inside = false;
    for (u32 m = 0; m < type.vlen && !inside; m++) {
      btf::Member member = types.member(type, m);
      const u64 start = member.bit_offset / 8;
      if (beyond && m + 1 != type.vlen) continue;
      if (member.bit_size != 0) {  // read as the bytes around it
        u64 end = (u64{member.bit_offset} + member.bit_size + 7) / 8;
        if (at < start || at >= end) continue;
        if (at + size > end + 7) return {};
        found.what = Found::What::bytes;
        return found;
      }
      btf::Type inner = types.type(types.resolve(member.type_id));
      u64 bytes = types.size_of(member.type_id).value_or(0);
      u64 offset = at - start;
      u32 inner_id = member.type_id;
      if (beyond) {  // an array without a size, at the end
        if (inner.kind != btf::Kind::array || types.array(inner).count != 0 || at < start) return {};
        inner_id = types.array(inner).element_id;
        bytes = types.size_of(inner_id).value_or(0);
        if (bytes == 0) return {};
        offset %= bytes;
        inner = types.type(types.resolve(inner_id));
      } else if (at < start || at >= start + bytes) {
        continue;
      }
      while (inner.kind == btf::Kind::array) {
        inner_id = types.array(inner).element_id;
        u64 element = types.size_of(inner_id).value_or(0);
        if (element == 0) return {};
        inner = types.type(types.resolve(inner_id));
        if (inner.kind != btf::Kind::array && (btf::is_composite(inner.kind) || inner.kind == btf::Kind::ptr)) {
          if (size > element) return offset + size <= bytes ? Found{Found::What::bytes, 0, {}, false, {}} : Found{};
          offset %= element, bytes = element;
        }
      }
      found.field = member.name;
      if (btf::is_composite(inner.kind)) {  // also where it is read whole: its members say what the bytes are
        id = inner_id, at = offset, inside = true;
        continue;
      }
      if (offset + size > bytes) return {};
      found.what = Found::What::bytes;
      if (inner.kind != btf::Kind::ptr) return found;
      if (offset != 0 || size != 8) return {};
      u32 to = inner.type_id();
      for (u32 k = 0; k < max_depth; k++) {
        btf::Type t = types.type(to);
        if (t.kind == btf::Kind::type_tag)
          found.tag = t.name == "user"     ? Trust::user
                      : t.name == "percpu" ? Trust::percpu
                      : t.name == "rcu"    ? Trust::rcu
                                           : found.tag;
        else if (t.kind != btf::Kind::const_ && t.kind != btf::Kind::volatile_ && t.kind != btf::Kind::typedef_)
          break;
        to = t.type_id();
      }
      to = types.resolve(to);
      if (to == 0 || !btf::is_composite(types.type(to).kind)) {
        found.what = Found::What::pointer_to_bytes;
        return found;
      }
      found.what = Found::What::pointer;
      found.target = to;
      return found;
    }
    if (!inside) return {};
  }
  return {};
}

/// Fields that stay as good as the object they were read from.
struct SafeField {
  std::string_view type, field;
  Trust trust;
  bool or_null;
};
constexpr SafeField safe_fields[] = {
    {"task_struct", "cpus_ptr", Trust::rcu, false},
    {"task_struct", "cgroups", Trust::rcu, false},
    {"task_struct", "real_parent", Trust::rcu, false},
    {"task_struct", "group_leader", Trust::rcu, false},
    {"cgroup", "kn", Trust::rcu, false},
    {"css_set", "dfl_cgrp", Trust::rcu, false},
    {"cgroup_subsys_state", "cgroup", Trust::rcu, false},
    {"mm_struct", "exe_file", Trust::rcu, true},
    {"sk_buff", "sk", Trust::rcu, true},
    {"request_sock", "sk", Trust::rcu, true},
    {"bpf_iter_meta", "seq", Trust::trusted, false},
    {"bpf_iter__task", "meta", Trust::trusted, false},
    {"bpf_iter__task", "task", Trust::trusted, false},
    {"linux_binprm", "file", Trust::trusted, false},
    {"file", "f_inode", Trust::trusted, false},
    {"socket", "sk", Trust::trusted, true},
    {"dentry", "d_inode", Trust::trusted, true},
    {"vm_area_struct", "vm_mm", Trust::trusted, true},
    {"vm_area_struct", "vm_file", Trust::trusted, true},
};

/// Fields of the kernel's objects that programs of operations may write; without operations: programs on packets.
struct WritableField {
  std::string_view operations, type, field;
};
constexpr WritableField writable_fields[] = {
    {"tcp_congestion_ops", "sock", "sk_pacing_rate"},
    {"tcp_congestion_ops", "sock", "sk_pacing_status"},
    {"tcp_congestion_ops", "inet_connection_sock", "icsk_ca_priv"},
    {"tcp_congestion_ops", "inet_connection_sock", "icsk_ack"},
    {"tcp_congestion_ops", "tcp_sock", "snd_cwnd"},
    {"tcp_congestion_ops", "tcp_sock", "snd_cwnd_cnt"},
    {"tcp_congestion_ops", "tcp_sock", "snd_cwnd_stamp"},
    {"tcp_congestion_ops", "tcp_sock", "snd_ssthresh"},
    {"tcp_congestion_ops", "tcp_sock", "ecn_flags"},
    {"tcp_congestion_ops", "tcp_sock", "app_limited"},
    {"sched_ext_ops", "sched_ext_entity", "slice"},
    {"sched_ext_ops", "sched_ext_entity", "dsq_vtime"},
    {"sched_ext_ops", "sched_ext_entity", "disallow"},
    {"bpf_dummy_ops", "bpf_dummy_ops_state", "val"},
    {"", "nf_conn", "mark"},
};
}  // namespace

bool Checker::check_object(u32 index, s32 off, u32 size, Access access, Register* result) {
  const Register r = reg(index);
  const ObjectType type = types_[r.object];
  const std::string what = fmt::format("struct {}", type.name);
  const bool own = r.trust == Trust::owned || r.trust == Trust::shared || r.trust == Trust::cpu_part;
  if (r.trust == Trust::owned_percpu || r.trust == Trust::shared_percpu)
    return refuse_for(static_cast<s32>(index), MessageId::object_elsewhere, what, "each CPU",
                      "bpf_per_cpu_ptr() or bpf_this_cpu_ptr()");
  if (r.trust == Trust::over) return refuse_for(static_cast<s32>(index), MessageId::section_over, index, name(r));
  // What is read of the program's own objects in the user engine is owned; only the engine's lie in its window.
  const bool is_local = type.types == object_.btf.get();
  if (type.types == nullptr || type.id == 0 || (!own && is_local && !is_kernel()))
    return refuse_for(static_cast<s32>(index), MessageId::unsupported_access, name(r));
  auto bytes = type.types->size_of(type.id);
  if (!r.number.is_const()) return refuse_for(static_cast<s32>(index), MessageId::context_offset_varies, name(r));
  s64 low = s64{r.off} + off + r.number.wide.smin, end = s64{r.off} + off + static_cast<s64>(r.number.wide.umax) + size;
  if (own) {
    if (!check_region(r, index, off, size, bytes.value_or(0), what, false)) return false;
    for (const SpecialField& f : type.fields) {
      if (low >= s64{f.offset} + f.size || f.offset >= end) continue;
      if (f.what == SpecialField::What::kptr && access == Access::read && r.is_fixed() && low == f.offset && size == 8)
        return load_kptr(f, result);
      return refuse_for(static_cast<s32>(index), MessageId::object_field_touched, f.type_name, f.offset, what, low,
                        end);
    }
    return true;
  }
  if (is_kernel() && type.types == options_.kernel_types.get() && !catalog::is_gpl_compatible(object_.license))
    return refuse_for(static_cast<s32>(index), MessageId::kernel_type_needs_gpl, type.name, object_.license);
  if (low < 0) return refuse_for(static_cast<s32>(index), MessageId::below_region, what, size, low, name(r));
  if (r.trust == Trust::user || r.trust == Trust::percpu)
    return refuse_for(static_cast<s32>(index), MessageId::object_elsewhere, what,
                      r.trust == Trust::user ? "a process" : "each CPU",
                      r.trust == Trust::user ? "bpf_probe_read_user()" : "bpf_per_cpu_ptr() or bpf_this_cpu_ptr()");
  if (access != Access::read) {
    if (may_write_kernel_object(r, low, end)) return true;
    return refuse_for(static_cast<s32>(index), MessageId::memory_not_writable, name(r));
  }
  if (!is_kernel()) note_object_read(type, static_cast<u64>(low), size);
  return read_kernel_object(index, low, size, r, result);
}

/// The engine's own objects lie in a window of memory: a load through a stale or null pointer gives zeroes there, as
/// the kernel gives them for a fault.
void Checker::note_object_read(const ObjectType& type, u64 offset, u32 size) {
  window_access_[insn_] = true;
  const ObjectRead read{type.name, static_cast<u32>(offset), size};
  if (std::ranges::find(object_reads_, read) == object_reads_.end()) object_reads_.push_back(read);
}

/// The map itself, as the kernel's structure of its type: may be read.
bool Checker::check_map_pointer(u32 index, s32 off, u32 size, Access access, Register* result) {
  Register map = reg(index);
  const std::string_view type = catalog::kernel_struct_of(maps_[map.object].spec->type);
  if (access != Access::read || type.empty() || !map.is_fixed() || s64{map.off} + off < 0)
    return refuse_for(static_cast<s32>(index), MessageId::not_memory, index, name(map));
  map.kind = Kind::object;
  map.object = kernel_type_index(type);
  map.trust = Trust::plain;
  return read_kernel_object(index, s64{map.off} + off, size, map, result);
}

/// A field of a kernel's object: a number, or a pointer that may be believed less than the one it was read through.
bool Checker::read_kernel_object(u32 index, s64 at, u32 size, const Register& r, Register* result) {
  const ObjectType type = types_[r.object];
  Found found = find_field(*type.types, type.id, static_cast<u64>(at), size);
  if (found.what == Found::What::nothing)
    return refuse_for(static_cast<s32>(index), MessageId::no_such_field, size, at, fmt::format("struct {}", type.name),
                      type.types->size_of(type.id).value_or(0));
  if (found.what == Found::What::pointer_to_bytes && is_kernel() && result != nullptr) *result = untrusted_memory();
  if (found.what != Found::What::pointer || result == nullptr) return true;
  Register next = Register::pointer(Kind::object);
  next.object = type_index(type.types, found.target, type.types->type(found.target).name);
  next.trust = found.in_union ? Trust::untrusted : Trust::plain;
  bool held = r.trust == Trust::trusted || r.trust == Trust::rcu;
  if (r.trust == Trust::untrusted) {
    next.trust = Trust::untrusted;
  } else if (held) {
    const SafeField* safe = nullptr;
    for (const SafeField& f : safe_fields)
      if (f.type == type.name && f.field == found.field) safe = &f;
    if (safe != nullptr && (safe->trust == Trust::trusted || in_rcu())) {
      next.trust = safe->trust;
      next.or_null = safe->or_null;
    } else if (!in_rcu()) {
      next.trust = Trust::untrusted;
    } else if (found.tag == Trust::rcu && !found.in_union) {
      next.trust = Trust::rcu;
      next.or_null = true;
    } else if (found.tag == Trust::user || found.tag == Trust::percpu) {
      next.trust = found.tag;
    }
  } else if (found.tag == Trust::user || found.tag == Trust::percpu) {
    next.trust = found.tag;
  }
  if (next.or_null) next.id = new_id();
  *result = next;
  return true;
}

/// What a congestion control or a scheduler may write; the kernel's code around it expects that.
bool Checker::may_write_kernel_object(const Register& r, s64 low, s64 end) const {
  const bool operates = typed_context_ && program_.type == ProgramType::struct_ops;
  const bool on_packets = catalog::contains(catalog::programs::tc | catalog::programs::xdp, program_.type);
  if ((!operates && !on_packets) || r.trust == Trust::untrusted) return false;
  const btf::Btf& types = *types_[r.object].types;
  for (const WritableField& w : writable_fields) {
    if (operates ? w.operations.empty() || typed_context_->name.find(w.operations) == std::string::npos
                 : !w.operations.empty())
      continue;
    // The structure may be the first member of the one at hand, and of that.
    u32 id = types_[r.object].id;
    u64 base = 0;
    for (u32 depth = 0; depth < 8; depth++) {
      btf::Type t = types.type(types.resolve(id));
      if (!btf::is_composite(t.kind) || t.vlen == 0) break;
      if (t.name == w.type)
        for (const btf::Member& m : types.members(t))
          if (m.name == w.field) {
            u64 first = base + m.bit_offset / 8;
            u64 bytes =
                m.bit_size != 0 ? (m.bit_offset % 8 + m.bit_size + 7) / 8 : types.size_of(m.type_id).value_or(0);
            if (static_cast<u64>(low) >= first && static_cast<u64>(end) <= first + bytes) return true;
          }
      u32 next = 0;  // the member that holds these bytes
      for (const btf::Member& m : types.members(t)) {
        u64 first = base + m.bit_offset / 8;
        u64 bytes = types.size_of(m.type_id).value_or(0);
        if (m.bit_size == 0 && static_cast<u64>(low) >= first && static_cast<u64>(low) < first + bytes)
          next = m.type_id, base = first;
      }
      if (next == 0) break;
      id = next;
    }
  }
  return false;
}

/// A pointer to an object, read from where another program may take it away: valid inside an RCU section at most.
bool Checker::load_kptr(const SpecialField& field, Register* result) {
  Register r = Register::pointer(Kind::object);
  if (field.target == 0 || object_.btf == nullptr)
    return refuse(MessageId::unsupported_access, fmt::format("pointer of type {}", field.type_name));
  std::string_view type = object_.btf->type(field.target).name;
  if (field.what == SpecialField::What::uptr) {
    r = Register::pointer(Kind::memory);
    r.extent = static_cast<u32>(object_.btf->size_of(field.target).value_or(0));
    r.or_null = true;
    r.id = new_id();
    if (result != nullptr) *result = r;
    return true;
  }
  r.object = is_kernel_type(type) ? kernel_type_index(type) : local_type_index(field.target);
  bool rcu_type = type == "task_struct" || type == "cgroup" || type == "bpf_cpumask" || type == "bpf_crypto_ctx" ||
                  !is_kernel_type(type);
  const bool stays = in_rcu() && rcu_type;
  r.trust = stays && field.what == SpecialField::What::kptr          ? Trust::rcu
            : stays && field.what == SpecialField::What::kptr_percpu ? Trust::shared_percpu
                                                                     : Trust::untrusted;
  r.or_null = true;
  r.id = new_id();
  if (result != nullptr) *result = r;
  return true;
}

/// Whether a structure of this name is the kernel's rather than the program's own.
bool Checker::is_kernel_type(std::string_view type_name) const {
  const bool known =
      options_.kernel_types != nullptr && options_.kernel_types->find(type_name, btf::Kind::struct_).has_value();
  // Our engine has few of the kernel's structures; objects that kernel functions make are known by those.
  if (known || (options_.kernel_types != nullptr && is_kernel())) return known;
  for (const catalog::Kfunc& k : catalog::kfuncs())
    if (k.result == catalog::KfuncResult::object && k.type == type_name) return true;
  return false;
}

}  // namespace skep::verify
