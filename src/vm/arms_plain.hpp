// The arms that compute, load, store and jump, and the choice among them. See arms.hpp.
//
// Included by interpreter.cpp alone: registers are pinned in it. What is rare (atomics, signed division by a register,
// the arena, r10 as an operand) shares one arm that does its work on registers in memory.
#pragma once
#include <array>
#include <utility>

#include "vm/arms.hpp"
#include "vm/memory.hpp"

namespace skep::vm {
namespace {

using isa::Form;
using isa::Op;

// --- an arm for each choice of registers ---

template <Op op, u8 d>
struct AluImm {
  static u64 run(Regs& r) noexcept {
    r.set<d>(isa::arithmetic(op, r.get<d>(), static_cast<u64>(r.pc()->number)));
    return next(r);
  }
};
template <Op op, u8 d, u8 s>
struct AluReg {
  static u64 run(Regs& r) noexcept {
    r.set<d>(isa::arithmetic(op, r.get<d>(), r.get<s>()));
    return next(r);
  }
};
template <Op op, u8 d>
struct AluUnary {
  static u64 run(Regs& r) noexcept {
    r.set<d>(isa::arithmetic(op, r.get<d>(), 0));
    return next(r);
  }
};
template <Op op, u8 d, u8 s>
struct Movsx {
  static u64 run(Regs& r) noexcept {
    r.set<d>(isa::sign_extended(op, r.get<s>()));
    return next(r);
  }
};
template <Op op, u8 d>
struct Endian {
  static u64 run(Regs& r) noexcept {
    r.set<d>(isa::reordered(op, r.get<d>()));
    return next(r);
  }
};
template <Op op, u8 d, u8 s>
struct Load {
  static u64 run(Regs& r) noexcept {
    r.set<d>(load<op>(r.get<s>() + static_cast<u64>(r.pc()->number)));
    return next(r);
  }
};
template <Op op, u8 d>
struct StoreImm {
  static u64 run(Regs& r) noexcept {
    const Slot::Two two = r.pc()->two;
    store<op>(r.get<d>() + static_cast<u64>(s64{two.first}), static_cast<u64>(s64{two.number}));
    return next(r);
  }
};
template <Op op, u8 value, u8 base>
struct StoreReg {
  static u64 run(Regs& r) noexcept {
    store<op>(r.get<base>() + static_cast<u64>(r.pc()->number), r.get<value>());
    return next(r);
  }
};
template <Op op, u8 value, u8 base>
struct Atomic {
  static u64 run(Regs& r) noexcept {
    atomic_update<op>(r.get<base>() + static_cast<u64>(r.pc()->number), r.get<value>());
    return next(r);
  }
};
struct Jump {
  static u64 run(Regs& r) noexcept { return jump(r, r.pc()->number); }
};
template <Op op, u8 d>
struct JumpImm {
  static u64 run(Regs& r) noexcept {
    const Slot::Two two = r.pc()->two;
    if (isa::taken(op, r.get<d>(), static_cast<u64>(s64{two.number}))) return jump(r, two.first);
    return next(r);
  }
};
template <Op op, u8 d, u8 s>
struct JumpReg {
  static u64 run(Regs& r) noexcept {
    if (isa::taken(op, r.get<d>(), r.get<s>())) return jump(r, r.pc()->number);
    return next(r);
  }
};
template <Op op, u8 d>
struct LdImm64 {
  static u64 run(Regs& r) noexcept {
    r.set<d>(r.pc()[1].wide);
    return next(r, 2);
  }
};

// --- any instruction, registers in memory ---

/// Does the instruction at `at` of `code`, the arena's accesses too, on registers in memory. Jumps: whether it is
/// taken.
[[gnu::noinline]] bool perform(const Bytecode& code, std::size_t at, u64* r) noexcept {
  const Insn& insn = code.insns[at];
  const bool in_arena = !code.arena_access.empty() && code.arena_access[at];
  const auto address = [&](u8 reg) {
    return in_arena ? arena_address(code.arena, r[reg], insn.off) : r[reg] + static_cast<u64>(s64{insn.off});
  };
  const u64 imm = static_cast<u64>(s64{insn.imm});
  u64& dst = r[insn.dst];
  u64& src = r[insn.src];
  switch (code.ops[at]) {
#define DO_alu_imm(name) dst = isa::arithmetic(Op::name, dst, imm);
#define DO_alu_reg(name) dst = isa::arithmetic(Op::name, dst, src);
#define DO_alu_unary(name) dst = isa::arithmetic(Op::name, dst, 0);
#define DO_movsx(name) dst = isa::sign_extended(Op::name, src);
#define DO_endian(name) dst = isa::reordered(Op::name, dst);
#define DO_addr_space_cast(name) dst = arena_cast(code.arena, src, insn.imm);
#define DO_load(name) dst = load<Op::name>(address(insn.src));
#define DO_store_imm(name) store<Op::name>(address(insn.dst), imm);
#define DO_store_reg(name) store<Op::name>(address(insn.dst), src);
#define DO_atomic(name) atomic_update<Op::name>(address(insn.dst), src);
#define DO_atomic_fetch(name) src = atomic_fetch<Op::name>(address(insn.dst), src);
#define DO_cmpxchg(name) r[0] = compare_exchange<Op::name>(address(insn.dst), r[0], src);
#define DO_load_acquire(name) dst = load_acquire<Op::name>(address(insn.src));
#define DO_store_release(name) store_release<Op::name>(address(insn.dst), src);
#define DO_jump_imm(name) return isa::taken(Op::name, dst, imm);
#define DO_jump_reg(name) return isa::taken(Op::name, dst, src);
#define DO_jump(name)
#define DO_jump_long(name)
#define DO_may_goto(name)
#define DO_call_helper(name)
#define DO_call_local(name)
#define DO_call_kfunc(name)
#define DO_callx(name)
#define DO_exit(name)
#define DO_ld_imm64(name)
#define DO_ld_abs(name)
#define DO_ld_ind(name)
#define SKEP_INSN(name, code_, src_, off, imm_, form, ...) \
  case Op::name:                                           \
    DO_##form(name) break;
#include "isa/instructions.def"
#undef SKEP_INSN
  }
  return false;
}

template <u8... n>
void spill(const Regs& r, u64* to, std::integer_sequence<u8, n...>) noexcept {
  ((to[n] = r.get<n>()), ...);
}
template <u8... n>
void fill(Regs& r, const u64* from, std::integer_sequence<u8, n...>) noexcept {
  (r.set<n>(from[n]), ...);
}

struct Slow {
  static u64 run(Regs& r) noexcept {
    Machine& machine = *frame_of(r).machine;
    const auto at = static_cast<std::size_t>(r.pc() - machine.code->slots.data());
    spill(r, machine.r, std::make_integer_sequence<u8, register_count>{});
    const bool taken = perform(*machine.code, at, machine.r);
    fill(r, machine.r, std::make_integer_sequence<u8, isa::frame_pointer>{});
    return taken ? jump(r, r.pc()->number) : next(r);
  }
};

// --- which arm ---

constexpr u8 writable_count = isa::frame_pointer;  ///< r0 to r9

template <template <Op, u8> class Body, Op op, std::size_t... d>
constexpr auto make_row(std::index_sequence<d...>) {
  return std::array{&arm<Body<op, static_cast<u8>(d)>>...};
}
template <template <Op, u8, u8> class Body, Op op, std::size_t... i>
constexpr auto make_grid(std::index_sequence<i...>) {
  return std::array{&arm<Body<op, static_cast<u8>(i / register_count), static_cast<u8>(i % register_count)>>...};
}
/// Arms by r0 to r10.
template <template <Op, u8> class Body, Op op>
constexpr auto row_of_arms = make_row<Body, op>(std::make_index_sequence<register_count>{});
/// Arms by r0 to r9 and r0 to r10.
template <template <Op, u8, u8> class Body, Op op>
constexpr auto grid_of_arms = make_grid<Body, op>(std::make_index_sequence<writable_count * register_count>{});

template <template <Op, u8> class Body, Op op>
Arm choose(u8 a) noexcept {
  return row_of_arms<Body, op>[a];
}
template <template <Op, u8, u8> class Body, Op op>
Arm choose(u8 a, u8 b) noexcept {
  return a < writable_count ? grid_of_arms<Body, op>[std::size_t{a} * register_count + b] : &arm<Slow>;
}

/// a < b is b > a: half of the comparisons of registers need no arms.
constexpr Op mirrored(Op op) {
  switch (op) {
    case Op::jlt64_reg:
      return Op::jgt64_reg;
    case Op::jle64_reg:
      return Op::jge64_reg;
    case Op::jslt64_reg:
      return Op::jsgt64_reg;
    case Op::jsle64_reg:
      return Op::jsge64_reg;
    case Op::jlt32_reg:
      return Op::jgt32_reg;
    case Op::jle32_reg:
      return Op::jge32_reg;
    case Op::jslt32_reg:
      return Op::jsgt32_reg;
    case Op::jsle32_reg:
      return Op::jsge32_reg;
    default:
      return op;
  }
}

template <Op op>
Arm choose_alu_reg(const Insn& insn) noexcept {
  constexpr auto alu = isa::alu_of(op);
  if constexpr (alu == isa::Alu::sdiv || alu == isa::Alu::smod)
    return &arm<Slow>;
  else
    return choose<AluReg, op>(insn.dst, insn.src);
}
/// Counting is common, the rest is not.
template <Op op>
Arm choose_atomic(const Insn& insn) noexcept {
  if constexpr (op == Op::atomic_add64 || op == Op::atomic_add32)
    return choose<Atomic, op>(insn.src, insn.dst);
  else
    return &arm<Slow>;
}
template <Op op>
Arm choose_jump_reg(const Insn& insn) noexcept {
  if (insn.src >= writable_count) return &arm<Slow>;
  if constexpr (mirrored(op) != op)
    return choose<JumpReg, mirrored(op)>(insn.src, insn.dst);
  else
    return choose<JumpReg, op>(insn.dst, insn.src);
}

}  // namespace
}  // namespace skep::vm
