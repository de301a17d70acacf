// A value for each task: task_storage maps.
//
// A task is a thread id together with the time its thread began, so a number that is used again is another task. Values
// of tasks that ended are dropped when room is needed, and every so often.
// Source: kernel/bpf/bpf_task_storage.c, bpf_local_storage.c.
#pragma once
#include "map/map.hpp"

namespace skep::map {

struct TaskIdentity {
  u32 tid = 0;
  u64 started = 0;  ///< clock ticks since boot, from /proc/TID/stat; 0: no such task

  bool known() const noexcept { return tid != 0 && started != 0; }
};
/// Asks /proc.
TaskIdentity identify_task(u32 tid) noexcept;

/// The task's value, or nullptr. `create`: made if absent, from `initial` (value_size bytes) or of zeros.
/// Valid for the program's run.
void* task_storage_get(Map& map, const TaskIdentity& task, bool create, const void* initial) noexcept;
/// 0, -ENOENT, -EINVAL for another map type.
s64 task_storage_erase(Map& map, const TaskIdentity& task) noexcept;

}  // namespace skep::map
