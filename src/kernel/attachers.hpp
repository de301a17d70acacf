// The functions that attach_ways.def names, and what they share. Only attach*.cpp and usdt.cpp include this.
#pragma once
#include <string_view>

#include "base/target_words.hpp"
#include "kernel/attach.hpp"
#include "kernel/syscall.hpp"

struct perf_event_attr;

namespace skep::kernel {

// attach_trace.cpp
Attached attach_tracepoint(const AttachRequest& request);
Attached attach_raw_tracepoint(const AttachRequest& request);
Attached attach_trampoline(const AttachRequest& request);  ///< tp_btf, fentry and its kind, lsm, freplace
Attached attach_lsm_cgroup(const AttachRequest& request);
Attached attach_iterator(const AttachRequest& request);
// attach_probe.cpp
Attached attach_kprobe(const AttachRequest& request);
Attached attach_kprobe_multi(const AttachRequest& request);
Attached attach_perf_event(const AttachRequest& request);
// attach_user.cpp
Attached attach_uprobe(const AttachRequest& request);
Attached attach_uprobe_multi(const AttachRequest& request);
// usdt.cpp
Attached attach_usdt(const AttachRequest& request);
// attach_net.cpp
Attached attach_xdp(const AttachRequest& request);
Attached attach_tc(const AttachRequest& request);
Attached attach_netkit(const AttachRequest& request);
Attached attach_netfilter(const AttachRequest& request);
Attached attach_namespace(const AttachRequest& request);  ///< flow_dissector, sk_lookup
// attach_socket.cpp
Attached attach_socket(const AttachRequest& request);
Attached attach_reuseport(const AttachRequest& request);
Attached attach_sock_map(const AttachRequest& request);
Attached attach_infrared(const AttachRequest& request);
Attached attach_cgroup(const AttachRequest& request);

/// The first four fields of BPF_LINK_CREATE.
inline uapi::LinkTarget link_target(const AttachRequest& request, int target, AttachType type, u32 flags = 0) {
  return {static_cast<u32>(request.program_fd), static_cast<u32>(target), static_cast<u32>(type), flags};
}

/// The error of a failed BPF_LINK_CREATE, `hint` in brackets behind it ("" for none).
Error link_error(const AttachRequest& request, int error_number, std::string_view hint = {});

/// A map of the program's object, or nullptr.
KernelMap* map_named(const AttachRequest& request, std::string_view name);

/// Whether this kernel does not know a command, a link type or an attach type: EINVAL and relatives, which say no more.
bool is_unknown(int error_number) noexcept;

/// "a:b:c" at the first or the last ':'; the second is empty where there is none.
std::pair<std::string_view, std::string_view> split_first(std::string_view text, char at = ':');
std::pair<std::string_view, std::string_view> split_last(std::string_view text, char at = ':');

using base::is_pattern;
using base::whole_number;

/// What a target must look like, as an error.
Error wrong_target(const AttachRequest& request, std::string_view found);

/// Opens a directory or file for its descriptor only. Errors name the place and the path.
Result<base::Fd> open_path(const AttachRequest& request, const std::string& path, std::string_view what);

/// Ties the program to an opened event: by a link (5.15), else by ioctl(2), which every kernel with BPF has.
Result<void> attach_to_event(const AttachRequest& request, base::Fd event, Attachment& attachment, u64 cookie);

}  // namespace skep::kernel
