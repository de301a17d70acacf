// Functions: static ones are followed at each call, global ones are proved once, by their C signature.
#include <algorithm>

#include "btf/btf.hpp"
#include "verify/checker.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Form;

namespace {
constexpr u32 stack_alignment = 16;  // each frame's share, as the x86-64 JIT of Linux rounds it
constexpr u32 max_stack_before_tail_call = 256;

/// What a global function's parameter is, by its C type.
struct Parameter {
  enum class What : u8 {
    number,
    context,
    memory,
    object,
    arena,
    dynptr,
    untrusted_object,
    untrusted_memory,
    unsupported
  };
  What what = What::unsupported;
  u32 size = 0;
  bool non_null = false;
  std::string_view type{};  ///< object: the kernel's structure
};

/// What the program's author promises of a parameter: tags "arg:..." on the function.
struct ParameterTags {
  bool ctx = false, trusted = false, non_null = false, nullable = false, arena = false, untrusted = false;

  bool has_others() const { return ctx || trusted || non_null || nullable || arena; }
};

ParameterTags tags_of(const btf::Btf& types, u32 function_id, u32 parameter) {
  ParameterTags tags;
  for (u32 id = types.first_id(); id < types.type_count(); id++) {
    btf::Type tag = types.type(id);
    if (tag.kind != btf::Kind::decl_tag || tag.type_id() != function_id ||
        types.component_index(tag) != static_cast<s32>(parameter))
      continue;
    tags.ctx |= tag.name == "arg:ctx";
    tags.trusted |= tag.name == "arg:trusted";
    tags.non_null |= tag.name == "arg:nonnull";
    tags.nullable |= tag.name == "arg:nullable";
    tags.arena |= tag.name == "arg:arena";
    tags.untrusted |= tag.name == "arg:untrusted";
  }
  return tags;
}

bool names_context(std::string_view name, const catalog::Context* context) {
  if (context == nullptr || name.empty()) return false;
  std::string_view wanted = context->name;
  if (wanted.starts_with("struct ")) wanted.remove_prefix(7);
  return name == wanted || (wanted == "pt_regs" && name == "bpf_user_pt_regs_t");
}

/// `index`: which parameter of the function `info`, whose C type is `type_id`.
Parameter parameter_of(const btf::Btf& types, const FunctionInfo& info, u32 index, u32 type_id,
                       const catalog::Context* context) {
  const ParameterTags tags = tags_of(types, info.type_id, index);
  btf::Type type = types.type(types.resolve(type_id));
  if (type.kind == btf::Kind::int_ || type.kind == btf::Kind::enum_ || type.kind == btf::Kind::enum64)
    return {Parameter::What::number, 0, false};
  if (type.kind != btf::Kind::ptr) return {};
  if (tags.ctx) return {Parameter::What::context, 0, true};
  if (tags.arena) return {Parameter::What::arena};
  u32 target_id = type.type_id();
  for (u32 id = target_id, i = 0; i < 8; i++) {  // typedefs may carry the context's name
    btf::Type t = types.type(id);
    if (names_context(t.name, context)) return {Parameter::What::context, 0, true};
    if (t.kind != btf::Kind::typedef_ && t.kind != btf::Kind::const_ && t.kind != btf::Kind::volatile_) break;
    id = t.type_id();
  }
  btf::Type target = types.type(types.resolve(target_id));
  if (target.kind == btf::Kind::struct_ && target.name == "bpf_dynptr") return {Parameter::What::dynptr, 0, true};
  if (tags.untrusted && tags.has_others()) return {};
  if (tags.untrusted && target.kind == btf::Kind::struct_)
    return {Parameter::What::untrusted_object, 0, true, target.name.substr(0, target.name.find("___"))};
  if (tags.untrusted && (target.kind == btf::Kind::void_ || target.kind == btf::Kind::int_ ||
                         target.kind == btf::Kind::ptr || btf::is_enumeration(target.kind)))
    return {Parameter::What::untrusted_memory};
  if (tags.untrusted || target.kind == btf::Kind::void_ || target.kind == btf::Kind::func_proto) return {};
  if (tags.trusted && btf::is_composite(target.kind))  // task_struct___mine is the kernel's task_struct
    return {Parameter::What::object, 0, !tags.nullable, target.name.substr(0, target.name.find("___"))};
  auto size = types.size_of(target_id);
  if (!size || *size == 0 || *size > (1u << 20)) return {};
  return {Parameter::What::memory, static_cast<u32>(*size), tags.non_null};
}

std::vector<btf::Param> parameters(const btf::Btf& types, const FunctionInfo& info) {
  if (info.type_id == 0 || info.type_id >= types.type_count()) return {};
  btf::Type func = types.type(info.type_id);
  if (func.kind != btf::Kind::func) return {};
  btf::Type proto = types.type(func.type_id());
  if (proto.kind != btf::Kind::func_proto) return {};
  return types.params(proto);
}
}  // namespace

