// Printing and reading are inverse, for every row and random operands; and both speak the kernel's syntax.
#include "isa/text.hpp"

#include <gtest/gtest.h>

#include <random>

#include "isa/semantics.hpp"

namespace skep::isa {
namespace {

/// Random encodings of a row: operands random, often at their limits.
class Encodings {
 public:
  explicit Encodings(u64 seed) : random_(seed) {}

  std::vector<Insn> of(const Row& r) {
    Insn insn{r.code, 0, 0, 0, 0};
    if (uses_dst(r.form)) insn.dst = reg();
    insn.src = r.src == any ? reg() : static_cast<u8>(r.src) & 0xf;
    insn.off = static_cast<s16>(r.off == any ? number() : r.off);
    insn.imm = r.imm == any ? number() : r.imm;
    std::vector<Insn> out{insn};
    if (r.form == Form::ld_imm64) {
      const bool second_is_zero = r.op == Op::ld_function || r.op == Op::ld_map_index;
      out.push_back({.imm = second_is_zero ? 0 : number()});
    }
    return out;
  }

 private:
  u8 reg() { return static_cast<u8>(random_() % register_count) & 0xf; }
  s32 number() {
    constexpr s32 edges[] = {0, 1, -1, 8, 32767, -32768, 2147483647, -2147483647 - 1};
    return random_() % 2 ? edges[random_() % std::size(edges)] : static_cast<s32>(random_());
  }
  std::mt19937_64 random_;
};

std::string hex(const std::vector<Insn>& insns) {
  std::string out;
  for (const Insn& i : insns)
    out += testing::PrintToString(int{i.code}) + ":" + std::to_string(i.dst) + ":" + std::to_string(i.src) + ":" +
           std::to_string(i.off) + ":" + std::to_string(i.imm) + " ";
  return out;
}

TEST(Text, EveryRowReadsBackAsItself) {
  constexpr u64 seed = 20240917;
  Encodings encodings(seed);
  for (const Row& r : rows())
    for (int round = 0; round < 200; round++) {
      const auto insns = encodings.of(r);
      ASSERT_EQ(decode(insns[0]), r.op) << r.name;
      for (const bool opcode : {false, true}) {
        const auto text = print(insns, 0, {.opcode = opcode, .call = {}, .immediate = {}});
        const auto back = assemble(text);
        ASSERT_TRUE(back) << r.name << ": " << text << ": " << back.error().message;
        ASSERT_EQ(*back, insns) << r.name << ": " << text << " became " << hex(*back) << "from " << hex(insns)
                                << "(seed " << seed << ")";
      }
    }
}

TEST(Text, WholeDumpReadsBack) {
  Encodings encodings(7);
  std::vector<Insn> program;
  for (int round = 0; round < 20; round++)
    for (const Row& r : rows())
      for (const Insn& insn : encodings.of(r)) program.push_back(insn);
  const auto back = assemble(disassemble(program));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, program);
}

TEST(Text, PrintsAsTheKernelDoes) {
  const auto one = [](const Insn& insn) { return print(std::span(&insn, 1), 0); };
  EXPECT_EQ(one({0x79, 0, 1, 8, 0}), "r0 = *(u64 *)(r1 +8)");
  EXPECT_EQ(one({0x91, 2, 10, -1, 0}), "r2 = *(s8 *)(r10 -1)");
  EXPECT_EQ(one({0x15, 1, 0, 3, 0}), "if r1 == 0x0 goto pc+3");
  EXPECT_EQ(one({0x16, 1, 0, -2, -1}), "if w1 == 0xffffffff goto pc-2");
  EXPECT_EQ(one({0x6d, 1, 2, 1, 0}), "if r1 s> r2 goto pc+1");
  EXPECT_EQ(one({0xdb, 1, 2, 0, 0}), "lock *(u64 *)(r1 +0) += r2");
  EXPECT_EQ(one({0xdb, 1, 2, 0, 1}), "r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)");
  EXPECT_EQ(one({0xc3, 1, 2, 0, 0xf1}), "r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)");
  EXPECT_EQ(one({0xbf, 0, 1, 8, 0}), "r0 = (s8)r1");
  EXPECT_EQ(one({0xc4, 1, 0, 0, 3}), "w1 s>>= 3");
  EXPECT_EQ(one({0x37, 0, 0, 1, -3}), "r0 s/= -3");
  EXPECT_EQ(one({0xdc, 3, 0, 0, 16}), "r3 = be16 r3");
  EXPECT_EQ(one({0xd7, 3, 0, 0, 64}), "r3 = bswap64 r3");
  EXPECT_EQ(one({0x87, 3, 0, 0, 0}), "r3 = -r3");
  EXPECT_EQ(one({0x85, 0, 1, 0, 2}), "call pc+2");
  EXPECT_EQ(one({0x06, 0, 0, 0, 70000}), "gotol pc+70000");
  EXPECT_EQ(one({0x62, 10, 0, -8, -5}), "*(u32 *)(r10 -8) = -5");
  EXPECT_EQ(one({0x30, 0, 0, 0, 14}), "r0 = *(u8 *)skb[14]");
  EXPECT_EQ(one({0x95, 0, 0, 0, 0}), "exit");
}

TEST(Text, CallbacksNameCallsAndMaps) {
  const PrintOptions names{.opcode = true,
                           .call = [](const Insn&, std::size_t) { return "bpf_trace_printk"; },
                           .immediate = [](const Insn&, std::size_t) { return "map[id:5]"; }};
  const Insn call{0x85, 0, 0, 0, 6};
  EXPECT_EQ(print(std::span(&call, 1), 0, names), "(85) call bpf_trace_printk#6");
  const Insn load[] = {{0x18, 1, 1, 0, 77}, {}};
  EXPECT_EQ(print(load, 0, names), "(18) r1 = map[id:5]");
}

TEST(Text, LabelsAndComments) {
  const auto program = assemble(
      "# counts down\n"
      "start: r0 = 5   ; five\n"
      "loop:\n"
      "  r0 -= 1       // less\n"
      "  if r0 != 0 goto loop\n"
      "  call twice\n"
      "  goto end\n"
      "  r9 = 0x10\n"
      "end: exit\n"
      "twice: r0 <<= 1\n"
      "  exit\n");
  ASSERT_TRUE(program) << program.error().message;
  ASSERT_EQ(program->size(), 10u);
  EXPECT_EQ((*program)[2].off, -2);
  EXPECT_EQ((*program)[3].imm, 4);
  EXPECT_EQ((*program)[4].off, 2);
}

TEST(Text, AcceptsLlvmSpelling) {
  const auto program = assemble(
      "r1 = 5 ll\n"
      "w0 = *(u32 *)(r1 + 8)\n"
      "*(u16 *)(r1 - 2) = w3\n"
      "if r1 == 0 goto +1 <LBB0_2>\n"
      "w2 = atomic_fetch_add((u32 *)(r1 + 0), w2)\n"
      "r0 = -r0\n");
  ASSERT_TRUE(program) << program.error().message;
  EXPECT_EQ(print(*program, 2), "r0 = *(u32 *)(r1 +8)");
  EXPECT_EQ(print(*program, 5), "r2 = atomic_fetch_add((u32 *)(r1 +0), r2)");
}

TEST(Text, NamedMapsAreLeftToTheCaller) {
  const auto assembly = parse("r1 = map[counts]\nr2 = map[.data][0]+8\nexit\n");
  ASSERT_TRUE(assembly) << assembly.error().message;
  ASSERT_EQ(assembly->maps.size(), 2u);
  EXPECT_EQ(assembly->maps[0].name, "counts");
  EXPECT_EQ(assembly->maps[1].insn, 2u);
  EXPECT_EQ(assembly->insns[2].src, imm64_src_map_value);
  EXPECT_EQ(assembly->insns[3].imm, 8);
  EXPECT_FALSE(assemble("r1 = map[counts]"));
}

TEST(Text, ErrorsNameLineAndExpectation) {
  const auto error = [](std::string_view text) {
    const auto result = assemble(text);
    return result ? std::string("accepted") : result.error().message;
  };
  EXPECT_EQ(
      error("r0 = 1\nr11 = 2\n"),
      "line 2: found 'r11', expected an instruction (rN = ..., if ..., goto, call, exit, *(...) = ..., lock ...)");
  EXPECT_EQ(error("goto nowhere"), "line 1: there is no label (and no helper with a known number) named nowhere");
  EXPECT_EQ(error("a: exit\na: exit"), "line 2: label a is defined twice");
  EXPECT_EQ(error("r0 += 0xffffffff"), "line 1: immediate 0xffffffff is not in -2147483648..2147483647");
  EXPECT_EQ(error("r0 = *(u64 *)(r1 +40000)"), "line 1: offset 40000 is not in -32768..32767");
  EXPECT_EQ(error("r0 += w1"), "line 1: found 'w1', expected a 64-bit register (rN)");
  EXPECT_EQ(error("exit exit"), "line 1: found 'exit', expected the end of the line");
  EXPECT_EQ(error("lock *(u16 *)(r1 +0) += r2"), "line 1: atomic operations work on u32 and u64");
}

/// Hostile text: any bytes give an answer, and what is accepted prints and reads back.
TEST(Text, RandomTextNeverBreaksTheParser) {
  std::mt19937_64 random(99);
  const std::string_view pieces[] = {"r0",
                                     "w1",
                                     "r10",
                                     "=",
                                     "+=",
                                     "s>>=",
                                     "*",
                                     "(u64 *)",
                                     "(r1 +8)",
                                     "if",
                                     "goto",
                                     "pc",
                                     "+3",
                                     "map",
                                     "[id:",
                                     "5]",
                                     "0x10",
                                     "ll",
                                     ":",
                                     "call",
                                     "#6",
                                     "-",
                                     "exit",
                                     "lock",
                                     "(",
                                     ")",
                                     "skb[",
                                     "\n",
                                     ";",
                                     "\x80",
                                     "atomic64_xchg",
                                     "atomic",
                                     "kernel-function#1",
                                     "99999999999999999999"};
  int accepted = 0;
  for (int round = 0; round < 20000; round++) {
    std::string text;
    for (u64 n = random() % 9; n > 0; n--)
      text += std::string(pieces[random() % std::size(pieces)]) + (random() % 2 ? " " : "");
    const auto result = parse(text);
    if (!result) continue;
    accepted++;
    for (std::size_t i = 0; i < result->insns.size(); i += slots(result->insns[i]))
      ASSERT_TRUE(decode(result->insns[i])) << text;
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace skep::isa
