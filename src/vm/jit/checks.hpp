// What machine code with checks reads and writes while it runs.
//
// Such code asks before every access that is not plainly inside its own frame: the address must lie in the region that
// the last access of its kind found (two compares), else find_region() looks through all of them. eBPF frames lie one
// behind the other in `stack`, as in the checked interpreter, so that an address outside of one is the same fault in
// both. A violation is written down here and ends the run the way an exception of the program does: every function
// returns at once.
#pragma once
#include <array>
#include <span>

#include "isa/isa.hpp"
#include "vm/checked_program.hpp"

namespace skep::vm::jit {

/// Why a checked run ended early.
enum class Violation : u8 { none, memory, misaligned, budget, depth, frame_pointer, ran_off };

/// Places an access of 1, 2, 4 or 8 bytes may begin: `address - begin <= last[log2 of size]`.
struct Window {
  u64 begin = 0;
  u64 last[4] = {};
};

struct Checks {
  Window windows[2];  ///< of the last read and the last write; at first, and when a frame ends, the first frame
  s64 insns_left = 0;
  u64 frame_end = 0;  ///< r10 of the frame that is running
  u64 stack_end = 0;  ///< r10 of the deepest frame there may be
  Violation violation = Violation::none;
  u32 insn = 0;     ///< where
  u64 address = 0;  ///< of memory and misaligned
  u32 size = 0;
  bool write = false;
  Run* run = nullptr;
  std::span<const MemoryRegion> regions;
  MemoryGuard* guard = nullptr;
  std::array<MemoryRegion, 16> lent;  ///< values that map look-ups returned, the oldest is forgotten first
  u32 lent_next = 0;
  alignas(16) std::array<std::byte, isa::max_call_frames * isa::stack_size_bytes> stack;
};

/// An access as machine code names it in one number.
constexpr u32 access_word(u32 insn, u32 log2_size, bool write) { return insn << 3 | log2_size << 1 | u32{write}; }

/// Whether the access may be made; else it is the run's violation. `run` is a Run whose `checks` is a Checks.
u64 find_region(void* run, u64 access, u64 address) noexcept;
/// A map look-up returned `value`: the program may use it. `bytecode` knows how large it is.
u64 lend(void* run, u64 bytecode, u64 map, u64 value) noexcept;
/// Writes a violation down (`what` is a Violation).
void violate(void* run, u64 what, u64 access, u64 address) noexcept;

}  // namespace skep::vm::jit
