// From eBPF instructions to SSA.
#pragma once
#include "vm/bytecode.hpp"
#include "vm/jit/ir.hpp"

namespace skep::vm::jit {

/// C functions that machine code calls for what has no instruction of its own; all of HelperFn's shape.
struct Runtime {
  /// (map, index, tail_target): the Function that a tail call would run, or 0.
  base::HelperFn find_tail = nullptr;
  /// (bytecode, value): what callx calls: the address of a HelperFn.
  base::HelperFn resolve = nullptr;
  /// (bytecode): the program's result when bpf_throw was called.
  base::HelperFn settle = nullptr;
};

struct BuildOptions {
  u32 inline_insns = 64;    ///< a function of at most so many instructions becomes part of its callers
  bool blind = false;       ///< the program's numbers are ir.def's `blinded`
  u32 growth_insns = 2000;  ///< but no function grows beyond its own size plus this
};

/// A module of the program: functions[0] is the main function, then those that were not inlined and the callbacks.
struct Built {
  ir::Module module;
  std::vector<u32> entries;  ///< by function of the module: its first instruction
};

Built build(const Bytecode& code, const Runtime& runtime, const BuildOptions& options);

}  // namespace skep::vm::jit
