// The kernel's bpf(2) interface as plain structures: command numbers, argument layouts, info layouts.
//
// bpf(2) takes a command, a structure and its size. A kernel that knows a shorter structure accepts a longer one
// as long as the surplus is zero, and a kernel that knows a longer one fills the rest with zeros. So each command
// has its own structure here, zero-initialised, and one binary speaks to every kernel from 4.x on.
//
// These are facts of the kernel ABI: field order and width must not change. kernel_test.cpp compares offsets with
// the installed <linux/bpf.h> as far as that header goes.
// Source: include/uapi/linux/bpf.h, union bpf_attr and the bpf_*_info structures (Linux 6.18).
#pragma once
#include <skep/types.hpp>

namespace skep::kernel::uapi {

/// enum bpf_cmd.
enum class Cmd : u32 {
#define SKEP_BPF_COMMAND(name, number, printed, needs) name = number,
#include "kernel/commands.def"
#undef SKEP_BPF_COMMAND
};

constexpr u32 object_name_bytes = 16;  ///< BPF_OBJ_NAME_LEN, with the terminating zero

struct MapCreate {
  u32 map_type = 0;
  u32 key_size = 0;
  u32 value_size = 0;
  u32 max_entries = 0;
  u32 map_flags = 0;
  u32 inner_map_fd = 0;
  u32 numa_node = 0;
  char map_name[object_name_bytes] = {};
  u32 map_ifindex = 0;
  u32 btf_fd = 0;
  u32 btf_key_type_id = 0;
  u32 btf_value_type_id = 0;
  u32 btf_vmlinux_value_type_id = 0;
  u64 map_extra = 0;
  s32 value_type_btf_obj_fd = 0;  ///< struct_ops: the types of a module, with flag_vtype_btf_obj_fd (6.9)
  s32 map_token_fd = 0;           ///< with flag_token
};

/// Flags of maps, programs and types (6.9): a token is shown.
constexpr u32 flag_token = 1u << 16;
/// Of maps (6.9).
constexpr u32 flag_vtype_btf_obj_fd = 1u << 15;

struct MapElem {
  u32 map_fd = 0;
  u32 pad = 0;
  u64 key = 0;
  u64 value_or_next_key = 0;
  u64 flags = 0;
};

/// Look-ups of many elements; in_batch and out_batch hold max(key_size, 4) bytes.
struct MapBatch {
  u64 in_batch = 0;
  u64 out_batch = 0;
  u64 keys = 0;
  u64 values = 0;
  u32 count = 0;
  u32 map_fd = 0;
  u64 elem_flags = 0;
  u64 flags = 0;
};

struct MapFreeze {
  u32 map_fd = 0;
};
struct ProgBindMap {
  u32 prog_fd = 0;
  u32 map_fd = 0;
  u32 flags = 0;
};

struct ProgLoad {
  u32 prog_type = 0;
  u32 insn_cnt = 0;
  u64 insns = 0;
  u64 license = 0;
  u32 log_level = 0;
  u32 log_size = 0;
  u64 log_buf = 0;
  u32 kern_version = 0;
  u32 prog_flags = 0;
  char prog_name[object_name_bytes] = {};
  u32 prog_ifindex = 0;
  u32 expected_attach_type = 0;
  u32 prog_btf_fd = 0;
  u32 func_info_rec_size = 0;
  u64 func_info = 0;
  u32 func_info_cnt = 0;
  u32 line_info_rec_size = 0;
  u64 line_info = 0;
  u32 line_info_cnt = 0;
  u32 attach_btf_id = 0;
  u32 attach_prog_fd = 0;  ///< or attach_btf_obj_fd
  u32 core_relo_cnt = 0;
  u64 fd_array = 0;
  u64 core_relos = 0;
  u32 core_relo_rec_size = 0;
  u32 log_true_size = 0;
  s32 prog_token_fd = 0;  ///< with flag_token
  u32 fd_array_cnt = 0;
};

constexpr u32 prog_flag_sleepable = 1u << 4;  ///< BPF_F_SLEEPABLE
constexpr u32 prog_flag_xdp_frags = 1u << 5;  ///< BPF_F_XDP_HAS_FRAGS

struct FuncInfo {
  u32 insn_off = 0;
  u32 type_id = 0;
};

struct LineInfo {
  u32 insn_off = 0;
  u32 file_name_off = 0;
  u32 line_off = 0;
  u32 line_col = 0;  ///< line << 10 | column
};

struct BtfLoad {
  u64 btf = 0;
  u64 log_buf = 0;
  u32 btf_size = 0;
  u32 log_size = 0;
  u32 log_level = 0;
  u32 log_true_size = 0;
  u32 flags = 0;
  s32 token_fd = 0;  ///< with flag_token
};

/// BPF_TOKEN_CREATE (6.9).
struct TokenCreate {
  u32 flags = 0;
  u32 bpffs_fd = 0;
};

struct ObjPath {
  u64 pathname = 0;
  u32 bpf_fd = 0;
  u32 file_flags = 0;
};

struct TestRun {
  u32 prog_fd = 0;
  u32 retval = 0;
  u32 data_size_in = 0;
  u32 data_size_out = 0;
  u64 data_in = 0;
  u64 data_out = 0;
  u32 repeat = 0;
  u32 duration = 0;
  u32 ctx_size_in = 0;
  u32 ctx_size_out = 0;
  u64 ctx_in = 0;
  u64 ctx_out = 0;
  u32 flags = 0;
  u32 cpu = 0;
};

/// *_GET_NEXT_ID (id is where to start) and *_GET_FD_BY_ID.
struct ObjectId {
  u32 id = 0;
  u32 next_id = 0;
  u32 open_flags = 0;
};

struct InfoByFd {
  u32 bpf_fd = 0;
  u32 info_len = 0;
  u64 info = 0;
};

/// BPF_PROG_ATTACH and BPF_PROG_DETACH: how programs were attached before links.
struct ProgAttach {
  u32 target_fd = 0;  ///< or an interface's index
  u32 attach_bpf_fd = 0;
  u32 attach_type = 0;
  u32 attach_flags = 0;
  u32 replace_bpf_fd = 0;
  u32 relative_fd = 0;
  u64 expected_revision = 0;
};

struct ProgQuery {
  u32 target_fd = 0;  ///< or an interface's index
  u32 attach_type = 0;
  u32 query_flags = 0;
  u32 attach_flags = 0;
  u64 prog_ids = 0;
  u32 count = 0;
  u32 pad = 0;
  u64 prog_attach_flags = 0;
  u64 link_ids = 0;
  u64 link_attach_flags = 0;
  u64 revision = 0;
};

struct TaskFdQuery {
  u32 pid = 0;
  u32 fd = 0;
  u32 flags = 0;
  u32 buf_len = 0;
  u64 buf = 0;
  u32 prog_id = 0;
  u32 fd_type = 0;
  u64 probe_offset = 0;
  u64 probe_addr = 0;
};

struct LinkDetach {
  u32 link_fd = 0;
};

/// BPF_PROG_STREAM_READ_BY_FD (6.17).
struct ProgStreamRead {
  u64 buffer = 0;
  u32 size = 0;
  u32 stream = 0;
  u32 prog_fd = 0;
  u32 pad = 0;
};

/// BPF_ITER_CREATE.
struct IterCreate {
  u32 link_fd = 0;
  u32 flags = 0;
};

struct RawTracepointOpen {
  u64 name = 0;
  u32 prog_fd = 0;
  u32 pad = 0;
  u64 cookie = 0;  ///< since 6.10
};

/// BPF_LINK_CREATE. What follows the first four fields depends on the hook; each has its own structure.
struct LinkTarget {
  u32 prog_fd = 0;    ///< struct_ops: the map
  u32 target_fd = 0;  ///< or an interface's index
  u32 attach_type = 0;
  u32 flags = 0;
};
/// Perf events (bpf_cookie), and hooks that need nothing more.
struct LinkCreate {
  LinkTarget on;
  u64 bpf_cookie = 0;
};
struct LinkCreateTracing {
  LinkTarget on;
  u32 target_btf_id = 0;
  u32 pad = 0;
  u64 cookie = 0;
};
struct LinkCreateIter {
  LinkTarget on;
  u64 iter_info = 0;
  u32 iter_info_len = 0;
  u32 pad = 0;
};
struct LinkCreateKprobeMulti {
  LinkTarget on;
  u32 multi_flags = 0;
  u32 count = 0;
  u64 symbols = 0;
  u64 addresses = 0;
  u64 cookies = 0;
};
struct LinkCreateUprobeMulti {
  LinkTarget on;
  u64 path = 0;
  u64 offsets = 0;
  u64 semaphore_offsets = 0;
  u64 cookies = 0;
  u32 count = 0;
  u32 multi_flags = 0;
  u32 pid = 0;
  u32 pad = 0;
};
struct LinkCreateNetfilter {
  LinkTarget on;
  u32 family = 0;
  u32 hook = 0;
  s32 priority = 0;
  u32 netfilter_flags = 0;
};
/// tcx and netkit (6.6, 6.7), control groups (6.16): where in the list of programs.
struct LinkCreateOrdered {
  LinkTarget on;
  u32 relative_to = 0;
  u32 pad = 0;
  u64 expected_revision = 0;
};
constexpr u32 multi_flag_return = 1;  ///< BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN

/// union bpf_iter_link_info; the kernel takes the length of the member that the iterator reads.
struct IterMap {
  u32 map_fd = 0;
};
struct IterCgroup {
  u32 order = 0;
  u32 cgroup_fd = 0;
  u64 cgroup_id = 0;
};
struct IterTask {
  u32 tid = 0;
  u32 pid = 0;
  u32 pid_fd = 0;
};
constexpr u32 attach_flag_multi = 1u << 1;  ///< BPF_F_ALLOW_MULTI

/// struct bpf_prog_info.
struct ProgInfo {
  u32 type = 0;
  u32 id = 0;
  u8 tag[8] = {};
  u32 jited_prog_len = 0;
  u32 xlated_prog_len = 0;
  u64 jited_prog_insns = 0;
  u64 xlated_prog_insns = 0;
  u64 load_time = 0;  ///< ns since boot
  u32 created_by_uid = 0;
  u32 nr_map_ids = 0;
  u64 map_ids = 0;
  char name[object_name_bytes] = {};
  u32 ifindex = 0;
  u32 gpl_compatible = 0;  ///< bit 0
  u64 netns_dev = 0;
  u64 netns_ino = 0;
  u32 nr_jited_ksyms = 0;
  u32 nr_jited_func_lens = 0;
  u64 jited_ksyms = 0;
  u64 jited_func_lens = 0;
  u32 btf_id = 0;
  u32 func_info_rec_size = 0;
  u64 func_info = 0;
  u32 nr_func_info = 0;
  u32 nr_line_info = 0;
  u64 line_info = 0;
  u64 jited_line_info = 0;
  u32 nr_jited_line_info = 0;
  u32 line_info_rec_size = 0;
  u32 jited_line_info_rec_size = 0;
  u32 nr_prog_tags = 0;
  u64 prog_tags = 0;
  u64 run_time_ns = 0;
  u64 run_cnt = 0;
  u64 recursion_misses = 0;
  u32 verified_insns = 0;
  u32 attach_btf_obj_id = 0;
  u32 attach_btf_id = 0;
  u32 pad = 0;
};

/// struct bpf_map_info.
struct MapInfo {
  u32 type = 0;
  u32 id = 0;
  u32 key_size = 0;
  u32 value_size = 0;
  u32 max_entries = 0;
  u32 map_flags = 0;
  char name[object_name_bytes] = {};
  u32 ifindex = 0;
  u32 btf_vmlinux_value_type_id = 0;
  u64 netns_dev = 0;
  u64 netns_ino = 0;
  u32 btf_id = 0;
  u32 btf_key_type_id = 0;
  u32 btf_value_type_id = 0;
  u32 btf_vmlinux_id = 0;
  u64 map_extra = 0;
};

/// struct bpf_btf_info.
struct BtfInfo {
  u64 btf = 0;
  u32 btf_size = 0;
  u32 id = 0;
  u64 name = 0;
  u32 name_len = 0;
  u32 kernel_btf = 0;
};

/// struct bpf_link_info; the members of its union that skep reads.
struct LinkInfo {
  u32 type = 0;  ///< LinkType
  u32 id = 0;
  u32 prog_id = 0;
  u32 pad = 0;
  union {
    struct {
      u64 tp_name;
      u32 tp_name_len;
    } raw_tracepoint;
    struct {
      u32 attach_type;
      u32 target_obj_id;
      u32 target_btf_id;
    } tracing;
    struct {
      u32 type;  ///< PerfEventKind; 0 before 6.6
      u32 pad;
      u64 name;
      u32 name_len;
      u32 offset;
      u64 address;  ///< kprobes only, as what follows
      u64 missed;   ///< since 6.7
    } perf_event;
    struct {
      u64 cgroup_id;
      u32 attach_type;
    } cgroup;
    struct {
      u64 target_name;
      u32 target_name_len;
      u32 map_id;  ///< or the first of the target's own parameters
      u32 second;
      u32 third;
    } iter;
    struct {
      u32 netns_ino;
      u32 attach_type;
    } netns;
    struct {
      u32 ifindex;
      u32 attach_type;  ///< not of xdp
    } interface;        ///< xdp, tcx, netkit
    struct {
      u32 map_id;
    } struct_ops;
    struct {
      u32 pf;
      u32 hooknum;
      s32 priority;
      u32 flags;
    } netfilter;
    struct {
      u64 addrs;
      u32 count;
      u32 flags;  ///< bit 0: at return
      u64 missed;
    } kprobe_multi;
    struct {
      u64 path;
      u64 offsets;
      u64 ref_ctr_offsets;
      u64 cookies;
      u32 path_size;
      u32 count;
      u32 flags;  ///< bit 0: at return
      u32 pid;
    } uprobe_multi;
    struct {
      u32 map_id;
      u32 attach_type;
    } sockmap;
    u8 room[64];
  } of = {};
};

/// enum bpf_link_type.
enum class LinkType : u32 {
  raw_tracepoint = 1,
  tracing = 2,
  cgroup = 3,
  iter = 4,
  netns = 5,
  xdp = 6,
  perf_event = 7,
  kprobe_multi = 8,
  struct_ops = 9,
  netfilter = 10,
  tcx = 11,
  uprobe_multi = 12,
  netkit = 13,
  sockmap = 14,
};
/// enum bpf_perf_event_type.
enum class PerfEventKind : u32 { uprobe = 1, uretprobe = 2, kprobe = 3, kretprobe = 4, tracepoint = 5, event = 6 };

}  // namespace skep::kernel::uapi
