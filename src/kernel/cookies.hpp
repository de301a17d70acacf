// Cookies on kernels whose hooks have none (events before 5.15).
//
// A cookie tells a program at which of its places it was hit. Where the kernel cannot tell, a load of the program is
// made for each cookie, and the cookie written into it in the place of the question: so one program still serves
// places that differ, whatever process they are in (the address, which libbpf goes by there, depends on that).
#pragma once
#include <skep/spec.hpp>

namespace skep::kernel {

/// Whether the program calls bpf_get_attach_cookie().
bool asks_for_cookie(const ProgramSpec& program) noexcept;

/// Puts the answer in the place of each such call. Errors: unsupported when a jump would get longer than its field.
Result<void> write_cookie(ProgramSpec& program, u64 cookie);

}  // namespace skep::kernel
