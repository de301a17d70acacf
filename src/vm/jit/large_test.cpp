// Large programs: what the optimising tier does with them takes time in proportion, or it says why it does not.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <time.h>

#include "isa/text.hpp"
#include "vm/checked_program.hpp"
#include "vm/jit/backend/backend.hpp"
#include "vm/jit/optimised.hpp"

namespace skep::vm::jit {
namespace {

/// Each shape strains another pass: long blocks, many blocks, nested loops' worth of phis, many functions, calls.
std::string shaped(std::string_view shape, u32 insns) {
  std::string text = "r0 = 0\nr6 = r1\n";
  u32 made = 2;
  const auto line = [&](std::string piece, u32 count) {
    text += piece;
    made += count;
  };
  for (u32 i = 0; made < insns; i++) {
    if (shape == "straight") line(fmt::format("r0 += {}\nr0 ^= r6\nr6 *= 13\n", i % 1000), 3);
    if (shape == "branches")
      line(fmt::format("if r6 > {} goto l{}\nr0 += {}\nr6 ^= r0\nr6 *= r0\nl{}: r0 ^= 5\n", i % 977, i, i, i), 5);
    if (shape == "loops") line(fmt::format("r7 = 3\nl{}: r0 += r6\nr6 ^= r0\nr7 -= 1\nif r7 != 0 goto l{}\n", i, i), 5);
    if (shape == "stores")
      line(fmt::format("*(u64 *)(r10 - {}) = r0\nr0 += r6\nr6 = *(u32 *)(r10 - {})\n", 8 + 8 * (i % 60),
                       8 + 8 * (i * 7 % 60)),
           3);
    if (shape == "chain") line(fmt::format("if r6 == {} goto out\n", i), 1);
    if (shape == "calls") line(fmt::format("r1 = r6\ncall f{}\nr6 += r0\n", i), 8);  // with the function
  }
  text += "out: exit\n";
  if (shape == "calls")
    for (u32 i = 0; i * 8 + 2 < insns; i++)
      text += fmt::format("f{}: r0 = r1\nr0 *= {}\nif r0 > 5 goto +1\nr0 += 1\nexit\n", i, i + 3);
  return text;
}

/// What this thread computed: other load of the machine does not count.
double thread_ms() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) * 1e3 + static_cast<double>(used.tv_nsec) / 1e6;
}

/// Milliseconds it took, or -1: it was refused with a message that says what to do.
double compile_ms(std::string_view shape, u32 insns, CodeMemory& memory) {
  const auto parsed = isa::assemble(shaped(shape, insns));
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message);
  const auto code = translate({*parsed, {}, {}}, {});
  EXPECT_TRUE(code) << (code ? "" : code.error().message);
  const double start = thread_ms();
  const auto placed = compile_optimised(**code, nullptr, memory);
  if (placed) return thread_ms() - start;
  EXPECT_NE(placed.error().message.find("baseline"), std::string::npos) << placed.error().message;
  return -1;
}

TEST(Large, ProgramsCompileInBoundedTimeOrSayWhyNot) {
  const auto memory = CodeMemory::create();
  for (const char* shape : {"straight", "branches", "loops", "stores", "chain", "calls"}) {
    SCOPED_TRACE(shape);
    // A chain of jumps to one place is as long as they reach.
    const bool is_chain = std::string_view(shape) == "chain";
    const u32 most = is_chain ? 30'000 : 65'000;
    const double small = compile_ms(shape, 1000, *memory), large = compile_ms(shape, most, *memory);
    if (small < 0) GTEST_SKIP() << "no memory for code, or no optimising tier for this CPU";
    EXPECT_GE(large, 0) << "refused";
    EXPECT_LT(large, 20'000);  // many times what it takes, for slow machines and sanitizers
    if (!is_chain) {
      EXPECT_EQ(compile_ms(shape, 100'000, *memory), -1.0);
    }
  }
  EXPECT_EQ(compile_ms("straight", 1'000'000, *memory), -1);
}

// Blinded stores take some 40 bytes each, so that these jumps lead over more than a mebibyte: arm64's conditional ones
// do not reach so far.
TEST(Large, BaselineJumpsLeadAsFarAsInstructionsAllow) {
  std::string text = "r0 = 1\nif r2 == 0 goto end\nagain: r0 += 7\n";
  for (u32 i = 0; i < 30'000; i++) text += "*(u64 *)(r10 - 300) = 0x12345678\n";
  text += "r2 += -1\nif r2 != 0 goto again\nend: exit\n";
  const auto parsed = isa::assemble(text);
  ASSERT_TRUE(parsed) << parsed.error().message;
  auto code = translate({*parsed, {}, {}}, {});
  ASSERT_TRUE(code) << code.error().message;
  const auto function = trusted_function(std::move(*code), {.tier = Tier::baseline, .blind_constants = true});
  if (!function && function.error().code != Code::limit) GTEST_SKIP() << function.error().message;
  ASSERT_TRUE(function) << function.error().message;
  EXPECT_GT((*function)->machine_code().size(),
            std::size_t{1} << 20 >> (backend::Target::host().machine != backend::Machine::arm64));
  for (const u64 rounds : {0, 1, 3}) {
    base::Run run;
    EXPECT_EQ((*function)->enter(run, 0, rounds), 1 + 7 * rounds);
  }
}

// The same with checks: each load is of a pointer that was not asked for yet.
TEST(Large, CheckedJumpsLeadAsFarAsInstructionsAllow) {
  std::string text = "r0 = 1\nif r2 == 0 goto end\nagain: r0 += 7\n";
  for (u32 i = 0; i < 32'000; i++) text += "r1 = *(u64 *)(r1 +0)\n";
  text += "r2 += -1\nif r2 != 0 goto again\nend: exit\n";
  const auto parsed = isa::assemble(text);
  ASSERT_TRUE(parsed) << parsed.error().message;
  const auto program = CheckedProgram::compile(*parsed, {});
  if (!program && program.error().code != Code::limit) GTEST_SKIP() << program.error().message;
  ASSERT_TRUE(program) << program.error().message;
  EXPECT_GT((*program)->machine_code().size(), std::size_t{1} << 20);
  const u64 itself = reinterpret_cast<u64>(&itself);
  const MemoryRegion region{itself, sizeof itself, false};
  for (const u64 rounds : {0, 1, 3}) {
    const auto result = (*program)->run({.r1 = itself, .r2 = rounds, .regions = {&region, 1}});
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(*result, 1 + 7 * rounds);
  }
}

}  // namespace
}  // namespace skep::vm::jit
