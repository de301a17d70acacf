// An assembler for AArch64: each function appends one machine instruction, except mov() of a constant, which takes
// one to four.
//
// It knows words, not programs. Jumps to labels are patched when a function is complete (settle), because only then
// their distances are known; those whose field is too narrow are counted, so that the caller can write the function
// again with wider ones. What an immediate field can hold is asked with fits_*() and the encoders of bit masks.
// Instructions that not every CPU has (the single-instruction atomics of Armv8.1) are the caller's to ask for:
// cpu_features().
// Source: Arm Architecture Reference Manual for A-profile architecture (DDI 0487), chapters C4 and C6.
#pragma once
#include <skep/types.hpp>

#include <optional>
#include <span>
#include <vector>

namespace skep::vm::arm64 {

/// Number 31 is the zero register or the stack pointer, as the instruction says.
enum class Reg : u8 {
  x0,
  x1,
  x2,
  x3,
  x4,
  x5,
  x6,
  x7,
  x8,
  x9,
  x10,
  x11,
  x12,
  x13,
  x14,
  x15,
  x16,
  x17,
  x18,
  x19,
  x20,
  x21,
  x22,
  x23,
  x24,
  x25,
  x26,
  x27,
  x28,
  x29,
  x30,
  zr,
  sp = 31,
};
/// Of an operation; the value is the instruction's sf bit.
enum class Width : u8 { w32, w64 };
/// Of a memory access; the value is the instruction's size field, the logarithm of the bytes.
enum class Size : u8 { b8, b16, b32, b64 };
/// In the order of the encoding: `Condition ^ 1` is the opposite.
enum class Cond : u8 { eq, ne, hs, lo, mi, pl, vs, vc, hi, ls, ge, lt, gt, le };
constexpr Cond inverse(Cond c) { return static_cast<Cond>(static_cast<u8>(c) ^ 1); }

/// Addition and subtraction, then logic. bic, orn, eon: with the second operand inverted. An s at the end sets flags.
enum class Alu : u8 { add, adds, sub, subs, and_, bic, orr, orn, eor, eon, ands, bics };
constexpr bool is_sum(Alu op) { return op <= Alu::subs; }
/// How the second operand is changed before it is used. The first four shift, the others extend its low part.
enum class Modifier : u8 { lsl, lsr, asr, ror, uxtb, uxth, uxtw, uxtx, sxtb, sxth, sxtw, sxtx };
enum class Shift : u8 { lsl, lsr, asr, ror };
/// What becomes of the second operand when the condition does not hold: itself, + 1, inverted, negated.
enum class Else : u8 { same, increment, invert, negate };
/// Read-modify-write in one instruction: memory + a, memory & ~a, memory ^ a, memory | a, a.
enum class Rmw : u8 { add, clear, eor, set, swap };

/// Memory: [base, disp] or [base, index shifted]. `index_by`: lsl, uxtw or sxtw, by 0 or the size's logarithm.
struct Mem {
  Reg base = Reg::sp;
  s64 disp = 0;
  Reg index = Reg::zr;  ///< zr: none
  Modifier index_by = Modifier::lsl;
  bool scaled = false;
};
constexpr Mem at(Reg base, s64 disp = 0) { return {base, disp}; }

/// A place in the code; made by new_label(), placed once by bind().
using Label = u32;

struct CpuFeatures {
  bool lse = false;  ///< FEAT_LSE: atomics of one instruction
};
/// What this machine has (nothing, on other machines than AArch64). Asked once.
const CpuFeatures& cpu_features() noexcept;

// --- what fits ---

/// The instruction's fields (N, immr, imms) for a bit mask: a run of ones, rotated and repeated.
constexpr std::optional<u32> mask_fields(u64 value, Width w) {
  if (w == Width::w32) value = (value & 0xffffffffu) | value << 32;
  if (value == 0 || value == ~u64{0}) return std::nullopt;
  u32 size = 64;  // of the smallest part that is repeated
  while (size > 2) {
    const u32 half = size / 2;
    const u64 mask = (u64{1} << half) - 1;
    if ((value & mask) != (value >> half & mask)) break;
    size = half;
  }
  const u64 whole = size == 64 ? ~u64{0} : (u64{1} << size) - 1;
  const u64 part = value & whole;
  const u32 ones = static_cast<u32>(__builtin_popcountll(part));
  const u32 low_ones = static_cast<u32>(__builtin_ctzll(~part));
  const u32 rotation = (part & 1) == 0 ? size - static_cast<u32>(__builtin_ctzll(part)) : ones - low_ones;
  const u64 run = (u64{1} << ones) - 1;
  const u64 rotated = rotation == 0 ? run : (run >> rotation | run << (size - rotation)) & whole;
  if (rotated != part) return std::nullopt;
  return (size == 64 ? 1u << 12 : 0u) | rotation << 6 | ((0x3f & ~(2 * size - 1)) | (ones - 1));
}
/// An addend or subtrahend: 12 bits, or 12 bits shifted by 12.
constexpr bool fits_sum(u64 v) { return v <= 0xfff || (v <= 0xfff000 && (v & 0xfff) == 0); }
constexpr bool fits_scaled(s64 disp, Size size) {
  const u32 log = static_cast<u32>(size);
  return disp >= 0 && disp <= s64{0xfff} << log && (disp & ((s64{1} << log) - 1)) == 0;
}
constexpr bool fits_unscaled(s64 disp) { return disp >= -256 && disp <= 255; }
constexpr bool fits_disp(s64 disp, Size size) { return fits_scaled(disp, size) || fits_unscaled(disp); }
constexpr bool fits_pair(s64 disp) { return disp >= -512 && disp <= 504 && disp % 8 == 0; }
/// How many instructions mov() takes for it.
u32 mov_length(u64 value);

class Assembler {
 public:
  u32 size() const noexcept { return static_cast<u32>(words_.size() * 4); }
  std::span<const u32> words() const noexcept { return words_; }

