// Linear relations between registers, and what must not be taken for one.
#include <gtest/gtest.h>

#include "verify/linear.hpp"

namespace skep::verify {
namespace {

Frame frame_of(u64 r1, u64 r2) {
  Frame frame;
  frame.regs[1] = Register::constant(r1);
  frame.regs[2] = Register::constant(r2);
  return frame;
}

/// r2 = 8 * r1 + 16, r1 anything.
struct Lines {
  Frame frame = frame_of(0, 0);
  Linears linears = Linears::join({}, frame_of(1, 24), {}, frame_of(3, 40));
  Lines() { frame.regs[1] = frame.regs[2] = Register::unknown(); }
};

TEST(linear, two_points_make_a_line) {
  Lines lines;
  ASSERT_FALSE(lines.linears.is_empty());
  lines.frame.regs[1].number = Scalar::range(5, 9);
  ASSERT_TRUE(lines.linears.sharpen(lines.frame));
  EXPECT_EQ(lines.frame.regs[2].number.wide.umin, 56u);
  EXPECT_EQ(lines.frame.regs[2].number.wide.umax, 88u);
  // No multiple of 2 apart: no line. The same point twice: nothing that is not known.
  EXPECT_TRUE(Linears::join({}, frame_of(1, 24), {}, frame_of(3, 41)).is_empty());
  EXPECT_TRUE(Linears::join({}, frame_of(1, 24), {}, frame_of(1, 24)).is_empty());
}

TEST(linear, a_state_off_the_line_is_not_covered) {
  const Lines lines;
  EXPECT_TRUE(lines.linears.cover(lines.frame, {}, frame_of(100, 816)));
  EXPECT_FALSE(lines.linears.cover(lines.frame, {}, frame_of(100, 817)));
  EXPECT_FALSE(lines.linears.cover(lines.frame, {}, lines.frame));  // of which nothing is known
  EXPECT_TRUE(lines.linears.cover(lines.frame, lines.linears, lines.frame));
}

TEST(linear, only_what_holds_of_both_is_kept) {
  const Lines lines;
  EXPECT_FALSE(Linears::join(lines.linears, lines.frame, {}, frame_of(100, 816)).is_empty());
  EXPECT_TRUE(Linears::join(lines.linears, lines.frame, {}, frame_of(100, 817)).is_empty());
  EXPECT_TRUE(Linears::join(lines.linears, lines.frame, {}, lines.frame).is_empty());
}

TEST(linear, a_register_that_holds_something_else_is_forgotten) {
  Lines lines;
  lines.frame.regs[1] = Register::pointer(Kind::packet);
  lines.linears.settle(lines.frame);
  EXPECT_TRUE(lines.linears.is_empty());
}

TEST(linear, follows_sums_and_forgets_products) {
  Lines lines;
  auto execute = [&](u8 code, u8 dst, u8 src, s32 imm, isa::Op op) {
    Insn insn{};
    insn.code = code, insn.dst = dst & 15, insn.src = src & 15, insn.imm = imm;
    const Register old = lines.frame.regs[dst], given = lines.frame.regs[src];
    lines.frame.regs[dst] = Register::unknown();
    lines.linears.follow(insn, op, old, given, lines.frame);
  };
  execute(0x07, 1, 0, 1, *isa::op_by_name("add64_imm"));  // r1 + 1: r2 = 8 * r1 + 8
  lines.frame.regs[1].number = Scalar::range(1, 2);
  ASSERT_TRUE(lines.linears.sharpen(lines.frame));
  EXPECT_EQ(lines.frame.regs[2].number.wide.umax, 24u);
  execute(0x2f, 2, 1, 0, *isa::op_by_name("mul64_reg"));
  ASSERT_TRUE(lines.linears.sharpen(lines.frame));
  EXPECT_TRUE(lines.frame.regs[2].number.is_unknown());
}

TEST(linear, a_register_that_is_loaded_is_forgotten) {
  Lines lines;
  Insn insn{};
  insn.code = 0x79, insn.dst = 2, insn.src = 10;
  lines.linears.follow(insn, *isa::op_by_name("ldxdw"), lines.frame.regs[2], lines.frame.regs[10], lines.frame);
  lines.frame.regs[1].number = Scalar::of(5);
  ASSERT_TRUE(lines.linears.sharpen(lines.frame));
  EXPECT_TRUE(lines.frame.regs[2].number.is_unknown());
}

TEST(linear, thirty_two_bits_that_may_wrap_are_forgotten) {
  Lines lines;
  Insn insn{};
  insn.code = 0x04, insn.dst = 1, insn.imm = 1;
  const Register old = lines.frame.regs[1];
  lines.frame.regs[1] = Register::scalar(Scalar::of_bits(32));
  lines.linears.follow(insn, *isa::op_by_name("add32_imm"), old, {}, lines.frame);
  lines.frame.regs[1].number = Scalar::of(5);
  ASSERT_TRUE(lines.linears.sharpen(lines.frame));
  EXPECT_TRUE(lines.frame.regs[2].number.is_unknown());
}

}  // namespace
}  // namespace skep::verify
