// The parts of the assembler that are not a handful of bytes: labels, immediates in their shortest form, tables.
#include "vm/jit/x86_64.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace skep::vm::x86 {
namespace {

CpuFeatures ask_cpu() noexcept {
  CpuFeatures found;
#if defined(__x86_64__)
  u32 a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) != 0) {
    found.movbe = (c & bit_MOVBE) != 0;
    found.popcnt = (c & bit_POPCNT) != 0;
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
    found.bmi1 = (b & bit_BMI) != 0;
    found.bmi2 = (b & bit_BMI2) != 0;
  }
  if (__get_cpuid(0x80000001, &a, &b, &c, &d) != 0) found.lzcnt = (c & bit_LZCNT) != 0;
#endif
  return found;
}

}  // namespace

const CpuFeatures& cpu_features() noexcept {
  static const CpuFeatures features = ask_cpu();
  return features;
}

Assembler::Assembler(std::size_t capacity_bytes)
    : begin_(new u8[capacity_bytes]), p_(begin_.get()), end_(p_ + capacity_bytes) {}

void Assembler::clear() noexcept {
  p_ = begin_.get();
  labels_.clear();
  shorts_.clear();
  tables_.clear();
}

void Assembler::grow() {
  const std::size_t used = size(), capacity = static_cast<std::size_t>(end_ - begin_.get()) * 2 + longest_insn;
  std::unique_ptr<u8[]> larger(new u8[capacity]);
  std::memcpy(larger.get(), begin_.get(), used);
  begin_ = std::move(larger);
  p_ = begin_.get() + used;
  end_ = begin_.get() + capacity;
}

// --- labels ---

void Assembler::bind(Label label) {
  const u32 here = static_cast<u32>(size());
  u32 waiting = labels_[label];
  while (waiting != 0) {  // each place holds the one before it
    u8* const place = begin_.get() + waiting - 4;
    u32 next;
    std::memcpy(&next, place, 4);
    const u32 distance = here - waiting;
    std::memcpy(place, &distance, 4);
    waiting = next;
  }
  labels_[label] = here | bound;
}

/// Four bytes that will hold the distance from behind them to the label.
void Assembler::near_reference(Label label) {
  const u32 state = labels_[label];
  const u32 behind = static_cast<u32>(size()) + 4;
  if ((state & bound) != 0) return put32((state & ~bound) - behind);
  put32(state);
  labels_[label] = behind;
}

void Assembler::jmp(Label label) {
  room();
  if (is_bound(label)) {
    const s64 distance = static_cast<s64>(offset_of(label)) - static_cast<s64>(size()) - 2;
    if (fits_s8(distance)) {
      put8(0xeb);
      return put8(static_cast<u8>(distance));
    }
  }
  put8(0xe9);
  near_reference(label);
}

void Assembler::jcc(Cond c, Label label) {
  room();
  if (is_bound(label)) {
    const s64 distance = static_cast<s64>(offset_of(label)) - static_cast<s64>(size()) - 2;
    if (fits_s8(distance)) {
      put8(static_cast<u8>(0x70 | static_cast<u8>(c)));
      return put8(static_cast<u8>(distance));
    }
  }
  put8(0x0f);
  put8(static_cast<u8>(0x80 | static_cast<u8>(c)));
  near_reference(label);
}

void Assembler::short_jump(u8 code, Label label) {
  room();
  put8(code);
  shorts_.push_back({static_cast<u32>(size()), label});
  put8(0);
}

void Assembler::call(Label label) {
  room();
  put8(0xe8);
  near_reference(label);
}

void Assembler::lea(Reg dst, Label label) {
  room();
  put8(static_cast<u8>(0x48 | high(dst) << 2));
  put8(0x8d);
  put8(static_cast<u8>(low3(dst) << 3 | 5));  // [rip + disp32]
  near_reference(label);
}

