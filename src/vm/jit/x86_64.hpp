// An assembler for x86-64: each function appends one machine instruction, in its shortest encoding.
//
// Both JITs write through it. It knows bytes, not programs: operands are registers, memory [base + index*scale +
// disp] and immediates, widths are explicit, and nothing is allocated per instruction: one buffer grows by doubling,
// labels are one word each, and the places that wait for an unbound label are chained through the very bytes they
// will patch. A backward jump takes two bytes where it can; a forward one takes the long form unless the caller
// knows better (jcc_short), because in one pass the distance is not known yet.
// Instructions that not every CPU has (BMI2, MOVBE, POPCNT, LZCNT) are the caller's to ask for: cpu_features().
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2; AMD64 manual, volume 3.
#pragma once
#include <skep/types.hpp>

#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace skep::vm::x86 {

enum class Reg : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, none = 0xff };
enum class Xmm : u8 { xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7 };
/// Operand width, in bytes.
enum class Width : u8 { w8 = 1, w16 = 2, w32 = 4, w64 = 8 };
/// In the order of the encoding: `Condition ^ 1` is the opposite.
enum class Cond : u8 { o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g };
constexpr Cond inverse(Cond c) { return static_cast<Cond>(static_cast<u8>(c) ^ 1); }

/// Two-operand arithmetic of the 00-3f block, in the order of the encoding.
enum class Alu : u8 { add, or_, adc, sbb, and_, sub, xor_, cmp };
enum class Shift : u8 { rol = 0, ror = 1, shl = 4, shr = 5, sar = 7 };
/// One-operand arithmetic. mul, imul: rdx:rax = rax * operand; div, idiv: rax, rdx = rdx:rax / operand, remainder.
enum class Unary : u8 { not_ = 2, neg = 3, mul = 4, imul = 5, div = 6, idiv = 7 };

/// A memory operand. `index` may not be rsp. Without base and index `disp` is an absolute 32-bit address.
struct Mem {
  Reg base = Reg::none;
  Reg index = Reg::none;
  u8 scale_log2 = 0;  ///< 0..3: index times 1, 2, 4, 8
  s32 disp = 0;
};
constexpr Mem at(Reg base, s32 disp = 0) { return {base, Reg::none, 0, disp}; }
constexpr Mem at(Reg base, Reg index, u8 scale_log2, s32 disp = 0) { return {base, index, scale_log2, disp}; }

/// A place in the code; made by new_label(), placed once by bind().
using Label = u32;

struct CpuFeatures {
  bool bmi1 = false, bmi2 = false, movbe = false, popcnt = false, lzcnt = false;
};
/// What this machine has. Asked once.
const CpuFeatures& cpu_features() noexcept;

constexpr bool fits_s8(s64 v) { return v == static_cast<s8>(v); }
constexpr bool fits_s32(s64 v) { return v == static_cast<s32>(v); }

class Assembler {
 public:
  explicit Assembler(std::size_t capacity_bytes = 4096);
  Assembler(const Assembler&) = delete;
  Assembler& operator=(const Assembler&) = delete;

  /// Forgets everything written and every label, keeps the memory.
  void clear() noexcept;
  std::size_t size() const noexcept { return static_cast<std::size_t>(p_ - begin_.get()); }
  /// The bytes so far; position-independent but for immediates. Valid until the next instruction.
  std::span<const u8> code() const noexcept { return {begin_.get(), size()}; }
  /// Appends the jump tables and resolves them. Returns false when some label that is used was never bound.
  [[nodiscard]] bool finish();

  // --- labels ---
  Label new_label() {
    labels_.push_back(0);
    return static_cast<Label>(labels_.size() - 1);
  }
  /// Makes labels 0..count-1 at once (after clear()): for callers whose labels are instruction numbers.
  void reserve_labels(std::size_t count) { labels_.assign(count, 0); }
  void bind(Label label);
  bool is_bound(Label label) const { return (labels_[label] & bound) != 0; }
  /// Offset of a bound label from the start of the code.
  u32 offset_of(Label label) const { return labels_[label] & ~bound; }
  void align(u32 power_of_two);

