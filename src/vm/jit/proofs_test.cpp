// What the verifier proved, in the intermediate form: checks that cannot fail are gone, and what they guarded is not.
#include <gtest/gtest.h>

#include "isa/text.hpp"
#include "verify/verify.hpp"
#include "vm/jit/build.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::jit {
namespace {

/// Branches, divisions that ask for zero, and memory accesses of a program, as the verifier's proofs leave them.
struct Shape {
  u32 branches = 0, careful_divisions = 0, loads = 0;
};

Shape shape_of(std::string_view text, bool with_proofs) {
  ObjectSpec object;
  object.license = "GPL";
  ProgramSpec program;
  program.name = "proved";
  program.type = ProgramType::sched_cls;
  program.functions.push_back({0, 0, "entry", false});
  auto insns = isa::assemble(text);
  EXPECT_TRUE(insns) << (insns ? "" : insns.error().message);
  program.insns = *insns;
  const auto outcome = verify::verify(program, object, {});
  EXPECT_TRUE(outcome && outcome->program)
      << (outcome ? verify::explain(outcome->report, program) : outcome.error().message);
  if (!outcome || !outcome->program) return {};
  const auto& proved = *outcome->program;
  Source source{.insns = proved.insns(), .references = {}, .context_loads = proved.context_loads()};
  if (with_proofs) {
    source.proofs = proved.proofs();
    source.stack_touches = proved.stack_touches();
  }
  auto code = translate(source, {});
  EXPECT_TRUE(code) << (code ? "" : code.error().message);
  auto built = build(**code, {}, {});
  auto& f = built.module.functions[0];
  ir::optimise(f, {});
  EXPECT_EQ(ir::check(f), "");
  Shape shape;
  for (const auto& block : f.blocks)
    for (const auto v : block.insns) {
      const auto& inst = f.insns[v];
      shape.branches += inst.op == ir::Op::branch;
      shape.loads += inst.op == ir::Op::load;
      shape.careful_divisions +=
          inst.op >= ir::Op::udiv && inst.op <= ir::Op::smod && !inst.has(ir::Inst::nonzero) ? 1 : 0;
    }
  return shape;
}

TEST(Proofs, ChecksThatCannotFailAreNotMade) {
  // The index is at most 15 because of the mask, and the program asks again, as compilers and people do.
  const std::string_view text =
      "r6 = *(u32 *)(r1 + 0)\nr6 &= 15\nr0 = *(u32 *)(r1 + 8)\nif r6 > 20 goto bad\nr0 += r6\nif r6 s< 0 goto bad\n"
      "r0 *= 3\nexit\nbad: r0 = *(u32 *)(r1 + 4)\nexit";
  EXPECT_EQ(shape_of(text, true).branches, 0u);
  EXPECT_EQ(shape_of(text, true).loads, 2u) << "of the context; what the checks led to is gone";
}

TEST(Proofs, ChecksOfThePacketsEndStay) {
  // Two headers, each with its check. The first allows for both, but the verifier, like the kernel's, learns from it
  // how much may be read, and follows both ways of the second.
  const std::string_view text =
      "r2 = *(u32 *)(r1 + 76)\nr3 = *(u32 *)(r1 + 80)\nr0 = 0\nr4 = r2\nr4 += 34\nif r4 > r3 goto out\n"
      "r0 = *(u8 *)(r2 + 12)\nr5 = r2\nr5 += 14\nif r5 > r3 goto out\nr6 = *(u8 *)(r2 + 13)\nr0 += r6\n"
      "out: exit";
  EXPECT_EQ(shape_of(text, false).branches, 2u);
  EXPECT_EQ(shape_of(text, true).branches, 2u);
}

TEST(Proofs, DivisorsThatAreNotZeroAreNotAsked) {
  const std::string_view text =
      "r6 = *(u32 *)(r1 + 0)\nr7 = *(u32 *)(r1 + 8)\nr7 &= 7\nr7 += 1\nr0 = r6\nr0 /= r7\nr6 %= r7\nr0 += r6\nexit";
  EXPECT_EQ(shape_of(text, false).careful_divisions, 2u);
  EXPECT_EQ(shape_of(text, true).careful_divisions, 0u);
}

}  // namespace
}  // namespace skep::vm::jit
