// The assembler against an independent disassembler: every kind of operand of every instruction, read back.
//
// The test says in Intel syntax what it asked for, objdump says what the bytes are. Registers, widths, addressing
// modes and immediates are enumerated around the places where encodings change form.
#include "vm/jit/x86_64.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

namespace skep::vm::x86 {
namespace {

constexpr Width widths[] = {Width::w8, Width::w16, Width::w32, Width::w64};
constexpr Width wide[] = {Width::w16, Width::w32, Width::w64};
constexpr Width natural[] = {Width::w32, Width::w64};
constexpr Reg regs[] = {Reg::rax, Reg::rcx, Reg::rdx, Reg::rbx, Reg::rsp, Reg::rbp, Reg::rsi, Reg::rdi,
                        Reg::r8,  Reg::r9,  Reg::r10, Reg::r11, Reg::r12, Reg::r13, Reg::r14, Reg::r15};
/// One of each kind: plain, needs SIB, needs a displacement, the same of the upper eight.
constexpr Reg kinds[] = {Reg::rax, Reg::rcx, Reg::rsp, Reg::rbp, Reg::rsi, Reg::r8, Reg::r12, Reg::r13, Reg::r15};
constexpr s32 immediates[] = {0, 1, -1, 127, 128, -128, -129, 0x1234, 0x7fffffff, static_cast<s32>(0x80000000)};

std::string name(Width w, Reg r) {
  static constexpr const char* table[4][16] = {
      {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil", "r8b", "r9b", "r10b", "r11b", "r12b", "r13b", "r14b",
       "r15b"},
      {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w", "r11w", "r12w", "r13w", "r14w", "r15w"},
      {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d",
       "r15d"},
      {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}};
  return table[w == Width::w8 ? 0 : w == Width::w16 ? 1 : w == Width::w32 ? 2 : 3][static_cast<u8>(r)];
}

std::string signed_hex(s32 v) { return v < 0 ? fmt::format("-{:#x}", -static_cast<s64>(v)) : fmt::format("+{:#x}", v); }

std::string address(const Mem& m) {
  if (m.base == Reg::none && m.index == Reg::none) return fmt::format("ds:{:#x}", static_cast<u64>(s64{m.disp}));
  std::string text = "[";
  if (m.base != Reg::none) text += name(Width::w64, m.base);
  if (m.index != Reg::none) {
    if (m.base != Reg::none) text += "+";
    text += fmt::format("{}*{}", name(Width::w64, m.index), 1 << m.scale_log2);
  }
  const bool needs = m.base == Reg::none || (static_cast<u8>(m.base) & 7) == 5;
  if (m.disp != 0 || needs) text += signed_hex(m.disp);
  return text + "]";
}

std::string memory(Width w, const Mem& m) {
  const char* const size = w == Width::w8 ? "BYTE" : w == Width::w16 ? "WORD" : w == Width::w32 ? "DWORD" : "QWORD";
  return fmt::format("{} PTR {}", size, address(m));
}

/// An immediate as a disassembler prints it at that width.
std::string number(Width w, s64 v) {
  const u64 mask = w == Width::w64 ? ~u64{0} : (u64{1} << 8 * static_cast<u8>(w)) - 1;
  return fmt::format("{:#x}", static_cast<u64>(v) & mask);
}

std::vector<Mem> addresses() {
  std::vector<Mem> out;
  for (const s32 disp : {0, 8, -8, 127, 128, -128, -129, 0x12345678}) {
    for (const Reg base : regs) out.push_back(at(base, disp));
    for (const Reg base : kinds)
      for (const Reg index : {Reg::rax, Reg::rbp, Reg::r12, Reg::r15}) out.push_back(at(base, index, 2, disp));
    out.push_back(at(Reg::none, Reg::r9, 3, disp));
  }
  for (u8 scale = 0; scale < 4; scale++) out.push_back(at(Reg::rdx, Reg::r10, scale, 4));
  out.push_back(at(Reg::none, 0x1000));
  return out;
}

/// A few addresses, one of each shape, for the instructions whose operand coding is shared.
const std::vector<Mem> some_addresses = {at(Reg::rax),
                                         at(Reg::rsp, 8),
                                         at(Reg::rbp),
                                         at(Reg::r12, -0x1234),
                                         at(Reg::r13),
                                         at(Reg::rbx, Reg::rcx, 3, 0x40),
                                         at(Reg::r14, Reg::r15, 0)};

/// Says what it emits, and compares at the end.
class Listing {
 public:
  Assembler as{64};  // small: growing is part of the test

  void expect(std::string text) { expected_.push_back(std::move(text)); }

  void compare() {
    ASSERT_TRUE(as.finish());
    char path[] = "/tmp/skep-x86-XXXXXX";
    const int fd = ::mkstemp(path);
    ASSERT_GE(fd, 0);
    const auto code = as.code();
    ASSERT_EQ(::write(fd, code.data(), code.size()), static_cast<ssize_t>(code.size()));
    ::close(fd);
    std::vector<std::string> lines = disassembled(path);
    ::unlink(path);
    if (lines.empty()) GTEST_SKIP() << "left out: objdump (Debian package binutils) is not installed";
    ASSERT_EQ(lines.size(), expected_.size());
    for (std::size_t i = 0; i < lines.size(); i++) ASSERT_EQ(lines[i], expected_[i]) << "instruction " << i;
  }

 private:
  static std::vector<std::string> disassembled(const char* path) {
    const auto command = fmt::format(
        "objdump -D -b binary -m i386:x86-64 -M intel --no-show-raw-insn --insn-width=16 {} 2>/dev/null", path);
    std::vector<std::string> lines;
    FILE* const pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return lines;
    char buffer[512];
    while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) {
      const std::string_view line = buffer;
      const auto colon = line.find(":\t");
      if (colon == line.npos) continue;
      std::string text;
      for (const char c : line.substr(colon + 2)) {
        if (c == '#' || c == '\n') break;
        if (c == ' ' && (text.empty() || text.back() == ' ')) continue;
        text += c == '\t' ? ' ' : c;
      }
      while (!text.empty() && text.back() == ' ') text.pop_back();
      lines.push_back(std::move(text));
    }
    ::pclose(pipe);
    return lines;
  }

  std::vector<std::string> expected_;
};

TEST(X86, TwoOperandArithmetic) {
  static constexpr const char* names[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};
  Listing list;
  for (u8 op = 0; op < 8; op++) {
    const Alu alu = static_cast<Alu>(op);
    for (const Width w : widths) {
      for (const Reg dst : regs) {
        for (const Reg src : regs) {
          list.as.alu(alu, w, dst, src);
          list.expect(fmt::format("{} {},{}", names[op], name(w, dst), name(w, src)));
        }
        for (const s32 imm : immediates) {
          list.as.alu(alu, w, dst, imm);
          list.expect(fmt::format("{} {},{}", names[op], name(w, dst), number(w, imm)));
        }
      }
      for (const Mem& m : some_addresses) {
        for (const Reg r : kinds) {
          list.as.alu(alu, w, r, m);
          list.expect(fmt::format("{} {},{}", names[op], name(w, r), memory(w, m)));
          list.as.alu(alu, w, m, r);
          list.expect(fmt::format("{} {},{}", names[op], memory(w, m), name(w, r)));
        }
        for (const s32 imm : immediates) {
          list.as.alu(alu, w, m, imm);
          list.expect(fmt::format("{} {},{}", names[op], memory(w, m), number(w, imm)));
        }
      }
    }
  }
  list.compare();
}

TEST(X86, MovesAndAddresses) {
  Listing list;
  for (const Width w : widths) {
    for (const Reg a : regs) {
      for (const Reg b : regs) {
        list.as.mov(w, a, b);
        list.expect(fmt::format("mov {},{}", name(w, a), name(w, b)));
      }
      for (const Mem& m : addresses()) {
        list.as.mov(w, a, m);
        list.expect(fmt::format("mov {},{}", name(w, a), memory(w, m)));
        list.as.mov(w, m, a);
        list.expect(fmt::format("mov {},{}", memory(w, m), name(w, a)));
      }
    }
    for (const Mem& m : addresses())
      for (const s32 imm : immediates) {
        list.as.mov(w, m, imm);
        list.expect(fmt::format("mov {},{}", memory(w, m), number(w, imm)));
      }
  }
  for (const Width w : natural)
    for (const Reg a : kinds)
      for (const Mem& m : addresses()) {
        list.as.lea(w, a, m);
        list.expect(fmt::format("lea {},{}", name(w, a), address(m)));
      }
  list.compare();
}

TEST(X86, Constants) {
  Listing list;
  for (const Reg r : regs) {
    for (const u64 v : {u64{0}, u64{5}, u64{0x7fffffff}, u64{0x80000000}, u64{0xffffffff}}) {
      list.as.mov(r, v);
      list.expect(fmt::format("mov {},{:#x}", name(Width::w32, r), v));
    }
    for (const s64 v : {s64{-1}, s64{-129}, s64{-0x80000000ll}}) {
      list.as.mov(r, static_cast<u64>(v));
      list.expect(fmt::format("mov {},{:#x}", name(Width::w64, r), static_cast<u64>(v)));
    }
    for (const u64 v : {u64{0x100000000}, u64{0x123456789abcdef0}, ~u64{0x80000000}}) {
      list.as.mov(r, v);
      list.expect(fmt::format("movabs {},{:#x}", name(Width::w64, r), v));
    }
    list.as.mov_patchable(r, 7);
    list.expect(fmt::format("movabs {},0x7", name(Width::w64, r)));
    list.as.zero(r);
    list.expect(fmt::format("xor {0},{0}", name(Width::w32, r)));
  }
  list.compare();
}

TEST(X86, Extensions) {
  Listing list;
  for (const Reg dst : regs) {
    for (const Width from : {Width::w8, Width::w16}) {
      for (const Reg src : regs) {
        list.as.movzx(dst, from, src);
        list.expect(fmt::format("movzx {},{}", name(Width::w32, dst), name(from, src)));
        for (const Width to : natural) {
          list.as.movsx(to, dst, from, src);
          list.expect(fmt::format("movsx {},{}", name(to, dst), name(from, src)));
        }
      }
      for (const Mem& m : some_addresses) {
        list.as.movzx(dst, from, m);
        list.expect(fmt::format("movzx {},{}", name(Width::w32, dst), memory(from, m)));
        list.as.movsx(Width::w64, dst, from, m);
        list.expect(fmt::format("movsx {},{}", name(Width::w64, dst), memory(from, m)));
      }
    }
    for (const Reg src : regs) {
      list.as.movsx(Width::w64, dst, Width::w32, src);
      list.expect(fmt::format("movsxd {},{}", name(Width::w64, dst), name(Width::w32, src)));
    }
    for (const Mem& m : some_addresses) {
      list.as.movsx(Width::w64, dst, Width::w32, m);
      list.expect(fmt::format("movsxd {},{}", name(Width::w64, dst), memory(Width::w32, m)));
    }
  }
  list.compare();
}

TEST(X86, OneOperandAndMultiplication) {
  static constexpr std::pair<Unary, const char*> unaries[] = {{Unary::not_, "not"}, {Unary::neg, "neg"},
                                                              {Unary::mul, "mul"},  {Unary::imul, "imul"},
                                                              {Unary::div, "div"},  {Unary::idiv, "idiv"}};
  Listing list;
  for (const Width w : widths) {
    for (const auto& [op, text] : unaries) {
      for (const Reg r : regs) list.as.unary(op, w, r), list.expect(fmt::format("{} {}", text, name(w, r)));
      for (const Mem& m : some_addresses)
        list.as.unary(op, w, m), list.expect(fmt::format("{} {}", text, memory(w, m)));
    }
    for (const Reg r : regs) {
      list.as.inc(w, r), list.expect(fmt::format("inc {}", name(w, r)));
      list.as.dec(w, r), list.expect(fmt::format("dec {}", name(w, r)));
      for (const s32 imm : immediates)
        list.as.test(w, r, imm), list.expect(fmt::format("test {},{}", name(w, r), number(w, imm)));
    }
    for (const Mem& m : some_addresses) {
      list.as.inc(w, m), list.expect(fmt::format("inc {}", memory(w, m)));
      list.as.dec(w, m), list.expect(fmt::format("dec {}", memory(w, m)));
      for (const s32 imm : immediates)
        list.as.test(w, m, imm), list.expect(fmt::format("test {},{}", memory(w, m), number(w, imm)));
      for (const Reg r : regs) list.as.test(w, m, r), list.expect(fmt::format("test {},{}", memory(w, m), name(w, r)));
    }
  }
  for (const Width w : wide)
    for (const Reg dst : kinds) {
      for (const Reg src : kinds) {
        list.as.imul(w, dst, src), list.expect(fmt::format("imul {},{}", name(w, dst), name(w, src)));
        for (const s32 imm : immediates)
          list.as.imul(w, dst, src, imm),
              list.expect(fmt::format("imul {},{},{}", name(w, dst), name(w, src), number(w, imm)));
      }
      for (const Mem& m : some_addresses) {
        list.as.imul(w, dst, m), list.expect(fmt::format("imul {},{}", name(w, dst), memory(w, m)));
        for (const s32 imm : immediates)
          list.as.imul(w, dst, m, imm),
              list.expect(fmt::format("imul {},{},{}", name(w, dst), memory(w, m), number(w, imm)));
      }
    }
  list.compare();
}

TEST(X86, Shifts) {
  static constexpr std::pair<Shift, const char*> shifts[] = {
      {Shift::rol, "rol"}, {Shift::ror, "ror"}, {Shift::shl, "shl"}, {Shift::shr, "shr"}, {Shift::sar, "sar"}};
  const auto count_text = [](u8 count) { return count == 1 ? std::string("1") : fmt::format("{:#x}", count); };
  Listing list;
  for (const Width w : widths)
    for (const auto& [op, text] : shifts) {
      for (const Reg r : regs) {
        for (const u8 count : {0, 1, 2, 31, 63})
          list.as.shift(op, w, r, count), list.expect(fmt::format("{} {},{}", text, name(w, r), count_text(count)));
        list.as.shift_cl(op, w, r), list.expect(fmt::format("{} {},cl", text, name(w, r)));
      }
      for (const Mem& m : some_addresses) {
        for (const u8 count : {1, 7})
          list.as.shift(op, w, m, count), list.expect(fmt::format("{} {},{}", text, memory(w, m), count_text(count)));
        list.as.shift_cl(op, w, m), list.expect(fmt::format("{} {},cl", text, memory(w, m)));
      }
    }
  for (const Width w : natural)
    for (const Reg dst : kinds)
      for (const Reg src : kinds) {
        const auto pair = fmt::format("{},{}", name(w, dst), name(w, src));
        list.as.shld(w, dst, src, 5), list.expect(fmt::format("shld {},0x5", pair));
        list.as.shrd(w, dst, src, 5), list.expect(fmt::format("shrd {},0x5", pair));
        list.as.rorx(w, dst, src, 13), list.expect(fmt::format("rorx {},0xd", pair));
        for (const Reg third : kinds) {
          const auto triple = fmt::format("{},{}", pair, name(w, third));
          list.as.shlx(w, dst, src, third), list.expect("shlx " + triple);
          list.as.shrx(w, dst, src, third), list.expect("shrx " + triple);
          list.as.sarx(w, dst, src, third), list.expect("sarx " + triple);
          list.as.andn(w, dst, src, third), list.expect("andn " + triple);
          list.as.mulx(w, dst, src, third), list.expect("mulx " + triple);
        }
      }
  list.compare();
}

TEST(X86, BitsBytesAndConditions) {
  static constexpr const char* conditions[] = {"o", "no", "b", "ae", "e", "ne", "be", "a",
                                               "s", "ns", "p", "np", "l", "ge", "le", "g"};
  Listing list;
  for (const Width w : natural)
    for (const Reg r : regs) {
      list.as.bswap(w, r), list.expect(fmt::format("bswap {}", name(w, r)));
      list.as.bt(w, r, 9), list.expect(fmt::format("bt {},0x9", name(w, r)));
      for (const Reg s : regs) {
        const auto pair = fmt::format("{},{}", name(w, r), name(w, s));
        list.as.bt(w, r, s), list.expect("bt " + pair);
        list.as.popcnt(w, r, s), list.expect("popcnt " + pair);
        list.as.lzcnt(w, r, s), list.expect("lzcnt " + pair);
        list.as.tzcnt(w, r, s), list.expect("tzcnt " + pair);
        list.as.test(w, r, s), list.expect("test " + pair);
        if (w == Width::w64 && (r == Reg::rax || s == Reg::rax)) continue;  // printed in the accumulator's form
        if (w == Width::w64) list.as.xchg(w, r, s), list.expect("xchg " + pair);
      }
    }
  for (u8 c = 0; c < 16; c++)
    for (const Reg r : regs) {
      list.as.setcc(static_cast<Cond>(c), r);
      list.expect(fmt::format("set{} {}", conditions[c], name(Width::w8, r)));
      for (const Width w : wide) {
        list.as.cmov(static_cast<Cond>(c), w, r, Reg::r9);
        list.expect(fmt::format("cmov{} {},{}", conditions[c], name(w, r), name(w, Reg::r9)));
        list.as.cmov(static_cast<Cond>(c), w, r, at(Reg::rsp, 8));
        list.expect(fmt::format("cmov{} {},{}", conditions[c], name(w, r), memory(w, at(Reg::rsp, 8))));
      }
    }
  for (const Width w : wide)
    for (const Mem& m : some_addresses)
      for (const Reg r : regs) {
        list.as.movbe(w, r, m), list.expect(fmt::format("movbe {},{}", name(w, r), memory(w, m)));
        list.as.movbe(w, m, r), list.expect(fmt::format("movbe {},{}", memory(w, m), name(w, r)));
      }
  list.compare();
}

TEST(X86, Atomics) {
  Listing list;
  for (const Width w : widths)
    for (const Mem& m : some_addresses)
      for (const Reg r : regs) {
        const auto pair = fmt::format("{},{}", memory(w, m), name(w, r));
        list.as.lock(), list.as.cmpxchg(w, m, r), list.expect("lock cmpxchg " + pair);
        list.as.lock(), list.as.xadd(w, m, r), list.expect("lock xadd " + pair);
        list.as.lock(), list.as.alu(Alu::xor_, w, m, r), list.expect("lock xor " + pair);
        list.as.xchg(w, m, r), list.expect("xchg " + pair);
      }
  list.as.mfence(), list.expect("mfence");
  list.compare();
}

TEST(X86, StackControlAndVectors) {
  Listing list;
  for (const Reg r : regs) {
    list.as.push(r), list.expect("push " + name(Width::w64, r));
    list.as.pop(r), list.expect("pop " + name(Width::w64, r));
    list.as.jmp(r), list.expect("jmp " + name(Width::w64, r));
    list.as.call(r), list.expect("call " + name(Width::w64, r));
  }
  for (const Mem& m : some_addresses) {
    list.as.jmp(m), list.expect("jmp " + memory(Width::w64, m));
    list.as.call(m), list.expect("call " + memory(Width::w64, m));
    list.as.movups(m, Xmm::xmm3), list.expect(fmt::format("movups XMMWORD PTR {},xmm3", address(m)));
    list.as.movups(Xmm::xmm7, m), list.expect(fmt::format("movups xmm7,XMMWORD PTR {}", address(m)));
  }
  list.as.xorps(Xmm::xmm1, Xmm::xmm2), list.expect("xorps xmm1,xmm2");
  list.as.cqo(), list.expect("cqo");
  list.as.cdq(), list.expect("cdq");
  list.as.ret(), list.expect("ret");
  list.as.ud2(), list.expect("ud2");
  list.as.int3(), list.expect("int3");
  list.compare();
}

TEST(X86, JumpsReachTheirLabels) {
  Listing list;
  Assembler& as = list.as;
  const Label start = as.new_label(), end = as.new_label(), near = as.new_label();
  as.bind(start);  // 0
  as.jmp(end), list.expect("jmp 0x7e0");
  as.jcc(Cond::e, end), list.expect("je 0x7e0");
  as.call(end), list.expect("call 0x7e0");
  as.lea(Reg::r9, end);  // 0x10..0x16
  list.expect("lea r9,[rip+0x7c9]");
  as.jcc_short(Cond::l, near), list.expect("jl 0x1b");
  as.jmp_short(near), list.expect("jmp 0x1b");
  as.bind(near);
  as.jcc(Cond::ne, start), list.expect("jne 0x0");
  as.jmp(start), list.expect("jmp 0x0");
  as.call(start), list.expect("call 0x0");
  for (int i = 0; i < 1969; i++) as.ret(), list.expect("ret");
  as.jmp(start), list.expect("jmp 0x0");
  as.jcc(Cond::g, start), list.expect("jg 0x0");
  ASSERT_EQ(as.size(), 0x7e0u);
  as.bind(end);
  as.ret(), list.expect("ret");
  list.compare();
}

TEST(X86, UnboundLabelsAndLongShortJumpsAreNoticed) {
  Assembler as;
  const Label nowhere = as.new_label();
  as.jmp(nowhere);
  EXPECT_FALSE(as.finish());
  as.clear();
  const Label far = as.new_label();
  as.jmp_short(far);
  for (int i = 0; i < 200; i++) as.ret();
  as.bind(far);
  EXPECT_FALSE(as.finish());
}

}  // namespace
}  // namespace skep::vm::x86
