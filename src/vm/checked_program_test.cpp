// Code with checks against the checked interpreter: the same result, or the same violation at the same instruction.
#include "vm/checked_program.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "isa/isa.hpp"
#include "isa/text.hpp"
#include "vm/jit/tiering.hpp"

namespace skep::vm {
namespace {

u64 seven(void*, u64, u64, u64, u64, u64) noexcept { return 7; }
u64 clobbering(void*, u64 a, u64 b, u64 c, u64 d, u64 e) noexcept { return a ^ b ^ c ^ d ^ e; }

struct Memory final : MemoryGuard {
  alignas(16) std::array<std::byte, 64> bytes{};
  bool allows(u64 address, u32 size, bool) noexcept override {
    const u64 offset = address - reinterpret_cast<u64>(bytes.data());
    return offset <= bytes.size() && size <= bytes.size() - offset;
  }
};

const HelperFn helpers[] = {seven, clobbering, seven};

Result<u64> interpreted(std::span<const Insn> insns, Memory& memory, u64 budget) {
  RawRun raw;
  raw.helpers = helpers;
  raw.guard = &memory;
  raw.r1 = reinterpret_cast<u64>(memory.bytes.data());
  raw.r2 = memory.bytes.size();
  raw.max_insns = budget;
  return run_raw_checked(insns, raw);
}

Result<u64> compiled(const CheckedProgram& program, Memory& memory, u64 budget) {
  const MemoryRegion region{reinterpret_cast<u64>(memory.bytes.data()), memory.bytes.size()};
  CheckedInput input;
  input.r1 = region.begin;
  input.r2 = region.size_bytes;
  input.regions = {&region, 1};
  input.max_insns = budget;
  return program.run(input);
}

Result<u64> run_text(std::string_view text, u64 budget = 100'000) {
  Bindings bindings;
  bindings.helpers = helpers;
  const auto insns = isa::assemble(text).value();
  const auto program = SKEP_TRY(CheckedProgram::compile(insns, bindings));
  Memory memory;
  return compiled(*program, memory, budget);
}
std::string error_of(std::string_view text, u64 budget = 100'000) {
  const auto result = run_text(text, budget);
  return result ? fmt::format("result {}", *result) : result.error().message;
}

TEST(CheckedProgram, RunsWhatStaysInside) {
  EXPECT_EQ(run_text("r0 = *(u64 *)(r1 +56)\nexit").value(), 0u);
  EXPECT_EQ(run_text("*(u64 *)(r1 +8) = 5\nr0 = *(u8 *)(r1 +8)\nr0 += r2\nexit").value(), 69u);
  EXPECT_EQ(run_text("r3 = r10\nr3 += -16\n*(u32 *)(r3 +4) = 9\nr0 = *(u32 *)(r10 -12)\nexit").value(), 9u);
  EXPECT_EQ(run_text("r1 = 1\nr2 = 2\nr3 = 4\nr4 = 8\nr5 = 16\ncall 1\nr0 += r1\nr0 += r5\nexit").value(), 48u);
  EXPECT_EQ(
      run_text("r1 = r10\nr1 += -8\ncall pc+2\nr0 = *(u64 *)(r10 -8)\nexit\n*(u64 *)(r1 +0) = 3\nr0 = 0\nexit").value(),
      3u);
}

TEST(CheckedProgram, NamesTheInstructionAndTheAddress) {
  EXPECT_EQ(error_of("r0 = 0\nr0 = *(u64 *)(r0 +16)\nexit"),
            "instruction 1: read of 8 bytes at 0x10 is outside the program's memory");
  EXPECT_NE(error_of("*(u64 *)(r1 +57) = 1\nexit").find("instruction 0: write of 8 bytes"), std::string::npos);
  EXPECT_NE(error_of("r0 = *(u8 *)(r1 -1)\nexit").find("instruction 0: read of 1 bytes"), std::string::npos);
  EXPECT_NE(error_of("*(u64 *)(r10 +0) = 1\nexit").find("instruction 0: write"), std::string::npos);
  EXPECT_NE(error_of("r0 = *(u64 *)(r10 -520)\nexit").find("outside"), std::string::npos);
  EXPECT_NE(error_of("lock *(u64 *)(r1 +4) += r2\nexit").find("not aligned"), std::string::npos);
  EXPECT_EQ(error_of("r10 = 5\nexit"), "instruction 0: writes the frame pointer r10");
  EXPECT_EQ(error_of("r0 = 1"), "ran past the last instruction (0)");
  EXPECT_EQ(error_of("call pc+1\nexit\ncall pc-1\nexit"), "instruction 2: calls deeper than 8 frames");
}

TEST(CheckedProgram, EndsWhatWouldNotEnd) {
  EXPECT_EQ(error_of("r0 = 0\nr0 += 1\ngoto pc-2"), "instruction 2: the budget is used up");
  EXPECT_EQ(error_of("r0 = 0\nr0 += 1\nif r0 < 1000 goto pc-2\nexit", 5'000), "result 1000");
  EXPECT_EQ(run_text("r0 = 0\nr0 += 1\ngoto pc-2").error().code, Code::limit);
}

TEST(CheckedProgram, FramesThatEndedAreOutside) {
  // The callee leaves its frame's address in memory; a read through it works inside and fails afterwards.
  EXPECT_NE(error_of("r6 = r1\ncall pc+3\nr3 = *(u64 *)(r6 +0)\nr0 = *(u64 *)(r3 -8)\nexit\n"
                     "*(u64 *)(r10 -8) = 1\n*(u64 *)(r1 +0) = r10\nr2 = r10\nr0 = *(u64 *)(r2 -8)\nexit")
                .find("instruction 3: read"),
            std::string::npos);
}

/// A program of rows that decode, near to sense: accesses often go to the memory or the stack. The stack's address is
/// another one in each engine, so it is used as a base and never as a number.
std::vector<Insn> random_program(std::mt19937_64& random) {
  std::vector<Insn> insns(3 + random() % 14);
  for (Insn& insn : insns) {
    const auto& row = isa::rows()[random() % isa::op_count];
    const auto pick = [&](s32 fixed, u64 range) {
      return fixed != isa::any ? static_cast<s64>(fixed) : static_cast<s64>(random() % range);
    };
    insn = {row.code, isa::uses_dst(row.form) ? static_cast<u8>(random() % 11) : u8{0},
            static_cast<u8>(pick(row.src, 11)), static_cast<s16>(pick(row.off, 8)), static_cast<s32>(pick(row.imm, 8))};
    if (isa::access_bytes(insn) != 0 && random() % 3 != 0) {
      const u8 base = random() % 2 == 0 ? 1 : 10;
      const auto near = static_cast<s16>(base == 1 ? random() % 60 : -static_cast<s16>(random() % 520));
      if (isa::class_of(insn) == isa::class_ldx)
        insn.src = base;
      else
        insn.dst = base;
      insn.off = static_cast<s16>(near & ~7);
    } else if (isa::access_bytes(insn) != 0 && insn.src == 10)
      insn.src = 2;
    if (isa::uses_src(row.op) && insn.src == 10 && isa::class_of(insn) != isa::class_ldx) insn.src = 3;
    if (isa::class_of(insn) >= isa::class_alu && insn.dst == 10 && isa::is_jump(row.form)) insn.dst = 4;
    if (row.op == isa::Op::ld_function) insn = {0xb7, 0, 0, 0, 3};
    if (row.form == isa::Form::jump_imm && random() % 6 == 0)
      insn.off = static_cast<s16>(-static_cast<s16>(random() % 4));
  }
  insns.back() = {0x95, 0, 0, 0, 0};
  return insns;
}

/// What went wrong, with addresses near the memory as they are; all others, the stack's above all, differ from engine
/// to engine: "instruction 5: read of 8 bytes at ?".
std::string comparable(const std::string& text, const Memory& memory) {
  const auto at = text.find(" 0x");
  if (at == std::string::npos) return text;
  std::size_t digits = 0;
  const u64 address = std::stoull(text.substr(at + 3), &digits, 16);
  const u64 distance = address - reinterpret_cast<u64>(memory.bytes.data()) + 4096;
  const bool is_near = distance < 8192 || address < 1u << 20;
  return is_near ? text : fmt::format("{} ?{}", text.substr(0, at), text.substr(at + 3 + digits));
}

TEST(CheckedProgram, RandomProgramsEndAsInTheCheckedInterpreter) {
  std::mt19937_64 random(99);
  Bindings bindings;
  bindings.helpers = helpers;
  const auto jit = Jit::create();
  u32 results = 0, violations = 0, budgets = 0, unsupported = 0;
  for (int round = 0; round < 120'000; round++) {
    const auto insns = random_program(random);
    const auto program = CheckedProgram::compile(insns, bindings, jit);
    if (!program) {
      unsupported++;
      continue;
    }
    Memory memory;
    for (auto& b : memory.bytes) b = static_cast<std::byte>(random());
    const Memory start = memory;
    const auto reset = [&] { memory.bytes = start.bytes; };
    constexpr u64 budget = 2'000;
    const auto first = interpreted(insns, memory, budget);
    const auto left = memory.bytes;
    reset();
    const auto got = compiled(**program, memory, budget);
    const auto show = [&] {
      return fmt::format("round {}: interpreter {}, machine code {}\n{}", round,
                         first ? fmt::format("{:#x}", *first) : first.error().message,
                         got ? fmt::format("{:#x}", *got) : got.error().message, isa::disassemble(insns));
    };
    ASSERT_EQ(first.has_value(), got.has_value()) << show();
    if (first) {
      ASSERT_EQ(*first, *got) << show();
      results++;
    } else {
      ASSERT_EQ(first.error().code, got.error().code) << show();
      ASSERT_EQ(comparable(first.error().message, memory), comparable(got.error().message, memory)) << show();
      (first.error().code == Code::limit ? budgets : violations)++;
    }
    ASSERT_EQ(left, memory.bytes) << show();
  }
  fmt::print("{} results, {} violations, {} budgets used up; {} have no checked code\n", results, violations, budgets,
             unsupported);
  EXPECT_GT(results, 1000u);
  EXPECT_GT(violations, 1000u);
  EXPECT_GT(budgets, 10u);
}

}  // namespace
}  // namespace skep::vm
