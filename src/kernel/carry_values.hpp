// What a carrier finds in the kernel's memory, as instructions: files behind descriptors, names in paths, structures
// that it builds. Registers are agreed: r6 is the context, r7 the file, r8 its socket, r9 its sock, or the memory in
// which structures are built; what is loaded goes to a register of the caller's choice, and r0 to r5 are spoilt.
#pragma once
#include "isa/isa.hpp"
#include "kernel/assembler.hpp"
#include "kernel/carry.hpp"

namespace skep::kernel {

// struct pt_regs of x86-64, by offset.
inline constexpr s16 regs_bytes = 168, regs_ax = 80, regs_orig_ax = 120, regs_ip = 128;
inline constexpr s16 argument_registers[] = {112, 104, 96, 88, 72, 64};  // di si dx cx r8 r9
// The carrier's stack.
inline constexpr s16 context_slot = -8, view = context_slot - regs_bytes;
inline constexpr s32 helper_map_lookup = 1, helper_get_current_task = 35, helper_probe_read_kernel = 113;

/// dst = what lies `offset` bytes behind the kernel address in r3, 0 where nothing can be read.
void read_behind(assembler::Program& code, u8 dst, u32 offset, u8 bytes);

/// r7 = the file of the descriptor, r8 = its socket, r9 = its sock, as far as they are used; leaves where there is
/// none.
void find_file(assembler::Program& code, const Carrier& carrier);

/// dst = what a column of the table names.
void load_value(assembler::Program& code, const Carrier& carrier, u8 dst, s8 argument);

/// r9 = the memory of this CPU's structures, which are filled. Nothing where there are none.
void build_structures(assembler::Program& code, const Carrier& carrier);

/// The address of a structure, into the view at `to`, as a plain number: programs calculate with it.
void place_structure(assembler::Program& code, s8 argument, s16 to);

}  // namespace skep::kernel
