// The seccomp filter that lets only wanted system calls stop.
//
// One balanced tree of comparisons per ABI over the call's number. Every decision to allow depends on architecture and
// number only, so the kernel (5.11 on) evaluates it once per number when the filter is installed and afterwards allows
// unwanted x86-64 and i386 calls by a bitmap, without running the filter. i386 socketcall is the one exception: its
// first argument says which socket call it is. Source: Documentation/userspace-api/seccomp_filter.rst;
// include/uapi/linux/{seccomp,filter,audit}.h.
#pragma once
#include <linux/filter.h>

#include <skep/result.hpp>
#include <vector>

#include "hook/syscall_event.hpp"

namespace skep::hook {

/// Returns `action` (SECCOMP_RET_USER_NOTIF or SECCOMP_RET_TRACE) for wanted calls and SECCOMP_RET_ALLOW for others.
/// `catch_untraced` also stops clone(2) with CLONE_UNTRACED, which would create a task without a tracer.
/// Errors: limit when the kernel's bound on filter length is exceeded.
Result<std::vector<sock_filter>> syscall_filter(const SyscallInterest& interest, u32 action, bool catch_untraced);

}  // namespace skep::hook
