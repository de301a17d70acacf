// From eBPF instructions to SSA: helpers, calls of functions of the program, inlining, tail calls. See builder.hpp.
#include <algorithm>
#include <cerrno>

#include "base/run_helpers.hpp"
#include "vm/jit/builder.hpp"
#include "vm/jit/entry.hpp"

namespace skep::vm::jit {

void FunctionBuilder::forget_arguments() {
  for (u32 r = 1; r <= 5; r++) write(r, make_.constant(0));
}

Value FunctionBuilder::plain_call(u64 target, std::span<const Value> arguments) {
  return make_.place({.op = ir::Op::call, .imm = static_cast<s64>(target)}, arguments);
}

void FunctionBuilder::call(u64 target) {
  const Value arguments[] = {read(1), read(2), read(3), read(4), read(5)};
  const Value result = plain_call(target, arguments);
  finish_call(result);
}

void FunctionBuilder::finish_call(Value result) {
  write(0, result);
  forget_arguments();
  if (code_.throws(at_)) return_if_thrown();
}

void FunctionBuilder::return_if_thrown() {
  const Value thrown = make_.load(8, false, make_.run(), offsetof(base::Run, thrown));
  const BlockId here = make_.block();
  const BlockId out = continuation(here), rest = continuation(here);
  branch_to(Condition::ne, 32, thrown, make_.constant(0), out, rest, Inst::unlikely);
  make_.enter(out);
  leave_thrown();
  ended_ = false;
  make_.enter(rest);
}

void FunctionBuilder::leave_thrown() {
  ended_ = true;
  if (!is_main_) return make_.ret(make_.constant(0));
  const Value code[] = {make_.constant(reinterpret_cast<u64>(&code_))};
  make_.ret(plain_call(reinterpret_cast<u64>(runtime_.settle), code));
}

void FunctionBuilder::call_helper() {
  if (insn().imm == isa::helper_tail_call) return tail_call();
  if (const auto* view = map_argument(); view != nullptr && call_map(*view)) return;
  if (call_back_inline()) return;
  if (code_.slots[at_].helper == &base::cpu_of_run) {
    write(0, cpu_of_run());
    return forget_arguments();
  }
  call(reinterpret_cast<u64>(code_.slots[at_].helper));
}

const base::MapView* FunctionBuilder::map_argument() {
  if (const auto* view = shaper_.map_at(at_)) return view;
  const Value map = read(1);
  return f_.is_constant(map) ? shaper_.view_of(static_cast<u64>(f_.insns[map].imm)) : nullptr;
}

/// Leaves the frame and enters the target's program as entry.hpp says, or goes on with an error.
void FunctionBuilder::tail_call() {
  const Value find[] = {read(2), make_.zext(32, read(3)), make_.constant(reinterpret_cast<u64>(code_.tail_target))};
  const Value context = read(1);
  const Value target = plain_call(reinterpret_cast<u64>(runtime_.find_tail), find);
  const BlockId here = make_.block();
  const BlockId found = continuation(here), taken = continuation(here), rest = continuation(here);
  branch_to(Condition::ne, 64, target, make_.constant(0), found, rest, Inst::likely);
  make_.enter(found);
  const Value count = make_.load(32, false, make_.run(), offsetof(base::Run, tail_calls));
  branch_to(Condition::ult, 32, count, make_.constant(isa::max_tail_calls), taken, rest, Inst::likely);
  make_.enter(taken);
  make_.store(32, make_.run(), offsetof(base::Run, tail_calls),
              make_.arithmetic(ir::Op::add, 32, count, make_.constant(1)));
  const Value none = make_.constant(0);
  const Value run[] = {acquire(64, target, function_entry_at), context, none, none, none, target};
  leave(make_.place({.op = ir::Op::call_pointer, .flags = Inst::last}, run));
  ended_ = false;
  make_.enter(rest);
  const Value errors[] = {make_.constant(static_cast<u64>(s64{-ENOENT})),
                          make_.constant(static_cast<u64>(s64{-ELOOP}))};
  const Value error = begin_phi(rest);
  set_operands(error, errors);
  write(0, error);
  forget_arguments();
}

void FunctionBuilder::callx() {
  const Value resolve[] = {make_.constant(reinterpret_cast<u64>(&code_)), reg(insn().dst)};
  const Value target = plain_call(reinterpret_cast<u64>(runtime_.resolve), resolve);
  const Value arguments[] = {target, read(1), read(2), read(3), read(4), read(5)};
  finish_call(make_.place({.op = ir::Op::call_pointer}, arguments));
}

void FunctionBuilder::load_packet(Value offset, u8 bits) {
  frame_bytes_ += 8;
  const Value slot = make_.frame(frame_bytes_ - 8);
  const Value arguments[] = {read(6), offset, make_.constant(bits / 8u), slot};
  const Value failed = plain_call(reinterpret_cast<u64>(code_.load_packet), arguments);
  const BlockId here = make_.block();
  const BlockId out = continuation(here), rest = continuation(here);
  branch_to(Condition::ne, 64, failed, make_.constant(0), out, rest);
  make_.enter(out);
  leave(make_.constant(0));
  ended_ = false;
  make_.enter(rest);
  write(0, make_.load(64, false, slot, 0, Inst::stack));
  forget_arguments();
}

void FunctionBuilder::call_local() {
  const auto entry = static_cast<u32>(static_cast<s64>(at_) + 1 + insn().imm);
  const Shape& callee = shaper_.at(entry);
  const Value arguments[] = {read(1), read(2), read(3), read(4), read(5)};
  if (!worth_inlining(callee, options_.inline_insns)) {
    const Value result = make_.place({.op = ir::Op::call_local, .imm = function_index(entry)}, arguments);
    return finish_call(result);
  }
  const u32 index = enter_instance(callee, arguments);
  fill(index);
  const Value result = end_instance(index);
  if (result != no_value) finish_call(result);
}

u32 FunctionBuilder::enter_instance(const Shape& callee, std::span<const Value> arguments) {
  insns_left_ -= callee.insn_count;
  const BlockId site = make_.block();
  const u32 index = begin_instance(callee, instance_);
  instances_[index].return_to = continuation(site);
  instances_[index].result = f_.add({.op = ir::Op::phi, .block = instances_[index].return_to}, {});
  instances_[index].call = at_;
  jump_to(instances_[index].first_block);
  make_.enter(instances_[index].first_block);
  for (u32 r = 1; r <= 5; r++) write(r, arguments[r - 1]);
  return index;
}

Value FunctionBuilder::end_instance(u32 index) {
  const Instance& instance = instances_[index];
  at_ = instance.call;
  make_.enter(instance.return_to);
  std::vector<Value> results;
  for (const auto& [from, value] : returns_)
    if (from == index) results.push_back(value);
  std::erase_if(returns_, [&](const auto& r) { return r.first == index; });
  if (results.empty()) {
    trap();
    return no_value;
  }
  set_operands(instance.result, results);
  f_.blocks[instance.return_to].insns.insert(f_.blocks[instance.return_to].insns.begin(), instance.result);
  ended_ = false;
  return instance.result;
}

bool FunctionBuilder::worth_inlining(const Shape& callee, u32 most_insns) const {
  u32 depth = 0;
  for (u32 i = instance_; i != ~0u; i = instances_[i].parent) depth++;
  const bool is_small = callee.insn_count <= most_insns || shaper_.calls_of(callee.entry) == 1;
  return is_small && callee.insn_count <= insns_left_ && depth < isa::max_call_frames;
}

s64 FunctionBuilder::function_index(u32 entry) {
  const auto it = std::ranges::find(entries_, entry);
  if (it != entries_.end()) return it - entries_.begin();
  entries_.push_back(entry);
  return static_cast<s64>(entries_.size()) - 1;
}

void FunctionBuilder::leave(Value result) {
  ended_ = true;
  if (instances_[instance_].return_to == no_block) return make_.ret(result);
  returns_.emplace_back(instance_, result);
  jump_to(instances_[instance_].return_to);
}

}  // namespace skep::vm::jit
