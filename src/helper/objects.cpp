// Pools and fields of a loaded object. See objects.hpp.
#include "helper/objects.hpp"

#include <cerrno>
#include <string>

#include "btf/btf.hpp"
#include "helper/cpumask.hpp"
#include "map/fields.hpp"
#include "map/graph.hpp"
#include "spec/special_fields.hpp"

namespace skep::helper {

namespace {

using spec::SpecialField;
using Special = SpecialField::What;
using What = map::Field::What;

What kind_of(Special what) noexcept {
  switch (what) {
    case Special::timer:
      return What::timer;
    case Special::workqueue:
      return What::work;
    case Special::kptr:
    case Special::kptr_percpu:
      return What::pointer;
    case Special::list_head:
      return What::list_head;
    case Special::rb_root:
      return What::tree_root;
    case Special::spin_lock:
    case Special::resilient_lock:
    case Special::kptr_untrusted:
    case Special::uptr:  // programs of this engine may not read it
    case Special::list_node:
    case Special::rb_node:
    case Special::refcount:
    case Special::task_work:
    case Special::other:
      return What::plain;
  }
  return What::plain;
}

/// The size that our layout of a field takes; 0: any.
u32 layout_bytes(Special what) noexcept {
  switch (what) {
    case Special::timer:
    case Special::workqueue:
    case Special::list_head:
    case Special::rb_root:
      return 16;
    case Special::kptr:
    case Special::kptr_percpu:
    case Special::kptr_untrusted:
    case Special::uptr:
      return 8;
    case Special::list_node:
      return sizeof(map::ListNode);
    case Special::rb_node:
      return sizeof(map::TreeNode);
    case Special::spin_lock:
    case Special::resilient_lock:
    case Special::refcount:
      return 4;
    case Special::task_work:
    case Special::other:
      return 0;
  }
  return 0;
}

/// The types come from a file: a field that is too small, misplaced or two things at once would be memory that helpers
/// overwrite. Fields are in order of offset; `end`: of the one before.
Result<void> check_place(const SpecialField& field, u32 size, u32 end) {
  const u32 bytes = layout_bytes(field.what), alignment = bytes >= 8 ? 8 : bytes != 0 ? 4 : 1;
  const bool is_inside = field.size <= size && field.offset <= size - field.size && field.offset >= end;
  if (is_inside && (bytes == 0 || field.size == bytes) && field.offset % alignment == 0) return {};
  return fail(Code::malformed,
              "a " + std::string(field.type_name) + " of " + std::to_string(field.size) + " bytes at offset " +
                  std::to_string(field.offset) + ": expected " + std::to_string(bytes) + " bytes, aligned to " +
                  std::to_string(alignment) + ", apart from others, inside of the " + std::to_string(size) +
                  " bytes of the value",
              EINVAL);
}

/// A timer's callback belongs to no task.
void run_callback(const base::Callback& callback, Map& map, void* key, void* value, TraceSink* trace) noexcept {
  Call call;
  call.trace = trace;
  call.lent = key;
  call.lent_bytes = map.spec().key_size;
  const auto word = [](const void* pointer) { return reinterpret_cast<u64>(pointer); };
  callback(static_cast<base::Run*>(&call), word(&map), word(key), word(value), 0, 0);
}

}  // namespace

ObjectTypes::ObjectTypes(std::shared_ptr<const btf::Btf> types, std::shared_ptr<TraceSink> trace)
    : types_(std::move(types)), trace_(std::move(trace)) {}

Result<std::shared_ptr<const map::Fields>> ObjectTypes::fields_of(u32 type, u32 size) {
  std::vector<map::Field> fields;
  s32 lock = -1;
  bool has_timers = false;
  u32 end = 0;
  for (const SpecialField& special : spec::special_fields(*types_, type, size)) {
    SKEP_TRY(check_place(special, size, end));
    end = special.offset + special.size;
    const What what = kind_of(special.what);
    fields.push_back({what, special.offset, special.size, special.node_offset});
    if (special.what == Special::spin_lock || special.what == Special::resilient_lock) {
      if (lock >= 0)
        return fail(Code::malformed,
                    "a value has two locks, at offset " + std::to_string(lock) + " and " +
                        std::to_string(special.offset) + ": one is possible",
                    EINVAL);
      lock = static_cast<s32>(special.offset);
    }
    has_timers = has_timers || what == What::timer || what == What::work;
  }
  if (fields.empty()) return nullptr;
  if (has_timers && !timers_)
    timers_ = SKEP_TRY(
        map::Timers::create([trace = trace_](const base::Callback& callback, Map& map, void* key, void* value) {
          run_callback(callback, map, key, value, trace.get());
        }));
  return std::make_shared<const map::Fields>(std::move(fields), size, lock, has_timers ? timers_ : nullptr);
}

Result<void> ObjectTypes::describe(Map& map) {
  if (const MapSpec* inner = map.spec().inner.get(); types_ && inner != nullptr && inner->btf_value_type_id != 0) {
    const auto fields = SKEP_TRY(fields_of(inner->btf_value_type_id, inner->value_size));
    if (fields && fields->owns())
      return fail(Code::unsupported,
                  "values of maps inside of maps have no timers, owned pointers, lists or trees in the user engine");
  }
  const u32 type = map.spec().btf_value_type_id;
  if (!types_ || type == 0 || type >= types_->type_count()) return {};
  auto fields = SKEP_TRY(fields_of(type, map.spec().value_size));
  if (!fields) return {};
  return map.set_fields(std::move(fields));
}

/// nullptr: the kernel makes no object of this size, so none is made.
Result<map::ObjectPool*> ObjectTypes::pool_of(u32 type, u32 copies) {
  auto& pool = pools_[{type, copies}];
  if (pool) return pool.get();
  map::ObjectShape shape{.size = cpumask_bytes(), .fields = nullptr, .copies = copies};
  if (type != 0) {
    shape.size = types_->type(type).size();
    if (shape.size > map::largest_object) return nullptr;
    shape.fields = SKEP_TRY(fields_of(type, shape.size));
  }
  pool = SKEP_TRY(map::make_object_pool(shape));
  return pool.get();
}

Result<base::HiddenArgument> ObjectTypes::hidden(std::string_view kfunc, u32 local_type) {
  if (kfunc.starts_with("bpf_cpumask_create"))
    return base::HiddenArgument{1, reinterpret_cast<u64>(SKEP_TRY(pool_of(0)))};
  const bool is_percpu = kfunc.starts_with("bpf_percpu_obj_new_impl");
  if (!is_percpu && !kfunc.starts_with("bpf_obj_new_impl")) return base::HiddenArgument{};
  const bool is_known =
      types_ && local_type != 0 && local_type < types_->type_count();  // else the call is never reached
  if (!is_known) return base::HiddenArgument{2, 0};
  return base::HiddenArgument{
      2, reinterpret_cast<u64>(SKEP_TRY(pool_of(local_type, is_percpu ? map::possible_cpus() : 1)))};
}

u64 ObjectTypes::live_objects() const noexcept {
  u64 count = 0;
  for (const auto& [key, pool] : pools_)
    if (pool) count += map::object_count(*pool);
  return count;
}

}  // namespace skep::helper
