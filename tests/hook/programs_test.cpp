// Verified programs on real processes: each kind of context is read the way programs compiled for the kernel read it.
#include <sys/syscall.h>

#include <algorithm>
#include <skep/backend.hpp>
#include <thread>

#include "isa/text.hpp"
#include "support.hpp"

namespace skep::hook::test {
namespace {

ObjectSpec object_of(const char* section, const std::string& text) {
  ProgramSpec program;
  program.name = "test";
  program.section = section;
  program.attach = AttachTarget::from_section(section).value();
  program.type = program.attach.program_type();
  auto insns = isa::assemble(text);
  EXPECT_TRUE(insns) << insns.error().message;
  program.insns = *insns;
  program.functions.push_back({0, 0, "test", true});
  ObjectSpec object;
  object.license = "GPL";
  object.programs.push_back(std::move(program));
  return object;
}

/// With the path's address in r3: prints "TAG /path". Tags are one letter.
std::string print_path(char tag) {
  const u32 format = static_cast<u32>(tag) | 0x732520u << 8;  // "T %s"
  return "r1 = r10\n r1 += -136\n r2 = 128\n call 114\n"      // probe_read_user_str
         "r1 = " +
         std::to_string(format) +
         "\n *(u32 *)(r10 -8) = r1\n r1 = 0\n *(u32 *)(r10 -4) = r1\n"
         "r1 = r10\n r1 += -8\n r2 = 5\n r3 = r10\n r3 += -136\n call 6\n r0 = 0\n exit\n";
}

/// With a number in r3: prints "T NUMBER".
std::string print_number(char tag) {
  const u32 format = static_cast<u32>(tag) | 0x642520u << 8;  // "T %d"
  return "r1 = " + std::to_string(format) +
         "\n *(u32 *)(r10 -8) = r1\n r1 = 0\n *(u32 *)(r10 -4) = r1\n"
         "r1 = r10\n r1 += -8\n r2 = 5\n call 6\n r0 = 0\n exit\n";
}

/// r3 = the u64 at `offset` of the pt_regs that r3 points to.
std::string load_register(u32 offset) {
  return "r3 += " + std::to_string(offset) +
         "\n r1 = r10\n r1 += -16\n r2 = 8\n call 113\n r3 = *(u64 *)(r10 -16)\n";  // probe_read_kernel
}

}  // namespace

/// Programs attached in a user engine, one object each, and the lines that they print.
class Programs : public ::testing::Test {
 protected:
  Programs() : engine(user_backend({.serve_control_socket = false}).value()), pipe(engine->open_trace_pipe().value()) {}

  struct Attached {
    Object object;
    Link link;
  };
  Result<Attached> attach_to(const char* section, const char* target, const std::string& text) {
    Object object = SKEP_TRY(engine->load(object_of(section, text)));
    Link link = SKEP_TRY(object.programs().front().attach(AttachTarget::from_section(target).value()));
    return Attached{std::move(object), std::move(link)};
  }
  void attach(const char* section, const std::string& text) {
    auto made = attach_to(section, section, text);
    ASSERT_TRUE(made) << made.error().message;
    attached.push_back(std::move(*made));
  }
  void attach_paths() {
    attach("tp/syscalls/sys_enter_openat", "r3 = *(u64 *)(r1 +24)\n" + print_path('t'));
    attach("kprobe/__x64_sys_openat", "r3 = *(u64 *)(r1 +112)\n" + load_register(104) + print_path('k'));
    attach("ksyscall/openat", "r3 = *(u64 *)(r1 +112)\n" + load_register(104) + print_path('y'));
    attach("raw_tracepoint/sys_enter",
           "r2 = *(u64 *)(r1 +8)\n if r2 == 257 goto +2\n r0 = 0\n exit\n r3 = *(u64 *)(r1 +0)\n" + load_register(104) +
               print_path('r'));
    attach("tp/raw_syscalls/sys_enter",
           "r2 = *(u64 *)(r1 +8)\n if r2 == 257 goto +2\n r0 = 0\n exit\n r3 = *(u64 *)(r1 +24)\n" + print_path('w'));
  }
  /// Runs a command to its end and collects what was printed; the mechanism is in the engine's notes.
  void run(std::vector<std::string> command) {
    auto result = engine->run({.command = std::move(command)});
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_TRUE(result->exited);
    const auto got = pipe.poll(std::chrono::milliseconds(0), [&](const Record& record) {
      lines.emplace_back(reinterpret_cast<const char*>(record.data.data()), record.data.size());
      while (lines.back().ends_with('\n')) lines.back().pop_back();
    });
    ASSERT_TRUE(got) << got.error().message;
  }
  bool used(std::string_view mechanism) const { return engine->notes().find(mechanism) != std::string::npos; }
  /// How many lines end with `text`.
  long ending(const std::string& text) const {
    return std::count_if(lines.begin(), lines.end(), [&](const std::string& line) { return line.ends_with(text); });
  }
  std::string opened(char tag, int number) const {
    return std::string(1, tag) + " /skep-tracee/open" + std::to_string(number);
  }

