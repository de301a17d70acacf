// The back end of the optimising JIT: from the intermediate form (vm/jit/ir.hpp) to machine code.
//
// The passes, each in the file of its name:
//   order     blocks in a line: loops together, the usual path falling through, critical edges split
//   select_*  trees of SSA values become machine instructions over virtual registers (one selector per CPU)
//   live      where each virtual register holds a value, as ranges of positions
//   bundle    values that want the same register (phis, two-address results) become one unit
//   allocate  units get registers: longest first, evicting what costs less, splitting what finds no place
//   split     how a unit that found no place is cut: by value, around calls, by loop, last by single use
//   resolve   the moves that connect the pieces: at edges, at splits, at fixed registers
//   verify    (tests) proves that every use reads the value it should
//   emit_*    bytes
// Source: Wimmer, Franz, "Linear Scan Register Allocation on SSA Form" (2010); the bundles and the eviction by weight
// follow the ideas of LLVM's greedy allocator and of regalloc2.
#pragma once
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <vector>

#include "vm/jit/ir.hpp"

namespace skep::vm::backend {

enum class Machine : u8 { x86_64, arm64 };

/// Whether emit() can write code for the machine it runs on.
#if defined(__x86_64__) || defined(__aarch64__)
inline constexpr bool has_host = true;
#else
inline constexpr bool has_host = false;
#endif

struct Code;
struct Registers;
struct Allocation;
/// Empty when every operand reads the value it should; else the first one that does not.
using AllocationCheck = std::string (*)(const Code&, const Registers&, const Allocation&);

/// What the code is for. Everything beyond the base instruction set is off unless said so.
struct Target {
  Machine machine = Machine::x86_64;
  bool bmi2 = false;                ///< x86-64: shlx, shrx, sarx, rorx, mulx
  bool movbe = false;               ///< x86-64: movbe
  bool popcnt = false;              ///< an instruction (arm64: a few) for popcount
  bool lzcnt = false;               ///< an instruction for leading_zeros
  bool lse = false;                 ///< arm64: single-instruction atomics
  u64 blinding_seed = 0;            ///< what `blinded` numbers are hidden with; not 0 where there are any
  AllocationCheck check = nullptr;  ///< tests: verify_allocation (passes.hpp). Else it is not even linked.

  /// This machine, with what its CPU has. Only where has_host.
  static Target host();
};

/// Machine code that runs wherever it is put.
struct Compiled {
  std::vector<u8> code;
  std::vector<u32> entries;  ///< where each function of the module begins
};

/// `target` is this machine. Errors: limit (the function is too large for this tier).
Result<Compiled> emit_host(const ir::Module& module, const Target& target);
/// For either machine: tests run arm64 code under an emulator. Errors as above.
Result<Compiled> emit(const ir::Module& module, const Target& target);

}  // namespace skep::vm::backend
