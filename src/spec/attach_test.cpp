// SEC() names and command-line targets against the rows.
#include "spec/attach.hpp"

#include <gtest/gtest.h>

namespace skep {
namespace {

struct Row {
  AttachKind kind;
  std::string_view section;
  ProgramType program_type;
  AttachType attach_type;
};
constexpr Row rows[] = {
#define SKEP_ATTACH_POINT(name, section, program_type, attach_type, target) \
  {AttachKind::name, section, ProgramType::program_type, AttachType::attach_type},
#include <skep/tables/attach_points.def>
#undef SKEP_ATTACH_POINT
};

TEST(Attach, EveryRowIsFoundByItsSection) {
  EXPECT_EQ(std::size(rows), 116U) << "libbpf 1.8 has 116 definitions";
  for (const auto& row : rows) {
    const auto target = AttachTarget::from_section(row.section);
    ASSERT_TRUE(target) << row.section;
    EXPECT_EQ(target->program_type(), row.program_type) << row.section;
    EXPECT_EQ(target->attach_type(), row.attach_type) << row.section;
    EXPECT_TRUE(target->target.empty()) << row.section;
    EXPECT_EQ(name_of(row.kind), row.section);
    // Reading back what is printed names the same hook.
    const auto again = AttachTarget::from_text(target->text());
    ASSERT_TRUE(again) << target->text();
    EXPECT_EQ(again->kind, target->kind) << target->text();
    if (row.section.ends_with(".s")) {
      EXPECT_TRUE(spec::is_sleepable_section(row.section));
      EXPECT_FALSE(name_of(target->kind).ends_with(".s")) << "engines see one kind per hook";
    }
  }
}

TEST(Attach, TheLongestRowWins) {
  EXPECT_EQ(AttachTarget::from_section("xdp/devmap")->attach_type(), AttachType::xdp_devmap);
  EXPECT_EQ(AttachTarget::from_section("xdp.frags/cpumap")->kind, AttachKind::xdp_frags_cpumap);
  EXPECT_EQ(AttachTarget::from_section("xdp/anything")->kind, AttachKind::xdp);
  EXPECT_EQ(AttachTarget::from_section("xdp/anything")->target, "anything");
  EXPECT_EQ(AttachTarget::from_section("sk_reuseport/migrate")->kind, AttachKind::sk_reuseport_migrate);
  EXPECT_EQ(AttachTarget::from_section("kprobe.multi/tcp_*")->kind, AttachKind::kprobe_multi);
}

TEST(Attach, SectionsNameTheirTarget) {
  const auto tracepoint = AttachTarget::from_section("?tracepoint/syscalls/sys_enter_openat");
  EXPECT_EQ(tracepoint->kind, AttachKind::tracepoint);
  EXPECT_EQ(tracepoint->target, "syscalls/sys_enter_openat");
  EXPECT_EQ(tracepoint->text(), "tracepoint:syscalls:sys_enter_openat");
  const auto uprobe = AttachTarget::from_section("uprobe.s//bin/bash:readline");
  EXPECT_EQ(uprobe->kind, AttachKind::uprobe);
  EXPECT_EQ(uprobe->target, "/bin/bash:readline");
  EXPECT_TRUE(spec::is_sleepable_section("uprobe.s//bin/bash:readline"));
  EXPECT_FALSE(spec::is_sleepable_section("uprobe//bin/bash:readline"));
  EXPECT_TRUE(spec::is_sleepable_section("syscall"));
}

TEST(Attach, TheCommandLinesWords) {
  EXPECT_EQ(AttachTarget::from_text("syscall:execve")->kind, AttachKind::ksyscall);
  EXPECT_EQ(AttachTarget::from_text("syscall:execve")->target, "execve");
  EXPECT_EQ(AttachTarget::from_text("syscall:execve:exit")->kind, AttachKind::kretsyscall);
  EXPECT_EQ(AttachTarget::from_text("syscall:execve:exit")->text(), "syscall:execve:exit");
  EXPECT_EQ(AttachTarget::from_text("tracepoint:syscalls:sys_enter_openat")->target, "syscalls/sys_enter_openat");
  EXPECT_EQ(AttachTarget::from_text("kprobe:__x64_sys_execve")->target, "__x64_sys_execve");
  EXPECT_EQ(AttachTarget::from_text("raw_tracepoint:sys_enter")->kind, AttachKind::raw_tracepoint);
  EXPECT_EQ(AttachTarget::from_text("tp/sched/sched_switch")->text(), "tracepoint:sched:sched_switch");
  EXPECT_EQ(AttachTarget::from_text("xdp:eth0")->target, "eth0");
}

TEST(Attach, WhatNamesNothingSaysSo) {
  EXPECT_EQ(AttachTarget::from_section("nonsense").error().code, Code::not_found);
  EXPECT_EQ(AttachTarget::from_section("kprobes/x").error().code, Code::not_found);
  EXPECT_EQ(AttachTarget::from_section("cgroup/connect4/x").error().code, Code::not_found);
  EXPECT_EQ(AttachTarget::from_section("").error().code, Code::not_found);
  EXPECT_EQ(AttachTarget::from_text("syscall:").error().code, Code::invalid_argument);
  EXPECT_EQ(AttachTarget::from_text("syscall:a:b").error().code, Code::invalid_argument);
  EXPECT_EQ(AttachTarget::from_text("kprobe:").error().code, Code::invalid_argument);
  EXPECT_NE(AttachTarget::from_text("nonsense").error().message.find("syscall:execve"), std::string::npos);
}

TEST(Attach, NamesOfTypes) {
  EXPECT_EQ(name_of(MapType::percpu_hash), "percpu_hash");
  EXPECT_EQ(name_of(static_cast<MapType>(999)), "unknown");
  EXPECT_EQ(name_of(ProgramType::raw_tracepoint), "raw_tracepoint");
  EXPECT_EQ(name_of(static_cast<ProgramType>(999)), "unknown");
  EXPECT_EQ(name_of(AttachKind::none), "");
  EXPECT_EQ(AttachTarget{}.program_type(), ProgramType::unspec);
}

TEST(Attach, OldLoadersMatchedPrefixes) {
  EXPECT_EQ(spec::legacy_target("xdp_fwd")->kind, AttachKind::xdp);
  EXPECT_EQ(spec::legacy_target("socket2")->kind, AttachKind::socket);
  EXPECT_FALSE(spec::legacy_target("from-netdev"));
  EXPECT_FALSE(spec::legacy_target("kprobe_x"));
}

}  // namespace
}  // namespace skep
