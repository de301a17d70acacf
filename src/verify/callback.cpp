// Functions of the program that a helper calls.
//
// A helper that calls back before it returns (bpf_loop, bpf_for_each_map_elem, bpf_user_ringbuf_drain) is followed
// as a loop: from the call, one path goes on as if it called nobody, another enters the callback; when that returns,
// the path is at the call again, with what the callback changed in its callers' frames. The call is a checkpoint, and
// the loop ends when a round adds nothing (converge.cpp).
// A timer's callback runs later, on its own: it is explored like a program that begins with a map, a key and a value.
// Source: Linux 6.18, push_callback_call and set_*_callback_state.
#include "verify/call.hpp"

namespace skep::verify {

using catalog::Arg;
using catalog::HelperId;
using catalog::MessageId;

/// The argument is a static function of this program.
bool Checker::check_callback(u32 index, const CallFacts& call) {
  const Register value = reg(index);
  if (value.kind != Kind::function || value.or_null)
    return refuse_for(static_cast<s32>(index), MessageId::wrong_argument, fmt::format("bpf_{}", call.row->name), index,
                      name_of(Arg::callback), name(value));
  u32 function = *analysis_.function_at(value.object);
  if (analysis_.functions[function].is_global && object_.btf != nullptr)
    return refuse_for(static_cast<s32>(index), MessageId::callback_not_static, function_name(function));
  if (analysis_.functions[function].is_exception_callback) return refuse(MessageId::exception_callback_called);
  return true;
}

/// A copy of this state that is about to run `function`; its arguments are not set yet.
Pending& Checker::enter_callback(u32 function, ReturnRange range) {
  push_pending(analysis_.functions[function].first);
  Pending& p = pending_.back();
  p.enters_callback = true;
  p.state.rounds++;
  p.state.current().callback_depth++;
  note_call(function);
  Frame* callee = pool_.new_frame();
  callee->regs = {};
  callee->regs[10] = Register::pointer(Kind::stack);
  callee->regs[10].frame = static_cast<u8>(p.state.depth + 1);
  callee->call_insn = insn_;
  callee->function = function;
  callee->is_callback = true;
  callee->return_range = range;
  if (is_kernel()) callee->liveness = stack_liveness_.enter(state_.current().liveness, insn_, function);
  p.state.frames[++p.state.depth] = callee;
  p.written[p.state.depth] = ~u64{0};
  return p;
}

Register Checker::map_key_memory(u32 map) const {
  Register key = Register::pointer(Kind::memory);
  key.extent = maps_[map].spec->key_size;
  key.read_only = true;
  return key;
}

bool Checker::call_back(const catalog::Prototype& prototype, const CallFacts& call) {
  u32 callback_reg = prototype.id == HelperId::find_vma ? 3 : 2;
  u32 function = *analysis_.function_at(reg(callback_reg).object);
  if (prototype.id == HelperId::timer_set_callback) {
    queue_async(function, call.timer_map, false);
    return true;
  }
  for (u32 d = 0; d <= state_.depth; d++)
    if (state_.frames[d]->function == function) return refuse(MessageId::recursion, function_name(function), insn_);
  if (state_.depth + 1 >= isa::max_call_frames)
    return refuse(MessageId::too_many_frames, static_cast<u32>(isa::max_call_frames));
  Frame& caller = state_.current();
  if (prototype.id == HelperId::loop) {
    if (!need_precise(1)) return false;
    if (caller.callback_depth >= reg(1).number.wide.umax) {  // all rounds were followed one by one
      caller.callback_depth = 0;
      return true;
    }
  }
  Pending& p = enter_callback(function, {0, 1});
  auto& args = p.state.current().regs;
  switch (prototype.id) {
    case HelperId::loop:
      args[1] = Register::unknown();
      args[2] = reg(3);
      break;
    case HelperId::for_each_map_elem: {
      u32 map = static_cast<u32>(call.map);
      args[1] = Register::pointer(Kind::map);
      args[1].object = map;
      args[2] = map_key_memory(map);
      args[3] = Register::pointer(Kind::map_value);
      args[3].object = map;
      args[3].id = maps_[map].has_lock() ? new_id() : 0;
      args[4] = reg(3);
      break;
    }
    case HelperId::find_vma:
      args[1] = reg(1);
      args[2] = Register::pointer(Kind::object);
      args[2].object = kernel_type_index("vm_area_struct");
      args[2].trust = Trust::plain;
      args[3] = reg(4);
      break;
    case HelperId::user_ringbuf_drain:
      args[1] = Register::pointer(Kind::dynptr);
      args[1].read_only = true;
      args[2] = reg(3);
      break;
    default:
      return refuse(MessageId::unsupported_helper, call.row->name);
  }
  caller.callback_depth = 0;
  return true;
}

bool Checker::check_callback_result(ReturnRange range) {
  if (!readable(0)) return false;
  const Register result = reg(0);
  if (!result.is_scalar()) return refuse_for(0, MessageId::return_not_a_number, name(result), range.low, range.high);
  if (!need_precise(0)) return false;
  if (result.number.wide.smin < range.low || result.number.wide.smax > range.high)
    return refuse_for(0, MessageId::callback_result, describe(result, ""), range.low, range.high);
  return true;
}

/// A callback's exit: back to the call that made it, which may make it again.
bool Checker::return_from_callback() {
  Frame* callee = state_.frames[state_.depth];
  if (!check_callback_result(callee->return_range)) return false;
  insn_ = callee->call_insn;
  state_.frames[state_.depth--] = nullptr;
  pool_.free_frame(callee);
  path_.back().what = Step::What::returned;
  if (Checkpoint* before = previous_round(state_, insn_, false)) widen(*before, state_);
  return true;
}

void Checker::queue_async(u32 function, u32 map, bool may_sleep) {
  analysis_.functions[function].is_async = true;
  Async wanted{function, map, may_sleep};
  if (std::find(async_.begin(), async_.end(), wanted) == async_.end()) async_.push_back(wanted);
}

/// Explores every callback that was queued; those may queue more.
bool Checker::verify_async(std::size_t& done, bool& any) {
  for (; done < async_.size(); done++) {
    const Async async = async_[done];
    any = true;
    verified_function_ = async.function;
    may_sleep_ = async.may_sleep;
    enter_function(async.function);
    reg(1) = Register::pointer(Kind::map);
    reg(1).object = async.map;
    reg(2) = map_key_memory(async.map);
    reg(3) = Register::pointer(Kind::map_value);
    reg(3).object = async.map;
    reg(3).id = maps_[async.map].has_lock() ? new_id() : 0;
    async_range_ = ReturnRange{0, 0};
    bool ok = explore_and_forget();
    async_range_.reset();
    if (!ok) return false;
  }
  return true;
}

}  // namespace skep::verify
