// Random programs: what the verifier accepts, the checked interpreter runs without a fault.
//
// The grammar aims at the border between accept and refuse: numbers from the context are bounded, or nearly, then
// used as offsets into the stack and into a map value. Accepted programs run several times on random contexts; every
// access is checked against the memory they have. Where this process may load programs into the kernel, its verdict
// is compared too.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "../embedding/border.hpp"
#include "isa/text.hpp"
#include "kernel.hpp"
#include "verify/verify.hpp"
#include "vm/function.hpp"
#include "vm/jit/tiering.hpp"

namespace skep {
namespace {

constexpr u32 context_size = 168;

using embedding::Border, embedding::object_with_value, embedding::value_size;

struct Guard final : vm::MemoryGuard {
  u64 context = 0, value = 0;
  bool allows(u64 address, u32 size, bool write) noexcept override {
    if (!write && address >= context && address + size <= context + context_size) return true;
    return address >= value && address + size <= value + value_size;
  }
};

u32 rounds(u32 usual) {
  const char* chosen = std::getenv("SKEP_RANDOM_PROGRAMS");
  return chosen != nullptr ? static_cast<u32>(std::strtoul(chosen, nullptr, 10)) : usual;
}

/// What a run leaves behind.
struct Observed {
  u64 r0 = 0;
  std::array<std::byte, context_size> context;
  std::array<std::byte, value_size> value;
  bool operator==(const Observed&) const = default;
};

/// Runs on memory as it is in `before`; `deeper` moves the stack.
[[gnu::noinline]] Observed observe(const vm::Function& function, std::span<std::byte> context,
                                   std::span<std::byte> value, const Observed& before, std::size_t deeper) {
  auto* padding = static_cast<volatile std::byte*>(__builtin_alloca(deeper));
  padding[0] = std::byte{};
  std::ranges::copy(before.context, context.begin());
  std::ranges::copy(before.value, value.begin());
  vm::Run run;
  Observed after;
  after.r0 = function.run(run, context.data());
  std::ranges::copy(context, after.context.begin());
  std::ranges::copy(value, after.value.begin());
  return after;
}

/// Whether a result depends on where the stack is. One other place does not show it: a program may keep a few bits of
/// the address, so each bit that can differ between two tiers is changed once.
bool holds_address(const vm::Function& function, std::span<std::byte> context, std::span<std::byte> value,
                   const Observed& before) {
  const Observed expected = observe(function, context, value, before, 16);
  for (std::size_t deeper = 16; deeper <= std::size_t{1} << 20; deeper *= 2)
    if (observe(function, context, value, before, 16 + deeper) != expected) return true;
  return false;
}

/// The program in every compiled tier, with all that the verifier proved of it; none: this machine has no JIT.
std::vector<std::shared_ptr<const vm::Function>> compiled(const verify::VerifiedProgram& program,
                                                          const vm::Bindings& bindings,
                                                          const std::shared_ptr<vm::Jit>& jit) {
  std::vector<std::shared_ptr<const vm::Function>> functions;
  for (const auto tier : {vm::Tier::baseline, vm::Tier::optimised})
    if (auto function = vm::Function::link(program, bindings, {.tier = tier, .jit = jit}))
      functions.push_back(std::move(*function));
  return functions;
}

TEST(Soundness, AcceptedProgramsNeverFault) {
  const auto jit = vm::Jit::create();
  u64 compared = 0, addresses = 0;
  constexpr u32 seed = 7;
  const ObjectSpec& object = object_with_value();
  std::mt19937 random(seed);
  u32 accepted = 0, count = rounds(12'000);
  for (u32 round = 0; round < count; round++) {
    bool with_map = round % 3 != 0;
    Border generator(seed + round);
    const ProgramSpec program = generator.program(with_map);
    verify::Options options;
    options.rules = round % 2 == 0 ? verify::Rules::user : verify::Rules::kernel;
    options.max_insns_processed = 20'000;
    auto outcome = verify::verify(program, object, options);
    ASSERT_TRUE(outcome.has_value());
    if (!outcome->program) continue;
    accepted++;
    alignas(8) std::array<std::byte, context_size> context;
    alignas(8) std::array<std::byte, value_size> value;
    vm::Bindings bindings;
    bindings.maps = {0, 0};
    bindings.map_values = {reinterpret_cast<u64>(value.data()), 0};
    auto function = vm::Function::link(*outcome->program, bindings, {.tier = vm::Tier::interpreter});
    ASSERT_TRUE(function.has_value()) << function.error().message;
    const auto tiers = compiled(*outcome->program, bindings, jit);
    for (int input = 0; input < 6; input++) {
      for (auto& b : context)
        b = static_cast<std::byte>(input == 0 ? 0 : input == 1 ? 0xff : random() >> (random() % 8));
      for (auto& b : value) b = static_cast<std::byte>(random());
      Guard guard;
      vm::Run run;
      guard.context = reinterpret_cast<u64>(context.data());
      guard.value = reinterpret_cast<u64>(value.data());
      Observed before;
      std::ranges::copy(context, before.context.begin());
      std::ranges::copy(value, before.value.begin());
      auto result = (*function)->run_checked(run, context.data(), guard, 10'000);
      if (!result && generator.loops && result.error().code == Code::limit) continue;  // it went round and round
      ASSERT_TRUE(result.has_value()) << "seed " << seed + round << ": " << result.error().message << "\n"
                                      << isa::disassemble(program.insns);
      const Observed expected = observe(**function, context, value, before, 16);
      for (const auto& tier : tiers) {
        const bool is_same = expected == observe(*tier, context, value, before, 16);
        if (!is_same && holds_address(**function, context, value, before)) {
          addresses++;  // no two tiers have the same
          break;
        }
        compared++;
        ASSERT_TRUE(is_same) << "seed " << seed + round << " input " << input << ": the " << name_of(tier->tier())
                             << " tier differs from the interpreter\n"
                             << isa::disassemble(program.insns);
      }
    }
  }
  fmt::print("{} of {} random programs accepted, none faulted; {} runs compared with machine code, {} hold addresses\n",
             accepted, count, compared, addresses);
  EXPECT_GT(accepted, count / 10);
}

TEST(Soundness, VerdictsAgreeWithTheRunningKernel) {
  corpus::Kernel running;
  if (!running.is_open())
    GTEST_SKIP() << "this process may not load programs (CAP_BPF): the running kernel was not asked";
  const ObjectSpec& object = object_with_value();
  verify::Options options;
  options.rules = verify::Rules::kernel;
  u32 both = 0, neither = 0, only_kernel = 0, only_we = 0,
      count = rounds(300);  // the kernel takes 60 ms for one of these programs
  for (u32 round = 0; round < count; round++) {
    Border generator(1'000'000 + round);
    const ProgramSpec program = generator.program(false);
    auto outcome = verify::verify(program, object, options);
    ASSERT_TRUE(outcome.has_value());
    const auto refusal = running.refusal(object, program);
    if (!refusal) continue;
    const bool we = outcome->report.accepted, kernel = refusal->empty();
    (we ? (kernel ? both : only_we) : (kernel ? only_kernel : neither))++;
    if (we && !kernel && std::getenv("SKEP_SHOW") != nullptr)
      fmt::print("--- seed {}: the kernel rejects\n{}{}\n", 1'000'000 + round, isa::disassemble(program.insns),
                 *refusal);
    if (!we && kernel && std::getenv("SKEP_SHOW") != nullptr)
      fmt::print("--- seed {}: only the kernel accepts\n{}{}\n", 1'000'000 + round, isa::disassemble(program.insns),
                 verify::explain(outcome->report, program));
  }
  fmt::print("random programs: both accept {}, both reject {}, only the kernel accepts {}, only we accept {}\n", both,
             neither, only_kernel, only_we);
  EXPECT_GT(both, 0u);
  // Explained: the kernel follows a branch whose bounds contradict each other, and forgets that a 32-bit shift by an
  // unknown count clears the upper half. Anything more than a few in a thousand is something else.
  EXPECT_LE(only_we, count / 200 + 1);
  EXPECT_LE(only_kernel, count / 200 + 1);
}

}  // namespace
}  // namespace skep