  // --- moves ---
  void mov(Width w, Reg dst, Reg src) { rr(w, w == Width::w8 ? 0x88 : 0x89, src, dst); }
  void mov(Width w, Reg dst, const Mem& src) { rm(w, w == Width::w8 ? 0x8a : 0x8b, dst, src); }
  void mov(Width w, const Mem& dst, Reg src) { rm(w, w == Width::w8 ? 0x88 : 0x89, src, dst); }
  /// w64: the immediate is sign-extended from 32 bits.
  void mov(Width w, const Mem& dst, s32 imm) {
    rm(w, w == Width::w8 ? 0xc6 : 0xc7, Reg::rax, dst, imm_bytes(w));
    put_imm(w, imm);
  }
  /// The whole register becomes `value`, in 5, 6, 7 or 10 bytes; flags stay.
  void mov(Reg dst, u64 value) {
    room();
    const u8 low = low3(dst);
    if (value <= 0xffffffffu) {
      if (high(dst)) put8(0x41);
      put8(static_cast<u8>(0xb8 | low));
      put32(static_cast<u32>(value));
    } else if (fits_s32(static_cast<s64>(value))) {
      put8(static_cast<u8>(0x48 | high(dst)));
      put8(0xc7);
      put8(static_cast<u8>(0xc0 | low));
      put32(static_cast<u32>(value));
    } else {
      put8(static_cast<u8>(0x48 | high(dst)));
      put8(static_cast<u8>(0xb8 | low));
      put64(value);
    }
  }
  /// The ten-byte form whatever the value, for patching; returns the offset of its eight bytes.
  u32 mov_patchable(Reg dst, u64 value) {
    room();
    put8(static_cast<u8>(0x48 | high(dst)));
    put8(static_cast<u8>(0xb8 | low3(dst)));
    put64(value);
    return static_cast<u32>(size() - 8);
  }
  /// dst = 0, clobbering flags.
  void zero(Reg dst) { alu(Alu::xor_, Width::w32, dst, dst); }
  /// `from` is w8 or w16; extends to 32 bits, which clears the upper half.
  void movzx(Reg dst, Width from, Reg src) { rr_from(Width::w32, from == Width::w8 ? 0x0fb6 : 0x0fb7, dst, src, from); }
  void movzx(Reg dst, Width from, const Mem& src) { rm(Width::w32, from == Width::w8 ? 0x0fb6 : 0x0fb7, dst, src); }
  /// `to` is w32 or w64; `from` is w8, w16 or (to w64) w32.
  void movsx(Width to, Reg dst, Width from, Reg src) { rr_from(to, movsx_code(from), dst, src, from); }
  void movsx(Width to, Reg dst, Width from, const Mem& src) { rm(to, movsx_code(from), dst, src); }
  void lea(Width w, Reg dst, const Mem& src) { rm(w, 0x8d, dst, src); }
  /// dst = address of the label.
  void lea(Reg dst, Label label);
  void xchg(Width w, Reg a, Reg b) { rr(w, w == Width::w8 ? 0x86 : 0x87, b, a); }
  /// Always locked.
  void xchg(Width w, const Mem& m, Reg r) { rm(w, w == Width::w8 ? 0x86 : 0x87, r, m); }
  void bswap(Width w, Reg r) {  // w32 or w64
    room();
    rex_if_needed(w == Width::w64, false, false, high(r) != 0, false);
    put8(0x0f);
    put8(static_cast<u8>(0xc8 | low3(r)));
  }
  /// Needs cpu_features().movbe; w16, w32 or w64.
  void movbe(Width w, Reg dst, const Mem& src) { rm(w, 0x0f38f0, dst, src); }
  void movbe(Width w, const Mem& dst, Reg src) { rm(w, 0x0f38f1, src, dst); }
  void push(Reg r) {
    room();
    if (high(r)) put8(0x41);
    put8(static_cast<u8>(0x50 | low3(r)));
  }
  void pop(Reg r) {
    room();
    if (high(r)) put8(0x41);
    put8(static_cast<u8>(0x58 | low3(r)));
  }

