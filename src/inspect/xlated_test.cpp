// What Linux inserts into programs that it has loaded, which is no encoding of the instruction set, and opcodes.
#include <gtest/gtest.h>

#include "inspect/dump.hpp"

namespace skep::inspect {
namespace {

ProgramCode code_of(std::vector<Insn> insns) {
  ProgramCode code;
  code.insns = std::move(insns);
  return code;
}

TEST(Xlated, PrintsLinuxsOwnRegisterAndItsCopyOfThisCpu) {
  const auto texts = instruction_texts(code_of({{0x61, 11, 6, 112, 0},
                                                {0xbf, 2, 11, 0, 0},
                                                {0xbc, 11, 1, 0, 0},
                                                {0xb7, 11, 0, 0, 7},
                                                {0xbf, 0, 0, -1, 0},
                                                {0xbf, 11, 10, 0, 0},
                                                {0x95, 0, 0, 0, 0}}),
                                       true);
  EXPECT_EQ(texts[0], "(61) r11 = *(u32 *)(r6 +112)");
  EXPECT_EQ(texts[1], "(bf) r2 = r11");
  EXPECT_EQ(texts[2], "(bc) w11 = w1");
  EXPECT_EQ(texts[3], "(b7) r11 = 7");
  EXPECT_EQ(texts[4], "(bf) r0 = &(void __percpu *)(r0)");
  EXPECT_EQ(texts[5], "(bf) r11 = r10");
}

TEST(Xlated, NumbersHaveBpftoolsWidth) {
  std::vector<Insn> insns(1001, Insn{0xb7, 0, 0, 0, 0});
  insns.push_back({0x95, 0, 0, 0, 0});
  const auto text = xlated_text(code_of(std::move(insns)), nullptr, false, {});
  EXPECT_NE(text.find("\n   9: (b7) r0 = 0\n"), std::string::npos);
  EXPECT_NE(text.find("\n 999: (b7) r0 = 0\n 1000: (b7) r0 = 0\n"), std::string::npos);
}

TEST(Xlated, LinesAreNoOrdersToATerminal) {
  ProgramCode code = code_of({{0xb7, 0, 0, 0, 0}, {0x95, 0, 0, 0, 0}});
  code.lines.push_back({.insn = 0, .file = "a.c", .text = "\treturn 0; // \x1b]0;title\x07", .line = 1, .column = 1});
  code.functions.push_back({.insn = 0, .type_id = 0, .name = "f\x1b[2J", .is_global = true});
  EXPECT_EQ(xlated_text(code, nullptr, false, {}),
            "f\\x1b[2J:\n; return 0; // \\x1b]0;title\\x07\n   0: (b7) r0 = 0\n   1: (95) exit\n");
}

TEST(Xlated, WritesOpcodesFieldByField) {
  base::JsonWriter json;
  write_xlated(json, code_of({{0x18, 2, 1, 0, 5}, {0, 0, 0, 0, 1}, {0x63, 10, 1, -4, 0}}), nullptr, false,
               {.opcodes = true});
  EXPECT_NE(json.text().find(
                R"("opcodes":{"code":"0x18","src_reg":"0x1","dst_reg":"0x2","off":["0x00","0x00"],)"
                R"("imm":["0x05","0x00","0x00","0x00","0x00","0x00","0x00","0x00","0x01","0x00","0x00","0x00"]})"),
            std::string::npos)
      << json.text();
  EXPECT_NE(json.text().find(R"({"code":"0x63","src_reg":"0x1","dst_reg":"0xa","off":["0xfc","0xff"],"imm":["0x00",)"),
            std::string::npos)
      << json.text();
}

}  // namespace
}  // namespace skep::inspect
