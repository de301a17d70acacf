// Classic filters: texts that are read, filters that are refused, and the shape of what they become. What they do is
// compared with the kernel in tests/classic.
#include "spec/classic.hpp"

#include <gtest/gtest.h>

#include "isa/isa.hpp"
#include "isa/text.hpp"

namespace skep::spec {
namespace {

// tcpdump -ddd -y EN10MB ip, as libpcap 1.10 prints it.
constexpr std::string_view only_ip = "4\n40 0 0 12\n21 0 1 2048\n6 0 0 262144\n6 0 0 0\n";

std::string message_of(std::string_view text) {
  const auto parsed = parse_classic(text);
  if (!parsed) return parsed.error().message;
  const auto checked = check_classic(*parsed);
  return checked ? "" : checked.error().message;
}

TEST(Classic, ReadsWhatTcpdumpPrints) {
  const auto decimal = parse_classic("2\n40 0 0 12\n6 0 0 262144\n");
  const auto initialisers = parse_classic("{ 0x28, 0, 0, 0x0000000c },\n{ 0x6, 0, 0, 0x00040000 },\n");
  const auto one_line = parse_classic("2,40 0 0 12,6 0 0 262144");
  ASSERT_TRUE(decimal && initialisers && one_line);
  const std::vector<ClassicInsn> expected = {{40, 0, 0, 12}, {6, 0, 0, 262144}};
  EXPECT_EQ(*decimal, expected);
  EXPECT_EQ(*initialisers, expected);
  EXPECT_EQ(*one_line, expected);
  EXPECT_EQ(print_classic(*decimal, 0), "ldh      [12]");
  EXPECT_TRUE(looks_classic("  12\n40 0 0 12\n"));
  EXPECT_FALSE(looks_classic("#include <linux/bpf.h>\n"));
  EXPECT_FALSE(
      looks_classic("\x7f"
                    "ELF"));
}

TEST(Classic, RefusesTextsThatAreNone) {
  EXPECT_NE(message_of("3\n40 0 0 12\n6 0 0 1\n").find("says 3 instructions, 2 follow"), std::string::npos);
  EXPECT_NE(message_of("1\n40 0 0").find("ends before k"), std::string::npos);
  EXPECT_NE(message_of("1\n40 0 300 1\n").find("jf is 300"), std::string::npos);
  EXPECT_NE(message_of("1\nhello 0 0 0\n").find("line 2"), std::string::npos);
  EXPECT_NE(message_of("99999999\n").find("at most 4096"), std::string::npos);
  EXPECT_NE(message_of("").find("ends before the number"), std::string::npos);
}

TEST(Classic, RefusesWhatTheKernelRefuses) {
  const std::pair<const char*, const char*> refused[] = {
      {"2\n40 0 0 12\n40 0 0 12\n", "last instruction must be a return"},
      {"2\n21 1 0 5\n6 0 0 0\n", "jump over 1 or 0"},
      {"2\n5 0 0 1\n6 0 0 0\n", "jump over 1"},
      {"2\n52 0 0 0\n6 0 0 0\n", "division by the constant 0"},
      {"2\n148 0 0 0\n6 0 0 0\n", "division by the constant 0"},
      {"2\n100 0 0 32\n6 0 0 0\n", "shift by 32"},
      {"2\n96 0 0 16\n6 0 0 0\n", "M[16]"},
      {"2\n96 0 0 3\n6 0 0 0\n", "some path to here has not written it"},
      {"4\n21 0 1 7\n2 0 0 3\n96 0 0 3\n22 0 0 0\n", "some path to here has not written it"},
      {"2\n255 0 0 0\n6 0 0 0\n", "no classic instruction"},
      {"2\n40 0 0 4294963201\n6 0 0 0\n", "no ancillary load"},
  };
  for (const auto& [text, reason] : refused)
    EXPECT_NE(message_of(text).find(reason), std::string::npos) << text << message_of(text);
  EXPECT_EQ(message_of("5\n21 0 2 7\n2 0 0 3\n5 0 0 1\n2 0 0 3\n22 0 0 0\n"), "");
}

TEST(Classic, BecomesAProgramOfPacketLoads) {
  const auto filter = parse_classic(only_ip);
  ASSERT_TRUE(filter);
  const auto program = translate_classic(*filter);
  ASSERT_TRUE(program) << program.error().message;
  EXPECT_EQ(program->type, ProgramType::socket_filter);
  EXPECT_EQ(program->lines.size(), filter->size());
  const std::string text = isa::disassemble(program->insns);
  EXPECT_NE(text.find("skb[12]"), std::string::npos) << text;
  for (std::size_t i = 0; i < program->insns.size(); ++i) EXPECT_TRUE(isa::decode(program->insns[i])) << i;
}

TEST(Classic, LeavesOutWhatNoPathReaches) {
  const auto filter = parse_classic("3\n5 0 0 1\n40 0 0 12\n6 0 0 7\n");
  ASSERT_TRUE(filter);
  const auto program = translate_classic(*filter);
  ASSERT_TRUE(program);
  EXPECT_EQ(isa::disassemble(program->insns).find("skb["), std::string::npos);
}

TEST(Classic, NamesAncillaryLoadsThatAreNotThere) {
  const auto refusal = [](u32 k, ProgramType type) {
    const ClassicInsn filter[] = {{0x20, 0, 0, 0xfffff000u + k}, {0x16, 0, 0, 0}};
    ClassicOptions options;
    options.type = type;
    const auto program = translate_classic(filter, options);
    return program ? std::string() : program.error().message;
  };
  EXPECT_NE(refusal(12, ProgramType::socket_filter).find("nlattr"), std::string::npos);
  EXPECT_NE(refusal(44, ProgramType::xdp).find("vlan_tag"), std::string::npos);
  EXPECT_EQ(refusal(44, ProgramType::socket_filter), "");
  EXPECT_EQ(refusal(36, ProgramType::xdp), "");
}

TEST(Classic, LongFiltersGetLongJumps) {
  std::vector<ClassicInsn> filter;
  filter.push_back({0x15, 0, 0, 1});
  for (u32 i = 0; i < 4094; ++i) filter.push_back({0x50, 0, 0, i});  // ldb [x + i]
  filter.push_back({0x06, 0, 0, 1});
  ClassicOptions options;
  options.type = ProgramType::xdp;
  const auto program = translate_classic(filter, options);
  ASSERT_TRUE(program) << program.error().message;
  EXPECT_GT(program->insns.size(), 32768u);
}

}  // namespace
}  // namespace skep::spec
