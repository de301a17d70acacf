// Machine code against the evaluator: every operation with every kind of operand, and random functions.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

#include "vm/jit/backend/backend.hpp"
#include "vm/jit/backend/passes.hpp"
#include "vm/jit/backend/random_ir.hpp"
#include "vm/jit/code_memory.hpp"
#include "vm/jit/passes.hpp"

#if defined(__x86_64__)

namespace skep::vm::backend {
namespace {

/// Calls machine code with marked callee-saved registers; *broken counts those that come back changed.
extern "C" u64 skep_guarded_call(base::HelperFn code, void* run, const u64* parameters, u64* broken);
asm(R"(
.text
skep_guarded_call:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  push %rcx
  mov %rdi, %rax
  mov %rsi, %rdi
  mov %rdx, %r10
  mov (%r10), %rsi
  mov 8(%r10), %rdx
  mov 16(%r10), %rcx
  mov 24(%r10), %r8
  mov 32(%r10), %r9
  mov $0x1111, %rbx
  mov $0x2222, %rbp
  mov $0x3333, %r12
  mov $0x4444, %r13
  mov $0x5555, %r14
  mov $0x6666, %r15
  call *%rax
  pop %rcx
  sub $0x1111, %rbx
  sub $0x2222, %rbp
  sub $0x3333, %r12
  sub $0x4444, %r13
  sub $0x5555, %r14
  sub $0x6666, %r15
  or %rbp, %rbx
  or %r12, %rbx
  or %r13, %rbx
  or %r14, %rbx
  or %r15, %rbx
  or %rbx, (%rcx)
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret
)");

u64 mix(void* run, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept {
  u64 hash = static_cast<base::Run*>(run)->thrown_value++;
  for (const u64 a : {a1, a2, a3, a4, a5}) hash = (hash ^ a) * 0x9e3779b97f4a7c15u;
  u64 aligned;
  asm volatile("mov %%rsp, %0" : "=r"(aligned));  // what a C function may rely on
  asm volatile(
      "mov $-1, %%rcx\n mov $-1, %%rdx\n mov $-1, %%rsi\n mov $-1, %%rdi\n mov $-1, %%r8\n mov $-1, %%r9\n"
      "mov $-1, %%r10\n mov $-1, %%r11\n" ::
          : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
  return hash;
}

struct Outcome {
  u64 result = 0;
  u64 calls = 0;
  std::array<u8, memory_bytes> memory{};
  bool operator==(const Outcome&) const = default;
};

class Machine_ {
 public:
  /// Empty when the machine code does what the evaluator does; with the module as it was before the passes.
  std::string compare(const ir::Module& module, const Target& target, std::span<const u64> numbers) {
    return compare(module, module, target, numbers);
  }
  std::string compare(const ir::Module& module, const ir::Module& before, const Target& target,
                      std::span<const u64> numbers) {
    const auto compiled = emit(module, target);
    if (!compiled) return compiled.error().message;
    auto code = memory_->add(compiled->code);
    if (!code) return code.error().message;
    const auto native = reinterpret_cast<base::HelperFn>(reinterpret_cast<u64>(code->data()) + compiled->entries[0]);
    u64 broken = 0;
    const Outcome expected =
        outcome(numbers, [&](void* run, const u64* p) { return ir::evaluate(before, 0, run, std::span(p, 5)); });
    const Outcome got =
        outcome(numbers, [&](void* run, const u64* p) { return skep_guarded_call(native, run, p, &broken); });
    if (broken != 0) return "a callee-saved register came back changed";
    if (got.result != expected.result) return fmt::format("result {:#x}, expected {:#x}", got.result, expected.result);
    if (got.calls != expected.calls) return "calls differ";
    return got.memory == expected.memory ? "" : "memory differs";
  }

 private:
  Outcome outcome(std::span<const u64> numbers, auto&& run_it) {
    alignas(16) static std::array<u8, memory_bytes> bytes;
    for (std::size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<u8>(i * 37 + 11);
    base::Run run;
    u64 p[5] = {reinterpret_cast<u64>(bytes.data()), 0, 0, 0, 0};
    for (std::size_t i = 0; i < numbers.size(); i++) p[1 + i] = numbers[i];
    Outcome out;
    out.result = run_it(&run, p);
    out.calls = run.thrown_value;
    out.memory = bytes;
    return out;
  }
  std::shared_ptr<CodeMemory> memory_ = CodeMemory::create();
};

std::vector<Target> targets() {
  Target plain, host = Target::host();
  plain.check = host.check = verify_allocation;
  return {plain, host};
}

constexpr u64 corners[] = {0,
                           1,
                           2,
                           7,
                           63,
                           64,
                           0x7f,
                           0x80,
                           0xff,
                           0x8000,
                           0xffff,
                           0x7fffffff,
                           0x80000000,
                           0xffffffff,
                           0x100000000,
                           0x1234567890abcdef,
                           0x7fffffffffffffff,
                           0x8000000000000000,
                           ~u64{0}};

/// ret (op r2 r3), with constants in place of parameters where given.
ir::Module single(ir::Inst inst, u32 operands, const s64* a, const s64* b) {
  ir::Function f;
  f.blocks.emplace_back();
  const auto put = [&](ir::Inst made, std::vector<ir::Value> o) {
    made.block = 0;
    const auto v = f.add(made, o);
    f.blocks[0].insns.push_back(v);
    return v;
  };
  const auto leaf = [&](const s64* value, s64 parameter) {
    return value != nullptr ? put({.op = ir::Op::constant, .imm = *value}, {})
                            : put({.op = ir::Op::parameter, .imm = parameter}, {});
  };
  std::vector<ir::Value> o{leaf(a, 2)};
  if (operands >= 2) o.push_back(leaf(b, 3));
  if (operands == 4) {
    o.push_back(put({.op = ir::Op::parameter, .imm = 4}, {}));
    o.push_back(put({.op = ir::Op::parameter, .imm = 5}, {}));
  }
  put({.op = ir::Op::ret}, {put(inst, o)});
  return {{f}};
}

void every_operand(const ir::Inst& inst) {
  Machine_ machine;
  const u32 operands = ir::row(inst.op).operands;
  constexpr s64 divisors[] = {0,
                              1,
                              -1,
                              2,
                              3,
                              5,
                              6,
                              7,
                              9,
                              10,
                              12,
                              25,
                              60,
                              100,
                              125,
                              128,
                              255,
                              625,
                              641,
                              1000,
                              -2,
                              -3,
                              -5,
                              -7,
                              -8,
                              -10,
                              4096,
                              1000000007,
                              1 << 30,
                              13,
                              0x7fffffff,
                              0x80000000l,
                              -0x80000000l,
                              0xffffffffl,
                              0x100000000l,
                              0x123456789abcdefl,
                              INT64_MIN,
                              INT64_MAX,
                              274177,
                              4294967297,
                              -15};
  std::vector<const s64*> seconds{nullptr};
  if (operands >= 2)
    for (const s64& d : divisors) seconds.push_back(&d);
  for (const Target& target : targets())
    for (const s64* b : seconds) {
      const ir::Module module = single(inst, operands, nullptr, b);
      const auto compiled = emit(module, target);
      ASSERT_TRUE(compiled) << compiled.error().message;
      for (const u64 x : corners)
        for (const u64 y : corners) {
          if (b != nullptr && y != 0) break;
          const u64 numbers[] = {x, y, 111, 222};
          const std::string problem = machine.compare(module, target, numbers);
          ASSERT_EQ(problem, "") << ir::print(module.functions[0]) << fmt::format("{:#x} {:#x}", x, y);
        }
    }
}

TEST(Backend, EveryOperationWithEveryOperand) {
  for (u32 op = static_cast<u32>(ir::Op::add); op <= static_cast<u32>(ir::Op::neg); op++)
    for (const u8 width : {32, 64}) every_operand({.op = static_cast<ir::Op>(op), .width = width});
  for (const u8 bits : {8, 16, 32}) {
    every_operand({.op = ir::Op::zext, .bits = bits});
    every_operand({.op = ir::Op::sext, .width = 64, .bits = bits});
    if (bits < 32) every_operand({.op = ir::Op::sext, .width = 32, .bits = bits});
  }
  for (const u8 bits : {16, 32, 64}) every_operand({.op = ir::Op::bswap, .bits = bits});
}

TEST(Backend, CountsOfBits) {
  const Target host = Target::host();
  for (const u8 width : {32, 64}) {
    if (host.popcnt) every_operand({.op = ir::Op::popcount, .width = width});
    if (host.lzcnt) every_operand({.op = ir::Op::leading_zeros, .width = width});
  }
}

TEST(Backend, EveryCondition) {
  for (u32 c = 0; c < 12; c++)
    for (const u8 width : {32, 64})
      every_operand({.op = ir::Op::select, .width = width, .condition = static_cast<ir::Condition>(c)});
}

void random_functions(u64 first, u64 count, RandomOptions options, bool optimised = false) {
  Machine_ machine;
  options.helper = mix;
  options.counts = Target::host().popcnt && Target::host().lzcnt;
  for (u64 seed = first; seed < first + count; seed++) {
    ir::Module module;
    options.other_functions = seed % 3 == 0 ? 1 : 0;
    module.functions.push_back(RandomIr(seed, options).make());
    if (options.other_functions != 0) {
      RandomOptions small = options;
      small.pieces = 2;
      small.calls = false;
      module.functions.push_back(RandomIr(seed ^ 0x5555, small).make());
    }
    for (const auto& f : module.functions) ASSERT_EQ(ir::check(f), "") << "seed " << seed;
    const u64 numbers[] = {seed, seed * 0x9e3779b97f4a7c15u, ~seed, 5};
    const ir::Module before = module;
    if (optimised)
      for (auto& f : module.functions)
        for (const ir::Pass& pass : ir::passes()) {
          pass.run(f, {options.counts, options.counts});
          ASSERT_EQ(ir::check(f), "") << "seed " << seed << ", after " << pass.name;
        }
    for (const Target& target : targets())
      ASSERT_EQ(machine.compare(module, before, target, numbers), "") << "seed " << seed << "\n"
                                                                      << ir::print(module.functions[0]);
  }
}

u64 amount() {
  const char* more = std::getenv("SKEP_RANDOM");
  return more != nullptr ? std::strtoull(more, nullptr, 10) : 300;
}

TEST(Backend, RandomFunctions) { random_functions(1, amount(), {}); }
TEST(Backend, RandomFunctionsThroughThePasses) {
  random_functions(400001, amount(), {}, true);
  random_functions(500001, amount() / 4, {.pieces = 30, .insns = 20, .scope = 60, .calls = false}, true);
}
TEST(Backend, RandomFunctionsWithoutCalls) { random_functions(100001, amount(), {.calls = false}); }
TEST(Backend, RandomFunctionsUnderPressure) {
  random_functions(200001, amount() / 2, {.pieces = 20, .insns = 30, .scope = 60});
}
TEST(Backend, RandomFunctionsWithCirclesOfTwoEntrances) {
  random_functions(600001, amount(), {.calls = false, .circles = true});
  random_functions(700001, amount() / 2, {.pieces = 20, .insns = 20, .scope = 40, .circles = true}, true);
}
TEST(Backend, LargeRandomFunctions) {
  random_functions(300001, amount() / 30, {.pieces = 120, .insns = 20, .scope = 40});
}

}  // namespace
}  // namespace skep::vm::backend

#endif
