// Machine code as text and JSON, whoever it comes from: a machine of our own whose instructions say how long they are.
#include <gtest/gtest.h>

#include "inspect/dump.hpp"

namespace skep::inspect {
namespace {

/// The first byte is the length, 0 is no instruction.
MachineInsn toy(std::span<const std::byte> code, u64 pc) {
  const u32 bytes = static_cast<u32>(code[0]);
  if (bytes == 0) return {};
  if (bytes == 1) return {1, "ret", {}};
  return {bytes, "mov", {"%a", std::to_string(pc)}};
}

ProgramCode code_of(std::initializer_list<u8> bytes) {
  ProgramCode code;
  for (const u8 b : bytes) code.jited.push_back(std::byte{b});
  return code;
}

TEST(Jited, ShowsEachInstructionAtItsOffset) {
  const auto code = code_of({2, 9, 3, 9, 9, 1});
  const JitedSource source{"hello", false, nullptr, toy};
  EXPECT_EQ(jited_text(code, source, {}), "hello:\n   0:\tmov %a, 0\n   2:\tmov %a, 2\n   5:\tret\n\n");
  EXPECT_EQ(jited_text(code_of({2, 9, 1}), source, {.opcodes = true}),
            "hello:\n   0:\tmov %a, 0\n\t02 09 \n   2:\tret\n\t01 \n\n");
}

TEST(Jited, WritesTheKeysOfBpftool) {
  base::JsonWriter json;
  write_jited(json, code_of({2, 9, 1}), {"hello", false, nullptr, toy}, {.opcodes = true});
  EXPECT_EQ(
      json.text(),
      R"([{"name":"hello","insns":[{"pc":"0x0","operation":"mov","operands":["%a","0"],"opcodes":["0x02","0x09"]},)"
      R"({"pc":"0x2","operation":"ret","operands":[null],"opcodes":["0x01"]}]}])");
}

TEST(Jited, ShowsFunctionsAndTheirLines) {
  auto code = code_of({2, 9, 1, 1});
  code.jited_lengths = {3, 1};
  code.jited_addresses = {0x1000, 0x2000};
  code.lines = {{0, "a.c", "  int a;", 3, 5}, {2, "a.c", "return b;", 9, 1}};
  code.jited_lines = {0x1002, 0x2000};
  const JitedSource source{"hello", true, nullptr, toy};
  EXPECT_EQ(jited_text(code, source, {}),
            "0x0000000000001000:\n   0:\tmov %a, 0\n; int a;\n   2:\tret\n\n"
            "0x0000000000002000:\n; return b;\n   0:\tret\n\n");
  EXPECT_NE(jited_text(code, source, {.line_numbers = true}).find("; int a; [file:a.c line_num:3 line_col:5]\n"),
            std::string::npos);
}

TEST(Jited, SurvivesWhatAPeerSays) {
  const JitedSource source{"hello", false, nullptr, toy};
  auto code = code_of({9, 0, 1});  // an instruction longer than the code, none, one
  code.jited_lengths = {0xffffffff, 0xffffffff};
  code.jited_lines = {1, 2, 3};
  EXPECT_EQ(jited_text(code, source, {}), "hello:\n   0:\t(bad)\n   1:\t(bad)\n   2:\tret\n\n");
  EXPECT_EQ(jited_text({}, source, {}), "hello:\n\n");
  code.jited_lengths = {0, 3, 0};
  EXPECT_EQ(jited_text(code, source, {}), "hello:\n\nhello:\n   0:\t(bad)\n   1:\t(bad)\n   2:\tret\n\nhello:\n\n");
}

}  // namespace
}  // namespace skep::inspect
