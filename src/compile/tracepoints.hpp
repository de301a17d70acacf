// The records of tracepoints, as C structs for the BCC dialect.
//
// TRACEPOINT_PROBE(category, event) gives its body `args`, a pointer to the event's record. For system calls the
// layout follows from the arguments (syscall_args.def), the same on every machine and with no privilege; other
// events are described by the kernel: their format file in tracefs, or its BTF where tracefs cannot be read.
#pragma once
#include <skep/result.hpp>
#include <string>
#include <string_view>

#include "compile/scan.hpp"

namespace skep::compile {

/// Places to look, changed by tests.
struct TracepointSources {
  std::string tracefs = "/sys/kernel/tracing";
  std::string debugfs = "/sys/kernel/debug/tracing";
  std::string btf = "/sys/kernel/btf/vmlinux";
  bool may_mount = true;  ///< where tracefs is mounted nowhere, a mount that only this process sees
};

/// `struct tracepoint__CATEGORY__EVENT {...};`
/// Errors: not_found when nobody here knows the event; the message says where skep looked.
Result<std::string> tracepoint_struct(const TracepointName& name, const TracepointSources& sources = {});

/// The struct of an event from the text of its tracefs format file. Errors: malformed.
Result<std::string> struct_from_format(const TracepointName& name, std::string_view format);

}  // namespace skep::compile
