// Who keeps kernel objects alive: processes by their descriptors, perf events by the programs on them.
//
// /proc is read, so only processes that this user may look into are seen; what comes and goes meanwhile is left out.
#pragma once
#include <skep/inspect.hpp>
#include <string>
#include <vector>

namespace skep::kernel {

struct Holder {
  enum class Kind : u8 { program, map, link, types };
  int pid = 0;
  int fd = 0;
  std::string comm;
  std::string command_line;  ///< arguments with spaces between; "" for kernel threads
  Kind kind = Kind::program;
  u32 id = 0;  ///< of the object that the descriptor is
};

/// Every descriptor of a program, map, link or BTF in every process that can be looked into.
std::vector<Holder> find_holders();

/// A perf event with a program on it, as BPF_TASK_FD_QUERY tells.
struct PerfUser {
  int pid = 0;
  int fd = 0;
  std::string comm;
  u32 program_id = 0;
  std::string fd_type;  ///< "raw_tracepoint", "tracepoint", "kprobe", "kretprobe", "uprobe", "uretprobe"
  std::string name;     ///< of the tracepoint, function or file
  u64 offset = 0;
  u64 address = 0;  ///< a probe without a name
};

/// Errors: permission.
Result<std::vector<PerfUser>> find_perf_users();

}  // namespace skep::kernel
