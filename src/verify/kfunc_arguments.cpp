// Arguments of kernel functions, one kind at a time, and what passing them changes.
#include <algorithm>

#include "btf/btf.hpp"
#include "verify/kfunc.hpp"

namespace skep::verify {

using catalog::KfuncArg;
using catalog::KfuncId;
using catalog::MessageId;
namespace flag = catalog::kfunc_flags;

namespace {
constexpr u64 max_size = 1 << 29;
constexpr u32 dynptr_slots = 2;
constexpr u32 irq_flag_slots = 1;

bool is_trusted(const Register& r, const State& state, bool rcu_is_enough, bool plain_is_enough) {
  if (r.trust == Trust::trusted) return true;
  if (r.trust == Trust::rcu) return rcu_is_enough;
  // Borrowed from a reference that the program holds (bpf_skc_to_tcp_sock() of one it looked up): as alive as that.
  if (r.trust == Trust::plain && r.ref_id != 0)
    for (const Acquired& a : state.acquired)
      if (a.id == r.ref_id) return true;
  return plain_is_enough && r.trust == Trust::plain;
}
}  // namespace

bool Checker::check_kfunc_argument(KfuncCall& call, u32 index) {
  const catalog::KfuncParameter& wanted = call.row->args[index];
  u32 r = index + 1;
  if (wanted.kind == KfuncArg::hidden) return true;
  // Linux takes any number or address, and finds out when it runs: "__ign", reads that may fail.
  if (wanted.kind == KfuncArg::string && is_kernel()) return true;
  if (!readable(r)) return false;
  const Register value = reg(r);
  auto wrong = [&] {
    return refuse_for(static_cast<s32>(r), MessageId::wrong_argument, call.row->name, r, name_of(wanted.kind),
                      name(value));
  };
  switch (wanted.kind) {
    case KfuncArg::none:
    case KfuncArg::hidden:
    case KfuncArg::anything:
      return true;
    case KfuncArg::number:
      return value.is_scalar() ? true : wrong();
    case KfuncArg::constant:
    case KfuncArg::local_type:
      if (!value.is_const()) return refuse_for(static_cast<s32>(r), MessageId::size_not_constant, r, name(value));
      call.constant = value.number.value();
      if (wanted.kind == KfuncArg::local_type && !check_local_type(call, r)) return false;
      if (wanted.kind == KfuncArg::constant && !check_buffer(call, index)) return false;
      return need_precise(r);
    case KfuncArg::ctx:
      // Programs whose context is a function's arguments have the packet as one of them.
      if (typed_context_ && value.kind == Kind::object && value.trust == Trust::trusted && !value.or_null &&
          value.is_fixed() && is_object_of(value, "sk_buff", true))
        return true;
      if (value.kind != Kind::context || value.or_null) return wrong();
      if (!value.is_fixed() || value.off != 0)
        return refuse_for(static_cast<s32>(r), MessageId::context_pointer_moved, name(value));
      return true;
    case KfuncArg::map:
      // An iterator's own map: which one is known when it runs.
      if (is_kernel() && value.kind == Kind::object && !value.or_null && value.trust == Trust::trusted &&
          value.is_fixed() && is_object_of(value, "bpf_map", true))
        return true;
      if (value.kind != Kind::map || value.or_null) return wrong();
      call.map = value.object;
      if (call.work_map >= 0 && call.work_map != s64{value.object})
        return refuse_for(static_cast<s32>(r), MessageId::timer_of_other_map, name(value),
                          maps_[static_cast<u32>(call.work_map)].spec->name);
      if (call.row->result == catalog::KfuncResult::arena || call.row->name.starts_with("bpf_arena")) {
        if (maps_[value.object].spec->type != MapType::arena) return wrong();
        arena_map_ = static_cast<s32>(value.object);
      }
      return true;
    case KfuncArg::read:
    case KfuncArg::write:
    case KfuncArg::buffer:
      return true;  // checked with its size
    case KfuncArg::size:
    case KfuncArg::size_or_zero: {
      if (!value.is_scalar()) return wrong();
      if (value.number.wide.smin < 0)
        return refuse_for(static_cast<s32>(r), MessageId::size_may_be_negative, r, value.number.wide.smin);
      if (value.number.wide.umax >= max_size)
        return refuse_for(static_cast<s32>(r), MessageId::size_unbounded, r, value.number.wide.umax, max_size);
      if (value.is_zero() && reg(index).is_zero()) {  // nothing at null
        if (wanted.kind == KfuncArg::size)
          return refuse_for(static_cast<s32>(index), MessageId::not_memory, index, "null");
        return need_precise(r) && need_precise(index);
      }
      bool reads = call.row->args[index - 1].kind == KfuncArg::read;
      if (!check_memory_argument(index, static_cast<u32>(value.number.wide.umax),
                                 reads              ? Access::read
                                 : value.is_const() ? Access::fill
                                                    : Access::write,
                                 true, true))
        return false;
      return need_precise(r);
    }
    case KfuncArg::fixed:
      if (value.kind == Kind::object && value.trust == Trust::trusted && !value.or_null && value.is_fixed() &&
          value.off == 0 && types_[value.object].types != nullptr &&
          types_[value.object].types->size_of(types_[value.object].id) == wanted.bytes)
        return true;
      return check_memory_argument(r, wanted.bytes, Access::write, false, true);
    case KfuncArg::string:
      if (value.or_null) return refuse_for(static_cast<s32>(r), MessageId::maybe_null, r, name(value));
      return check_string_memory(r);
    case KfuncArg::constant_string:
      return check_string_argument(r);
    case KfuncArg::iterator:
      return check_iterator(call, r);
    case KfuncArg::resilient_lock:
      return check_lock(r, call.row->name,
                        call.row->args[1].kind == KfuncArg::none ? Lock::Kind::resilient : Lock::Kind::resilient_irq,
                        call.row->has(flag::may_fail));
    case KfuncArg::irq_flag:
      return save_interrupts(call, r);
    case KfuncArg::irq_flag_saved:
      return restore_interrupts(call, r);
    case KfuncArg::dynptr_or_null:
      if (value.is_zero()) return need_precise(r);
      [[fallthrough]];
    case KfuncArg::dynptr:
    case KfuncArg::dynptr_new:
      return check_dynptr(call, index);
    case KfuncArg::object_or_null:
      if (value.is_zero()) return need_precise(r);
      [[fallthrough]];
    case KfuncArg::object:
      return check_kernel_object(call, index);
    default:
      return check_graph_argument(call, index);
  }
}

/// A string whose end the function looks for: memory of the program whose last byte is known to be 0 or a constant.
/// The body stops at the end of the program's memory, so any readable memory will do.
bool Checker::check_string_memory(u32 index) {
  const Register value = reg(index);
  if (value.is_scalar() || value.kind == Kind::map || value.kind == Kind::function || value.kind == Kind::packet_end)
    return refuse_for(static_cast<s32>(index), MessageId::not_memory, index, name(value));
  return check_memory_argument(index, 1, Access::read, false, false);
}

bool Checker::check_local_type(const KfuncCall& call, u32 index) {
  const btf::Btf* types = object_.btf.get();
  auto no = [&](std::string_view wanted = name_of(KfuncArg::local_type)) {
    return refuse_for(static_cast<s32>(index), MessageId::wrong_argument, call.row->name, index, wanted,
                      name(reg(index)));
  };
  if (types == nullptr || call.constant == 0 || call.constant >= types->type_count()) return no();
  btf::Type type = types->type(static_cast<u32>(call.constant));
  if (type.kind != btf::Kind::struct_ || type.size() == 0) return no();
  if (call.row->result == catalog::KfuncResult::local_percpu && !is_percpu_type(*types, type.id))
    return no("a constant: a type of the program's own that holds numbers only, at most 512 bytes");
  // The call is linked with its type's memory, so it is one type on every path.
  const auto [known, is_first] = local_types_.try_emplace(insn_, static_cast<u32>(call.constant));
  return is_kernel() || is_first || known->second == call.constant ? true : no();
}

/// An object of each CPU is numbers only, alone or in arrays, and small. Source: Linux 6.18,
/// __btf_type_is_scalar_struct and BPF_GLOBAL_PERCPU_MA_MAX_SIZE.
bool Checker::is_percpu_type(const btf::Btf& types, u32 id, u32 depth) {
  constexpr u64 largest = 512;
  constexpr u32 most_depth = 3;
  const btf::Type type = types.type(id);
  if (type.size() > largest || depth > most_depth) return false;
  const auto is_number = [](btf::Kind kind) {
    return kind == btf::Kind::int_ || kind == btf::Kind::enum_ || kind == btf::Kind::enum64;
  };
  for (u32 m = 0; m < type.vlen; m++) {
    const u32 member = types.resolve(types.member(type, m).type_id);
    const btf::Kind kind = types.type(member).kind;
    if (kind == btf::Kind::array) {
      const btf::Btf::Array array = types.array(types.type(member));
      if (array.count == 0 || !is_number(types.type(types.resolve(array.element_id)).kind)) return false;
    } else if (!is_number(kind) && !(btf::is_composite(kind) && is_percpu_type(types, member, depth + 1))) {
      return false;
    }
  }
  return special_fields(types, id, static_cast<u32>(type.size())).empty();
}

/// The buffer before a constant size: memory to copy to, or 0.
bool Checker::check_buffer(KfuncCall& call, u32 index) {
  if (index == 0 || call.row->args[index - 1].kind != KfuncArg::buffer) return true;
  if (call.constant >= max_size)
    return refuse_for(static_cast<s32>(index + 1), MessageId::size_unbounded, index + 1, call.constant, max_size);
  if (reg(index).is_zero()) return need_precise(index);
  return check_memory_argument(index, static_cast<u32>(call.constant), Access::write, true, true);
}

bool Checker::check_iterator(KfuncCall& call, u32 index) {
  const Register pointer = reg(index);
  const u32 slots = catalog::iterator_slots(call.row->type);
  u32 family = 0;
  for (const catalog::Kfunc& k : catalog::kfuncs())
    if (k.has(flag::iter_new) && k.type == call.row->type) family = static_cast<u32>(k.id);
  call.iterator_reg = index;
  if (call.row->has(flag::iter_new)) {
    if (find_object(state_, pointer, Kind::iterator, slots) != nullptr)
      return refuse(MessageId::iterator_in_use, call.row->name);
    Register iterator = Register::pointer(Kind::iterator);
    iterator.object = family;
    iterator.id = iterator.ref_id = new_id();
    // What it walks over stays inside the RCU section; task_vma looks after itself.
    if (call.row->has(flag::rcu) && call.row->type != "task_vma") {
      if (is_kernel() ? !in_rcu() : !state_.rcu)
        return refuse(MessageId::section_not_open, call.row->name, "bpf_rcu_read_lock");
      iterator.trust = Trust::rcu;
    }
    if (!put_object(index, iterator, slots)) return false;
    state_.acquired.push_back({iterator.ref_id, insn_});
    return true;
  }
  s64 low = 0, high = 0;
  if (pointer.kind == Kind::stack && !stack_bounds(index, pointer, 0, slots * slot_bytes, low, high)) return false;
  const Register* found = find_object(state_, pointer, Kind::iterator, slots);
  if (found == nullptr || found->object != family)
    return refuse_for(static_cast<s32>(index), MessageId::iterator_missing, call.row->name, index, call.row->type);
  if (found->trust == Trust::untrusted) return refuse(MessageId::section_not_open, call.row->name, "bpf_rcu_read_lock");
  for (u32 k = 0; k < slots; k++)
    read_slot(pointer.frame, static_cast<u32>((-pointer.off - 1) / static_cast<s32>(slot_bytes)) - k);
  if (call.row->has(flag::iter_destroy)) {
    const u32 ref = found->ref_id;
    drop_object(state_, pointer, slots);
    return release_reference(index, ref);
  }
  return true;
}

/// Interrupts are disabled from here on, once more: their state is 8 bytes of stack that only the restoring call reads.
/// Source: Linux 6.18, process_irq_flag and mark_stack_slot_irq_flag.
bool Checker::save_interrupts(const KfuncCall& call, u32 index) {
  const Register pointer = reg(index);
  if (pointer.kind != Kind::stack || find_object(state_, pointer, Kind::irq_flag, irq_flag_slots) != nullptr)
    return refuse_for(static_cast<s32>(index), MessageId::wrong_argument, call.row->name, index,
                      name_of(KfuncArg::irq_flag), pointer.kind == Kind::stack ? "flags in use" : name(pointer));
  Register flags = Register::pointer(Kind::irq_flag);
  flags.id = flags.ref_id = new_id();
  flags.object = index;  // which tells whose flags they are: a lock's are its second argument
  if (!put_object(index, flags, irq_flag_slots)) return false;
  state_.acquired.push_back({flags.ref_id, insn_, true});
  return true;
}

/// What was saved last is restored first. Source: Linux 6.18, unmark_stack_slot_irq_flag and release_irq_state.
bool Checker::restore_interrupts(const KfuncCall& call, u32 index) {
  const Register pointer = reg(index);
  const Register* found = find_object(state_, pointer, Kind::irq_flag, irq_flag_slots);
  if (found == nullptr)
    return refuse_for(static_cast<s32>(index), MessageId::wrong_argument, call.row->name, index,
                      name_of(KfuncArg::irq_flag_saved), name(pointer));
  if (found->object != index)
    return refuse(MessageId::irq_other, call.row->name,
                  index == 1 ? "bpf_res_spin_lock_irqsave" : "bpf_local_irq_save");
  const Acquired* last = state_.saved_interrupts();
  if (last == nullptr || last->id != found->ref_id)
    return refuse(MessageId::irq_order, call.row->name, last != nullptr ? last->insn : 0);
  read_slot(pointer.frame, static_cast<u32>((-pointer.off - 1) / static_cast<s32>(slot_bytes)));
  const u32 ref = found->ref_id;
  drop_object(state_, pointer, irq_flag_slots);
  return release_reference(index, ref);
}

bool Checker::check_kernel_object(KfuncCall& call, u32 index) {
  const catalog::KfuncParameter& wanted = call.row->args[index];
  u32 r = index + 1;
  const Register value = reg(r);
  if (value.kind == Kind::object && value.or_null)
    return refuse_for(static_cast<s32>(r), MessageId::maybe_null, r, name(value));
  bool releases = call.row->has(flag::releases);
  bool same =
      (value.kind == Kind::object && is_object_of(value, wanted.type, releases || call.row->has(flag::acquires))) ||
      (value.kind == Kind::task && wanted.type == "task_struct" && value.off == 0);
  bool unmoved = value.is_fixed();
  if (!same || !unmoved ||
      (value.kind == Kind::object && !is_trusted(value, state_, call.row->has(flag::rcu), call.row->has(flag::plain))))
    return refuse_for(static_cast<s32>(r), MessageId::wrong_object, call.row->name, r, wanted.type, name(value));
  if (releases && value.ref_id == 0)
    return refuse_for(static_cast<s32>(r), MessageId::nothing_to_release, r, name(value));
  if (releases || call.object_reg == 0) call.object = value, call.object_reg = r;
  return true;
}

/// Whether there is a structure `type` where the pointer points: the object itself, or one inside it (a bpf_cpumask
/// begins with a cpumask). `exactly`: the object itself.
bool Checker::is_object_of(const Register& value, std::string_view type, bool exactly) const {
  const ObjectType& own = types_[value.object];
  if (value.off == 0 && own.name == type) return true;
  if (value.off == 0 && own.name == "bpf_cpumask" && type == "cpumask") return true;
  if (exactly || value.off < 0 || own.types == nullptr || own.types != options_.kernel_types.get()) return false;
  u32 id = own.id;
  u64 at = static_cast<u64>(value.off);
  constexpr u32 max_depth = 16;
  for (u32 depth = 0; depth < max_depth; depth++) {
    btf::Type t = own.types->type(own.types->resolve(id));
    if (t.kind == btf::Kind::array) {
      auto array = own.types->array(t);
      u64 element = own.types->size_of(array.element_id).value_or(0);
      if (element == 0) return false;
      id = array.element_id, at %= element;
      continue;
    }
    if (!btf::is_composite(t.kind)) return false;
    if (at == 0 && t.name == type) return true;
    u32 next = 0;
    u64 start = 0;
    for (const btf::Member& m : own.types->members(t)) {
      u64 first = m.bit_offset / 8, bytes = own.types->size_of(m.type_id).value_or(0);
      if (m.bit_size != 0 || at < first || at >= first + bytes) continue;
      next = m.type_id, start = first;
      break;
    }
    if (next == 0) return false;
    id = next, at -= start;
  }
  return false;
}

/// A kernel's socket of any protocol: they all begin with a sock_common.
bool Checker::is_kernel_socket(const Register& value) const {
  return value.kind == Kind::object && value.is_fixed() && value.off == 0 &&
         (value.trust == Trust::trusted || value.trust == Trust::plain) && is_object_of(value, "sock_common");
}

bool Checker::check_dynptr(KfuncCall& call, u32 index) {
  const bool makes = call.row->args[index].kind == KfuncArg::dynptr_new;
  u32 r = index + 1;
  if (makes) {
    Register made = Register::pointer(Kind::dynptr);
    made.id = new_id();
    if (call.row->id == KfuncId::bpf_dynptr_clone) {
      made.object = call.dynptr.object;
      made.ref_id = call.dynptr.ref_id;
      made.read_only = call.dynptr.read_only;
    } else {
      made.object = static_cast<u32>(call.row->type == "xdp"        ? DynptrKind::xdp
                                     : call.row->type == "skb_meta" ? DynptrKind::skb_meta
                                                                    : DynptrKind::skb);
    }
    return put_object(r, made, dynptr_slots);
  }
  Register found;
  if (call.row->id == KfuncId::bpf_dynptr_slice_rdwr && reg(r).kind == Kind::stack)
    if (const Register* d = find_object(state_, reg(r), Kind::dynptr, dynptr_slots);
        d != nullptr && d->object >= static_cast<u32>(DynptrKind::skb) && !may_write_packet())
      return refuse(MessageId::packet_not_writable, name_of(program_.type));
  if (!initialised_dynptr(r, found))
    return refuse_for(static_cast<s32>(r), MessageId::wrong_argument, call.row->name, r, name_of(KfuncArg::dynptr),
                      name(reg(r)));
  if (call.dynptr.kind == Kind::uninitialised) call.dynptr = found;
  return true;
}

/// The dynptr that register `index` points to, on the stack or given to a callback.
bool Checker::initialised_dynptr(u32 index, Register& found) {
  const Register pointer = reg(index);
  if (pointer.kind == Kind::dynptr && pointer.is_fixed() && pointer.off == 0) {
    found = pointer;
    return true;
  }
  s64 low = 0, high = 0;
  const Register* object = find_object(state_, pointer, Kind::dynptr, dynptr_slots);
  if (object == nullptr) return false;
  found = *object;
  if (!stack_bounds(index, pointer, 0, dynptr_slots * slot_bytes, low, high)) return false;
  for (u32 k = 0; k < dynptr_slots; k++)
    read_slot(pointer.frame, static_cast<u32>((-pointer.off - 1) / static_cast<s32>(slot_bytes)) - k);
  return true;
}

/// Moving the window of a dynptr makes the memory it gave before meaningless to nobody: slices stay what they were.
bool Checker::change_dynptr(KfuncCall&) { return true; }

// --- objects of the program's own types ---

bool Checker::check_graph_argument(KfuncCall& call, u32 index) {
  const KfuncArg kind = call.row->args[index].kind;
  u32 r = index + 1;
  const Register value = reg(r);
  auto wrong = [&] {
    return refuse_for(static_cast<s32>(r), MessageId::wrong_argument, call.row->name, r, name_of(kind), name(value));
  };
  if (value.or_null) return refuse_for(static_cast<s32>(r), MessageId::maybe_null, r, name(value));
  switch (kind) {
    case KfuncArg::local_percpu:
      if (value.kind != Kind::object || value.trust != Trust::owned_percpu || !value.is_fixed() || value.off != 0)
        return wrong();
      call.object = value;
      call.object_reg = r;
      return true;
    case KfuncArg::local:
    case KfuncArg::local_or_shared: {
      if (value.kind != Kind::object || !value.is_fixed() || value.off != 0) return wrong();
      // Shared: in a list or tree, or read from a map inside an RCU section.
      bool in_map = value.trust == Trust::rcu && types_[value.object].types == object_.btf.get();
      bool shared_ok = kind == KfuncArg::local_or_shared && (value.trust == Trust::shared || in_map);
      if (value.trust != Trust::owned && !shared_ok) return wrong();
      if (kind == KfuncArg::local_or_shared &&
          field_of(types_[value.object].fields, SpecialField::What::refcount) == nullptr)
        return wrong();
      call.object = value;
      call.object_reg = r;
      return true;
    }
    case KfuncArg::list_head:
    case KfuncArg::rb_root:
      return check_graph_root(
                 call, r, kind == KfuncArg::list_head ? SpecialField::What::list_head : SpecialField::What::rb_root) ||
             wrong();
    case KfuncArg::list_node:
    case KfuncArg::rb_node:
    case KfuncArg::rb_node_linked: {
      // What is to be taken out may turn out not to be in the tree: the function looks. An alias of what was taken out
      // stays alive while the lock is held, since nothing is given back under it.
      const bool linked = kind == KfuncArg::rb_node_linked && value.trust == Trust::shared;
      if (value.kind != Kind::object || (value.trust != Trust::owned && !linked) || !value.is_fixed() ||
          call.head == nullptr || call.head->target == 0 || types_[value.object].types != call.head_types ||
          types_[value.object].id != call.head->target || value.off != static_cast<s32>(call.head->node_offset))
        return wrong();
      if (value.trust == Trust::owned && value.ref_id == 0) return wrong();
      call.object = value;
      call.object_reg = r;
      return true;
    }
    case KfuncArg::workqueue:
    case KfuncArg::task_work: {
      const bool is_queue = kind == KfuncArg::workqueue;
      if (is_queue && !may_run_later()) return refuse(MessageId::timer_not_for_type, name_of(program_.type));
      if (value.kind != Kind::map_value || !value.number.is_const()) return wrong();
      const SpecialField* field = field_of(maps_[value.object].fields,
                                           is_queue ? SpecialField::What::workqueue : SpecialField::What::task_work);
      if (field == nullptr || s64{value.off} + static_cast<s64>(value.number.value()) != field->offset) return wrong();
      call.work_map = value.object;
      return true;
    }
    case KfuncArg::deferred: {
      if (value.kind != Kind::function || call.work_map < 0) return wrong();
      const u32 function = *analysis_.function_at(value.object);
      if (analysis_.functions[function].is_global && object_.btf != nullptr)
        return refuse_for(static_cast<s32>(r), MessageId::callback_not_static, function_name(function));
      if (analysis_.functions[function].is_exception_callback) return refuse(MessageId::exception_callback_called);
      queue_async(function, static_cast<u32>(call.work_map), true);
      return true;
    }
    case KfuncArg::less: {
      if (value.kind != Kind::function) return wrong();
      call.function = *analysis_.function_at(value.object);
      return true;
    }
    default:
      return wrong();
  }
}

/// A list head or tree, in a map value or an object, whose lock is held.
bool Checker::check_graph_root(KfuncCall& call, u32 index, SpecialField::What what) {
  const Register value = reg(index);
  const std::vector<SpecialField>* fields = nullptr;
  if (value.kind == Kind::map_value) fields = &maps_[value.object].fields;
  if (value.kind == Kind::object && (value.trust == Trust::owned || value.trust == Trust::shared))
    fields = &types_[value.object].fields;
  if (fields == nullptr || !value.number.is_const()) return false;
  s64 at = s64{value.off} + static_cast<s64>(value.number.value());
  for (const SpecialField& f : *fields)
    if (f.what == what && f.offset == at) call.head = &f;
  if (call.head == nullptr || call.head->target == 0) return false;
  call.head_types = object_.btf.get();
  const bool in_object = value.kind == Kind::object;
  const Lock wanted{Lock::Kind::spin, in_object, value.object, in_object ? value.ref_id : value.id};
  const bool is_held =
      std::any_of(state_.locks.begin(), state_.locks.end(), [&](const Lock& held) { return held.is_place_of(wanted); });
  return is_held || refuse(MessageId::lock_for_graph, call.row->name);
}

/// What linking and unlinking does to the pointers the program has.
bool Checker::change_graph(KfuncCall& call) {
  if (call.head != nullptr && in_comparison()) return refuse(MessageId::graph_in_comparison, call.row->name);
  switch (call.row->id) {
    case KfuncId::bpf_list_push_front_impl:
    case KfuncId::bpf_list_push_back_impl:
    case KfuncId::bpf_rbtree_add_impl: {
      if (call.row->id == KfuncId::bpf_rbtree_add_impl && !call_less(call)) return false;
      const u32 ref = call.object.ref_id;
      std::erase_if(state_.acquired, [ref](const Acquired& a) { return a.id == ref; });
      for_each_register(pool_, state_, [ref](Register& r) {
        if (r.kind != Kind::object || r.ref_id != ref) return false;
        r.trust = Trust::shared;
        r.ref_id = 0;
        return true;
      });
      return true;
    }
    default:
      return true;
  }
}

/// Pointers into lists and trees mean nothing once somebody may have taken the objects out.
void Checker::forget_shared() {
  const Register gone = invalidated();
  for_each_register(pool_, state_, [&gone](Register& r) {
    if (r.kind != Kind::object || r.trust != Trust::shared) return false;
    r = gone;
    return true;
  });
}

/// Inside the function that a tree compares with.
bool Checker::in_comparison() const {
  for (u32 d = 1; d <= state_.depth; d++)
    if (state_.frames[d]->is_callback && program_.insns[state_.frames[d]->call_insn].src == isa::call_src_kfunc)
      return true;
  return false;
}

/// The comparison of a tree is called with two objects of it, under the lock.
bool Checker::call_less(const KfuncCall& call) {
  for (u32 d = 0; d <= state_.depth; d++)
    if (state_.frames[d]->function == call.function)
      return refuse(MessageId::recursion, function_name(call.function), insn_);
  if (state_.depth + 1 >= isa::max_call_frames)
    return refuse(MessageId::too_many_frames, static_cast<u32>(isa::max_call_frames));
  Pending& p = enter_callback(call.function, {0, 1});
  for (u32 r = 1; r <= 2; r++) {
    Register& node = p.state.current().regs[r];
    node = Register::pointer(Kind::object);
    node.object = local_type_index(call.head->target);
    node.off = static_cast<s32>(call.head->node_offset);
    node.trust = Trust::shared;
  }
  state_.current().callback_depth = 0;
  return true;
}

}  // namespace skep::verify