  // --- arithmetic ---
  void alu(Alu op, Width w, Reg dst, Reg src) { rr(w, alu_code(op, w, 0x00), src, dst); }
  void alu(Alu op, Width w, Reg dst, const Mem& src) { rm(w, alu_code(op, w, 0x02), dst, src); }
  void alu(Alu op, Width w, const Mem& dst, Reg src) { rm(w, alu_code(op, w, 0x00), src, dst); }
  void alu(Alu op, Width w, Reg dst, s32 imm);
  void alu(Alu op, Width w, const Mem& dst, s32 imm);
  void cmp(Width w, Reg a, Reg b) { alu(Alu::cmp, w, a, b); }
  void cmp(Width w, Reg a, s32 imm) { alu(Alu::cmp, w, a, imm); }
  void cmp(Width w, Reg a, const Mem& b) { alu(Alu::cmp, w, a, b); }
  void cmp(Width w, const Mem& a, Reg b) { alu(Alu::cmp, w, a, b); }
  void cmp(Width w, const Mem& a, s32 imm) { alu(Alu::cmp, w, a, imm); }
  void test(Width w, Reg a, Reg b) { rr(w, w == Width::w8 ? 0x84 : 0x85, b, a); }
  void test(Width w, const Mem& a, Reg b) { rm(w, w == Width::w8 ? 0x84 : 0x85, b, a); }
  void test(Width w, Reg a, s32 imm) {
    if (a == Reg::rax) {
      room();
      rex_if_needed(w == Width::w64, false, false, false, false, w == Width::w16);
      put8(w == Width::w8 ? 0xa8 : 0xa9);
    } else {
      digit_r(w, w == Width::w8 ? 0xf6 : 0xf7, 0, a);
    }
    put_imm(w, imm);
  }
  void test(Width w, const Mem& a, s32 imm) {
    rm(w, w == Width::w8 ? 0xf6 : 0xf7, Reg::rax, a, imm_bytes(w));
    put_imm(w, imm);
  }
  void unary(Unary op, Width w, Reg r) { digit_r(w, w == Width::w8 ? 0xf6 : 0xf7, static_cast<u8>(op), r); }
  void unary(Unary op, Width w, const Mem& m) { rm(w, w == Width::w8 ? 0xf6 : 0xf7, static_cast<Reg>(op), m); }
  void inc(Width w, Reg r) { digit_r(w, w == Width::w8 ? 0xfe : 0xff, 0, r); }
  void dec(Width w, Reg r) { digit_r(w, w == Width::w8 ? 0xfe : 0xff, 1, r); }
  void inc(Width w, const Mem& m) { rm(w, w == Width::w8 ? 0xfe : 0xff, Reg::rax, m); }
  void dec(Width w, const Mem& m) { rm(w, w == Width::w8 ? 0xfe : 0xff, Reg::rcx, m); }
  /// dst *= src. w16, w32 or w64.
  void imul(Width w, Reg dst, Reg src) { rr(w, 0x0faf, dst, src); }
  void imul(Width w, Reg dst, const Mem& src) { rm(w, 0x0faf, dst, src); }
  /// dst = src * imm.
  void imul(Width w, Reg dst, Reg src, s32 imm);
  void imul(Width w, Reg dst, const Mem& src, s32 imm);
  /// Sign of rax into rdx (eax into edx).
  void cqo() { raw({0x48, 0x99}); }
  void cdq() { raw({0x99}); }
  void shift(Shift op, Width w, Reg r, u8 count);
  void shift(Shift op, Width w, const Mem& m, u8 count);
  /// By cl.
  void shift_cl(Shift op, Width w, Reg r) { digit_r(w, w == Width::w8 ? 0xd2 : 0xd3, static_cast<u8>(op), r); }
  void shift_cl(Shift op, Width w, const Mem& m) { rm(w, w == Width::w8 ? 0xd2 : 0xd3, static_cast<Reg>(op), m); }
  /// dst:src double shifts by a constant.
  void shld(Width w, Reg dst, Reg src, u8 count) { rr(w, 0x0fa4, src, dst), put8(count); }
  void shrd(Width w, Reg dst, Reg src, u8 count) { rr(w, 0x0fac, src, dst), put8(count); }
  /// Bit `index` of r into the carry flag.
  void bt(Width w, Reg r, Reg index) { rr(w, 0x0fa3, index, r); }
  void bt(Width w, Reg r, u8 index) { digit_r(w, 0x0fba, 4, r), put8(index); }
  /// BMI2: dst = src shifted by the low bits of count; flags stay. w32 or w64.
  void shlx(Width w, Reg dst, Reg src, Reg count) { vex(w, 1, 2, 0xf7, dst, count, src); }
  void shrx(Width w, Reg dst, Reg src, Reg count) { vex(w, 3, 2, 0xf7, dst, count, src); }
  void sarx(Width w, Reg dst, Reg src, Reg count) { vex(w, 2, 2, 0xf7, dst, count, src); }
  void rorx(Width w, Reg dst, Reg src, u8 count) { vex(w, 3, 3, 0xf0, dst, Reg::rax, src), put8(count); }
  /// BMI2: dst_high:dst_low = rdx * src; flags stay.
  void mulx(Width w, Reg dst_high, Reg dst_low, Reg src) { vex(w, 3, 2, 0xf6, dst_high, dst_low, src); }
  /// BMI1: dst = ~a & b.
  void andn(Width w, Reg dst, Reg a, Reg b) { vex(w, 0, 2, 0xf2, dst, a, b); }
  void popcnt(Width w, Reg dst, Reg src) { rr(w, 0x0fb8, dst, src, 0xf3); }
  void lzcnt(Width w, Reg dst, Reg src) { rr(w, 0x0fbd, dst, src, 0xf3); }
  void tzcnt(Width w, Reg dst, Reg src) { rr(w, 0x0fbc, dst, src, 0xf3); }
  void setcc(Cond c, Reg r) { digit_r(Width::w8, 0x0f90u | static_cast<u8>(c), 0, r); }
  void cmov(Cond c, Width w, Reg dst, Reg src) { rr(w, 0x0f40u | static_cast<u8>(c), dst, src); }
  void cmov(Cond c, Width w, Reg dst, const Mem& src) { rm(w, 0x0f40u | static_cast<u8>(c), dst, src); }

