// Objects of both dialects, judged by others: libbpf reads and relocates them, the kernel's verifier accepts
// the programs, and BPF_PROG_TEST_RUN shows that the methods of BCC's maps do what they say.
//
// Nothing is attached anywhere. Without the right to use bpf(2) the tests are skipped, naming it.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>

#include <cstdarg>
#include <cstring>
#include <memory>

#include "compile/test_support.hpp"

namespace skep::compile {
namespace {

std::string* collected = nullptr;

int collect(enum libbpf_print_level level, const char* format, va_list arguments) {
  char line[4096];
  std::vsnprintf(line, sizeof line, format, arguments);
  if (collected != nullptr && level != LIBBPF_DEBUG) *collected += line;
  return 0;
}

struct Close {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Loaded = std::unique_ptr<bpf_object, Close>;

class Oracle : public test::EachClang {
 protected:
  void SetUp() override {
    const Insn trivial[] = {{.code = 0xb7}, {.code = 0x95}};
    const int fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "probe", "GPL",
                                 reinterpret_cast<const bpf_insn*>(trivial), 2, nullptr);
    const bool may = fd >= 0;
    if (may) ::close(fd);
    if (!may || ::geteuid() != 0)
      GTEST_SKIP() << "may not load programs (CAP_BPF, CAP_PERFMON): " << std::strerror(errno);
    collected = &log_;
    libbpf_set_print(collect);
  }

  /// Opens an object's bytes, gives every program `type` (0: as its section says), loads.
  Loaded load_with_libbpf(const std::vector<std::byte>& object, bpf_prog_type type) {
    bpf_object_open_opts options{};
    options.sz = sizeof options;
    options.object_name = "oracle";
    log_.clear();
    Loaded opened(bpf_object__open_mem(object.data(), object.size(), &options));
    EXPECT_NE(opened, nullptr) << log_;
    if (!opened) return nullptr;
    bpf_program* program = nullptr;
    if (type != BPF_PROG_TYPE_UNSPEC)
      bpf_object__for_each_program(program, opened.get()) bpf_program__set_type(program, type);
    const int error = bpf_object__load(opened.get());
    EXPECT_EQ(error, 0) << std::strerror(-error) << "\n" << log_;
    return error == 0 ? std::move(opened) : nullptr;
  }

  Loaded accept(std::string_view source, bpf_prog_type type) {
    const auto compiled = compile_text(source, "oracle.c", options_);
    EXPECT_TRUE(compiled) << compiled.error().message;
    return compiled ? load_with_libbpf(compiled->object, type) : nullptr;
  }

  /// A program without maps, as load_program() leaves it: with its prologue.
  void accept_insns(std::string_view source, bpf_prog_type type) {
    const auto spec = load(source);
    ASSERT_TRUE(spec) << spec.error().message;
    for (const ProgramSpec& program : spec->programs) {
      ASSERT_TRUE(program.references.empty());
      std::string log(1 << 16, '\0');
      bpf_prog_load_opts options{};
      options.sz = sizeof options;
      options.log_buf = log.data();
      options.log_size = static_cast<u32>(log.size());
      options.log_level = 1;
      const int fd = bpf_prog_load(type, "oracle", "GPL", reinterpret_cast<const bpf_insn*>(program.insns.data()),
                                   program.insns.size(), &options);
      EXPECT_GE(fd, 0) << program.name << ": " << log.c_str();
      if (fd >= 0) ::close(fd);
    }
  }

