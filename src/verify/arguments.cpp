// Arguments of helpers, one kind at a time.
#include "btf/btf.hpp"
#include "verify/call.hpp"
#include "verify/kfunc.hpp"

namespace skep::verify {

using catalog::Arg;
using catalog::HelperId;
using catalog::MessageId;
namespace flag = catalog::helper_flags;

namespace {
bool holds_sockets(MapType type) { return type == MapType::sockmap || type == MapType::sockhash; }

constexpr u64 max_variable_size = 1 << 29;  // Linux BPF_MAX_VAR_SIZ
}  // namespace

bool Checker::check_argument(const catalog::Prototype& prototype, u32 index, CallFacts& call) {
  u32 r = index + 1;
  if (!readable(r)) return false;
  const Register value = reg(r);
  auto map_size = [&](bool key) {
    const MapSpec& spec = *maps_[static_cast<u32>(call.map)].spec;
    return key ? spec.key_size : spec.value_size;
  };
  auto null_allowed = [&] { return value.is_zero(); };
  switch (prototype.args[index]) {
    case Arg::none:
      return true;
    case Arg::anything:
      if (prototype.id == HelperId::get_local_storage && !value.is_zero())
        return refuse_for(static_cast<s32>(r), MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), r,
                          "0: it has no flags", name(value));
      return keeps_address(r, "passed as a number");
    case Arg::map:
      return check_map_argument(prototype, r, call);
    case Arg::map_key:
      return check_memory_argument(r, map_size(true), Access::read, false, prototype.has(flag::takes_packet)) &&
             find_constant_key(r, call);
    case Arg::map_value_or_null:
      if (null_allowed()) return need_precise(r);
      [[fallthrough]];
    case Arg::map_value:
      if (prototype.id == HelperId::map_update_elem && holds_sockets(maps_[static_cast<u32>(call.map)].spec->type))
        return check_object_argument(prototype, index, call);
      return check_memory_argument(r, map_size(false), Access::read, false, prototype.has(flag::takes_packet));
    case Arg::map_value_out:
      return check_memory_argument(r, map_size(false), Access::fill, false, prototype.has(flag::takes_packet));
    case Arg::read:
    case Arg::write:
    case Arg::modify:
      return true;  // checked with its size
    case Arg::read_or_null:
    case Arg::write_or_null:
      return value.is_zero() ? need_precise(r) : true;
    case Arg::size:
    case Arg::size_or_zero:
      return check_size_argument(prototype, index, call);
    case Arg::alloc_size:
      if (!value.is_const())
        return refuse_for(static_cast<s32>(r), MessageId::size_not_constant, r, describe(value, ""));
      if (value.number.value() > max_variable_size)
        return refuse_for(static_cast<s32>(r), MessageId::size_unbounded, r, value.number.value(), max_variable_size);
      call.alloc_size = static_cast<u32>(value.number.value());
      return need_precise(r);
    case Arg::out_u32:
    case Arg::inout_u32:
    case Arg::out_u64: {
      u32 size = prototype.args[index] == Arg::out_u64 ? 8 : 4;
      Tnum at = value.number.bits + Tnum::of(static_cast<u64>(s64{value.off}));
      if (value.is_pointer() && !at.is_aligned(size))
        return refuse_for(static_cast<s32>(r), MessageId::argument_misaligned, r, size, value.off);
      bool fills = prototype.args[index] != Arg::inout_u32;
      return check_memory_argument(r, size, fills ? Access::fill : Access::write, false,
                                   prototype.has(flag::takes_packet));
    }
    case Arg::read_20:
      return check_memory_argument(r, 20, Access::read, false, prototype.has(flag::takes_packet));
    case Arg::read_40:
      return check_memory_argument(r, 40, Access::read, false, prototype.has(flag::takes_packet));
    case Arg::string:
      return check_string_argument(r);
    case Arg::spin_lock:
      return check_lock(r, fmt::format("bpf_{}", call.row->name), Lock::Kind::spin,
                        prototype.id == HelperId::spin_lock);
    case Arg::callback:
      return check_callback(r, call);
    case Arg::callback_ctx:
      if (value.is_zero()) return need_precise(r);
      if (value.kind == Kind::stack) return true;
      return refuse_for(static_cast<s32>(r), MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), r,
                        name_of(Arg::callback_ctx), name(value));
    case Arg::timer:
      return check_timer(r, call);
    case Arg::dynptr:
    case Arg::dynptr_record:
    case Arg::dynptr_local:
    case Arg::dynptr_new_record:
      return check_dynptr_argument(prototype.args[index], r, call);
    case Arg::kptr_field:
    case Arg::kptr_value:
      return true;  // together, after the others
    case Arg::unmodelled:
      return refuse(MessageId::unsupported_helper, call.row->name);
    case Arg::ctx:
    case Arg::ctx_or_null:
    case Arg::record:
    case Arg::sock_common:
    case Arg::socket:
    case Arg::any_sock:
    case Arg::task:
    case Arg::task_or_null:
    case Arg::object:
    case Arg::object_or_null:
    case Arg::percpu_object:
      return check_object_argument(prototype, index, call);
  }
  return false;
}

