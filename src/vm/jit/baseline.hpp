// The baseline JIT: machine code in one pass over the instructions, in about the time the first run takes.
//
// eBPF registers live in fixed machine registers and every instruction becomes one to a few machine instructions, so
// there is nothing to analyse; only which callee-saved registers a function needs is looked up before. What comes out
// has base::HelperFn's shape for the program and for each of its functions. Programs start in this code and hot ones
// leave it for the optimiser's (vm/jit/tiering.hpp).
// Source: RFC 9669; System V ABI AMD64, section 3.2; AAPCS64; Linux for tail calls, may_goto and the extensions.
#pragma once
#include "vm/bytecode.hpp"
#include "vm/jit/code_memory.hpp"

namespace skep::vm::jit {

struct BaselineOptions {
  /// Not 0: constants of the program do not appear in the code; each is the exclusive or of two numbers drawn from
  /// this seed. Against programs that smuggle machine code in as numbers.
  u64 blinding_seed = 0;
};

/// Machine code in its place. The program begins at code.data().
struct Placed {
  MachineCode code;
  std::vector<u32> callbacks;  ///< where each of Bytecode::callbacks begins
};

/// Whether this machine has an emitter; code with checks (checks.hpp) has one where this has.
#if defined(__x86_64__) || defined(__aarch64__)
inline constexpr bool has_baseline = true;
#else
inline constexpr bool has_baseline = false;
#endif

/// Errors: unsupported (a machine without an emitter; a jump from one function into another), limit (a jump that is too
/// far: arm64, some ten million instructions), those of CodeMemory::add. `code` must outlive what is placed.
Result<Placed> compile_baseline(const Bytecode& code, const BaselineOptions& options, CodeMemory& memory);

}  // namespace skep::vm::jit
