// What moves in front of a loop, what stays, and that the function computes what it computed before.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/run_helpers.hpp"
#include "isa/text.hpp"
#include "vm/jit/backend/random_ir.hpp"
#include "vm/jit/build.hpp"
#include "vm/jit/dominators.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::ir {
namespace {

/// Blocks that lead back to themselves.
std::vector<bool> blocks_in_loops(const Function& f) {
  std::vector<bool> found(f.blocks.size());
  for (BlockId b = 0; b < f.blocks.size(); b++) {
    std::vector<bool> seen(f.blocks.size());
    std::vector<BlockId> work(f.blocks[b].successors);
    while (!work.empty()) {
      const BlockId at = work.back();
      work.pop_back();
      if (seen[at]) continue;
      seen[at] = true;
      work.insert(work.end(), f.blocks[at].successors.begin(), f.blocks[at].successors.end());
    }
    found[b] = seen[b];
  }
  return found;
}

struct Count {
  u32 inside = 0, outside = 0;  ///< of loops
  bool operator==(const Count&) const = default;
};
Count count(const Function& f, Op op) {
  const auto in_loop = blocks_in_loops(f);
  Count found;
  for (BlockId b = 0; b < f.blocks.size(); b++)
    for (const Value v : f.blocks[b].insns)
      if (f.insns[v].op == op) (in_loop[b] ? found.inside : found.outside)++;
  return found;
}

/// A program through every pass; it must give `expected` for r1, r2 and r3 before and after.
Module optimised(std::string_view text, std::span<const u64> r, u64 expected) {
  auto insns = isa::assemble(text);
  EXPECT_TRUE(insns) << (insns ? "" : insns.error().message) << text;
  std::vector<base::HelperFn> helpers(16);
  helpers[8] = &base::cpu_of_run;  // get_smp_processor_id
  Bindings bindings;
  bindings.helpers = helpers;
  const auto code = translate({.insns = *insns, .references = {}, .context_loads = {}}, bindings);
  EXPECT_TRUE(code) << (code ? "" : code.error().message) << text;
  auto built = jit::build(**code, {}, {});
  for (auto& f : built.module.functions) {
    base::Run run;
    run.cpu = 3;
    std::vector<u64> parameters(r.begin(), r.end());
    parameters.resize(5);
    EXPECT_EQ(evaluate(built.module, 0, &run, parameters), expected) << text;
    optimise(f, {});
    EXPECT_EQ(check(f), "") << print(f);
    EXPECT_EQ(evaluate(built.module, 0, &run, parameters), expected) << print(f);
  }
  return std::move(built.module);
}
Function main_of(std::string_view text, std::initializer_list<u64> r, u64 expected) {
  return std::move(optimised(text, std::span(r.begin(), r.size()), expected).functions[0]);
}

TEST(Hoist, AProductOfWhatTheLoopDoesNotChangeIsComputedOnce) {
  const Function f =
      main_of("r0 = 0\nr5 = 10\nl: r4 = r1\nr4 *= r2\nr0 += r4\nr5 -= 1\nif r5 != 0 goto l\nexit", {6, 7}, 420);
  EXPECT_EQ(count(f, Op::mul), (Count{0, 1}));
}

TEST(Hoist, WhatTheLoopChangesStays) {
  const Function f =
      main_of("r0 = 1\nr5 = 3\nl: r0 *= r2\nr2 += r1\nr5 -= 1\nif r5 != 0 goto l\nexit", {2, 5}, 5 * 7 * 9);
  EXPECT_EQ(count(f, Op::mul), (Count{1, 0}));
}

TEST(Hoist, OutOfTwoLoopsAtOnce) {
  const Function f = main_of(
      "r0 = 0\nr5 = 3\no: r4 = 4\ni: r3 = r1\nr3 *= r2\nr3 ^= r5\nr0 += r3\nr4 -= 1\nif r4 != 0 goto i\nr5 -= 1\n"
      "if r5 != 0 goto o\nexit",
      {100, 7}, 4 * ((700 ^ 3) + (700 ^ 2) + (700 ^ 1)));
  EXPECT_EQ(count(f, Op::mul), (Count{0, 1}));
  // What the outer loop changes goes out of the inner one, which is one block, only.
  EXPECT_EQ(count(f, Op::xor_), (Count{1, 0}));
  for (BlockId b = 0; b < f.blocks.size(); b++)
    for (const Value v : f.blocks[b].insns)
      EXPECT_TRUE(f.insns[v].op != Op::xor_ || std::ranges::count(f.blocks[b].successors, b) == 0) << print(f);
}

/// A loop that ends when the divisor is 0 or after five rounds; in every other round (`always`: in each) it divides.
Function guarded_division(bool always) {
  Function f;
  f.blocks.resize(5);  // entry, head, divides, next, end
  const auto edge = [&](BlockId from, BlockId to) {
    f.blocks[from].successors.push_back(to);
    f.blocks[to].predecessors.push_back(from);
  };
  const BlockId otherwise = always ? 4 : 3;
  edge(0, 1), edge(1, 2), edge(1, otherwise), edge(2, 3), edge(3, 1), edge(3, 4);
  const auto add = [&](BlockId block, Inst inst, std::vector<Value> operands) {
    inst.block = block;
    const Value v = f.add(inst, operands);
    f.blocks[block].insns.push_back(v);
    return v;
  };
  const Value dividend = add(0, {.op = Op::parameter, .imm = 1}, {});
  const Value divisor = add(0, {.op = Op::parameter, .imm = 2}, {});
  const Value zero = add(0, {.op = Op::constant}, {}), one = add(0, {.op = Op::constant, .imm = 1}, {});
  const Value rounds = add(0, {.op = Op::constant, .imm = 5}, {});
  add(0, {.op = Op::jump}, {});
  const Value index = add(1, {.op = Op::phi}, {zero, zero}), sum = add(1, {.op = Op::phi}, {zero, zero});
  add(1, {.op = Op::branch, .condition = Condition::ne}, {divisor, zero});
  const Value quotient = add(2, {.op = Op::udiv, .flags = Inst::nonzero}, {dividend, divisor});
  Value now = add(2, {.op = Op::add}, {sum, quotient});
  add(2, {.op = Op::jump}, {});
  if (!always) now = add(3, {.op = Op::phi}, {sum, now});
  const Value next = add(3, {.op = Op::add}, {index, one});
  f.operands[f.insns[index].first + 1] = next;
  f.operands[f.insns[sum].first + 1] = now;
  add(3, {.op = Op::branch, .condition = Condition::ne}, {next, rounds});
  const Value result = always ? add(4, {.op = Op::phi}, {sum, now}) : now;
  add(4, {.op = Op::ret}, {result});
  EXPECT_EQ(check(f), "");
  return f;
}

TEST(Hoist, AProofAboutADivisorDoesNotLeaveItsGuard) {
  for (const bool always : {true, false}) {
    Module module{{guarded_division(always)}};
    Function& f = module.functions[0];
    hoist_invariants(f);
    EXPECT_EQ(check(f), "");
    EXPECT_EQ(count(f, Op::udiv), (always ? Count{0, 1} : Count{1, 0}));
    for (const auto& inst : f.insns) EXPECT_TRUE(inst.op != Op::udiv || inst.has(Inst::nonzero) != always);
    const u64 with[] = {70, 7, 0, 0, 0}, without[] = {70, 0, 0, 0, 0};
    EXPECT_EQ(evaluate(module, 0, nullptr, with), 50u);
    EXPECT_EQ(evaluate(module, 0, nullptr, without), 0u);
  }
}

TEST(Hoist, TheCpuIsReadOnceAndMemoryInEveryRound) {
  const u64 word = 5;
  const Function f = main_of(
      "r6 = r1\nr0 = 0\nr7 = 0\nr8 = 4\nl: r1 = *(u64 *)(r6 + 0)\nr7 += r1\ncall 8\nr7 += r0\nr8 -= 1\nif r8 != 0 goto "
      "l\nr0 = r7\nexit",
      {reinterpret_cast<u64>(&word)}, 4 * (5 + 3));
  EXPECT_EQ(count(f, Op::load), (Count{1, 1}));
}

TEST(Hoist, SeveralWaysIntoALoopBecomeOne) {
  const Function f = main_of(
      "r0 = 0\nr5 = 2\nif r1 == 1 goto l\nr5 = 3\nif r1 == 2 goto l\nr0 = 100\nl: r4 = r3\nr4 *= r2\nr0 += r4\nr5 -= "
      "1\n"
      "if r5 != 0 goto l\nexit",
      {2, 6, 7}, 3 * 42);
  EXPECT_EQ(count(f, Op::mul), (Count{0, 1}));
}

/// Many values that every round needs, and one cheap invariant more: it is cheaper to add again than to keep.
TEST(Hoist, WhatIsCheapDoesNotTakeTheLastRegister) {
  std::string text = "r0 = 0\nr5 = 10\n";
  for (int i = 0; i < 8; i++)
    text += "r4 = r1\nr4 ^= " + std::to_string(i * 1111 + 7) + "\nr4 *= r2\n*(u64 *)(r10 - " +
            std::to_string(8 * i + 8) + ") = r4\n";
  for (int i = 0; i < 8; i++)
    text += "r4 = r1\nr4 ^= " + std::to_string(i * 333 + 5) + "\nr4 *= r3\n*(u64 *)(r10 - " +
            std::to_string(8 * i + 72) + ") = r4\n";
  text += "l: r0 *= 3\n";
  for (int i = 0; i < 16; i++) text += "r4 = *(u64 *)(r10 - " + std::to_string(8 * i + 8) + ")\nr0 += r4\nr0 ^= r5\n";
  text += "r4 = r1\nr4 -= r2\nr0 ^= r4\nr5 -= 1\nif r5 != 0 goto l\nexit";
  u64 expected = 0;
  std::vector<u64> held;
  for (u64 i = 0; i < 8; i++) held.push_back((9 ^ (i * 1111 + 7)) * 5);
  for (u64 i = 0; i < 8; i++) held.push_back((9 ^ (i * 333 + 5)) * 8);
  for (u64 round = 10; round != 0; round--) {
    expected *= 3;
    for (const u64 h : held) expected = (expected + h) ^ round;
    expected ^= 9 - 5;
  }
  const Function f = main_of(text, {9, 5, 8}, expected);
  EXPECT_EQ(count(f, Op::sub), (Count{1, 0}));
}

TEST(Hoist, RandomFunctionsStayWhatTheyAre) {
  u32 moved = 0;
  for (u64 seed = 1; seed <= 400; seed++) {
    Module module{{backend::RandomIr(seed, {.pieces = 14, .insns = 10, .calls = false}).make()}};
    simplify(module.functions[0]);
    sweep(module.functions[0]);
    const Module before = module;
    hoist_invariants(module.functions[0]);
    ASSERT_EQ(check(module.functions[0]), "") << "seed " << seed << "\n" << print(module.functions[0]);
    moved += print(module.functions[0]) != print(before.functions[0]) ? 1 : 0;
    const auto outcome = [&](const Module& m) {
      std::vector<u8> memory(backend::memory_bytes, 0x5a);
      const u64 parameters[] = {reinterpret_cast<u64>(memory.data()), seed, ~seed, seed * 0x9e3779b97f4a7c15, 5};
      base::Run run;
      const u64 result = evaluate(m, 0, &run, parameters);
      return std::pair(result, memory);
    };
    ASSERT_EQ(outcome(module), outcome(before)) << "seed " << seed << "\n" << print(before.functions[0]);
  }
  EXPECT_GT(moved, 100u);
}

}  // namespace
}  // namespace skep::vm::ir