void Assembler::jump_table(Reg index, Reg scratch, std::span<const Label> labels) {
  const Label start = new_label();
  tables_.push_back({start, {labels.begin(), labels.end()}});
  lea(scratch, start);
  movsx(Width::w64, index, Width::w32, at(scratch, index, 2));
  alu(Alu::add, Width::w64, scratch, index);
  jmp(scratch);
}

void Assembler::align(u32 power_of_two) {
  while (size() % power_of_two != 0) {
    room();
    put8(0xcc);  // never reached
  }
}

bool Assembler::finish() {
  for (const ShortFixup& fixup : shorts_) {
    const s64 distance = static_cast<s64>(offset_of(fixup.label)) - fixup.at - 1;
    if (!is_bound(fixup.label) || !fits_s8(distance)) return false;
    begin_[fixup.at] = static_cast<u8>(distance);
  }
  shorts_.clear();
  for (const Table& table : tables_) {
    align(4);
    const u32 start = static_cast<u32>(size());
    bind(table.start);
    for (const Label label : table.labels) {
      if (!is_bound(label)) return false;
      room();
      put32(offset_of(label) - start);
    }
  }
  tables_.clear();
  for (const u32 label : labels_)
    if (label != 0 && (label & bound) == 0) return false;
  return true;
}

// --- immediates ---

void Assembler::alu(Alu op, Width w, Reg dst, s32 imm) {
  const u8 digit = static_cast<u8>(op);
  if (w == Width::w8 && dst != Reg::rax) {
    digit_r(w, 0x80, digit, dst);
  } else if (w != Width::w8 && fits_s8(w == Width::w16 ? static_cast<s16>(imm) : imm)) {
    digit_r(w, 0x83, digit, dst);
    return put8(static_cast<u8>(imm));
  } else if (dst == Reg::rax) {
    room();
    rex_if_needed(w == Width::w64, false, false, false, false, w == Width::w16);
    put8(static_cast<u8>(alu_code(op, w, 0x04)));
  } else {
    digit_r(w, 0x81, digit, dst);
  }
  put_imm(w, imm);
}

void Assembler::alu(Alu op, Width w, const Mem& dst, s32 imm) {
  const Reg digit = static_cast<Reg>(op);
  const bool is_short = w != Width::w8 && fits_s8(w == Width::w16 ? static_cast<s16>(imm) : imm);
  rm(w, w == Width::w8 ? 0x80 : is_short ? 0x83 : 0x81, digit, dst);
  if (is_short) return put8(static_cast<u8>(imm));
  put_imm(w, imm);
}

void Assembler::imul(Width w, Reg dst, Reg src, s32 imm) {
  const bool is_short = fits_s8(w == Width::w16 ? static_cast<s16>(imm) : imm);
  rr(w, is_short ? 0x6b : 0x69, dst, src);
  if (is_short) return put8(static_cast<u8>(imm));
  put_imm(w, imm);
}

void Assembler::imul(Width w, Reg dst, const Mem& src, s32 imm) {
  const bool is_short = fits_s8(w == Width::w16 ? static_cast<s16>(imm) : imm);
  rm(w, is_short ? 0x6b : 0x69, dst, src);
  if (is_short) return put8(static_cast<u8>(imm));
  put_imm(w, imm);
}

void Assembler::shift(Shift op, Width w, Reg r, u8 count) {
  const u32 wide = w == Width::w8 ? 0 : 1;
  digit_r(w, (count == 1 ? 0xd0u : 0xc0u) | wide, static_cast<u8>(op), r);
  if (count != 1) put8(count);
}

void Assembler::shift(Shift op, Width w, const Mem& m, u8 count) {
  const u32 wide = w == Width::w8 ? 0 : 1;
  rm(w, (count == 1 ? 0xd0u : 0xc0u) | wide, static_cast<Reg>(op), m);
  if (count != 1) put8(count);
}

}  // namespace skep::vm::x86
