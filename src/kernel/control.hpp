// What the kernel lets one do to programs beyond loading them: counting their runs, the old way of attaching.
#pragma once
#include <skep/inspect.hpp>

#include "base/fd.hpp"

namespace skep::kernel {

/// The kernel counts runs and their time of every program as long as this descriptor is open (5.8).
/// It costs each run two readings of a clock. Errors: permission, unsupported.
Result<base::Fd> enable_statistics();

/// What a program wrote with bpf_stream_printk, or the kernel about it (a lock that would never be got, a fault in an
/// arena); reading takes it away (6.17).
enum class ProgramStream : u8 { standard_output = 1, standard_error = 2 };
/// Errors: unsupported (older kernels), not_found, permission.
Result<std::string> read_stream(u32 program_id, ProgramStream stream);

/// BPF_PROG_ATTACH to a sockmap or sockhash, or with map 0 the flow dissector of this network namespace.
Result<void> attach_program(u32 program_id, AttachType type, u32 map_id);
Result<void> detach_program(u32 program_id, AttachType type, u32 map_id);

/// Makes an iterator of a loaded iter program and pins its link: reading the path runs the program. `map_id`: the map
/// whose elements it visits, or 0.
Result<void> pin_iterator(u32 program_id, u32 map_id, const std::string& path);

}  // namespace skep::kernel
