// Programs attached to control groups: BPF_PROG_QUERY over a hierarchy, BPF_PROG_ATTACH and DETACH.
#pragma once
#include <filesystem>
#include <skep/inspect.hpp>
#include <vector>

namespace skep::kernel {

struct CgroupProgram {
  u32 program_id = 0;
  AttachType attach_type = AttachType::none;
  u32 attach_flags = 0;  ///< 1 override, 2 multi
  // lsm_cgroup: the kernel function that is the hook.
  u32 attach_btf_object_id = 0, attach_btf_id = 0;
  std::string attach_btf_name;
};

struct CgroupPrograms {
  std::filesystem::path cgroup;
  std::vector<CgroupProgram> programs;
};

/// BPF_F_ALLOW_OVERRIDE, BPF_F_ALLOW_MULTI, BPF_F_QUERY_EFFECTIVE.
inline constexpr u32 cgroup_override = 1, cgroup_multi = 2, cgroup_effective = 1;

/// The attach types that a control group has, in the kernel's order.
std::span<const AttachType> cgroup_attach_types();

/// What is attached to one group; `effective`: what runs there, ancestors' included.
/// Errors: not_found, invalid_argument (no control group), permission.
Result<std::vector<CgroupProgram>> cgroup_programs(const std::filesystem::path& cgroup, bool effective);

/// Every group below `root` that has programs. "" : where the unified hierarchy is mounted.
Result<std::vector<CgroupPrograms>> cgroup_tree(const std::filesystem::path& root, bool effective);

/// `flags`: cgroup_override, cgroup_multi.
Result<void> cgroup_attach(const std::filesystem::path& cgroup, AttachType type, u32 program_id, u32 flags);
Result<void> cgroup_detach(const std::filesystem::path& cgroup, AttachType type, u32 program_id);

}  // namespace skep::kernel
