// The BCC dialect, as sources use it, under every clang that is installed.
#include <algorithm>
#include <map>
#include <set>

#include "btf/btf.hpp"
#include "compile/test_support.hpp"

namespace skep::compile {
namespace {

class Bcc : public test::EachClang {
 protected:
  /// Loads, and checks what must hold for every object of the dialect: all of the method tables folded away.
  ObjectSpec must_load(std::string_view text) {
    auto spec = load(text);
    EXPECT_TRUE(spec) << spec.error().message;
    if (!spec) return {};
    for (const ProgramSpec& program : spec->programs) {
      for (const Insn& insn : program.insns) {
        EXPECT_NE(insn.code, 0x8d) << program.name << ": a call through a register";
        EXPECT_FALSE(insn.code == 0x85 && insn.src == 1 && program.functions.size() == 1) << program.name;
      }
      for (const Reference& r : program.references) EXPECT_EQ(r.kind, Reference::Kind::map) << program.name;
    }
    for (const MapSpec& map : spec->maps)
      EXPECT_TRUE(!map.is_global_data || map.name == ".rodata.skep_pins") << map.name;
    return *std::move(spec);
  }

  std::string must_fail(std::string_view text) {
    const auto spec = load(text);
    EXPECT_FALSE(spec);
    return spec ? "" : spec.error().message;
  }
};

/// How often each helper is called.
std::map<int, int> helper_calls(const ProgramSpec& program) {
  std::map<int, int> out;
  for (const Insn& insn : program.insns)
    if (insn.code == 0x85 && insn.src == 0) ++out[insn.imm];
  return out;
}

std::string type_name(const ObjectSpec& spec, u32 id) { return std::string(spec.btf->type(id).name); }

TEST_P(Bcc, TheFirstLesson) {
  const auto hello = must_load("int hello(void *ctx) {\n  bpf_trace_printk(\"Hello World!\");\n  return 0;\n}\n");
  ASSERT_EQ(hello.programs.size(), 1u);
  EXPECT_EQ(hello.programs[0].name, "hello");
  EXPECT_EQ(hello.programs[0].type, ProgramType::unspec);
  EXPECT_EQ(hello.license, "GPL");
  EXPECT_TRUE(hello.maps.empty());
  EXPECT_EQ(helper_calls(hello.programs[0]), (std::map<int, int>{{6, 1}}));
  ASSERT_NE(hello.programs[0].line_at(0), nullptr);
  EXPECT_EQ(hello.programs[0].line_at(1)->line, 2u);
  EXPECT_EQ(hello.programs[0].line_at(0)->file.substr(hello.programs[0].line_at(0)->file.rfind('/') + 1), "test.c");
}

TEST_P(Bcc, CounterIsWhatOneWouldWriteByHand) {
  const auto spec = must_load(R"(
    BPF_HASH(counter_table);
    int hello(void *ctx) {
       u64 uid;
       u64 counter = 0;
       u64 *p;
       uid = bpf_get_current_uid_gid() & 0xFFFFFFFF;
       p = counter_table.lookup(&uid);
       if (p != 0) {
          counter = *p;
       }
       counter++;
       counter_table.update(&uid, &counter);
       return 0;
    })");
  ASSERT_EQ(spec.maps.size(), 1u);
  const MapSpec& map = spec.maps[0];
  EXPECT_EQ(map.name, "counter_table");
  EXPECT_EQ(map.type, MapType::hash);
  EXPECT_EQ(map.key_size, 8u);
  EXPECT_EQ(map.value_size, 8u);
  EXPECT_EQ(map.max_entries, 10240u);
  EXPECT_EQ(type_name(spec, map.btf_key_type_id), "u64");
  EXPECT_LE(spec.programs[0].insns.size(), 24u);
  EXPECT_EQ(helper_calls(spec.programs[0]), (std::map<int, int>{{1, 1}, {2, 1}, {15, 1}}));
}

struct ExpectedMap {
  const char* name;
  MapType type;
  u32 key, value, entries;
};

TEST_P(Bcc, EveryMapMacroHasBccsDefaults) {
  const auto spec = must_load(R"(
    struct key_t { u64 a, b; u32 c; };
    struct value_t { u64 x; char text[24]; };
    BPF_HASH(h1); BPF_HASH(h2, u32); BPF_HASH(h3, struct key_t, struct value_t); BPF_HASH(h4, u32, u64, 77);
    BPF_ARRAY(a1); BPF_ARRAY(a2, struct value_t); BPF_ARRAY(a3, u32, 5);
    BPF_HISTOGRAM(d1); BPF_HISTOGRAM(d2, struct key_t); BPF_HISTOGRAM(d3, int, 20);
    BPF_PERCPU_HASH(p1); BPF_PERCPU_HASH(p2, u32, u64, 9); BPF_PERCPU_ARRAY(p3, u64, 4);
    BPF_LRU_HASH(l1, u32); BPF_TABLE("lru_hash", u32, u64, l2, 100); BPF_TABLE("percpu_array", int, u64, l3, 3);
    BPF_TABLE("array", int, u64, l4, 2); BPF_F_TABLE("hash", u32, u32, l5, 6, BPF_F_NO_PREALLOC);
    BPF_LPM_TRIE(t1, struct key_t, int, 16);
    BPF_PERF_OUTPUT(o1); BPF_RINGBUF_OUTPUT(o2, 8); BPF_PROG_ARRAY(x1, 8); BPF_STACK_TRACE(x2, 1024);
    BPF_QUEUE(q1, struct value_t, 10); BPF_STACK(q2, u64, 11); BPF_PERF_ARRAY(x3, 4); BPF_CGROUP_ARRAY(x4, 1);
    BPF_DEVMAP(n1, 4); BPF_CPUMAP(n2, 4); BPF_XSKMAP(n3, 4);
    BPF_TASK_STORAGE(s1, u64); BPF_SK_STORAGE(s2, struct value_t); BPF_INODE_STORAGE(s3, u32);
    int f(void *ctx) { return 0; })");
  const ExpectedMap expected[] = {
      {"h1", MapType::hash, 8, 8, 10240},
      {"h2", MapType::hash, 4, 8, 10240},
      {"h3", MapType::hash, 24, 32, 10240},
      {"h4", MapType::hash, 4, 8, 77},
      {"a1", MapType::array, 4, 8, 10240},
      {"a2", MapType::array, 4, 32, 10240},
      {"a3", MapType::array, 4, 4, 5},
      {"d1", MapType::array, 4, 8, 64},
      {"d2", MapType::hash, 24, 8, 64},
      {"d3", MapType::array, 4, 8, 20},
      {"p1", MapType::percpu_hash, 8, 8, 10240},
      {"p2", MapType::percpu_hash, 4, 8, 9},
      {"p3", MapType::percpu_array, 4, 8, 4},
      {"l1", MapType::lru_hash, 4, 8, 10240},
      {"l2", MapType::lru_hash, 4, 8, 100},
      {"l3", MapType::percpu_array, 4, 8, 3},
      {"l4", MapType::array, 4, 8, 2},
      {"l5", MapType::hash, 4, 4, 6},
      {"t1", MapType::lpm_trie, 24, 4, 16},
      {"o1", MapType::perf_event_array, 4, 4, 0},
      {"o2", MapType::ringbuf, 0, 0, 8 * 4096},
      {"x1", MapType::prog_array, 4, 4, 8},
      {"x2", MapType::stack_trace, 4, 1016, 1024},
      {"q1", MapType::queue, 0, 32, 10},
      {"q2", MapType::stack, 0, 8, 11},
      {"x3", MapType::perf_event_array, 4, 4, 4},
      {"x4", MapType::cgroup_array, 4, 4, 1},
      {"n1", MapType::devmap, 4, 4, 4},
      {"n2", MapType::cpumap, 4, 4, 4},
      {"n3", MapType::xskmap, 4, 4, 4},
      {"s1", MapType::task_storage, 4, 8, 0},
      {"s2", MapType::sk_storage, 4, 32, 0},
      {"s3", MapType::inode_storage, 4, 4, 0},
  };
  EXPECT_EQ(spec.maps.size(), std::size(expected));
  for (const ExpectedMap& e : expected) {
    const MapSpec* map = spec.map(e.name);
    ASSERT_NE(map, nullptr) << e.name;
    EXPECT_EQ(map->type, e.type) << e.name;
    EXPECT_EQ(map->key_size, e.key) << e.name;
    EXPECT_EQ(map->value_size, e.value) << e.name;
    EXPECT_EQ(map->max_entries, e.entries) << e.name;
  }
  EXPECT_EQ(spec.map("t1")->flags, 1u);
  EXPECT_EQ(spec.map("l5")->flags, 1u);
}

TEST_P(Bcc, MethodsBecomeHelperCalls) {
  const auto spec = must_load(R"(
    struct key_t { u64 a, b; u32 c; };
    BPF_HASH(h, struct key_t, u64); BPF_ARRAY(a, u32, 8); BPF_PROG_ARRAY(progs, 4); BPF_STACK_TRACE(stacks, 64);
    BPF_QUEUE(q, u64, 10); BPF_PERF_ARRAY(pmu, 8); BPF_CGROUP_ARRAY(groups, 1); BPF_RINGBUF_OUTPUT(ring, 4);
    int m_lookup(void *ctx) { struct key_t k = {}; u64 *v = h.lookup(&k); return v ? *v : 0; }
    int m_update(void *ctx) { struct key_t k = {}; u64 v = 1; return h.update(&k, &v) + h.insert(&k, &v); }
    int m_delete(void *ctx) { struct key_t k = {}; return h.delete(&k); }
    int m_try(void *ctx) { struct key_t k = {}; u64 z = 0, *v = h.lookup_or_try_init(&k, &z); if (v) *v += 2; return 0; }
    int m_init(void *ctx) { struct key_t k = {}; u64 z = 0; *h.lookup_or_init(&k, &z) += 2; return 0; }
    int m_inc(void *ctx) { struct key_t k = {}; h.increment(k); return 0; }
    int m_inc2(void *ctx) { struct key_t k = {}; h.increment(k, 5); a.increment(3, 2); return 0; }
    int m_atomic(void *ctx) { struct key_t k = {}; h.atomic_increment(k); a.atomic_increment(1, 7); return 0; }
    int m_call(void *ctx) { progs.call(ctx, 2); return 0; }
    int m_stack(void *ctx) { return stacks.get_stackid(ctx, BPF_F_REUSE_STACKID); }
    int m_queue(void *ctx) { u64 v = 1; q.push(&v, BPF_EXIST); q.peek(&v); q.pop(&v); return 0; }
    int m_pmu(void *ctx) { struct bpf_perf_event_value v = {}; pmu.perf_counter_value(CUR_CPU_IDENTIFIER, &v, sizeof(v));
                           return pmu.perf_read(CUR_CPU_IDENTIFIER) + groups.check_current_task(0); }
    int m_ring(void *ctx) { u64 v = 1; ring.ringbuf_output(&v, sizeof(v), 0); u64 *r = ring.ringbuf_reserve(8);
                            if (!r) return ring.ringbuf_query(BPF_RB_AVAIL_DATA);
                            if (v == 2) { ring.ringbuf_discard(r, 0); return 0; }
                            *r = 1; ring.ringbuf_submit(r, BPF_RB_NO_WAKEUP); return 0; })");
  const std::map<std::string, std::set<int>> expected = {
      {"m_lookup", {1}},
      {"m_update", {2}},
      {"m_delete", {3}},
      {"m_try", {1, 2}},
      {"m_init", {1, 2}},
      {"m_inc", {1, 2}},
      {"m_inc2", {1, 2}},
      {"m_atomic", {1, 2}},
      {"m_call", {12}},
      {"m_stack", {27}},
      {"m_queue", {87, 88, 89}},
      {"m_pmu", {22, 37, 55}},
      {"m_ring", {130, 131, 132, 133, 134}},
  };
  EXPECT_EQ(spec.programs.size(), expected.size());
  for (const auto& [name, helpers] : expected) {
    const ProgramSpec* program = spec.program(name);
    ASSERT_NE(program, nullptr) << name;
    std::set<int> called;
    for (const auto& [helper, count] : helper_calls(*program)) called.insert(helper);
    EXPECT_EQ(called, helpers) << name;
  }
  // The atomic additions are atomic, the plain ones are not.
  const auto atomics = [&](const char* name) {
    const auto& insns = spec.program(name)->insns;
    return std::count_if(insns.begin(), insns.end(), [](const Insn& i) { return i.code == 0xdb || i.code == 0xc3; });
  };
  EXPECT_EQ(atomics("m_atomic"), 2);
  EXPECT_EQ(atomics("m_inc2"), 0);
}

TEST_P(Bcc, IncrementNeedsAnInteger) {
  const std::string error = must_fail(
      "struct v { u64 a, b; };\nBPF_HASH(h, u32, struct v);\nint f(void *ctx) { h.increment(1); return 0; }\n");
  EXPECT_NE(error.find("increment() and atomic_increment() need a map whose value is an integer"), std::string::npos)
      << error;
}

TEST_P(Bcc, ASourcesOwnIncrementIsItsOwn) {
  const auto spec = must_load(
      "BPF_HASH(h);\nstatic inline void increment(u64 *p) { *p += 3; }\n"
      "int f(void *ctx) { u64 k = 0, *v = h.lookup(&k); if (v) increment(v); h.increment(k); return 0; }\n");
  EXPECT_EQ(spec.programs.size(), 1u);
}

TEST_P(Bcc, ThreeWaysToPrint) {
  const auto spec = must_load(R"(
    int one(void *ctx) { bpf_trace_printk("Hello World!"); return 0; }
    int two(void *ctx) { u64 x = bpf_ktime_get_ns(); bpf_trace_printk("x %d %d %llu\n", 1, 2, x); return 0; }
    int three(void *ctx) { char f[] = "old %d\n"; bpf_trace_printk(f, sizeof(f), 7); return 0; }
    int four(void *ctx) { char f[] = "%d %d %d\n"; bpf_trace_printk(f, sizeof(f), 1, 2, 3); return 0; }
    int five(void *ctx) { bpf_trace_printk("literal\n", sizeof("literal\n")); return 0; }
    #define TEXT "from a macro %d\n"
    int six(void *ctx) { bpf_trace_printk(TEXT, 4); return 0; })");
  const std::map<std::string, int> sizes = {{"one", 13},  {"two", 14}, {"three", 8},
                                            {"four", 10}, {"five", 9}, {"six", 17}};
  for (const auto& [name, size] : sizes) {
    const ProgramSpec& program = *spec.program(name);
    EXPECT_EQ(helper_calls(program).at(6), 1) << name;
    const bool has_size = std::any_of(program.insns.begin(), program.insns.end(), [&](const Insn& i) {
      return (i.code == 0xb4 || i.code == 0xb7) && i.dst == 2 && i.imm == size;
    });
    EXPECT_TRUE(has_size) << name;
  }
}

TEST_P(Bcc, FourValuesAreTooMany) {
  const std::string error =
      must_fail("int f(void *ctx) {\n  bpf_trace_printk(\"%d %d %d %d\", 1, 2, 3, 4);\n  return 0;\n}\n");
  EXPECT_NE(error.find("at most 3 values"), std::string::npos) << error;
  EXPECT_NE(error.find("test.c:2:"), std::string::npos) << error;
}

TEST_P(Bcc, RecordsKnowTheirType) {
  const auto spec = must_load(R"(
    struct opened { u32 pid; char path[64]; };
    struct closed { u32 pid; int fd; };
    BPF_PERF_OUTPUT(opens); BPF_PERF_OUTPUT(closes); BPF_RINGBUF_OUTPUT(ring, 4); BPF_RINGBUF_OUTPUT(raw, 4);
    static inline void send(void *ctx, struct closed *c) { closes.perf_submit(ctx, c, sizeof(*c)); }
    int f(void *ctx) {
      struct opened data = {};
      opens.perf_submit(ctx,
                        &data,
                        sizeof(data));
      struct closed c = {};
      send(ctx, &c);
      struct opened *r = ring.ringbuf_reserve(sizeof(*r));
      if (!r) return 0;
      r->pid = 1; r->path[0] = 0;
      ring.ringbuf_submit(r, 0);
      u64 x = 1;
      raw.ringbuf_output(&x, sizeof(x), 0);
      return 0;
    })");
  EXPECT_EQ(type_name(spec, spec.map("opens")->btf_value_type_id), "opened");
  EXPECT_EQ(type_name(spec, spec.map("closes")->btf_value_type_id), "closed");
  EXPECT_EQ(type_name(spec, spec.map("ring")->btf_value_type_id), "opened");
  EXPECT_EQ(spec.map("raw")->btf_value_type_id, 0u);
}

TEST_P(Bcc, TracepointProbeReadsItsRecord) {
  const auto spec = must_load(R"(
    TRACEPOINT_PROBE(syscalls, sys_enter_openat) {
      char path[32];
      bpf_probe_read_user_str(path, sizeof(path), args->filename);
      bpf_trace_printk("%s %d", path, args->dfd);
      return 0;
    }
    TRACEPOINT_PROBE(syscalls, sys_exit_openat) { bpf_trace_printk("%d", args->ret); return 0; }
    TRACEPOINT_PROBE(raw_syscalls, sys_enter) { bpf_trace_printk("%d %d", args->id, args->args[1]); return 0; }
    int tracepoint__syscalls__sys_enter_close(struct tracepoint__syscalls__sys_enter_close *args) { return args->fd; }
    RAW_TRACEPOINT_PROBE(sys_enter) { bpf_trace_printk("%d", ctx->args[1]); return 0; })");
  const std::map<std::string, std::string> targets = {
      {"tracepoint__syscalls__sys_enter_openat", "syscalls/sys_enter_openat"},
      {"tracepoint__syscalls__sys_exit_openat", "syscalls/sys_exit_openat"},
      {"tracepoint__raw_syscalls__sys_enter", "raw_syscalls/sys_enter"},
      {"tracepoint__syscalls__sys_enter_close", "syscalls/sys_enter_close"},
  };
  for (const auto& [name, target] : targets) {
    const ProgramSpec* program = spec.program(name);
    ASSERT_NE(program, nullptr) << name;
    EXPECT_EQ(program->type, ProgramType::tracepoint) << name;
    EXPECT_EQ(program->attach.target, target);
  }
  const auto loads = [&](const char* name, s16 offset) {
    const auto& insns = spec.program(name)->insns;
    return std::any_of(insns.begin(), insns.end(),
                       [&](const Insn& i) { return (i.code & 0x67) == 0x61 && i.off == offset && i.src != 10; });
  };
  EXPECT_TRUE(loads("tracepoint__syscalls__sys_enter_openat", 24));
  EXPECT_TRUE(loads("tracepoint__syscalls__sys_enter_openat", 16));
  EXPECT_TRUE(loads("tracepoint__syscalls__sys_exit_openat", 16));
  EXPECT_TRUE(loads("tracepoint__raw_syscalls__sys_enter", 24));
  const ProgramSpec* raw = spec.program("raw_tracepoint__sys_enter");
  ASSERT_NE(raw, nullptr);
  EXPECT_EQ(raw->type, ProgramType::raw_tracepoint);
  EXPECT_EQ(raw->attach.target, "sys_enter");
}

TEST_P(Bcc, UnknownTracepointIsNamed) {
  const std::string error = must_fail("TRACEPOINT_PROBE(nosuch, event) { return 0; }");
  EXPECT_NE(error.find("tracepoint nosuch:event"), std::string::npos) << error;
}

TEST_P(Bcc, RegistersAndSmallHelpers) {
  const auto spec = must_load(R"(
    #include <uapi/linux/ptrace.h>
    #include <linux/sched.h>
    struct data { u32 pid; char comm[TASK_COMM_LEN]; u64 ip, rc, one, five; };
    BPF_HASH(seen, u32, struct data); BPF_HISTOGRAM(dist);
    int f(struct pt_regs *ctx) {
      struct data d = {.pid = bpf_get_current_pid_tgid() >> 32, .ip = PT_REGS_IP(ctx), .rc = PT_REGS_RC(ctx),
                       .one = PT_REGS_PARM1(ctx), .five = PT_REGS_PARM5(ctx)};
      bpf_get_current_comm(&d.comm, sizeof(d.comm));
      dist.increment(bpf_log2l(d.one / 1000));
      dist.increment(bpf_log2(d.pid));
      seen.update(&d.pid, &d);
      u64 zero = 0; int slot = 0; u64 *v = dist.lookup(&slot);
      if (v) lock_xadd(v, 1);
      d.five = min((u64)TASK_COMM_LEN, d.one) + max_t(u32, 1, d.pid);
      return bpf_get_prandom_u32() & 1 && likely(d.one) ? 1 : ARRAY_SIZE(d.comm);
    })");
  EXPECT_EQ(spec.programs.size(), 1u);
}

TEST_P(Bcc, HeadersThatAreThere) {
  must_load(R"(
    #include <uapi/linux/bpf.h>
    #include <linux/if_ether.h>
    #include <uapi/linux/in.h>
    #include <linux/ip.h>
    BPF_HASH(packets, u32);
    int filter(struct xdp_md *ctx) {
      void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
      struct ethhdr *eth = data;
      if (data + sizeof(*eth) > end) return XDP_DROP;
      packets.increment(eth->h_proto);
      return XDP_PASS;
    })" + std::string());
  must_load(
      "#include <stdint.h>\n#include <stdbool.h>\n#include <stddef.h>\n#include <linux/types.h>\n"
      "int f(void *ctx) { uint32_t x = 1; bool b = true; size_t n = 2; return x + b + n; }\n");
  must_load(
      "#include <linux/bpf.h>\nBPF_HASH(h);\nint f(struct bpf_perf_event_data *ctx) { u64 k = ctx->sample_period; "
      "h.update(&k, &k); return BPF_ANY; }\n");
}

TEST_P(Bcc, HeadersThatNobodyHasGetAHint) {
  const std::string error = must_fail("#include <no/such.h>\nint f(void *ctx) { return 0; }\n");
  EXPECT_NE(error.find("test.c:1:10"), std::string::npos) << error;
  EXPECT_NE(error.find("'no/such.h' file not found"), std::string::npos) << error;
  EXPECT_NE(error.find("hint: <no/such.h> is not known to skep"), std::string::npos) << error;
}

TEST_P(Bcc, UnknownFunctionsAreErrorsOfTheirLine) {
  const std::string error = must_fail("int f(void *ctx) {\n  return no_such_function(1);\n}\n");
  EXPECT_NE(error.find("test.c:2:10: error: "), std::string::npos) << error;
}

TEST_P(Bcc, LicenceIsTheSources) {
  EXPECT_EQ(must_load("#define BPF_LICENSE Dual MIT/GPL\nint f(void *c) { return 0; }\n").license, "Dual MIT/GPL");
  EXPECT_EQ(must_load("int f(void *c) { return 0; }\n").license, "GPL");
}

TEST_P(Bcc, MapsOfMaps) {
  const auto spec = must_load(R"(
    BPF_ARRAY(inner, u32, 16);
    BPF_ARRAY_OF_MAPS(outer, "inner", 4);
    BPF_HASH_OF_MAPS(by_id, u32, "inner", 8);
    int f(void *ctx) {
      int slot = 0; u32 id = 1;
      void *map = outer.lookup(&slot);
      if (!map) return 0;
      u32 *value = bpf_map_lookup_elem(map, &slot);
      return value ? *value : by_id.lookup(&id) != 0;
    })");
  ASSERT_NE(spec.map("outer"), nullptr);
  EXPECT_EQ(spec.map("outer")->type, MapType::array_of_maps);
  ASSERT_NE(spec.map("outer")->inner, nullptr);
  EXPECT_EQ(spec.map("outer")->inner->max_entries, 16u);
  EXPECT_EQ(spec.map("by_id")->type, MapType::hash_of_maps);
}

TEST_P(Bcc, FunctionsOfTheSource) {
  const auto spec = load(R"(
    BPF_HASH(h);
    static u64 small(u64 x) { return x * 3; }
    static __attribute__((noinline)) u64 large(u64 x) { bpf_trace_printk("%d", x); return x + 1; }
    __attribute__((noinline)) int shared(u64 x, u64 y) { bpf_trace_printk("%d", y); return x + y; }
    int f(void *ctx) { u64 k = small(2); h.increment(k); return large(k) + shared(k, 2); })");
  ASSERT_TRUE(spec) << spec.error().message;
  ASSERT_NE(spec->program("f"), nullptr);
  EXPECT_TRUE(spec->program("f")->autoload);
  EXPECT_EQ(spec->program("f")->functions.size(), 3u);
  EXPECT_EQ(spec->program("large"), nullptr);
  ASSERT_NE(spec->program("shared"), nullptr);
  EXPECT_FALSE(spec->program("shared")->autoload);
}

TEST_P(Bcc, KernelFunctionProbes) {
  const auto spec = must_load(R"(
    KFUNC_PROBE(vfs_read, void *file, char *buf, u64 count) { bpf_trace_printk("%d", count); return 0; }
    KRETFUNC_PROBE(vfs_read, void *file, char *buf, u64 count, void *pos, long ret) { bpf_trace_printk("%d", ret); return 0; })");
  ASSERT_NE(spec.program("kfunc__vfs_read"), nullptr);
  EXPECT_EQ(spec.program("kfunc__vfs_read")->attach.kind, AttachKind::fentry);
  EXPECT_EQ(spec.program("kfunc__vfs_read")->attach.target, "vfs_read");
  EXPECT_EQ(spec.program("kretfunc__vfs_read")->attach.kind, AttachKind::fexit);
}

TEST_P(Bcc, MoreProbeForms) {
  if (!std::filesystem::exists("/sys/kernel/btf/vmlinux")) GTEST_SKIP() << "this kernel has no BTF";
  const auto spec = must_load(R"(
    MODULE_KFUNC_PROBE(ext4, ext4_sync_fs, struct super_block *sb) { return 0; }
    KMOD_RET(security_file_open, struct file *file, int ret) { return ret; }
    LSM_PROBE(bpf, int cmd, void *attr, unsigned int size) { return 0; }
    BPF_ITER(task) { struct task_struct *task = ctx->task; return task ? task->pid == 0 : 0; })");
  const std::pair<const char*, AttachKind> expected[] = {{"kfunc__ext4_sync_fs", AttachKind::fentry},
                                                         {"kmod_ret__security_file_open", AttachKind::fmod_ret},
                                                         {"lsm__bpf", AttachKind::lsm},
                                                         {"bpf_iter__task", AttachKind::iter}};
  for (const auto& [name, kind] : expected) {
    ASSERT_NE(spec.program(name), nullptr) << name;
    EXPECT_EQ(spec.program(name)->attach.kind, kind) << name;
  }
  EXPECT_EQ(spec.program("bpf_iter__task")->attach.target, "task");
}

TEST_P(Bcc, SocketsStoragesAndQueues) {
  if (!std::filesystem::exists("/sys/kernel/btf/vmlinux")) GTEST_SKIP() << "this kernel has no BTF";
  const auto spec = must_load(R"(
    BPF_SOCKMAP(by_number, 8);
    BPF_SOCKHASH(by_key, u64, 16);
    BPF_CGROUP_STORAGE(groups, u64);
    BPF_PERCPU_CGROUP_STORAGE(groups_of_cpus, u64);
    BPF_STACK_TRACE_BUILDID(stacks, 64);
    BPF_QUEUE(queue, u32, 7, 0);
    BPF_QUEUESTACK("stack", stack, u64, 9, 0);
    BPF_XDP_REDIRECT_MAP("devmap", int, devices, 4);
    int sock_ops(struct bpf_sock_ops *ctx) {
      u64 key = ctx->local_port; u32 number = 1;
      return by_key.sock_hash_update(ctx, &key, BPF_NOEXIST) + by_number.sock_map_update(ctx, &number, 0);
    }
    int message(struct sk_msg_md *message) { u64 key = 1; return by_key.msg_redirect_hash(message, &key, 0); }
    int packet(struct __sk_buff *skb) {
      u64 *seen = groups.get_local_storage(0); if (seen) *seen += skb->len;
      u64 key = 2; u32 v = 3; queue.push(&v, 0); stack.push(&key, BPF_EXIST);
      return by_key.sk_redirect_hash(skb, &key, 0) + by_number.sk_redirect_map(skb, 0, 0);
    }
    int xdp(struct xdp_md *ctx) { return devices.redirect_map(0, 0); })");
  const std::pair<const char*, MapType> expected[] = {
      {"by_number", MapType::sockmap},     {"by_key", MapType::sockhash},
      {"groups", MapType::cgroup_storage}, {"groups_of_cpus", MapType::percpu_cgroup_storage},
      {"stacks", MapType::stack_trace},    {"queue", MapType::queue},
      {"stack", MapType::stack},           {"devices", MapType::devmap}};
  for (const auto& [name, type] : expected) {
    ASSERT_NE(spec.map(name), nullptr) << name;
    EXPECT_EQ(spec.map(name)->type, type) << name;
  }
  EXPECT_EQ(spec.map("by_key")->key_size, 8u);
  EXPECT_EQ(spec.map("groups")->key_size, 16u);
  EXPECT_EQ(spec.map("groups")->max_entries, 0u);
  EXPECT_EQ(spec.map("stacks")->value_size, 127u * 32);
  EXPECT_EQ(spec.map("stacks")->flags, 32u);
  EXPECT_EQ(spec.map("queue")->max_entries, 7u);
}

TEST_P(Bcc, TablesThatDoNotExist) {
  // A table by an unknown name, and one that skep does not have.
  EXPECT_NE(must_fail("BPF_TABLE(\"no_such_kind\", u32, u64, t, 10);\nint f(void *c) { return 0; }").find("negative"),
            std::string::npos);
}

TEST_P(Bcc, PinnedTables) {
  // The path is the loader's to read, whatever the table is called.
  const auto pinned = must_load(
      "BPF_TABLE_PINNED(\"hash\", u32, u64, t, 10, \"/sys/fs/bpf/folder/of_another_name\");\n"
      "int f(void *c) { u32 k = 1; return t.lookup(&k) != 0; }");
  ASSERT_NE(pinned.map("t"), nullptr);
  EXPECT_TRUE(pinned.map("t")->pin_by_name);
  const auto path = pinned.variable("skep_pin_t");
  ASSERT_TRUE(path.has_value());
  EXPECT_STREQ(reinterpret_cast<const char*>(pinned.maps[path->map].initial_value.data() + path->offset),
               "/sys/fs/bpf/folder/of_another_name");
}

TEST_P(Bcc, EightParametersAreExplained) {
  const std::string error = must_fail(
      "int f(struct pt_regs *ctx, int a, int b, int c, int d, int e, int g, int h) {\n"
      "  bpf_trace_printk(\"%d\", h); return 0; }\n");
  EXPECT_NE(error.find("at most 5 parameters"), std::string::npos) << error;
}

SKEP_EACH_CLANG(Bcc);

}  // namespace
}  // namespace skep::compile
