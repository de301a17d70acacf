// Verified programs on real processes: each kind of context is read the way programs compiled for the kernel read it.
#include "hook/syscall_dispatcher.hpp"

#include <sys/syscall.h>

#include <algorithm>
#include <mutex>

#include "helper/helpers.hpp"
#include "isa/text.hpp"
#include "support.hpp"
#include "verify/verify.hpp"

namespace skep::hook::test {
namespace {

struct Lines final : helper::TraceSink {
  bool line(std::string_view text) noexcept override {
    lines.emplace_back(text);
    return true;
  }
  /// How many lines end with `text`.
  long ending(const std::string& text) const {
    return std::count_if(lines.begin(), lines.end(), [&](const std::string& line) { return line.ends_with(text); });
  }
  std::vector<std::string> lines;
};

std::shared_ptr<const vm::Function> function(const char* section, const std::string& text) {
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
  auto outcome = verify::verify(program, object, {});
  EXPECT_TRUE(outcome) << outcome.error().message;
  EXPECT_TRUE(outcome->program) << verify::explain(outcome->report, program);
  vm::Bindings bindings;
  bindings.helpers = helper::table();
  auto linked = vm::Function::link(*outcome->program, bindings);
  EXPECT_TRUE(linked) << linked.error().message;
  return *linked;
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

class Dispatcher : public ::testing::Test {
 protected:
  u32 attach(const char* section, const std::string& text) {
    auto id = dispatcher.attach(AttachTarget::from_section(section).value(), function(section, text));
    EXPECT_TRUE(id) << id.error().message;
    return id ? *id : 0;
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
  std::string opened(char tag, int number) const {
    return std::string(1, tag) + " /skep-tracee/open" + std::to_string(number);
  }
  Lines lines;
  SyscallDispatcher dispatcher{lines};
};

TEST_F(Dispatcher, EntriesByEveryKindOfHook) {
  attach_paths();
  EXPECT_EQ(run({program("hook_tracee"), "opens", "20"}, dispatcher.interest(), dispatcher).mechanism,
            Mechanism::notify);
  for (int i = 0; i < 20; ++i)
    for (const char tag : {'t', 'k', 'y', 'r', 'w'}) EXPECT_EQ(lines.ending(opened(tag, i)), 1) << tag << i;
}

TEST_F(Dispatcher, EntriesAndReturns) {
  attach_paths();
  attach("tp/syscalls/sys_exit_openat", "r3 = *(u64 *)(r1 +16)\n" + print_number('T'));
  attach("kretprobe/__x64_sys_openat", "r3 = *(u64 *)(r1 +80)\n" + print_number('K'));
  attach("kretsyscall/openat", "r3 = *(u64 *)(r1 +80)\n" + print_number('Y'));
  // sys_exit: the number is in the registers.
  attach("raw_tracepoint/sys_exit", "r6 = *(u64 *)(r1 +8)\n r3 = *(u64 *)(r1 +0)\n" + load_register(120) +
                                        "if r3 == 257 goto +2\n r0 = 0\n exit\n r3 = r6\n" + print_number('R'));
  attach("tp/raw_syscalls/sys_exit",
         "r2 = *(u64 *)(r1 +8)\n if r2 == 257 goto +2\n r0 = 0\n exit\n r3 = *(u64 *)(r1 +16)\n" + print_number('W'));
  EXPECT_EQ(run({program("hook_tracee"), "opens", "10"}, dispatcher.interest(), dispatcher).mechanism,
            Mechanism::ptrace_filtered);
  for (int i = 0; i < 10; ++i)
    for (const char tag : {'t', 'k', 'y', 'r', 'w'}) EXPECT_EQ(lines.ending(opened(tag, i)), 1) << tag << i;
  const long failed = lines.ending("T -2");
  EXPECT_GE(failed, 10);
  for (const char tag : {'K', 'Y', 'R', 'W'}) EXPECT_EQ(lines.ending(std::string(1, tag) + " -2"), failed) << tag;
}

TEST_F(Dispatcher, CallersOf32Bits) {
  if (!exists("hook_tracee32")) GTEST_SKIP() << "left out: the compiler has no 32-bit libraries (package gcc-multilib)";
  attach_paths();
  run({program("hook_tracee32"), "opens", "5"}, dispatcher.interest(), dispatcher);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(lines.ending(opened('t', i)), 1) << "by name";
    EXPECT_EQ(lines.ending(opened('y', i)), 1) << "by name, through registers";
    EXPECT_EQ(lines.ending(opened('k', i)), 0) << "__x64_sys_openat is for 64-bit callers";
    EXPECT_EQ(lines.ending(opened('r', i)), 0) << "257 is another call's number there, as in the kernel";
  }
}

TEST_F(Dispatcher, TheTaskIsTheCallers) {
  attach("tp/syscalls/sys_enter_openat", "call 14\n r3 = r0\n r3 >>= 32\n" + print_number('p'));
  attach("tp/syscalls/sys_enter_execve",
         "r1 = r10\n r1 += -16\n r2 = 16\n call 16\n r1 = 7544611\n *(u64 *)(r10 -24) = r1\n"
         "r1 = r10\n r1 += -24\n r2 = 4\n r3 = r10\n r3 += -16\n call 6\n r0 = 0\n exit\n");
  auto tracer = SyscallTracer::start({program("hook_tracee"), "opens", "3"}, dispatcher.interest(), dispatcher);
  ASSERT_TRUE(tracer) << tracer.error().message;
  ASSERT_TRUE((*tracer)->run());
  EXPECT_GE(lines.ending("p " + std::to_string((*tracer)->pid())), 3);
}

TEST_F(Dispatcher, DetachedProgramsRunNoMore) {
  const u32 first = attach("tp/syscalls/sys_enter_openat", "r3 = *(u64 *)(r1 +24)\n" + print_path('a'));
  const u32 second = attach("tp/syscalls/sys_enter_openat", "r3 = *(u64 *)(r1 +24)\n" + print_path('b'));
  dispatcher.measure_time(true);
  dispatcher.detach(first);
  dispatcher.detach(12345);
  run({program("hook_tracee"), "opens", "5"}, dispatcher.interest(), dispatcher);
  EXPECT_EQ(lines.ending(opened('a', 1)), 0);
  EXPECT_EQ(lines.ending(opened('b', 1)), 1);
  EXPECT_EQ(dispatcher.statistics(first).runs, 0u);
  EXPECT_GE(dispatcher.statistics(second).runs, 5u);
  EXPECT_GT(dispatcher.statistics(second).time_ns, 0u);
}

TEST_F(Dispatcher, RefusedAtAttach) {
  const auto attach_to = [&](const char* section, const char* target, const std::string& text) {
    return dispatcher.attach(AttachTarget::from_section(target).value(), function(section, text));
  };
  const auto wide = attach_to("tp/syscalls/sys_enter_openat", "tp/syscalls/sys_enter_close",
                              "r0 = *(u64 *)(r1 +24)\n r0 = 0\n exit\n");
  ASSERT_FALSE(wide);
  EXPECT_NE(wide.error().message.find("up to byte 32, this hook's has 24"), std::string::npos) << wide.error().message;
  EXPECT_FALSE(attach_to("kprobe/__x64_sys_openat", "tp/syscalls/sys_enter_openat", "r0 = 0\n exit\n"));
  EXPECT_FALSE(attach_to("tp/syscalls/sys_enter_openat", "tp/syscalls/sys_enter_opennat", "r0 = 0\n exit\n"));
  EXPECT_FALSE(dispatcher.interest().any()) << "what was refused is not observed";
}

}  // namespace skep::hook::test