bool Checker::set_arguments(u32 function) {
  const Function& f = analysis_.functions[function];
  if (function == 0) {
    reg(1) = Register::pointer(Kind::context);
    return true;
  }
  if (f.is_exception_callback) {
    reg(1) = Register::unknown();
    return true;
  }
  const btf::Btf& types = *object_.btf;
  auto params = parameters(types, *f.info);
  for (u32 p = 0; p < params.size(); p++) {
    Parameter parameter = parameter_of(types, *f.info, p, params[p].type_id, context_layout());
    if (p >= 5 || parameter.what == Parameter::What::unsupported)
      return refuse(MessageId::unsupported_global_argument, p + 1, f.info->name);
    Register& r = reg(p + 1);
    if (parameter.what == Parameter::What::number) {
      r = Register::unknown();
    } else if (parameter.what == Parameter::What::context) {
      r = Register::pointer(Kind::context);
    } else if (parameter.what == Parameter::What::arena) {
      r = Register::pointer(Kind::arena);
    } else if (parameter.what == Parameter::What::untrusted_memory && is_kernel()) {
      r = untrusted_memory();
    } else if (parameter.what == Parameter::What::untrusted_object && is_kernel() && is_kernel_type(parameter.type)) {
      r = Register::pointer(Kind::object);
      r.object = kernel_type_index(parameter.type);
      r.trust = Trust::untrusted;
    } else if (parameter.what == Parameter::What::dynptr && is_kernel()) {
      r = Register::pointer(Kind::dynptr);
      r.read_only = true;
    } else if (parameter.what == Parameter::What::dynptr || parameter.what == Parameter::What::untrusted_memory ||
               parameter.what == Parameter::What::untrusted_object) {
      return refuse(MessageId::unsupported_global_argument, p + 1, f.info->name);
    } else if (parameter.what == Parameter::What::object) {
      if (!is_kernel_type(parameter.type)) return refuse(MessageId::unsupported_global_argument, p + 1, f.info->name);
      r = Register::pointer(Kind::object);
      r.object = kernel_type_index(parameter.type);
      r.trust = Trust::trusted;
      r.or_null = !parameter.non_null;
      if (r.or_null) r.id = new_id();
    } else {
      r = Register::pointer(Kind::memory);
      r.extent = parameter.size;
      r.or_null = !parameter.non_null;
      r.id = new_id();
    }
  }
  return true;
}

bool Checker::call_global(u32 function) {
  Function& f = analysis_.functions[function];
  f.is_called = true;
  if (is_kernel() && !returns_number(function))
    return refuse(MessageId::function_returns_no_number, f.info->name, "it is global");
  if (state_.is_locked()) return refuse(MessageId::lock_held, fmt::format("{}()", f.info->name));
  if (f.sleeps && !check_may_sleep(f.info->name)) return false;
  if (f.throws && !check_resources(fmt::format("{}() may throw", f.info->name))) return false;
  auto params = parameters(*object_.btf, *f.info);
  for (u32 p = 0; p < params.size() && p < 5; p++) {
    u32 r = p + 1;
    if (!readable(r)) return false;
    Register value = reg(r);
    Parameter parameter = parameter_of(*object_.btf, *f.info, p, params[p].type_id, context_layout());
    auto wrong = [&](std::string_view wanted) {
      return refuse_for(static_cast<s32>(r), MessageId::wrong_argument, f.info->name, r, wanted, name(value));
    };
    switch (parameter.what) {
      case Parameter::What::number:
        if (!value.is_scalar()) return wrong("a number");
        break;
      case Parameter::What::context:
        if (value.kind != Kind::context || !value.is_fixed() || value.off != 0) return wrong("the context");
        break;
      case Parameter::What::arena:
        if (value.kind != Kind::arena && !value.is_scalar()) return wrong("a pointer into the arena");
        break;
      case Parameter::What::object: {
        if (value.is_zero() && !parameter.non_null) {
          if (!need_precise(r)) return false;
          break;
        }
        const bool same = value.kind == Kind::object && is_object_of(value, parameter.type);
        if (!same || !value.is_fixed() || value.trust != Trust::trusted || (value.or_null && parameter.non_null))
          return wrong(fmt::format("a trusted pointer to a struct {}", parameter.type));
        break;
      }
      case Parameter::What::memory: {
        if (value.is_zero() && !parameter.non_null) {
          if (!need_precise(r)) return false;
          break;
        }
        if (value.or_null && parameter.non_null) return wrong("memory that is no null");
        // The function's memory must stay where it is for the whole call.
        if (f.moves_packet && value.is_packet()) return wrong("memory that the function does not move");
        if (value.or_null) reg(r).or_null = false;  // null is passed on: the function checks it
        bool ok = check_memory_argument(r, parameter.size, Access::write, false, true);
        reg(r).or_null = value.or_null;
        if (!ok) return false;
        break;
      }
      case Parameter::What::dynptr: {
        Register found;
        if (!initialised_dynptr(r, found)) return wrong("an initialised dynptr");
        break;
      }
      case Parameter::What::untrusted_object:
      case Parameter::What::untrusted_memory:
        break;  // anything: it is read as if it might fault
      case Parameter::What::unsupported:
        return refuse(MessageId::unsupported_global_argument, r, f.info->name);
    }
  }
  clear_caller_saved();
  reg(0) = Register::unknown();
  if (f.moves_packet) forget_packet_pointers();
  insn_ = next_insn();
  return true;
}

