// How the interpreter, machine code of the JITs, helpers and callbacks call one another.
//
// All of them share one C function shape: the run first, then r1..r5, the result is r0. A helper, a
// bpf-to-bpf function and a callback are therefore the same thing to whoever calls them, in any tier.
#pragma once
#include <skep/types.hpp>

namespace skep::base {

/// Memory that bodies hand out during a checked run, besides what its guard knows: slices of dynptrs, records, objects.
/// The checked loop allows it and nothing behind its end. Unchecked runs have none: there the proof is enough.
struct Lending {
  virtual ~Lending() = default;
  virtual void lend(const void* address, u64 bytes, bool writable) noexcept = 0;
  /// What begins at `address` is gone: a touch of it is a fault from now on.
  virtual void take_back(const void* address) noexcept = 0;
};

/// The CPU whose slots of per-CPU maps runs on this thread use. map::RunSection sets it.
inline constinit thread_local u32 current_cpu = 0;

/// What belongs to one run of a program and to nothing else; a hook's own context derives from it (helper::Call).
/// Machine code reads these fields: layout in vm/jit.
struct Run {
  u32 tail_calls = 0;          ///< made so far, over all programs of this run
  u32 callback_depth = 0;      ///< callbacks that are running inside one another
  u64 thrown_value = 0;        ///< the cookie of bpf_throw
  bool thrown = false;         ///< bpf_throw happened: every frame returns at once
  u32 cpu = current_cpu;       ///< for machine code; vm::Function::run() makes it the thread's again
  void* checks = nullptr;      ///< of machine code with checks (vm/jit/checks.hpp)
  void* checked = nullptr;     ///< the checked loop this run belongs to, if any: its callbacks are checked too
  const void* lent = nullptr;  ///< memory of a helper that the callback it runs may read (a map's key)
  u32 lent_bytes = 0;
  Lending* lending = nullptr;  ///< of checked runs

  void lend(const void* address, u64 bytes, bool writable) noexcept {
    if (lending != nullptr && address != nullptr) lending->lend(address, bytes, writable);
  }
  void take_back(const void* address) noexcept {
    if (lending != nullptr) lending->take_back(address);
  }
};

/// `run` is a Run*: opaque in the type because helper tables are plain data of several rooms.
using HelperFn = u64 (*)(void* run, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept;

/// What ld_imm64 of a function yields: the address of one of these. Lives as long as its vm::Function.
struct Callback {
  /// Machine code of the function, or nullptr: then `interpret` runs it. A faster tier may replace it at any time.
  HelperFn native = nullptr;
  u64 (*interpret)(const Callback& self, void* run, const u64 (&arguments)[5]) noexcept = nullptr;
  const void* code = nullptr;  ///< the interpreter's own
  u32 insn = 0;                ///< where the function begins

  u64 operator()(void* run, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) const noexcept {
    const HelperFn code_now = __atomic_load_n(&native, __ATOMIC_ACQUIRE);
    // A checked run stays checked: the interpreter's own entry knows about it.
    if (code_now != nullptr && static_cast<const Run*>(run)->checked == nullptr)
      return code_now(run, a1, a2, a3, a4, a5);
    return interpret(*this, run, {a1, a2, a3, a4, a5});
  }
};

}  // namespace skep::base
