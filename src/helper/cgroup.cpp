// Helpers about the control group of the current task.
//
// A run by hand or a traced call has a task; its group is looked up in /proc at each call, a few microseconds.
// Source: kernel/bpf/helpers.c (bpf_get_current_cgroup_id), kernel/bpf/cgroup.c, kernel/trace/bpf_trace.c
// (bpf_current_task_under_cgroup).
#include "map/cgroup.hpp"

#include <cerrno>

#include "helper/bind.hpp"

namespace skep::helper {

namespace {
map::CgroupPath path_of(Call& call) noexcept {
  return call.task != nullptr ? map::cgroup_of_task(static_cast<u32>(call.task->pid_tgid())) : map::CgroupPath{};
}
}  // namespace

static u64 get_current_cgroup_id(Call& call) noexcept { return path_of(call).id(); }
SKEP_BIND(get_current_cgroup_id)

/// Level 0 is the root. 0: there is no such level.
static u64 get_current_ancestor_cgroup_id(Call& call, s32 level) noexcept {
  return level >= 0 ? path_of(call).ancestor(static_cast<u32>(level)) : 0;
}
SKEP_BIND(get_current_ancestor_cgroup_id)

/// 1 inside, 0 outside, -EAGAIN for an empty place.
static s64 current_task_under_cgroup(Call& call, Map& groups, u32 index) noexcept {
  u64 group = 0;
  if (const s64 error = map::cgroup_at(groups, index, group); error != 0) return error;
  if (group == 0) return -EAGAIN;
  return path_of(call).is_under(group) ? 1 : 0;
}
SKEP_BIND(current_task_under_cgroup)

}  // namespace skep::helper
