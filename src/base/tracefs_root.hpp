// The root directory of tracefs, wherever it is.
//
// Usually it is mounted at /sys/kernel/tracing or /sys/kernel/debug/tracing. Where it is not (containers, minimal
// systems), a privileged process can have its own: fsopen(2), fsconfig(2) and fsmount(2) give a mount that is in no
// directory tree, which nobody else sees and which goes with its descriptor.
#pragma once
#include "base/fd.hpp"

namespace skep::base {

/// The mounted one, else a private one (`is_private`), which needs CAP_SYS_ADMIN. Empty, with errno set, where there
/// is neither.
Fd open_tracefs(bool& is_private);

}  // namespace skep::base