/// An array has an element at every index below its size: a look-up with such a constant never gives null.
bool Checker::find_constant_key(u32 index, CallFacts& call) {
  const MapSpec& map = *maps_[static_cast<u32>(call.map)].spec;
  constexpr u32 inner_map = 1u << 12;  // BPF_F_INNER_MAP: the map found at run time may be smaller
  const Register key = reg(index);
  if (call.prototype->id != HelperId::map_lookup_elem || key.kind != Kind::stack || !key.number.is_const()) return true;
  if ((map.type != MapType::array && map.type != MapType::percpu_array) || map.key_size != 4) return true;
  if (static_cast<u32>(call.map) >= object_.maps.size() && (map.flags & inner_map) != 0) return true;
  s64 at = s64{key.off} + static_cast<s64>(key.number.value());
  const u32 spi = static_cast<u32>((-at - 1) / slot_bytes);
  const u32 first = static_cast<u32>((at % slot_bytes + slot_bytes) % slot_bytes);
  if (first + map.key_size > slot_bytes) return true;
  const Slot& slot = state_.frames[key.frame]->slots[spi];
  u32 zeros = 0, spilled = 0;
  while (zeros < map.key_size && slot.bytes[first + zeros] == Byte::zero) zeros++;
  while (first + spilled < slot_bytes && slot.bytes[first + spilled] == Byte::spilled) spilled++;
  u64 value = 0;
  if (zeros < map.key_size) {
    if (first != 0 || spilled != map.key_size || !slot.spill->value.is_const()) return true;
    value = slot.spill->value.number.value();
    if (value < map.max_entries && !need_precise_slot(key.frame, spi)) return false;
  }
  call.never_null = value < map.max_entries;
  return true;
}

bool Checker::check_object_argument(const catalog::Prototype& prototype, u32 index, CallFacts& call) {
  u32 r = index + 1;
  const Register value = reg(r);
  Arg arg = prototype.args[index];
  auto wrong = [&] {
    return refuse_for(static_cast<s32>(r), MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), r,
                      name_of(arg), name(value));
  };
  if (arg == Arg::map_value) arg = Arg::any_sock;  // of a map of sockets
  if (arg == Arg::ctx && catalog::takes_socket_for_context(prototype.id, program_.type)) arg = Arg::any_sock;
  if ((arg == Arg::ctx_or_null || arg == Arg::task_or_null || arg == Arg::object_or_null) && value.is_zero())
    return need_precise(r);
  if (arg == Arg::any_sock && program_.type == ProgramType::sk_lookup && value.is_zero()) return need_precise(r);
  // Observers may ask for the storage of a socket they did not check: there is none for null.
  const bool storage = prototype.id == HelperId::sk_storage_get || prototype.id == HelperId::sk_storage_delete;
  const bool null_ok = storage && value.kind == Kind::object && program_.type == ProgramType::tracing;
  if (value.is_pointer() && value.or_null && !null_ok)
    return refuse_for(static_cast<s32>(r), MessageId::maybe_null, r, name(value));
  bool unmoved = value.is_fixed() && value.off == 0;
  switch (arg) {
    case Arg::ctx:
    case Arg::ctx_or_null:
      if (value.kind != Kind::context) return wrong();
      if (!unmoved) return refuse_for(static_cast<s32>(r), MessageId::context_pointer_moved, name(value));
      return true;
    case Arg::record:
      if (value.kind != Kind::memory || !value.is_record) return wrong();
      if (!unmoved) return refuse_for(static_cast<s32>(r), MessageId::record_moved, name(value));
      call.released = value.ref_id;
      call.released_reg = r;
      return true;
    case Arg::task:
    case Arg::task_or_null:
      if (value.kind == Kind::object && is_object_of(value, "task_struct") && value.trust != Trust::untrusted &&
          unmoved)
        return true;
      return value.kind == Kind::task && unmoved ? true : wrong();
    case Arg::object:
    case Arg::object_or_null: {
      std::string_view type = catalog::object_argument(prototype.id);
      bool believed = value.trust == Trust::trusted || value.trust == Trust::plain || value.trust == Trust::rcu;
      if (value.kind == Kind::object && believed && value.is_fixed() && is_object_of(value, type)) return true;
      return refuse_for(static_cast<s32>(r), MessageId::wrong_object, fmt::format("bpf_{}", call.row->name), r, type,
                        name(value));
    }
    case Arg::percpu_object:
      if (value.kind != Kind::object || (value.trust != Trust::percpu && value.trust != Trust::shared_percpu) ||
          !unmoved)
        return wrong();
      call.kptr = value;
      return true;
    default:
      break;
  }
  if (arg == Arg::any_sock && value.kind == Kind::context && program_.type == ProgramType::cgroup_sock && unmoved)
    return true;
  if (null_ok && value.trust == Trust::rcu && value.is_fixed() && is_object_of(value, "sock_common")) return true;
  if (is_kernel_socket(value) && (arg == Arg::any_sock || prototype.has(flag::releases))) {
    call.socket_ref = value.ref_id;
    if (prototype.has(flag::releases)) call.released = value.ref_id, call.released_reg = r;
    return true;
  }
  bool any = value.kind == Kind::sock_common || value.kind == Kind::socket || value.kind == Kind::tcp_socket;
  if (!any || !unmoved || (arg == Arg::socket && value.kind != Kind::socket)) return wrong();
  call.socket_ref = value.ref_id;
  if (prototype.has(flag::releases)) call.released = value.ref_id, call.released_reg = r;
  return true;
}

