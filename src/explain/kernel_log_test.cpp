// The kernel's words: every kind of log, from several releases, and logs that nobody's kernel wrote.
#include "explain/kernel_log.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "catalog/kernel_messages.hpp"
#include "isa/text.hpp"
#include "verify/diagnosis.hpp"

namespace skep::explain {
namespace {

ProgramSpec program_of(std::string_view text) {
  ProgramSpec program;
  program.name = "p";
  program.insns = isa::parse(text, {})->insns;
  program.lines = {{0, "p.bpf.c", "  value = bpf_map_lookup_elem(&counts, &key);", 12, 11},
                   {6, "p.bpf.c", "  *value += 1;", 13, 10}};
  return program;
}

constexpr const char* lookup =
    "*(u32 *)(r10 -4) = 1\nr2 = r10\nr2 += -4\nr1 = 0\ncall 1\nr6 = r0\nr1 = *(u64 *)(r6 +0)\nr0 = 0\nexit\n";

TEST(KernelLog, NamesTheLineAndWhereThePointerComesFrom) {
  const auto program = program_of(lookup);
  const auto r = refusal_from_log(
      "0: R1=ctx() R10=fp0\n"
      "; value = bpf_map_lookup_elem(&counts, &key); @ p.bpf.c:12\n"
      "4: (85) call bpf_map_lookup_elem#1    ; R0_w=map_value_or_null(id=1,map=counts,ks=4,vs=8)\n"
      "5: (bf) r6 = r0                       ; R0=map_value_or_null(id=1,map=counts) "
      "R6_w=map_value_or_null(id=1,map=counts,ks=4,vs=8)\n"
      "; *value += 1; @ p.bpf.c:13\n"
      "6: (79) r1 = *(u64 *)(r6 +0)\n"
      "R6 invalid mem access 'map_value_or_null'\n"
      "processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n",
      program);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->rejection.id, "maybe_null");
  EXPECT_EQ(r->rejection.insn, 6u);
  ASSERT_TRUE(r->rejection.source);
  EXPECT_EQ(r->rejection.source->line, 13u);
  EXPECT_EQ(r->rejection.registers, "r6 = map_value_or_null(id=1,map=counts,ks=4,vs=8)");
  ASSERT_NE(r->diagnosis->cause(), nullptr);
  EXPECT_EQ(r->diagnosis->cause()->insn, 4u) << "through the move";
  EXPECT_EQ(r->diagnosis->cause()->source->line, 12u);
}

/// A carried kprobe: the log counts the carrier's instructions, too, and some of its numbers exist in the program.
TEST(KernelLog, CountsFromTheProgramBehindACarrier) {
  const auto program = program_of(lookup);
  const std::string log =
      "0: R1=ctx() R10=fp0\n"
      "; /* skep: a pt_regs for vfs_open, then its program */ @ skep:1\n"
      "0: (bf) r6 = r1                       ; R1=ctx() R6=ctx()\n"
      "5: (85) call pc+2\n"
      "; value = bpf_map_lookup_elem(&counts, &key); @ p.bpf.c:12\n"
      "8: (62) *(u32 *)(r10 -4) = 1\n"
      "12: (85) call bpf_map_lookup_elem#1    ; frame1: R0_w=map_value_or_null(id=1,map=counts,ks=4,vs=8)\n"
      "13: (bf) r6 = r0                       ; frame1: R6_w=map_value_or_null(id=1,map=counts,ks=4,vs=8)\n"
      "; *value += 1; @ p.bpf.c:13\n"
      "14: (79) r1 = *(u64 *)(r6 +0)\n"
      "R6 invalid mem access 'map_value_or_null'\n";
  const auto r = refusal_from_log(log, program);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->rejection.insn, 6u);
  ASSERT_TRUE(r->rejection.source);
  EXPECT_EQ(r->rejection.source->line, 13u);
  ASSERT_NE(r->diagnosis->cause(), nullptr);
  EXPECT_EQ(r->diagnosis->cause()->insn, 4u);
  // Refused in the carrier itself, or cut before its end: nothing of the program is named by a number of the carrier's.
  const auto cut = refusal_from_log(log.substr(0, log.find("8: (62)")) + "R1 invalid mem access 'scalar'\n", program);
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->rejection.id, "not_a_pointer");
}

