// Random functions in the intermediate form, for tests: structured control flow with loops, switches, critical edges
// and early returns, many values alive at once, memory, calls.
//
// Parameters: r1 points to `memory_bytes` of memory, r2..r5 are any numbers. Nothing depends on where the frame is.
#pragma once
#include <array>
#include <random>
#include <vector>

#include "base/run.hpp"
#include "vm/jit/ir.hpp"

namespace skep::vm::backend {

inline constexpr u32 memory_bytes = 512;

struct RandomOptions {
  u32 pieces = 12;  ///< regions in sequence, branches and loops counted inside as well
  u32 insns = 8;    ///< most instructions in one straight piece
  u32 scope = 24;   ///< how many of the youngest values operands are drawn from: the register pressure
  bool calls = true;
  bool circles = false;  ///< circles of blocks with two ways in
  bool counts = false;   ///< popcount and leading_zeros, which the CPU must have
  base::HelperFn helper = nullptr;
  u32 other_functions = 0;  ///< call_local may name functions 1..other_functions
};

class RandomIr {
 public:
  RandomIr(u64 seed, const RandomOptions& options) : random_(seed), options_(options) {}

  ir::Function make() {
    f_.frame_bytes = 64;
    at_ = new_block();
    for (s64 i = 1; i <= 5; i++) scope_.push_back(leaf(ir::Op::parameter, i));
    memory_ = scope_[0];
    scope_.erase(scope_.begin());
    const ir::Value zero = constant(0);
    for (s64 i = 0; i < 64; i += 8) {
      ir::Inst store{.op = ir::Op::store, .flags = ir::Inst::stack, .imm = i};
      add(store, {leaf(ir::Op::frame, 0), zero});
    }
    left_ = options_.pieces;
    while (left_ > 0) piece(0);
    finish();
    return std::move(f_);
  }

 private:
  using Value = ir::Value;

  u32 below(u32 n) { return static_cast<u32>(random_() % n); }
  bool chance(u32 percent) { return below(100) < percent; }

  ir::BlockId new_block() {
    f_.blocks.emplace_back();
    return static_cast<ir::BlockId>(f_.blocks.size() - 1);
  }
  void edge(ir::BlockId from, ir::BlockId to) {
    f_.blocks[from].successors.push_back(to);
    f_.blocks[to].predecessors.push_back(from);
  }
  Value add(ir::Inst inst, std::vector<Value> operands) {
    inst.block = at_;
    const Value v = f_.add(inst, operands);
    f_.blocks[at_].insns.push_back(v);
    return v;
  }
  Value leaf(ir::Op op, s64 imm) { return add({.op = op, .imm = imm}, {}); }
  Value constant(s64 imm) { return leaf(ir::Op::constant, imm); }

  s64 any_constant() {
    constexpr s64 corners[] = {
        0,           1,           -1,           2,     3,          4,   7,       8,          9,
        10,          16,          31,           32,    63,         100, 127,     -128,       255,
        256,         1000,        65535,        65536, -7,         641, 1 << 30, 0x7fffffff, -0x80000000l,
        0x80000000l, 0xffffffffl, 0x100000000l, -1000, 0xff00ff00l};
    if (chance(75)) return corners[below(std::size(corners))];
    return static_cast<s64>(random_() >> below(64));
  }
  Value any_value() {
    const u32 n = std::min<u32>(static_cast<u32>(scope_.size()), options_.scope);
    return scope_[scope_.size() - 1 - below(n)];
  }
  Value operand() { return chance(30) ? constant(any_constant()) : any_value(); }
  u8 width() { return chance(50) ? 64 : 32; }
  ir::Condition condition() { return static_cast<ir::Condition>(below(12)); }

