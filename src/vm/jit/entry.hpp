// How a program is entered in any tier, and what machine code calls that has no instruction of its own.
//
// A program's entry is one HelperFn-shaped pointer in its Function: (run, context, 0, 0, 0, function). Machine code
// ignores the last argument; the entries that are C++ (the interpreter's, and the one that counts runs until a
// program is hot) find the Function by it. A tail call therefore is: look the Function up, leave the frame, jump to
// its entry with itself as the last argument; who is compiled and who is interpreted does not matter to it.
#pragma once
#include "base/run.hpp"
#include "vm/function.hpp"

namespace skep::vm {

/// Offset of Function's entry pointer, for machine code.
inline constexpr s32 function_entry_at = 0;

/// The entry of a Function that has no machine code.
u64 interpret_entry(void* run, u64 r1, u64 r2, u64 r3, u64 r4, u64 function) noexcept;

/// The main function's answer when bpf_throw was called below it: that of the exception callback, or the cookie.
u64 settle_throw(void* run, const Bytecode* code) noexcept;

}  // namespace skep::vm
