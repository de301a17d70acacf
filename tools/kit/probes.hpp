// What a person names to be counted or timed: functions of the kernel, of programs and libraries, tracepoints.
//
//   vfs_read, 'tcp_*'            functions of the kernel
//   c:malloc, /bin/bash:readline, 'c:mem*'     functions of a library or program; "c" is libc.so.6
//   t:sched:sched_switch, 't:sched:sched_*'    tracepoints
//   u:libc:memory_sbrk_more, u:FILE:PROBE      static probes of a program or library
//
// A pattern names many; with `regular_expression` it is one.
#pragma once
#include <skep/spec.hpp>
#include <string>
#include <vector>

namespace skep::tools {

class Kit;

enum class ProbeKind : u8 { kernel_function, user_function, tracepoint, usdt };

struct Probe {
  ProbeKind kind = ProbeKind::kernel_function;
  std::string name;     ///< as it is printed: "vfs_read", "malloc", "sched:sched_switch"
  AttachTarget target;  ///< kprobe, uprobe, tracepoint or usdt
};

struct ProbeQuery {
  std::string pattern;
  bool regular_expression = false;
  int pid = 0;
  bool in_kernel = true;        ///< else tracepoints are those that the user engine has
  bool only_functions = false;  ///< tracepoints and static probes have no return
  std::size_t most = 1000;
};

/// Errors: not_found (nothing matches: says what was looked at), limit, invalid_argument.
Result<std::vector<Probe>> find_probes(const ProbeQuery& query);

/// Functions of the kernel are in the kernel engine only. A value is the exit status to end with.
std::optional<int> choose_engine(Kit& kit, const std::vector<Probe>& probes);

/// The same function's return.
AttachTarget return_of(const AttachTarget& function);

}  // namespace skep::tools
