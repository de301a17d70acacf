// The filter against its meaning: a small classic-BPF machine runs it on every number of every ABI.
#include "hook/syscall_filter.hpp"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/syscall.h>

#include <cstring>
#include <random>

namespace skep::hook {
namespace {

struct Decision {
  u32 action = 0;
  bool looked_at_arguments = false;
};

/// The subset of classic BPF that filters use; anything else fails the test.
Decision decide(const std::vector<sock_filter>& filter, const seccomp_data& data) {
  Decision decision;
  u32 accumulator = 0;
  for (std::size_t pc = 0; pc < filter.size(); ++pc) {
    const sock_filter& insn = filter[pc];
    switch (insn.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        EXPECT_LE(insn.k + 4, sizeof data);
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + insn.k, 4);
        decision.looked_at_arguments = decision.looked_at_arguments || insn.k >= offsetof(seccomp_data, args);
        break;
      case BPF_JMP | BPF_JA:
        pc += insn.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        pc += accumulator == insn.k ? insn.jt : insn.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        pc += accumulator >= insn.k ? insn.jt : insn.jf;
        break;
      case BPF_JMP | BPF_JSET | BPF_K:
        pc += (accumulator & insn.k) != 0 ? insn.jt : insn.jf;
        break;
      case BPF_RET | BPF_K:
        decision.action = insn.k;
        return decision;
      default:
        ADD_FAILURE() << "code " << insn.code;
        return decision;
    }
  }
  ADD_FAILURE() << "ran off the end";
  return decision;
}

seccomp_data call(u32 architecture, u32 number, u64 argument = 0) {
  seccomp_data data{};
  data.arch = architecture;
  data.nr = static_cast<int>(number);
  data.args[0] = argument;
  return data;
}

std::vector<sock_filter> filter_for(const SyscallInterest& interest, bool catch_untraced = false) {
  auto filter = syscall_filter(interest, SECCOMP_RET_TRACE, catch_untraced);
  EXPECT_TRUE(filter) << filter.error().message;
  EXPECT_LE(filter->size(), static_cast<std::size_t>(BPF_MAXINSNS));
  return *filter;
}

void check_everything(const SyscallInterest& interest) {
  const auto filter = filter_for(interest);
  const auto expected = [&](s32 number) {
    return interest.wants_enter(number) || interest.wants_exit(number) ? SECCOMP_RET_TRACE : SECCOMP_RET_ALLOW;
  };
  std::vector<u32> numbers = {0x3fffffff, catalog::x32_bit - 1, 0x7fffffff, 0xffffffff, 10000};
  for (u32 number = 0; number < 600; ++number) {
    numbers.push_back(number);
    numbers.push_back(number | catalog::x32_bit);
  }
  for (const u32 number : numbers) {
    const bool x32 = (number & catalog::x32_bit) != 0 && number < 0x80000000;
    const auto native = decide(filter, call(AUDIT_ARCH_X86_64, number));
    s32 meant = x32                               ? catalog::x86_64_number(catalog::Abi::x32, number)
                : number < catalog::syscall_limit ? static_cast<s32>(number)
                                                  : -1;
    if (x32 && meant >= 0 && catalog::syscall_row(static_cast<u32>(meant)) == nullptr) meant = -1;
    ASSERT_EQ(native.action, expected(meant)) << number;
    ASSERT_FALSE(native.looked_at_arguments) << "the kernel could not answer from its bitmap: " << number;
    if (number == catalog::i386_socketcall) continue;
    const auto compat = decide(filter, call(AUDIT_ARCH_I386, number));
    ASSERT_EQ(compat.action, expected(catalog::x86_64_number(catalog::Abi::i386, number))) << number;
    ASSERT_FALSE(compat.looked_at_arguments) << number;
    ASSERT_EQ(decide(filter, call(AUDIT_ARCH_AARCH64, number)).action, static_cast<u32>(SECCOMP_RET_ALLOW));
  }
  for (u32 which = 0; which < 30; ++which) {
    const auto socketcall = decide(filter, call(AUDIT_ARCH_I386, catalog::i386_socketcall, which));
    ASSERT_EQ(socketcall.action, expected(catalog::x86_64_of_socketcall(which).number)) << which;
  }
}

TEST(SyscallFilter, OneNumber) {
  for (const u32 number :
       std::initializer_list<u32>{SYS_read, SYS_openat, SYS_execve, SYS_clone, SYS_connect, SYS_pread64, 469}) {
    SyscallInterest interest;
    interest.enter.set(number);
    check_everything(interest);
  }
}

TEST(SyscallFilter, RandomSets) {
  const u32 seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 60; ++round) {
    SyscallInterest interest;
    const u32 one_in = 1 + random() % 20;
    for (u32 number = 0; number < catalog::syscall_limit; ++number)
      if (catalog::syscall_row(number) != nullptr && random() % one_in == 0)
        (random() % 2 == 0 ? interest.enter : interest.exit).set(number);
    check_everything(interest);
  }
}

