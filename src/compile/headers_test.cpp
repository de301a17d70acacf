// libbpf's style: the headers that come with skep, with the running kernel's vmlinux.h, without it, and with uapi
// headers.
#include "compile/headers.hpp"

#include <map>

#include "btf/btf.hpp"
#include "compile/test_support.hpp"

namespace skep::compile {
namespace {

constexpr const char* kernel_btf = "/sys/kernel/btf/vmlinux";

/// Every macro and helper family of the three headers, used once.
constexpr std::string_view everything = R"(
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "GPL";
struct event { u32 pid; char comm[16]; };
struct other { u64 a; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } second SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct other); } third SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } fourth SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 100); __type(key, u32); __type(value, u64); } counts SEC(".maps");
struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u32); } inner_map SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 2); __type(key, u32); __array(values, struct inner); } outer
    SEC(".maps") = {.values = {&inner_map}};
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4); __uint(value_size, 4); } jumps SEC(".maps");
const struct other *unused_fourth __attribute__((unused));
const volatile int option = 0;

SEC("ksyscall/openat") int BPF_KSYSCALL(on_openat, int dfd, const char *path, int flags, umode_t mode) {
  bpf_printk("none"); bpf_printk("%d %s %x", dfd, path, flags); bpf_printk("%d %s %x %x", dfd, path, flags, mode);
  return 0;
}
SEC("kprobe/do_unlinkat") int BPF_KPROBE(on_unlink, int dfd, struct filename *name) {
  struct event e = {};
  const char *text = BPF_CORE_READ(name, name);
  bpf_probe_read_kernel_str(e.comm, sizeof(e.comm), text);
  bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &e, sizeof(e));
  return 0;
}
SEC("kretprobe/do_unlinkat") int BPF_KRETPROBE(on_return, long result) { bpf_printk("%ld", result); return 0; }
SEC("kretprobe/x") int BPF_KRETPROBE(on_nothing) { return 0; }
SEC("fentry/do_unlinkat") int BPF_PROG(on_entry, int dfd, struct filename *name) { bpf_printk("%d", dfd); return 0; }
SEC("tp/syscalls/sys_enter_openat") int on_enter(struct trace_event_raw_sys_enter *ctx) {
  struct task_struct *task = (void *)bpf_get_current_task();
  struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
  struct other o = {};
  char text[16];
  if (!e) return 0;
  e->pid = BPF_CORE_READ(task, real_parent, tgid) + BPF_CORE_READ(task, real_parent, real_parent, tgid) + ctx->args[1];
  bpf_core_read_str(e->comm, sizeof(e->comm), &task->comm);
  BPF_CORE_READ_STR_INTO(&e->comm, task, real_parent, comm);
  BPF_CORE_READ_INTO(&e->pid, task, tgid);
  if (bpf_core_field_exists(task->comm) && bpf_core_field_exists(struct task_struct, tgid)) ++e->pid;
  e->pid += bpf_core_field_size(task->comm) + bpf_core_field_offset(struct task_struct, comm);
  if (bpf_core_type_exists(struct task_struct)) e->pid += bpf_core_type_size(struct task_struct);
  if (bpf_core_enum_value_exists(enum bpf_map_type, BPF_MAP_TYPE_HASH))
    e->pid += bpf_core_enum_value(enum bpf_map_type, BPF_MAP_TYPE_HASH);
  e->pid += bpf_htons(e->pid) + bpf_ntohl(e->pid) + bpf_cpu_to_be64(e->pid) + option;
  bpf_ringbuf_submit(e, 0);
  bpf_ringbuf_output(&second, &o, sizeof(o), 0);
  BPF_SNPRINTF(text, sizeof(text), "%d", option);
  bpf_tail_call_static(ctx, &jumps, 1);
  return 0;
}
SEC("kprobe/plain") int plain(struct pt_regs *ctx) {
  int i, sum = 0;
  bpf_for(i, 0, 10) sum += PT_REGS_PARM1(ctx) + PT_REGS_IP(ctx) + PT_REGS_RC(ctx) + PT_REGS_PARM6(ctx);
  bpf_repeat(3) sum += PT_REGS_PARM1_CORE(ctx);
  return sum;
}
SEC("?tp_btf/sys_enter") int BPF_PROG(on_raw, struct pt_regs *regs, long id) { return PT_REGS_PARM1_CORE_SYSCALL(regs); }
)";

