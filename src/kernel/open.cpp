// See open.hpp.
#include "kernel/open.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <cerrno>

#include "btf/btf.hpp"
#include "kernel/info.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

Result<base::Fd> open_by_id(uapi::Cmd cmd, u32 id, std::string_view kind) {
  uapi::ObjectId attr{id, 0, 0};
  const int fd = bpf(cmd, attr);
  if (fd == -ENOENT) return fail(Code::not_found, fmt::format("the kernel has no {} with id {}", kind, id), ENOENT);
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