  std::string log_;
};

TEST_P(Oracle, SeedsAsProbeAndTracepoint) {
  for (const char* file : {"examples/hello.bpf.c", "examples/counter.bpf.c"}) {
    const auto compiled = compile_file(file, options_);
    ASSERT_TRUE(compiled) << compiled.error().message;
    EXPECT_NE(load_with_libbpf(compiled->object, BPF_PROG_TYPE_KPROBE), nullptr) << file;
    EXPECT_NE(load_with_libbpf(compiled->object, BPF_PROG_TYPE_TRACEPOINT), nullptr) << file;
  }
}

TEST_P(Oracle, MapMethodsAreAccepted) {
  accept(R"(
    struct key_t { u64 a, b; u32 c; };
    struct data { u32 pid; char comm[16]; };
    BPF_HASH(h, struct key_t, u64); BPF_ARRAY(a, u32, 8); BPF_PROG_ARRAY(progs, 4); BPF_STACK_TRACE(stacks, 64);
    BPF_QUEUE(q, u64, 10); BPF_RINGBUF_OUTPUT(ring, 4); BPF_PERF_OUTPUT(events); BPF_HISTOGRAM(dist);
    BPF_LRU_HASH(lru, u32); BPF_PERCPU_HASH(ph, u32, u64); BPF_PERCPU_ARRAY(pa, u64, 4);
    int m_lookup(void *ctx) { struct key_t k = {}; u64 *v = h.lookup(&k); return v ? *v : 0; }
    int m_update(void *ctx) { struct key_t k = {}; u64 v = 1; h.update(&k, &v); h.insert(&k, &v); return h.delete(&k); }
    int m_init(void *ctx) { struct key_t k = {}; u64 z = 0; *h.lookup_or_init(&k, &z) += 2; return 0; }
    int m_try(void *ctx) { struct key_t k = {}; u64 z = 0, *v = h.lookup_or_try_init(&k, &z); if (v) lock_xadd(v, 2); return 0; }
    int m_inc(void *ctx) { struct key_t k = {}; h.increment(k); h.atomic_increment(k, 3); a.increment(3, 2); lru.increment(1);
                           ph.increment(2); pa.atomic_increment(3); dist.increment(bpf_log2l(bpf_ktime_get_ns())); return 0; }
    int m_call(void *ctx) { progs.call(ctx, 2); return 0; }
    int m_stack(void *ctx) { return stacks.get_stackid(ctx, BPF_F_REUSE_STACKID); }
    int m_queue(void *ctx) { u64 v = 1; q.push(&v, BPF_EXIST); q.peek(&v); q.pop(&v); return 0; }
    int m_perf(void *ctx) { struct data d = {}; bpf_get_current_comm(&d.comm, sizeof(d.comm)); events.perf_submit(ctx, &d, sizeof(d)); return 0; }
    int m_ring(void *ctx) { u64 v = 1; ring.ringbuf_output(&v, sizeof(v), 0); u64 *r = ring.ringbuf_reserve(8);
                            if (!r) return ring.ringbuf_query(BPF_RB_AVAIL_DATA);
                            *r = 1; ring.ringbuf_submit(r, BPF_RB_NO_WAKEUP); return 0; })",
         BPF_PROG_TYPE_KPROBE);
}

TEST_P(Oracle, PrintingAndRegisters) {
  accept(R"(
    #include <uapi/linux/ptrace.h>
    int one(struct pt_regs *ctx) { bpf_trace_printk("%lx %lx", PT_REGS_PARM1(ctx), PT_REGS_RC(ctx)); return 0; }
    int two(struct pt_regs *ctx) { char f[] = "old %d %d %d\n"; bpf_trace_printk(f, sizeof(f), 1, 2, PT_REGS_IP(ctx)); return 0; })",
         BPF_PROG_TYPE_KPROBE);
}

TEST_P(Oracle, TracepointRecords) {
  accept(R"(
    TRACEPOINT_PROBE(syscalls, sys_enter_openat) {
      char path[64];
      bpf_probe_read_user_str(path, sizeof(path), args->filename);
      bpf_trace_printk("%d %s %x", args->dfd, path, args->flags);
      return 0;
    }
    TRACEPOINT_PROBE(syscalls, sys_exit_openat) { bpf_trace_printk("%d", args->ret); return 0; }
    TRACEPOINT_PROBE(raw_syscalls, sys_exit) { bpf_trace_printk("%d %d", args->id, args->ret); return 0; })",
         BPF_PROG_TYPE_TRACEPOINT);
  accept("RAW_TRACEPOINT_PROBE(sys_enter) { bpf_trace_printk(\"%d\", ctx->args[1]); return 0; }",
         BPF_PROG_TYPE_RAW_TRACEPOINT);
}