class Headers : public test::EachClang {
 protected:
  void check_everything(const ObjectSpec& spec) {
    const std::map<std::string, std::string> records = {
        {"ring", "event"}, {"second", "other"}, {"third", "other"}, {"fourth", "other"}, {"perf", "event"}};
    for (const auto& [map, type] : records) {
      ASSERT_NE(spec.map(map), nullptr) << map;
      EXPECT_EQ(spec.btf->type(spec.map(map)->btf_value_type_id).name, type) << map;
    }
    for (const char* name :
         {"on_openat", "on_unlink", "on_return", "on_nothing", "on_entry", "on_enter", "plain", "on_raw"})
      ASSERT_NE(spec.program(name), nullptr) << name;
    EXPECT_FALSE(spec.program("on_raw")->autoload);
    EXPECT_FALSE(spec.program("on_enter")->relocations.empty());
    EXPECT_EQ(spec.map("outer")->slots.size(), 1u);
    EXPECT_EQ(spec.license, "GPL");
  }
};

TEST_P(Headers, EveryMacroWithTheKernelsTypes) {
  if (!std::filesystem::exists(kernel_btf)) GTEST_SKIP() << "this kernel has no " << kernel_btf;
  const auto compiled = compile_text(everything, "all.bpf.c", options_);
  ASSERT_TRUE(compiled) << compiled.error().message;
  EXPECT_EQ(compiled->warnings, "");
  EXPECT_EQ(compiled->dialect, Dialect::libbpf);
  const auto spec = load_object(compiled->object, "all.bpf.o");
  ASSERT_TRUE(spec) << spec.error().message;
  check_everything(*spec);
}

TEST_P(Headers, EveryMacroWithTheSmallTypes) {
  // As on a kernel without BTF: the small vmlinux.h, found next to the source.
  std::string_view minimal;
  for (const EmbeddedHeader& header : embedded_headers())
    if (header.path == "minimal/vmlinux.h") minimal = header.text;
  ASSERT_FALSE(minimal.empty());
  directory_.write("vmlinux.h", minimal);
  const auto spec = load_program(directory_.write("all.bpf.c", everything), options_);
  ASSERT_TRUE(spec) << spec.error().message;
  check_everything(*spec);
}

TEST_P(Headers, UapiHeadersOfTheSystem) {
  const auto spec = load(R"(
    #include <linux/bpf.h>
    #include <linux/if_ether.h>
    #include <linux/ip.h>
    #include <linux/in.h>
    #include <linux/tcp.h>
    #include <linux/udp.h>
    #include <linux/ptrace.h>
    #include <linux/types.h>
    #include <linux/pkt_cls.h>
    #include <stdbool.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <errno.h>
    #include <bpf/bpf_helpers.h>
    #include <bpf/bpf_endian.h>
    #include <bpf/bpf_tracing.h>
    struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 256); __type(key, __u32); __type(value, __u64); } protocols SEC(".maps");
    SEC("xdp") int count(struct xdp_md *ctx) {
      void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
      struct ethhdr *eth = data;
      struct iphdr *ip = data + sizeof(*eth);
      if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP)) return XDP_PASS;
      __u32 protocol = ip->protocol;
      __u64 *value = bpf_map_lookup_elem(&protocols, &protocol);
      if (value) ++*value;
      return ip->protocol == IPPROTO_UDP ? XDP_DROP : XDP_PASS;
    }
    SEC("kprobe/x") int BPF_KPROBE(probe, int first, long second) { return first + second + PT_REGS_PARM3(ctx); }
    char LICENSE[] SEC("license") = "GPL";)");
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->program("count")->type, ProgramType::xdp);
}