TEST(SyscallFilter, TheWorstSetFits) {
  SyscallInterest interest;
  for (u32 number = 0; number < catalog::syscall_limit; number += 2) interest.enter.set(number);
  check_everything([&] {
    SyscallInterest real;
    for (u32 number = 0; number < catalog::syscall_limit; number += 2)
      if (catalog::syscall_row(number) != nullptr) real.enter.set(number);
    return real;
  }());
  EXPECT_LE(filter_for(interest, true).size(), static_cast<std::size_t>(BPF_MAXINSNS));
}

TEST(SyscallFilter, EveryCallIncludesUnknownOnes) {
  SyscallInterest interest;
  interest.all_exit = true;
  const auto filter = filter_for(interest);
  for (const u32 architecture : std::initializer_list<u32>{AUDIT_ARCH_X86_64, AUDIT_ARCH_I386})
    for (const u32 number : {0u, 59u, 102u, 9999u, catalog::x32_bit})
      EXPECT_EQ(decide(filter, call(architecture, number)).action, static_cast<u32>(SECCOMP_RET_TRACE));
}

TEST(SyscallFilter, UntracedClonesAreCaught) {
  SyscallInterest interest;
  interest.enter.set(SYS_openat);
  const auto filter = filter_for(interest, true);
  const auto action = [&](u32 architecture, u32 number, u64 flags) {
    return decide(filter, call(architecture, number, flags)).action;
  };
  EXPECT_EQ(action(AUDIT_ARCH_X86_64, SYS_clone, 0x11), static_cast<u32>(SECCOMP_RET_ALLOW));
  EXPECT_EQ(action(AUDIT_ARCH_X86_64, SYS_clone, CLONE_UNTRACED | 0x11), static_cast<u32>(SECCOMP_RET_TRACE));
  EXPECT_EQ(action(AUDIT_ARCH_I386, 120, CLONE_UNTRACED), static_cast<u32>(SECCOMP_RET_TRACE));
  EXPECT_EQ(action(AUDIT_ARCH_I386, 120, 0), static_cast<u32>(SECCOMP_RET_ALLOW));
}

TEST(SyscallFilter, ComparisonsGrowWithTheLogarithm) {
  SyscallInterest interest;
  for (u32 number = 0; number < 400; number += 4) interest.enter.set(number);
  const auto filter = filter_for(interest);
  int steps = 0;
  u32 accumulator = 0;
  const seccomp_data data = call(AUDIT_ARCH_X86_64, SYS_getppid);
  for (std::size_t pc = 0; BPF_CLASS(filter[pc].code) != BPF_RET; ++pc, ++steps) {
    const sock_filter& insn = filter[pc];
    if (BPF_CLASS(insn.code) == BPF_LD) std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + insn.k, 4);
    if (insn.code == (BPF_JMP | BPF_JA)) pc += insn.k;
    if (insn.code == (BPF_JMP | BPF_JEQ | BPF_K)) pc += accumulator == insn.k ? insn.jt : insn.jf;
    if (insn.code == (BPF_JMP | BPF_JGE | BPF_K)) pc += accumulator >= insn.k ? insn.jt : insn.jf;
  }
  EXPECT_LE(steps, 24);
}

}  // namespace
}  // namespace skep::hook
