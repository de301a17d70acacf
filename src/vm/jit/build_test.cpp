// eBPF to SSA and through the passes: every stage keeps the rules and computes what the interpreter computes.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <random>
#include <span>

#include "isa/text.hpp"
#include "vm/jit/build.hpp"
#include "vm/jit/optimised.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::jit {
namespace {

std::unique_ptr<const Bytecode> code_of(std::string_view text) {
  auto insns = isa::assemble(text);
  EXPECT_TRUE(insns) << (insns ? "" : insns.error().message) << text;
  auto code = translate({*insns, {}, {}}, {});
  EXPECT_TRUE(code) << (code ? "" : code.error().message) << text;
  return code ? std::move(*code) : nullptr;
}

u64 interpreted(const Bytecode& code, std::span<const u64> parameters) {
  base::Run run;
  return interpret(code, run, parameters[0], parameters[1]);
}

/// The module after each stage; fails where a stage breaks a rule or changes the result.
ir::Module optimised(const Bytecode& code, std::span<const u64> parameters, std::string_view text) {
  auto built = build(code, {}, {});
  const u64 expected = interpreted(code, parameters);
  const auto look = [&](const char* stage) {
    for (const auto& f : built.module.functions) {
      const std::string problem = ir::check(f);
      EXPECT_EQ(problem, "") << stage << "\n" << ir::print(f) << text;
      if (!problem.empty()) return false;
    }
    base::Run run;
    const u64 got = ir::evaluate(built.module, 0, &run, parameters);
    EXPECT_EQ(got, expected) << stage << "\n" << ir::print(built.module.functions[0]) << text;
    return got == expected;
  };
  if (!look("build")) return {};
  for (const auto& pass : ir::passes()) {
    for (auto& f : built.module.functions) pass.run(f, {true, true});
    if (!look(pass.name)) return {};
  }
  return std::move(built.module);
}

u32 count(const ir::Module& module, ir::Op op) {
  u32 found = 0;
  for (const auto& f : module.functions)
    for (const auto& block : f.blocks)
      for (const auto v : block.insns) found += f.insns[v].op == op ? 1 : 0;
  return found;
}

ir::Module of(std::string_view text, u64 r1 = 0, u64 r2 = 0) {
  const auto code = code_of(text);
  const u64 parameters[] = {r1, r2, 0, 0, 0};
  return optimised(*code, parameters, text);
}

TEST(Build, LoopsBecomePhis) {
  const auto module = of("r0 = 0\nr1 = 10\nl: r0 += r1\nr1 -= 1\nif r1 != 0 goto l\nexit");
  EXPECT_EQ(count(module, ir::Op::phi), 2u);
}

TEST(Build, StackSlotsBecomeValues) {
  const auto module =
      of("*(u64 *)(r10 - 8) = r1\nr2 = *(u32 *)(r10 - 8)\n*(u32 *)(r10 - 4) = r2\nr0 = *(u64 *)(r10 - 8)\nexit",
         0x1122334455667788);
  EXPECT_EQ(count(module, ir::Op::store), 0u);
  EXPECT_EQ(count(module, ir::Op::load), 0u);
  EXPECT_EQ(module.functions[0].frame_bytes, 0u);
}

TEST(Build, AFrameThatIsReadByAddressBecomesValues) {
  const auto module = of("r2 = r10\nr2 += -8\n*(u64 *)(r10 - 8) = 7\nr0 = *(u64 *)(r2 + 0)\nexit");
  EXPECT_EQ(count(module, ir::Op::load), 0u);
  EXPECT_EQ(module.functions[0].frame_bytes, 0u);
}

TEST(Build, AFrameWhoseAddressDependsOnANumberStaysMemory) {
  const auto module =
      of("*(u64 *)(r10 - 8) = 7\n*(u64 *)(r10 - 16) = 9\nr1 &= 8\nr2 = r10\nr2 += -16\nr2 += r1\nr0 = *(u64 *)(r2 + "
         "0)\nexit",
         8);
  EXPECT_EQ(count(module, ir::Op::load), 1u);
  EXPECT_EQ(count(module, ir::Op::store), 2u);
}

/// What a function gets by address is its caller's: in a loop, in pieces of every size, swapped.
TEST(Build, WhatAnInlinedFunctionGetsByAddressBecomesValues) {
  const auto module = of(
      "r7 = r1\n*(u64 *)(r10 - 8) = 1\n*(u32 *)(r10 - 16) = -5\n*(u16 *)(r10 - 24) = 0x1234\nr6 = 10\nl: r1 = r10\n"
      "r1 += -24\nr2 = r7\ncall f\nr6 -= 1\nif r6 != 0 goto l\nr0 = *(u64 *)(r10 - 8)\nr1 = *(u32 *)(r10 - 16)\nr0 ^= "
      "r1\nr1 = *(u16 *)(r10 - 24)\nr1 <<= 48\nr0 ^= r1\nexit\n"
      "f: r3 = *(u64 *)(r1 + 16)\nr3 *= 31\nr3 += r2\n*(u64 *)(r1 + 16) = r3\nr4 = *(s32 *)(r1 + 8)\nr4 s>>= 1\n"
      "r4 ^= r3\n*(u32 *)(r1 + 8) = r4\nr5 = *(u16 *)(r1 + 0)\nr5 = be16 r5\nr5 += r4\n*(u16 *)(r1 + 0) = r5\nr0 = "
      "0\nexit",
      0x1234567890abcdef);
  EXPECT_EQ(count(module, ir::Op::load), 0u);
  EXPECT_EQ(count(module, ir::Op::store), 0u);
  EXPECT_EQ(module.functions[0].frame_bytes, 0u);
}

/// Two helpers that share a place of the stack: the key is written over the low half of a value.
TEST(Build, APartOfAWordThatIsReplacedIsTheNewOne) {
  const auto module =
      of("*(u64 *)(r10 - 8) = r1\nr3 = *(u64 *)(r10 - 8)\n*(u32 *)(r10 - 8) = r2\nr0 = *(u32 *)(r10 - 8)\nr0 += "
         "r3\nexit",
         0x1122334455667788, 0x99aabbccddeeff00);
  EXPECT_EQ(count(module, ir::Op::or_), 0u);
  EXPECT_EQ(count(module, ir::Op::and_), 0u);
}

TEST(Build, SubprogramsAreInlinedAndTheirFramesApart) {
  const auto module =
      of("*(u64 *)(r10 - 8) = 5\nr6 = 3\nr1 = 1\ncall f\nr1 = r0\ncall f\nr0 += r6\nr1 = *(u64 *)(r10 - 8)\nr0 += "
         "r1\nexit\n"
         "f: *(u64 *)(r10 - 8) = 100\nr0 = *(u64 *)(r10 - 8)\nr0 += r1\nexit");
  EXPECT_EQ(count(module, ir::Op::call_local), 0u);
  EXPECT_EQ(count(module, ir::Op::add), 0u) << "everything is constant";
}

TEST(Build, BytesBecomeAWideLoad) {
  const u64 memory = 0x0807060504030201;
  const auto module =
      of("r0 = *(u8 *)(r1 + 0)\nr0 <<= 8\nr2 = *(u8 *)(r1 + 1)\nr0 |= r2\nr0 <<= 8\nr2 = *(u8 *)(r1 + 2)\nr0 |= r2\n"
         "r0 <<= 8\nr2 = *(u8 *)(r1 + 3)\nr0 |= r2\nexit",
         reinterpret_cast<u64>(&memory));
  EXPECT_EQ(count(module, ir::Op::load_swapped), 1u);
  EXPECT_EQ(count(module, ir::Op::load), 0u);
  EXPECT_EQ(count(module, ir::Op::or_), 0u);
}

TEST(Build, ShiftsThatFillEachOtherAreARotate) {
  EXPECT_EQ(count(of("w0 = w1\nw2 = w1\nw0 <<= 7\nw2 >>= 25\nw0 |= w2\nexit", 0x81234567), ir::Op::rol), 1u);
  EXPECT_EQ(count(of("r0 = r1\nr2 = r1\nr0 <<= 13\nr2 >>= 51\nr0 ^= r2\nexit", 0x8123456789), ir::Op::rol), 1u);
}

/// As clang spells them for eBPF.
std::string popcount_text(int width) {
  const char r = width == 64 ? 'r' : 'w';
  const char* const masks[] = {
      width == 64 ? "0x5555555555555555 ll" : "0x55555555", width == 64 ? "0x3333333333333333 ll" : "0x33333333",
      width == 64 ? "0x0f0f0f0f0f0f0f0f ll" : "0x0f0f0f0f", width == 64 ? "0x0101010101010101 ll" : "0x01010101"};
  return fmt::format(
      "{0}2 = {0}1\n{0}2 >>= 1\n{0}3 = {1}\n{0}2 &= {0}3\n{0}1 -= {0}2\n{0}2 = {2}\n{0}0 = {0}1\n{0}0 &= {0}2\n"
      "{0}1 >>= 2\n{0}1 &= {0}2\n{0}0 += {0}1\n{0}1 = {0}0\n{0}1 >>= 4\n{0}0 += {0}1\n{0}1 = {3}\n{0}0 &= {0}1\n"
      "{0}1 = {4}\n{0}0 *= {0}1\n{0}0 >>= {5}\n",
      r, masks[0], masks[1], masks[2], masks[3], width - 8);
}

TEST(Build, CountsOfBitsAreRecognised) {
  for (const int width : {32, 64}) {
    std::string smear;
    const char r = width == 64 ? 'r' : 'w';
    for (int step = 1; step < width; step *= 2)
      smear += fmt::format("{0}2 = {0}1\n{0}2 >>= {1}\n{0}1 |= {0}2\n", r, step);
    smear += fmt::format("{}1 ^= -1\n", r);
    for (const u64 number :
         {u64{0}, u64{1}, u64{0x8000000000000000}, u64{0x80000000}, u64{0x123456789abcdef}, ~u64{0}}) {
      const auto ones = of(popcount_text(width) + "exit", number);
      EXPECT_EQ(count(ones, ir::Op::popcount), 1u);
      EXPECT_EQ(count(ones, ir::Op::mul) + count(ones, ir::Op::and_), 0u);
      const auto zeros = of(smear + popcount_text(width) + "exit", number);
      EXPECT_EQ(count(zeros, ir::Op::leading_zeros), 1u);
      EXPECT_EQ(count(zeros, ir::Op::shr), 0u);
    }
  }
  // One mask is off by a bit: no count.
  std::string wrong = popcount_text(32);
  wrong.replace(wrong.find("0x33333333"), 10, "0x33333331");
  EXPECT_EQ(count(of(wrong + "exit", 0xdeadbeef), ir::Op::popcount), 0u);
}

TEST(Build, ADiamondBecomesASelect) {
  const auto module = of("r0 = r1\nif r1 > r2 goto l\nr0 = r2\nl: exit", 3, 9);
  EXPECT_EQ(count(module, ir::Op::select), 1u);
  EXPECT_EQ(count(module, ir::Op::branch), 0u);
}

TEST(Build, ATreeOfComparisonsBecomesASwitch) {
  const std::string text =
      "r6 = *(u64 *)(r1 + 0)\nif r6 s> 2 goto high\nif r6 == 0 goto c0\nif r6 == 1 goto c1\nif r6 == 2 goto c2\ngoto "
      "other\n"
      "high: if r6 == 3 goto c3\nif r6 == 4 goto c4\nif r6 == 5 goto c5\ngoto other\n"
      "c0: r0 = r1\nr0 *= 3\nr0 ^= r6\nexit\nc1: r0 = *(u64 *)(r1 + 0)\nr0 *= 77\nexit\nc2: r0 = r6\nr0 *= r6\nr0 += "
      "2\nexit\n"
      "c3: r0 = r6\nr0 *= 13\nexit\nc4: r0 = r6\nr0 *= 14\nexit\nc5: r0 = r6\nr0 *= 15\nexit\nother: r0 = -1\nexit";
  for (u64 n = 0; n < 9; n++) {
    const u64 memory = n == 8 ? ~u64{0} : n;
    const auto module = of(text, reinterpret_cast<u64>(&memory));
    EXPECT_EQ(count(module, ir::Op::switch_), 1u);
    EXPECT_EQ(count(module, ir::Op::branch), 0u);
  }
}

/// Random programs: straight code, forward jumps, counted loops, stack, memory behind r9, calls.
class Generator {
 public:
  explicit Generator(u32 seed, bool casts = false) : random_(seed), casts_(casts) {}