bool Checker::do_local_call() {
  u32 target = insn_ + 1 + static_cast<u32>(insn().imm);
  u32 function = *analysis_.function_at(target);
  if (analysis_.functions[function].is_exception_callback) return refuse(MessageId::exception_callback_called);
  if (analysis_.functions[function].is_global) {
    if (object_.btf == nullptr)
      return refuse(MessageId::unsupported_global_argument, 0, analysis_.functions[function].info->name);
    return call_global(function);
  }
  return call_static(function);
}

/// callx: of a register that holds a function of this program.
bool Checker::do_callx() {
  const u32 index = insn().dst;
  if (!readable(index)) return false;
  const Register target = reg(index);
  if (is_kernel()) return refuse(MessageId::unsupported_instruction, "callx");
  if (target.kind != Kind::function || target.or_null)
    return refuse_for(static_cast<s32>(index), MessageId::callx_target, index, name(target));
  u32 function = *analysis_.function_at(target.object);
  note_call(function);
  const bool is_global = analysis_.functions[function].is_global && object_.btf != nullptr;
  return is_global ? call_global(function) : call_static(function);
}

bool Checker::call_static(u32 function) {
  u32 target = analysis_.functions[function].first;
  for (u32 d = 0; d <= state_.depth; d++)
    if (state_.frames[d]->function == function) return refuse(MessageId::recursion, function_name(function), insn_);
  if (state_.depth + 1 >= isa::max_call_frames)
    return refuse(MessageId::too_many_frames, static_cast<u32>(isa::max_call_frames));
  Frame& caller = state_.current();
  Frame* callee = pool_.new_frame();
  callee->regs = {};
  for (u32 r = 1; r <= 5; r++) callee->regs[r] = caller.regs[r];
  callee->regs[10] = Register::pointer(Kind::stack);
  callee->regs[10].frame = static_cast<u8>(state_.depth + 1);
  callee->call_insn = insn_;
  callee->function = function;
  if (is_kernel()) callee->liveness = stack_liveness_.enter(caller.liveness, insn_, function);
  clear_caller_saved();
  state_.frames[++state_.depth] = callee;
  written_[state_.depth] = ~u64{0};
  path_.back().what = Step::What::descended;
  path_.back().frame = static_cast<u8>(state_.depth);
  insn_ = target;
  return true;
}

bool Checker::return_to_caller() {
  Frame* callee = state_.frames[state_.depth];
  if (callee->is_callback) return return_from_callback();
  Register result = callee->regs[0];
  if (result.kind == Kind::stack) return refuse_for(0, MessageId::stack_pointer_returned);
  u32 call = callee->call_insn;
  state_.frames[state_.depth--] = nullptr;
  pool_.free_frame(callee);
  reg(0) = result;
  insn_ = call + 1;
  return true;
}

