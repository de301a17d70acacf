# Numbers of the kernel's interface by BCC's names (include/uapi/linux/bpf.h, perf_event.h, if_link.h).


def _numbered(name, words, first=0):
    """A class with an attribute for each word, numbered in order; "_" leaves a number out."""
    values = {word: number for number, word in enumerate(words.split(), first) if word != "_"}
    return type(name, (object,), values)


def _bits(name, words):
    return type(name, (object,), {word: 1 << bit for bit, word in enumerate(words.split())})


PerfType = _numbered("PerfType", "HARDWARE SOFTWARE TRACEPOINT HW_CACHE RAW BREAKPOINT")
PerfHWConfig = _numbered("PerfHWConfig", """CPU_CYCLES INSTRUCTIONS CACHE_REFERENCES CACHE_MISSES BRANCH_INSTRUCTIONS
    BRANCH_MISSES BUS_CYCLES STALLED_CYCLES_FRONTEND STALLED_CYCLES_BACKEND REF_CPU_CYCLES""")
PerfSWConfig = _numbered("PerfSWConfig", """CPU_CLOCK TASK_CLOCK PAGE_FAULTS CONTEXT_SWITCHES CPU_MIGRATIONS
    PAGE_FAULTS_MIN PAGE_FAULTS_MAJ ALIGNMENT_FAULTS EMULATION_FAULTS DUMMY BPF_OUTPUT""")
PerfEventSampleFormat = _bits("PerfEventSampleFormat", """IP TID TIME ADDR READ CALLCHAIN ID CPU PERIOD STREAM_ID RAW
    BRANCH_STACK REGS_USER STACK_USER WEIGHT DATA_SRC IDENTIFIER TRANSACTION REGS_INTR PHYS_ADDR AUX CGROUP
    DATA_PAGE_SIZE CODE_PAGE_SIZE WEIGHT_STRUCT""")
BPFProgType = _numbered("BPFProgType", """SOCKET_FILTER KPROBE SCHED_CLS SCHED_ACT TRACEPOINT XDP PERF_EVENT CGROUP_SKB
    CGROUP_SOCK LWT_IN LWT_OUT LWT_XMIT SOCK_OPS SK_SKB CGROUP_DEVICE SK_MSG RAW_TRACEPOINT CGROUP_SOCK_ADDR _ _ _ _ _ _
    CGROUP_SOCKOPT TRACING _ _ LSM""", 1)
BPFAttachType = _numbered("BPFAttachType", """CGROUP_INET_INGRESS CGROUP_INET_EGRESS CGROUP_INET_SOCK_CREATE
    CGROUP_SOCK_OPS SK_SKB_STREAM_PARSER SK_SKB_STREAM_VERDICT CGROUP_DEVICE SK_MSG_VERDICT CGROUP_INET4_BIND
    CGROUP_INET6_BIND CGROUP_INET4_CONNECT CGROUP_INET6_CONNECT CGROUP_INET4_POST_BIND CGROUP_INET6_POST_BIND
    CGROUP_UDP4_SENDMSG CGROUP_UDP6_SENDMSG LIRC_MODE2 FLOW_DISSECTOR CGROUP_SYSCTL CGROUP_UDP4_RECVMSG
    CGROUP_UDP6_RECVMSG CGROUP_GETSOCKOPT CGROUP_SETSOCKOPT TRACE_RAW_TP TRACE_FENTRY TRACE_FEXIT MODIFY_RETURN LSM_MAC
    TRACE_ITER CGROUP_INET4_GETPEERNAME CGROUP_INET6_GETPEERNAME CGROUP_INET4_GETSOCKNAME CGROUP_INET6_GETSOCKNAME
    XDP_DEVMAP CGROUP_INET_SOCK_RELEASE XDP_CPUMAP SK_LOOKUP XDP SK_SKB_VERDICT""")
XDPAction = _numbered("XDPAction", "XDP_ABORTED XDP_DROP XDP_PASS XDP_TX XDP_REDIRECT")
XDPFlags = _bits("XDPFlags", "UPDATE_IF_NOEXIST SKB_MODE DRV_MODE HW_MODE REPLACE")

# The user engine's and the kernel's names of hooks for attach_func(): where a target is a control group.
CGROUP_HOOKS = {
    BPFAttachType.CGROUP_INET_INGRESS: "cgroup_skb/ingress",
    BPFAttachType.CGROUP_INET_EGRESS: "cgroup_skb/egress",
    BPFAttachType.CGROUP_INET_SOCK_CREATE: "cgroup/sock_create",
    BPFAttachType.CGROUP_SOCK_OPS: "sockops",
    BPFAttachType.CGROUP_DEVICE: "cgroup/dev",
    BPFAttachType.CGROUP_INET4_BIND: "cgroup/bind4",
    BPFAttachType.CGROUP_INET6_BIND: "cgroup/bind6",
    BPFAttachType.CGROUP_INET4_CONNECT: "cgroup/connect4",
    BPFAttachType.CGROUP_INET6_CONNECT: "cgroup/connect6",
    BPFAttachType.CGROUP_INET4_POST_BIND: "cgroup/post_bind4",
    BPFAttachType.CGROUP_INET6_POST_BIND: "cgroup/post_bind6",
    BPFAttachType.CGROUP_UDP4_SENDMSG: "cgroup/sendmsg4",
    BPFAttachType.CGROUP_UDP6_SENDMSG: "cgroup/sendmsg6",
    BPFAttachType.CGROUP_SYSCTL: "cgroup/sysctl",
    BPFAttachType.CGROUP_UDP4_RECVMSG: "cgroup/recvmsg4",
    BPFAttachType.CGROUP_UDP6_RECVMSG: "cgroup/recvmsg6",
    BPFAttachType.CGROUP_GETSOCKOPT: "cgroup/getsockopt",
    BPFAttachType.CGROUP_SETSOCKOPT: "cgroup/setsockopt",
    BPFAttachType.CGROUP_INET4_GETPEERNAME: "cgroup/getpeername4",
    BPFAttachType.CGROUP_INET6_GETPEERNAME: "cgroup/getpeername6",
    BPFAttachType.CGROUP_INET4_GETSOCKNAME: "cgroup/getsockname4",
    BPFAttachType.CGROUP_INET6_GETSOCKNAME: "cgroup/getsockname6",
    BPFAttachType.CGROUP_INET_SOCK_RELEASE: "cgroup/sock_release",
}
# Where a target is a map of sockets.
SOCKMAP_HOOKS = {
    BPFAttachType.SK_SKB_STREAM_PARSER: "sk_skb/stream_parser",
    BPFAttachType.SK_SKB_STREAM_VERDICT: "sk_skb/stream_verdict",
    BPFAttachType.SK_SKB_VERDICT: "sk_skb/verdict",
    BPFAttachType.SK_MSG_VERDICT: "sk_msg",
}

# Counters by their type and number: how the kernel engine names them.
PERF_EVENTS = {
    (0, 0): "cpu-cycles", (0, 1): "instructions", (0, 2): "cache-references", (0, 3): "cache-misses",
    (0, 4): "branch-instructions", (0, 5): "branch-misses", (0, 6): "bus-cycles", (0, 7): "stalled-cycles-frontend",
    (0, 8): "stalled-cycles-backend", (0, 9): "ref-cycles",
    (1, 0): "cpu-clock", (1, 1): "task-clock", (1, 2): "page-faults", (1, 3): "context-switches",
    (1, 4): "cpu-migrations", (1, 5): "minor-faults", (1, 6): "major-faults", (1, 7): "alignment-faults",
    (1, 8): "emulation-faults",
}
