// AArch64 code under qemu-user against the evaluator: every operation with every kind of operand, and random functions.
//
// SKEP_RANDOM says how many random functions, as for the x86-64 back end.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "protocol.hpp"
#include "vm/jit/backend/backend.hpp"
#include "vm/jit/backend/passes.hpp"
#include "vm/jit/backend/random_ir.hpp"

namespace skep::vm::backend {
namespace {

using tests::arm64::Request;
using tests::arm64::Response;

u64 local_helper(void* run, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept {
  return tests::arm64::mixed(static_cast<base::Run*>(run)->thrown_value++, a1, a2, a3, a4, a5);
}

/// The runner's process and the two pipes to it.
class Runner {
 public:
  Runner() {
    int to[2], from[2];
    if (::pipe(to) != 0 || ::pipe(from) != 0) return;
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(to[0], 0);
      ::dup2(from[1], 1);
      for (const int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
      ::execl(SKEP_ARM64_QEMU, SKEP_ARM64_QEMU, "-cpu", "max", SKEP_ARM64_RUNNER, static_cast<char*>(nullptr));
      ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    to_ = to[1];
    from_ = from[0];
    is_well_ = receive(&helper_, sizeof helper_);
  }
  ~Runner() {
    ::close(to_);
    ::close(from_);
    if (child_ > 0) ::waitpid(child_, nullptr, 0);
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  bool is_well() const { return is_well_; }
  base::HelperFn helper() const { return reinterpret_cast<base::HelperFn>(helper_); }

  bool run(const Compiled& compiled, bool is_new, std::span<const u64> numbers, Response& response) {
    Request request;
    request.code_bytes = is_new ? static_cast<u32>(compiled.code.size()) : 0;
    request.entry = compiled.entries[0];
    for (std::size_t i = 0; i < numbers.size(); i++) request.parameters[i] = numbers[i];
    std::vector<u8> message(sizeof request + request.code_bytes);
    std::memcpy(message.data(), &request, sizeof request);
    std::memcpy(message.data() + sizeof request, compiled.code.data(), request.code_bytes);
    for (std::size_t sent = 0; sent < message.size();) {
      const ssize_t n = ::write(to_, message.data() + sent, message.size() - sent);
      if (n <= 0) return is_well_ = false;
      sent += static_cast<std::size_t>(n);
    }
    return is_well_ = receive(&response, sizeof response);
  }

 private:
  bool receive(void* to, std::size_t size) {
    for (auto* at = static_cast<u8*>(to); size > 0;) {
      const ssize_t got = ::read(from_, at, size);
      if (got <= 0) return false;
      at += got;
      size -= static_cast<std::size_t>(got);
    }
    return true;
  }
  pid_t child_ = -1;
  int to_ = -1, from_ = -1;
  u64 helper_ = 0;
  bool is_well_ = false;
};

class Arm64Backend : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string_view(SKEP_ARM64_RUNNER).empty())
      GTEST_SKIP() << "left out: AArch64 code is not run (Debian: g++-aarch64-linux-gnu, qemu-user)";
    ::signal(SIGPIPE, SIG_IGN);
    runner_ = std::make_unique<Runner>();
    ASSERT_TRUE(runner_->is_well()) << "the runner does not start";
  }

  static std::vector<Target> targets() {
    return {{.machine = Machine::arm64, .check = verify_allocation},
            {.machine = Machine::arm64, .lse = true, .check = verify_allocation}};
  }

  /// `made`: for this process (to evaluate) and compiled for the runner. Empty when both do the same.
  std::string compare(const ir::Module& here, const Compiled& there, bool is_new, std::span<const u64> numbers) {
    alignas(16) static std::array<u8, tests::arm64::memory_bytes> bytes;
    for (u32 i = 0; i < bytes.size(); i++) bytes[i] = tests::arm64::initial_byte(i);
    base::Run run;
    u64 p[5] = {reinterpret_cast<u64>(bytes.data())};
    for (std::size_t i = 0; i < numbers.size(); i++) p[1 + i] = numbers[i];
    const u64 expected = ir::evaluate(here, 0, &run, std::span(p, 5));
    Response got;
    if (!runner_->run(there, is_new, numbers, got)) return "the machine code ended the runner";
    if (got.broken != 0) return "a callee-saved register or the stack pointer came back changed";
    if (got.result != expected) return fmt::format("result {:#x}, expected {:#x}", got.result, expected);
    if (got.calls != run.thrown_value) return "calls differ";
    return std::memcmp(got.memory, bytes.data(), bytes.size()) == 0 ? "" : "memory differs";
  }

  void every_operand(const ir::Inst& inst);
  void random_functions(u64 first, u64 count, RandomOptions options);
  std::unique_ptr<Runner> runner_;
};

constexpr u64 corners[] = {0,
                           1,
                           2,
                           7,
                           63,
                           64,
                           0x80,
                           0xff,
                           0x8000,
                           0x7fffffff,
                           0x80000000,
                           0xffffffff,
                           0x100000000,
                           0x1234567890abcdef,
                           0x7fffffffffffffff,
                           0x8000000000000000,
                           ~u64{0}};
constexpr s64 constants[] = {0,
                             1,
                             -1,
                             2,
                             3,
                             5,
                             6,
                             7,
                             9,
                             10,
                             25,
                             60,
                             63,
                             64,
                             100,
                             125,
                             128,
                             255,
                             641,
                             1000,
                             4095,
                             4096,
                             4097,
                             0xfff000,
                             65535,
                             -2,
                             -3,
                             -7,
                             -8,
                             -10,
                             -4095,
                             -4096,
                             -4097,
                             1000000007,
                             1 << 30,
                             0x7fffffff,
                             0x80000000l,
                             -0x80000000l,
                             0xffffffffl,
                             0x100000000l,
                             0xff00ff00l,
                             0x00ff00ff00ff00ffl,
                             0x123456789abcdefl,
                             INT64_MIN,
                             INT64_MAX,
                             274177,
                             4294967297,
                             -15};

/// ret (op r2 r3), with a constant as the second operand when given.
ir::Module single(ir::Inst inst, u32 operands, const s64* second) {
  ir::Function f;
  f.blocks.emplace_back();
  const auto put = [&](ir::Inst made, std::vector<ir::Value> o) {
    made.block = 0;
    const auto v = f.add(made, o);
    f.blocks[0].insns.push_back(v);
    return v;
  };
  const auto parameter = [&](s64 i) { return put({.op = ir::Op::parameter, .imm = i}, {}); };
  std::vector<ir::Value> o{parameter(2)};
  if (operands >= 2) o.push_back(second != nullptr ? put({.op = ir::Op::constant, .imm = *second}, {}) : parameter(3));
  if (operands == 4) {
    o.push_back(parameter(4));
    o.push_back(parameter(5));
  }
  put({.op = ir::Op::ret}, {put(inst, o)});
  return {{f}};
}

void Arm64Backend::every_operand(const ir::Inst& inst) {
  const u32 operands = ir::row(inst.op).operands;
  std::vector<const s64*> seconds{nullptr};
  if (operands >= 2)
    for (const s64& c : constants) seconds.push_back(&c);
  for (const s64* second : seconds) {
    const ir::Module module = single(inst, operands, second);
    const auto compiled = emit(module, targets()[0]);
    ASSERT_TRUE(compiled) << compiled.error().message;
    bool is_new = true;
    for (const u64 x : corners)
      for (const u64 y : corners) {
        if ((second != nullptr || operands == 1) && y != 0) break;
        const u64 numbers[] = {x, y, 111, 222};
        ASSERT_EQ(compare(module, *compiled, is_new, numbers), "")
            << ir::print(module.functions[0]) << fmt::format("{:#x} {:#x}", x, y);
        is_new = false;
      }
  }
}

TEST_F(Arm64Backend, EveryOperationWithEveryOperand) {
  for (u32 op = static_cast<u32>(ir::Op::add); op <= static_cast<u32>(ir::Op::neg); op++)
    for (const u8 width : {32, 64}) every_operand({.op = static_cast<ir::Op>(op), .width = width});
  for (const u8 bits : {8, 16, 32}) {
    every_operand({.op = ir::Op::zext, .bits = bits});
    every_operand({.op = ir::Op::sext, .width = 64, .bits = bits});
    if (bits < 32) every_operand({.op = ir::Op::sext, .width = 32, .bits = bits});
  }
  for (const u8 bits : {16, 32, 64}) every_operand({.op = ir::Op::bswap, .bits = bits});
  for (const auto op : {ir::Op::popcount, ir::Op::leading_zeros})
    for (const u8 width : {32, 64}) every_operand({.op = op, .width = width});
}

TEST_F(Arm64Backend, EveryCondition) {
  for (u32 c = 0; c < 12; c++)
    for (const u8 width : {32, 64})
      every_operand({.op = ir::Op::select, .width = width, .condition = static_cast<ir::Condition>(c)});
}

ir::Module random_module(u64 seed, RandomOptions options, base::HelperFn helper) {
  options.helper = helper;
  options.counts = true;
  options.other_functions = seed % 3 == 0 ? 1 : 0;
  ir::Module module;
  module.functions.push_back(RandomIr(seed, options).make());
  if (options.other_functions != 0) {
    RandomOptions small = options;
    small.pieces = 2;
    small.calls = false;
    module.functions.push_back(RandomIr(seed ^ 0x5555, small).make());
  }
  return module;
}

void Arm64Backend::random_functions(u64 first, u64 count, RandomOptions options) {
  for (u64 seed = first; seed < first + count; seed++) {
    const ir::Module here = random_module(seed, options, local_helper);
    const ir::Module there = random_module(seed, options, runner_->helper());
    const u64 numbers[] = {seed, seed * 0x9e3779b97f4a7c15u, ~seed, 5};
    for (const Target& target : targets()) {
      const auto compiled = emit(there, target);
      ASSERT_TRUE(compiled) << "seed " << seed << ": " << compiled.error().message;
      ASSERT_EQ(compare(here, *compiled, true, numbers), "") << "seed " << seed << " lse " << target.lse << "\n"
                                                             << ir::print(here.functions[0]);
    }
  }
}

u64 amount() {
  const char* more = std::getenv("SKEP_RANDOM");
  return more != nullptr ? std::strtoull(more, nullptr, 10) : 300;
}

TEST_F(Arm64Backend, RandomFunctions) { random_functions(1, amount(), {}); }
TEST_F(Arm64Backend, RandomFunctionsWithoutCalls) { random_functions(100001, amount(), {.calls = false}); }
TEST_F(Arm64Backend, RandomFunctionsUnderPressure) {
  random_functions(200001, amount() / 2, {.pieces = 20, .insns = 30, .scope = 60});
}
TEST_F(Arm64Backend, LargeRandomFunctions) {
  random_functions(300001, amount() / 30, {.pieces = 120, .insns = 20, .scope = 40});
}

}  // namespace
}  // namespace skep::vm::backend
