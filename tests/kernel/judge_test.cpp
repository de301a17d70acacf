// The kernel's verdict on programs as they are: taken, refused, and not judged because the kernel lacks something.
#include "kernel/judge.hpp"

#include "support.hpp"

namespace skep::kernel_test {
namespace {

using Kind = kernel::KernelVerdict::Kind;

ProgramSpec program_of(std::string name, std::vector<Insn> insns) {
  ProgramSpec program;
  program.name = std::move(name);
  program.type = ProgramType::socket_filter;
  program.insns = std::move(insns);
  return program;
}

class JudgeTest : public KernelEngine {
 protected:
  JudgeTest() {
    const auto insn = [](u8 code, u8 dst, u8 src, s32 imm) {
      Insn made{};
      made.code = code, made.dst = dst, made.src = src, made.imm = imm;
      return made;
    };
    const Insn zero = insn(0xb7, 0, 0, 0), exit = insn(0x95, 0, 0, 0), copy_r5 = insn(0xbf, 0, 5, 0);
    object_.name = "judged";
    object_.license = "GPL";
    object_.programs.push_back(program_of("good", {zero, exit}));
    object_.programs.push_back(program_of("bad", {copy_r5, exit}));
    object_.programs.push_back(program_of("nowhere", {zero, exit}));
    object_.programs.back().type = ProgramType::tracing;
    object_.programs.back().attach = AttachTarget{AttachKind::tp_btf, "no_such_tracepoint"};
    // Needs a map that no kernel makes; the others are judged all the same.
    object_.programs.push_back(program_of("mapped", {insn(0x18, 1, 0, 0), insn(0, 0, 0, 0), zero, exit}));
    object_.programs.back().references.push_back({.insn = 0, .kind = Reference::Kind::map, .map = 0});
    MapSpec impossible;
    impossible.name = "impossible";
    impossible.type = MapType::array;
    impossible.key_size = 8;
    impossible.value_size = 8;
    impossible.max_entries = 1;
    object_.maps.push_back(impossible);
  }

  ObjectSpec object_;
};

TEST_F(JudgeTest, EachProgramHasItsOwnVerdict) {
  kernel::KernelTypes types({});
  auto judge = kernel::Judge::open(object_, types);
  ASSERT_TRUE(judge) << judge.error().message;
  const auto good = judge->judge(object_.programs[0]), bad = judge->judge(object_.programs[1]),
             nowhere = judge->judge(object_.programs[2]), mapped = judge->judge(object_.programs[3]);
  EXPECT_EQ(good.kind, Kind::accepted) << good.reason;
  EXPECT_EQ(good.insns, 2u);
  EXPECT_EQ(bad.kind, Kind::refused);
  EXPECT_EQ(bad.reason, "R5 !read_ok");
  EXPECT_EQ(nowhere.kind, Kind::lacking);
  EXPECT_NE(nowhere.reason.find("no_such_tracepoint"), std::string::npos) << nowhere.reason;
  EXPECT_EQ(mapped.kind, Kind::lacking);
  EXPECT_NE(mapped.reason.find("impossible"), std::string::npos) << mapped.reason;
  EXPECT_EQ(judge->judge(object_.programs[0]).kind, Kind::accepted) << "asked again";
}

}  // namespace
}  // namespace skep::kernel_test
