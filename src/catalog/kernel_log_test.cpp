// What is read of a log, from whole ones to those that say nothing and those that are much too long.
#include "catalog/kernel_log.hpp"

#include <gtest/gtest.h>

#include <string>

namespace skep::catalog {
namespace {

TEST(KernelLog, EndsWithTheReason) {
  const std::string log =
      "; x = *p; @ hello.bpf.c:14\n7: (79) r1 = *(u64 *)(r0 +0)\nR0 invalid mem access 'scalar'\n"
      "processed 8 insns (limit 1000000) max_states_per_insn 0\n";
  const auto lines = lines_of_kernel_log(log);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "; x = *p; @ hello.bpf.c:14");
  EXPECT_EQ(lines[2], "R0 invalid mem access 'scalar'");
  EXPECT_EQ(reason_in_kernel_log(log), "R0 invalid mem access 'scalar'");
  EXPECT_EQ(reason_in_kernel_log(log + std::string(100, '\0')), "R0 invalid mem access 'scalar'");
  EXPECT_EQ(reason_in_kernel_log("without an end"), "without an end");
}

TEST(KernelLog, SaysNothing) {
  for (const std::string_view log :
       {"", "\n\n", "stack depth 0 max 0\ninsns processed 8\nprocessed 8 insns (limit 1000000)\n"}) {
    EXPECT_TRUE(lines_of_kernel_log(log).empty()) << log;
    EXPECT_EQ(reason_in_kernel_log(log), "") << log;
  }
}

TEST(KernelLog, TellsOfInstructions) {
  EXPECT_EQ(insn_of_kernel_line("12: (79) r1 = *(u64 *)(r0 +0)"), 12u);
  for (const std::string_view line :
       {"", "12", "12: R0=0", ": (79)", "x12: (79)", "99999999999: (79)", "from 3 to 5: x"})
    EXPECT_EQ(insn_of_kernel_line(line), std::nullopt) << line;
}

TEST(KernelLog, IsReadAtItsEndOnly) {
  const std::string filler(3u << 20, 'x');
  EXPECT_EQ(lines_of_kernel_log(filler + "\nthe reason\n").back(), "the reason");
  EXPECT_EQ(lines_of_kernel_log(filler).front().size(), 4096u);
  std::string many;
  for (u32 i = 0; i < 100'000; i++) many += "1: (05) x\n";
  EXPECT_EQ(lines_of_kernel_log(many).size(), 20'000u);
}

}  // namespace
}  // namespace skep::catalog
