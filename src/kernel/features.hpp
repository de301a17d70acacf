// What this kernel can do, found by trying.
//
// A version number says little: distributions backport, configurations differ, policies refuse. Each question here
// is answered by the smallest attempt that would show it (a two-instruction program, a look at sysfs) and the answer
// is kept, since it cannot change while the process lives.
#pragma once
#include <skep/types.hpp>
#include <string>

namespace skep::kernel {

/// The answers, each found at the first question. Thread-safe.
class Features {
 public:
  /// Attempts that need the right to load programs show this token, which is asked anew each time: it is one session's.
  void use_token(int fd) noexcept { token_ = fd; }

  /// The kernel's kprobe event source (CONFIG_KPROBES, CONFIG_KPROBE_EVENTS; 4.17).
  bool kprobes() const;
  /// Loading fentry/fexit programs (5.5; x86-64 since 5.5, arm64 since 6.0; refused by some configurations).
  bool fentry() const;
  /// Why fentry() is false, as a clause: "the kernel refuses fentry programs (Operation not permitted)".
  std::string fentry_refusal() const;
  /// tracing programs at all (tp_btf): their types must be known to the kernel (CONFIG_DEBUG_INFO_BTF).
  bool kernel_types() const;
  /// Memory of maps and programs is charged to the memory cgroup (5.11), not to RLIMIT_MEMLOCK.
  bool memcg_accounting() const;

  /// Perf events can carry a cookie (5.15), by which a program knows at which of its places it was hit.
  bool event_cookies() const;

  /// Programs at a function's return learn its result by a helper (bpf_get_func_ret, 5.17).
  bool function_results() const;

  /// One link holds many probes of kernel functions (kprobe.multi, 5.18, CONFIG_FPROBE).
  bool kprobe_multi() const;

  /// One link holds many user probes (uprobe.multi, 6.6), and takes a process id for the whole process (since 6.9.4;
  /// before, the probes fired in that one thread only).
  bool uprobe_multi() const;

  /// The running kernel as LINUX_VERSION_CODE has it: major << 16 | minor << 8 | patch (at most 255).
  static u32 version_code();

 private:
  int token_ = -1;
};

/// Where the kernel charges locked memory, raises this process's limit as far as it may. Quiet: a later EPERM explains.
void raise_memlock_limit(const Features& features);

}  // namespace skep::kernel
