// Every arm of the fast loop against the checked loop: each instruction with each choice of registers.
//
// An arm is made for its registers, so a mistake may sit in one combination only; random programs would meet it late.
// A program sets every register, does the instruction (loads, stores and atomics on its stack) and folds
// all registers and the stack into r0.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "isa/text.hpp"
#include "vm/bytecode.hpp"

namespace skep::vm {
namespace {

using isa::Form;
using isa::Op;

constexpr s16 memory_at = -64, memory_bytes = 64;

class ArmPrograms {
 public:
  explicit ArmPrograms(u64 seed) : random_(seed) {}

  /// A program that does `insn` and depends on all it may have changed.
  std::vector<Insn> around(const Insn& insn, Form form) {
    out_.clear();
    for (u8 r = 0; r < isa::frame_pointer; r++) load_number(r, interesting());
    for (s16 at = 0; at < memory_bytes; at += 8) {
      out_.push_back({0x7a, 10, 0, static_cast<s16>(memory_at + at), static_cast<s32>(random_())});
    }
    const bool by_src = form == Form::load || form == Form::load_acquire;
    const bool is_access = isa::access_bytes(insn) != 0;
    const u8 base = by_src ? insn.src : insn.dst;
    if (is_access && base != 10) out_.push_back({0xbf, base, 10, 0, 0});
    if (form == Form::jump_reg && insn.dst != insn.src && insn.src != 10 && random_() % 2 != 0)
      out_.push_back({0xbf, insn.dst, insn.src, 0, 0});
    out_.push_back(insn);
    if (isa::is_jump(form)) load_number(0, 0x5eed);  // what is jumped over
    // The stack lies elsewhere in each loop: addresses become differences.
    if (is_access && base != 10 && !(by_src && insn.dst == base)) out_.push_back({0x1f, base, 10, 0, 0});
    if (form == Form::alu_reg && insn.src == 10)
      out_.push_back({static_cast<u8>(undoing(insn.code)), insn.dst, 10, 0, 0});
    fold();
    return out_;
  }

  u64 interesting() {
    constexpr u64 some[] = {0, 1, 31, 63, 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 63, ~0ull};
    return random_() % 3 == 0 ? some[random_() % std::size(some)] : random_();
  }

 private:
  static u8 undoing(u8 code) { return code == 0x1f ? 0x0f : 0x1f; }

  void load_number(u8 reg, u64 value) {
    out_.push_back({0x18, reg, 0, 0, static_cast<s32>(value)});
    out_.push_back({.imm = static_cast<s32>(value >> 32)});
  }

  void fold() {
    for (u8 r = 1; r < isa::frame_pointer; r++) {
      out_.push_back({0x27, 0, 0, 0, 31});
      out_.push_back({0x0f, 0, r, 0, 0});
    }
    for (s16 at = 0; at < memory_bytes; at += 8) {
      out_.push_back({0x79, 1, 10, static_cast<s16>(memory_at + at), 0});
      out_.push_back({0x27, 0, 0, 0, 31});
      out_.push_back({0x0f, 0, 1, 0, 0});
    }
    out_.push_back({0x95, 0, 0, 0, 0});
  }

