// The assembler against an independent one: every kind of operand of every instruction is written twice, once by our
// assembler and once as text for GNU as (or llvm-mc), and the words must be equal.
//
// Where neither is installed the words in `known`, which were made by GNU as, still are compared.
#include "vm/jit/arm64.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>

namespace skep::vm::arm64 {
namespace {

constexpr Width widths[] = {Width::w32, Width::w64};
constexpr Reg some[] = {Reg::x0, Reg::x1, Reg::x7, Reg::x15, Reg::x16, Reg::x28, Reg::x30, Reg::zr};
constexpr const char* conditions[] = {"eq", "ne", "hs", "lo", "mi", "pl", "vs",
                                      "vc", "hi", "ls", "ge", "lt", "gt", "le"};
constexpr const char* modifiers[] = {"lsl",  "lsr",  "asr",  "ror",  "uxtb", "uxth",
                                     "uxtw", "uxtx", "sxtb", "sxth", "sxtw", "sxtx"};
constexpr const char* alu_names[] = {"add", "adds", "sub", "subs", "and",  "bic",
                                     "orr", "orn",  "eor", "eon",  "ands", "bics"};

std::string name(Width w, Reg r, bool is_sp = false) {
  const u32 n = static_cast<u32>(r);
  if (n == 31 && is_sp) return w == Width::w64 ? "sp" : "wsp";
  if (n == 31) return w == Width::w64 ? "xzr" : "wzr";
  return fmt::format("{}{}", w == Width::w64 ? 'x' : 'w', n);
}
std::string x(Reg r) { return name(Width::w64, r); }
std::string w_of(Reg r) { return name(Width::w32, r); }
std::string base(Reg r) { return name(Width::w64, r, true); }

/// What another assembler makes of the lines; empty when there is none.
std::vector<u32> assembled(const std::string& text) {
  char folder[] = "/tmp/skep-arm64-XXXXXX";
  std::vector<u32> out;
  if (::mkdtemp(folder) == nullptr) return out;
  std::ofstream(fmt::format("{}/a.s", folder)) << text;
  const std::string command = fmt::format(
      "cd {} && ( ( aarch64-linux-gnu-as -march=armv8.1-a -o a.o a.s && aarch64-linux-gnu-objcopy -O binary a.o a.bin "
      ") || "
      "( llvm-mc-19 -triple=aarch64 -mattr=+lse -filetype=obj -o a.o a.s && llvm-objcopy-19 -O binary a.o a.bin ) ) "
      "2> errors",
      folder);
  const int status = std::system(command.c_str());
  std::ifstream file(fmt::format("{}/a.bin", folder), std::ios::binary);
  for (u32 word; status == 0 && file.read(reinterpret_cast<char*>(&word), 4);) out.push_back(word);
  if (std::system("command -v aarch64-linux-gnu-as > /dev/null") == 0) {
    std::ifstream errors(fmt::format("{}/errors", folder));
    const std::string said((std::istreambuf_iterator<char>(errors)), std::istreambuf_iterator<char>());
    EXPECT_EQ(said, "");
  }
  for (const char* file_name : {"a.s", "a.o", "a.bin", "errors"})
    ::unlink(fmt::format("{}/{}", folder, file_name).c_str());
  ::rmdir(folder);
  return out;
}

/// Says what it writes, and compares at the end.
class Listing {
 public:
  Assembler as;

  void expect(const std::string& line) {
    lines_.push_back(line);
    text_ += line + "\n";
  }
  void compare() {
    const auto words = assembled(text_);
    if (words.empty())
      GTEST_SKIP() << "left out: no assembler for AArch64 (Debian: binutils-aarch64-linux-gnu, llvm-19)";
    ASSERT_EQ(words.size(), as.words().size());
    for (std::size_t i = 0; i < words.size(); i++)
      ASSERT_EQ(fmt::format("{:08x}", as.words()[i]), fmt::format("{:08x}", words[i])) << lines_[i];
  }