/// Maps of sockets are changed where no socket is locked. Source: Linux 6.18, may_update_sockmap.
bool Checker::may_change_sockets(HelperId helper) const {
  using namespace catalog::programs;
  if (program_.type == ProgramType::tracing) return program_.attach.attach_type() == AttachType::trace_iter;
  if (program_.type == ProgramType::sock_ops) return helper == HelperId::map_delete_elem;
  return catalog::contains(socket_filter | tc | xdp | sk_reuseport | flow_dissector | sk_lookup, program_.type);
}

bool Checker::check_map_argument(const catalog::Prototype& prototype, u32 index, CallFacts& call) {
  const Register value = reg(index);
  if (value.or_null) return refuse_for(static_cast<s32>(index), MessageId::maybe_null, index, name(value));
  if (value.kind != Kind::map)
    return refuse_for(static_cast<s32>(index), MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), index,
                      name_of(Arg::map), name(value));
  call.map = static_cast<s32>(value.object);
  const MapFacts& map = maps_[value.object];
  if (!catalog::may_use(prototype.id, map.spec->type))
    return refuse_for(static_cast<s32>(index), MessageId::map_type_mismatch, fmt::format("bpf_{}", call.row->name),
                      map.spec->name, name_of(map.spec->type));
  bool writes = prototype.id == HelperId::map_update_elem || prototype.id == HelperId::map_delete_elem ||
                prototype.id == HelperId::map_push_elem || prototype.id == HelperId::map_pop_elem;
  if (is_kernel() && writes && holds_sockets(map.spec->type) && !may_change_sockets(prototype.id))
    return refuse_for(static_cast<s32>(index), MessageId::map_type_mismatch, fmt::format("bpf_{}", call.row->name),
                      map.spec->name, name_of(map.spec->type));
  if (writes && !map.program_writes) return refuse(MessageId::map_not_writable, map.spec->name);
  return true;
}

