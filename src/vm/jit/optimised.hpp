// The optimising JIT as the tiers see it: a verified program in, machine code in its place out.
#pragma once
#include "vm/jit/baseline.hpp"

namespace skep::vm::jit {

/// `program` is null for code that is trusted without a proof (tests, vectors): then no fact may be used.
/// `blinding_seed`: as BaselineOptions.
/// Called from the background thread too. Errors: unsupported (names what this tier cannot compile), limit, those of
/// CodeMemory::add.
Result<Placed> compile_optimised(const Bytecode& code, const verify::VerifiedProgram* program, CodeMemory& memory,
                                 u64 blinding_seed = 0);

}  // namespace skep::vm::jit