 private:
  std::string text_;
  std::vector<std::string> lines_;
};

TEST(Arm64Assembler, ArithmeticOnRegisters) {
  Listing l;
  for (u32 op = 0; op < 12; op++)
    for (const Width w : widths)
      for (const Reg r : some) {
        const auto kind = static_cast<Alu>(op);
        l.as.alu(kind, w, r, Reg::x3, Reg::x9);
        l.expect(fmt::format("{} {}, {}, {}", alu_names[op], name(w, r), name(w, Reg::x3), name(w, Reg::x9)));
        l.as.alu(kind, w, Reg::x4, r, Reg::x9);
        l.expect(fmt::format("{} {}, {}, {}", alu_names[op], name(w, Reg::x4), name(w, r), name(w, Reg::x9)));
        l.as.alu(kind, w, Reg::x4, Reg::x5, r);
        l.expect(fmt::format("{} {}, {}, {}", alu_names[op], name(w, Reg::x4), name(w, Reg::x5), name(w, r)));
        for (u32 by = 0; by < (is_sum(kind) ? 3 : 4); by++)
          for (const u32 amount : {1u, 31u, w == Width::w64 ? 63u : 17u}) {
            l.as.alu(kind, w, r, Reg::x11, Reg::x2, static_cast<Modifier>(by), amount);
            l.expect(fmt::format("{} {}, {}, {}, {} #{}", alu_names[op], name(w, r), name(w, Reg::x11),
                                 name(w, Reg::x2), modifiers[by], amount));
          }
      }
  for (u32 op = 0; op < 4; op++)
    for (u32 by = 4; by < 12; by++)
      for (const u32 amount : {0u, 1u, 3u, 4u}) {
        const bool whole = by == 7 || by == 11;
        l.as.alu(static_cast<Alu>(op), Width::w64, Reg::x5, Reg::x6, Reg::x7, static_cast<Modifier>(by), amount);
        l.expect(fmt::format("{} x5, x6, {}, {} #{}", alu_names[op], whole ? "x7" : "w7", modifiers[by], amount));
      }
  l.compare();
}

TEST(Arm64Assembler, ArithmeticWithImmediates) {
  Listing l;
  for (u32 op = 0; op < 4; op++)
    for (const Width w : widths)
      for (const u32 imm : {0u, 1u, 255u, 4095u, 4096u, 0xfff000u, 0x123000u}) {
        ASSERT_TRUE(fits_sum(imm));
        l.as.sum_imm(static_cast<Alu>(op), w, Reg::x3, Reg::x20, imm);
        l.expect(fmt::format("{} {}, {}, #{}", alu_names[op], name(w, Reg::x3), name(w, Reg::x20), imm));
      }
  l.as.sum_imm(Alu::sub, Width::w64, Reg::sp, Reg::sp, 32);
  l.expect("sub sp, sp, #32");
  l.as.sum_imm(Alu::subs, Width::w32, Reg::zr, Reg::x8, 7);
  l.expect("cmp w8, #7");
  for (const Width w : widths)
    for (const u32 count : {1u, 5u, 31u, w == Width::w64 ? 63u : 30u}) {
      constexpr const char* names[] = {"lsl", "lsr", "asr", "ror"};
      for (u32 op = 0; op < 4; op++) {
        l.as.shift_imm(static_cast<Shift>(op), w, Reg::x1, Reg::x2, count);
        l.expect(fmt::format("{} {}, {}, #{}", names[op], name(w, Reg::x1), name(w, Reg::x2), count));
        l.as.shift(static_cast<Shift>(op), w, Reg::x1, Reg::x2, Reg::x3);
        l.expect(fmt::format("{} {}, {}, {}", names[op], name(w, Reg::x1), name(w, Reg::x2), name(w, Reg::x3)));
      }
    }
  for (const Width w : widths)
    for (const bool sign : {false, true})
      for (const auto& [low, length] : {std::pair{0u, 8u}, {0u, 16u}, {3u, 7u}, {12u, 20u}, {31u, 1u}}) {
        l.as.extract(sign, w, Reg::x9, Reg::x10, low, length);
        l.expect(
            fmt::format("{}bfx {}, {}, #{}, #{}", sign ? 's' : 'u', name(w, Reg::x9), name(w, Reg::x10), low, length));
        l.as.insert(sign, w, Reg::x9, Reg::x10, low, length);
        l.expect(
            fmt::format("{}bfiz {}, {}, #{}, #{}", sign ? 's' : 'u', name(w, Reg::x9), name(w, Reg::x10), low, length));
      }
  l.as.extract(true, Width::w64, Reg::x1, Reg::x2, 0, 32);
  l.expect("sxtw x1, w2");
  l.as.extr(Width::w64, Reg::x1, Reg::x2, Reg::x3, 45);
  l.expect("extr x1, x2, x3, #45");
  l.as.extr(Width::w32, Reg::x1, Reg::x2, Reg::x3, 13);
  l.expect("extr w1, w2, w3, #13");
  l.compare();
}

/// Every mask there is, and numbers that are none.
TEST(Arm64Assembler, BitMasks) {
  Listing l;
  u32 count = 0;
  constexpr Alu ops[] = {Alu::and_, Alu::orr, Alu::eor, Alu::ands};
  for (const Width w : widths)
    for (u32 size = 2; size <= (w == Width::w64 ? 64 : 32); size *= 2)
      for (u32 ones = 1; ones < size; ones++)
        for (u32 rotation = 0; rotation < size; rotation++) {
          const u64 whole = size == 64 ? ~u64{0} : (u64{1} << size) - 1, run = (u64{1} << ones) - 1;
          u64 mask = rotation == 0 ? run : (run >> rotation | run << (size - rotation)) & whole;
          for (u32 s = size; s < 64; s *= 2) mask |= mask << s;
          if (w == Width::w32) mask &= 0xffffffff;
          const auto fields = mask_fields(mask, w);
          ASSERT_TRUE(fields) << fmt::format("{:#x}", mask);
          if (count++ % 7 != 0 && size > 8) continue;
          const Alu op = ops[count % 4];
          l.as.logic_imm(op, w, Reg::x1, Reg::x2, *fields);
          l.expect(fmt::format("{} {}, {}, #{:#x}", alu_names[static_cast<u8>(op)], name(w, Reg::x1), name(w, Reg::x2),
                               mask));
        }
  EXPECT_EQ(count, 5334u + 1302u);
  for (const u64 none : {u64{0}, ~u64{0}, u64{5}, u64{0x1234}, u64{0xff00ff01}, u64{0x8000000000000005}})
    EXPECT_FALSE(mask_fields(none, Width::w64)) << fmt::format("{:#x}", none);
  EXPECT_FALSE(mask_fields(0xffffffff, Width::w32));
  l.compare();
}

TEST(Arm64Assembler, MultiplyDivideSelect) {
  Listing l;
  for (const Width w : widths) {
    const auto r = [&](Reg reg) { return name(w, reg); };
    for (const Reg c : some) {
      l.as.madd(w, Reg::x1, Reg::x2, Reg::x3, c);
      l.expect(fmt::format("madd {}, {}, {}, {}", r(Reg::x1), r(Reg::x2), r(Reg::x3), r(c)));
      l.as.msub(w, Reg::x1, c, Reg::x3, Reg::x4);
      l.expect(fmt::format("msub {}, {}, {}, {}", r(Reg::x1), r(c), r(Reg::x3), r(Reg::x4)));
      l.as.div(false, w, c, Reg::x3, Reg::x4);
      l.expect(fmt::format("udiv {}, {}, {}", r(c), r(Reg::x3), r(Reg::x4)));
      l.as.div(true, w, Reg::x6, Reg::x3, c);
      l.expect(fmt::format("sdiv {}, {}, {}", r(Reg::x6), r(Reg::x3), r(c)));
    }
    for (u32 c = 0; c < 14; c++) {
      constexpr const char* names[] = {"csel", "csinc", "csinv", "csneg"};
      for (u32 kind = 0; kind < 4; kind++) {
        l.as.select(static_cast<Else>(kind), w, Reg::x1, Reg::x2, Reg::zr, static_cast<Cond>(c));
        l.expect(fmt::format("{} {}, {}, {}, {}", names[kind], r(Reg::x1), r(Reg::x2), r(Reg::zr), conditions[c]));
      }
    }
    l.as.rev(w, Reg::x1, Reg::x2);
    l.expect(fmt::format("rev {}, {}", r(Reg::x1), r(Reg::x2)));
    l.as.clz(w, Reg::x1, Reg::x2);
    l.expect(fmt::format("clz {}, {}", r(Reg::x1), r(Reg::x2)));
    l.as.popcount(w, Reg::x1, Reg::x2);
    l.expect(fmt::format("fmov {}31, {}", w == Width::w64 ? 'd' : 's', r(Reg::x2)));
    l.expect("cnt v31.8b, v31.8b");
    l.expect("addv b31, v31.8b");
    l.expect("fmov w1, s31");
    l.as.rev16(w, Reg::x1, Reg::x2);
    l.expect(fmt::format("rev16 {}, {}", r(Reg::x1), r(Reg::x2)));
  }
  l.as.mull(false, Reg::x1, Reg::x2, Reg::x3);
  l.expect("umull x1, w2, w3");
  l.as.mull(true, Reg::x1, Reg::x2, Reg::x3);
  l.expect("smull x1, w2, w3");
  l.as.mulh(false, Reg::x1, Reg::x2, Reg::x3);
  l.expect("umulh x1, x2, x3");
  l.as.mulh(true, Reg::x1, Reg::x2, Reg::x3);
  l.expect("smulh x1, x2, x3");
  l.compare();
}

constexpr Size sizes[] = {Size::b8, Size::b16, Size::b32, Size::b64};
constexpr const char* suffix[] = {"b", "h", "", ""};
std::string data(Size s, Reg r) { return s == Size::b64 ? x(r) : w_of(r); }

TEST(Arm64Assembler, LoadsAndStores) {
  Listing l;
  for (const Size s : sizes) {
    const u32 log = static_cast<u32>(s);
    std::vector<std::pair<Mem, std::string>> memory;
    for (const Reg r : {Reg::x0, Reg::x19, Reg::sp})
      for (const s64 disp : {s64{0}, s64{1} << log, s64{4095} << log, s64{3}, s64{255}, s64{-256}, s64{-1}}) {
        if (!fits_disp(disp, s)) continue;
        memory.push_back({at(r, disp), fmt::format("[{}, #{}]", base(r), disp)});
      }
    for (const bool scaled : {false, true}) {
      const std::string by = scaled ? fmt::format(" #{}", log) : "";
      if (!scaled || log != 0)
        memory.push_back({{Reg::x3, 0, Reg::x4, Modifier::lsl, scaled},
                          scaled ? fmt::format("[x3, x4, lsl{}]", by) : std::string("[x3, x4]")});
      memory.push_back({{Reg::sp, 0, Reg::x4, Modifier::uxtw, scaled}, fmt::format("[sp, w4, uxtw{}]", by)});
      memory.push_back({{Reg::x3, 0, Reg::x30, Modifier::sxtw, scaled}, fmt::format("[x3, w30, sxtw{}]", by)});
    }
    for (const auto& [m, text] : memory) {
      const bool is_unscaled = m.index == Reg::zr && !fits_scaled(m.disp, s);
      const char* const u = is_unscaled ? "u" : "";
      l.as.load(s, false, Reg::x7, m);
      l.expect(fmt::format("ld{}r{} {}, {}", u, suffix[log], data(s, Reg::x7), text));
      l.as.store(s, Reg::zr, m);
      l.expect(fmt::format("st{}r{} {}, {}", u, suffix[log], data(s, Reg::zr), text));
      if (s == Size::b64) continue;
      l.as.load(s, true, Reg::x7, m);
      l.expect(fmt::format("ld{}rs{} x7, {}", u, s == Size::b32 ? "w" : suffix[log], text));
    }
  }
  for (const s32 disp : {0, 8, 504, -512}) {
    l.as.store_pair(Reg::x19, Reg::x20, Reg::sp, disp);
    l.expect(fmt::format("stp x19, x20, [sp, #{}]", disp));
    l.as.load_pair(Reg::x29, Reg::x30, Reg::x1, disp);
    l.expect(fmt::format("ldp x29, x30, [x1, #{}]", disp));
    l.as.push_pair(Reg::x29, Reg::x30, Reg::sp, disp);
    l.expect(fmt::format("stp x29, x30, [sp, #{}]!", disp));
    l.as.pop_pair(Reg::x29, Reg::x30, Reg::sp, disp);
    l.expect(fmt::format("ldp x29, x30, [sp], #{}", disp));
  }
  l.compare();
}

TEST(Arm64Assembler, Atomics) {
  Listing l;
  for (const Size s : sizes) {
    const std::string tail = suffix[static_cast<u8>(s)];
    const auto r = [&](Reg reg) { return data(s, reg); };
    l.as.load_acquire(s, Reg::x1, Reg::x2);
    l.expect(fmt::format("ldar{} {}, [x2]", tail, r(Reg::x1)));
    l.as.store_release(s, Reg::x1, Reg::sp);
    l.expect(fmt::format("stlr{} {}, [sp]", tail, r(Reg::x1)));
    l.as.load_exclusive(s, Reg::x1, Reg::x2);
    l.expect(fmt::format("ldxr{} {}, [x2]", tail, r(Reg::x1)));
    for (const bool release : {false, true}) {
      l.as.store_exclusive(s, release, Reg::x16, Reg::x17, Reg::x2);
      l.expect(fmt::format("st{}xr{} w16, {}, [x2]", release ? "l" : "", tail, r(Reg::x17)));
    }
    constexpr const char* names[] = {"ldadd", "ldclr", "ldeor", "ldset", "swp"};
    for (u32 op = 0; op < 5; op++)
      for (const bool ordered : {false, true}) {
        l.as.atomic(static_cast<Rmw>(op), s, ordered, Reg::x1, Reg::x2, Reg::x3);
        l.expect(fmt::format("{}{}{} {}, {}, [x3]", names[op], ordered ? "al" : "", tail, r(Reg::x2), r(Reg::x1)));
      }
    l.as.atomic(Rmw::add, s, false, Reg::zr, Reg::x2, Reg::x3);
    l.expect(fmt::format("stadd{} {}, [x3]", tail, r(Reg::x2)));
    l.as.compare_and_swap(s, Reg::x1, Reg::x2, Reg::x3);
    l.expect(fmt::format("casal{} {}, {}, [x3]", tail, r(Reg::x1), r(Reg::x2)));
  }
  l.as.barrier();
  l.expect("dmb ish");
  l.compare();
}

TEST(Arm64Assembler, Jumps) {
  Listing l;
  const Label back = l.as.new_label(), forth = l.as.new_label();
  l.as.bind(back);
  l.as.nop();
  l.expect("back: nop");
  for (const auto& [label, text] : {std::pair{back, "back"}, std::pair{forth, "forth"}}) {
    l.as.b(label);
    l.expect(fmt::format("b {}", text));
    l.as.bl(label);
    l.expect(fmt::format("bl {}", text));
    for (u32 c = 0; c < 14; c++) {
      l.as.b(static_cast<Cond>(c), label);
      l.expect(fmt::format("b.{} {}", conditions[c], text));
    }
    for (const Width w : widths) {
      l.as.cbz(w, Reg::x3, label);
      l.expect(fmt::format("cbz {}, {}", name(w, Reg::x3), text));
      l.as.cbnz(w, Reg::x30, label);
      l.expect(fmt::format("cbnz {}, {}", name(w, Reg::x30), text));
    }
    for (const u32 bit : {0u, 5u, 31u, 32u, 63u}) {
      l.as.tbz(Reg::x3, bit, label);
      l.expect(fmt::format("tbz x3, #{}, {}", bit, text));
      l.as.tbnz(Reg::x4, bit, label);
      l.expect(fmt::format("tbnz x4, #{}, {}", bit, text));
    }
    l.as.adr(Reg::x9, label);
    l.expect(fmt::format("adr x9, {}", text));
  }
  l.as.br(Reg::x17);
  l.expect("br x17");
  l.as.blr(Reg::x16);
  l.expect("blr x16");
  l.as.ret();
  l.expect("ret");
  l.as.brk(0x123);
  l.expect("brk #0x123");
  l.as.bind(forth);
  l.as.nop();
  l.expect("forth: nop");
  ASSERT_TRUE(l.as.finish());
  l.compare();
}

TEST(Arm64Assembler, JumpTable) {
  Assembler as;
  const Label a = as.new_label(), b = as.new_label();
  as.bind(a);
  as.nop();
  as.jump_table(Reg::x1, Reg::x16, Reg::x17, std::array{a, b, b});
  as.bind(b);
  ASSERT_TRUE(as.finish());
  // nop, adr, ldrsw, add, br: the table is word 5.
  EXPECT_EQ(as.words()[1], 0x10000090u);  // adr x16, .+16
  EXPECT_EQ(static_cast<s32>(as.words()[5]), -20);
  EXPECT_EQ(as.words()[6], 12u);
  EXPECT_EQ(as.words()[7], 12u);
}

/// Runs movz, movn, movk and orr with a mask: what a register holds in the end.
u64 constant_made(std::span<const u32> words) {
  u64 value = 0;
  for (const u32 word : words) {
    const bool wide = word >> 31 != 0;
    const u64 imm = word >> 5 & 0xffff, shift = (word >> 21 & 3) * 16;
    const u32 kind = word & 0x7f800000;
    if (kind == 0x52800000)
      value = imm << shift;
    else if (kind == 0x12800000)
      value = ~(imm << shift);
    else if (kind == 0x72800000)
      value = (value & ~(u64{0xffff} << shift)) | imm << shift;
    else
      return ~u64{0x123456789};
    if (!wide) value &= 0xffffffff;
  }
  return value;
}

TEST(Arm64Assembler, Constants) {
  std::vector<u64> values;
  for (u32 i = 0; i < 64; i++)
    for (const u64 v : {u64{1}, u64{0x1235}, u64{0x12345677}, u64{0xfedc0000ffff}, ~u64{0x1234}, ~u64{0}})
      values.insert(values.end(), {v << i, v >> i, ~(v << i), (v << i) & 0xffffffff});
  for (const u64 v : values) {
    Assembler as;
    as.mov(Reg::x5, v);
    ASSERT_EQ(as.words().size(), mov_length(v)) << fmt::format("{:#x}", v);
    const auto narrow = mask_fields(v, Width::w32), wide = mask_fields(v, Width::w64);
    const bool by_mask = as.words().size() == 1 && (as.words()[0] & 0x7f800000) == 0x32000000;
    if (by_mask) {
      const u32 fields = as.words()[0] >> 10 & 0x1fff;
      ASSERT_TRUE((wide && fields == *wide && as.words()[0] >> 31 == 1) ||
                  (narrow && fields == *narrow && v >> 32 == 0));
    } else {
      ASSERT_EQ(constant_made(as.words()), v) << fmt::format("{:#x}", v);
    }
  }
  EXPECT_EQ(mov_length(0), 1u);
  EXPECT_EQ(mov_length(0xffffffff), 1u);
  EXPECT_EQ(mov_length(0x7ffff1234567), 3u);
  EXPECT_EQ(mov_length(0xfffffffffffff123), 1u);
  EXPECT_EQ(mov_length(0x00ff00ff00ff00ff), 1u);
}

TEST(Arm64Assembler, JumpsThatAreTooFar) {
  Assembler as;
  const Assembler::Mark start = as.mark();
  const Label near_one = as.new_label(), outside = as.new_label();
  as.tbz(Reg::x0, 1, near_one);
  as.bl(outside);
  for (u32 i = 0; i < 0x1ffd; i++) as.nop();
  as.bind(near_one);
  EXPECT_EQ(as.settle(start), Assembler::Reach::all);
  as.rewind(start);
  const Label far_one = as.new_label();
  as.tbz(Reg::x0, 1, far_one);
  for (u32 i = 0; i < 0x1fff; i++) as.nop();
  as.bind(far_one);
  EXPECT_EQ(as.settle(start), Assembler::Reach::tests_too_far);
  as.rewind(start);
  const Label farther = as.new_label();
  as.cbz(Width::w64, Reg::x0, farther);
  for (u32 i = 0; i < 0x3ffff; i++) as.nop();
  as.bind(farther);
  EXPECT_EQ(as.settle(start), Assembler::Reach::branches_too_far);
  as.rewind(start);
  as.b(as.new_label());
  EXPECT_FALSE(as.finish());
}

/// As GNU as writes them.
TEST(Arm64Assembler, KnownWords) {
  Assembler as;
  as.alu(Alu::add, Width::w64, Reg::x0, Reg::x1, Reg::x2, Modifier::lsl, 3);
  as.sum_imm(Alu::subs, Width::w32, Reg::zr, Reg::x8, 7);
  as.logic_imm(Alu::and_, Width::w64, Reg::x1, Reg::x2, *mask_fields(0xff00ff00ff00ff00, Width::w64));
  as.extract(true, Width::w64, Reg::x1, Reg::x2, 0, 32);
  as.madd(Width::w64, Reg::x1, Reg::x2, Reg::x3, Reg::x4);
  as.load(Size::b32, true, Reg::x7, at(Reg::x0, 4));
  as.store(Size::b8, Reg::zr, {Reg::x3, 0, Reg::x30, Modifier::sxtw, false});
  as.push_pair(Reg::x29, Reg::x30, Reg::sp, -16);
  as.atomic(Rmw::add, Size::b64, true, Reg::x1, Reg::x2, Reg::x3);
  as.compare_and_swap(Size::b32, Reg::x1, Reg::x2, Reg::x3);
  as.select(Else::increment, Width::w64, Reg::x1, Reg::zr, Reg::zr, Cond::ne);
  constexpr u32 known[] = {0x8b020c20, 0x71001d1f, 0x92089c41, 0x93407c41, 0x9b031041, 0xb9800407,
                           0x383ec87f, 0xa9bf7bfd, 0xf8e20061, 0x88e1fc62, 0x9a9f17e1};
  ASSERT_EQ(as.words().size(), std::size(known));
  for (std::size_t i = 0; i < std::size(known); i++)
    EXPECT_EQ(fmt::format("{:08x}", as.words()[i]), fmt::format("{:08x}", known[i])) << i;
}

}  // namespace
}  // namespace skep::vm::arm64