  std::string program() {
    text_ = "r9 = r1\n";
    for (int r = 0; r <= 8; r++) text_ += fmt::format("r{} = {}\n", r, static_cast<s32>(random_()) >> random_() % 31);
    for (int s = 8; s <= 64; s += 8) text_ += fmt::format("*(u64 *)(r10 - {}) = r{}\n", s, random_() % 9);
    body(12 + random_() % 30, 0);
    text_ += "r0 += r1\nr0 ^= r2\nr0 += r3\nr0 ^= r4\nr0 += r6\nr0 ^= r7\nexit\n";
    for (int f = 0; f < 2; f++) {
      text_ += fmt::format("f{}: r0 = r1\n", f);
      for (int i = 0; i < 6; i++) text_ += fmt::format("r{} {}= r{}\n", pick({0, 1, 2}), operation(), pick({0, 1, 2}));
      text_ += "*(u32 *)(r10 - 12) = r2\nif r1 > 5 goto +1\nexit\nr1 = *(u32 *)(r10 - 12)\nr0 += r1\nexit\n";
    }
    return text_;
  }

 private:
  u32 pick(std::initializer_list<u32> list) { return list.begin()[random_() % list.size()]; }
  u32 reg() { return random_() % 9; }
  std::string operation() {
    static const char* const names[] = {"+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "s>>", "s/", "s%"};
    return names[random_() % std::size(names)];
  }
  std::string size() {
    static const char* const names[] = {"u8", "u16", "u32", "u64"};
    return names[random_() % 4];
  }
  std::string condition(u32 left) {
    static const char* const names[] = {"==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&"};
    const char* w = random_() % 2 != 0 ? "r" : "w";
    const char* name = names[random_() % std::size(names)];
    if (random_() % 2 != 0) return fmt::format("{}{} {} {}{}", w, left, name, w, reg());
    return fmt::format("{}{} {} {}", w, left, name, static_cast<s32>(random_()) >> random_() % 32);
  }

  void body(u32 length, u32 depth) {
    for (u32 i = 0; i < length; i++) one(depth);
  }

  void one(u32 depth) {
    const char* w = random_() % 2 != 0 ? "r" : "w";
    switch (random_() % 14) {
      case 0:
        text_ += fmt::format("{}{} {}= {}\n", w, reg(), operation(), constant());
        return;
      case 1:
        text_ += fmt::format("{}{} = {}{}\n", w, reg(), w, reg());
        return;
      case 2:
        text_ += fmt::format("r{} = (s{})r{}\n", reg(), pick({8, 16, 32}), reg());
        return;
      case 3:
        text_ += fmt::format("r{0} = bswap{1} r{0}\n", reg(), pick({16, 32, 64}));
        return;
      case 4:
        text_ += fmt::format("*({} *)(r10 - {}) = r{}\n", size(), pick({8, 16, 24, 32, 40, 48}), reg());
        return;
      case 5:
        text_ += fmt::format("r{} = *({} *)(r10 - {})\n", reg(), size(), pick({8, 16, 24, 32, 40, 48}));
        return;
      case 6:
        text_ += fmt::format("r{} = *({} *)(r9 + {})\n", reg(), size(), random_() % 56);
        return;
      case 7:
        text_ += fmt::format("*({} *)(r9 + {}) = r{}\n", size(), random_() % 56, reg());
        return;
      case 8:
        if (depth < 3) return branch(depth);
        break;
      case 9:
        if (depth < 2) return loop(depth);
        break;
      case 10:
        if (depth < 2) return call();
        break;
      case 11:
        return rotate();
      case 12:
        if (casts_)
          text_ += fmt::format("r{} = addr_space_cast(r{}, {})\n", reg(), reg(), random_() % 2 ? "0, 1" : "1, 0");
        if (casts_) return atomic();
        break;
      default:
        break;
    }
    text_ += fmt::format("{0}{1} {2}= {0}{3}\n", w, reg(), operation(), reg());
  }

  void atomic() {
    text_ += random_() % 2
                 ? fmt::format("r{0} = atomic64_fetch_add((u64 *)(r9 + {1}), r{0})\n", reg(), 8 * (random_() % 7))
                 : fmt::format("lock *(u32 *)(r9 + {}) ^= r{}\n", 4 * (random_() % 14), reg());
  }

  s32 constant() { return static_cast<s32>(random_()) >> random_() % 32; }

  void branch(u32 depth) {
    const u32 label = labels_++;
    text_ += fmt::format("if {} goto a{}\n", condition(reg()), label);
    body(random_() % 4, depth + 1);
    if (random_() % 2 != 0) {
      text_ += fmt::format("goto b{}\na{}: ", label, label);
      text_ += "r5 = 1\n";
      body(random_() % 3, depth + 1);
      text_ += fmt::format("b{}: r5 += 1\n", label);
    } else {
      text_ += fmt::format("a{}: r5 = 2\n", label);
    }
  }

  /// The counter lives where the body does not write.
  void loop(u32 depth) {
    const u32 label = labels_++;
    const u32 place = 72 + 8 * depth;
    text_ += fmt::format("*(u64 *)(r10 - {}) = {}\nl{}: r5 = 0\n", place, 1 + random_() % 6, label);
    body(1 + random_() % 5, depth + 1);
    text_ += fmt::format("r5 = *(u64 *)(r10 - {0})\nr5 -= 1\n*(u64 *)(r10 - {0}) = r5\nif r5 != 0 goto l{1}\n", place,
                         label);
  }

  void call() {
    text_ += fmt::format("r1 = r{}\nr2 = r{}\ncall f{}\n", reg(), reg(), random_() % 2);
    for (u32 r = 1; r <= 5; r++) text_ += fmt::format("r{} = {}\n", r, constant());
  }

  void rotate() {
    const bool wide = random_() % 2 != 0;
    const char* w = wide ? "r" : "w";
    const u32 width = wide ? 64 : 32, n = 1 + random_() % (width - 1), a = reg();
    text_ +=
        fmt::format("{0}5 = {0}{1}\n{0}5 <<= {2}\n{0}{1} >>= {3}\n{0}{1} |= {0}5\n", w, a == 5 ? 4 : a, n, width - n);
  }

  std::mt19937 random_;
  const bool casts_;  ///< addr_space_cast, and atomics on r9
  std::string text_;
  u32 labels_ = 0;
};

/// r0 of the whole optimising tier, and what it does to memory.
TEST(Build, RandomProgramsMeanTheSameAsMachineCode) {
  const auto memory_for_code = CodeMemory::create(way_of_tests);
  for (u32 seed = 0; seed < 4000; seed++) {
    const std::string text = Generator(seed).program();
    const auto code = code_of(text);
    ASSERT_NE(code, nullptr) << text;
    std::array<u64, 8> fresh{}, memory{};
    std::mt19937_64 random(seed);
    for (auto& word : fresh) word = random();
    memory = fresh;
    const u64 parameters[] = {reinterpret_cast<u64>(memory.data()), 0};
    const u64 expected = interpreted(*code, parameters);
    const auto after = memory;
    const auto placed = compile_optimised(*code, nullptr, *memory_for_code);
    if (!placed && placed.error().code == Code::permission) GTEST_SKIP() << placed.error().message;
    ASSERT_TRUE(placed) << placed.error().message;
    memory = fresh;
    base::Run run;
    const auto entry = reinterpret_cast<base::HelperFn>(reinterpret_cast<u64>(placed->code.data()));
    ASSERT_EQ(entry(&run, parameters[0], 0, 0, 0, 0), expected) << "seed " << seed << "\n" << text;
    ASSERT_EQ(memory, after) << "seed " << seed << "\n" << text;
  }
}

/// The same results, and no constant of the program in the code.
/// Whether arm64 code holds the number as two of its moves of 16 bits, one behind the other.
bool is_moved_in_halves(std::span<const u8> code, u32 number) {
  u32 before = 0;
  for (std::size_t at = 0; at + 4 <= code.size(); at += 4) {
    u32 word = 0;
    std::memcpy(&word, &code[at], sizeof word);
    const bool is_move = (word & 0x1f800000) == 0x12800000;  // movn, movz, movk
    const u32 half = word >> 5 & 0xffff;
    if (is_move && before == (number & 0xffff) && half == number >> 16) return true;
    before = is_move ? half : ~0u;
  }
  return false;
}

TEST(Build, BlindedConstantsDoNotAppearAndMeanTheSame) {
  const auto memory_for_code = CodeMemory::create(way_of_tests);
  const u32 shown[] = {0x13579bdf, 0x5bd1e995, 0x2468ace1};
  for (u32 seed = 0; seed < 1000; seed++) {
    std::string text = Generator(seed).program();
    text.insert(text.find("exit"),
                "r0 ^= 0x13579bdf\nr1 = 0x5bd1e9952468ace1 ll\nr0 += r1\nif r0 > 0x13579bdf goto +1\n"
                "r0 *= 0x13579bdf\n*(u32 *)(r9 + 8) = 0x13579bdf\n");
    const auto code = code_of(text);
    ASSERT_NE(code, nullptr) << text;
    std::array<u64, 8> fresh{}, memory{};
    std::mt19937_64 random(seed);
    for (auto& word : fresh) word = random();
    memory = fresh;
    const u64 parameters[] = {reinterpret_cast<u64>(memory.data()), 0};
    const u64 expected = interpreted(*code, parameters);
    const auto after = memory;
    for (const bool baseline : {false, true}) {
      const auto placed = baseline ? compile_baseline(*code, {.blinding_seed = random() | 1}, *memory_for_code)
                                   : compile_optimised(*code, nullptr, *memory_for_code, random() | 1);
      if (!placed && placed.error().code == Code::permission) GTEST_SKIP() << placed.error().message;
      ASSERT_TRUE(placed) << placed.error().message;
      memory = fresh;
      base::Run run;
      const auto entry = reinterpret_cast<base::HelperFn>(reinterpret_cast<u64>(placed->code.data()));
      ASSERT_EQ(entry(&run, parameters[0], 0, 0, 0, 0), expected) << "seed " << seed << "\n" << text;
      ASSERT_EQ(memory, after) << "seed " << seed << "\n" << text;
      const auto bytes = placed->code.bytes();
      for (const u32 number : shown) {
        const auto* first = reinterpret_cast<const u8*>(&number);
        EXPECT_EQ(std::search(bytes.begin(), bytes.end(), first, first + 4), bytes.end()) << seed;
        EXPECT_FALSE(is_moved_in_halves(bytes, number)) << seed;
      }
    }
  }
}

/// As src/helper/callbacks.cpp: what the builder writes as a loop, for the interpreter.
u64 loop_helper(void* run, u64 rounds, u64 callback, u64 context, u64 flags, u64) noexcept {
  const u64 count = static_cast<u32>(rounds);
  if (flags != 0) return static_cast<u64>(-22);
  if (count > 8u << 20) return static_cast<u64>(-7);
  u64 done = 0;
  while (done < count && (*reinterpret_cast<const base::Callback*>(callback))(run, done++, context, 0, 0, 0) == 0) {
  }
  return done;
}

/// Loops around callbacks: one inside another, ended early or refused, with stack and memory of their own.
std::string program_with_loops(u32 seed) {
  std::mt19937 random(seed);
  const auto one_of = [&](std::initializer_list<const char*> list) { return list.begin()[random() % list.size()]; };
  std::string text = fmt::format("r9 = r1\nr6 = {}\nr7 = {}\n*(u64 *)(r10 - 8) = r7\n", random() % 100, random() % 9);
  const auto call = [&](const char* callback) {
    const char* rounds =
        one_of({"r1 = 5", "r1 = 0", "r1 = 1", "r1 = r7", "r1 = 17", "r1 = *(u8 *)(r9 + 3)\nr1 &= 7", "r1 = 0x1000000"});
    const char* flags = one_of({"r4 = 0", "r4 = 0", "r4 = 0", "r4 = 1", "r4 = r7\nr4 &= 1"});
    return fmt::format("{}\nr2 = subprog[{}]\nr3 = r9\n{}\ncall 181\n", rounds, callback, flags);
  };
  for (u32 i = 0; i < 3; i++)
    text += call(one_of({"f", "g"})) + "r6 ^= r0\nr6 *= 31\nr7 = *(u64 *)(r10 - 8)\nr7 += 1\nr7 &= 7\n";
  text += "r0 = r6\nexit\n";
  const auto work = [&] {
    std::string out;
    for (u32 i = random() % 5; i > 0; i--)
      out += one_of({"r3 = *(u64 *)(r9 + 0)\nr3 += r8\n*(u64 *)(r9 + 0) = r3\n",
                     "r3 = *(u32 *)(r9 + 16)\nr3 *= 5\nr3 ^= r8\n*(u32 *)(r9 + 16) = r3\n",
                     "*(u64 *)(r10 - 16) = r8\nr7 = *(u32 *)(r10 - 16)\nr6 += r7\n", "r6 += r8\n",
                     "if r8 > 2 goto +1\nr6 = 9\n"});
    return out;
  };
  const char* const ends[] = {"r0 = 0", "r0 = 1", "r0 = r8\nr0 &= 4", "r0 = *(u8 *)(r9 + 0)\nr0 &= 3",
                              "r0 = r6\nr0 &= 1"};
  text += "f: r8 = r1\nr9 = r2\nr6 = 1\nr7 = 3\n" + work() + fmt::format("{}\nexit\n", ends[random() % 5]);
  text += "g: r8 = r1\nr9 = r2\nr6 = 2\nr7 = 2\n" + work() + call("f") + work() +
          fmt::format("{}\nexit\n", ends[random() % 5]);
  return text;
}

TEST(Build, LoopsAroundCallbacksMeanTheSameAsMachineCode) {
  const auto memory_for_code = CodeMemory::create(way_of_tests);
  std::array<base::HelperFn, 182> helpers{};
  helpers[181] = loop_helper;
  Bindings bindings;
  bindings.helpers = helpers;
  u32 inlined = 0;
  for (u32 seed = 0; seed < 1500; seed++) {
    const std::string text = program_with_loops(seed);
    const auto insns = isa::assemble(text);
    ASSERT_TRUE(insns) << insns.error().message << text;
    const auto code = translate({*insns, {}, {}}, bindings);
    ASSERT_TRUE(code) << code.error().message;
    std::array<u64, 4> fresh{}, memory{};
    std::mt19937_64 random(seed);
    for (auto& word : fresh) word = random();
    memory = fresh;
    const u64 parameters[] = {reinterpret_cast<u64>(memory.data()), 0, 0, 0, 0};
    const u64 expected = interpreted(**code, parameters);
    const auto after = memory;
    auto built = build(**code, {}, {});
    const auto compare = [&](const char* stage) {
      for (const auto& f : built.module.functions)
        ASSERT_EQ(ir::check(f), "") << stage << " seed " << seed << "\n" << text;
      memory = fresh;
      base::Run run;
      ASSERT_EQ(ir::evaluate(built.module, 0, &run, parameters), expected) << stage << " seed " << seed << "\n" << text;
      ASSERT_EQ(memory, after) << stage << " seed " << seed << "\n" << text;
    };
    compare("build");
    for (const auto& pass : ir::passes()) {
      for (auto& f : built.module.functions) pass.run(f, {true, true});
      if (!HasFailure()) compare(pass.name);
    }
    if (HasFailure()) return;
    inlined += count(built.module, ir::Op::call) == 0 ? 1 : 0;
    const auto placed = compile_optimised(**code, nullptr, *memory_for_code);
    if (!placed && placed.error().code == Code::permission) GTEST_SKIP() << placed.error().message;
    ASSERT_TRUE(placed) << placed.error().message;
    for (std::size_t i = 0; i < placed->callbacks.size(); i++)
      (*code)->callbacks[i].native =
          reinterpret_cast<base::HelperFn>(reinterpret_cast<u64>(placed->code.data()) + placed->callbacks[i]);
    memory = fresh;
    base::Run run;
    const auto entry = reinterpret_cast<base::HelperFn>(reinterpret_cast<u64>(placed->code.data()));
    ASSERT_EQ(entry(&run, parameters[0], 0, 0, 0, 0), expected) << "seed " << seed << "\n" << text;
    ASSERT_EQ(memory, after) << "seed " << seed << "\n" << text;
  }
  EXPECT_GT(inlined, 50u) << "hardly any loop was inlined";
}

/// 4 GiB of addresses that begin at a multiple of 4 GiB; the first page is memory.
class Window {
 public:
  Window() {
    void* const all = ::mmap(nullptr, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return;
    all_ = all;
    base = (reinterpret_cast<u64>(all) + size - 1) / size * size;
    ::mprotect(reinterpret_cast<void*>(base), 4096, PROT_READ | PROT_WRITE);
  }
  ~Window() {
    if (all_ != nullptr) ::munmap(all_, 2 * size);
  }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  std::array<u64, 8>& words() const { return *reinterpret_cast<std::array<u64, 8>*>(base); }
  u64 base = 0;

 private:
  static constexpr u64 size = u64{1} << 32;
  void* all_ = nullptr;
};

/// Loads, stores and atomics on r9 reach the arena, whatever stands in the upper half of r9.
TEST(Build, RandomProgramsInAnArenaMeanTheSameAsMachineCode) {
  const Window window;
  ASSERT_NE(window.base, 0u) << "no 8 GiB of addresses left";
  const auto memory_for_code = CodeMemory::create(way_of_tests);
  Bindings bindings;
  bindings.map_values = {window.base};
  for (u32 seed = 0; seed < 1000; seed++) {
    const std::string text = Generator(seed, true).program();
    const auto insns = isa::assemble(text);
    ASSERT_TRUE(insns) << insns.error().message << text;
    std::vector<u32> accesses;
    for (u32 i = 0; i < insns->size(); i++) {
      const Insn& insn = (*insns)[i];
      const bool is_load = (insn.code & 7) == 1, is_store = (insn.code & 7) == 2 || (insn.code & 7) == 3;
      if ((is_load && insn.src == 9) || (is_store && insn.dst == 9)) accesses.push_back(i);
    }
    auto code = translate(
        {.insns = *insns, .references = {}, .context_loads = {}, .arena_map = 0, .arena_accesses = accesses}, bindings);
    ASSERT_TRUE(code) << code.error().message;
    std::mt19937_64 random(seed);
    std::array<u64, 8> fresh{};
    for (auto& word : fresh) word = random();
    window.words() = fresh;
    const u64 parameters[] = {random() << 32, 0};
    const u64 expected = interpreted(**code, parameters);
    const auto after = window.words();
    const auto placed = compile_optimised(**code, nullptr, *memory_for_code);
    if (!placed && placed.error().code == Code::permission) GTEST_SKIP() << placed.error().message;
    ASSERT_TRUE(placed) << placed.error().message;
    window.words() = fresh;
    base::Run run;
    const auto entry = reinterpret_cast<base::HelperFn>(reinterpret_cast<u64>(placed->code.data()));
    ASSERT_EQ(entry(&run, parameters[0], 0, 0, 0, 0), expected) << "seed " << seed << "\n" << text;
    ASSERT_EQ(window.words(), after) << "seed " << seed << "\n" << text;
  }
}

TEST(Build, RandomProgramsMeanTheSameAtEveryStage) {
  for (u32 seed = 0; seed < 2000 && !testing::Test::HasFailure(); seed++) {
    const std::string text = Generator(seed).program();
    const auto code = code_of(text);
    ASSERT_NE(code, nullptr) << text;
    // Each stage must see the same memory.
    std::array<u64, 8> memory{};
    std::array<u64, 8> fresh{};
    std::mt19937_64 random(seed);
    for (auto& word : fresh) word = random();
    memory = fresh;
    auto built = build(*code, {}, {});
    const u64 parameters[] = {reinterpret_cast<u64>(memory.data()), 0, 0, 0, 0};
    const u64 expected = interpreted(*code, parameters);
    const auto after = memory;
    const auto stages = ir::passes();
    for (std::size_t stage = 0; stage <= stages.size(); stage++) {
      for (auto& f : built.module.functions) {
        if (stage != 0) stages[stage - 1].run(f, {true, true});
        ASSERT_EQ(ir::check(f), "") << "seed " << seed << " stage " << stage << "\n" << ir::print(f) << text;
      }
      memory = fresh;
      base::Run run;
      ASSERT_EQ(ir::evaluate(built.module, 0, &run, parameters), expected)
          << "seed " << seed << " stage " << stage << "\n"
          << ir::print(built.module.functions[0]) << text;
      ASSERT_EQ(memory, after) << "seed " << seed << " stage " << stage;
    }
  }
}

}  // namespace
}  // namespace skep::vm::jit