  std::unique_ptr<Backend> engine;
  RingReader pipe;
  std::vector<Attached> attached;
  std::vector<std::string> lines;
};

TEST_F(Programs, EntriesByEveryKindOfHook) {
  attach_paths();
  run({program("hook_tracee"), "opens", "20"});
  EXPECT_TRUE(used("seccomp user notification")) << engine->notes();
  for (int i = 0; i < 20; ++i)
    for (const char tag : {'t', 'k', 'y', 'r', 'w'}) EXPECT_EQ(ending(opened(tag, i)), 1) << tag << i;
}

TEST_F(Programs, EntriesAndReturns) {
  attach_paths();
  attach("tp/syscalls/sys_exit_openat", "r3 = *(u64 *)(r1 +16)\n" + print_number('T'));
  attach("kretprobe/__x64_sys_openat", "r3 = *(u64 *)(r1 +80)\n" + print_number('K'));
  attach("kretsyscall/openat", "r3 = *(u64 *)(r1 +80)\n" + print_number('Y'));
  // sys_exit: the number is in the registers.
  attach("raw_tracepoint/sys_exit", "r6 = *(u64 *)(r1 +8)\n r3 = *(u64 *)(r1 +0)\n" + load_register(120) +
                                        "if r3 == 257 goto +2\n r0 = 0\n exit\n r3 = r6\n" + print_number('R'));
  attach("tp/raw_syscalls/sys_exit",
         "r2 = *(u64 *)(r1 +8)\n if r2 == 257 goto +2\n r0 = 0\n exit\n r3 = *(u64 *)(r1 +16)\n" + print_number('W'));
  run({program("hook_tracee"), "opens", "10"});
  EXPECT_TRUE(used("ptrace behind a seccomp filter")) << engine->notes();
  for (int i = 0; i < 10; ++i)
    for (const char tag : {'t', 'k', 'y', 'r', 'w'}) EXPECT_EQ(ending(opened(tag, i)), 1) << tag << i;
  const long failed = ending("T -2");
  EXPECT_GE(failed, 10);
  for (const char tag : {'K', 'Y', 'R', 'W'}) EXPECT_EQ(ending(std::string(1, tag) + " -2"), failed) << tag;
}

TEST_F(Programs, CallersOf32Bits) {
  if (!exists("hook_tracee32"))
    GTEST_SKIP() << "left out: the compiler has no 32-bit libraries (package gcc-12-multilib)";
  attach_paths();
  run({program("hook_tracee32"), "opens", "5"});
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(ending(opened('t', i)), 1) << "by name";
    EXPECT_EQ(ending(opened('y', i)), 1) << "by name, through registers";
    EXPECT_EQ(ending(opened('k', i)), 0) << "__x64_sys_openat is for 64-bit callers";
    EXPECT_EQ(ending(opened('r', i)), 0) << "257 is another call's number there, as in the kernel";
  }
}

