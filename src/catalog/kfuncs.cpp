// The table of kernel functions. See kfuncs.hpp.
#include "catalog/kfuncs.hpp"

#include <algorithm>

namespace skep::catalog {
namespace {

namespace names {  // what the rows are written with
inline constexpr KfuncArg hidden = KfuncArg::hidden, number = KfuncArg::number, constant = KfuncArg::constant,
                          anything = KfuncArg::anything, ctx = KfuncArg::ctx, map = KfuncArg::map,
                          read = KfuncArg::read, write = KfuncArg::write, buffer = KfuncArg::buffer,
                          size = KfuncArg::size, size_or_zero = KfuncArg::size_or_zero, string = KfuncArg::string,
                          dynptr = KfuncArg::dynptr, dynptr_or_null = KfuncArg::dynptr_or_null,
                          dynptr_new = KfuncArg::dynptr_new, iterator = KfuncArg::iterator, local = KfuncArg::local,
                          local_or_shared = KfuncArg::local_or_shared, local_type = KfuncArg::local_type,
                          local_percpu = KfuncArg::local_percpu, list_head = KfuncArg::list_head,
                          list_node = KfuncArg::list_node, rb_root = KfuncArg::rb_root, rb_node = KfuncArg::rb_node,
                          rb_node_linked = KfuncArg::rb_node_linked, less = KfuncArg::less,
                          workqueue = KfuncArg::workqueue, task_work = KfuncArg::task_work,
                          constant_string = KfuncArg::constant_string, deferred = KfuncArg::deferred,
                          irq_flag = KfuncArg::irq_flag, irq_flag_saved = KfuncArg::irq_flag_saved,
                          resilient_lock = KfuncArg::resilient_lock;
constexpr KfuncParameter object(std::string_view type) { return {KfuncArg::object, 0, type}; }
constexpr KfuncParameter fixed(u16 bytes) { return {KfuncArg::fixed, bytes}; }
constexpr KfuncParameter object_or_null(std::string_view type) { return {KfuncArg::object_or_null, 0, type}; }
}  // namespace names

constexpr KfuncParameter parameter(KfuncArg kind) { return {kind}; }
constexpr KfuncParameter parameter(KfuncParameter p) { return p; }

template <class... Args>
constexpr std::array<KfuncParameter, 5> parameters(Args... args) {
  static_assert(sizeof...(Args) <= 5);
  return {parameter(args)...};
}

constexpr auto make_rows() {
  using namespace kfunc_flags;
  using namespace programs;
  // What the kernel registers its sets for. Source: Linux 6.18, bpf_prog_type_to_kfunc_hook and the register calls.
  constexpr ProgramSet hooks = tracing | tracepoint | perf_event | lsm;
  constexpr ProgramSet generic = hooks | sched_cls | xdp | struct_ops | syscall | cgroup | cgroup_sockopt;
  constexpr ProgramSet masks = hooks | struct_ops | syscall;
#define SKEP_KFUNC(name, callers, flags, result, type, ...)                   \
  Kfunc{KfuncId::name, #name, callers, flags, KfuncResult::result, type, [] { \
          using namespace names;                                              \
          return parameters(__VA_ARGS__);                                     \
        }()},
  return std::to_array<Kfunc>({
#include "catalog/kfuncs.def"
  });
#undef SKEP_KFUNC
}
constexpr auto rows = make_rows();

}  // namespace

std::span<const Kfunc> kfuncs() noexcept { return rows; }

const Kfunc* kfunc_by_name(std::string_view name) noexcept {
  name = name.substr(0, name.find("___"));
  auto it = std::find_if(rows.begin(), rows.end(), [name](const Kfunc& k) { return k.name == name; });
  return it != rows.end() ? &*it : nullptr;
}

u32 iterator_slots(std::string_view family) noexcept {
  if (family == "num" || family == "kmem_cache" || family == "dmabuf" || family == "css_task" || family == "task_vma")
    return 1;
  if (family == "bits") return 2;
  if (family == "task" || family == "css") return 3;
  return 0;
}

std::string_view name_of(KfuncArg arg) noexcept {
  switch (arg) {
    case KfuncArg::none:
    case KfuncArg::hidden:
      return "nothing";
    case KfuncArg::number:
      return "a number";
    case KfuncArg::constant:
      return "a constant";
    case KfuncArg::anything:
      return "any initialised value";
    case KfuncArg::dynptr_or_null:
      return "a dynptr, or 0";
    case KfuncArg::ctx:
      return "the context";
    case KfuncArg::map:
      return "a map";
    case KfuncArg::read:
      return "a pointer to memory to read";
    case KfuncArg::write:
      return "a pointer to memory to fill";
    case KfuncArg::buffer:
      return "a pointer to a buffer, or 0";
    case KfuncArg::size:
    case KfuncArg::size_or_zero:
      return "the size of the memory before it, or 0";
    case KfuncArg::fixed:
      return "a pointer to memory";
    case KfuncArg::string:
      return "a string";
    case KfuncArg::constant_string:
      return "a constant string";
    case KfuncArg::dynptr:
      return "an initialised dynptr";
    case KfuncArg::dynptr_new:
      return "a pointer to a struct bpf_dynptr on the stack";
    case KfuncArg::iterator:
      return "a pointer to the iterator on the stack";
    case KfuncArg::object:
      return "a trusted pointer to a kernel object";
    case KfuncArg::object_or_null:
      return "a trusted pointer to a kernel object, or 0";
    case KfuncArg::local:
      return "an owned object from bpf_obj_new()";
    case KfuncArg::local_percpu:
      return "an owned object from bpf_percpu_obj_new()";
    case KfuncArg::local_or_shared:
      return "an object from bpf_obj_new() with a bpf_refcount";
    case KfuncArg::local_type:
      return "the constant id of a structure of the program";
    case KfuncArg::list_head:
      return "a pointer to a bpf_list_head, locked";
    case KfuncArg::list_node:
      return "a pointer to the bpf_list_node of an owned object";
    case KfuncArg::rb_root:
      return "a pointer to a bpf_rb_root, locked";
    case KfuncArg::rb_node:
      return "a pointer to the bpf_rb_node of an owned object";
    case KfuncArg::rb_node_linked:
      return "a pointer to the bpf_rb_node of an object in the tree";
    case KfuncArg::less:
    case KfuncArg::deferred:
      return "a static function";
    case KfuncArg::workqueue:
      return "a pointer to the bpf_wq of a map value";
    case KfuncArg::task_work:
      return "a pointer to the bpf_task_work of a map value";
    case KfuncArg::irq_flag:
      return "a pointer to 8 bytes of stack";
    case KfuncArg::irq_flag_saved:
      return "a pointer to saved interrupt flags";
    case KfuncArg::resilient_lock:
      return "a pointer to the bpf_res_spin_lock of a map value or an object";
  }
  return "?";
}

}  // namespace skep::catalog