  // --- labels ---
  Label new_label() {
    labels_.push_back(unbound);
    return static_cast<Label>(labels_.size() - 1);
  }
  void bind(Label label) { labels_[label] = here(); }
  bool is_bound(Label label) const { return labels_[label] != unbound; }
  /// Offset of a bound label from the start of the code, in bytes.
  u32 offset_of(Label label) const { return labels_[label] * 4; }
  void align(u32 power_of_two);

  /// A point to go back to: everything written, every label made and every jump noted since is forgotten.
  struct Mark {
    std::size_t words, labels, patches;
  };
  Mark mark() const { return {words_.size(), labels_.size(), patches_.size()}; }
  void rewind(const Mark& m);
  /// The widest jump that was too far for its field.
  enum class Reach : u8 { all, tests_too_far, branches_too_far, jumps_too_far };
  /// Fills in the jumps since `m` whose labels are bound; the others wait for the next settle.
  Reach settle(const Mark& m);
  /// Fills in the rest. False when a label was never bound or a jump is too far.
  [[nodiscard]] bool finish();

  // --- constants ---
  void mov(Reg d, u64 value);
  void movz(Width w, Reg d, u16 imm, u32 half) { put(0x52800000 | sf(w) | half << 21 | u32{imm} << 5 | n(d)); }
  void movn(Width w, Reg d, u16 imm, u32 half) { put(0x12800000 | sf(w) | half << 21 | u32{imm} << 5 | n(d)); }
  void movk(Width w, Reg d, u16 imm, u32 half) { put(0x72800000 | sf(w) | half << 21 | u32{imm} << 5 | n(d)); }
  /// d = address of the label.
  void adr(Reg d, Label label) {
    note(label, Kind::adr);
    put(0x10000000 | n(d));
  }