bool Checker::check_return_value() {
  bool main = verified_function_ == 0 && !async_range_;
  if (main && typed_context_ && typed_context_->returns_nothing) return true;
  if (!readable(0)) return false;
  const Register result = reg(0);
  if (async_range_) return check_callback_result(*async_range_);
  if (!keeps_address(0, "returned")) return false;
  if (verified_function_ != 0 && !analysis_.functions[verified_function_].is_exception_callback) {
    if (!result.is_scalar()) return refuse_for(0, MessageId::global_returns_pointer, name(result));
    return true;
  }
  catalog::ReturnRange range = catalog::return_range(program_.type, program_.attach.attach_type());
  if (typed_context_ && typed_context_->returns) {
    range = {true, typed_context_->returns->first, typed_context_->returns->second};
  }
  if (!range.checked) return true;
  if (!result.is_scalar()) return refuse_for(0, MessageId::return_not_a_number, name(result), range.low, range.high);
  if (!need_precise(0)) return false;
  // Hooks return an int: Linux looks at the lower half of an LSM program's result.
  const bool is_int = program_.type == ProgramType::lsm;
  const s64 low = is_int ? s64{result.number.narrow.smin} : result.number.wide.smin;
  const s64 high = is_int ? s64{result.number.narrow.smax} : result.number.wide.smax;
  if (low < range.low || high > range.high)
    return refuse_for(0, MessageId::return_out_of_range, name_of(program_.type), describe(result, ""), range.low,
                      range.high);
  return true;
}

/// A tail call that succeeds does not come back. In a function it takes the function's place: its result, any number,
/// goes to the caller, and it may have moved the packet. One that fails goes on behind the call with all as it was.
/// Source: Linux 6.18.3, "bpf: properly verify tail call behavior".
bool Checker::leave_by_tail_call() {
  if (state_.depth == 0) {
    insn_ = next_insn();
    return true;
  }
  push_pending(next_insn());
  forget_packet_pointers();
  reg(0) = Register::unknown();
  path_.back().what = Step::What::left;
  return return_to_caller();
}

/// Whether the step behind `step` is in the caller of the function it is in.
bool Checker::leaves_function(const Step& step) const {
  return step.what == Step::What::left || step.what == Step::What::returned ||
         isa::row(analysis_.insns[step.insn].op).form == isa::Form::exit;
}

bool Checker::do_exit() {
  if (state_.depth > 0) return return_to_caller();
  if (!check_resources("the program ends")) return false;
  if (!check_return_value()) return false;
  path_ends_ = true;
  return true;
}

/// Whether what is called here may sleep. Source: Linux 6.18, in_sleepable_context.
bool Checker::check_may_sleep(std::string_view what) {
  if (!may_sleep_) return refuse(MessageId::helper_sleeps, what, async_range_ ? "a timer's callback" : "the program");
  return state_.in_section() ? refuse(MessageId::sleeps_in_section, what) : true;
}

/// Nothing may be held here.
bool Checker::check_resources(std::string_view what) {
  if (state_.is_locked()) return refuse(MessageId::lock_still_held);
  if (!state_.acquired.empty()) {
    if (state_.acquired.back().interrupts)
      return refuse(MessageId::section_open, what, "interrupts disabled", "bpf_local_irq_restore()");
    return refuse(MessageId::reference_leak, state_.acquired.back().insn);
  }
  if (state_.rcu) return refuse(MessageId::section_open, what, "an RCU section", "bpf_rcu_read_unlock()");
  if (state_.preempt_depth != 0)
    return refuse(MessageId::section_open, what, "preemption disabled", "bpf_preempt_enable()");
  return true;
}

/// The deepest chain of calls must fit the stack, in every order functions may call each other. Functions that run
/// after the program (timers) and instead of the rest of it (exception callbacks) begin a chain of their own.
bool Checker::check_stack_depth() {
  if (!check_chain(0)) return false;
  for (u32 f = 1; f < analysis_.functions.size(); f++)
    if ((analysis_.functions[f].is_async || analysis_.functions[f].is_exception_callback) && !check_chain(f))
      return false;
  return true;
}

void Checker::note_call(u32 function) {
  const SeenCall call{insn_, function};
  if (std::ranges::find(seen_calls_, call) == seen_calls_.end()) seen_calls_.push_back(call);
}

namespace {
bool names_no_callee(Form form) { return form == Form::callx || form == Form::call_helper || form == Form::call_kfunc; }
}  // namespace

