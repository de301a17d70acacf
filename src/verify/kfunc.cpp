// Calls of kernel functions: may this program call it, are the arguments what it needs, what follows.
// Source: Linux 6.18, check_kfunc_call and its helpers.
#include "verify/kfunc.hpp"

#include <algorithm>

#include "btf/btf.hpp"

namespace skep::verify {

using catalog::KfuncArg;
using catalog::KfuncId;
using catalog::KfuncResult;
using catalog::MessageId;
namespace flag = catalog::kfunc_flags;

bool Checker::check_kfunc_caller(const catalog::Kfunc& kfunc) {
  if (!catalog::contains(kfunc.callers, program_.type))
    return refuse(MessageId::kfunc_not_for_type, kfunc.name, name_of(program_.type));
  // Its socket is locked by the iterator alone (kernel: tracing_iter_filter).
  if (kfunc.id == KfuncId::bpf_sock_destroy && program_.attach.attach_type() != AttachType::trace_iter)
    return refuse(MessageId::kfunc_not_for_attach, kfunc.name, program_.attach.text());
  // Linux, check_css_task_iter_allowlist: it takes a lock that other programs may hold.
  if (kfunc.id == KfuncId::bpf_iter_css_task_new && program_.type != ProgramType::lsm &&
      program_.attach.attach_type() != AttachType::trace_iter && !may_sleep_)
    return refuse(MessageId::kfunc_not_for_attach, kfunc.name, program_.attach.text());
  // The driver answers them, so Linux wants to know which one when the program is loaded.
  if (is_kernel() && kfunc.name.starts_with("bpf_xdp_metadata_"))
    return refuse(MessageId::kfunc_not_for_attach, kfunc.name, "no device (BPF_F_XDP_DEV_BOUND_ONLY)");
  if (!options_.engine_kfuncs.empty() && !options_.engine_kfuncs[static_cast<u32>(kfunc.id)])
    return refuse(MessageId::kfunc_not_in_engine, kfunc.name);
  if (kfunc.has(flag::sleeps) && !check_may_sleep(kfunc.name)) return false;
  if (state_.is_locked() && !kfunc.has(flag::under_lock))
    return refuse(MessageId::lock_held, fmt::format("{}()", kfunc.name));
  return true;
}

bool Checker::do_kfunc_call() {
  const catalog::Kfunc* kfunc = analysis_.kfunc_at(insn_);
  if (kfunc == nullptr) {
    if (facts().reference < 0) return refuse(MessageId::unsupported_kfunc, "?");
    const std::string& wanted = program_.references[static_cast<u32>(facts().reference)].name;
    const btf::Btf* types = options_.kernel_types.get();
    const bool is_there = !is_kernel() || types == nullptr || types->find(btf::essential_name(wanted), btf::Kind::func);
    return refuse(is_there ? MessageId::unsupported_kfunc : MessageId::no_kernel_symbol, wanted);
  }
  if (!check_kfunc_caller(*kfunc)) return false;
  if (kfunc->has(flag::may_fail)) explore_refusal();
  KfuncCall call;
  call.row = kfunc;
  for (u32 index = 0; index < kfunc->arg_count(); index++)
    if (!check_kfunc_argument(call, index)) return false;
  kfunc_used_[static_cast<u32>(kfunc->id)] = true;
  if (kfunc->has(flag::throws)) return do_throw();
  if (kfunc->has(flag::iter_next)) return next_iteration(call);
  if (!change_section(*kfunc) || !change_graph(call) || !change_dynptr(call)) return false;
  if (kfunc->has(flag::releases) && !release_reference(call.object_reg, call.object.ref_id)) return false;
  clear_caller_saved();
  if (kfunc->has(flag::moves_packet)) forget_packet_pointers();
  if (!set_kfunc_result(call)) return false;
  insn_ = next_insn();
  return true;
}

/// The way on from a lock that was not given: nothing is held, and the caller is told why (Linux: -MAX_ERRNO to -1).
void Checker::explore_refusal() {
  constexpr s64 largest_error = 4095;
  push_pending(next_insn());
  Frame& frame = pending_.back().state.current();
  for (u32 r = 1; r <= 5; r++) frame.regs[r] = Register{};
  frame.regs[0] = Register::scalar(Scalar::range(-largest_error, -1));
}

/// RCU sections and disabled preemption.
bool Checker::change_section(const catalog::Kfunc& kfunc) {
  switch (kfunc.id) {
    case KfuncId::bpf_rcu_read_lock:
      if (state_.rcu) return refuse(MessageId::section_twice, "an RCU section");
      state_.rcu = true;
      return true;
    case KfuncId::bpf_rcu_read_unlock:
      if (!state_.rcu) return refuse(MessageId::section_not_open, "bpf_rcu_read_unlock", "bpf_rcu_read_lock");
      state_.rcu = false;
      for_each_register(pool_, state_, [this](Register& r) {
        if (r.kind == Kind::iterator && r.trust == Trust::rcu) {
          r.trust = Trust::untrusted;
          return true;
        }
        if (r.kind != Kind::object || !ends_with_rcu(r.trust)) return false;
        r.trust = types_[r.object].types == object_.btf.get() ? Trust::over : Trust::untrusted;
        return true;
      });
      return true;
    case KfuncId::bpf_preempt_disable:
      state_.preempt_depth++;
      return true;
    case KfuncId::bpf_preempt_enable:
      if (state_.preempt_depth == 0)
        return refuse(MessageId::section_not_open, "bpf_preempt_enable", "bpf_preempt_disable");
      state_.preempt_depth--;
      return true;
    default:
      return true;
  }
}

/// bpf_throw: the program ends here, in whatever frame.
bool Checker::do_throw() {
  if (state_.rcu || state_.preempt_depth != 0 || state_.is_locked() || !state_.acquired.empty())
    return check_resources("bpf_throw() ends the program");
  for (u32 d = 0; d <= state_.depth; d++)
    for (u32 s = 0; s < state_.frames[d]->slot_count; s++)
      if (state_.frames[d]->slots[s].is_special() && state_.frames[d]->slots[s].spill->value.ref_id != 0)
        return refuse(MessageId::reference_leak, insn_);
  if (exception_callback_ < 0 && !has_exception_callback()) {  // the cookie becomes the program's result
    catalog::ReturnRange range = catalog::return_range(program_.type, program_.attach.attach_type());
    if (range.checked) {
      if (!need_precise(1)) return false;
      const Register cookie = reg(1);
      if (cookie.number.wide.smin < range.low || cookie.number.wide.smax > range.high)
        return refuse_for(1, MessageId::return_out_of_range, name_of(program_.type), describe(cookie, ""), range.low,
                          range.high);
    }
  }
  path_ends_ = true;
  return true;
}

bool Checker::has_exception_callback() const {
  return std::any_of(analysis_.functions.begin(), analysis_.functions.end(),
                     [](const Function& f) { return f.is_exception_callback; });
}

/// Whether the iterator that this instruction's r1 points to may give more, in `state`.
bool Checker::iterator_is_active(const State& state) const {
  const catalog::Kfunc* kfunc = analysis_.kfunc_at(insn_);
  if (kfunc == nullptr || !kfunc->has(flag::iter_next)) return true;
  const Register& pointer = state.frames[state.depth]->regs[1];
  const Register* found =
      find_object(const_cast<State&>(state), pointer, Kind::iterator, catalog::iterator_slots(kfunc->type));
  return found != nullptr && !found->is_record;
}

/// iter_next: one path ends the loop with null, the other has the next element, if the iterator still may.
bool Checker::next_iteration(KfuncCall& call) {
  const u32 slots = catalog::iterator_slots(call.row->type);
  const Register pointer = reg(1);
  const Register iterator = *find_object(state_, pointer, Kind::iterator, slots);
  clear_caller_saved();
  if (!iterator.is_record) {  // not drained yet
    Checkpoint* before = previous_round(state_, insn_, true);
    push_pending(next_insn());
    State& more = pending_.back().state;
    more.rounds++;
    if (before != nullptr) widen(*before, more);
    Register element;
    if (call.row->result == KfuncResult::number_pointer) {
      element = Register::pointer(Kind::memory);
      element.extent = call.row->type == "bits" ? 4 : 4;
      element.read_only = true;
      element.ref_id = iterator.ref_id;
    } else {
      element = Register::pointer(Kind::object);
      std::string_view type = call.row->type == "task_vma"     ? "vm_area_struct"
                              : call.row->type == "css"        ? "cgroup_subsys_state"
                              : call.row->type == "kmem_cache" ? "kmem_cache"
                              : call.row->type == "dmabuf"     ? "dma_buf"
                                                               : "task_struct";
      element.object = kernel_type_index(type);
      element.trust = call.row->type == "css" || call.row->type == "task" ? Trust::rcu : Trust::trusted;
      element.ref_id = iterator.ref_id;
    }
    more.reg(0) = element;
  }
  Register drained = iterator;
  drained.is_record = true;
  set_object(state_, pointer, drained, slots);
  reg(0) = Register::constant(0);
  insn_ = next_insn();
  return true;
}

bool Checker::set_kfunc_result(KfuncCall& call) {
  const catalog::Kfunc& row = *call.row;
  Register r;
  switch (row.result) {
    case KfuncResult::nothing:
      return true;
    case KfuncResult::number:
      reg(0) = row.has(flag::may_fail) ? Register::constant(0) : Register::unknown();
      return true;
    case KfuncResult::boolean:
      reg(0) = Register::scalar(is_kernel() ? Scalar::of_bits(8) : Scalar::range(0, 1));
      return true;
    case KfuncResult::arena:
      reg(0) = Register::unknown();
      return true;
    case KfuncResult::number_pointer:
      r = Register::pointer(Kind::memory);
      r.extent = 8;
      break;
    case KfuncResult::slice:
      r = Register::pointer(Kind::memory);
      r.extent = static_cast<u32>(call.constant);
      r.object = call.dynptr.id;
      r.ref_id = call.dynptr.ref_id;
      r.read_only = row.has(flag::read_only);
      r.is_packet_slice = call.dynptr.object >= static_cast<u32>(DynptrKind::skb);
      break;
    case KfuncResult::object:
      r = Register::pointer(Kind::object);
      r.object = kernel_type_index(row.type);
      r.trust = row.has(flag::untrusted) ? Trust::untrusted : Trust::trusted;
      break;
    case KfuncResult::local:
    case KfuncResult::local_percpu:
    case KfuncResult::same_local:
      r = Register::pointer(Kind::object);
      r.object = row.result == KfuncResult::same_local ? call.object.object
                                                       : local_type_index(static_cast<u32>(call.constant));
      r.trust = row.result == KfuncResult::local_percpu ? Trust::owned_percpu : Trust::owned;
      break;
    case KfuncResult::list_node:
    case KfuncResult::rb_node:
    case KfuncResult::rb_node_owned:
      r = Register::pointer(Kind::object);
      r.object = local_type_index(call.head->target);
      r.off = static_cast<s32>(call.head->node_offset);
      r.trust = row.result == KfuncResult::rb_node ? Trust::shared : Trust::owned;
      break;
    case KfuncResult::context: {
      std::string_view type = catalog::kernel_context(program_.type);
      if (type.empty() || !is_kernel()) return refuse(MessageId::unsupported_kfunc, row.name);
      r = Register::pointer(Kind::object);
      r.object = kernel_type_index(type);
      r.trust = Trust::trusted;
      break;
    }
    case KfuncResult::cast: {
      const btf::Btf* types = options_.kernel_types.get();
      if (types == nullptr || !is_kernel()) return refuse(MessageId::unsupported_kfunc, row.name);
      if (call.constant == 0) {  // void: bytes of which nothing is known
        r = untrusted_memory();
        break;
      }
      if (call.constant >= types->type_count() || !btf::is_composite(types->type(static_cast<u32>(call.constant)).kind))
        return refuse_for(2, MessageId::wrong_argument, row.name, 2u,
                          "0, or the id of a structure or union of the kernel", call.constant);
      u32 id = static_cast<u32>(call.constant);
      r = Register::pointer(Kind::object);
      r.object = type_index(types, id, types->type(id).name);
      r.trust = Trust::untrusted;
      break;
    }
  }
  // Another reference to what is held anyway is never null.
  bool sure = row.result == KfuncResult::same_local && call.object.trust == Trust::owned;
  if (row.has(flag::or_null) && !sure) r.or_null = true, r.id = new_id();
  if (row.has(flag::acquires)) {
    r.ref_id = r.or_null ? r.id : new_id();
    state_.acquired.push_back({r.ref_id, insn_});
  }
  reg(0) = r;
  return true;
}

u32 Checker::type_index(const btf::Btf* types, u32 id, std::string_view type_name) {
  for (u32 k = 1; k < types_.size(); k++)
    if (types_[k].types == types && types_[k].id == id && types_[k].name == type_name) return k;
  ObjectType type{types, id, std::string(type_name), {}};
  if (types != nullptr && types == object_.btf.get())
    if (auto size = types->size_of(id)) type.fields = special_fields(*types, id, static_cast<u32>(*size));
  types_.push_back(std::move(type));
  return static_cast<u32>(types_.size() - 1);
}

u32 Checker::local_type_index(u32 id) { return type_index(object_.btf.get(), id, object_.btf->type(id).name); }

u32 Checker::kernel_type_index(std::string_view type_name) {
  const btf::Btf* types = options_.kernel_types.get();
  std::optional<u32> id = types != nullptr ? types->find(type_name, btf::Kind::struct_) : std::nullopt;
  return type_index(types, id.value_or(0), type_name);
}

}  // namespace skep::verify