  // --- arithmetic ---
  void mov(Width w, Reg d, Reg a) { alu(Alu::orr, w, d, Reg::zr, a); }
  void alu(Alu op, Width w, Reg d, Reg a, Reg b, Modifier by = Modifier::lsl, u32 amount = 0);
  /// Sums: fits_sum(imm); `d` and `a` may be sp (d of adds and subs: zr instead).
  void sum_imm(Alu op, Width w, Reg d, Reg a, u32 imm) {
    const u32 shifted = imm > 0xfff ? 1u << 22 | imm >> 12 << 10 : imm << 10;
    put(0x11000000 | sf(w) | sum_bits(op) | shifted | n(a) << 5 | n(d));
  }
  /// and_, orr, eor, ands with a mask; `d` may be sp but for ands. `fields`: of mask_fields().
  void logic_imm(Alu op, Width w, Reg d, Reg a, u32 fields) {
    put(0x12000000 | sf(w) | logic_bits(op) | fields << 10 | n(a) << 5 | n(d));
  }
  void shift(Shift op, Width w, Reg d, Reg a, Reg count) {
    put(0x1ac02000 | sf(w) | static_cast<u32>(op) << 10 | n(count) << 16 | n(a) << 5 | n(d));
  }
  /// Immediate shifts are the bitfield moves below and extr.
  void shift_imm(Shift op, Width w, Reg d, Reg a, u32 count);
  /// Bits [low, low + length) of a, at bit 0, extended.
  void extract(bool sign, Width w, Reg d, Reg a, u32 low, u32 length) {
    bitfield(sign, w, d, a, low, low + length - 1);
  }
  /// The low `length` bits of a, at bit `low`, extended; zeros below.
  void insert(bool sign, Width w, Reg d, Reg a, u32 low, u32 length) {
    const u32 bits = w == Width::w64 ? 64 : 32;
    bitfield(sign, w, d, a, (bits - low) % bits, length - 1);
  }
  /// The low word of high:low shifted right by `count`.
  void extr(Width w, Reg d, Reg high, Reg low, u32 count) {
    put(0x13800000 | sf(w) | n_bit(w) | n(low) << 16 | count << 10 | n(high) << 5 | n(d));
  }
  /// d = add + a * b, or add - a * b.
  void madd(Width w, Reg d, Reg a, Reg b, Reg add) { three(0x1b000000 | sf(w), d, a, b, add); }
  void msub(Width w, Reg d, Reg a, Reg b, Reg from) { three(0x1b008000 | sf(w), d, a, b, from); }
  /// 64 bits of the product of two 32-bit numbers.
  void mull(bool sign, Reg d, Reg a, Reg b) { three(sign ? 0x9b200000 : 0x9ba00000, d, a, b, Reg::zr); }
  /// The upper half of the 128-bit product.
  void mulh(bool sign, Reg d, Reg a, Reg b) { three(sign ? 0x9b400000 : 0x9bc00000, d, a, b, Reg::zr); }
  /// By zero: 0.
  void div(bool sign, Width w, Reg d, Reg a, Reg b) {
    put(0x1ac00800 | sf(w) | (sign ? 1u << 10 : 0) | n(b) << 16 | n(a) << 5 | n(d));
  }
  /// All bytes of the width reversed.
  void rev(Width w, Reg d, Reg a) { put((w == Width::w64 ? 0xdac00c00 : 0x5ac00800) | n(a) << 5 | n(d)); }
  /// How many bits above the highest set one are clear.
  void clz(Width w, Reg d, Reg a) { put(0x5ac01000 | sf(w) | n(a) << 5 | n(d)); }
  /// How many bits are set: four instructions, by vector register 31.
  void popcount(Width w, Reg d, Reg a) {
    put((w == Width::w64 ? 0x9e67001f : 0x1e27001f) | n(a) << 5);  // fmov d31, a
    put(0x0e205bff);                                               // cnt v31.8b, v31.8b
    put(0x0e31bbff);                                               // addv b31, v31.8b
    put(0x1e2603e0 | n(d));                                        // fmov d, s31
  }
  /// The bytes of each 16-bit part reversed.
  void rev16(Width w, Reg d, Reg a) { put(0x5ac00400 | sf(w) | n(a) << 5 | n(d)); }
  void select(Else otherwise, Width w, Reg d, Reg a, Reg b, Cond c) {
    const u32 kind = static_cast<u32>(otherwise);
    put(0x1a800000 | sf(w) | (kind & 2) << 29 | (kind & 1) << 10 | n(b) << 16 | cond(c) << 12 | n(a) << 5 | n(d));
  }

  // --- memory ---
  /// `sign`: extended to 64 bits with the sign. The displacement must fit: fits_disp.
  void load(Size s, bool sign, Reg d, const Mem& m) { access(s, sign && s != Size::b64 ? 2 : 1, d, m); }
  void store(Size s, Reg a, const Mem& m) { access(s, 0, a, m); }
  /// Two registers of 64 bits; fits_pair(disp).
  void load_pair(Reg a, Reg b, Reg base, s32 disp) { pair(0xa9400000, a, b, base, disp); }
  void store_pair(Reg a, Reg b, Reg base, s32 disp) { pair(0xa9000000, a, b, base, disp); }
  /// base -= -disp, then stored there; and the way back.
  void push_pair(Reg a, Reg b, Reg base, s32 disp) { pair(0xa9800000, a, b, base, disp); }
  void pop_pair(Reg a, Reg b, Reg base, s32 disp) { pair(0xa8c00000, a, b, base, disp); }
  void load_acquire(Size s, Reg d, Reg base) { put(0x08dffc00 | size_bits(s) | n(base) << 5 | n(d)); }
  void store_release(Size s, Reg a, Reg base) { put(0x089ffc00 | size_bits(s) | n(base) << 5 | n(a)); }
  void load_exclusive(Size s, Reg d, Reg base) { put(0x085f7c00 | size_bits(s) | n(base) << 5 | n(d)); }
  /// status = 0 when it was stored. `release`: after everything before it.
  void store_exclusive(Size s, bool release, Reg status, Reg a, Reg base) {
    put(0x08007c00 | size_bits(s) | (release ? 1u << 15 : 0) | n(status) << 16 | n(base) << 5 | n(a));
  }
  /// Needs cpu_features().lse. d = the old value (zr: not wanted). `ordered`: acquire and release.
  void atomic(Rmw op, Size s, bool ordered, Reg d, Reg a, Reg base) {
    const u32 what = op == Rmw::swap ? 1u << 15 : static_cast<u32>(op) << 12;
    put(0x38200000 | size_bits(s) | (ordered ? 3u << 22 : 0) | what | n(a) << 16 | n(base) << 5 | n(d));
  }
  /// Needs cpu_features().lse. If memory is `expected`, it becomes a; expected = the old value. Acquire and release.
  void compare_and_swap(Size s, Reg expected, Reg a, Reg base) {
    put(0x08e0fc00 | size_bits(s) | n(expected) << 16 | n(base) << 5 | n(a));
  }
  /// Every access before it, before every access after it, for all CPUs.
  void barrier() { put(0xd5033bbf); }