/// The 15 most common errors, in the words of Linux 6.1, 6.6, 6.12 and 6.18.
TEST(KernelLog, KnowsTheCommonErrors) {
  const std::pair<const char*, const char*> wordings[] = {
      {"invalid access to packet, off=26 size=2, R1(id=0,off=26,r=0)", "packet_out_of_bounds"},
      {"R1 offset is outside of the packet", "packet_out_of_bounds"},
      {"R1 invalid mem access 'inv'", "not_a_pointer"},
      {"R1 invalid mem access 'scalar'", "not_a_pointer"},
      {"invalid access to map value, value_size=48 off=48 size=8", "outside_region"},
      {"R0 max value is outside of the allowed memory range", "outside_region"},
      {"R0 min value is outside of the allowed memory range", "below_region"},
      {"R2 min value is negative, either use unsigned or 'var &= const'", "size_may_be_negative"},
      {"R2 unbounded memory access, use 'var &= const' or 'if (var < const)'", "size_unbounded"},
      {"R1 unbounded memory access, make sure to bounds check any such access", "unbounded_offset"},
      {"math between map_value pointer and register with unbounded min value is not allowed",
       "pointer_offset_unbounded"},
      {"R1 type=scalar expected=map_ptr", "wrong_argument"},
      {"R1 type=inv expected=ctx", "wrong_argument"},
      {"R2 type=map_value_or_null expected=fp, pkt, pkt_meta, map_key, map_value", "maybe_null"},
      {"unknown func bpf_get_stackid#27", "helper_not_for_type"},
      {"program of this type cannot use helper bpf_get_stackid#27", "helper_not_for_type"},
      {"cannot call GPL-restricted function from non-GPL compatible program", "helper_needs_gpl"},
      {"R0 !read_ok", "register_not_set"},
      {"invalid indirect read from stack R2 off -16+8 size 16", "stack_uninitialised"},
      {"invalid read from stack R10 off=-520 size=8", "stack_out_of_bounds"},
      {"invalid write to stack R10 off=0 size=8", "stack_out_of_bounds"},
      {"invalid indirect access to stack R1 off=-16 size=32", "stack_out_of_bounds"},
      {"misaligned stack access off (0x0; 0x0)+0+-13 size 4", "stack_misaligned"},
      {"R0 invalid mem access 'map_value_or_null'", "maybe_null"},
      {"R7 pointer arithmetic on map_value_or_null prohibited, null-check it first", "pointer_maybe_null_moved"},
      {"invalid func unknown#195896080", "core_relocation_failed"},
      {"unknown func unknown#195896080", "core_relocation_failed"},
      {"last insn is not an exit or jmp", "falls_off_the_end"},
      {"jump out of range from insn 1 to 7", "jump_out_of_range"},
      {"unreachable insn 9", "unreachable_code"},
      {"infinite loop detected at insn 4", "infinite_loop"},
      {"back-edge from insn 6 to 2", "infinite_loop"},
      {"BPF program is too large. Processed 1000001 insn", "too_complex"},
      {"The sequence of 8193 jumps is too complex.", "too_complex"},
      {"invalid bpf_context access off=0 size=8", "context_not_readable"},
      {"dereference of modified ctx ptr R1 off=8 disallowed", "context_pointer_moved"},
      {"R1 pointer += pointer prohibited", "pointer_and_pointer"},
      {"R1 pointer arithmetic on map_ptr prohibited", "pointer_kind_fixed"},
      {"R1 bitwise operator &= on pointer prohibited", "pointer_operator"},
      {"Unreleased reference id=2 alloc_insn=7", "reference_leak"},
      {"BPF_EXIT instruction in main prog would lead to reference leak", "reference_leak"},
      {"bpf_spin_unlock is missing", "lock_still_held"},
      {"BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region", "lock_still_held"},
      {"combined stack size of 2 calls is 640. Too large", "stack_too_deep"},
      {"At program exit the register R0 has value (0x2; 0x0) should have been in (0x0; 0x1)", "return_out_of_range"},
      {"At program exit the register R0 has smin=2 smax=2 should have been in [0, 1]", "return_out_of_range"},
  };
  const auto program = program_of(lookup);
  for (const auto& [words, id] : wordings) {
    const auto r = refusal_from_log(
        std::string("6: (79) r1 = *(u64 *)(r6 +0)\n") + words + "\nprocessed 7 insns (limit 1000000)\n", program);
    ASSERT_TRUE(r) << words;
    EXPECT_EQ(r->rejection.id, id) << words;
    EXPECT_EQ(r->rejection.insn, 6u);
  }
}