TEST_F(Programs, TheTaskIsTheCallers) {
  attach("tp/syscalls/sys_enter_openat", "call 14\n r3 = r0\n r3 >>= 32\n" + print_number('p'));
  attach("tp/syscalls/sys_enter_execve",
         "r1 = r10\n r1 += -16\n r2 = 16\n call 16\n r1 = 7544611\n *(u64 *)(r10 -24) = r1\n"
         "r1 = r10\n r1 += -24\n r2 = 4\n r3 = r10\n r3 += -16\n call 6\n r0 = 0\n exit\n");
  run({program("hook_tracee"), "opens", "3"});
  // "     hook_tracee-PID   [000] ...: bpf_trace_printk: p PID"
  long of_tracee = 0;
  for (const std::string& line : lines) {
    const std::size_t told = line.rfind(": p ");
    if (told == std::string::npos || line.find("hook_tracee-") == std::string::npos) continue;
    ++of_tracee;
    EXPECT_NE(line.find("hook_tracee-" + line.substr(told + 4) + " "), std::string::npos) << line;
  }
  EXPECT_GE(of_tracee, 3);
}

TEST_F(Programs, DetachedProgramsRunNoMore) {
  attach("tp/syscalls/sys_enter_openat", "r3 = *(u64 *)(r1 +24)\n" + print_path('a'));
  attach("tp/syscalls/sys_enter_openat", "r3 = *(u64 *)(r1 +24)\n" + print_path('b'));
  {
    const Link gone = std::move(attached[0].link);
  }
  run({program("hook_tracee"), "opens", "5"});
  EXPECT_EQ(ending(opened('a', 1)), 0);
  EXPECT_EQ(ending(opened('b', 1)), 1);
  const auto programs = engine->inspector().programs();
  ASSERT_TRUE(programs && programs->size() == 2u);
  EXPECT_EQ((*programs)[0].run_count, 0u);
  EXPECT_GE((*programs)[1].run_count, 5u);
  EXPECT_GT((*programs)[1].run_time_ns, 0u);
}

TEST_F(Programs, AStaticProbeWhoseArgumentsNobodyReads) {
  // The object has no map of descriptions, and needs none: bpf_get_attach_cookie() is what the caller asked for.
  const std::string place = "usdt:" + program("hook_tracee_probes") + ":skep_tracee:marked";
  auto target = AttachTarget::from_text(place);
  ASSERT_TRUE(target) << target.error().message;
  target->cookie = 77;
  auto object = engine->load(object_of("usdt", "call 174\n r3 = r0\n" + print_number('c')));
  ASSERT_TRUE(object) << object.error().message;
  auto link = object->programs().front().attach(*target);
  ASSERT_TRUE(link) << link.error().message;
  run({program("hook_tracee_probes"), "statics", "3"});
  EXPECT_EQ(ending("c 77"), 6);
}

TEST_F(Programs, RefusedAtAttach) {
  const auto wide = attach_to("tp/syscalls/sys_enter_openat", "tp/syscalls/sys_enter_close",
                              "r0 = *(u64 *)(r1 +24)\n r0 = 0\n exit\n");
  ASSERT_FALSE(wide);
  EXPECT_NE(wide.error().message.find("up to byte 32, this hook's has 24"), std::string::npos) << wide.error().message;
  EXPECT_FALSE(attach_to("kprobe/__x64_sys_openat", "tp/syscalls/sys_enter_openat", "r0 = 0\n exit\n"));
  EXPECT_FALSE(attach_to("tp/syscalls/sys_enter_openat", "tp/syscalls/sys_enter_opennat", "r0 = 0\n exit\n"));
  EXPECT_FALSE(engine->run({.command = {"true"}})) << "what was refused is not observed";
}

}  // namespace skep::hook::test
