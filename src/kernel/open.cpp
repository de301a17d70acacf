// See open.hpp.
#include "kernel/open.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "btf/btf.hpp"
#include "kernel/info.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

/// A copy of a descriptor that this process has of the object: what it loaded itself it may name without the right to
/// open what others loaded.
base::Fd open_own(uapi::Cmd cmd, u32 id) {
  const std::string_view key = cmd == uapi::Cmd::prog_get_fd_by_id   ? "prog_id:"
                               : cmd == uapi::Cmd::map_get_fd_by_id  ? "map_id:"
                               : cmd == uapi::Cmd::link_get_fd_by_id ? "link_id:"
                                                                     : "btf_id:";
  // The end of "anon_inode:bpf-prog", "anon_inode:bpf-map", "anon_inode:bpf_link" and "anon_inode:btf".
  const std::string_view kind = key.substr(0, key.find('_'));
  std::error_code error;
  for (std::filesystem::directory_iterator at("/proc/self/fd", error), end; !error && at != end; at.increment(error)) {
    const std::string link = std::filesystem::read_symlink(at->path(), error).native();
    if (!link.starts_with("anon_inode:b") || !link.ends_with(kind)) continue;
    const int fd = std::atoi(at->path().filename().c_str());
    if (FdInfo(fd).number(key) == id) return base::Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 1));
  }
  return {};
}

}  // namespace

Result<base::Fd> open_by_id(uapi::Cmd cmd, u32 id, std::string_view kind) {
  uapi::ObjectId attr{id, 0, 0};
  const int fd = bpf(cmd, attr);
  if (fd == -ENOENT) return fail(Code::not_found, fmt::format("the kernel has no {} with id {}", kind, id), ENOENT);
  if (fd == -EPERM)
    if (auto own = open_own(cmd, id)) return own;
  if (fd < 0) return tl::unexpected(bpf_error(cmd, fmt::format("{} {}", kind, id), -fd));
  base::Fd opened(fd);
  if (fd != 0) return opened;
  // The process has no standard input. Where bpf(2) takes such a descriptor, 0 often means that there is none.
  base::Fd above(::fcntl(fd, F_DUPFD_CLOEXEC, 1));
  if (!above) return tl::unexpected(base::os_error(fmt::format("{} {}", kind, id)));
  return above;
}

namespace {
Result<std::shared_ptr<const btf::Btf>> types_by_id(u32 id, int depth) {
  const auto fd = SKEP_TRY(open_by_id(uapi::Cmd::btf_get_fd_by_id, id, "BTF object"));
  auto object = SKEP_TRY(btf_object(fd.get()));
  std::shared_ptr<const btf::Btf> base;
  if (object.is_kernel && object.name != "vmlinux" && depth == 0)
    base = SKEP_TRY(btf::Btf::from_file("/sys/kernel/btf/vmlinux"));
  return btf::Btf::parse(std::move(object.bytes), std::move(base));
}

}  // namespace

Result<std::shared_ptr<const btf::Btf>> types_by_id(u32 id) { return types_by_id(id, 0); }

Result<std::shared_ptr<const btf::Btf>> types_of_program(int fd) {
  const auto info = SKEP_TRY(raw_program_info(fd));
  if (info.btf_id == 0) return fail(Code::not_found, fmt::format("program {} was loaded without types", info.id));
  return types_by_id(info.btf_id);
}

}  // namespace skep::kernel
