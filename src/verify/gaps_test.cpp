// Differences between registers: what they prove, and that no machine is ever outside of them.
#include "verify/gaps.hpp"

#include <gtest/gtest.h>

#include <random>

#include "verify/domain/scalar_ops.hpp"
#include "verify/test_programs.hpp"

namespace skep::verify {
namespace {

constexpr u32 used = 5, machines = 24;  // r0 to r4

/// The same program on a few machines, beside what is said of all of them.
struct Machines {
  Frame frame;
  Gaps gaps;
  std::vector<std::array<u64, isa::frame_pointer>> now, marked;
};

class Random {
 public:
  explicit Random(u64 seed) : random_(seed) {}
  u32 pick(u32 n) { return static_cast<u32>(random_() % n); }

  Machines start() {
    Machines run;
    run.now.resize(machines);
    run.marked.resize(machines);
    for (u32 r = 0; r < used; r++) {
      const u64 begin = number(), width = pick(3) == 0 ? ~u64{0} : u64{1} << pick(12);
      Scalar known = Scalar::of(0);
      for (u32 m = 0; m < machines; m++) {
        const u64 value = begin + random_() % width;
        run.now[m][r] = value;
        known = m == 0 ? Scalar::of(value) : known.join(Scalar::of(value));
      }
      known.normalise();
      run.frame.regs[r] = Register::scalar(known);
    }
    return run;
  }

  void step(Machines& run) {
    if (pick(6) == 0) return jump(run);
    constexpr u8 operations[] = {0x00, 0x00, 0x10, 0x10, 0x20, 0x30, 0x40, 0x50,
                                 0x60, 0x70, 0x70, 0x90, 0xb0, 0xb0, 0xc0};
    Insn insn{};
    const bool is_register = pick(2) == 0;
    insn.code =
        static_cast<u8>(operations[pick(std::size(operations))] | (is_register ? 8 : 0) | (pick(2) == 0 ? 7 : 4));
    insn.dst = pick(used) & 15;
    if (is_register)
      insn.src = pick(used) & 15;
    else
      insn.imm = immediate(insn.code);
    if ((insn.code & 0xf8) == 0xb8 && insn.code % 8 == 7 && pick(4) == 0) insn.off = 32;
    execute(run, insn);
  }

  /// The ways in which compilers cut off the upper half, or halve a sum.
  void idiom(Machines& run) {
    const u32 x = pick(used), lo = pick(used), hi = pick(used);
    const u8 width = pick(2) == 0 ? 7 : 4;
    switch (pick(3)) {
      case 0:
        execute(run, insn_of(0x67, x, 32));
        return execute(run, insn_of(pick(2) == 0 ? 0x77 : 0xc7, x, 32));
      case 1:
        execute(run, insn_of(static_cast<u8>(0xb8 | width), x, 0, hi));
        execute(run, insn_of(static_cast<u8>(0x18 | width), x, 0, lo));
        if (pick(3) == 0) clear_last_bit(run, x);
        execute(run, insn_of(static_cast<u8>((pick(4) == 0 ? 0xc0 : 0x70) | width), x, 1));
        return execute(run, insn_of(static_cast<u8>(0x08 | width), x, 0, lo));
      default:
        execute(run, insn_of(static_cast<u8>(0xb8 | width), x, 0, hi));
        execute(run, insn_of(static_cast<u8>(0x08 | width), x, 0, lo));
        if (pick(3) == 0) clear_last_bit(run, x);
        if (pick(3) != 0) return execute(run, insn_of(static_cast<u8>((pick(4) == 0 ? 0xc0 : 0x70) | width), x, 1));
        execute(run, insn_of(0x67, x, 32));
        return execute(run, insn_of(0x77, x, 33));
    }
  }

  /// In 64 bits, or in 32: then the upper half is cleared, too.
  void clear_last_bit(Machines& run, u32 x) { execute(run, insn_of(pick(2) == 0 ? 0x57 : 0x54, x, -2)); }

  /// What holds of both.
  static Machines joined(const Machines& a, const Machines& b, bool widens) {
    Machines both = a;
    both.gaps = Gaps::join(a.gaps, a.frame, b.gaps, b.frame, widens);
    for (u32 r = 0; r < used; r++) both.frame.regs[r].number = a.frame.regs[r].number.join(b.frame.regs[r].number);
    both.now.insert(both.now.end(), b.now.begin(), b.now.end());
    both.marked.insert(both.marked.end(), b.marked.begin(), b.marked.end());
    return both;
  }

  static void check(const Machines& run, u64 seed) {
    Machines sharp = run;
    ASSERT_TRUE(sharp.gaps.sharpen(sharp.frame)) << seed;
    Movement movement;
    const bool is_marked = run.gaps.moved(0, 7, run.frame, movement);
    for (std::size_t m = 0; m < run.now.size(); m++)
      for (u32 r = 0; r < used; r++) {
        const u64 value = run.now[m][r], mark = run.marked[m][r];
        ASSERT_TRUE(sharp.frame.regs[r].number.contains(value)) << seed << ": r" << r << " = " << value;
        if (!is_marked) continue;
        const Distance whole = movement[0][r], low = movement[1][r];
        const __int128 moved = static_cast<__int128>(static_cast<s64>(value)) - static_cast<s64>(mark);
        ASSERT_TRUE(whole.low == Distance::no_low || moved >= whole.low) << seed;
        ASSERT_TRUE(whole.high == Distance::no_high || moved <= whole.high) << seed;
        const s64 low_moved = s64{static_cast<s32>(value)} - static_cast<s32>(mark);
        ASSERT_TRUE(low.low == Distance::no_low || low_moved >= low.low) << seed;
        ASSERT_TRUE(low.high == Distance::no_high || low_moved <= low.high) << seed;
      }
  }

