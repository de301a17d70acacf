// From eBPF instructions to SSA: look-ups in arrays and hash maps, and what map helpers read. See builder.hpp.
//
// What a look-up has to do is written in base/map_view.hpp. A hash map's chain is nearly always one element long, so
// the first element is asked in straight code and the others in a loop:
//
//   bucket empty? -> null            first: key equal? -> hit
//                                      step: next, chain changed? -> call, none? -> null
//                                     again: key equal? -> hit, else step
//   hit: still that key's? -> value, else call
//
// The call, of the map's own function, tries again and in the end takes the lock. It is so seldom that it keeps the
// registers of the code around it (`cold`).
#include <algorithm>

#include "catalog/helpers.hpp"
#include "vm/jit/builder.hpp"

namespace skep::vm::jit {

using base::HashView;
using base::MapView;

namespace {

/// What a look-up costs of the room for inlining.
constexpr u32 hash_insns = 40;
/// Keys and values that are put into memory for a call: Shaper gives no more.
constexpr s64 given_bytes = 64;

}  // namespace

bool FunctionBuilder::call_map(const MapView& view) {
  const auto helper = static_cast<catalog::HelperId>(insn().imm);
  const bool is_lookup = helper == catalog::HelperId::map_lookup_elem;
  const bool is_update = helper == catalog::HelperId::map_update_elem;
  const bool is_array = view.kind == MapView::Kind::array || view.kind == MapView::Kind::percpu_array;
  if (is_lookup && is_array && view.key_size == 4) {
    array_lookup(view);
    return true;
  }
  if (is_lookup && view.kind == MapView::Kind::hash && insns_left_ >= hash_insns) {
    hash_lookup(view);
    return true;
  }
  const base::HelperFn direct = is_lookup                                      ? view.lookup
                                : is_update                                    ? view.update
                                : helper == catalog::HelperId::map_delete_elem ? view.erase
                                                                               : nullptr;
  if (direct == nullptr) return false;
  give_by_address(2);
  if (is_update) give_by_address(3);
  call(reinterpret_cast<u64>(direct));
  return true;
}

// --- what helpers read ---

Value FunctionBuilder::given(u32 argument, u32 offset, u32 bytes) {
  const Passed passed = shaper_.passed(at_, argument);
  if (passed.bytes == 0) return given_by_address(argument, offset, bytes);
  const s32 low = passed.low + static_cast<s32>(offset), high = low + static_cast<s32>(bytes);
  Value whole = make_.constant(0);
  for (u32 i = 0; i < shape().slots.size(); i++) {
    const Slot slot = shape().slots[i];
    const s32 from = std::max<s32>(low, slot.low), to = std::min<s32>(high, slot.low + slot.bytes);
    if (from >= to) continue;
    Value part = read(registers + i);
    const auto shift = [&](ir::Op op, s32 by_bytes) {
      if (by_bytes != 0) part = make_.arithmetic(op, 64, part, make_.constant(static_cast<u64>(by_bytes) * 8));
    };
    shift(ir::Op::shr, from - slot.low);
    if (to < slot.low + slot.bytes)
      part = make_.arithmetic(ir::Op::and_, 64, part, make_.constant((u64{1} << (to - from) * 8) - 1));
    shift(ir::Op::shl, from - low);
    whole = make_.arithmetic(ir::Op::or_, 64, whole, part);
  }
  return whole;
}

Value FunctionBuilder::given_by_address(u32 argument, u32 offset, u32 bytes) {
  const Value address = read(argument);
  Value whole = make_.constant(0);
  for (u32 done = 0; done < bytes;) {
    u32 size = 8;
    while (size > bytes - done) size /= 2;
    Value part = make_.load(static_cast<u8>(size * 8), false, address, offset + done, stack_flag(argument));
    if (done != 0) part = make_.arithmetic(ir::Op::shl, 64, part, make_.constant(done * 8));
    whole = make_.arithmetic(ir::Op::or_, 64, whole, part);
    done += size;
  }
  return whole;
}

void FunctionBuilder::give_by_address(u32 argument) {
  const Passed passed = shaper_.passed(at_, argument);
  if (passed.bytes == 0) return;
  s64& place = given_at_[argument - 2];
  if (place < 0) {
    place = frame_bytes_;
    frame_bytes_ += given_bytes;
  }
  for (u32 offset = 0; offset < passed.bytes;) {
    u32 size = 8;
    while (size > passed.bytes - offset) size /= 2;
    make_.store(static_cast<u8>(size * 8), make_.frame(place + offset), 0, given(argument, offset, size), Inst::stack);
    offset += size;
  }
  write(argument, make_.frame(place));
}

// --- arrays ---

Value FunctionBuilder::cpu_of_run() {
  return make_.load(32, false, make_.run(), offsetof(base::Run, cpu), Inst::steady);
}

/// values + index * stride, and where that is one value a CPU, this CPU's.
Value FunctionBuilder::value_address(const MapView& view, Value index) {
  const Value offset = make_.arithmetic(ir::Op::mul, 64, index, make_.constant(view.stride));
  Value address = make_.arithmetic(ir::Op::add, 64, offset, make_.constant(view.values));
  if (view.cpu_stride != 0) {
    const Value cpu = cpu_of_run();
    const Value of_cpu = make_.arithmetic(ir::Op::mul, 64, cpu, make_.constant(view.cpu_stride));
    address = make_.arithmetic(ir::Op::add, 64, address, of_cpu);
  }
  if (f_.insns[address].op == ir::Op::add) f_.insns[address].flags |= Inst::nonzero;
  return address;
}

void FunctionBuilder::array_lookup(const MapView& view) {
  const Value index = given(2, 0, 4);
  const Value address = value_address(view, index);
  const Value result =
      make_.select(Condition::ult, 32, index, make_.constant(view.max_entries), address, make_.constant(0));
  write(0, result);
  forget_arguments();
}

// --- hash maps ---

/// The parts of one look-up.
struct FunctionBuilder::HashWalk {
  const MapView& view;
  u32 words = 1;  ///< of the key
  Value key[2] = {no_value, no_value};
  Value bucket = no_value;      ///< its address
  Value chain = no_value;       ///< its word
  Value element = no_value;     ///< address of the one asked last
  Value generation = no_value;  ///< of it, before its key was read (two words)
  BlockId step = no_block, again = no_block, hit = no_block, slow = no_block, done = no_block;
  std::vector<Value> stepped;                        ///< by predecessor of `step`: the element
  std::vector<Value> hits, references, generations;  ///< by predecessor of `hit`
  std::vector<Value> results;                        ///< by predecessor of `done`
};

Value FunctionBuilder::acquire(u8 bits, Value base, s64 offset) {
  const Value operands[] = {base};
  return make_.place({.op = ir::Op::load_acquire, .bits = bits, .imm = offset}, operands);
}

Value FunctionBuilder::begin_phi(BlockId block) {
  const Value v = f_.add({.op = ir::Op::phi, .block = block}, {});
  f_.blocks[block].insns.push_back(v);
  return v;
}

void FunctionBuilder::hash_lookup(const MapView& view) {
  insns_left_ -= hash_insns;
  HashWalk walk{.view = view, .words = view.key_size > 8 ? 2u : 1u};
  for (u32 i = 0; i < walk.words; i++) walk.key[i] = given(2, 8 * i, std::min(view.key_size - 8 * i, 8u));
  const BlockId site = make_.block();
  for (BlockId* b : {&walk.step, &walk.again, &walk.hit, &walk.slow, &walk.done}) *b = continuation(site);
  hash_first(walk);
  hash_next(walk);
  hash_found(walk);
  hash_call(walk);
  make_.enter(walk.done);
  const Value result = begin_phi(walk.done);
  set_operands(result, walk.results);
  write(0, result);
  forget_arguments();
}

/// The bucket and the first element of its chain.
void FunctionBuilder::hash_first(HashWalk& walk) {
  const HashView& hash = walk.view.hash;
  Value number = no_value;
  if (walk.words == 1) {
    number = make_.arithmetic(ir::Op::mul, 64, walk.key[0], make_.constant(hash.seeds[0]));
  } else {
    const Value a = make_.arithmetic(ir::Op::xor_, 64, walk.key[0], make_.constant(hash.seeds[0]));
    const Value b = make_.arithmetic(ir::Op::xor_, 64, walk.key[1], make_.constant(hash.seeds[1]));
    number = make_.arithmetic(ir::Op::xor_, 64, make_.arithmetic(ir::Op::mul, 64, a, b), make_.mulh(a, b));
    const Value upper = make_.arithmetic(ir::Op::shr, 64, number, make_.constant(32));
    number = make_.arithmetic(ir::Op::mul, 64, make_.arithmetic(ir::Op::xor_, 64, number, upper),
                              make_.constant(HashView::factor));
  }
  const Value index = hash.hash_shift == 64
                          ? make_.constant(0)
                          : make_.arithmetic(ir::Op::shr, 64, number, make_.constant(hash.hash_shift));
  walk.bucket = make_.arithmetic(ir::Op::add, 64, make_.arithmetic(ir::Op::shl, 64, index, make_.constant(3)),
                                 make_.constant(hash.buckets));
  walk.chain = acquire(64, walk.bucket, 0);
  const Value first = make_.zext(32, walk.chain);
  const BlockId probe = continuation(make_.block());
  branch_to(Condition::eq, 64, first, make_.constant(0), walk.done, probe);
  walk.results.push_back(make_.constant(0));
  make_.enter(probe);
  hash_probe(walk, first);
}

/// Is the key of element `ref` ours? To `hit`, else to `step`.
void FunctionBuilder::hash_probe(HashWalk& walk, Value ref) {
  const HashView& hash = walk.view.hash;
  walk.element =
      make_.arithmetic(ir::Op::add, 64, make_.arithmetic(ir::Op::mul, 64, ref, make_.constant(hash.element_stride)),
                       make_.constant(hash.elements));
  if (walk.words == 2) walk.generation = acquire(32, walk.element, HashView::generation_at);
  const u8 bits = walk.view.key_size <= 4 ? 32 : 64;
  Value differs = acquire(bits, walk.element, HashView::key_at), other = walk.key[0];
  if (walk.words == 2) {
    const Value second = acquire(64, walk.element, HashView::key_at + 8);
    differs = make_.arithmetic(ir::Op::or_, 64, make_.arithmetic(ir::Op::xor_, 64, differs, walk.key[0]),
                               make_.arithmetic(ir::Op::xor_, 64, second, walk.key[1]));
    other = make_.constant(0);
  }
  branch_to(Condition::eq, bits, differs, other, walk.hit, walk.step, Inst::likely);
  walk.hits.push_back(walk.element);
  walk.references.push_back(ref);
  walk.generations.push_back(walk.generation);
  walk.stepped.push_back(walk.element);
}

/// The rest of the chain.
void FunctionBuilder::hash_next(HashWalk& walk) {
  make_.enter(walk.step);
  const Value element = begin_phi(walk.step);
  const Value next = acquire(32, element, HashView::next_at);
  const Value now = acquire(64, walk.bucket, 0);
  const BlockId unchanged = continuation(make_.block());
  branch_to(Condition::eq, 64, now, walk.chain, unchanged, walk.slow, Inst::likely);
  make_.enter(unchanged);
  branch_to(Condition::eq, 32, next, make_.constant(0), walk.done, walk.again);
  walk.results.push_back(make_.constant(0));
  make_.enter(walk.again);
  hash_probe(walk, next);
  set_operands(element, walk.stepped);
}

void FunctionBuilder::hash_found(HashWalk& walk) {
  const MapView& view = walk.view;
  make_.enter(walk.hit);
  const Value element = begin_phi(walk.hit), ref = begin_phi(walk.hit);
  const Value before = walk.words == 2 ? begin_phi(walk.hit) : no_value;
  set_operands(element, walk.hits);
  set_operands(ref, walk.references);
  if (before != no_value) set_operands(before, walk.generations);
  const Value now = acquire(32, element, HashView::generation_at), one = make_.constant(1);
  Value wrong = make_.arithmetic(ir::Op::and_, 32, now, one);
  if (before != no_value)
    wrong = make_.arithmetic(ir::Op::or_, 32, wrong, make_.arithmetic(ir::Op::xor_, 32, now, before));
  const BlockId found = continuation(make_.block());
  branch_to(Condition::eq, 32, wrong, make_.constant(0), found, walk.slow, Inst::likely);
  make_.enter(found);
  if (view.hash.used != 0) {
    const Value used = make_.arithmetic(ir::Op::add, 64, ref, make_.constant(view.hash.used));
    const BlockId touch = continuation(make_.block()), rest = continuation(make_.block());
    branch_to(Condition::ne, 32, make_.load(8, false, used, 0), make_.constant(0), rest, touch, Inst::likely);
    make_.enter(touch);
    make_.store(8, used, 0, one);
    jump_to(rest);
    make_.enter(rest);
  }
  const bool in_element = view.cpu_stride == 0;
  const Value address =
      in_element ? make_.arithmetic(ir::Op::add, 64, element, make_.constant(view.values - view.hash.elements))
                 : value_address(view, ref);
  walk.results.push_back(address);
  jump_to(walk.done);
}

void FunctionBuilder::hash_call(HashWalk& walk) {
  make_.enter(walk.slow);
  give_by_address(2);
  const Value arguments[] = {read(1), read(2)};
  const Value found = make_.place(
      {.op = ir::Op::call, .flags = Inst::cold, .imm = static_cast<s64>(reinterpret_cast<u64>(walk.view.lookup))},
      arguments);
  walk.results.push_back(found);
  jump_to(walk.done);
}

}  // namespace skep::vm::jit