TEST_P(Oracle, ParametersFromRegisters) {
  accept_insns(
      "int f(struct pt_regs *ctx, int a, unsigned short b, char c, void *d) { bpf_trace_printk(\"%d %d %d\", a, b, c); "
      "return d != 0; }\n"
      "int syscall__execve(struct pt_regs *ctx, const char *file, void *argv, void *envp, u64 last) {\n"
      "  char text[64]; bpf_probe_read_user_str(text, sizeof(text), file); bpf_trace_printk(\"%s %d\", text, last); "
      "return 0; }\n",
      BPF_PROG_TYPE_KPROBE);
}

TEST_P(Oracle, ExamplesInLibbpfsStyle) {
  for (const char* file : {"minimal", "opensnoop", "execsnoop", "ksyscall"}) {
    const auto compiled = compile_file(std::string("examples/") + file + ".bpf.c", options_);
    ASSERT_TRUE(compiled) << compiled.error().message;
    EXPECT_NE(load_with_libbpf(compiled->object, BPF_PROG_TYPE_UNSPEC), nullptr) << file;
  }
}

TEST_P(Oracle, MethodsDoWhatTheySay) {
  const Loaded object = accept(R"(
    struct key_t { u32 a, b; };
    BPF_HASH(h); BPF_ARRAY(a, u32, 8); BPF_HASH(pairs, struct key_t, u64, 2); BPF_ARRAY(results, u64, 16); BPF_QUEUE(q, u64, 4);
    static inline void result(int slot, u64 value) { results.update(&slot, &value); }
    int f(struct xdp_md *ctx) {
      u64 k = 4, nine = 9, popped = 0;
      h.increment(1); h.increment(1); h.increment(2, 5); h.atomic_increment(2); h.atomic_increment(3, 7);
      a.increment(3); a.atomic_increment(3, 10);
      u64 *v = h.lookup_or_try_init(&k, &nine);
      if (v) *v += 1;
      result(0, h.insert(&k, &nine));
      k = 5; result(1, h.insert(&k, &nine));
      result(2, h.delete(&k)); result(3, h.lookup(&k) == 0); result(4, h.delete(&k));
      struct key_t p = {1, 2};
      pairs.increment(p); p.b = 3; pairs.increment(p, 2);
      q.push(&nine, 0); k = 8; q.push(&k, 0); q.peek(&popped); result(5, popped); q.pop(&popped); q.pop(&popped); result(6, popped);
      result(7, bpf_log2l(1)); result(8, bpf_log2l(1024)); result(9, bpf_log2l(1ull << 40)); result(10, bpf_log2(255));
      p.b = 4;
      *pairs.lookup_or_init(&p, &nine) += 1; /* full: the program ends here with 0 */
      result(11, 1);
      return 2;
    })",
                               BPF_PROG_TYPE_XDP);
  ASSERT_NE(object, nullptr);
  char packet[64] = {};
  bpf_test_run_opts run{};
  run.sz = sizeof run;
  run.data_in = packet;
  run.data_size_in = sizeof packet;
  ASSERT_EQ(bpf_prog_test_run_opts(bpf_program__fd(bpf_object__find_program_by_name(object.get(), "f")), &run), 0);
  EXPECT_EQ(run.retval, 0u);
  const auto value_of = [&]<class K, class V>(const char* map, K key, V) {
    V value{};
    const int fd = bpf_object__find_map_fd_by_name(object.get(), (std::string("skep_map_") + map).c_str());
    EXPECT_EQ(bpf_map_lookup_elem(fd, &key, &value), 0) << map << " " << std::strerror(errno);
    return value;
  };
  EXPECT_EQ(value_of("h", u64{1}, u64{}), 2u);
  EXPECT_EQ(value_of("h", u64{2}, u64{}), 6u);
  EXPECT_EQ(value_of("h", u64{3}, u64{}), 7u);
  EXPECT_EQ(value_of("h", u64{4}, u64{}), 10u);
  EXPECT_EQ(value_of("a", u32{3}, u32{}), 11u);
  EXPECT_EQ(value_of("pairs", (u64{3} << 32) | 1, u64{}), 2u);
  const s64 expected[] = {-EEXIST, 0, 0, 1, -ENOENT, 9, 8, 1, 11, 41, 7, 0};
  for (u32 slot = 0; slot < std::size(expected); ++slot)
    EXPECT_EQ(value_of("results", slot, s64{}), expected[slot]) << slot;
}

SKEP_EACH_CLANG(Oracle);

}  // namespace
}  // namespace skep::compile
