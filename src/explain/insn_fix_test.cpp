// Changes of instructions: everything that names an instruction follows, and what is shown verifies.
#include "explain/insn_fix.hpp"

#include <gtest/gtest.h>

#include "isa/isa.hpp"
#include "isa/text.hpp"

namespace skep::explain {
namespace {

ProgramSpec program_of(std::string_view text) {
  ProgramSpec program;
  program.name = "p";
  program.type = ProgramType::xdp;
  program.insns = isa::parse(text, {})->insns;
  program.functions.push_back({.insn = 0, .type_id = 0, .name = "p", .is_global = true});
  return program;
}

TEST(InsnFix, JumpsOverTheAddedInstructionsFollow) {
  const auto before = program_of("r0 = 0\nif r1 == 0 goto +2\nr0 = 1\ngoto +1\nr0 = 2\nif r0 == 5 goto -3\nexit\n");
  const std::vector<Insn> added(2, before.insns[0]);
  const auto after = with_insns(before, 3, added);
  ASSERT_TRUE(after);
  EXPECT_EQ(after->insns.size(), 9u);
  EXPECT_EQ(after->insns[1].off, 4) << "over them";
  EXPECT_EQ(after->insns[5].off, 1) << "behind them, as it was";
  EXPECT_EQ(after->insns[7].off, -5) << "to the instruction they stand before: to them";
  EXPECT_FALSE(with_insns(before, 7, added));
}

verify::Report verdict(const ProgramSpec& program) { return verify::verify(program, ObjectSpec{}, {})->report; }

TEST(InsnFix, WhatIsShownVerifies) {
  const auto program = program_of("r2 = r3\nr0 = 2\nexit\n");
  const auto report = verdict(program);
  ASSERT_TRUE(report.rejection);
  EXPECT_EQ(report.rejection->id, "register_not_set");
  const verify::Refused refused{*report.rejection, verify::diagnose(program, ObjectSpec{}, {})};
  const auto fix = find_insn_fix(program, refused, [](const ProgramSpec& p) { return verdict(p).accepted; });
  ASSERT_TRUE(fix);
  EXPECT_TRUE(verdict(fix->program).accepted);
  EXPECT_EQ(fix->diff, "@@ instruction 0 @@\n+r3 = 0\n r2 = r3\n");
  EXPECT_FALSE(find_insn_fix(program, refused, [](const ProgramSpec&) { return false; }));
}

}  // namespace
}  // namespace skep::explain
