// One instruction of straight-line code as the checked interpreter runs it, on the registers machine code wrote down.
//
// Only for what machine code's checks do not let pass: the rest of a block behind an access that fits no window, and
// what can still be paid for at the end of the budget. The meaning is that of isa/semantics.hpp and vm/memory.hpp, as
// everywhere.
#include "vm/jit/checks.hpp"
#include "vm/memory.hpp"

namespace skep::vm::jit {

using isa::Op;

namespace {

class Step {
 public:
  Step(Checks& checks, const CheckedCode& code, u32 at)
      : checks_(checks), code_(*code.bytecode), at_(at), insn_(code_.insns[at]) {}

  bool run();

 private:
  u64& dst() { return checks_.registers[insn_.dst]; }
  u64& src() { return checks_.registers[insn_.src]; }
  u64 imm() const { return static_cast<u64>(static_cast<s64>(insn_.imm)); }
  bool in_arena() const { return !code_.arena_access.empty() && code_.arena_access[at_]; }
  u64 address(u64 base) const {
    if (in_arena()) return arena_address(code_.arena, base, insn_.off);
    return base + static_cast<u64>(static_cast<s64>(insn_.off));
  }
  bool set(u64& reg, u64 value) {
    if (&reg == &checks_.registers[isa::frame_pointer]) {
      checks_.violate(Violation::frame_pointer, at_);
      return false;
    }
    reg = value;
    return true;
  }
  bool may(u64 where, u32 size, bool write) {
    if (in_arena() || checks_.find(where, size, write, -1)) return true;
    checks_.violate_access(Violation::memory, at_, where, size, write);
    return false;
  }
  bool may_atomic(u64 where, u32 size, bool write) {
    if (!may(where, size, write)) return false;
    if (where % size == 0) return true;
    checks_.violate_access(Violation::misaligned, at_, where, size, write);
    return false;
  }

  Checks& checks_;
  const Bytecode& code_;
  const u32 at_;
  const Insn& insn_;
};

// Forms that end a block are not stepped.
#define ARM_alu_imm(name) return set(dst(), isa::arithmetic(Op::name, dst(), imm()));
#define ARM_alu_reg(name) return set(dst(), isa::arithmetic(Op::name, dst(), src()));
#define ARM_alu_unary(name) return set(dst(), isa::arithmetic(Op::name, dst(), 0));
#define ARM_movsx(name) return set(dst(), isa::sign_extended(Op::name, src()));
#define ARM_endian(name) return set(dst(), isa::reordered(Op::name, dst()));
#define ARM_addr_space_cast(name) return set(dst(), arena_cast(code_.arena, src(), insn_.imm));
#define ARM_jump(name) return false;
#define ARM_jump_long(name) return false;
#define ARM_may_goto(name) return false;
#define ARM_jump_imm(name) return false;
#define ARM_jump_reg(name) return false;
#define ARM_call_helper(name) return false;
#define ARM_call_local(name) return false;
#define ARM_call_kfunc(name) return false;
#define ARM_callx(name) return false;
#define ARM_exit(name) return false;
#define ARM_ld_abs(name) return false;
#define ARM_ld_ind(name) return false;
#define ARM_load(name) \
  return may(address(src()), row_bytes(Op::name), false) && set(dst(), load<Op::name>(address(src())));
#define ARM_store_imm(name)                                          \
  if (!may(address(dst()), row_bytes(Op::name), true)) return false; \
  store<Op::name>(address(dst()), imm());                            \
  return true;
#define ARM_store_reg(name)                                          \
  if (!may(address(dst()), row_bytes(Op::name), true)) return false; \
  store<Op::name>(address(dst()), src());                            \
  return true;
#define ARM_atomic(name)                                                    \
  if (!may_atomic(address(dst()), row_bytes(Op::name), true)) return false; \
  atomic_update<Op::name>(address(dst()), src());                           \
  return true;
#define ARM_atomic_fetch(name)                                              \
  if (!may_atomic(address(dst()), row_bytes(Op::name), true)) return false; \
  if (insn_.src == isa::frame_pointer) return set(src(), 0);                \
  return set(src(), atomic_fetch<Op::name>(address(dst()), src()));
#define ARM_cmpxchg(name)                                                   \
  if (!may_atomic(address(dst()), row_bytes(Op::name), true)) return false; \
  return set(checks_.registers[0], compare_exchange<Op::name>(address(dst()), checks_.registers[0], src()));
#define ARM_load_acquire(name)                                               \
  if (!may_atomic(address(src()), row_bytes(Op::name), false)) return false; \
  return set(dst(), load_acquire<Op::name>(address(src())));
#define ARM_store_release(name)                                             \
  if (!may_atomic(address(dst()), row_bytes(Op::name), true)) return false; \
  store_release<Op::name>(address(dst()), src());                           \
  return true;
#define ARM_ld_imm64(name) return set(dst(), code_.slots[at_ + 1].wide);

bool Step::run() {
  switch (code_.ops[at_]) {
#define SKEP_INSN(name, code, src, off, imm, form, ...) \
  case Op::name:                                        \
    ARM_##form(name)
#include "isa/instructions.def"
#undef SKEP_INSN
  }
  return false;
}

}  // namespace

bool step(Checks& checks, const CheckedCode& code, u32 insn) noexcept { return Step(checks, code, insn).run(); }

}  // namespace skep::vm::jit
