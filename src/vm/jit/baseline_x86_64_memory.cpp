// Loads, stores and atomics of the baseline JIT.
//
// x86 orders loads and stores as acquire and release ask, so those are plain moves, and every locked instruction
// orders fully. Fetching and, or, xor have no instruction: a compare-exchange loop does them.
#include "vm/jit/baseline_x86_64.hpp"

namespace skep::vm::jit {

using x86::at;
using x86::Cond;
using x86::Mem;

/// Where instruction `i` reaches, from base register `base`. An address in the arena is made in scratch3.
Mem BaselineX86::address(u32 i, u8 base) {
  const Insn& insn = bytecode_.insns[i];
  if (bytecode_.arena_access.empty() || !bytecode_.arena_access[i]) return at(host(base), insn.off);
  as_.mov(scratch1, bytecode_.arena);
  as_.mov(Width::w32, scratch3, host(base));
  as_.alu(x86::Alu::add, Width::w64, scratch3, scratch1);
  return at(scratch3, insn.off);
}

void BaselineX86::load(u32 i) {
  const Insn& insn = bytecode_.insns[i];
  const Mem from = address(i, insn.src);
  const Reg dst = host(insn.dst);
  const Width w = access_width(insn);
  const bool sign_extends = (insn.code & 0xe7) == 0x81;  // 0x81, 0x89, 0x91
  if (sign_extends) return as_.movsx(Width::w64, dst, w, from);
  if (w == Width::w8 || w == Width::w16) return as_.movzx(dst, w, from);
  as_.mov(w, dst, from);
}

void BaselineX86::store_imm(u32 i) {
  const Insn& insn = bytecode_.insns[i];
  const Mem to = address(i, insn.dst);
  const Operand value = number(insn.imm);  // behind address(), which uses the same scratch register
  value.is_reg() ? as_.mov(access_width(insn), to, value.reg) : as_.mov(access_width(insn), to, value.imm);
}

void BaselineX86::store_reg(u32 i) {
  const Insn& insn = bytecode_.insns[i];
  const Mem to = address(i, insn.dst);
  as_.mov(access_width(insn), to, host(insn.src));
}

void BaselineX86::atomic(u32 i, bool fetch) {
  const Insn& insn = bytecode_.insns[i];
  const Mem where = address(i, insn.dst);
  const Width w = access_width(insn);
  const Reg src = host(insn.src);
  const u8 kind = insn.imm & 0xf0;
  const x86::Alu op = kind == 0x40   ? x86::Alu::or_
                      : kind == 0x50 ? x86::Alu::and_
                      : kind == 0xa0 ? x86::Alu::xor_
                                     : x86::Alu::add;
  if (!fetch) {
    as_.lock();
    return as_.alu(op, w, where, src);
  }
  if (kind == 0xe0) return as_.xchg(w, where, src);
  if (kind != 0x00) return atomic_loop(w, where, src, op);
  as_.lock();
  as_.xadd(w, where, src);
}

void BaselineX86::atomic_loop(Width w, const Mem& where, Reg src, x86::Alu op) {
  const Reg saved = scratch2, fresh = scratch1;
  Mem target = where;
  if (target.base == Reg::rax) target.base = saved;
  const Reg operand = src == Reg::rax ? saved : src;
  const x86::Label again = as_.new_label();
  as_.mov(Width::w64, saved, Reg::rax);
  as_.mov(w, Reg::rax, target);
  as_.bind(again);
  as_.mov(w, fresh, Reg::rax);
  as_.alu(op, w, fresh, operand);
  as_.lock();
  as_.cmpxchg(w, target, fresh);
  as_.jcc(Cond::ne, again);
  if (src == Reg::rax) return;
  as_.mov(w, src, Reg::rax);
  as_.mov(Width::w64, Reg::rax, saved);
}

void BaselineX86::compare_exchange(u32 i) {
  const Insn& insn = bytecode_.insns[i];
  const Mem where = address(i, insn.dst);
  const Width w = access_width(insn);
  as_.lock();
  as_.cmpxchg(w, where, host(insn.src));
  if (w == Width::w32) as_.mov(w, Reg::rax, Reg::rax);  // on success the upper half would stay
}

}  // namespace skep::vm::jit
