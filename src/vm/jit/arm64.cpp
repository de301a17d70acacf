// See arm64.hpp: constants in their shortest form, shifted operands, addresses, jumps.
#include "vm/jit/arm64.hpp"

#include <algorithm>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace skep::vm::arm64 {

const CpuFeatures& cpu_features() noexcept {
#if defined(__aarch64__) && defined(__linux__)
  static const CpuFeatures features{.lse = (::getauxval(AT_HWCAP) & HWCAP_ATOMICS) != 0};
#else
  static const CpuFeatures features;
#endif
  return features;
}

void Assembler::align(u32 power_of_two) {
  while (size() % power_of_two != 0) nop();
}

void Assembler::rewind(const Mark& m) {
  words_.resize(m.words);
  labels_.resize(m.labels);
  patches_.resize(m.patches);
}

// --- constants ---

namespace {

constexpr u16 half(u64 value, u32 i) { return static_cast<u16>(value >> 16 * i); }

u32 halves_unlike(u64 value, u16 usual, u32 count) {
  u32 found = 0;
  for (u32 i = 0; i < count; i++) found += half(value, i) != usual ? 1 : 0;
  return found;
}

}  // namespace

u32 mov_length(u64 value) {
  const bool is_low = value <= 0xffffffffu;
  const u32 count = is_low ? 2 : 4;
  const u32 zeros_first = halves_unlike(value, 0, count), ones_first = halves_unlike(value, 0xffff, count);
  const u32 plain = std::max(1u, std::min(zeros_first, ones_first));
  if (plain > 1 && (mask_fields(value, Width::w64) || (is_low && mask_fields(value, Width::w32)))) return 1;
  return plain;
}

/// All halves but the first that differs from 0 (or from 0xffff) take an instruction each.
void Assembler::mov(Reg d, u64 value) {
  const bool is_low = value <= 0xffffffffu;
  const Width w = is_low ? Width::w32 : Width::w64;
  const u32 count = is_low ? 2 : 4;
  const u32 zeros_first = halves_unlike(value, 0, count), ones_first = halves_unlike(value, 0xffff, count);
  if (std::min(zeros_first, ones_first) > 1) {
    if (const auto fields = mask_fields(value, Width::w64)) return logic_imm(Alu::orr, Width::w64, d, Reg::zr, *fields);
    if (const auto fields = mask_fields(value, w)) return logic_imm(Alu::orr, w, d, Reg::zr, *fields);
  }
  const bool by_ones = ones_first < zeros_first;
  const u16 usual = by_ones ? 0xffff : 0;
  bool begun = false;
  for (u32 i = 0; i < count; i++) {
    const u16 part = half(value, i);
    const bool is_last_chance = i + 1 == count && !begun;
    if (part == usual && !is_last_chance) continue;
    if (begun)
      movk(w, d, part, i);
    else if (by_ones)
      movn(w, d, static_cast<u16>(~part), i);
    else
      movz(w, d, part, part == 0 ? 0 : i);
    begun = true;
  }
}

// --- arithmetic ---

void Assembler::alu(Alu op, Width w, Reg d, Reg a, Reg b, Modifier by, u32 amount) {
  const u32 operands = sf(w) | n(b) << 16 | amount << 10 | n(a) << 5 | n(d);
  const u32 kind = static_cast<u32>(by);
  if (by >= Modifier::uxtb) return put(0x0b200000 | sum_bits(op) | (kind - 4) << 13 | operands);
  if (is_sum(op)) return put(0x0b000000 | sum_bits(op) | kind << 22 | operands);
  const u32 inverted = (static_cast<u32>(op) - static_cast<u32>(Alu::and_)) & 1;
  put(0x0a000000 | logic_bits(op) | inverted << 21 | kind << 22 | operands);
}

void Assembler::shift_imm(Shift op, Width w, Reg d, Reg a, u32 count) {
  const u32 bits = w == Width::w64 ? 64 : 32;
  switch (op) {
    case Shift::lsl:
      return insert(false, w, d, a, count, bits - count);
    case Shift::lsr:
      return bitfield(false, w, d, a, count, bits - 1);
    case Shift::asr:
      return bitfield(true, w, d, a, count, bits - 1);
    case Shift::ror:
      return extr(w, d, a, a, count);
  }
}

// --- memory ---

void Assembler::access(Size s, u32 opc, Reg r, const Mem& m) {
  const u32 word = 0x38000000 | size_bits(s) | opc << 22 | n(m.base) << 5 | n(r);
  if (m.index != Reg::zr) {
    const u32 option = m.index_by == Modifier::lsl ? 3 : m.index_by == Modifier::uxtw ? 2 : 6;
    return put(word | 0x00200800 | n(m.index) << 16 | option << 13 | (m.scaled ? 1u << 12 : 0));
  }
  if (fits_scaled(m.disp, s)) return put(word | 1u << 24 | static_cast<u32>(m.disp >> static_cast<u32>(s)) << 10);
  put(word | (static_cast<u32>(m.disp) & 0x1ff) << 12);
}

// --- jumps ---

Assembler::Reach Assembler::patch(const Patch& p) {
  const s64 distance = s64{labels_[p.label]} - s64{p.kind == Kind::table ? p.base : p.at};
  u32& word = words_[p.at];
  const auto fits = [&](u32 bits) { return distance >= -(s64{1} << (bits - 1)) && distance < s64{1} << (bits - 1); };
  const u32 field = static_cast<u32>(distance);
  switch (p.kind) {
    case Kind::test:
      if (!fits(14)) return Reach::tests_too_far;
      word |= (field & 0x3fff) << 5;
      return Reach::all;
    case Kind::branch:
      if (!fits(19)) return Reach::branches_too_far;
      word |= (field & 0x7ffff) << 5;
      return Reach::all;
    case Kind::jump:
      if (!fits(26)) return Reach::jumps_too_far;
      word |= field & 0x3ffffff;
      return Reach::all;
    case Kind::adr:  // counts bytes
      if (!fits(19)) return Reach::jumps_too_far;
      word |= (field & 0x7ffff) << 5;
      return Reach::all;
    case Kind::table:
      word = field * 4;
      return Reach::all;
  }
  return Reach::all;
}

Assembler::Reach Assembler::settle(const Mark& m) {
  Reach widest = Reach::all;
  std::size_t kept = m.patches;
  for (std::size_t i = m.patches; i < patches_.size(); i++) {
    if (is_bound(patches_[i].label))
      widest = std::max(widest, patch(patches_[i]));
    else
      patches_[kept++] = patches_[i];
  }
  patches_.resize(kept);
  return widest;
}

bool Assembler::finish() {
  const Reach reach = settle({0, 0, 0});
  return patches_.empty() && reach == Reach::all;
}

void Assembler::jump_table(Reg index, Reg scratch, Reg scratch_too, std::span<const Label> targets) {
  const Label table = new_label();
  adr(scratch, table);
  load(Size::b32, true, scratch_too, {scratch, 0, index, Modifier::lsl, true});
  alu(Alu::add, Width::w64, scratch, scratch, scratch_too);
  br(scratch);
  bind(table);
  const u32 base = here();
  for (const Label target : targets) {
    note(target, Kind::table, base);
    put(0);
  }
}

}  // namespace skep::vm::arm64