 private:
  u64 number() {
    constexpr u64 edges[] = {0, 1, 255, 0x7fffff00, 0xffffff00, 0x100000000, 0x7fffffffffffff00, ~u64{0} - 200};
    return pick(2) == 0 ? pick(1000) : edges[pick(std::size(edges))];
  }
  s32 immediate(u8 code) {
    const u8 operation = code & 0xf0;
    if (operation == 0x60 || operation == 0x70 || operation == 0xc0)
      return static_cast<s32>(pick(code % 8 == 7 ? 64 : 32));
    if (operation == 0x30 || operation == 0x90) return static_cast<s32>(1 + pick(9));
    constexpr s32 numbers[] = {1, -1, 2, 7, -2, 255, 0x7fffffff, -0x7fffffff - 1, 1024};
    return numbers[pick(std::size(numbers))];
  }
  static Insn insn_of(u8 code, u32 dst, s32 imm, u32 src = 0) {
    Insn insn{};
    insn.code = code, insn.dst = dst & 15, insn.src = src & 15, insn.imm = imm;
    return insn;
  }

  static void execute(Machines& run, const Insn& insn) {
    const isa::Op op = *isa::decode(insn);
    const bool is_register = (insn.code & 8) != 0, is_wide = insn.code % 8 == 7;
    const Register old = run.frame.regs[insn.dst], given = run.frame.regs[insn.src];
    const auto operand = [&](const auto& regs) {
      return is_register ? regs[insn.src] : static_cast<u64>(s64{insn.imm});
    };
    const bool extends = insn.off == 32;
    for (auto& regs : run.now)
      regs[insn.dst] = extends ? static_cast<u64>(s64{static_cast<s32>(regs[insn.src])})
                               : isa::arithmetic(op, regs[insn.dst], operand(regs));
    Scalar result = Scalar::unknown();
    if (!extends)
      result = alu(isa::alu_of(op), old.number,
                   is_register ? given.number : Scalar::of(static_cast<u64>(s64{insn.imm})), is_wide);
    run.frame.regs[insn.dst] = Register::scalar(result);
    ASSERT_TRUE(run.gaps.follow(insn, op, old, given, run.frame));
  }

  void jump(Machines& run) {
    constexpr u8 compares[] = {0x10, 0x20, 0x30, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0};
    Insn insn{};
    insn.code = static_cast<u8>(compares[pick(std::size(compares))] | 8 | (pick(2) == 0 ? 5 : 6));
    insn.dst = pick(used) & 15, insn.src = pick(used) & 15, insn.off = 1;
    const isa::Op op = *isa::decode(insn);
    const auto is_taken = [&](const auto& regs) { return isa::taken(op, regs[insn.dst], regs[insn.src]); };
    const bool way = is_taken(run.now[pick(static_cast<u32>(run.now.size()))]);
    Machines after;
    after.frame = run.frame;
    after.gaps = run.gaps;
    for (std::size_t m = 0; m < run.now.size(); m++)
      if (is_taken(run.now[m]) == way) after.now.push_back(run.now[m]), after.marked.push_back(run.marked[m]);
    ASSERT_TRUE(after.gaps.learn(insn, op, way, after.frame));
    run = std::move(after);
  }

  std::mt19937_64 random_;
};

TEST(Gaps, HoldEveryMachine) {
  constexpr u64 seeds = 20'000;
  constexpr u32 steps = 14;
  for (u64 seed = 0; seed < seeds && !testing::Test::HasFailure(); seed++) {
    Random random(seed);
    Machines run = random.start();
    for (u32 s = 0; s < steps && !testing::Test::HasFailure(); s++) {
      if (random.pick(8) == 0) {
        run.gaps.mark(0, 7, run.frame);
        run.marked = run.now;
      }
      if (random.pick(4) == 0)
        random.idiom(run);
      else
        random.step(run);
      if (random.pick(3) == 0) run.gaps.sharpen(run.frame);
      if (random.pick(5) != 0) {
        Random::check(run, seed);
        continue;
      }
      Machines other = run;
      for (u32 more = 0; more < 3; more++) random.step(other), random.step(run);
      run.gaps.settle();
      other.gaps.settle();
      run = Random::joined(run, other, random.pick(2) == 0);
      Random::check(run, seed);
    }
  }
}

/// A subprogram that jumps away leaves its caller's registers as they were.
TEST(Gaps, OfAFunctionEndWithATailCall) {
  constexpr const char* text =
      "r6 = *(u64 *)(r1 +0)\nr6 &= 0xff\nr7 = *(u64 *)(r1 +8)\nr7 &= 0xff\nr8 = r1\n" LOOKUP(
          "table") "if r0 == 0 goto end\nr9 = r0\nr1 = r8\ncall f\nif r6 > 3 goto end\nr9 += r7\nr1 = *(u8 *)(r9 "
                   "+0)\nend: " RETURN
      "f: r6 = *(u64 *)(r1 +16)\nr6 &= 0xff\nr7 = r6\nif r6 == 9 goto on\nr6 += 1\nr7 += 1\non: r2 = "
      "map[jumps]\nr3 = 1\ncall tail_call\nr0 = 0\nexit\n";
  EXPECT_FALSE(judge({"outside_region", kprobe, text}, Rules::user, true).accepted);
}

}  // namespace
}  // namespace skep::verify