/// The function that the instruction calls. Of those that it was seen to call, the one from number `seen` on, which
/// moves behind it. Linux takes a function that is named to be called back there, but for those that a timer calls,
/// too, even if a helper also calls them at once.
std::optional<u32> Checker::callee_at(u32 insn, u32& seen) const {
  const InsnFacts& facts = analysis_.insns[insn];
  if (facts.is_tail) return std::nullopt;
  switch (isa::row(facts.op).form) {
    case Form::call_local:
      return analysis_.function_at(insn + 1 + static_cast<u32>(program_.insns[insn].imm));
    case Form::callx:
    case Form::call_helper:
    case Form::call_kfunc:
      for (; !is_kernel() && seen < seen_calls_.size(); seen++)
        if (seen_calls_[seen].insn == insn) return seen_calls_[seen++].function;
      return std::nullopt;
    case Form::ld_imm64: {
      if (!is_kernel() || program_.insns[insn].src != isa::imm64_src_function || !proofs_[insn].reached)
        return std::nullopt;
      auto f = analysis_.function_at(function_named_at(insn));
      return f && !analysis_.functions[*f].is_async ? f : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

u32 Checker::function_named_at(u32 insn) const {
  s32 r = analysis_.insns[insn].reference;
  return r >= 0 ? program_.references[static_cast<u32>(r)].addend
                : insn + 1 + static_cast<u32>(program_.insns[insn].imm);
}

/// Linux gives functions of programs that may nest stacks of their own (since 6.13): such a one counts for itself.
bool Checker::has_private_stacks() const {
  using namespace catalog::programs;
  if (!is_kernel()) return false;
  for (const Function& f : analysis_.functions)
    if (f.has_tail_call) return false;
  if (program_.type == ProgramType::tracing) return program_.attach.attach_type() != AttachType::trace_iter;
  return catalog::contains(kprobe | tracepoint | perf_event | raw_tracepoint | lsm, program_.type);
}

bool Checker::check_chain(u32 root) {
  struct Entry {
    u32 function, insn, seen = 0;
  };
  std::vector<Entry> chain{{root, analysis_.functions[root].first}};
  // Under the kernel's rules a function without stack takes none; a stack of its own counts for nobody else.
  constexpr u32 least_private_stack = 64;
  const bool private_stacks = has_private_stacks() && !analysis_.functions[root].is_async;
  auto share = [&](u32 f) {
    u32 used = is_kernel() ? function_stack_[f] : std::max(function_stack_[f], 1u);
    u32 bytes = (used + stack_alignment - 1) / stack_alignment * stack_alignment;
    return private_stacks && bytes >= least_private_stack ? 0 : bytes;
  };
  u32 depth = share(root);
  stack_bytes_ = std::max(stack_bytes_, depth);
  u64 steps = 0;
  while (!chain.empty()) {
    if (++steps > 4'000'000) return refuse(MessageId::too_complex, steps, "stack depth");
    Entry& top = chain.back();
    const Function& f = analysis_.functions[top.function];
    std::optional<u32> callee;
    while (top.insn < f.end && !(callee = callee_at(top.insn, top.seen))) {
      const catalog::Kfunc* kfunc = is_kernel() && isa::row(analysis_.insns[top.insn].op).form == Form::call_kfunc
                                        ? analysis_.kfunc_at(top.insn)
                                        : nullptr;
      if (kfunc != nullptr && kfunc->has(catalog::kfunc_flags::throws)) {  // not below what is called back
        const auto below = std::ranges::find_if(chain, [this](const Entry& e) {
          return analysis_.functions[e.function].is_callback || analysis_.functions[e.function].is_exception_callback;
        });
        insn_ = top.insn;
        if (below != chain.end()) return refuse(MessageId::throw_in_callback, function_name(below->function));
      }
      top.insn += isa::slots(program_.insns[top.insn]);
      top.seen = 0;
    }
    if (top.insn >= f.end) {
      depth -= share(top.function);
      chain.pop_back();
      continue;
    }
    insn_ = top.insn;
    if (!names_no_callee(isa::row(analysis_.insns[insn_].op).form)) top.insn += isa::slots(program_.insns[insn_]);
    for (const Entry& e : chain)
      if (e.function == *callee) return refuse(MessageId::recursion, function_name(*callee), insn_);
    if (chain.size() >= isa::max_call_frames)
      return refuse(MessageId::too_many_frames, static_cast<u32>(isa::max_call_frames));
    if (analysis_.functions[*callee].has_tail_call && depth >= max_stack_before_tail_call)
      return refuse(MessageId::stack_before_tail_call, depth, max_stack_before_tail_call);
    depth += share(*callee);
    stack_bytes_ = std::max(stack_bytes_, depth);
    if (depth > isa::stack_size_bytes)
      return refuse(MessageId::stack_too_deep, depth, static_cast<u32>(isa::stack_size_bytes));
    chain.push_back({*callee, analysis_.functions[*callee].first});
  }
  return true;
}

std::string Checker::function_name(u32 function) const {
  const Function& f = analysis_.functions[function];
  return f.info != nullptr ? f.info->name : fmt::format("the function at instruction {}", f.first);
}

}  // namespace skep::verify
