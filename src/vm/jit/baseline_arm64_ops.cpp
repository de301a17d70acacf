// Arithmetic, loads, stores and atomics of the baseline JIT on AArch64. See baseline_arm64.hpp.
//
// Division needs no care: by zero the CPU gives 0 itself, and a - 0 * b is a; the smallest number by -1 is itself.
// What gives the old value is ordered with everything around it, as in Linux; plain atomics are not ordered.
#include "vm/jit/baseline_arm64.hpp"

namespace skep::vm::jit {

using arm64::Alu;
using arm64::at;
using arm64::Cond;
using arm64::Mem;
using arm64::Modifier;
using arm64::Shift;

namespace {

/// The constant as an operation of this width sees it.
constexpr u64 seen(s32 imm, arm64::Width w) {
  return w == arm64::Width::w64 ? static_cast<u64>(s64{imm}) : static_cast<u32>(imm);
}

}  // namespace

// --- constants ---

/// A constant of the program as an operand: itself, or blinded in `value`.
BaselineArm64::Operand BaselineArm64::number(s32 imm) {
  if (random_ == 0 || imm == 0) return {.imm = imm};
  load_number(value, static_cast<u64>(s64{imm}));
  return {.is_reg = true, .reg = value};
}

void BaselineArm64::load_number(Reg reg, u64 number) {
  if (random_ == 0 || number == 0) return as_.mov(reg, number);
  const u64 key = random();
  as_.mov(spare1, number ^ key);
  as_.mov(spare2, key);
  as_.alu(Alu::eor, Width::w64, reg, spare1, spare2);
}

arm64::Reg BaselineArm64::in_register(Operand operand, Width w) {
  if (operand.is_reg) return operand.reg;
  as_.mov(value, seen(operand.imm, w));
  return value;
}

// --- arithmetic ---

void BaselineArm64::alu(const Insn& insn, Operand b) {
  const Width w = alu_width(insn);
  const Reg dst = host(insn.dst);
  const bool is_signed = insn.off == 1;
  switch (static_cast<u8>(insn.code & 0xf0)) {
    case 0x00:
      return sum(false, w, dst, b);
    case 0x10:
      return sum(true, w, dst, b);
    case 0x20:
      return as_.madd(w, dst, dst, in_register(b, w), Reg::zr);
    case 0x30:
      return divide(w, dst, b, is_signed, false);
    case 0x40:
      return logic(Alu::orr, w, dst, b);
    case 0x50:
      return logic(Alu::and_, w, dst, b);
    case 0x60:
      return shift(Shift::lsl, w, dst, b);
    case 0x70:
      return shift(Shift::lsr, w, dst, b);
    case 0x80:
      return as_.alu(Alu::sub, w, dst, Reg::zr, dst);
    case 0x90:
      return divide(w, dst, b, is_signed, true);
    case 0xa0:
      return logic(Alu::eor, w, dst, b);
    case 0xc0:
      return shift(Shift::asr, w, dst, b);
    default:  // mov
      if (b.is_reg) return as_.mov(w, dst, b.reg);
      as_.mov(dst, seen(b.imm, w));
  }
}

/// Also what a 32-bit addition of 0 clears above it.
void BaselineArm64::sum(bool minus, Width w, Reg dst, Operand b) {
  const u64 plain = seen(b.imm, w), negative = w == Width::w64 ? 0 - plain : static_cast<u32>(0 - plain);
  if (!b.is_reg && arm64::fits_sum(plain))
    return as_.sum_imm(minus ? Alu::sub : Alu::add, w, dst, dst, static_cast<u32>(plain));
  if (!b.is_reg && arm64::fits_sum(negative))
    return as_.sum_imm(minus ? Alu::add : Alu::sub, w, dst, dst, static_cast<u32>(negative));
  as_.alu(minus ? Alu::sub : Alu::add, w, dst, dst, in_register(b, w));
}

void BaselineArm64::logic(Alu op, Width w, Reg dst, Operand b) {
  const auto fields = b.is_reg ? std::nullopt : arm64::mask_fields(seen(b.imm, w), w);
  if (fields) return as_.logic_imm(op, w, dst, dst, *fields);
  as_.alu(op, w, dst, dst, in_register(b, w));
}

void BaselineArm64::shift(Shift op, Width w, Reg dst, Operand count) {
  if (count.is_reg) return as_.shift(op, w, dst, dst, count.reg);
  as_.shift_imm(op, w, dst, dst, static_cast<u32>(count.imm) & (w == Width::w64 ? 63 : 31));
}

void BaselineArm64::divide(Width w, Reg dst, Operand by, bool is_signed, bool wants_remainder) {
  const Reg divisor = in_register(by, w);
  if (!wants_remainder) return as_.div(is_signed, w, dst, dst, divisor);
  as_.div(is_signed, w, spare1, dst, divisor);
  as_.msub(w, dst, spare1, divisor, dst);
}

void BaselineArm64::compare(Width w, Reg a, Operand b) {
  const u64 plain = seen(b.imm, w), negative = w == Width::w64 ? 0 - plain : static_cast<u32>(0 - plain);
  if (!b.is_reg && arm64::fits_sum(plain)) return as_.sum_imm(Alu::subs, w, Reg::zr, a, static_cast<u32>(plain));
  if (!b.is_reg && arm64::fits_sum(negative)) return as_.sum_imm(Alu::adds, w, Reg::zr, a, static_cast<u32>(negative));
  as_.alu(Alu::subs, w, Reg::zr, a, in_register(b, w));
}

void BaselineArm64::endian(const Insn& insn) {
  const Reg dst = host(insn.dst);
  const bool swaps = insn.code != 0xd4;
  if (insn.imm == 64) {
    if (swaps) as_.rev(Width::w64, dst, dst);
  } else if (insn.imm == 32) {
    swaps ? as_.rev(Width::w32, dst, dst) : as_.mov(Width::w32, dst, dst);
  } else {
    if (swaps) as_.rev16(Width::w32, dst, dst);
    as_.extract(false, Width::w32, dst, dst, 0, 16);
  }
}

void BaselineArm64::address_space_cast(const Insn& insn) {
  const Reg dst = host(insn.dst);
  as_.mov(Width::w32, dst, host(insn.src));
  if (insn.imm == 1) return;
  as_.mov(place, bytecode_.arena);
  as_.alu(Alu::orr, Width::w64, place, place, dst);
  as_.sum_imm(Alu::subs, Width::w64, Reg::zr, dst, 0);
  as_.select(arm64::Else::same, Width::w64, dst, place, Reg::zr, Cond::ne);  // null stays null
}

// --- memory ---

/// Where instruction `i` reaches, from base register `base`. The stack is reached from sp: offsets are positive there.
Mem BaselineArm64::address(u32 i, u8 base, Size size) {
  const s64 off = bytecode_.insns[i].off;
  if (!bytecode_.arena_access.empty() && bytecode_.arena_access[i]) return at(bare_address(i, base));
  if (base == isa::frame_pointer && arm64::fits_disp(stack_end_ + off, size)) return at(Reg::sp, stack_end_ + off);
  if (arm64::fits_disp(off, size)) return at(host(base), off);
  as_.mov(place, static_cast<u64>(off));
  return {.base = host(base), .index = place};
}

/// The same in one register, which is all that atomic accesses know.
arm64::Reg BaselineArm64::bare_address(u32 i, u8 base) {
  const s64 off = bytecode_.insns[i].off;
  const bool is_arena = !bytecode_.arena_access.empty() && bytecode_.arena_access[i];
  if (!is_arena && off == 0) return host(base);
  as_.mov(place, (is_arena ? bytecode_.arena : 0) + static_cast<u64>(off));
  if (is_arena)
    as_.alu(Alu::add, Width::w64, place, place, host(base), Modifier::uxtw);
  else
    as_.alu(Alu::add, Width::w64, place, place, host(base));
  return place;
}

void BaselineArm64::load(u32 i) {
  const Insn& insn = bytecode_.insns[i];
  const Size size = access_size(insn);
  if (isa::row(bytecode_.ops[i]).form == Form::load_acquire)
    return as_.load_acquire(size, host(insn.dst), bare_address(i, insn.src));
  const bool sign_extends = (insn.code & 0xe7) == 0x81;  // 0x81, 0x89, 0x91
  const Mem from = address(i, insn.src, size);
  as_.load(size, sign_extends, host(insn.dst), from);
}

void BaselineArm64::store(u32 i, Operand what) {
  const Insn& insn = bytecode_.insns[i];
  const Size size = access_size(insn);
  // Behind the address: what code with checks asks there keeps no scratch register.
  const auto stored = [&] { return !what.is_reg && what.imm == 0 ? Reg::zr : in_register(what, Width::w64); };
  if (isa::row(bytecode_.ops[i]).form == Form::store_release) {
    const Reg where = bare_address(i, insn.dst);
    return as_.store_release(size, stored(), where);
  }
  const Mem to = address(i, insn.dst, size);
  as_.store(size, stored(), to);
}

// --- atomics ---

void BaselineArm64::atomic(u32 i, bool fetch) {
  const Insn& insn = bytecode_.insns[i];
  const Size size = access_size(insn);
  const Reg where = bare_address(i, insn.dst), src = host(insn.src);
  const u8 kind = insn.imm & 0xf0;
  if (kind == 0xe0) return exchange(size, src, where);
  const Alu op = kind == 0x40 ? Alu::orr : kind == 0x50 ? Alu::and_ : kind == 0xa0 ? Alu::eor : Alu::add;
  if (!lse_) return atomic_loop(size, op, src, where, fetch);
  const Reg old = fetch ? src : Reg::zr;
  if (op == Alu::and_) {  // the CPU clears bits
    as_.alu(Alu::orn, Width::w64, spare1, Reg::zr, src);
    return as_.atomic(arm64::Rmw::clear, size, fetch, old, spare1, where);
  }
  const auto rmw = op == Alu::orr ? arm64::Rmw::set : op == Alu::eor ? arm64::Rmw::eor : arm64::Rmw::add;
  as_.atomic(rmw, size, fetch, old, src, where);
}

/// Again until nobody came between.
void BaselineArm64::atomic_loop(Size size, Alu op, Reg src, Reg where, bool fetch) {
  const Label again = as_.new_label();
  as_.bind(again);
  as_.load_exclusive(size, spare1, where);
  as_.alu(op, width_of(size), spare2, spare1, src);
  as_.store_exclusive(size, fetch, status, spare2, where);
  as_.cbnz(Width::w32, status, again);
  if (!fetch) return;
  as_.barrier();
  as_.mov(Width::w64, src, spare1);
}

void BaselineArm64::exchange(Size size, Reg src, Reg where) {
  if (lse_) return as_.atomic(arm64::Rmw::swap, size, true, src, src, where);
  const Label again = as_.new_label();
  as_.bind(again);
  as_.load_exclusive(size, spare1, where);
  as_.store_exclusive(size, true, status, src, where);
  as_.cbnz(Width::w32, status, again);
  as_.barrier();
  as_.mov(Width::w64, src, spare1);
}

void BaselineArm64::compare_exchange(u32 i) {
  const Insn& insn = bytecode_.insns[i];
  const Size size = access_size(insn);
  const Reg where = bare_address(i, insn.dst), src = host(insn.src);
  if (lse_) return as_.compare_and_swap(size, result_reg, src, where);
  const Label again = as_.new_label(), differs = as_.new_label();
  as_.bind(again);
  as_.load_exclusive(size, spare1, where);
  as_.alu(Alu::subs, width_of(size), Reg::zr, spare1, result_reg);
  as_.b(Cond::ne, differs);
  as_.store_exclusive(size, true, status, src, where);
  as_.cbnz(Width::w32, status, again);
  as_.bind(differs);
  as_.barrier();
  as_.mov(Width::w64, result_reg, spare1);
}

}  // namespace skep::vm::jit
