// Probes: the smallest attempt that answers each question.
#include "kernel/features.hpp"

#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <skep/spec.hpp>

#include "base/fd.hpp"
#include "base/kernel_version.hpp"
#include "catalog/helpers.hpp"
#include "kernel/perf_event.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

/// Loads {call `helper`; r0 = 0; exit}, without the call where `helper` is 0. The descriptor, or -errno.
int load_smallest(ProgramType type, AttachType expected, u32 attach_btf_id, s32 helper, int token) {
  Insn insns[3];
  u32 count = 0;
  if (helper != 0) insns[count++] = {0x85, 0, 0, 0, helper};
  insns[count++] = {0xb7, 0, 0, 0, 0};
  insns[count++] = {0x95, 0, 0, 0, 0};
  uapi::ProgLoad attr;
  attr.prog_type = static_cast<u32>(type);
  attr.expected_attach_type = expected == AttachType::none ? 0 : static_cast<u32>(expected);
  attr.attach_btf_id = attach_btf_id;
  attr.insns = address_of(insns);
  attr.insn_cnt = count;
  attr.kern_version = Features::version_code();  // kprobe programs before 5.0
  attr.license = address_of("GPL");
  if (token >= 0) {
    attr.prog_flags |= uapi::flag_token;
    attr.prog_token_fd = token;
  }
  return bpf(uapi::Cmd::prog_load, attr);
}

/// The same as 0 or errno.
int try_load(ProgramType type, AttachType expected, u32 attach_btf_id, s32 helper, int token = -1) {
  const int fd = load_smallest(type, expected, attach_btf_id, helper, token);
  if (fd < 0) return -fd;
  ::close(fd);
  return 0;
}

/// A link of probes whose names lie nowhere: EFAULT where the kernel knows such links, and so wants to read them.
bool knows_kprobe_multi(int token) {
  const base::Fd program(std::max(-1, load_smallest(ProgramType::kprobe, AttachType::trace_kprobe_multi, 0, 0, token)));
  if (!program) return false;
  uapi::LinkCreateKprobeMulti attr{
      .on = {static_cast<u32>(program.get()), 0, static_cast<u32>(AttachType::trace_kprobe_multi), 0}};
  attr.symbols = 8;  // in the first page, where nothing is
  attr.count = 1;
  return bpf(uapi::Cmd::link_create, attr) == -EFAULT;
}

/// A link of user probes on a directory, which is no file to probe: EBADF where the kernel knows such links and looks
/// at the path. A process id of -1 is looked at before the path (EINVAL) by those kernels that take it for a process.
bool knows_uprobe_multi(int token) {
  const base::Fd program(std::max(-1, load_smallest(ProgramType::kprobe, AttachType::trace_uprobe_multi, 0, 0, token)));
  if (!program) return false;
  const u64 offset = 0;
  uapi::LinkCreateUprobeMulti attr{
      .on = {static_cast<u32>(program.get()), 0, static_cast<u32>(AttachType::trace_uprobe_multi), 0}};
  attr.path = address_of("/");
  attr.offsets = address_of(&offset);
  attr.count = 1;
  const auto refusal_with = [&](s32 pid) {
    attr.pid = static_cast<u32>(pid);
    return -bpf(uapi::Cmd::link_create, attr);
  };
  return refusal_with(0) == EBADF && refusal_with(-1) == EINVAL;
}

/// errno of loading an fentry program on type 1, which is never a function: EPERM means that the kernel refuses
/// fentry before it looks, anything else that it looked.
int fentry_errno(int token) {
  if (token >= 0) return try_load(ProgramType::tracing, AttachType::trace_fentry, 1, 0, token);
  static const int error = try_load(ProgramType::tracing, AttachType::trace_fentry, 1, 0);
  return error;
}

}  // namespace

bool Features::kprobes() const {
  static const bool present = perf_source_type("kprobe").has_value();
  return present;
}

bool Features::kernel_types() const {
  static const bool present = ::access("/sys/kernel/btf/vmlinux", R_OK) == 0;
  return present;
}

bool Features::fentry() const { return kernel_types() && fentry_errno(token_) != EPERM; }

std::string Features::fentry_refusal() const {
  if (!kernel_types()) return "this kernel has no types (CONFIG_DEBUG_INFO_BTF is off), which fentry needs";
  return fmt::format("this kernel refuses fentry programs ({})", ::strerrordesc_np(fentry_errno(token_)));
}

bool Features::memcg_accounting() const {
  if (token_ >= 0) return true;  // tokens are younger
  // bpf_ktime_get_coarse_ns came in the same release as memory cgroup accounting, 5.11.
  static const bool present = try_load(ProgramType::socket_filter, AttachType::none, 0, 160) == 0;
  return present;
}

bool Features::event_cookies() const {
  if (token_ >= 0) return true;
  constexpr auto get_attach_cookie = static_cast<s32>(catalog::HelperId::get_attach_cookie);
  static const bool present = try_load(ProgramType::kprobe, AttachType::none, 0, get_attach_cookie) == 0;
  return present;
}

bool Features::function_results() const {
  if (token_ >= 0) return true;
  // bpf_strncmp came in the same release, for programs that name no function. A helper that is known is refused for its
  // missing arguments (EACCES), one that is not as such (EINVAL).
  constexpr auto strncmp = static_cast<s32>(catalog::HelperId::strncmp);
  static const bool present = try_load(ProgramType::kprobe, AttachType::none, 0, strncmp) != EINVAL;
  return present;
}

bool Features::kprobe_multi() const {
  if (token_ >= 0) return knows_kprobe_multi(token_);
  static const bool present = knows_kprobe_multi(token_);
  return present;
}

bool Features::uprobe_multi() const {
  if (token_ >= 0) return knows_uprobe_multi(token_);
  static const bool present = knows_uprobe_multi(token_);
  return present;
}

u32 Features::version_code() { return base::kernel_version_code(); }

void raise_memlock_limit(const Features& features) {
  if (features.memcg_accounting()) return;
  rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &limit) == 0) return;
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_MEMLOCK, &limit);
}

}  // namespace skep::kernel
