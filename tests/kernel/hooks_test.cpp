// Every kind of hook: the program is loaded, attached, sees the calls of one child, and none after it is detached.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "kernel/features.hpp"
#include "support.hpp"

namespace skep::kernel_test {
namespace {

constexpr u64 calls = 25;

void call_getppid() {
  for (u64 i = 0; i < calls; ++i) ::syscall(SYS_getppid);
}

class Hooks : public KernelEngine {
 protected:
  /// Loads one program of hooks.bpf.c for a child, attaches it, lets the child call, and gives what was counted.
  u64 hits(const std::string& program, u32 slot, std::optional<AttachTarget> target, std::string* carried = nullptr) {
    auto spec = compile("hooks");
    EXPECT_TRUE(spec) << spec.error().message;
    if (!spec) return 0;
    Child child(call_getppid), late(call_getppid);
    set_global(*spec, "wanted_pid", child.pid());
    auto object = load(*spec, {.programs = {program}});
    EXPECT_TRUE(object) << object.error().message;
    if (!object) return 0;
    auto handle = object->program(program);
    EXPECT_TRUE(handle) << handle.error().message;
    if (!handle) return 0;
    {
      auto link = target ? handle->attach(*target) : handle->attach();
      EXPECT_TRUE(link) << link.error().message;
      if (!link) return 0;
      if (carried != nullptr) *carried = link->carried_by();
      EXPECT_TRUE(child.run());
    }
    return counter(*object, "hits", slot);
  }
};

TEST_F(Hooks, Tracepoint) { EXPECT_EQ(hits("on_tracepoint", 0, {}), calls); }
TEST_F(Hooks, RawTracepoint) { EXPECT_EQ(hits("on_raw_tracepoint", 1, {}), calls); }
TEST_F(Hooks, TypedTracepoint) { EXPECT_EQ(hits("on_tp_btf", 2, {}), calls); }

TEST_F(Hooks, KsyscallIsServedOneWayOrAnother) {
  std::string carried;
  EXPECT_EQ(hits("on_ksyscall", 3, {}, &carried), calls);
  RecordProperty("carried_by", carried);
}
TEST_F(Hooks, KretsyscallIsServedOneWayOrAnother) { EXPECT_EQ(hits("on_kretsyscall", 4, {}), calls); }
TEST_F(Hooks, KprobeOnASystemCallFunction) { EXPECT_EQ(hits("on_kprobe", 5, {}), calls); }
TEST_F(Hooks, ProgramWithoutTargetGoesWhereItIsTold) {
  EXPECT_EQ(hits("anywhere", 6, AttachTarget{AttachKind::ksyscall, "getppid"}), calls);
  EXPECT_EQ(hits("anywhere", 6, AttachTarget{AttachKind::kprobe, "__x64_sys_getppid"}), calls);
}

TEST_F(Hooks, NothingIsSeenAfterDetaching) {
  auto spec = compile("hooks");
  ASSERT_OK(spec);
  Child child(call_getppid);
  set_global(*spec, "wanted_pid", child.pid());
  auto object = load(*spec, {.programs = {"on_tracepoint", "on_ksyscall"}});
  ASSERT_OK(object);
  for (Program& program : object->programs()) {
    auto link = program.attach();
    ASSERT_OK(link);
    link->detach();
  }
  EXPECT_TRUE(child.run());
  EXPECT_EQ(counter(*object, "hits", 0), 0u);
  EXPECT_EQ(counter(*object, "hits", 3), 0u);
}

TEST_F(Hooks, OneProgramOnTwoSystemCalls) {
  auto spec = compile("hooks");
  ASSERT_OK(spec);
  Child child([] {
    for (u64 i = 0; i < calls; ++i) ::syscall(SYS_getppid), ::syscall(SYS_getpgrp);
  });
  set_global(*spec, "wanted_pid", child.pid());
  auto object = load(*spec, {.programs = {"anywhere"}});
  ASSERT_OK(object);
  auto program = object->program("anywhere");
  ASSERT_OK(program);
  auto one = program->attach({AttachKind::ksyscall, "getppid"}),
       two = program->attach({AttachKind::ksyscall, "getpgrp"});
  ASSERT_OK(one);
  ASSERT_OK(two);
  EXPECT_TRUE(child.run());
  EXPECT_EQ(counter(*object, "hits", 6), 2 * calls);
}

TEST_F(Hooks, ProgramWithoutTypeTakesThatOfItsHook) {
  auto spec = compile("hooks");
  ASSERT_OK(spec);
  for (const bool known_at_load : {false, true}) {
    Child child(call_getppid);
    set_global(*spec, "wanted_pid", child.pid());
    ProgramSpec& program = *spec->program("anywhere");
    program.type = ProgramType::unspec;
    const AttachTarget target{AttachKind::kprobe, "__x64_sys_getppid"};
    program.attach = known_at_load ? target : AttachTarget{};
    auto object = load(*spec, {.programs = {"anywhere"}});
    ASSERT_OK(object);
    auto handle = object->program("anywhere").value();
    EXPECT_EQ(handle.info().id != 0, known_at_load);
    auto link = known_at_load ? handle.attach() : handle.attach(target);
    ASSERT_OK(link);
    EXPECT_NE(handle.info().id, 0u);
    ASSERT_TRUE(child.run());
    EXPECT_EQ(counter(*object, "hits", 6), calls);
  }
  Child child(call_getppid);
  set_global(*spec, "wanted_pid", child.pid());
  spec->program("anywhere")->attach = {};
  auto object = load(*spec, {.programs = {"anywhere"}});
  ASSERT_OK(object);
  auto link = object->program("anywhere")->attach({AttachKind::tracepoint, "syscalls/sys_enter_getppid"});
  ASSERT_OK(link);
  EXPECT_EQ(object->program("anywhere")->info().type, ProgramType::tracepoint);
  ASSERT_TRUE(child.run());
  EXPECT_EQ(counter(*object, "hits", 6), calls);
}

TEST_F(Hooks, CallsOf32BitCodeAreNotMistakenForOthers) {
  // getppid is 110 for 64-bit code; 110 is iopl for 32-bit code, which int 0x80 makes from a 64-bit process too.
  auto spec = compile("hooks");
  ASSERT_OK(spec);
  Child child([] {
    call_getppid();
#if defined(__x86_64__)
    for (int i = 0; i < 5; ++i) {
      long result = 110;
      asm volatile("int $0x80" : "+a"(result) : "b"(0) : "memory", "r8", "r9", "r10", "r11");
    }
#endif
  });
  set_global(*spec, "wanted_pid", child.pid());
  auto object = load(*spec, {.programs = {"on_ksyscall", "on_kretsyscall"}});
  ASSERT_OK(object);
  std::vector<Link> links;
  for (Program& program : object->programs()) {
    auto link = program.attach();
    ASSERT_OK(link);
    links.push_back(*std::move(link));
  }
  ASSERT_TRUE(child.run());
  // Whoever carries the program to a tracepoint knows the caller by a field whose place the kernel's types tell.
  // Without types all are seen, and that is said.
  for (const auto& [link, slot] : {std::pair{&links[0], 3u}, {&links[1], 4u}}) {
    const bool sees_all = link->carried_by().find("32-bit callers") != std::string::npos;
    EXPECT_FALSE(sees_all && kernel::Features().kernel_types());
    EXPECT_EQ(counter(*object, "hits", slot), calls + (sees_all ? 5 : 0));
  }
}

TEST_F(Hooks, ACloneReturnsOnceToWhoeverCalledIt) {
  // The new thread leaves the same system call too, with 0, but a return probe sees its caller only.
  auto spec = compile("hooks");
  ASSERT_OK(spec);
  Child child([] {
    for (int i = 0; i < 10; ++i) std::thread([] {}).join();
  });
  set_global(*spec, "wanted_pid", child.pid());
  auto object = load(*spec, {.programs = {"anywhere"}});
  ASSERT_OK(object);
  std::vector<Link> links;
  for (const char* call : {"clone", "clone3"}) {
    auto link = object->program("anywhere")->attach({AttachKind::kretsyscall, call});
    ASSERT_OK(link);
    links.push_back(*std::move(link));
  }
  ASSERT_TRUE(child.run());
  // Where a sandbox refuses clone3 with ENOSYS, the C library goes on to clone, and both return.
  const bool has_clone3 = ::syscall(SYS_clone3, nullptr, 0) < 0 && errno != ENOSYS;
  EXPECT_EQ(counter(*object, "hits", 6), has_clone3 ? 10u : 20u);
}

TEST_F(Hooks, AFunctionThatCannotBeProbedIsLoadedAndSaysSoAtAttach) {
  const kernel::Features features;
  if (features.kprobes() || features.fentry()) GTEST_SKIP() << "this kernel can probe functions";
  auto spec = compile("hooks");
  ASSERT_OK(spec);
  spec->program("on_kprobe")->attach.target = "do_sys_openat2";
  auto object = load(*spec, {.programs = {"on_kprobe"}});
  ASSERT_OK(object);
  EXPECT_NE(object->programs()[0].info().id, 0u);
  const auto link = object->programs()[0].attach();
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, Code::unsupported);
  EXPECT_NE(link.error().message.find("CONFIG_KPROBES"), std::string::npos) << link.error().message;
}

TEST_F(Hooks, AttachingToNothingIsAnError) {
  auto spec = compile("hooks");
  ASSERT_OK(spec);
  auto object = load(*spec, {.programs = {"on_tracepoint", "on_raw_tracepoint", "anywhere"}});
  ASSERT_OK(object);
  const auto error = [&](const char* program, const AttachTarget& target) {
    auto link = object->program(program)->attach(target);
    EXPECT_FALSE(link);
    return link ? Error{} : link.error();
  };
  EXPECT_EQ(error("on_tracepoint", {AttachKind::tracepoint, "syscalls/sys_enter_getpid_"}).code, Code::not_found);
  EXPECT_NE(
      error("on_tracepoint", {AttachKind::tracepoint, "syscalls/sys_enter_getpid_"}).message.find("sys_enter_getpid"),
      std::string::npos);
  EXPECT_EQ(error("on_tracepoint", {AttachKind::tracepoint, "nowhere/at_all"}).code, Code::not_found);
  EXPECT_EQ(error("on_tracepoint", {AttachKind::tracepoint, ""}).code, Code::not_found);
  EXPECT_EQ(error("on_tracepoint", {AttachKind::tracepoint, "../../etc/passwd"}).code, Code::invalid_argument);
  EXPECT_EQ(error("on_raw_tracepoint", {AttachKind::raw_tracepoint, "no_such_tracepoint"}).code, Code::not_found);
  EXPECT_FALSE(error("anywhere", {AttachKind::ksyscall, "no_such_call"}).message.empty());
  EXPECT_EQ(error("anywhere", {}).code, Code::not_found);
}

}  // namespace
}  // namespace skep::kernel_test
