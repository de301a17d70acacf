// Names as targets, and parameters that come out of registers.
#include "compile/bcc_program.hpp"

#include <algorithm>

#include "compile/test_support.hpp"
#include "spec/handler.hpp"

namespace skep::compile {
namespace {

TEST(BccNames, SayWhereAFunctionGoes) {
  const std::pair<const char*, const char*> named[] = {
      {"kprobe__tcp_connect", "kprobe:tcp_connect"},
      {"kretprobe__tcp_connect", "kretprobe:tcp_connect"},
      {"kprobe____x64_sys_execve", "kprobe:__x64_sys_execve"},
      {"kprobe__sys_execve", "syscall:execve"},
      {"kretprobe__sys_execve", "syscall:execve:exit"},
      {"syscall__execve", "syscall:execve"},
      {"tracepoint__sched__sched_switch", "tracepoint:sched:sched_switch"},
      {"tracepoint__syscalls__sys_enter_openat", "tracepoint:syscalls:sys_enter_openat"},
      {"raw_tracepoint__sys_enter", "raw_tracepoint:sys_enter"},
      {"kfunc__vfs_read", "fentry:vfs_read"},
      {"kretfunc__vfs_read", "fexit:vfs_read"},
  };
  for (const auto& [function, target] : named) EXPECT_EQ(target_of_name(function).text(), target) << function;
  for (const char* other : {"hello", "kprobe__", "tracepoint__", "tracepoint__sched", "tracepoint__sched__", "",
                            "my_kprobe__x", "tracepoint____x"})
    EXPECT_EQ(target_of_name(other).kind, AttachKind::none) << other;
}

class BccParameters : public test::EachClang {
 protected:
  const ProgramSpec& must_load(std::string_view text) {
    auto spec = load(text);
    EXPECT_TRUE(spec) << spec.error().message;
    static const ProgramSpec none;
    if (!spec || spec->programs.empty()) return none;
    spec_ = *std::move(spec);
    return spec_.programs[0];
  }
  ObjectSpec spec_;
};

#if defined(__x86_64__)
TEST_P(BccParameters, AreLoadedFromTheRegisters) {
  const ProgramSpec& program = must_load(
      "BPF_HASH(h);\nint f(struct pt_regs *ctx, int dfd, const char *path, unsigned short mode, u64 last) {\n"
      "  u64 k = dfd + mode + last, v = (u64)path;\n  h.update(&k, &v);\n  return 0;\n}\n");
  const Insn expected[] = {
      {.code = 0x79, .dst = 2, .src = 1, .off = 112},  // di
      {.code = 0x67, .dst = 2, .imm = 32},             // int: extended by its sign
      {.code = 0xc7, .dst = 2, .imm = 32},
      {.code = 0x79, .dst = 3, .src = 1, .off = 104},  // si, a pointer: all of it
      {.code = 0x79, .dst = 4, .src = 1, .off = 96},   // dx
      {.code = 0x67, .dst = 4, .imm = 48},             // unsigned short: extended with zeroes
      {.code = 0x77, .dst = 4, .imm = 48},
      {.code = 0x79, .dst = 5, .src = 1, .off = 88},  // cx
  };
  ASSERT_GE(program.insns.size(), std::size(expected));
  for (std::size_t i = 0; i < std::size(expected); ++i) EXPECT_EQ(program.insns[i], expected[i]) << i;
  // What names an instruction moved along.
  ASSERT_EQ(program.references.size(), 1u);
  EXPECT_EQ(program.insns[program.references[0].insn].code, 0x18);
  EXPECT_EQ(program.functions[0].insn, 0u);
  ASSERT_NE(program.line_at(0), nullptr);
  EXPECT_EQ(program.line_at(0)->line, program.line_at(std::size(expected))->line);
  EXPECT_EQ(program.line_at(program.references[0].insn)->line, 4u);
}

TEST_P(BccParameters, OfSystemCallsComeFromTheCallersRegisters) {
  const ProgramSpec& program = must_load(
      "int syscall__execve(struct pt_regs *ctx, const char *file, const char *const *argv, void *envp, u64 fourth) {\n"
      "  bpf_trace_printk(\"%s %d\", file, fourth);\n  return 0;\n}\n");
  EXPECT_EQ(program.attach.text(), "syscall:execve");
  ASSERT_GE(program.insns.size(), 11u);
  EXPECT_EQ(program.insns[1], (Insn{.code = 0x79, .dst = 3, .src = 1, .off = 112}));
  EXPECT_EQ(program.insns[5], (Insn{.code = 0x85, .imm = 113}));
  EXPECT_EQ(program.insns[6], (Insn{.code = 0x79, .dst = 2, .src = 10, .off = 112 - 120}));
  EXPECT_EQ(program.insns[9], (Insn{.code = 0x79, .dst = 5, .src = 10, .off = 56 - 120}));  // r10, not cx
  EXPECT_EQ(program.insns[10], (Insn{.code = 0xbf, .dst = 1, .src = 6}));
}
#endif

TEST_P(BccParameters, AreSeenToBeThoseOfASystemCall) {
  const auto declares = [&](const char* source) {
    const ProgramSpec& program = must_load(source);
    return spec::declares_call_arguments(spec_.btf.get(), program.functions, program.insns);
  };
  EXPECT_TRUE(declares("int stat_entry(struct pt_regs *ctx, const char *path) { return path != 0; }\n"));
  EXPECT_FALSE(declares("int f(struct pt_regs *ctx, struct pt_regs *regs) { return regs != 0; }\n"));
  EXPECT_FALSE(declares("int f(struct pt_regs *ctx) { return PT_REGS_RC(ctx); }\n"));
  EXPECT_FALSE(declares("int syscall__stat(struct pt_regs *ctx, const char *path) { return path != 0; }\n"));
}

TEST_P(BccParameters, OneParameterNeedsNothing) {
  const ProgramSpec& program = must_load("int f(struct pt_regs *ctx) { return PT_REGS_RC(ctx); }\n");
  EXPECT_LE(program.insns.size(), 3u);
}

TEST_P(BccParameters, CallsAndCallbacksMoveAlong) {
  const ProgramSpec& program = must_load(
      "static __attribute__((noinline)) long twice(long x) { bpf_trace_printk(\"%d\", x); return x * 2; }\n"
      "static long step(u32 i, void *c) { *(u64 *)c += i; return 0; }\n"
      "int f(struct pt_regs *ctx, int a) { u64 sum = 0; bpf_loop(10, step, &sum, 0); return twice(a) + sum; }\n");
  ASSERT_EQ(program.functions.size(), 3u);
  std::vector<u32> starts;
  for (const FunctionInfo& f : program.functions) starts.push_back(f.insn);
  for (std::size_t i = 0; i < program.insns.size(); ++i) {
    const Insn& insn = program.insns[i];
    if (insn.code != 0x85 || insn.src != 1) continue;
    const u32 target = static_cast<u32>(static_cast<s64>(i) + 1 + insn.imm);
    EXPECT_NE(std::find(starts.begin(), starts.end(), target), starts.end()) << i;
  }
  const auto callback = std::find_if(program.references.begin(), program.references.end(),
                                     [](const Reference& r) { return r.kind == Reference::Kind::function; });
  ASSERT_NE(callback, program.references.end());
  EXPECT_NE(std::find(starts.begin(), starts.end(), callback->addend), starts.end());
}

TEST_P(BccParameters, StructsByValueAreRefused) {
  const auto spec = load("struct two { u64 a; };\nint f(struct pt_regs *ctx, struct two t) { return t.a; }\n");
  ASSERT_FALSE(spec);
  EXPECT_NE(spec.error().message.find("program f: parameter t is no integer"), std::string::npos)
      << spec.error().message;
}

TEST_P(BccParameters, TracepointHandlersTakeTheirRecordOnly) {
  const auto spec = load("int tracepoint__raw_syscalls__sys_enter(void *args, int x) { return x; }\n");
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_FALSE(spec->programs[0].autoload);
}

SKEP_EACH_CLANG(BccParameters);

}  // namespace
}  // namespace skep::compile
