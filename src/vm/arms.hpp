// One instruction of the fast loop is one small function, an arm, and in it eBPF registers are machine registers.
//
// An arm ends by jumping to the arm of the next slot: a running program is a chain of jumps, without a loop and without
// decoding. Every arm has the same six parameters, r0 to r5, which therefore stay in the argument registers of the
// calling convention, where a helper wants r1 to r5; r6 to r10 and the slot at hand are in callee-saved registers
// that belong to this interpreter in its one file (GCC's global register variables), so that helpers leave them alone.
// Which registers an instruction names is a parameter of the template that makes its arm: `r1 += r2` and `r1 += r3`
// have different arms of three machine instructions each: add, next slot, jump.
//
// cmake/Interpreter.cmake says SKEP_PINNED=1 where the compiler can do that, together with the options it needs (calls
// at the end of a function must be jumps). Elsewhere (clang, sanitizers) the same arms work on an array of registers
// and return to a loop: right, but several times slower.
//
// Source: GCC manual, "Defining Global Register Variables"; System V ABI AMD64, 3.2.3; AAPCS64, 6.1.1.
#pragma once
#include <algorithm>

#include "vm/bytecode.hpp"
#include "vm/timed_loop.hpp"

#ifndef SKEP_PINNED
#define SKEP_PINNED 0
#endif

#if SKEP_PINNED && defined(__x86_64__)
register const skep::vm::Slot* pinned_pc asm("rbx");
register skep::u64 pinned_r6 asm("r12");
register skep::u64 pinned_r7 asm("r13");
register skep::u64 pinned_r8 asm("r14");
register skep::u64 pinned_r9 asm("r15");
register skep::u64 pinned_r10 asm("rbp");
#elif SKEP_PINNED && defined(__aarch64__)
register const skep::vm::Slot* pinned_pc asm("x19");
register skep::u64 pinned_r6 asm("x20");
register skep::u64 pinned_r7 asm("x21");
register skep::u64 pinned_r8 asm("x22");
register skep::u64 pinned_r9 asm("x23");
register skep::u64 pinned_r10 asm("x24");
#endif

namespace skep::vm {
namespace {

constexpr u8 register_count = isa::register_count;

#if SKEP_PINNED

using Arm = u64 (*)(u64 r0, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5) noexcept;

/// The registers as an arm sees them. Only inside of one: behind a call r0 to r5 are what this object says, r6 to r10
/// what the machine's registers hold.
struct Regs {
  u64 r0, r1, r2, r3, r4, r5;

  template <u8 n>
  [[gnu::always_inline]] u64 get() const noexcept {
    static_assert(n < register_count);
    if constexpr (n == 0) return r0;
    if constexpr (n == 1) return r1;
    if constexpr (n == 2) return r2;
    if constexpr (n == 3) return r3;
    if constexpr (n == 4) return r4;
    if constexpr (n == 5) return r5;
    if constexpr (n == 6) return pinned_r6;
    if constexpr (n == 7) return pinned_r7;
    if constexpr (n == 8) return pinned_r8;
    if constexpr (n == 9) return pinned_r9;
    if constexpr (n == 10) return pinned_r10;
  }
  template <u8 n>
  [[gnu::always_inline]] void set(u64 value) noexcept {
    static_assert(n < register_count);
    if constexpr (n == 0) r0 = value;
    if constexpr (n == 1) r1 = value;
    if constexpr (n == 2) r2 = value;
    if constexpr (n == 3) r3 = value;
    if constexpr (n == 4) r4 = value;
    if constexpr (n == 5) r5 = value;
    if constexpr (n == 6) pinned_r6 = value;
    if constexpr (n == 7) pinned_r7 = value;
    if constexpr (n == 8) pinned_r8 = value;
    if constexpr (n == 9) pinned_r9 = value;
    if constexpr (n == 10) pinned_r10 = value;
  }

