// Where the values of a program come from, and which registers are still needed: what implicit_reads.cpp asks.
//
// An abstract run over all paths at once. Of each register and each 8 bytes of stack it keeps a set of origins, not a
// value; sets join where paths meet. It proves nothing (the verifier does): it tells addresses that only a helper may
// read from those that a program may load from. Where it is in doubt it says so, and a helper that reads memory is
// right for both.
#pragma once
#include <array>
#include <skep/spec.hpp>
#include <vector>

namespace skep::compile {

/// A set of origins.
namespace origin {
inline constexpr u8 unset = 1;   ///< never written on some path
inline constexpr u8 zero = 2;    ///< the number 0: an absent pointer
inline constexpr u8 number = 4;  ///< computed, read, or the result of a helper: as an address, the kernel's or user's
inline constexpr u8 memory = 8;  ///< stack, map values, records, packets: what the program may load from
inline constexpr u8 callers_stack = 16;  ///< memory of a calling function, in which its pointers may lie
inline constexpr u8 context = 32;        ///< the program's context
inline constexpr u8 kernel_object = 64;  ///< a structure the verifier knows the type of
inline constexpr u8 addressable = memory | callers_stack | context | kernel_object;
}  // namespace origin

/// What loads from the context give.
enum class ContextKind : u8 {
  registers,  ///< numbers (kprobes, tracepoints, perf events)
  objects,    ///< pointers to structures (tp_btf, fentry, LSM, iterators)
  packet,     ///< packet data, sockets (network programs)
};

struct FlowFacts {
  /// Of the base register of each load, store or atomic instruction; 0 for others and where no path leads.
  std::vector<u8> base;
  /// Registers (bits 0-10) that are read after this instruction before they are written, and hold something.
  std::vector<u16> live_after;
  /// For each function of the program: the deepest byte of its stack that is used, as a positive number.
  std::vector<u32> stack_depth;
  /// For each instruction: the function it belongs to.
  std::vector<u32> function_of;
};

/// Errors: malformed (a jump out of the program, no functions).
Result<FlowFacts> analyse_flow(const ObjectSpec& spec, const ProgramSpec& program, ContextKind context);

}  // namespace skep::compile