TEST_P(Headers, AnUnusedPointerTellsTheOnlyRecordType) {
  const auto spec = load(R"(
    #include <linux/types.h>
    #include <linux/bpf.h>
    #include <bpf/bpf_helpers.h>
    struct note { int a; };
    struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } only SEC(".maps");
    static long send(void *map, struct note *n) { return bpf_ringbuf_output(map, n, sizeof(*n), 0); }
    struct note *unused __attribute__((unused));
    SEC("xdp") int f(struct xdp_md *ctx) { struct note n = {1}; return send(&only, &n); }
    char LICENSE[] SEC("license") = "GPL";)");
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->btf->type(spec->map("only")->btf_value_type_id).name, "note");
}

TEST_P(Headers, UsdtIsRefusedByName) {
  const auto spec = load("#include <linux/types.h>\n#include <bpf/usdt.bpf.h>\n");
  ASSERT_FALSE(spec);
  EXPECT_NE(spec.error().message.find("no USDT probes at this stage"), std::string::npos) << spec.error().message;
}

TEST_P(Headers, ExamplesCompile) {
  if (!std::filesystem::exists(kernel_btf)) GTEST_SKIP() << "this kernel has no " << kernel_btf;
  int count = 0;
  for (const auto& item : std::filesystem::directory_iterator("examples")) {
    if (!item.path().native().ends_with(".bpf.c")) continue;
    std::string said;
    options_.on_warning = [&](std::string_view text) { said += text; };
    const auto spec = load_program(item.path(), options_);
    ASSERT_TRUE(spec) << item.path() << ": " << spec.error().message;
    EXPECT_EQ(said, "") << item.path();
    EXPECT_FALSE(spec->programs.empty()) << item.path();
    for (const MapSpec& map : spec->maps) {
      if (map.type != MapType::ringbuf && map.type != MapType::perf_event_array) continue;
      EXPECT_NE(map.btf_value_type_id, 0u) << item.path() << ": " << map.name;
    }
    ++count;
  }
  EXPECT_GE(count, 6);
}

SKEP_EACH_CLANG(Headers);

TEST(EmbeddedHeaders, AreThereAndNamed) {
  std::map<std::string_view, std::size_t> sizes;
  for (const EmbeddedHeader& header : embedded_headers()) sizes[header.path] = header.text.size();
  for (const char* path : {"bpf/bpf_helpers.h", "bpf/bpf_helper_defs.h", "bpf/bpf_tracing.h", "bpf/bpf_core_read.h",
                           "bpf/bpf_endian.h", "skep/bcc.h", "bcc/uapi/linux/ptrace.h", "minimal/vmlinux.h"})
    EXPECT_GT(sizes[path], 20u) << path;
  EXPECT_EQ(embedded_digest().size(), 40u);
}

TEST(EmbeddedHeaders, EveryHelperIsDeclared) {
  std::string_view defs;
  for (const EmbeddedHeader& header : embedded_headers())
    if (header.path == "bpf/bpf_helper_defs.h") defs = header.text;
  EXPECT_NE(defs.find("(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;"), std::string_view::npos);
  EXPECT_NE(defs.find("(*const bpf_cgrp_storage_delete)"), std::string_view::npos);
  EXPECT_NE(defs.find(" = (void *)211;"), std::string_view::npos);
}

TEST(KernelTypes, HaveAnIdentity) {
  if (!std::filesystem::exists(kernel_btf)) {
    EXPECT_EQ(kernel_types_id(), "");
  } else {
    EXPECT_EQ(kernel_types_id().size(), 40u);
    EXPECT_EQ(kernel_types_id(), kernel_types_id());
  }
}

}  // namespace
}  // namespace skep::compile
