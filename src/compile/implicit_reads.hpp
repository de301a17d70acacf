// Loads through kernel pointers, made into calls of a helper: `task->real_parent->tgid` in a BCC source.
//
// A program may not load from an address that it was given as a number: a kprobe's argument, what
// bpf_get_current_task() says, a pointer that was itself read. BCC rewrites the source; here the compiled program is
// rewritten, where one load is one load, whatever expression it came from. Each becomes
//
//   *(u64 *)(r10 - 24) = r2       ; what the call would destroy and is needed afterwards
//   r3 = r6                       ; the address; a CO-RE relocation of the load's offset stays with the addition
//   r3 += 1408
//   r2 = 8
//   r1 = r10
//   r1 += -16                     ; room below all that the function uses of its stack
//   call bpf_probe_read
//   r6 = *(u64 *)(r10 - 16)       ; 0 where nothing could be read, as with BCC
//   r2 = *(u64 *)(r10 - 24)
//
// bpf_probe_read (helper 4) reads user and kernel memory, told apart by the address, so a `const char __user *` may be
// looked through as well. Network programs, which lack it, use bpf_probe_read_kernel.
#pragma once
#include <skep/result.hpp>
#include <skep/spec.hpp>

namespace skep::compile {

/// Rewrites one program. Errors, each with the source line: invalid_argument (a store through a kernel pointer),
/// limit (no stack left, a jump too long).
Result<void> make_reads_explicit(const ObjectSpec& spec, ProgramSpec& program);

}  // namespace skep::compile