bool Checker::check_memory_argument(u32 index, u32 size, Access access, bool zero_ok, bool packet_ok) {
  const Register value = reg(index);
  if (value.is_pointer() && value.or_null)
    return refuse_for(static_cast<s32>(index), MessageId::maybe_null, index, name(value));
  bool writes = access != Access::read;
  switch (value.kind) {
    case Kind::stack:
      if (size == 0 && !zero_ok) return refuse_for(static_cast<s32>(index), MessageId::size_may_be_zero, index);
      return stack_range(index, 0, size, access);
    case Kind::map_value:
      return check_map_value(index, value, 0, size, access, zero_ok);
    case Kind::packet:
    case Kind::packet_meta:
      if (!packet_ok) return refuse_for(static_cast<s32>(index), MessageId::packet_not_for_helper, index);
      if (writes && !may_write_packet()) return refuse(MessageId::packet_not_writable, name_of(program_.type));
      return check_packet(index, value, 0, size, zero_ok);
    case Kind::memory:
      if (is_untrusted_memory(value))
        return refuse_for(static_cast<s32>(index), MessageId::not_memory, index, name(value));
      if (writes && value.read_only) return refuse(MessageId::memory_not_writable, name(value));
      return check_region(value, index, 0, size, value.extent, {}, zero_ok);
    case Kind::tp_buffer:
      if (writes && value.read_only) return refuse(MessageId::memory_not_writable, name(value));
      if (!is_kernel() || !value.number.is_const() || value.off < 0)
        return refuse_for(static_cast<s32>(index), MessageId::context_offset_varies, name(value));
      return true;
    case Kind::object:
      if (is_kernel() && !writes && value.trust == Trust::trusted)
        return size == 0 || check_object(index, 0, size, access, nullptr);
      return refuse_for(static_cast<s32>(index), MessageId::not_memory, index, name(value));
    default:
      if (zero_ok && size == 0 && value.is_zero()) return need_precise(index);
      return refuse_for(static_cast<s32>(index), MessageId::not_memory, index, name(value));
  }
}

bool Checker::check_size_argument(const catalog::Prototype& prototype, u32 index, CallFacts& call) {
  u32 r = index + 1;
  const Register size = reg(r);
  bool zero_ok = prototype.args[index] == Arg::size_or_zero;
  if (!size.is_scalar())
    return refuse_for(static_cast<s32>(r), MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), r,
                      name_of(Arg::size), name(size));
  if (size.number.wide.smin < 0)
    return refuse_for(static_cast<s32>(r), MessageId::size_may_be_negative, r, size.number.wide.smin);
  if (size.number.wide.umin == 0 && !zero_ok) return refuse_for(static_cast<s32>(r), MessageId::size_may_be_zero, r);
  if (size.number.wide.umax >= max_variable_size)
    return refuse_for(static_cast<s32>(r), MessageId::size_unbounded, r, size.number.wide.umax, max_variable_size);
  Access access = Access::read;
  Arg memory = prototype.args[index - 1];
  if (memory == Arg::modify) access = Access::write;
  // A helper given a varying size may leave the end of the memory as it was.
  if (memory == Arg::write || memory == Arg::write_or_null) access = size.is_const() ? Access::fill : Access::write;
  call.size_max = std::max(call.size_max, size.number.wide.umax);
  if (reg(index).is_scalar() && !(memory == Arg::read_or_null || memory == Arg::write_or_null))
    return refuse_for(static_cast<s32>(index), MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), index,
                      name_of(memory), name(reg(index)));
  if (!check_memory_argument(index, static_cast<u32>(size.number.wide.umax), access, zero_ok,
                             prototype.has(flag::takes_packet)))
    return false;
  return need_precise(r);
}

bool Checker::check_string_argument(u32 index) {
  const Register value = reg(index);
  if (value.kind != Kind::map_value || value.or_null || !maps_[value.object].is_constant || !value.number.is_const())
    return refuse_for(static_cast<s32>(index), MessageId::not_a_constant_string, index, name(value));
  const auto& bytes = maps_[value.object].spec->initial_value;
  s64 at = s64{value.off} + static_cast<s64>(value.number.value());
  for (s64 i = at; at >= 0 && i < static_cast<s64>(bytes.size()); i++)
    if (bytes[static_cast<std::size_t>(i)] == std::byte{0}) return true;
  return refuse_for(static_cast<s32>(index), MessageId::not_a_constant_string, index, name(value));
}

namespace {
/// Linux looks for fields in a program's own types only where it finds one of some kinds, to which a bpf_res_spin_lock
/// does not belong. Source: Linux 6.18, alloc_obj_fields.
bool fields_are_known_to_linux(const std::vector<SpecialField>& fields) {
  using What = SpecialField::What;
  constexpr What kinds[] = {What::spin_lock, What::list_head, What::list_node,
                            What::rb_root,   What::rb_node,   What::refcount};
  return std::any_of(std::begin(kinds), std::end(kinds), [&](What kind) { return field_of(fields, kind) != nullptr; });
}
}  // namespace

