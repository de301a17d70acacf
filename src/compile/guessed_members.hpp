// Kernel structures that a source knows by guess: guessed_members.def.
//
// `*(u8 *)((u64)&sk->sk_gso_max_segs - 3)` was sk_protocol once, and `struct cfs_rq_partial { ... }` the beginning of
// struct cfs_rq. BTF says where the running kernel has the member and what the structure is, so the one becomes
// `(sk->sk_protocol)`, the other the kernel's own; CO-RE finds both.
#pragma once
#include <skep/types.hpp>
#include <string>
#include <string_view>

namespace skep::compile {

/// The source with what it means in the place of its guesses, or "" when it makes none. Line numbers stay.
/// `version`: of the kernel, as LINUX_VERSION_CODE has it.
std::string rewrite_guessed_members(std::string_view source, u32 version);

}  // namespace skep::compile
