// Calls of helpers: may this program call it, are the arguments what it needs, what is r0 afterwards.
#include "verify/call.hpp"

#include "catalog/attach_rules.hpp"
#include "spec/resolve.hpp"
#include "verify/kfunc.hpp"

namespace skep::verify {

using catalog::Arg;
using catalog::HelperId;
using catalog::MessageId;
using catalog::Returns;
namespace flag = catalog::helper_flags;

bool Checker::check_caller(const catalog::Prototype& prototype, const catalog::HelperRow& row) {
  u32 id = static_cast<u32>(prototype.id);
  bool may_call = catalog::contains(prototype.callers, program_.type);
  if (is_kernel())
    may_call = may_call ? !catalog::withheld_at(prototype.id, program_.attach.attach_type())
                        : catalog::granted_at(prototype.id, program_.attach) ||
                              (typed_context_ &&
                               catalog::granted_to(prototype.id, typed_context_->operations, typed_context_->member));
  if (is_kernel() && may_call && program_.type == ProgramType::tracing &&
      program_.attach.attach_type() != AttachType::trace_iter)
    may_call = catalog::is_callable_at(prototype.id, program_.attach.target);
  if (may_call && is_unprivileged() && !check_unprivileged_helper(row)) return false;
  if (!may_call) return refuse(MessageId::helper_not_for_type, row.name, name_of(program_.type));
  const bool catalogued = catalog::prototype(id) != nullptr;
  if (catalogued && !options_.engine_helpers.empty() &&
      (id >= options_.engine_helpers.size() || !options_.engine_helpers[id]))
    return refuse(MessageId::helper_not_in_engine, row.name,
                  catalog::helper_needs(id).empty() ? "what this host does not lend" : catalog::helper_needs(id));
  if (is_kernel() && prototype.has(flag::gpl) && !catalog::is_gpl_compatible(object_.license))
    return refuse(MessageId::helper_needs_gpl, row.name, object_.license);
  if (prototype.has(flag::sleeps) && !check_may_sleep(fmt::format("bpf_{}", row.name))) return false;
  if (!prototype.is_modelled()) return refuse(MessageId::unsupported_helper, row.name);
  if (state_.is_locked() && prototype.id != HelperId::spin_unlock)
    return refuse(MessageId::lock_held, fmt::format("bpf_{}()", row.name));
  return true;
}

bool Checker::do_helper_call() {
  u32 id = static_cast<u32>(insn().imm);
  const catalog::Prototype* prototype = catalog::prototype(id);
  if (spec::is_poisoned(insn()))
    return refuse(MessageId::core_relocation_failed, is_kernel() ? "this kernel" : "this engine");
  catalog::HelperRow host_row{};
  for (const HostHelper& helper : options_.host_helpers)
    if (prototype == nullptr && static_cast<u32>(helper.prototype.id) == id) {
      prototype = &helper.prototype;
      host_row = {helper.prototype.id, helper.name, "", ""};
    }
  if (prototype == nullptr) return refuse(MessageId::unknown_helper, insn().imm);
  const catalog::HelperRow& row = catalog::helper(id) != nullptr ? *catalog::helper(id) : host_row;
  if (!check_caller(*prototype, row)) return false;
  CallFacts call;
  call.row = &row;
  call.prototype = prototype;
  for (u32 index = 0; index < prototype->args.size() && prototype->args[index] != Arg::none; index++)
    if (!check_argument(*prototype, index, call)) return false;
  if (prototype->id == HelperId::kptr_xchg && !check_kptr_exchange(call)) return false;
  if (prototype->has(flag::releases) && !release_reference(call.released_reg, call.released)) return false;
  for (Arg arg : prototype->args)
    if (arg == Arg::callback && !call_back(*prototype, call)) return false;
  if (prototype->id == HelperId::tail_call && !check_resources("a tail call")) return false;
  // Linux builds such a jump into the program: another index is another program.
  if (is_kernel() && prototype->id == HelperId::tail_call && reg(3).is_const() &&
      reg(3).number.value() < maps_[static_cast<u32>(call.map)].spec->max_entries && !need_precise(3))
    return false;
  if (id >= helper_used_.size()) helper_used_.resize(id + 1);
  helper_used_[id] = true;
  clear_caller_saved();
  if (prototype->id == HelperId::tail_call) return leave_by_tail_call();
  if (prototype->has(flag::moves_packet)) forget_packet_pointers();
  if (prototype->id == HelperId::dynptr_write && (call.dynptr.object == static_cast<u32>(DynptrKind::skb) ||
                                                  call.dynptr.object == static_cast<u32>(DynptrKind::skb_meta)))
    forget_packet_pointers();
  if (!set_result(*prototype, call)) return false;
  insn_ = next_insn();
  return true;
}

void Checker::clear_caller_saved() {
  for (u32 r = 0; r <= 5; r++) reg(r) = Register{};
}

void Checker::forget_packet_pointers() {
  const Register gone = invalidated();
  for_each_register(pool_, state_, [&gone](Register& r) {
    if (!r.is_packet() && r.kind != Kind::packet_end && !r.is_packet_slice) return false;
    r = gone;
    return true;
  });
}

void Checker::forget_reference(u32 ref_id) {
  const Register gone = invalidated();
  for_each_register(pool_, state_, [&gone, ref_id](Register& r) {
    if (r.ref_id != ref_id || r.kind == Kind::iterator || r.kind == Kind::dynptr) return false;
    r = gone;
    return true;
  });
}

bool Checker::release_reference(u32 index, u32 ref_id) {
  auto it = std::find_if(state_.acquired.begin(), state_.acquired.end(),
                         [ref_id](const Acquired& a) { return a.id == ref_id; });
  if (ref_id == 0 || it == state_.acquired.end())
    return refuse_for(static_cast<s32>(index), MessageId::nothing_to_release, index, name(reg(index)));
  state_.acquired.erase(it);
  forget_reference(ref_id);
  return true;
}

bool Checker::set_lookup_result(const CallFacts& call) {
  const MapFacts& map = maps_[static_cast<u32>(call.map)];
  MapType type = map.spec->type;
  Register r = Register::pointer(Kind::map_value);
  if (type == MapType::array_of_maps || type == MapType::hash_of_maps) {
    if (map.inner < 0) return refuse(MessageId::inner_map_unknown, map.spec->name);
  } else if (type == MapType::sockmap || type == MapType::sockhash) {
    r.kind = Kind::socket;
    r.ref_id = new_id();
    state_.acquired.push_back({r.ref_id, insn_});
  } else if (type == MapType::xskmap) {
    if (!is_kernel()) return refuse(MessageId::unsupported_map_value, map.spec->name, name_of(type));
    r.kind = Kind::xdp_socket;
  }
  r.object = static_cast<u32>(call.map);
  r.or_null = !call.never_null;
  r.id = r.ref_id != 0 ? r.ref_id : new_id();
  if (call.never_null && !map.has_lock()) r.id = 0;
  reg(0) = r;
  return true;
}

bool Checker::set_result(const catalog::Prototype& prototype, const CallFacts& call) {
  auto nullable = [&](Kind kind) {
    Register r = Register::pointer(kind);
    r.or_null = true;
    r.id = new_id();
    if (prototype.has(flag::acquires)) {
      r.ref_id = r.id;
      state_.acquired.push_back({r.id, insn_});
    }
    return r;
  };
  switch (prototype.returns) {
    case Returns::number: {
      Scalar number;
      if (prototype.has(flag::negative_or_size) && call.size_max <= static_cast<u64>(Interval<s32>::s_max >> 1)) {
        constexpr s64 max_errno = 4095;
        number = Scalar::signed_range(-max_errno, static_cast<s64>(call.size_max));
      } else if (prototype.id == HelperId::get_smp_processor_id) {
        constexpr u32 most = 8192;  // CONFIG_NR_CPUS
        number = Scalar::range(0, (options_.possible_cpus != 0 ? options_.possible_cpus : most) - 1);
      }
      reg(0) = Register::scalar(number);
      return true;
    }
    case Returns::nothing:
      return true;
    case Returns::map_value_or_null:
      return set_lookup_result(call);
    case Returns::map_value: {
      Register r = Register::pointer(Kind::map_value);
      r.object = static_cast<u32>(call.map);
      reg(0) = r;
      return true;
    }
    case Returns::record_or_null: {
      Register r = nullable(Kind::memory);
      r.is_record = true;
      r.extent = call.alloc_size;
      reg(0) = r;
      return true;
    }
    case Returns::sock_common_or_null:
      reg(0) = nullable(Kind::sock_common);
      return true;
    case Returns::socket_or_null:
      reg(0) = nullable(Kind::socket);
      if (prototype.id == HelperId::sk_fullsock) reg(0).ref_id = call.socket_ref;
      return true;
    case Returns::tcp_socket_or_null:
      reg(0) = nullable(Kind::tcp_socket);
      reg(0).ref_id = call.socket_ref;
      return true;
    case Returns::task:
      reg(0) = Register::pointer(Kind::task);
      if (options_.kernel_types != nullptr) {
        reg(0) = Register::pointer(Kind::object);
        reg(0).object = kernel_type_index("task_struct");
        reg(0).trust = Trust::trusted;
      }
      return true;
    case Returns::object:
    case Returns::object_or_null: {
      Register r = prototype.returns == Returns::object ? Register::pointer(Kind::object) : nullable(Kind::object);
      if (!is_kernel()) return refuse(MessageId::unsupported_helper, call.row->name);
      r.object = kernel_type_index(catalog::object_result(prototype.id));
      r.trust = Trust::plain;
      r.ref_id = call.socket_ref;
      reg(0) = r;
      return true;
    }
    case Returns::cpu_object:
    case Returns::cpu_object_or_null: {
      Register r = call.kptr;
      const bool is_local = r.trust == Trust::shared_percpu;
      r.trust = is_local ? Trust::cpu_part : Trust::plain;
      // Linux 6.18 forgets the null for objects of the program's own.
      r.or_null = prototype.returns == Returns::cpu_object_or_null && !(is_local && is_kernel());
      r.id = r.or_null ? new_id() : 0;
      if (const ObjectType& type = types_[r.object];
          !is_local && type.types != nullptr &&
          !btf::is_composite(type.types->type(type.types->resolve(type.id)).kind)) {  // a number or an array
        Register bytes = Register::pointer(Kind::memory);
        bytes.extent = static_cast<u32>(type.types->size_of(type.id).value_or(0));
        bytes.read_only = true;
        bytes.or_null = r.or_null;
        bytes.id = r.id;
        r = bytes;
      }
      reg(0) = r;
      return true;
    }
    case Returns::dynptr_memory_or_null: {
      Register r = Register::pointer(Kind::memory);
      r.extent = call.alloc_size;
      r.object = call.dynptr.id;
      r.ref_id = call.dynptr.ref_id;
      r.read_only = call.dynptr.read_only;
      r.or_null = true;
      r.id = new_id();
      reg(0) = r;
      return true;
    }
    case Returns::kptr_or_null: {
      Register r = call.kptr;
      r.or_null = true;
      r.id = r.ref_id = new_id();
      state_.acquired.push_back({r.id, insn_});
      reg(0) = r;
      return true;
    }
    case Returns::unmodelled:
      return refuse(MessageId::unsupported_helper, call.row->name);
  }
  return false;
}

}  // namespace skep::verify