  // --- control flow ---
  void piece(u32 depth) {
    if (left_ > 0) left_--;
    if (options_.circles && depth < 2 && chance(25)) return circle(depth);
    const u32 kind = depth < 3 ? below(10) : 9;
    if (kind < 2) return loop(depth);
    if (kind < 5) return fork(depth);
    if (kind == 5) return choice(depth);
    straight();
  }
  void pieces(u32 depth) {
    for (u32 n = 1 + below(2); n > 0; n--) piece(depth + 1);
  }
  void branch(ir::Condition c, Value a, Value b, ir::BlockId yes, ir::BlockId no) {
    constexpr u8 flags[] = {0, 0, ir::Inst::likely, ir::Inst::unlikely};
    add({.op = ir::Op::branch, .width = width(), .flags = flags[below(4)], .condition = c}, {a, b});
    edge(at_, yes);
    edge(at_, no);
  }
  void jump(ir::BlockId to) {
    add({.op = ir::Op::jump}, {});
    edge(at_, to);
  }
  void finish() {
    Value result = any_value();
    for (u32 i = 0; i < 12; i++) {
      result = add({.op = ir::Op::rol}, {result, constant(7)});
      result = add({.op = ir::Op::xor_}, {result, any_value()});
    }
    if (options_.calls && options_.helper != nullptr && chance(30)) {  // to leave the frame with a jump
      const auto helper = static_cast<s64>(reinterpret_cast<u64>(options_.helper));
      std::vector<Value> operands{constant(helper), result};
      while (operands.size() < 6) operands.push_back(operand());
      result = add({.op = ir::Op::call_pointer, .flags = ir::Inst::last}, operands);
    }
    add({.op = ir::Op::ret}, {result});
  }
  /// Phis at the head of `at_`, one operand from each of the scopes.
  void phis(const std::vector<std::vector<Value>>& scopes, u32 count) {
    std::vector<Value> made;
    for (u32 i = 0; i < count; i++) {
      std::vector<Value> operands;
      for (const auto& s : scopes)
        operands.push_back(s[s.size() - 1 - below(std::min<u32>(8, static_cast<u32>(s.size())))]);
      made.push_back(add({.op = ir::Op::phi}, operands));
    }
    scope_.insert(scope_.end(), made.begin(), made.end());
  }

  void fork(u32 depth) {
    const auto before = scope_;
    const ir::BlockId from = at_, yes = new_block(), join = new_block();
    const bool has_no = chance(60);
    const ir::BlockId no = has_no ? new_block() : join;
    branch(condition(), operand(), operand(), yes, no);
    std::vector<std::vector<Value>> scopes;
    if (!has_no) scopes.push_back(before);
    for (const ir::BlockId side : {yes, no}) {
      if (side == join) continue;
      at_ = side;
      scope_ = before;
      pieces(depth);
      if (has_no && side == yes && chance(10)) {
        finish();
        continue;
      }
      scopes.push_back(scope_);
      jump(join);
    }
    at_ = join;
    scope_ = before;
    phis(scopes, below(6));
    (void)from;
  }

  void loop(u32 depth) {
    const u32 count = 1 + below(6);
    const Value zero = constant(0), end = constant(1 + below(4));
    std::vector<Value> starts;
    for (u32 i = 0; i < count; i++) starts.push_back(operand());
    const ir::BlockId before = at_, head = new_block(), after = new_block();
    jump(head);
    at_ = head;
    const Value index = add({.op = ir::Op::phi}, {zero, zero});
    std::vector<Value> made;
    for (const Value s : starts) made.push_back(add({.op = ir::Op::phi}, {s, s}));
    scope_.insert(scope_.end(), made.begin(), made.end());
    scope_.push_back(index);
    pieces(depth);
    const Value next = add({.op = ir::Op::add, .width = width()}, {index, constant(1)});
    f_.operands[f_.insns[index].first + 1] = next;
    for (const Value v : made) f_.operands[f_.insns[v].first + 1] = chance(30) ? made[below(count)] : any_value();
    add({.op = ir::Op::branch, .condition = ir::Condition::ult}, {next, end});
    edge(at_, head);
    edge(at_, after);
    at_ = after;
    (void)before;
  }