  // --- atomics: the prefix for alu, unary, inc, dec, xadd, cmpxchg on memory ---
  void lock() { raw({0xf0}); }
  /// [m] == rax ? [m] = r : rax = [m].
  void cmpxchg(Width w, const Mem& m, Reg r) { rm(w, w == Width::w8 ? 0x0fb0 : 0x0fb1, r, m); }
  void xadd(Width w, const Mem& m, Reg r) { rm(w, w == Width::w8 ? 0x0fc0 : 0x0fc1, r, m); }
  void mfence() { raw({0x0f, 0xae, 0xf0}); }

  // --- 16 bytes at a time ---
  void xorps(Xmm dst, Xmm src) { rr(Width::w32, 0x0f57, static_cast<Reg>(dst), static_cast<Reg>(src)); }
  void movups(Xmm dst, const Mem& src) { rm(Width::w32, 0x0f10, static_cast<Reg>(dst), src); }
  void movups(const Mem& dst, Xmm src) { rm(Width::w32, 0x0f11, static_cast<Reg>(src), dst); }

  // --- control ---
  void jmp(Label label);
  void jcc(Cond c, Label label);
  /// To a label at most 127 bytes away (finish() checks).
  void jmp_short(Label label) { short_jump(0xeb, label); }
  void jcc_short(Cond c, Label label) { short_jump(static_cast<u8>(0x70 | static_cast<u8>(c)), label); }
  void call(Label label);
  void jmp(Reg r) { digit_r(Width::w32, 0xff, 4, r); }
  void jmp(const Mem& m) { rm(Width::w32, 0xff, static_cast<Reg>(4), m); }
  void call(Reg r) { digit_r(Width::w32, 0xff, 2, r); }
  void call(const Mem& m) { rm(Width::w32, 0xff, static_cast<Reg>(2), m); }
  void ret() { raw({0xc3}); }
  void ud2() { raw({0x0f, 0x0b}); }
  void int3() { raw({0xcc}); }
  /// Jumps to labels[index], which must be in range; clobbers `index` (its upper half must be 0) and `scratch`.
  void jump_table(Reg index, Reg scratch, std::span<const Label> labels);

