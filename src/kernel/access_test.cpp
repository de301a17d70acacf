// What rights.def says the kernel asks for, asked of the running kernel: with each capability taken away in turn.
#include "kernel/access.hpp"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "kernel/syscall.hpp"

namespace skep::kernel {
namespace {

using enum Capability;

constexpr CapabilitySet all_small = bpf | perfmon | net_admin;

/// What `call` answers in a process with no capabilities but `kept`: 0, or an errno.
int answer_with(CapabilitySet kept, const std::function<int()>& call) {
  const pid_t child = ::fork();
  if (child == 0) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
    for (const Capability one : {net_admin, perfmon, bpf})
      if (kept.has(one)) {
        const auto number = static_cast<u32>(one);
        sets[number / 32].effective |= 1u << number % 32;
        sets[number / 32].permitted |= 1u << number % 32;
      }
    if (::syscall(SYS_capset, &header, sets) != 0) ::_exit(255);
    const int status = call();
    ::_exit(status < 0 ? -status : 0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool may_give_away() { return all_small.without(capabilities()).empty() && !in_user_namespace(); }

/// Enough is enough, and each part of it is needed.
void expect_exactly(CapabilitySet needed, const std::string& what, const std::function<int()>& call) {
  const int answer = answer_with(all_small, call);
  EXPECT_EQ(answer_with(needed, call), answer) << what << ": what the table names is not enough";
  if (answer == EPERM) return;  // refused for another reason: it says nothing about capabilities
  for (const Capability one : {bpf, perfmon, net_admin})
    if (needed.has(one)) {
      EXPECT_EQ(answer_with(needed.without(one), call), EPERM) << what << " without " << int{static_cast<u8>(one)};
    }
}

TEST(Rights, OfProgramsAreThoseThatTheKernelAsksFor) {
  if (!may_give_away()) GTEST_SKIP() << "left out: CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are not all here (Linux 5.8)";
  constexpr Insn body[] = {{0xb7, 0, 0, 0, 0}, {0x95, 0, 0, 0, 0}};
  constexpr std::pair<ProgramType, const char*> types[] = {
#define SKEP_PROGRAM_TYPE(name, number, printed, ...) {ProgramType::name, printed},
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
  };
  for (const auto& [type, name] : types) {
    // Anybody may load these where kernel.unprivileged_bpf_disabled is 0.
    if (type == ProgramType::socket_filter || type == ProgramType::cgroup_skb) continue;
    expect_exactly(needed_by(type), name, [&] {
      uapi::ProgLoad attr;
      attr.prog_type = static_cast<u32>(type);
      attr.insns = address_of(body);
      attr.insn_cnt = 2;
      attr.license = address_of("GPL");
      return ::skep::kernel::bpf(uapi::Cmd::prog_load, attr);
    });
  }
}

TEST(Rights, OfMapsAreThoseThatTheKernelAsksFor) {
  if (!may_give_away()) GTEST_SKIP() << "left out: CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are not all here (Linux 5.8)";
  for (const MapType type : {MapType::lru_hash, MapType::stack_trace, MapType::sockmap, MapType::sockhash,
                             MapType::devmap, MapType::devmap_hash, MapType::xskmap, MapType::cpumap})
    expect_exactly(needed_by(type), std::string(name_of(type)), [&] {
      uapi::MapCreate attr;
      attr.map_type = static_cast<u32>(type);
      attr.key_size = 4;
      attr.value_size = type == MapType::stack_trace ? 8 : 4;
      attr.max_entries = 1;
      return ::skep::kernel::bpf(uapi::Cmd::map_create, attr);
    });
}

TEST(Rights, WhatIsMissingIsNamedAndNothingElse) {
  if (!may_give_away()) GTEST_SKIP() << "left out: CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are not all here (Linux 5.8)";
  const auto says = [](CapabilitySet kept, CapabilitySet needed, std::string_view wanted) {
    return answer_with(kept, [&] { return explain_missing(needed).find(wanted) == std::string::npos ? -1 : 0; }) == 0;
  };
  EXPECT_TRUE(says(bpf, needed_by(ProgramType::xdp), "lacks CAP_NET_ADMIN (CAP_SYS_ADMIN"));
  EXPECT_TRUE(says(bpf, needed_by(ProgramType::xdp), "`setcap cap_bpf,cap_net_admin+ep"));
  EXPECT_TRUE(says(perfmon, needed_by(ProgramType::ext), "lacks CAP_BPF and CAP_NET_ADMIN"));
  EXPECT_TRUE(says(all_small, sys_admin, "lacks CAP_SYS_ADMIN, and the kernel takes nothing less"));
  EXPECT_EQ(answer_with(all_small, [] { return explain_missing(needed_by(ProgramType::tracing)).empty() ? 0 : -1; }),
            0);
}

}  // namespace
}  // namespace skep::kernel
