// libbpf's style: the headers that come with skep, with the running kernel's vmlinux.h, without it, and with uapi
// headers.
#include "compile/headers.hpp"

#include <map>

#include "base/mapped_file.hpp"
#include "btf/btf.hpp"
#include "compile/test_support.hpp"

namespace skep::compile {
namespace {

constexpr const char* kernel_btf = "/sys/kernel/btf/vmlinux";

/// Every macro and helper family of the headers, used once.
constexpr const char* everything = "tests/compile/programs/everything.bpf.c";

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
  const auto compiled = compile_file(everything, options_);
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
  const auto spec = load_program(directory_.write("all.bpf.c", *base::read_text(everything)), options_);
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

TEST_P(Headers, UsdtProgramsReadTheirArguments) {
  const auto spec = load(R"(
    #include <linux/bpf.h>
    #include <linux/ptrace.h>
    #include <bpf/usdt.bpf.h>
    SEC("usdt/libc.so.6:libc:setjmp") int BPF_USDT(f, void *where, int value, void *target) {
      return value + bpf_usdt_arg_cnt(ctx) + (int)bpf_usdt_cookie(ctx) + bpf_usdt_arg_size(ctx, 1);
    }
    char LICENSE[] SEC("license") = "GPL";)");
  ASSERT_TRUE(spec) << spec.error().message;
  ASSERT_NE(spec->map("__bpf_usdt_specs"), nullptr);
  EXPECT_EQ(spec->map("__bpf_usdt_specs")->value_size, 12u * 16 + 16);
  EXPECT_EQ(spec->program("f")->attach.target, "libc.so.6:libc:setjmp");
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