/// The lock of a map value or of an object of the program's own: taken or given back. Source: Linux 6.18,
/// process_spin_lock.
bool Checker::check_lock(u32 index, std::string_view name, Lock::Kind kind, bool locks) {
  using namespace catalog::programs;
  const bool is_spin = kind == Lock::Kind::spin;
  const Register value = reg(index);
  const auto unsuited = tracers & ~(lsm | syscall | (is_kernel() ? tracing : catalog::ProgramSet{}));
  if (catalog::contains(unsuited | socket_filter, program_.type))
    return refuse(MessageId::lock_not_for_type, name_of(program_.type));
  if (!locks && in_comparison()) return refuse(MessageId::graph_in_comparison, name);
  const bool in_object = value.kind == Kind::object && (value.trust == Trust::owned || value.trust == Trust::shared);
  const bool may_hold = (value.kind == Kind::map_value || in_object) && !value.or_null && value.number.is_const();
  const auto what = is_spin ? SpecialField::What::spin_lock : SpecialField::What::resilient_lock;
  const SpecialField* field = !may_hold   ? nullptr
                              : in_object ? field_of(types_[value.object].fields, what)
                                          : field_of(maps_[value.object].fields, what);
  if (in_object && is_kernel() && !fields_are_known_to_linux(types_[value.object].fields)) field = nullptr;
  if (field == nullptr || s64{value.off} + static_cast<s64>(value.number.value()) != field->offset)
    return refuse_for(static_cast<s32>(index), MessageId::wrong_argument, name, index,
                      is_spin ? name_of(Arg::spin_lock) : name_of(catalog::KfuncArg::resilient_lock),
                      this->name(value));
  const Lock wanted{kind, in_object, value.object, in_object ? value.ref_id : value.id, insn_};
  return locks ? take_lock(wanted) : give_lock_back(wanted, name);
}

bool Checker::take_lock(const Lock& wanted) {
  for (const Lock& held : state_.locks) {
    if (wanted.kind == Lock::Kind::spin) return refuse(MessageId::lock_twice);
    if (held.kind != Lock::Kind::spin && held.is_place_of(wanted)) return refuse(MessageId::lock_again, held.insn);
  }
  state_.locks.push_back(wanted);
  return true;
}

/// What was taken last is given back first, by the function of its kind.
bool Checker::give_lock_back(const Lock& wanted, std::string_view name) {
  if (!state_.is_locked()) return refuse(MessageId::lock_not_held, name);
  const Lock& last = state_.locks.back();
  if (last.kind != wanted.kind || !last.is_place_of(wanted)) {
    const bool is_held = std::any_of(state_.locks.begin(), state_.locks.end(), [&](const Lock& held) {
      return held.kind == wanted.kind && held.is_place_of(wanted);
    });
    return is_held ? refuse(MessageId::lock_order, name, last.insn) : refuse(MessageId::lock_other, name);
  }
  state_.locks.pop_back();
  forget_shared();
  return true;
}

/// Timers and work queues are not for what is called from everywhere. Source: Linux 6.18, is_tracing_prog_type.
bool Checker::may_run_later() const {
  using namespace catalog::programs;
  return !catalog::contains(kprobe | tracepoint | perf_event | raw_tp, program_.type);
}

/// The bpf_timer of a map value; where two arguments name a map, it is the same one.
bool Checker::check_timer(u32 index, CallFacts& call) {
  const Register value = reg(index);
  if (!may_run_later()) return refuse(MessageId::timer_not_for_type, name_of(program_.type));
  const SpecialField* field =
      value.kind == Kind::map_value ? field_of(maps_[value.object].fields, SpecialField::What::timer) : nullptr;
  if (field == nullptr || value.or_null || !value.number.is_const() ||
      s64{value.off} + static_cast<s64>(value.number.value()) != field->offset)
    return refuse_for(static_cast<s32>(index), MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), index,
                      name_of(Arg::timer), name(value));
  call.timer_map = value.object;
  if (call.prototype->id == HelperId::timer_init && reg(2).kind == Kind::map && reg(2).object != value.object)
    return refuse_for(2, MessageId::timer_of_other_map, name(reg(2)), maps_[value.object].spec->name);
  return true;
}

