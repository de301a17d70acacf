// What is seen: every wanted call of every task of the tree, once, with the right names, ids and memory.
#include <fcntl.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "support.hpp"

namespace skep::hook::test {

INSTANTIATE_TEST_SUITE_P(Command, EachMechanism, ::testing::Values(Mechanism::notify, Mechanism::ptrace_filtered),
                         mechanism_name);

TEST_P(EachMechanism, EveryPathIsRead) {
  Recorder recorder;
  const auto outcome = run({program("hook_tracee"), "opens", "500"}, openat(), recorder);
  EXPECT_EQ(outcome.mechanism, GetParam());
  EXPECT_EQ(exit_code(outcome.result), 0);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(recorder.count("open" + std::to_string(i)), 1) << i;
}

TEST_P(EachMechanism, StaticProgram) {
  Recorder recorder;
  run({program("hook_tracee_static"), "opens", "3"}, openat(), recorder);
  EXPECT_EQ(recorder.marks().size(), 3u);
}

TEST_P(EachMechanism, OnlyWantedCallsAreSeen) {
  Recorder recorder;
  run({program("hook_tracee"), "tree", "2"}, openat(), recorder);
  EXPECT_FALSE(recorder.seen.empty());
  for (const Seen& one : recorder.seen) EXPECT_EQ(one.nr, SYS_openat);
}

TEST_P(EachMechanism, ForksAreFollowed) {
  Recorder recorder;
  const auto outcome = run({program("hook_tracee"), "tree", "4"}, openat(), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  std::set<u32> tgids;
  for (int i = 0; i < 31; ++i) EXPECT_EQ(recorder.count("node" + std::to_string(i)), 1) << i;
  for (const Seen& one : recorder.seen)
    if (one.path.starts_with("node")) {
      tgids.insert(one.tgid);
      EXPECT_EQ(one.tid, one.tgid);
    }
  EXPECT_EQ(tgids.size(), 31u);
}

TEST_P(EachMechanism, VforkAndExecAreFollowed) {
  Recorder recorder;
  const auto outcome = run({program("hook_tracee"), "vfork"}, openat(), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  EXPECT_EQ(recorder.count("vforked"), 1);
  EXPECT_EQ(recorder.count("after-vfork"), 1);
}

TEST_P(EachMechanism, ThreadsAreFollowed) {
  Recorder recorder;
  const auto outcome = run({program("hook_tracee"), "threads", "6", "100"}, openat(), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  std::set<u32> tids, tgids;
  for (const Seen& one : recorder.seen) {
    if (!one.path.starts_with("thread")) continue;
    tids.insert(one.tid);
    tgids.insert(one.tgid);
  }
  EXPECT_EQ(tids.size(), 6u);
  EXPECT_EQ(tgids.size(), 1u);
  for (int thread = 0; thread < 6; ++thread)
    for (int i = 0; i < 100; ++i) EXPECT_EQ(recorder.count("thread" + std::to_string(thread * 1000 + i)), 1);
}

TEST_P(EachMechanism, ExecByAThreadThatIsNotTheLeader) {
  Recorder recorder;
  SyscallInterest interest = openat();
  interest.enter.set(SYS_execve);
  if (GetParam() != Mechanism::notify) interest.exit.set(SYS_execve);
  const auto outcome = run({program("hook_tracee"), "thread-exec"}, interest, recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  const auto at = [&](const std::string& path) {
    return *std::find_if(recorder.seen.begin(), recorder.seen.end(), [&](const Seen& s) { return s.path == path; });
  };
  ASSERT_EQ(recorder.count("before-exec"), 1);
  ASSERT_EQ(recorder.count("execed"), 1);
  const Seen before = at("before-exec"), after = at("execed");
  EXPECT_NE(before.tid, before.tgid);
  EXPECT_EQ(after.tid, after.tgid);
  EXPECT_EQ(after.tgid, before.tgid);
  if (GetParam() == Mechanism::notify) return;
  // The exec was entered by the thread and returns, with 0, in what is now the leader.
  const auto returned = std::find_if(recorder.seen.rbegin(), recorder.seen.rend(),
                                     [](const Seen& s) { return s.nr == SYS_execve && s.is_exit; });
  ASSERT_NE(returned, recorder.seen.rend());
  EXPECT_EQ(returned->ret, 0);
  EXPECT_EQ(returned->tid, after.tid);
}

TEST_P(EachMechanism, TheCommandsOwnExecIsSeen) {
  Recorder recorder;
  SyscallInterest interest = openat();
  interest.enter.set(SYS_execve);
  std::string path;
  recorder.then = [&](SyscallEvent& event, helper::Task& task, const Seen&) {
    s64 error = 0;
    if (event.nr == SYS_execve && !event.is_exit && path.empty()) path = read_string(task, event.args[0], error);
  };
  run({program("hook_tracee"), "exit", "0"}, interest, recorder);
  EXPECT_EQ(path, program("hook_tracee"));
  ASSERT_FALSE(recorder.seen.empty());
  EXPECT_EQ(recorder.seen.front().comm, "hook_process_te");  // the caller of exec is still us, as under a shell
}

TEST_P(EachMechanism, NamesAndUsersAreCurrent) {
  Recorder recorder;
  const bool root = uid_under_test() == 0;
  const auto outcome = run({program("hook_tracee"), "names", root ? "1" : "0"}, openat(), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  for (const Seen& one : recorder.seen) {
    if (one.is_exit) continue;
    if (one.path == "as-started") {
      EXPECT_EQ(one.comm, "hook_tracee");
      EXPECT_EQ(one.uid, static_cast<u32>(uid_under_test()));
    }
    if (one.path == "renamed") {
      EXPECT_EQ(one.comm, "renamed");
    }
    if (one.path == "changed-user") {
      EXPECT_EQ(one.uid, 1234u);
      EXPECT_EQ(one.gid, 4321u);
    }
  }
  EXPECT_EQ(recorder.count("renamed"), 1);
  EXPECT_EQ(recorder.count("changed-user"), root ? 1 : 0);
}

TEST_P(EachMechanism, MemoryIsReadWhereItCanBe) {
  Recorder recorder;
  const auto outcome = run({program("hook_tracee"), "memory"}, openat(), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  EXPECT_EQ(recorder.count("cold"), 1) << "a page that was not resident";
  EXPECT_EQ(recorder.count("edge"), 1) << "a string that ends with its page";
  EXPECT_EQ(recorder.count("both"), 1) << "a string over two pages";
  const auto bad = std::count_if(recorder.seen.begin(), recorder.seen.end(), [](const Seen& s) {
    return !s.is_exit && s.nr == SYS_openat && static_cast<s32>(s.args[0]) == -1 && s.path_error == -EFAULT;
  });
  EXPECT_EQ(bad, 3);
}

TEST_P(EachMechanism, MemoryReadsAreAllOrNothing) {
  Recorder recorder;
  int checked = 0;
  recorder.then = [&](SyscallEvent& event, helper::Task& task, const Seen& seen) {
    if (event.is_exit || seen.path != "edge") return;
    char bytes[64];
    EXPECT_EQ(task.read_user(bytes, event.args[1], 18), 0);
    EXPECT_EQ(task.read_user(bytes, event.args[1], 19), -EFAULT) << "over the end of the mapping";
    EXPECT_EQ(task.read_user(bytes, ~u64{0} - 3, 8), -EFAULT) << "an address that wraps";
    EXPECT_EQ(task.read_user(bytes, 0, 1), -EFAULT);
    EXPECT_EQ(task.read_user(bytes, 0, 0), 0);
    // Written memory is read back, and the call sees it.
    EXPECT_EQ(task.write_user(event.args[1], "/skep-tracee/EDGE", 18), 0);
    EXPECT_EQ(task.read_user(bytes, event.args[1], 18), 0);
    EXPECT_STREQ(bytes, "/skep-tracee/EDGE");
    EXPECT_EQ(task.write_user(8, "x", 1), -EFAULT);
    ++checked;
  };
  run({program("hook_tracee"), "memory"}, openat(), recorder);
  EXPECT_EQ(checked, 1);
}

TEST_P(EachMechanism, ManyTasksAtOnce) {
  Recorder recorder;
  const std::string tracee = program("hook_tracee");
  const auto outcome =
      run({"sh", "-c", "for i in 1 2 3 4; do " + tracee + " threads 4 50 & done; " + tracee + " tree 4 & wait"},
          openat(), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  int threads = 0, nodes = 0;
  for (const auto& [mark, count] : recorder.marks()) (mark.starts_with("thread") ? threads : nodes) += count;
  EXPECT_EQ(threads, 4 * 4 * 50);
  EXPECT_EQ(nodes, 31);
}

TEST_P(EachMechanism, RegistersAreThoseOfTheCall) {
  Recorder recorder;
  SyscallInterest interest = openat();
  int checked = 0;
  recorder.then = [&](SyscallEvent& event, helper::Task& task, const Seen& seen) {
    if (seen.path != "open0") return;
    ++checked;
    const auto value = [&](const u64& member) {
      u64 out = 0;
      EXPECT_EQ(task.read_kernel(&out, reinterpret_cast<u64>(&member), 8), 0);
      return out;
    };
    EXPECT_EQ(value(event.regs.orig_ax), static_cast<u64>(SYS_openat));
    EXPECT_EQ(value(event.regs.di), event.args[0]);
    EXPECT_EQ(value(event.regs.si), event.args[1]);
    EXPECT_EQ(value(event.regs.ip), event.ip);
    EXPECT_EQ(static_cast<s64>(value(event.regs.ax)), event.is_exit ? event.ret : -ENOSYS);
    EXPECT_EQ(value(event.regs.cs), 0x33u);
    const u64 sp = value(event.regs.sp);
    char byte;
    EXPECT_EQ(task.read_user(&byte, sp, 1), 0) << "the stack pointer points to the stack";
    // Exactly the registers, not a byte more.
    char all[sizeof(PtRegs) + 1];
    const u64 begin = reinterpret_cast<u64>(&event.regs);
    EXPECT_EQ(task.read_kernel(all, begin, sizeof(PtRegs)), 0);
    EXPECT_EQ(task.read_kernel(all, begin, sizeof(PtRegs) + 1), -EFAULT);
    EXPECT_EQ(task.read_kernel(all, begin - 1, 2), -EFAULT);
    EXPECT_EQ(task.read_kernel(all, ~u64{0}, 8), -EFAULT);
  };
  auto tracer = SyscallTracer::start({program("hook_tracee"), "opens", "1"}, interest, recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  ASSERT_TRUE((*tracer)->run());
  EXPECT_EQ(checked, GetParam() == Mechanism::notify ? 1 : 2);
  // Notification gives arguments, ip and sp; what it cannot give is counted, never made up in silence.
  EXPECT_EQ((*tracer)->counters().registers_unknown > 0, GetParam() == Mechanism::notify);
}

TEST(Ptrace, NeedsRegistersGivesAllOfThem) {
  Recorder recorder;
  SyscallInterest interest = entries({SYS_openat});
  interest.needs_registers = true;
  u64 flags = 0;
  recorder.then = [&](SyscallEvent& event, helper::Task& task, const Seen&) {
    EXPECT_EQ(task.read_kernel(&flags, reinterpret_cast<u64>(&event.regs.flags), 8), 0);
  };
  auto tracer = SyscallTracer::start({program("hook_tracee"), "opens", "1"}, interest, recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  EXPECT_EQ((*tracer)->mechanism(), Mechanism::ptrace_filtered);
  ASSERT_TRUE((*tracer)->run());
  EXPECT_TRUE(flags & 2) << "bit 1 of the flags register is always set";
  EXPECT_EQ((*tracer)->counters().registers_unknown, 0u);
  for (const Seen& one : recorder.seen) EXPECT_FALSE(one.is_exit);
}

TEST(Ptrace, ReturnsCarryTheResult) {
  Recorder recorder;
  run({program("hook_tracee"), "opens", "50"}, both({SYS_openat}), recorder);
  int returns = 0;
  for (std::size_t i = 1; i < recorder.seen.size(); ++i) {
    const Seen& one = recorder.seen[i];
    if (!one.path.starts_with("open") || !one.is_exit) continue;
    ++returns;
    EXPECT_EQ(one.ret, -ENOENT);
    EXPECT_FALSE(recorder.seen[i - 1].is_exit);
    EXPECT_EQ(recorder.seen[i - 1].args, one.args);
  }
  EXPECT_EQ(returns, 50);
}

TEST(Ptrace, ReturnsWithoutEntries) {
  Recorder recorder;
  SyscallInterest interest;
  interest.exit.set(SYS_openat);
  run({program("hook_tracee"), "opens", "20"}, interest, recorder);
  int returns = 0;
  for (const Seen& one : recorder.seen) {
    EXPECT_TRUE(one.is_exit);
    returns += one.path.starts_with("open");
  }
  EXPECT_EQ(returns, 20);
}

TEST(Ptrace, ForkReturnsTwice) {
  Recorder recorder;
  SyscallInterest interest;
  for (u32 number : {SYS_fork, SYS_vfork, SYS_clone, SYS_clone3}) interest.exit.set(number);
  run({program("hook_tracee"), "tree", "2"}, interest, recorder);
  std::set<u32> parents_saw, children;
  for (const Seen& one : recorder.seen) {
    ASSERT_TRUE(one.is_exit);
    if (one.ret > 0)
      parents_saw.insert(static_cast<u32>(one.ret));
    else if (one.ret == 0)
      children.insert(one.tid);
  }
  EXPECT_EQ(children.size(), 6u);
  EXPECT_EQ(parents_saw, children);
}

TEST(Ptrace, ThreadsReturnTwiceToo) {
  Recorder recorder;
  SyscallInterest interest;
  interest.exit.set(SYS_clone).set(SYS_clone3);
  run({program("hook_tracee"), "threads", "5", "1"}, interest, recorder);
  const auto zero = std::count_if(recorder.seen.begin(), recorder.seen.end(), [](const Seen& s) { return s.ret == 0; });
  EXPECT_EQ(zero, 5);
}

TEST(Ptrace, ATaskThatWantsNoTracerKeepsItsCalls) {
  Recorder recorder;
  const auto outcome = run({program("hook_tracee"), "untraced"}, both({SYS_openat}), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  EXPECT_EQ(recorder.count("untraced"), 1);
}

TEST_P(EachMechanism, AllCalls) {
  Recorder recorder;
  SyscallInterest interest;
  interest.all_enter = true;
  interest.all_exit = GetParam() != Mechanism::notify;
  const auto outcome = run({program("hook_tracee"), "tree", "1"}, interest, recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  EXPECT_EQ(recorder.count("node2"), 1);
  std::set<s32> numbers;
  for (const Seen& one : recorder.seen) numbers.insert(one.nr);
  for (const long number : {SYS_execve, SYS_mmap, SYS_openat, SYS_exit_group, SYS_wait4})
    EXPECT_TRUE(numbers.contains(static_cast<s32>(number))) << number;
  ASSERT_FALSE(recorder.seen.empty());
  EXPECT_EQ(recorder.seen.front().nr, SYS_execve);
}

TEST_P(EachMechanism, Int80FromA64BitProgram) {
  Recorder recorder;
  const auto outcome = run({program("hook_tracee"), "i386"}, openat(), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  EXPECT_EQ(recorder.count("int80"), 1);
  for (const Seen& one : recorder.seen)
    if (one.path == "int80") {
      EXPECT_EQ(one.abi, catalog::Abi::i386);
      EXPECT_EQ(one.own_nr, 295u);
      EXPECT_EQ(one.nr, SYS_openat);
    }
}

class Compat : public EachMechanism {
 protected:
  void SetUp() override {
    if (!exists("hook_tracee32"))
      GTEST_SKIP() << "left out: the compiler has no 32-bit libraries (package gcc-12-multilib)";
  }
};
INSTANTIATE_TEST_SUITE_P(Command, Compat, ::testing::Values(Mechanism::notify, Mechanism::ptrace_filtered),
                         mechanism_name);

TEST_P(Compat, CallsAreFoundByName) {
  Recorder recorder;
  SyscallInterest interest = openat();
  interest.enter.set(SYS_connect).set(SYS_pread64);
  const auto outcome = run({program("hook_tracee32"), "i386"}, interest, recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  EXPECT_EQ(recorder.count("i386"), 1);
  bool connect = false, pread = false;
  for (const Seen& one : recorder.seen) {
    if (one.nr == SYS_connect && !one.is_exit) {
      connect = true;
      EXPECT_EQ(one.abi, catalog::Abi::i386);
      EXPECT_EQ(one.own_nr, 102u) << "by socketcall";
      EXPECT_EQ(one.args[0], 77u);
      EXPECT_EQ(one.args[1], 0x1234u);
      EXPECT_EQ(one.args[2], 16u);
    }
    if (one.nr == SYS_pread64 && one.args[0] == 78) {
      pread = true;
      EXPECT_EQ(one.args[3], 0x189abcdefu) << "the offset came in two registers";
    }
  }
  EXPECT_TRUE(connect);
  EXPECT_TRUE(pread);
}

TEST_P(Compat, ExecBy32BitCallersAndOf32BitPrograms) {
  Recorder recorder;
  SyscallInterest interest = entries({SYS_execve});
  if (GetParam() != Mechanism::notify) interest.exit.set(SYS_execve);
  std::vector<std::string> paths;
  recorder.then = [&](SyscallEvent& event, helper::Task& task, const Seen&) {
    s64 error = 0;
    if (!event.is_exit) paths.push_back(read_string(task, event.args[0], error));
  };
  const auto outcome = run({program("hook_tracee32"), "exec", program("hook_tracee"), "exec", program("hook_tracee32"),
                            "exec", program("hook_tracee"), "exit", "5"},
                           interest, recorder);
  EXPECT_EQ(exit_code(outcome.result), 5);
  const std::vector<std::string> expected = {program("hook_tracee32"), program("hook_tracee"), program("hook_tracee32"),
                                             program("hook_tracee")};
  EXPECT_EQ(paths, expected);
  std::vector<catalog::Abi> entered;
  for (const Seen& one : recorder.seen) {
    if (!one.is_exit) entered.push_back(one.abi);
    if (one.is_exit) {
      EXPECT_EQ(one.ret, 0);
    }
    EXPECT_EQ(one.nr, SYS_execve);
  }
  EXPECT_EQ(entered, (std::vector<catalog::Abi>{catalog::Abi::x86_64, catalog::Abi::i386, catalog::Abi::x86_64,
                                                catalog::Abi::i386}));
}

TEST_P(Compat, ThreadsAndForks) {
  Recorder recorder;
  EXPECT_EQ(exit_code(run({program("hook_tracee32"), "threads", "4", "20"}, openat(), recorder).result), 0);
  EXPECT_EQ(exit_code(run({program("hook_tracee32"), "tree", "3"}, openat(), recorder).result), 0);
  EXPECT_EQ(recorder.marks().size(), 80u + 15u);
}

}  // namespace skep::hook::test