  std::mt19937_64 random_;
  std::vector<Insn> out_;
};

bool is_tested(Form form) {
  switch (form) {
    case Form::alu_imm:
    case Form::alu_reg:
    case Form::alu_unary:
    case Form::movsx:
    case Form::endian:
    case Form::jump_imm:
    case Form::jump_reg:
    case Form::load:
    case Form::store_imm:
    case Form::store_reg:
    case Form::atomic:
    case Form::atomic_fetch:
    case Form::cmpxchg:
    case Form::load_acquire:
    case Form::store_release:
      return true;
    default:
      return false;
  }
}

/// Whether the outcome does not depend on where the stack lies.
bool says_the_same_of_r10(Form form, u8 code) {
  if (form == Form::alu_reg) return code == 0xbf || code == 0x0f || code == 0x1f;  // mov, add, sub of 64 bits
  if (form == Form::jump_reg) return code == 0x1d || code == 0x5d;                 // equal, not equal
  return form == Form::load || form == Form::load_acquire;
}

void expect_same(const std::vector<Insn>& insns) {
  const auto code = translate({insns, {}, {}}, {});
  ASSERT_TRUE(code) << code.error().message << "\n" << isa::disassemble(insns);
  Run of_checked, of_fast;
  CheckedRun checked{&of_checked, nullptr, 1000};
  const auto expected = interpret_checked(**code, 0, 0, checked);
  ASSERT_TRUE(expected) << expected.error().message << "\n" << isa::disassemble(insns);
  ASSERT_EQ(interpret(**code, of_fast, 0, 0), *expected) << isa::disassemble(insns);
}

TEST(Arms, EveryInstructionWithEveryChoiceOfRegisters) {
  constexpr u64 seed = 1147;
  ArmPrograms programs(seed);
  u32 tested = 0;
  for (const isa::Row& row : isa::rows()) {
    if (!is_tested(row.form)) continue;
    const bool stores = row.form == Form::store_imm || row.form == Form::store_reg || row.form == Form::store_release ||
                        row.form == Form::atomic || row.form == Form::atomic_fetch || row.form == Form::cmpxchg;
    const u8 dst_count = stores ? 11 : 10;
    const u8 src_count = row.src == isa::any ? 11 : 1;
    for (u8 dst = 0; dst < dst_count; dst++)
      for (u8 src = 0; src < src_count; src++) {
        if (src == 10 && !says_the_same_of_r10(row.form, row.code)) continue;
        // Storing or adding one's own address: addresses differ.
        if (stores && row.src == isa::any && src == dst) continue;
        // cmpxchg compares with r0, which is then no address.
        if (row.form == Form::cmpxchg && dst == 0) continue;
        Insn insn{row.code, dst, src, 0, 0};
        if (row.src != isa::any) insn.src = static_cast<u8>(row.src);
        insn.off = row.off != isa::any ? static_cast<s16>(row.off) : static_cast<s16>(memory_at + 8 * (src % 8));
        insn.imm = row.imm != isa::any ? row.imm : static_cast<s32>(programs.interesting());
        if (isa::is_jump(row.form)) insn.off = 2;
        for (int round = 0; round < 2; round++) ASSERT_NO_FATAL_FAILURE(expect_same(programs.around(insn, row.form)));
        tested++;
      }
  }
  EXPECT_GT(tested, 10000u);
}

TEST(Arms, TheFirstRunMayBeSeveralAtOnce) {
  std::vector<Insn> insns;
  for (int i = 0; i < 1000; i++) insns.push_back({0x07, 1, 0, 0, i});
  insns.push_back({0xbf, 0, 1, 0, 0});
  insns.push_back({0x95, 0, 0, 0, 0});
  for (int round = 0; round < 50; round++) {
    const auto code = translate({insns, {}, {}}, {});
    ASSERT_TRUE(code) << code.error().message;
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
      threads.emplace_back([&] {
        base::Run run;
        right += interpret(**code, run, 5, 0) == 5 + 999 * 1000 / 2;
      });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(right, 4);
  }
}

/// translate() knows most opcodes by one comparison: it must agree with the table about every field.
TEST(Arms, TranslateDecodesWhatTheTableDecodes) {
  constexpr u64 seed = 77;
  std::mt19937_64 random(seed);
  u32 decoded = 0, refused = 0;
  for (int round = 0; round < 200'000; round++) {
    const isa::Row& row = isa::rows()[random() % isa::op_count];
    Insn insn{row.code, static_cast<u8>(random() % 11), 0, 0, 0};
    if (!isa::uses_dst(row.form)) insn.dst = 0;
    insn.src = static_cast<u8>(row.src == isa::any ? random() % 11 : static_cast<u64>(row.src)) & 0xf;
    insn.off = row.off == isa::any ? s16{0} : static_cast<s16>(row.off);
    insn.imm = row.imm == isa::any ? 0 : row.imm;
    switch (random() % 8) {  // one field as it may not be
      case 0:
        insn.code = static_cast<u8>(random());
        break;
      case 1:
        insn.dst = random() & 0xf;
        break;
      case 2:
        insn.src = random() & 0xf;
        break;
      case 3:
        insn.off = static_cast<s16>(random() % 2 != 0 ? random() : random() % 3);
        break;
      case 4:
        insn.imm = static_cast<s32>(random() % 2 != 0 ? random() : random() % 3);
        break;
      default:
        break;
    }
    std::vector<Insn> program{insn, {}, {0x95, 0, 0, 0, 0}};
    if (!isa::is_ld_imm64(insn)) program[1] = {0xb7, 0, 0, 0, 0};
    const auto code = translate({program, {}, {}}, {});
    const bool says_no = !code && code.error().message.find("instruction 0: cannot decode") != std::string::npos;
    ASSERT_EQ(says_no, !isa::decode(insn)) << isa::disassemble(program);
    ++(says_no ? refused : decoded);
  }
  EXPECT_GT(decoded, 10'000u);
  EXPECT_GT(refused, 10'000u);
}

}  // namespace
}  // namespace skep::vm
