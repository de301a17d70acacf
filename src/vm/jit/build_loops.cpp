// From eBPF instructions to SSA: helpers that call a function of the program back, as loops. See builder.hpp.
//
// bpf_loop and, over an array, bpf_for_each_map_elem are loops around a callback. When the program names the callback
// at the call, which is nearly always so, the callback becomes the body of a loop in the program itself: no call
// through a pointer, and its context pointer is an address in the frame that promote_frame() may turn into registers.
//
//   site -> count > 0 ? -> head: callback -> (thrown? out) -> result == 0 ? -> index + 1 < count ? head : done
//             \----------------------------------------------------\----------------------------------> done
//
// The count is asked at the end of a round, so that every round is one that runs.
//
// Source: Linux 6.18, kernel/bpf/verifier.c (inline_bpf_loop), bpf_iter.c (bpf_loop), arraymap.c
// (bpf_for_each_array_elem); src/helper/callbacks.cpp here.
#include <cerrno>

#include "catalog/helpers.hpp"
#include "vm/jit/builder.hpp"

namespace skep::vm::jit {
namespace {

constexpr u64 most_rounds = 8u << 20;  // Linux BPF_MAX_LOOPS

u64 negative(int error) { return static_cast<u64>(-s64{error}); }

}  // namespace

const Shape* FunctionBuilder::known_callback(u32 number) {
  const Value address = read(number);
  if (!f_.is_constant(address)) return nullptr;
  const auto* callback = code_.callback_at(static_cast<u64>(f_.insns[address].imm));
  if (callback == nullptr) return nullptr;
  const Shape& shape = shaper_.at(callback->insn);
  return worth_inlining(shape, 4 * options_.inline_insns) ? &shape : nullptr;
}

bool FunctionBuilder::call_back_inline() {
  const auto helper = static_cast<catalog::HelperId>(insn().imm);
  const bool is_loop = helper == catalog::HelperId::loop, is_walk = helper == catalog::HelperId::for_each_map_elem;
  if (!is_loop && !is_walk) return false;
  const base::MapView* const view = is_walk ? map_argument() : nullptr;
  const bool is_array = view != nullptr && view->kind == base::MapView::Kind::array && view->key_size == 4;
  const Shape* const callback = is_loop || is_array ? known_callback(2) : nullptr;
  if (callback == nullptr) return false;
  const Value count = is_loop ? make_.zext(32, read(1)) : make_.constant(view->max_entries);
  // What is refused, or has no rounds, needs no loop.
  const auto is_known = [&](Condition c, Value a, u64 b) {
    return make_.comparison(c, 64, a, make_.constant(b)).known == 1;
  };
  if (is_known(Condition::ne, read(4), 0) || is_known(Condition::eq, count, 0)) return false;
  if (is_loop && is_known(Condition::ugt, count, most_rounds)) return false;
  if (is_loop)
    loop_inline(*callback, count);
  else
    for_each_inline(*callback, *view);
  return true;
}

void FunctionBuilder::loop_inline(const Shape& callback, Value count) {
  const Value zero = make_.constant(0), context = read(3);
  Rounds rounds = begin_rounds(read(4), count, most_rounds);
  const Value arguments[] = {rounds.index, context, zero, zero, zero};
  round(rounds, callback, arguments);
  finish_rounds(rounds);
}

/// The callback gets the address of its key, which lies in the frame of this function.
void FunctionBuilder::for_each_inline(const Shape& callback, const base::MapView& view) {
  const Value map = read(1), context = read(3);
  frame_bytes_ += 8;
  const Value key = make_.frame(frame_bytes_ - 8);
  Rounds rounds = begin_rounds(read(4), make_.constant(view.max_entries), view.max_entries);
  make_.store(32, key, 0, rounds.index, Inst::stack);
  const Value offset = make_.arithmetic(ir::Op::mul, 64, rounds.index, make_.constant(view.stride));
  const Value value = make_.arithmetic(ir::Op::add, 64, offset, make_.constant(view.values));
  const Value arguments[] = {map, key, value, context, make_.constant(0)};
  round(rounds, callback, arguments);
  finish_rounds(rounds);
}

FunctionBuilder::Rounds FunctionBuilder::begin_rounds(Value flags, Value count, u64 most) {
  const BlockId site = make_.block();
  Rounds rounds;
  rounds.head = continuation(site);
  rounds.done = continuation(site);
  const auto refuse = [&](Condition c, Value a, u64 limit, int error) {
    if (make_.comparison(c, 64, a, make_.constant(limit)).known == 0) return;
    const BlockId rest = continuation(site);
    branch_to(c, 64, a, make_.constant(limit), rounds.done, rest, Inst::unlikely);
    rounds.results.push_back(make_.constant(negative(error)));
    make_.enter(rest);
  };
  refuse(Condition::ne, flags, 0, EINVAL);
  refuse(Condition::ugt, count, most, E2BIG);
  if (make_.comparison(Condition::eq, 64, count, make_.constant(0)).known < 0) {
    const BlockId some = continuation(site);
    branch_to(Condition::eq, 64, count, make_.constant(0), rounds.done, some);
    rounds.results.push_back(make_.constant(0));
    make_.enter(some);
  }
  rounds.count = count;
  jump_to(rounds.head);
  make_.enter(rounds.head);
  rounds.index = f_.add({.op = ir::Op::phi, .block = rounds.head}, {});
  f_.blocks[rounds.head].insns.push_back(rounds.index);
  return rounds;
}

void FunctionBuilder::round(Rounds& rounds, const Shape& callback, std::span<const Value> arguments) {
  const u32 index = enter_instance(callback, arguments);
  fill(index);
  const Value stop = end_instance(index);
  if (stop == no_value) return;
  if (code_.throws(at_)) return_if_thrown();
  const Value next = make_.arithmetic(ir::Op::add, 64, rounds.index, make_.constant(1));
  const auto outcome = make_.comparison(Condition::ne, 64, stop, make_.constant(0));
  if (outcome.known != 0) rounds.results.push_back(next);
  if (outcome.known == 1) return jump_to(rounds.done);
  if (outcome.known < 0) {
    const BlockId more = continuation(make_.block());
    branch_to(Condition::ne, 64, stop, make_.constant(0), rounds.done, more);
    make_.enter(more);
  }
  rounds.results.push_back(next);
  rounds.nexts.push_back(next);
  branch_to(Condition::ult, 64, next, rounds.count, rounds.head, rounds.done);
}

void FunctionBuilder::finish_rounds(Rounds& rounds) {
  std::vector<Value> indexes{make_.constant(0)};
  indexes.insert(indexes.end(), rounds.nexts.begin(), rounds.nexts.end());
  set_operands(rounds.index, indexes);
  make_.enter(rounds.done);
  ended_ = false;
  const Value result = f_.add({.op = ir::Op::phi, .block = rounds.done}, {});
  f_.blocks[rounds.done].insns.push_back(result);
  set_operands(result, rounds.results);
  write(0, result);
  forget_arguments();
}

}  // namespace skep::vm::jit