TEST(KernelLog, AnUnknownWordingIsShownAsItIs) {
  const auto r = refusal_from_log("3: (b7) r1 = 0\nthe moon is in the wrong phase\x1b[31m\n", program_of(lookup));
  ASSERT_TRUE(r);
  EXPECT_EQ(r->rejection.id, "kernel");
  EXPECT_EQ(r->rejection.reason, "the kernel says: the moon is in the wrong phase\\x1b[31m");
}

TEST(KernelLog, NoRefusalIsNone) {
  const auto program = program_of(lookup);
  EXPECT_FALSE(refusal_from_log("", program));
  EXPECT_FALSE(refusal_from_log("\n\n", program));
  EXPECT_FALSE(refusal_from_log("0: (b7) r0 = 0\nprocessed 2 insns (limit 1000000)\n", program));
}

TEST(KernelLog, HostileTextIsHarmless) {
  const auto program = program_of(lookup);
  std::mt19937 random(7);
  const std::string seed =
      "6: (79) r1 = *(u64 *)(r6 +0) ; R6_w=map_value(id=1\nR99999999999 R6 invalid mem access '\n4294967296: (ff)\n";
  for (int round = 0; round < 3000; round++) {
    std::string text = seed;
    for (u32 n = random() % 8; n > 0; n--) text[random() % text.size()] = static_cast<char>(random());
    (void)refusal_from_log(text, program);
    (void)is_log_of(text, program);
  }
  const std::string brackets(3u << 20, '(');
  (void)refusal_from_log(brackets, program);
  (void)refusal_from_log(std::string(3u << 20, '\n') + "R1 !read_ok", program);
  (void)refusal_from_log("R6_w=" + brackets + "\nR6 !read_ok", ProgramSpec{});
}

/// Every refusal of the corpus, where it is: how many wordings have a row.
TEST(KernelLog, CoversTheCorpus) {
  std::ifstream file("../shared/corpus/kernel-6.18-verdicts.tsv");
  if (!file) GTEST_SKIP() << "no corpus of kernel verdicts beside the project";
  std::string line;
  std::getline(file, line);
  u32 all = 0, known = 0;
  while (std::getline(file, line)) {
    std::vector<std::string> cells;
    std::istringstream row(line);
    for (std::string cell; std::getline(row, cell, '\t');) cells.push_back(cell);
    if (cells.size() < 14 || cells[8] != "reject" || cells[13].empty()) continue;
    all++;
    known += catalog::message_of_kernel(cells[13]).has_value();
  }
  std::printf("kernel log wordings: %u of %u refusals of the corpus have a message\n", known, all);
  EXPECT_GT(all, 1000u);
  EXPECT_GE(known * 100, all * 90);
}

}  // namespace
}  // namespace skep::explain
