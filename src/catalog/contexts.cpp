// The context tables, put together from their rows, and the values programs may return.
#include "catalog/contexts.hpp"

namespace skep::catalog {
namespace {

using namespace programs;

#define SKEP_FIELD(name, offset, size, kind, readers, writers, native) \
  {#name, offset, size, Field::kind, readers, writers, native},
constexpr ContextField sk_buff_rows[] = {
#include "catalog/contexts/sk_buff.def"
};
constexpr ContextField xdp_md_rows[] = {
#include "catalog/contexts/xdp_md.def"
};
constexpr ContextField perf_event_rows[] = {
#include "catalog/contexts/perf_event_data.def"
};
#define SKEP_BPF_SOCK
constexpr ContextField bpf_sock_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_BPF_SOCK
#define SKEP_BPF_TCP_SOCK
constexpr ContextField bpf_tcp_sock_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_BPF_TCP_SOCK
#define SKEP_BPF_FLOW_KEYS
constexpr ContextField bpf_flow_keys_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_BPF_FLOW_KEYS
#define SKEP_BPF_SOCK_ADDR
constexpr ContextField bpf_sock_addr_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_BPF_SOCK_ADDR
#define SKEP_BPF_SOCK_OPS
constexpr ContextField bpf_sock_ops_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_BPF_SOCK_OPS
#define SKEP_SK_MSG_MD
constexpr ContextField sk_msg_md_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_SK_MSG_MD
#define SKEP_SK_REUSEPORT_MD
constexpr ContextField sk_reuseport_md_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_SK_REUSEPORT_MD
#define SKEP_BPF_SK_LOOKUP
constexpr ContextField bpf_sk_lookup_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_BPF_SK_LOOKUP
#define SKEP_BPF_XDP_SOCK
constexpr ContextField bpf_xdp_sock_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_BPF_XDP_SOCK
#define SKEP_BPF_SYSCTL
constexpr ContextField bpf_sysctl_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_BPF_SYSCTL
#define SKEP_BPF_SOCKOPT
constexpr ContextField bpf_sockopt_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_BPF_SOCKOPT
#define SKEP_BPF_CGROUP_DEV
constexpr ContextField bpf_cgroup_dev_ctx_rows[] = {
#include "catalog/contexts/sockets.def"
};
#undef SKEP_BPF_CGROUP_DEV
#undef SKEP_FIELD

template <std::size_t N>
constexpr bool ordered(const ContextField (&rows)[N]) {
  for (std::size_t i = 1; i < N; i++)
    if (rows[i].offset < rows[i - 1].offset + rows[i - 1].size) return false;
  return true;
}
static_assert(ordered(sk_buff_rows) && ordered(xdp_md_rows) && ordered(perf_event_rows) && ordered(bpf_sock_rows) &&
                  ordered(bpf_sock_ops_rows) && ordered(sk_msg_md_rows) && ordered(bpf_sk_lookup_rows) &&
                  ordered(bpf_sockopt_rows) && ordered(sk_reuseport_md_rows) && ordered(bpf_sock_addr_rows),
              "contexts/*.def: fields must be in order and apart");

constexpr Context sk_buff{"struct __sk_buff", 192, 216, sk_buff_rows, {}};
constexpr Context xdp_md{"struct xdp_md", 24, 48, xdp_md_rows, {}};
constexpr Context perf_event_data{"struct bpf_perf_event_data", 184, 184, perf_event_rows, {}};
constexpr Context bpf_sock{"struct bpf_sock", 80, 80, bpf_sock_rows, {}};
constexpr Context bpf_tcp_sock{"struct bpf_tcp_sock", 112, 112, bpf_tcp_sock_rows, {}};
constexpr Context bpf_xdp_sock{"struct bpf_xdp_sock", 4, 4, bpf_xdp_sock_rows, {}};
constexpr Context bpf_flow_keys{"struct bpf_flow_keys", 56, 56, bpf_flow_keys_rows, {}};
constexpr Context bpf_sock_addr{"struct bpf_sock_addr", 72, 72, bpf_sock_addr_rows, {}};
constexpr Context bpf_sock_ops{"struct bpf_sock_ops", 224, 224, bpf_sock_ops_rows, {}};
constexpr Context sk_msg_md{"struct sk_msg_md", 80, 80, sk_msg_md_rows, {}};
constexpr Context sk_reuseport_md{"struct sk_reuseport_md", 56, 56, sk_reuseport_md_rows, {}};
constexpr Context bpf_sk_lookup{"struct bpf_sk_lookup", 72, 72, bpf_sk_lookup_rows, {}};
constexpr Context bpf_sysctl{"struct bpf_sysctl", 8, 8, bpf_sysctl_rows, {}};
constexpr Context bpf_sockopt{"struct bpf_sockopt", 40, 40, bpf_sockopt_rows, {}};
constexpr Context bpf_cgroup_dev{"struct bpf_cgroup_dev_ctx", 12, 12, bpf_cgroup_dev_ctx_rows, {}};
constexpr Context pt_regs{"struct pt_regs", 168, 168, {}, {0, 168, false}};
constexpr Context tracepoint_record{"the tracepoint record", 8192, 8192, {}, {8, 8192, false}};
constexpr Context raw_tracepoint_args{"struct bpf_raw_tracepoint_args", 96, 96, {}, {0, 96, false}};
constexpr Context nf_ctx{"struct bpf_nf_ctx", 16, 16, {}, {0, 16, false}};
constexpr Context sample_word{"unsigned int", 4, 4, {}, {0, 4, false}};
constexpr Context syscall_buffer{"the caller's buffer", 65535, 65535, {}, {0, 65535, true}};

}  // namespace

const Context& bpf_sock_fields() noexcept { return bpf_sock; }
const Context& bpf_tcp_sock_fields() noexcept { return bpf_tcp_sock; }
const Context& bpf_xdp_sock_fields() noexcept { return bpf_xdp_sock; }
const Context& bpf_flow_keys_fields() noexcept { return bpf_flow_keys; }

const Context* context_of(ProgramType type) noexcept {
  switch (type) {
    case ProgramType::socket_filter:
    case ProgramType::sched_cls:
    case ProgramType::sched_act:
    case ProgramType::cgroup_skb:
    case ProgramType::lwt_in:
    case ProgramType::lwt_out:
    case ProgramType::lwt_xmit:
    case ProgramType::lwt_seg6local:
    case ProgramType::sk_skb:
    case ProgramType::flow_dissector:
      return &sk_buff;
    case ProgramType::xdp:
      return &xdp_md;
    case ProgramType::kprobe:
      return &pt_regs;
    case ProgramType::perf_event:
      return &perf_event_data;
    case ProgramType::tracepoint:
      return &tracepoint_record;
    case ProgramType::raw_tracepoint:
    case ProgramType::raw_tracepoint_writable:
    case ProgramType::tracing:
    case ProgramType::lsm:
    case ProgramType::struct_ops:
      return &raw_tracepoint_args;
    case ProgramType::netfilter:
      return &nf_ctx;
    case ProgramType::cgroup_sock:
      return &bpf_sock;
    case ProgramType::cgroup_sock_addr:
      return &bpf_sock_addr;
    case ProgramType::sock_ops:
      return &bpf_sock_ops;
    case ProgramType::sk_msg:
      return &sk_msg_md;
    case ProgramType::sk_reuseport:
      return &sk_reuseport_md;
    case ProgramType::sk_lookup:
      return &bpf_sk_lookup;
    case ProgramType::cgroup_sysctl:
      return &bpf_sysctl;
    case ProgramType::cgroup_sockopt:
      return &bpf_sockopt;
    case ProgramType::cgroup_device:
      return &bpf_cgroup_dev;
    case ProgramType::lirc_mode2:
      return &sample_word;
    case ProgramType::syscall:
      return &syscall_buffer;
    case ProgramType::unspec:
    case ProgramType::ext:
      return nullptr;
  }
  return nullptr;
}

std::string_view kernel_context(ProgramType type) noexcept {
  if (contains(skb & ~flow_dissector, type)) return "sk_buff";
  switch (type) {
    case ProgramType::flow_dissector:
      return "bpf_flow_dissector";
    case ProgramType::xdp:
      return "xdp_buff";
    case ProgramType::cgroup_sock:
      return "sock";
    case ProgramType::cgroup_sock_addr:
      return "bpf_sock_addr_kern";
    case ProgramType::sock_ops:
      return "bpf_sock_ops_kern";
    case ProgramType::sk_msg:
      return "sk_msg";
    case ProgramType::sk_reuseport:
      return "sk_reuseport_kern";
    case ProgramType::sk_lookup:
      return "bpf_sk_lookup_kern";
    case ProgramType::cgroup_sysctl:
      return "bpf_sysctl_kern";
    case ProgramType::cgroup_sockopt:
      return "bpf_sockopt_kern";
    case ProgramType::perf_event:
      return "bpf_perf_event_data_kern";
    case ProgramType::kprobe:
      return "pt_regs";
    case ProgramType::netfilter:
      return "bpf_nf_ctx";
    default:
      return {};
  }
}

namespace {
ReturnRange address_range(AttachType attach) {
  switch (attach) {
    case AttachType::cgroup_udp4_recvmsg:
    case AttachType::cgroup_udp6_recvmsg:
    case AttachType::cgroup_unix_recvmsg:
    case AttachType::cgroup_inet4_getpeername:
    case AttachType::cgroup_inet6_getpeername:
    case AttachType::cgroup_unix_getpeername:
    case AttachType::cgroup_inet4_getsockname:
    case AttachType::cgroup_inet6_getsockname:
    case AttachType::cgroup_unix_getsockname:
      return {true, 1, 1};
    case AttachType::cgroup_inet4_bind:
    case AttachType::cgroup_inet6_bind:
      return {true, 0, 3};
    default:
      return {true, 0, 1};
  }
}

ReturnRange tracing_range(AttachType attach) {
  switch (attach) {
    case AttachType::trace_fentry:
    case AttachType::trace_fexit:
      return {true, 0, 0};
    case AttachType::trace_iter:
      return {true, 0, 1};
    default:
      return {};
  }
}
}  // namespace

ReturnRange return_range(ProgramType type, AttachType attach) noexcept {
  switch (type) {
    case ProgramType::cgroup_sock_addr:
      return address_range(attach);
    case ProgramType::cgroup_skb:
      return {true, 0, attach == AttachType::cgroup_inet_egress ? 3 : 1};
    case ProgramType::cgroup_sock:
    case ProgramType::cgroup_device:
    case ProgramType::cgroup_sysctl:
    case ProgramType::cgroup_sockopt:
    case ProgramType::sock_ops:
    case ProgramType::sk_lookup:
    case ProgramType::netfilter:
      return {true, 0, 1};
    case ProgramType::tracing:
      return tracing_range(attach);
    case ProgramType::kprobe:  // of a session: whether the return is wanted
      if (attach != AttachType::trace_kprobe_session && attach != AttachType::trace_uprobe_session) return {};
      return {true, 0, 1};
    default:
      return {};
  }
}

}  // namespace skep::catalog