  void raw(std::initializer_list<u8> bytes) {
    room();
    for (const u8 b : bytes) put8(b);
  }

 private:
  static constexpr u32 bound = 1u << 31;
  static constexpr std::size_t longest_insn = 32;  // 15 by the manual; a jump table's sequence is several

  struct Table {
    Label start;
    std::vector<Label> labels;
  };
  struct ShortFixup {
    u32 at;
    Label label;
  };

  static constexpr u8 low3(Reg r) { return static_cast<u8>(r) & 7; }
  static constexpr u8 high(Reg r) { return static_cast<u8>(r) >> 3 & 1; }
  static constexpr u32 alu_code(Alu op, Width w, u32 form) {
    return static_cast<u32>(op) << 3 | form | (w == Width::w8 ? 0u : 1u);
  }
  static constexpr u32 movsx_code(Width from) {
    return from == Width::w8 ? 0x0fbe : from == Width::w16 ? 0x0fbf : 0x63;
  }
  static constexpr u8 imm_bytes(Width w) { return w == Width::w8 ? 1 : w == Width::w16 ? 2 : 4; }

  void room() {
    if (static_cast<std::size_t>(end_ - p_) < longest_insn) [[unlikely]]
      grow();
  }
  void grow();
  void put8(u8 v) { *p_++ = v; }
  void put32(u32 v) { std::memcpy(p_, &v, 4), p_ += 4; }
  void put64(u64 v) { std::memcpy(p_, &v, 8), p_ += 8; }
  void put_imm(Width w, s32 imm) {
    std::memcpy(p_, &imm, 4);  // little-endian: the low bytes come first
    p_ += imm_bytes(w);
  }
  void rex_if_needed(bool w, bool r, bool x, bool b, bool force, bool operand16 = false) {
    if (operand16) put8(0x66);
    const u8 rex = static_cast<u8>(0x40 | w << 3 | r << 2 | x << 1 | static_cast<u8>(b));
    if (rex != 0x40 || force) put8(rex);
  }
  /// One, two (0fxx) or three (0f38xx) bytes.
  void opcode(u32 code) {
    if (code > 0xffff) put8(static_cast<u8>(code >> 16));
    if (code > 0xff) put8(static_cast<u8>(code >> 8));
    put8(static_cast<u8>(code));
  }
  /// spl, bpl, sil, dil exist only under a REX prefix.
  static constexpr bool byte_needs_rex(Width w, Reg r) { return w == Width::w8 && static_cast<u8>(r) >= 4; }

