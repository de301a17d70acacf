// Attacks on machine code with checks: what each elision of vm/jit/checked_plan.hpp could let through. The answer must
// be the checked interpreter's, and nothing else may have been touched.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

#include "isa/isa.hpp"
#include "isa/text.hpp"
#include "vm/bytecode.hpp"
#include "vm/checked_program.hpp"

namespace skep::vm {
namespace {

/// The program's 64 bytes lie between others that nobody may touch.
struct Memory final : MemoryGuard {
  static constexpr u64 size = 64;
  alignas(64) std::array<u8, 3 * size> bytes{};
  Memory() { bytes.fill(0xa5); }
  u64 begin() const { return reinterpret_cast<u64>(bytes.data()) + size; }
  bool allows(u64 address, u32 bytes_asked, bool) noexcept override {
    const u64 offset = address - begin();
    return offset <= size && bytes_asked <= size - offset;
  }
  bool is_intact() const {
    for (std::size_t i = 0; i < bytes.size(); i++)
      if ((i < size || i >= 2 * size) && bytes[i] != 0xa5) return false;
    return true;
  }
};

alignas(16) u64 lent_words[2] = {11, 12};
u64 lend(void* run, u64, u64, u64, u64, u64) noexcept {
  static_cast<Run*>(run)->lend(lent_words, sizeof lent_words, true);
  return reinterpret_cast<u64>(lent_words);
}
u64 take_back(void* run, u64, u64, u64, u64, u64) noexcept {
  static_cast<Run*>(run)->take_back(lent_words);
  return 0;
}
const HelperFn helpers[] = {nullptr, lend, take_back};
const Function* only_target = nullptr;
const Function* tail_target(u64, u32 index) noexcept { return index == 0 ? only_target : nullptr; }

struct Outcome {
  std::string text;
  Memory memory;
};
Outcome outcome_of(const Result<u64>& result, const Memory& memory) {
  return {result ? fmt::format("result {:#x}", *result) : result.error().message, memory};
}

/// What both engines say, which must be the same; addresses of the stack, which no two runs share, as "?".
std::string both(std::span<const Insn> insns, u64 r2 = 0, u64 budget = 100'000) {
  Bindings bindings;
  bindings.helpers = helpers;
  bindings.tail_target = tail_target;
  auto code = translate({.insns = insns, .clear_frames = true}, bindings);
  EXPECT_TRUE(code) << code.error().message;
  const auto function = trusted_function(std::move(*code));
  only_target = function.get();
  Memory memory;
  // r2 comes by the memory's last word, because a checked run has one argument.
  std::memcpy(memory.bytes.data() + 2 * Memory::size - 8, &r2, 8);
  const Memory before = memory;
  Run run;
  const auto first =
      outcome_of(function->run_checked(run, reinterpret_cast<void*>(memory.begin()), memory, budget), memory);
  memory.bytes = before.bytes;
  const MemoryRegion region{memory.begin(), Memory::size};
  CheckedInput input;
  input.r1 = region.begin;
  input.regions = {&region, 1};
  input.max_insns = budget;
  const auto second = outcome_of(run_checked_code(*function, input), memory);
  EXPECT_TRUE(memory.is_intact());
  EXPECT_EQ(first.memory.bytes, second.memory.bytes) << isa::disassemble(insns);
  const auto without_stack = [&](std::string text) {
    const auto at = text.find(" 0x");
    if (at == std::string::npos || text.starts_with("result")) return text;
    constexpr u64 near = 1 << 20;
    const u64 distance = std::stoull(text.substr(at + 3), nullptr, 16) - reinterpret_cast<u64>(&memory) + near;
    return distance < 2 * near ? text.substr(0, at) + " ?" : text;
  };
  EXPECT_EQ(without_stack(first.text), without_stack(second.text)) << isa::disassemble(insns);
  return second.text;
}
std::string both(std::string_view text, u64 r2 = 0, u64 budget = 100'000) {
  return both(isa::assemble(text).value(), r2, budget);
}

TEST(CheckedAttacks, EveryAccessAtEveryEdge) {
  const Memory somewhere;
  for (const auto& row : isa::rows()) {
    Insn access{row.code, 0, 0, 0, row.imm == isa::any ? 5 : row.imm};
    if (isa::access_bytes(access) == 0 || isa::class_of(access) == isa::class_ld) continue;
    const bool loads = isa::class_of(access) == isa::class_ldx || row.form == isa::Form::load_acquire;
    (loads ? access.src : access.dst) = 3;
    (loads ? access.dst : access.src) = isa::uses_src(row.op) || loads ? 4 : 0;
    for (const s16 off : {0, -1, 8, -32768, 32767})
      for (u64 base : {u64{0}, ~u64{0}, ~u64{6}, ~u64{7}, u64{1} << 63, u64{1} << 47, u64{32768}}) {
        access.off = off;
        const Insn program[] = {
            {0x79, 3, 1, 56, 0}, {0xb7, 4, 0, 0, 1}, access, {0xb7, 0, 0, 0, 0}, {0x95, 0, 0, 0, 0}};
        EXPECT_NE(both(program, base).find("instruction 2"), std::string::npos) << row.name;
      }
    // Around the memory's two ends.
    for (s32 off = -9; off <= 65; off++) {
      access.off = static_cast<s16>(off);
      const Insn program[] = {{0xbf, 3, 1, 0, 0}, {0xb7, 4, 0, 0, 1}, access, {0xb7, 0, 0, 0, 0}, {0x95, 0, 0, 0, 0}};
      both(program);
    }
  }
}

TEST(CheckedAttacks, SpansDoNotReachOut) {
  both("r0 = *(u64 *)(r1 +0)\nr0 = *(u64 *)(r1 +56)\nexit");
  EXPECT_NE(both("*(u64 *)(r1 +0) = 1\n*(u8 *)(r1 +64) = 2\n*(u64 *)(r1 +8) = 3\nexit").find("instruction 1"),
            std::string::npos);
  EXPECT_NE(both("*(u64 *)(r1 +8) = 1\nr0 = *(u8 *)(r1 -1)\nexit").find("instruction 1"), std::string::npos);
  // A span around the end of the address space.
  EXPECT_NE(
      both("r3 = *(u64 *)(r1 +56)\n*(u8 *)(r3 +0) = 1\n*(u64 *)(r3 +16) = 1\nexit", ~u64{7}).find("instruction 1"),
      std::string::npos);
  EXPECT_NE(both("r3 = *(u64 *)(r1 +56)\nr3 += 16\n*(u8 *)(r3 +0) = 1\nr3 -= 16\n*(u64 *)(r3 +0) = 1\nexit", ~u64{7})
                .find("instruction 2"),
            std::string::npos);
  // The register is another one in between.
  EXPECT_NE(
      both("r3 = r1\nr0 = *(u64 *)(r3 +0)\nr3 += r2\nr3 += 1000\nr0 = *(u64 *)(r3 +8)\nexit").find("instruction 4"),
      std::string::npos);
  EXPECT_NE(both("r3 = r1\nr0 = *(u64 *)(r3 +0)\nw3 += 0\nr0 = *(u64 *)(r3 +0)\nexit").find("instruction 3"),
            std::string::npos);
  // Large sums of constants come back to where they were, or not.
  both("r3 = r1\nr3 += 2147483647\nr3 -= 2147483647\nr0 = *(u64 *)(r3 +0)\nexit");
  EXPECT_NE(both("r3 = r1\nr0 = *(u8 *)(r3 +0)\nr3 += 2147483647\nr3 += 2147483647\nr0 = *(u8 *)(r3 +2)\nexit")
                .find("instruction 4"),
            std::string::npos);
  // What was checked on one way is not on the other.
  EXPECT_NE(both("r3 = r1\nr3 += r2\nif r2 == 0 goto on\nr3 = 64\nr0 = *(u64 *)(r1 +0)\non: r0 = *(u64 *)(r3 -8)\nexit")
                .find("instruction 5"),
            std::string::npos);
  both("if r2 == 0 goto on\nr0 = *(u64 *)(r1 +0)\non: *(u64 *)(r1 +0) = 1\nr0 = *(u64 *)(r1 +57)\nexit");
}

TEST(CheckedAttacks, TheFrameIsWhereR10Is) {
  for (const char* access : {"*(u64 *)(r10 -4) = 1", "*(u64 *)(r10 -7) = 1", "*(u8 *)(r10 +0) = 1",
                             "*(u8 *)(r10 -513) = 1", "*(u64 *)(r10 -516) = 1", "r0 = *(u64 *)(r10 +32760)",
                             "lock *(u64 *)(r10 -12) += r0", "lock *(u32 *)(r10 -513) += r0"})
    EXPECT_NE(both(fmt::format("r0 = 0\n{}\nexit", access)).find("instruction 1"), std::string::npos) << access;
  both("r3 = r10\nr3 -= 600\nr3 += 592\n*(u64 *)(r3 +0) = 7\nr0 = *(u64 *)(r10 -8)\nexit");
  EXPECT_NE(both("r3 = r10\nr3 += -8\nr3 += r1\nr3 -= r1\nr3 += 8\nr0 = *(u8 *)(r3 +0)\nexit").find("instruction 5"),
            std::string::npos);
}

/// A jump to the next instruction is no code, and that instruction may be one that calls make a frame for.
TEST(CheckedAttacks, AFunctionIsRunIntoWithoutAFrame) {
  for (const char* jump : {"goto +0", "gotol +0", "r3 = 1", "if r1 == 0 goto +0"}) {
    const auto text = fmt::format("r2 = subprog[f]\n{}\nf: r3 = *(u8 *)(r10 -520)\nr0 = 0\nexit", jump);
    EXPECT_NE(both(text).find("instruction 3: read of 1 bytes"), std::string::npos) << jump;
  }
}

TEST(CheckedAttacks, FramesShowNothingOfOthers) {
  // f fills its frame; g, which never mentions r10, is entered where f was, and main's pointer reads its frame.
  const char* program =
      "r6 = r10\ncall f\nr1 = r6\ncall g\nexit\n"
      "f: *(u64 *)(r10 -8) = 77\n*(u64 *)(r10 -512) = 78\nr0 = 0\nexit\n"
      "g: r0 = *(u64 *)(r1 +504)\nr2 = *(u64 *)(r1 +0)\nr0 += r2\nexit";
  EXPECT_EQ(both(program), "result 0x0");
  // What g writes by one way it reads by the other.
  EXPECT_EQ(both("r6 = r10\ncall f\nr1 = r6\ncall g\nexit\nf: *(u64 *)(r10 -16) = 77\nr0 = 0\nexit\n"
                 "g: *(u64 *)(r10 -8) = 5\nr0 = *(u64 *)(r1 +504)\nr2 = *(u64 *)(r1 +496)\nr0 += r2\n"
                 "*(u64 *)(r1 +504) = 9\nr2 = *(u64 *)(r10 -8)\nr0 += r2\nexit"),
            "result 0xe");
  // Behind a call its frame is nobody's, even when a window was made over it.
  EXPECT_NE(both("r6 = r10\nr1 = r10\ncall g\nr0 = *(u64 *)(r6 +504)\nexit\ng: r0 = *(u64 *)(r1 +504)\nexit")
                .find("instruction 3"),
            std::string::npos);
  EXPECT_NE(both("r6 = r10\nr1 = r10\ncall f\nr3 = *(u64 *)(r6 -8)\nr0 = *(u64 *)(r6 +504)\nexit\n"
                 "f: r7 = r1\ncall g\nr0 = *(u64 *)(r7 +504)\nexit\ng: r0 = *(u64 *)(r7 +1016)\nexit")
                .find("instruction 4"),
            std::string::npos);
}

TEST(CheckedAttacks, TheBudgetIsExact) {
  const char* programs[] = {
      "r0 = 0\nagain: r0 += 1\nif r0 < 20 goto again\nexit",
      "r0 = 0\nagain: r0 += 1\nr3 = r0\nr3 &= 1\nif r3 == 0 goto even\nr4 += 3\nr4 += 1\ngoto on\neven: r5 += 7\n"
      "on: if r0 < 9 goto again\nexit",
      "r6 = 4\nagain: call f\nr6 -= 1\nif r6 != 0 goto again\nr0 = *(u64 *)(r1 +60)\nexit\n"
      "f: r0 = 1\nif r6 == 2 goto out\nr0 = 2\nout: exit",
      "r0 = 1\nif r0 == 1 goto far\nr0 = 2\nr0 = 3\nr0 = 4\nr0 = 5\nfar: if r0 == 7 goto far\nr2 = 0\n"
      "if r2 == 0 goto end\nr0 = 9\nr0 = 10\nend: r3 = r10\nr0 = *(u64 *)(r3 -520)\nexit",
      "again: may_goto out\nr0 += 1\nif r0 != 30 goto again\nout: exit",
      "r3 = 0 ll\nr0 = 1 ll\ngoto again\nagain: r0 += 1\ngoto again",
  };
  for (const char* program : programs)
    for (u64 budget = 0; budget < 90; budget++) both(program, 0, budget);
}

TEST(CheckedAttacks, CallsByRegister) {
  EXPECT_EQ(both("r1 = subprog[f]\ncallx r1\nexit\nf: r0 = 5\nexit"), "result 0x5");
  for (const char* spoiled : {"r1 += 8", "r1 += 1", "r1 += 32", "r1 -= 32", "r1 = -1", "r1 = 3", "r1 = 0", "r1 <<= 1"})
    EXPECT_NE(both(fmt::format("r1 = subprog[f]\n{}\ncallx r1\nexit\nf: r0 = 5\nexit", spoiled)).find("instruction 3"),
              std::string::npos)
        << spoiled;
  EXPECT_NE(both("f: r1 = subprog[f]\ncallx r1\nexit").find("deeper than 8 frames"), std::string::npos);
  EXPECT_NE(both("f: call f\nexit").find("instruction 0: calls deeper than 8 frames"), std::string::npos);
}

TEST(CheckedAttacks, TailCalls) {
  // The program enters itself until the kernel's limit, also out of a function; then the budget ends another chain.
  EXPECT_EQ(both("r6 += 1\nr3 = 0\ncall 12\nr0 = r6\nexit"), "result 0x22");
  EXPECT_EQ(both("r3 = 7\ncall 12\nexit"), "result 0xfffffffffffffffe");
  both("*(u64 *)(r1 +0) = 9\nr7 = r1\ncall f\nr0 += 1\nexit\nf: r3 = 0\nr1 = r7\ncall 12\nr0 = 40\nexit");
  for (u64 budget = 0; budget < 120; budget += 7) both("r6 += 1\nr3 = 0\ncall 12\nr0 = r6\nexit", 0, budget);
  // The next program's frame is clean, and its memory the same.
  EXPECT_EQ(both("r2 = *(u64 *)(r10 -8)\nif r2 != 0 goto bad\n*(u64 *)(r10 -8) = 1\nr3 = 0\ncall 12\nr0 = 0\nexit\n"
                 "bad: r0 = 1\nexit"),
            "result 0x0");
}

TEST(CheckedAttacks, WhatWasTakenBackIsGone) {
  EXPECT_EQ(both("call 1\nr0 = *(u64 *)(r0 +8)\nexit"), "result 0xc");
  EXPECT_NE(both("call 1\nr6 = r0\nr0 = *(u64 *)(r6 +0)\ncall 2\nr0 = *(u64 *)(r6 +0)\nexit").find("instruction 4"),
            std::string::npos);
  EXPECT_NE(both("call 1\n*(u64 *)(r0 +12) = 1\nexit").find("instruction 1"), std::string::npos);
}

TEST(CheckedAttacks, AnyJumpAnywhere) {
  // Into other functions, out of them, and from one into the next.
  EXPECT_EQ(both("call f\nr0 += 1\nexit\nf: r0 = 5\ngoto g\nexit\ng: r0 += 10\nexit"), "result 0x10");
  both("r6 = 1\ncall f\nr0 += r6\nexit\nf: r6 = 9\nr0 = 2\ng: r0 += 1\nif r0 s> 3 goto out\ncall g\nout: exit");
  EXPECT_NE(both("call f\nf: r0 = 1").find("ran past the last instruction"), std::string::npos);
}

}  // namespace
}  // namespace skep::vm