  /// Two blocks, or regions, that go to each other until one has counted to the end; each can be the first.
  void circle(u32 depth) {
    const u32 count = 1 + below(4);
    const Value zero = constant(0), end = constant(1 + below(5));
    std::vector<Value> starts;
    for (u32 i = 0; i < count; i++) starts.push_back(operand());
    const auto before = scope_;
    const ir::BlockId heads[] = {new_block(), new_block()}, after = new_block();
    branch(condition(), operand(), operand(), heads[0], heads[1]);
    ir::BlockId ends[2];
    Value index[2], next[2];
    std::vector<Value> made[2];
    std::vector<std::vector<Value>> scopes;
    for (const int side : {0, 1}) {
      at_ = heads[side];
      scope_ = before;
      index[side] = add({.op = ir::Op::phi}, {zero, zero});
      for (const Value s : starts) made[side].push_back(add({.op = ir::Op::phi}, {s, s}));
      scope_.insert(scope_.end(), made[side].begin(), made[side].end());
      scope_.push_back(index[side]);
      pieces(depth);
      next[side] = add({.op = ir::Op::add, .width = width()}, {index[side], constant(1)});
      add({.op = ir::Op::branch, .condition = ir::Condition::ult}, {next[side], end});
      ends[side] = at_;
      scopes.push_back(scope_);
    }
    for (const int side : {0, 1}) {
      edge(ends[side], heads[1 - side]);
      edge(ends[side], after);
      scope_ = scopes[static_cast<std::size_t>(side)];
      f_.operands[f_.insns[index[1 - side]].first + 1] = next[side];
      for (const Value v : made[1 - side]) f_.operands[f_.insns[v].first + 1] = any_value();
    }
    at_ = after;
    scope_ = before;
    phis(scopes, 1 + below(4));
  }

  void choice(u32 depth) {
    const auto before = scope_;
    const Value value = add({.op = ir::Op::and_}, {any_value(), constant(7)});
    const ir::BlockId from = at_, join = new_block();
    const u32 ways = 2 + below(5);
    std::vector<ir::BlockId> sides;
    add({.op = ir::Op::switch_, .width = width(), .imm = static_cast<s64>(below(3))}, {value});
    bool straight_to_join = false;
    for (u32 i = 0; i < ways; i++) {
      if (chance(20) && !straight_to_join) {
        straight_to_join = true;
        edge(from, join);
      } else {
        sides.push_back(chance(20) && !sides.empty() ? sides.back() : new_block());
        edge(from, sides.back());
      }
    }
    std::vector<std::vector<Value>> scopes;
    if (straight_to_join) scopes.push_back(before);
    for (std::size_t i = 0; i < sides.size(); i++) {
      if (i > 0 && sides[i] == sides[i - 1]) continue;
      at_ = sides[i];
      scope_ = before;
      pieces(depth);
      scopes.push_back(scope_);
      jump(join);
    }
    at_ = join;
    scope_ = before;
    phis(scopes, below(5));
  }

  // --- straight code ---
  void straight() {
    for (u32 n = 1 + below(options_.insns); n > 0; n--) {
      const u32 kind = below(20);
      if (kind < 11)
        arithmetic();
      else if (kind < 14)
        load();
      else if (kind < 17)
        store();
      else if (kind < 18)
        atomic();
      else if (options_.calls && chance(50))
        call();
    }
  }
  void arithmetic() {
    const auto op = static_cast<ir::Op>(static_cast<u32>(ir::Op::add) + below(options_.counts ? 22 : 20));
    ir::Inst inst{.op = op, .width = width()};
    std::vector<Value> operands;
    if (op == ir::Op::select) {
      inst.condition = condition();
      operands = {operand(), operand(), operand(), operand()};
      if (chance(20)) operands[2] = constant(1), operands[3] = constant(0);
    } else if (op == ir::Op::sext || op == ir::Op::zext) {
      inst.bits = std::array<u8, 3>{8, 16, 32}[below(inst.width == 32 && op == ir::Op::sext ? 2 : 3)];
      operands = {any_value()};
    } else if (op == ir::Op::bswap) {
      inst.bits = std::array<u8, 3>{16, 32, 64}[below(3)];
      operands = {any_value()};
    } else if (op == ir::Op::mulh) {
      inst.width = 64;
      operands = {any_value(), operand()};
    } else if (op == ir::Op::neg || op == ir::Op::popcount || op == ir::Op::leading_zeros) {
      operands = {any_value()};
    } else {
      operands = {chance(90) ? any_value() : constant(any_constant()), operand()};
    }
    scope_.push_back(add(inst, operands));
  }

