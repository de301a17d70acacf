// Groups of program types, as sets: tables say "these may" in one word.
//
// A set is a bit mask over ProgramType. Helper prototypes and context fields name the types that may call or
// touch them by the groups below; the kernel decides the same per type in its *_func_proto and
// *_is_valid_access functions.
// Source: Linux 6.18, net/core/filter.c, kernel/trace/bpf_trace.c, kernel/bpf/{helpers,cgroup}.c.
#pragma once
#include <skep/spec.hpp>

namespace skep::catalog {

using ProgramSet = u64;

constexpr ProgramSet set_of(ProgramType type) { return u64{1} << static_cast<u32>(type); }
constexpr bool contains(ProgramSet set, ProgramType type) { return (set >> static_cast<u32>(type) & 1) != 0; }

namespace programs {
#define SKEP_PROGRAM_TYPE(name, number, printed, since) inline constexpr ProgramSet name = u64{1} << number;
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE

inline constexpr ProgramSet none = 0;
inline constexpr ProgramSet all = ~u64{0};
inline constexpr ProgramSet raw_tp = raw_tracepoint | raw_tracepoint_writable;
/// Programs that observe: may read kernel memory.
inline constexpr ProgramSet tracers = kprobe | tracepoint | perf_event | raw_tp | tracing | lsm | syscall;
inline constexpr ProgramSet tc = sched_cls | sched_act;
inline constexpr ProgramSet lwt = lwt_in | lwt_out | lwt_xmit | lwt_seg6local;
/// Programs whose context is a struct __sk_buff.
inline constexpr ProgramSet skb = socket_filter | tc | cgroup_skb | lwt | sk_skb | flow_dissector;
/// Programs attached to a cgroup.
inline constexpr ProgramSet cgroup =
    cgroup_skb | cgroup_sock | cgroup_sock_addr | cgroup_device | cgroup_sysctl | cgroup_sockopt | sock_ops;
inline constexpr ProgramSet cgroup_control =
    cgroup_sock | cgroup_sock_addr | cgroup_device | cgroup_sysctl | cgroup_sockopt;
inline constexpr ProgramSet network =
    skb | xdp | sock_ops | sk_msg | sk_reuseport | sk_lookup | cgroup_sock | cgroup_sock_addr;
}  // namespace programs

}  // namespace skep::catalog