  [[gnu::always_inline]] const Slot* pc() const noexcept { return pinned_pc; }
  /// Ends an arm: the instruction at `slot` is next.
  [[gnu::always_inline]] u64 go_to(const Slot* slot) const noexcept {
    pinned_pc = slot;
    asm volatile("" : "+r"(pinned_pc));  // or GCC addresses by the old value, kept in another register
    return reinterpret_cast<Arm>(reinterpret_cast<u64>(pinned_pc->handler))(r0, r1, r2, r3, r4, r5);
  }
  /// Ends the last arm.
  [[gnu::always_inline]] u64 finish(u64 result) const noexcept { return result; }
};

template <class Body>
u64 arm(u64 r0, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5) noexcept {
  Regs r{r0, r1, r2, r3, r4, r5};
  return Body::run(r);
}

/// Runs from `slot` to the end.
u64 run_chain(const Slot* slot, u64 r10, const u64 (&arguments)[5]) noexcept {
  // Nobody saves these registers for us.
  const Slot* const pc_before = pinned_pc;
  const u64 before[] = {pinned_r6, pinned_r7, pinned_r8, pinned_r9, pinned_r10};
  pinned_r10 = r10;
  const Regs r{0, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]};
  const u64 result = r.go_to(slot);
  pinned_r6 = before[0];
  pinned_r7 = before[1];
  pinned_r8 = before[2];
  pinned_r9 = before[3];
  pinned_r10 = before[4];
  pinned_pc = pc_before;
  return result;
}

#else

struct Regs {
  u64 r[register_count] = {};
  const Slot* slot = nullptr;
  bool finished = false;

  template <u8 n>
  u64 get() const noexcept {
    return r[n];
  }
  template <u8 n>
  void set(u64 value) noexcept {
    r[n] = value;
  }
  const Slot* pc() const noexcept { return slot; }
  u64 go_to(const Slot* next) noexcept {
    slot = next;
    return 0;
  }
  u64 finish(u64 result) noexcept {
    finished = true;
    return result;
  }
};

using Arm = u64 (*)(Regs& r) noexcept;

template <class Body>
u64 arm(Regs& r) noexcept {
  return Body::run(r);
}

u64 run_chain(const Slot* slot, u64 r10, const u64 (&arguments)[5]) noexcept {
  Regs r{.slot = slot};
  std::copy_n(arguments, 5, &r.r[1]);
  r.set<10>(r10);
  u64 result = 0;
  while (!r.finished) result = reinterpret_cast<Arm>(reinterpret_cast<u64>(r.slot->handler))(r);
  return result;
}

#endif

/// Ends an arm: what stands behind this slot is next.
[[gnu::always_inline]] inline u64 next(Regs& r, u32 slots = 1) noexcept { return r.go_to(r.pc() + slots); }
/// Ends an arm: a jump. Distances are kept in bytes.
[[gnu::always_inline]] inline u64 jump(Regs& r, s64 bytes) noexcept {
  return r.go_to(reinterpret_cast<const Slot*>(reinterpret_cast<u64>(r.pc()) + static_cast<u64>(bytes)));
}

struct Machine;

/// What is known of a frame. It stands where the frame's stack ends, so r10 is its address; a verified program
/// touches nothing there.
struct Frame {
  Machine* machine;
  const Slot* return_to;  ///< null: the first frame
  u64 r6, r7, r8, r9;     ///< the caller's
  u64 timed_loop;         ///< timed_loop.hpp
};

struct Level {
  alignas(16) std::byte stack[isa::stack_size_bytes];
  Frame frame;
};

/// One run. Lives on the C stack.
struct Machine {
  const Bytecode* code;
  Run* run;
  bool is_callback;       ///< what is thrown goes on to the caller
  u64 r[register_count];  ///< registers of an instruction that has no arm of its own
  Level levels[isa::max_call_frames];
};

[[gnu::always_inline]] inline Frame& frame_of(const Regs& r) noexcept { return *reinterpret_cast<Frame*>(r.get<10>()); }

}  // namespace
}  // namespace skep::vm