  /// An address of the memory with at least 72 bytes behind it, aligned to 8.
  Value address(ir::Inst& inst) {
    inst.imm = 8 * below(8);
    if (chance(15)) {
      inst.flags |= ir::Inst::stack;
      inst.imm = 0;
      return leaf(ir::Op::frame, 8 * below(8));
    }
    if (chance(40)) return memory_;
    const Value index = add({.op = ir::Op::and_, .width = width()}, {any_value(), constant(0x1f)});
    const Value scaled = add({.op = ir::Op::shl}, {index, constant(3)});
    const Value sum = add({.op = ir::Op::add}, {memory_, scaled});
    if (chance(60)) return sum;
    return add({.op = ir::Op::add}, {sum, constant(8 * below(16))});
  }
  u8 bits() { return std::array<u8, 4>{8, 16, 32, 64}[below(4)]; }
  void load() {
    ir::Inst inst{.op = ir::Op::load, .bits = bits()};
    const Value at = address(inst);
    if (chance(30)) inst.flags |= ir::Inst::sign;
    if (chance(20)) {
      inst.op = ir::Op::load_swapped;
      inst.flags &= static_cast<u8>(~ir::Inst::sign);
      inst.bits = std::max<u8>(inst.bits, 16);
    }
    scope_.push_back(add(inst, {at}));
  }
  void store() {
    ir::Inst inst{.op = ir::Op::store, .bits = bits()};
    const Value at = address(inst);
    if (chance(20)) {
      inst.op = ir::Op::store_swapped;
      inst.bits = std::max<u8>(inst.bits, 16);
    }
    if (inst.op == ir::Op::store && chance(30)) {  // in place
      const Value old = add({.op = ir::Op::load, .bits = inst.bits, .imm = inst.imm}, {at});
      const auto op = std::array{ir::Op::add, ir::Op::sub, ir::Op::and_, ir::Op::or_, ir::Op::xor_}[below(5)];
      const Value made = add({.op = op, .width = width()}, {old, operand()});
      add(inst, {at, made});
      return;
    }
    add(inst, {at, operand()});
  }
  void atomic() {
    ir::Inst inst{.op = ir::Op::atomic, .bits = static_cast<u8>(chance(50) ? 64 : 32)};
    const Value at = address(inst);
    inst.atomic = static_cast<ir::Atomic>(below(4));
    std::vector<Value> operands{at, operand()};
    if (chance(30)) {
      inst.op = ir::Op::exchange;
    } else if (chance(30)) {
      inst.op = ir::Op::compare_exchange;
      operands.push_back(operand());
    } else if (chance(60)) {
      inst.flags |= ir::Inst::fetch;
    } else {
      add(inst, operands);
      return;
    }
    scope_.push_back(add(inst, operands));
  }
  void call() {
    std::vector<Value> operands;
    const u32 kind = below(3);
    ir::Inst inst{.op = ir::Op::call, .imm = static_cast<s64>(reinterpret_cast<u64>(options_.helper))};
    if (kind == 0 && chance(40)) inst.flags = ir::Inst::cold;
    if (kind == 1 && options_.other_functions != 0) {
      inst.op = ir::Op::call_local;
      inst.imm = 1 + below(options_.other_functions);
      operands.push_back(memory_);
    } else if (kind == 2) {
      operands.push_back(constant(inst.imm));
      inst.op = ir::Op::call_pointer;
      inst.imm = 0;
    }
    while (operands.size() < (inst.op == ir::Op::call_pointer ? 6 : 5)) operands.push_back(operand());
    scope_.push_back(add(inst, operands));
  }

  ir::Function f_;
  std::mt19937_64 random_;
  RandomOptions options_;
  std::vector<Value> scope_;
  Value memory_ = 0;
  ir::BlockId at_ = 0;
  u32 left_ = 0;
};

}  // namespace skep::vm::backend