  /// `reg` in the reg field, `r` in the r/m field.
  void rr(Width w, u32 code, Reg reg, Reg r, u8 prefix = 0) {
    room();
    if (prefix) put8(prefix);
    rex_if_needed(w == Width::w64, high(reg), false, high(r), byte_needs_rex(w, reg) || byte_needs_rex(w, r),
                  w == Width::w16);
    opcode(code);
    put8(static_cast<u8>(0xc0 | low3(reg) << 3 | low3(r)));
  }
  /// The r/m register has width `from`, the other `to`.
  void rr_from(Width to, u32 code, Reg reg, Reg r, Width from) {
    room();
    rex_if_needed(to == Width::w64, high(reg), false, high(r), byte_needs_rex(from, r));
    opcode(code);
    put8(static_cast<u8>(0xc0 | low3(reg) << 3 | low3(r)));
  }
  /// An opcode extension in the reg field.
  void digit_r(Width w, u32 code, u8 digit, Reg r) {
    room();
    rex_if_needed(w == Width::w64, false, false, high(r), byte_needs_rex(w, r), w == Width::w16);
    opcode(code);
    put8(static_cast<u8>(0xc0 | digit << 3 | low3(r)));
  }
  /// A register (or, with w8 and an opcode extension, just a number below 4) and memory.
  void rm(Width w, u32 code, Reg reg, const Mem& m, u8 /*immediate bytes that follow*/ = 0) {
    room();
    const bool has_index = m.index != Reg::none, has_base = m.base != Reg::none;
    const bool byte_register = (code == 0x88 || code == 0x8a || code == 0x86 || code == 0x84 || code == 0x0fb0 ||
                                code == 0x0fc0 || (code < 0x40 && (code & 1) == 0)) &&
                               static_cast<u8>(reg) >= 4;
    rex_if_needed(w == Width::w64, high(reg), has_index && high(m.index), has_base && high(m.base),
                  w == Width::w8 && byte_register, w == Width::w16);
    opcode(code);
    const u8 field = static_cast<u8>(low3(reg) << 3);
    if (!has_base) {  // [disp32] and [index*scale + disp32] both take a SIB byte without a base
      put8(field | 0x04);
      put8(static_cast<u8>(m.scale_log2 << 6 | (has_index ? low3(m.index) : 4) << 3 | 5));
      return put32(static_cast<u32>(m.disp));
    }
    const bool sib = has_index || low3(m.base) == 4;
    const u8 mode = m.disp == 0 && low3(m.base) != 5 ? 0x00 : fits_s8(m.disp) ? 0x40 : 0x80;
    put8(static_cast<u8>(mode | field | (sib ? 4 : low3(m.base))));
    if (sib) put8(static_cast<u8>(m.scale_log2 << 6 | (has_index ? low3(m.index) : 4) << 3 | low3(m.base)));
    if (mode == 0x40) put8(static_cast<u8>(m.disp));
    if (mode == 0x80) put32(static_cast<u32>(m.disp));
  }
  /// pp: 0 none, 1 66, 2 f3, 3 f2; map: 2 0f38, 3 0f3a.
  void vex(Width w, u8 pp, u8 map, u8 code, Reg reg, Reg v, Reg r) {
    room();
    put8(0xc4);
    put8(static_cast<u8>((high(reg) ^ 1) << 7 | 0x40 | (high(r) ^ 1) << 5 | map));
    put8(static_cast<u8>((w == Width::w64) << 7 | (~static_cast<u8>(v) & 15) << 3 | pp));
    put8(code);
    put8(static_cast<u8>(0xc0 | low3(reg) << 3 | low3(r)));
  }
  void near_reference(Label label);
  void short_jump(u8 code, Label label);

  std::unique_ptr<u8[]> begin_;
  u8* p_;
  u8* end_;
  /// Bound: its offset with the top bit. Else the offset behind the last 4-byte place that waits for it, or 0.
  std::vector<u32> labels_;
  std::vector<ShortFixup> shorts_;
  std::vector<Table> tables_;
};

}  // namespace skep::vm::x86