  // --- jumps ---
  void b(Label label) { jump(0x14000000, label, Kind::jump); }
  void bl(Label label) { jump(0x94000000, label, Kind::jump); }
  void b(Cond c, Label label) { jump(0x54000000 | cond(c), label, Kind::branch); }
  void cbz(Width w, Reg a, Label label) { jump(0x34000000 | sf(w) | n(a), label, Kind::branch); }
  void cbnz(Width w, Reg a, Label label) { jump(0x35000000 | sf(w) | n(a), label, Kind::branch); }
  void tbz(Reg a, u32 bit, Label label) { jump(0x36000000 | bit_fields(bit) | n(a), label, Kind::test); }
  void tbnz(Reg a, u32 bit, Label label) { jump(0x37000000 | bit_fields(bit) | n(a), label, Kind::test); }
  void br(Reg a) { put(0xd61f0000 | n(a) << 5); }
  void blr(Reg a) { put(0xd63f0000 | n(a) << 5); }
  void ret() { put(0xd65f03c0); }
  void nop() { put(0xd503201f); }
  void brk(u16 imm) { put(0xd4200000 | u32{imm} << 5); }
  /// To targets[index], with `scratch` and `scratch_too` destroyed; index may be neither.
  void jump_table(Reg index, Reg scratch, Reg scratch_too, std::span<const Label> targets);

 private:
  static constexpr u32 unbound = ~u32{0};
  enum class Kind : u8 { test, branch, jump, adr, table };
  struct Patch {
    u32 at;
    Label label;
    Kind kind;
    u32 base;  ///< of a table
  };

  static constexpr u32 n(Reg r) { return static_cast<u32>(r); }
  static constexpr u32 sf(Width w) { return static_cast<u32>(w) << 31; }
  static constexpr u32 n_bit(Width w) { return static_cast<u32>(w) << 22; }
  static constexpr u32 cond(Cond c) { return static_cast<u32>(c); }
  static constexpr u32 size_bits(Size s) { return static_cast<u32>(s) << 30; }
  static constexpr u32 bit_fields(u32 bit) { return (bit & 32) << 26 | (bit & 31) << 19; }
  static constexpr u32 sum_bits(Alu op) { return static_cast<u32>(op) << 29; }
  static constexpr u32 logic_bits(Alu op) {  // opc, and N for the inverted ones
    const u32 kind = static_cast<u32>(op) - static_cast<u32>(Alu::and_);
    return (kind >> 1) << 29;
  }
  u32 here() const { return static_cast<u32>(words_.size()); }
  void put(u32 word) { words_.push_back(word); }
  void note(Label label, Kind kind, u32 base = 0) { patches_.push_back({here(), label, kind, base}); }
  void jump(u32 word, Label label, Kind kind) {
    note(label, kind);
    put(word);
  }
  void bitfield(bool sign, Width w, Reg d, Reg a, u32 rotation, u32 last) {
    put((sign ? 0x13000000 : 0x53000000) | sf(w) | n_bit(w) | rotation << 16 | last << 10 | n(a) << 5 | n(d));
  }
  void three(u32 word, Reg d, Reg a, Reg b, Reg c) { put(word | n(b) << 16 | n(c) << 10 | n(a) << 5 | n(d)); }
  void pair(u32 word, Reg a, Reg b, Reg base, s32 disp) {
    put(word | (static_cast<u32>(disp / 8) & 0x7f) << 15 | n(b) << 10 | n(base) << 5 | n(a));
  }
  void access(Size s, u32 opc, Reg r, const Mem& m);
  Reach patch(const Patch& p);

  std::vector<u32> words_;
  std::vector<u32> labels_;  // in instructions
  std::vector<Patch> patches_;
};

}  // namespace skep::vm::arm64
