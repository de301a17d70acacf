// Targets become plans, plans become contexts, byte by byte as the kernel's.
#include "hook/syscall_context.hpp"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

#include "hook/event_decode.hpp"

namespace skep::hook {
namespace {

/// A task that is nowhere: contexts need only read_kernel.
struct NoTask final : helper::Task {
  u64 pid_tgid() noexcept override { return 0; }
  u64 uid_gid() noexcept override { return 0; }
  void comm(char (&comm)[16]) noexcept override { std::memset(comm, 0, sizeof comm); }
  u32 cpu() noexcept override { return 0; }
  s64 read_user(void*, u64, u32) noexcept override { return -EFAULT; }
  s64 write_user(u64, const void*, u32) noexcept override { return -EFAULT; }
  s64 read_kernel(void*, u64, u32) noexcept override {
    ++kernel_reads;
    return 0;
  }
  int kernel_reads = 0;
};

HookPlan planned(const char* section) {
  const auto target = AttachTarget::from_section(section);
  EXPECT_TRUE(target) << section;
  const auto made = plan(*target);
  EXPECT_TRUE(made) << made.error().message;
  return made ? *made : HookPlan{};
}

Error refused(const char* section) {
  const auto target = AttachTarget::from_section(section);
  EXPECT_TRUE(target) << section;
  const auto made = plan(*target);
  EXPECT_FALSE(made) << section;
  return made ? Error{} : made.error();
}

SyscallEvent openat_event(bool is_exit) {
  SyscallEvent event;
  decode_call({0xC000003E, SYS_openat, {0xffffff9c, 0x7000, 2, 0644, 5, 6}, 0x401000}, event);
  registers_from_call({0xC000003E, SYS_openat, {0xffffff9c, 0x7000, 2, 0644, 5, 6}, 0x401000}, event);
  event.tid = 77;
  event.is_exit = is_exit;
  event.ret = is_exit ? -ENOENT : 0;
  return event;
}

SyscallEvent compat_event() {
  SyscallEvent event;
  const RawCall call{0x40000003, 295, {0xffffff9c, 0x7000, 2, 0644, 0, 0}, 0x8048000};
  decode_call(call, event);
  registers_from_call(call, event);
  event.tid = 78;
  return event;
}

template <class T>
T at(const void* context, std::size_t offset) {
  T value;
  std::memcpy(&value, static_cast<const char*>(context) + offset, sizeof value);
  return value;
}

TEST(HookPlan, TargetsOfSystemCalls) {
  using Context = HookPlan::Context;
  struct {
    const char* section;
    Context context;
    s64 number;  // -1: every call
    u32 bytes;
    HookPlan::Callers callers;
  } const rows[] = {
      {"tracepoint/syscalls/sys_enter_openat", Context::tracepoint_enter, SYS_openat, 48, HookPlan::Callers::all},
      {"tp/syscalls/sys_exit_openat", Context::tracepoint_exit, SYS_openat, 24, HookPlan::Callers::all},
      {"tp/syscalls/sys_enter_getpid", Context::tracepoint_enter, SYS_getpid, 12, HookPlan::Callers::all},
      {"tp/syscalls/sys_enter_newfstat", Context::tracepoint_enter, SYS_fstat, 32, HookPlan::Callers::all},
      {"tp/raw_syscalls/sys_enter", Context::raw_syscalls_enter, -1, 64, HookPlan::Callers::all},
      {"tp/raw_syscalls/sys_exit", Context::raw_syscalls_exit, -1, 24, HookPlan::Callers::all},
      {"raw_tracepoint/sys_enter", Context::raw_enter, -1, 16, HookPlan::Callers::all},
      {"raw_tp/sys_exit", Context::raw_exit, -1, 16, HookPlan::Callers::all},
      {"kprobe/__x64_sys_execve", Context::function_entry, SYS_execve, 168, HookPlan::Callers::native},
      {"kretprobe/__x64_sys_execve", Context::function_return, SYS_execve, 168, HookPlan::Callers::native},
      {"kprobe/__ia32_compat_sys_execve", Context::function_entry, SYS_execve, 168, HookPlan::Callers::compat},
      {"ksyscall/execve", Context::function_entry, SYS_execve, 168, HookPlan::Callers::all},
      {"kretsyscall/openat", Context::function_return, SYS_openat, 168, HookPlan::Callers::all},
      {"ksyscall/fstat", Context::function_entry, SYS_fstat, 168, HookPlan::Callers::all},
      {"ksyscall/newfstat", Context::function_entry, SYS_fstat, 168, HookPlan::Callers::all},
  };
  for (const auto& row : rows) {
    const HookPlan made = planned(row.section);
    EXPECT_EQ(made.context, row.context) << row.section;
    EXPECT_EQ(made.every_call, row.number < 0) << row.section;
    EXPECT_EQ(made.number, row.number < 0 ? 0 : static_cast<u32>(row.number)) << row.section;
    EXPECT_EQ(made.context_bytes, row.bytes) << row.section;
    EXPECT_EQ(made.callers, row.callers) << row.section;
    SyscallInterest interest;
    made.add_to(interest);
    EXPECT_TRUE(interest.any());
    EXPECT_EQ(interest.any_exit(), made.is_exit());
    EXPECT_FALSE(interest.needs_registers);
  }
  SyscallInterest interest;
  planned("tp_btf/sys_enter").add_to(interest);
  EXPECT_TRUE(interest.needs_registers) << "such programs load registers through the pointer itself";
}

TEST(HookPlan, RefusalsSayWhy) {
  const auto says = [](const Error& error, Code code, const char* text) {
    EXPECT_EQ(error.code, code) << error.message;
    EXPECT_NE(error.message.find(text), std::string::npos) << error.message;
  };
  says(refused("tp/syscalls/sys_enter_opnat"), Code::not_found, "openat");
  says(refused("tp/syscalls/sys_enter_fstat"), Code::not_found, "the kernel calls it \"newfstat\"");
  says(refused("kprobe/__x64_sys_exceve"), Code::not_found, "execve");
  says(refused("ksyscall/nonsense_call_name"), Code::not_found, "no system call");
  says(refused("tp/syscalls/openat"), Code::not_found, "sys_enter_NAME");
  says(refused("tp/sched/sched_switch"), Code::unsupported, "--backend kernel");
  says(refused("kprobe/do_sys_openat2"), Code::unsupported, "--backend kernel");
  says(refused("kprobe/__x64_sys_openat+0x10"), Code::unsupported, "inside of a function");
  says(refused("raw_tp/sched_switch"), Code::unsupported, "--backend kernel");
  says(refused("fentry/__x64_sys_openat"), Code::unsupported, "--backend kernel");
  says(refused("kprobe"), Code::invalid_argument, "names no hook");
}

TEST(HookPlan, ProgramsThatDoNotFit) {
  const auto target = *AttachTarget::from_section("tp/syscalls/sys_enter_getpid");
  const HookPlan made = *plan(target);
  EXPECT_TRUE(check_fits(made.context_bytes, target, ProgramType::tracepoint, 12));
  EXPECT_FALSE(check_fits(made.context_bytes, target, ProgramType::tracepoint, 13))
      << "as the kernel: past the event's last field";
  EXPECT_FALSE(check_fits(made.context_bytes, target, ProgramType::kprobe, 8));
}

TEST(SyscallContext, Tracepoints) {
  NoTask task;
  SyscallContext context;
  SyscallEvent event = openat_event(false);
  const void* enter = context.fill(planned("tp/syscalls/sys_enter_openat"), event, task);
  EXPECT_EQ(at<s32>(enter, 4), 77);
  EXPECT_EQ(at<s32>(enter, 8), SYS_openat);
  EXPECT_EQ(at<u64>(enter, 16), 0xffffff9cu);
  EXPECT_EQ(at<u64>(enter, 24), 0x7000u);
  EXPECT_EQ(at<u64>(enter, 40), 0644u);
  EXPECT_EQ(event.readable[0].size(), 48u);

  event = openat_event(true);
  const void* exit = context.fill(planned("tp/syscalls/sys_exit_openat"), event, task);
  EXPECT_EQ(at<s32>(exit, 8), SYS_openat);
  EXPECT_EQ(at<s64>(exit, 16), -ENOENT);

  event = openat_event(false);
  const void* raw = context.fill(planned("tp/raw_syscalls/sys_enter"), event, task);
  EXPECT_EQ(at<s64>(raw, 8), SYS_openat);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(at<u64>(raw, 16 + 8 * i), event.args[i]);
}

TEST(SyscallContext, RawTracepointsAndFunctions) {
  NoTask task;
  SyscallContext context;
  SyscallEvent event = openat_event(false);
  const void* raw = context.fill(planned("raw_tp/sys_enter"), event, task);
  EXPECT_EQ(at<u64>(raw, 0), reinterpret_cast<u64>(&event.regs));
  EXPECT_EQ(at<u64>(raw, 8), static_cast<u64>(SYS_openat));
  EXPECT_EQ(task.kernel_reads, 0) << "registers are fetched when they are read";
  context.fill(planned("tp_btf/sys_enter"), event, task);
  EXPECT_EQ(task.kernel_reads, 1) << "and before, where the program reads them without asking";

  const void* entry = context.fill(planned("kprobe/__x64_sys_openat"), event, task);
  const u64 inner = at<u64>(entry, offsetof(PtRegs, di));
  EXPECT_EQ(inner, reinterpret_cast<u64>(&event.regs));
  EXPECT_EQ(event.regs.si, 0x7000u);
  EXPECT_EQ(event.regs.orig_ax, static_cast<u64>(SYS_openat));

  HookPlan declared = planned("kprobe/__x64_sys_openat");
  declared.arguments_in_place = true;
  entry = context.fill(declared, event, task);
  EXPECT_EQ(at<u64>(entry, offsetof(PtRegs, si)), 0x7000u) << "the arguments themselves";
  EXPECT_EQ(at<u64>(entry, offsetof(PtRegs, cx)), event.args[3]) << "the fourth where functions have it";

  event = openat_event(true);
  EXPECT_EQ(at<s64>(context.fill(planned("raw_tp/sys_exit"), event, task), 8), -ENOENT);
  EXPECT_EQ(at<s64>(context.fill(planned("kretsyscall/openat"), event, task), offsetof(PtRegs, ax)), -ENOENT);
}

TEST(SyscallContext, CallersOf32Bits) {
  NoTask task;
  SyscallContext context;
  SyscallEvent event = compat_event();
  const void* enter = context.fill(planned("tp/syscalls/sys_enter_openat"), event, task);
  EXPECT_EQ(at<s32>(enter, 8), SYS_openat) << "by name: the x86-64 number and order";
  EXPECT_EQ(at<u64>(enter, 24), 0x7000u);

  const void* raw = context.fill(planned("raw_tp/sys_enter"), event, task);
  EXPECT_EQ(at<u64>(raw, 8), 295u) << "raw: as the kernel";
  EXPECT_EQ(event.regs.cx, 0x7000u);
  EXPECT_EQ(event.regs.cs, 0x23u);

  PtRegs inner;
  const void* entry = context.fill(planned("ksyscall/openat"), event, task);
  std::memcpy(static_cast<void*>(&inner), reinterpret_cast<const void*>(at<u64>(entry, offsetof(PtRegs, di))),
              sizeof inner);
  EXPECT_EQ(inner.si, 0x7000u) << "a program for x86-64 finds the arguments where it looks for them";
  EXPECT_EQ(event.readable[1].size(), sizeof(PtRegs));

  EXPECT_FALSE(planned("kprobe/__x64_sys_openat").matches(event));
  EXPECT_TRUE(planned("kprobe/__ia32_sys_openat").matches(event));
  EXPECT_TRUE(planned("ksyscall/openat").matches(event));
  entry = context.fill(planned("kprobe/__ia32_sys_openat"), event, task);
  EXPECT_EQ(at<u64>(entry, offsetof(PtRegs, di)), reinterpret_cast<u64>(&event.regs));
}

}  // namespace
}  // namespace skep::hook