bool Checker::check_dynptr_argument(Arg arg, u32 index, CallFacts& call) {
  constexpr u32 slots = 2;
  auto wrong = [&] {
    return refuse_for(static_cast<s32>(index), MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), index,
                      name_of(arg), name(reg(index)));
  };
  if (arg == Arg::dynptr_local || arg == Arg::dynptr_new_record) {
    if (reg(index).kind != Kind::stack) return wrong();
    Register made = Register::pointer(Kind::dynptr);
    made.id = new_id();
    made.object = static_cast<u32>(arg == Arg::dynptr_local ? DynptrKind::local : DynptrKind::ringbuf);
    if (arg == Arg::dynptr_local && reg(1).kind != Kind::map_value)
      return refuse_for(1, MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), 1,
                        "a pointer into a map value", name(reg(1)));
    if (arg == Arg::dynptr_new_record) {
      made.ref_id = new_id();
      if (!put_object(index, made, slots)) return false;
      state_.acquired.push_back({made.ref_id, insn_});
      return true;
    }
    return put_object(index, made, slots);
  }
  Register found;
  if (!initialised_dynptr(index, found)) return wrong();
  if (arg == Arg::dynptr_record) {
    if (found.object != static_cast<u32>(DynptrKind::ringbuf) || found.ref_id == 0) return wrong();
    call.released = found.ref_id;
    call.released_reg = index;
    for (u32 d = 0; d <= state_.depth; d++)  // every copy of it goes
      for (u32 s = 0; s < state_.frames[d]->slot_count; s++) {
        Slot& slot = state_.frames[d]->slots[s];
        if (!slot.is_special() || slot.spill->value.kind != Kind::dynptr || slot.spill->value.ref_id != found.ref_id)
          continue;
        pool_.clear_spill(slot);
        slot.bytes.fill(Byte::untouched);
      }
    return true;
  }
  if (call.prototype->id == HelperId::dynptr_write && found.read_only) return wrong();
  call.dynptr = found;
  return true;
}

/// A per-CPU object that went into a map stays alive for the rest of the RCU section: the program's pointers to it are
/// as good as one read from the map. Source: Linux 6.18, check_helper_call, BPF_FUNC_kptr_xchg.
bool Checker::share_reference(u32 ref_id) {
  std::erase_if(state_.acquired, [ref_id](const Acquired& a) { return a.id == ref_id; });
  for_each_register(pool_, state_, [ref_id](Register& r) {
    if (r.ref_id != ref_id) return false;
    r.ref_id = 0;
    r.trust = Trust::shared_percpu;
    return true;
  });
  return true;
}

/// kptr_xchg: an owned object, or null, goes into a field of its type, and what was there comes out.
bool Checker::check_kptr_exchange(CallFacts& call) {
  const Register field = reg(1), value = reg(2);
  auto wrong = [&](u32 index, Arg arg) {
    return refuse_for(static_cast<s32>(index), MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), index,
                      name_of(arg), name(reg(index)));
  };
  const std::vector<SpecialField>* fields = nullptr;
  if (field.kind == Kind::map_value) fields = &maps_[field.object].fields;
  if (field.kind == Kind::object && field.trust == Trust::owned) fields = &types_[field.object].fields;
  if (fields == nullptr || field.or_null || !field.number.is_const()) return wrong(1, Arg::kptr_field);
  const SpecialField* found = nullptr;
  for (const SpecialField& f : *fields)
    if ((f.what == SpecialField::What::kptr || f.what == SpecialField::What::kptr_percpu) &&
        f.offset == s64{field.off} + static_cast<s64>(field.number.value()))
      found = &f;
  if (found == nullptr || found->target == 0 || object_.btf == nullptr) return wrong(1, Arg::kptr_field);
  std::string_view type = object_.btf->type(found->target).name;
  call.kptr = Register::pointer(Kind::object);
  bool kernels = is_kernel_type(type);
  call.kptr.object = kernels ? kernel_type_index(type) : local_type_index(found->target);
  call.kptr.trust = kernels                                          ? Trust::trusted
                    : found->what == SpecialField::What::kptr_percpu ? Trust::owned_percpu
                                                                     : Trust::owned;
  if (value.is_zero()) return need_precise(2);
  // Linux 6.18 takes a single object for one of each CPU (map_kptr_match_type: what is allowed, not what is needed).
  const bool is_taken = value.trust == call.kptr.trust ||
                        (is_kernel() && value.trust == Trust::owned && call.kptr.trust == Trust::owned_percpu);
  if (value.kind != Kind::object || value.or_null || !value.is_fixed() || value.off != 0 ||
      value.object != call.kptr.object || !is_taken || value.ref_id == 0)
    return wrong(2, Arg::kptr_value);
  if (value.trust == Trust::owned_percpu && in_rcu()) return share_reference(value.ref_id);
  return release_reference(2, value.ref_id);
}

}  // namespace skep::verify
