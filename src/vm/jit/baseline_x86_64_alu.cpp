// Arithmetic of the baseline JIT: moves, shifts, division without touching the stack, byte order, blinded constants.
#include "vm/jit/baseline_x86_64.hpp"

#include <bit>

namespace skep::vm::jit {

using isa::Alu;
using x86::at;
using x86::Cond;
using x86::Shift;
using x86::Unary;

u64 BaselineX86::random() noexcept {  // xorshift64
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return random_;
}

/// A constant of the program as an operand: itself, or blinded in scratch1.
BaselineX86::Operand BaselineX86::number(s32 imm) {
  if (random_ == 0 || imm == 0) return {.imm = imm};
  const u32 key = static_cast<u32>(random());
  as_.mov(scratch1, static_cast<u64>(static_cast<s64>(static_cast<s32>(static_cast<u32>(imm) ^ key))));
  as_.alu(x86::Alu::xor_, Width::w64, scratch1, static_cast<s32>(key));
  return {.reg = scratch1};
}

void BaselineX86::load_number(Reg reg, u64 value) {
  if (value == 0) return as_.zero(reg);
  if (random_ == 0) return as_.mov(reg, value);
  const u64 key = random();
  as_.mov(scratch1, value ^ key);
  as_.mov(reg, key);
  as_.alu(x86::Alu::xor_, Width::w64, reg, scratch1);
}

void BaselineX86::alu(const Insn& insn, Operand b) {
  const Width w = alu_width(insn);
  const Reg dst = host(insn.dst);
  const auto plain = [&](x86::Alu op) { b.is_reg() ? as_.alu(op, w, dst, b.reg) : as_.alu(op, w, dst, b.imm); };
  const bool is_signed = insn.off == 1;
  switch (static_cast<u8>(insn.code & 0xf0)) {
    case 0x00:
      return plain(x86::Alu::add);
    case 0x10:
      return plain(x86::Alu::sub);
    case 0x20:
      return b.is_reg() ? as_.imul(w, dst, b.reg) : as_.imul(w, dst, dst, b.imm);
    case 0x30:
      return divide(w, dst, b, is_signed, false);
    case 0x40:
      return plain(x86::Alu::or_);
    case 0x50:
      return plain(x86::Alu::and_);
    case 0x60:
      return shift(Shift::shl, w, dst, b);
    case 0x70:
      return shift(Shift::shr, w, dst, b);
    case 0x80:
      return as_.unary(Unary::neg, w, dst);
    case 0x90:
      return divide(w, dst, b, is_signed, true);
    case 0xa0:
      return plain(x86::Alu::xor_);
    case 0xc0:
      return shift(Shift::sar, w, dst, b);
    default:  // mov
      if (b.is_reg()) {
        if (w == Width::w32 || dst != b.reg) as_.mov(w, dst, b.reg);
      } else {
        load_number(dst, w == Width::w64 ? static_cast<u64>(static_cast<s64>(b.imm)) : static_cast<u32>(b.imm));
      }
  }
}

void BaselineX86::shift(Shift op, Width w, Reg dst, Operand count) {
  if (!count.is_reg()) {
    const u8 amount = static_cast<u8>(count.imm & (w == Width::w64 ? 63 : 31));
    if (amount != 0) return as_.shift(op, w, dst, amount);
    if (w == Width::w32) as_.mov(w, dst, dst);  // a 32-bit result clears the upper half even so
    return;
  }
  if (bmi2_) {
    if (op == Shift::shl) return as_.shlx(w, dst, dst, count.reg);
    if (op == Shift::shr) return as_.shrx(w, dst, dst, count.reg);
    return as_.sarx(w, dst, dst, count.reg);
  }
  if (count.reg == Reg::rcx && dst != Reg::rcx) {
    as_.shift_cl(op, w, dst);
  } else if (dst == Reg::rcx) {
    as_.mov(Width::w64, scratch2, Reg::rcx);
    if (count.reg != Reg::rcx) as_.mov(Width::w32, Reg::rcx, count.reg);
    as_.shift_cl(op, w, scratch2);
    as_.mov(Width::w64, Reg::rcx, scratch2);
    return;
  } else {
    as_.mov(Width::w64, scratch2, Reg::rcx);
    as_.mov(Width::w32, Reg::rcx, count.reg);
    as_.shift_cl(op, w, dst);
    as_.mov(Width::w64, Reg::rcx, scratch2);
  }
  // A 32-bit shift by 0 leaves the whole register as it was.
  if (w == Width::w32) as_.mov(w, dst, dst);
}

// --- division ---
// The machine's division takes rdx:rax and traps where eBPF has an answer: by 0 (quotient 0, remainder the dividend)
// and, signed, by -1 (the quotient may not fit).

void BaselineX86::divide(Width w, Reg dst, Operand by, bool is_signed, bool wants_remainder) {
  if (!by.is_reg()) return divide_by_constant(w, dst, by.imm, is_signed, wants_remainder);
  const x86::Label by_zero = as_.new_label(), by_minus_one = as_.new_label(), end = as_.new_label();
  as_.test(w, by.reg, by.reg);
  as_.jcc_short(Cond::e, by_zero);
  if (is_signed) {
    as_.cmp(w, by.reg, -1);
    as_.jcc_short(Cond::e, by_minus_one);
  }
  divide_instruction(w, dst, by.reg, is_signed, wants_remainder);
  as_.jmp_short(end);
  if (is_signed) {
    as_.bind(by_minus_one);
    wants_remainder ? as_.zero(dst) : as_.unary(Unary::neg, w, dst);
    as_.jmp_short(end);
  }
  as_.bind(by_zero);
  if (!wants_remainder) as_.zero(dst);
  if (wants_remainder && w == Width::w32) as_.mov(w, dst, dst);
  as_.bind(end);
}

void BaselineX86::divide_by_constant(Width w, Reg dst, s32 by, bool is_signed, bool wants_remainder) {
  const u64 divisor = w == Width::w64 ? static_cast<u64>(static_cast<s64>(by)) : static_cast<u32>(by);
  if (by == 0) {
    if (!wants_remainder) as_.zero(dst);
    if (wants_remainder && w == Width::w32) as_.mov(w, dst, dst);
    return;
  }
  if (is_signed && by == -1) return wants_remainder ? as_.zero(dst) : as_.unary(Unary::neg, w, dst);
  if (!is_signed && std::has_single_bit(divisor)) {
    if (!wants_remainder) return shift(Shift::shr, w, dst, {.imm = std::countr_zero(divisor)});
    if (divisor - 1 <= 0x7fffffff)  // the mask as a sign-extended immediate
      return as_.alu(x86::Alu::and_, Width::w32, dst, static_cast<s32>(divisor - 1));
  }
  as_.mov(scratch1, divisor);
  divide_instruction(w, dst, scratch1, is_signed, wants_remainder);
}

/// dst = dst / by or dst % by. rax and rdx wait in scratch registers where they are not dst.
void BaselineX86::divide_instruction(Width w, Reg dst, Reg by, bool is_signed, bool wants_remainder) {
  if (by == Reg::rax || by == Reg::rdx) {
    as_.mov(w, scratch1, by);
    by = scratch1;
  }
  if (dst != Reg::rax) {
    as_.mov(Width::w64, scratch2, Reg::rax);
    as_.mov(w, Reg::rax, dst);
  }
  if (dst != Reg::rdx) as_.mov(Width::w64, scratch3, Reg::rdx);
  if (!is_signed)
    as_.zero(Reg::rdx);
  else
    w == Width::w64 ? as_.cqo() : as_.cdq();
  as_.unary(is_signed ? Unary::idiv : Unary::div, w, by);
  const Reg result = wants_remainder ? Reg::rdx : Reg::rax;
  if (dst != result) as_.mov(w, dst, result);
  if (dst != Reg::rax) as_.mov(Width::w64, Reg::rax, scratch2);
  if (dst != Reg::rdx) as_.mov(Width::w64, Reg::rdx, scratch3);
}

// --- moves with a twist ---

void BaselineX86::movsx(const Insn& insn) {
  const Width from = insn.off == 8 ? Width::w8 : insn.off == 16 ? Width::w16 : Width::w32;
  as_.movsx(alu_width(insn), host(insn.dst), from, host(insn.src));
}

void BaselineX86::endian(const Insn& insn) {
  const Reg dst = host(insn.dst);
  const bool swaps = insn.code != 0xd4;
  if (insn.imm == 64) {
    if (swaps) as_.bswap(Width::w64, dst);
  } else if (insn.imm == 32) {
    swaps ? as_.bswap(Width::w32, dst) : as_.mov(Width::w32, dst, dst);
  } else {
    if (swaps) as_.shift(Shift::ror, Width::w16, dst, 8);
    as_.movzx(dst, Width::w16, dst);
  }
}

void BaselineX86::address_space_cast(const Insn& insn) {
  const Reg dst = host(insn.dst);
  as_.mov(Width::w32, dst, host(insn.src));
  if (insn.imm == 1) return;
  const x86::Label null = as_.new_label();
  as_.test(Width::w32, dst, dst);
  as_.jcc_short(Cond::e, null);
  as_.mov(scratch1, bytecode_.arena);
  as_.alu(x86::Alu::or_, Width::w64, dst, scratch1);
  as_.bind(null);
}

}  // namespace skep::vm::jit
