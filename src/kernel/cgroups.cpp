// See cgroups.hpp. Source: include/uapi/linux/bpf.h (Linux 6.18), kernel/bpf/cgroup.c.
#include "kernel/cgroups.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>

#include "backend/names.hpp"
#include "base/mapped_file.hpp"
#include "btf/btf.hpp"
#include "kernel/info.hpp"
#include "kernel/open.hpp"
#include "kernel/pins.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

constexpr long cgroup2_magic = 0x63677270;  // CGROUP2_SUPER_MAGIC
constexpr u32 most_programs = 1024;

Result<base::Fd> open_cgroup(const std::filesystem::path& path) {
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return tl::unexpected(base::os_error(path.native()));
  struct statfs facts{};
  if (::fstatfs(fd.get(), &facts) != 0) return tl::unexpected(base::os_error(path.native()));
  if (static_cast<long>(facts.f_type) != cgroup2_magic)
    return fail(Code::invalid_argument,
                fmt::format("{} is not a control group of the unified hierarchy (cgroup2), which programs attach to",
                            path.native()));
  return fd;
}

/// Fills in the kernel function that a program was loaded for.
void name_hook(CgroupProgram& program) {
  const auto fd = open_by_id(uapi::Cmd::prog_get_fd_by_id, program.program_id, "program");
  const auto info = fd ? raw_program_info(fd->get()) : Result<uapi::ProgInfo>();
  if (!fd || !info || info->attach_btf_id == 0) return;
  program.attach_btf_object_id = info->attach_btf_obj_id;
  program.attach_btf_id = info->attach_btf_id;
  const auto types = btf::Btf::from_file("/sys/kernel/btf/vmlinux");
  if (types && info->attach_btf_id < (*types)->type_count())
    program.attach_btf_name = (*types)->type(info->attach_btf_id).name;
}

Result<std::vector<CgroupProgram>> query(int cgroup, bool effective) {
  std::vector<CgroupProgram> found;
  std::optional<Error> refused;
  bool any = false;
  for (const AttachType type : cgroup_attach_types()) {
    std::vector<u32> ids(most_programs), flags(most_programs);
    uapi::ProgQuery attr;
    attr.target_fd = static_cast<u32>(cgroup);
    attr.attach_type = static_cast<u32>(type);
    attr.query_flags = effective ? cgroup_effective : 0;
    attr.prog_ids = address_of(ids.data());
    attr.count = most_programs;
    if (!effective && type == AttachType::lsm_cgroup) attr.prog_attach_flags = address_of(flags.data());
    const int status = bpf(uapi::Cmd::prog_query, attr);
    if (status == -EPERM) refused = bpf_error(uapi::Cmd::prog_query, "control group", EPERM);
    if (status < 0) continue;  // a type that this kernel does not know
    any = true;
    for (u32 i = 0; i < std::min(attr.count, most_programs); ++i) {
      CgroupProgram& program = found.emplace_back();
      program.program_id = ids[i];
      program.attach_type = type;
      program.attach_flags = effective ? 0 : attr.attach_flags;
      name_hook(program);
    }
  }
  if (!any && refused) return tl::unexpected(std::move(*refused));
  return found;
}

Result<void> change(uapi::Cmd cmd, const std::filesystem::path& cgroup, AttachType type, u32 program_id, u32 flags) {
  const auto group = SKEP_TRY(open_cgroup(cgroup));
  const auto program = SKEP_TRY(open_by_id(uapi::Cmd::prog_get_fd_by_id, program_id, "program"));
  uapi::ProgAttach attr;
  attr.target_fd = static_cast<u32>(group.get());
  attr.attach_bpf_fd = static_cast<u32>(program.get());
  attr.attach_type = static_cast<u32>(type);
  attr.attach_flags = flags;
  const int status = bpf(cmd, attr);
  const std::string place = fmt::format("{} {}", cgroup.native(), backend::attach_type_name(type));
  if (status == -ENOENT)
    return fail(Code::not_found, fmt::format("{}: program {} is not attached there", place, program_id), ENOENT);
  if (status == -EINVAL)
    return fail(Code::invalid_argument,
                fmt::format("{}: program {} does not fit: its type, or the attach type it was loaded for, is another",
                            place, program_id),
                EINVAL);
  if (status < 0) return tl::unexpected(bpf_error(cmd, place, -status));
  return {};
}

}  // namespace

std::span<const AttachType> cgroup_attach_types() {
  using enum AttachType;
  static constexpr AttachType types[] = {cgroup_inet_ingress,
                                         cgroup_inet_egress,
                                         cgroup_inet_sock_create,
                                         cgroup_sock_ops,
                                         cgroup_device,
                                         cgroup_inet4_bind,
                                         cgroup_inet6_bind,
                                         cgroup_inet4_connect,
                                         cgroup_inet6_connect,
                                         cgroup_inet4_post_bind,
                                         cgroup_inet6_post_bind,
                                         cgroup_udp4_sendmsg,
                                         cgroup_udp6_sendmsg,
                                         cgroup_sysctl,
                                         cgroup_udp4_recvmsg,
                                         cgroup_udp6_recvmsg,
                                         cgroup_getsockopt,
                                         cgroup_setsockopt,
                                         cgroup_inet4_getpeername,
                                         cgroup_inet6_getpeername,
                                         cgroup_inet4_getsockname,
                                         cgroup_inet6_getsockname,
                                         cgroup_inet_sock_release,
                                         AttachType::lsm_cgroup,
                                         cgroup_unix_connect,
                                         cgroup_unix_sendmsg,
                                         cgroup_unix_recvmsg,
                                         cgroup_unix_getpeername,
                                         cgroup_unix_getsockname};
  return types;
}

Result<std::vector<CgroupProgram>> cgroup_programs(const std::filesystem::path& cgroup, bool effective) {
  const auto fd = SKEP_TRY(open_cgroup(cgroup));
  return query(fd.get(), effective);
}

Result<std::vector<CgroupPrograms>> cgroup_tree(const std::filesystem::path& given, bool effective) {
  std::filesystem::path root = given;
  if (root.empty()) {
    const auto mounted = mounts(SKEP_TRY(base::read_text("/proc/self/mountinfo", 4u << 20)), "cgroup2");
    if (mounted.empty())
      return fail(Code::not_found,
                  "no unified control group hierarchy is mounted (mount -t cgroup2 none /sys/fs/cgroup/unified)");
    root = mounted.front().point;
  }
  std::vector<CgroupPrograms> found;
  const auto add = [&](const std::filesystem::path& path) -> Result<void> {
    auto programs = SKEP_TRY(cgroup_programs(path, effective));
    if (!programs.empty()) found.push_back({path, std::move(programs)});
    return {};
  };
  SKEP_TRY(add(root));
  std::error_code error;
  using Walk = std::filesystem::recursive_directory_iterator;
  for (Walk at(root, std::filesystem::directory_options::skip_permission_denied, error), end; !error && at != end;
       at.increment(error))
    if (at->is_directory(error)) (void)add(at->path());  // a group that goes meanwhile is left out
  return found;
}

Result<void> cgroup_attach(const std::filesystem::path& cgroup, AttachType type, u32 program_id, u32 flags) {
  return change(uapi::Cmd::prog_attach, cgroup, type, program_id, flags);
}

Result<void> cgroup_detach(const std::filesystem::path& cgroup, AttachType type, u32 program_id) {
  return change(uapi::Cmd::prog_detach, cgroup, type, program_id, 0);
}

}  // namespace skep::kernel
