// Handlers with more parameters than a BPF function can have: `int syscall__mount(struct pt_regs *ctx, a, b, c, d, e)`.
//
// Five parameters arrive in registers, and clang refuses a sixth; a system call has six arguments beside the context.
// Such a handler is the one thing that is rewritten as text: the parameters become local variables at the beginning of
// its body, in the same lines, read from the registers of the probed function.
#pragma once
#include <string>
#include <string_view>

namespace skep::compile {

/// The source with such handlers rewritten, or "" when it has none. Line numbers stay.
std::string rewrite_wide_handlers(std::string_view source);

}  // namespace skep::compile
