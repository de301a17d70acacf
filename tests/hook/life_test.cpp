// Process life as programs see it: every birth, exec, end and signal of a tree once, in order, with the right numbers.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "support.hpp"

namespace skep::hook::test {
namespace {

struct Life {
  LifeEvent event;
  std::string filename, comm;
  u32 tid, tgid;
  std::string current;  ///< the current task's name, as bpf_get_current_comm() gives it
};

class LifeRecorder final : public SyscallSink {
 public:
  void on_event(SyscallEvent&, helper::Task&) noexcept override { ++calls; }
  void on_life(const LifeEvent& event, SyscallEvent& frame, helper::Task& task) noexcept override {
    char comm[16];
    task.comm(comm);
    seen.push_back(
        {event, std::string(event.filename), event.comm, frame.tid, static_cast<u32>(task.pid_tgid() >> 32), comm});
    seen.back().event.filename = {};
  }
  std::vector<Life> of(LifeKind kind) const {
    std::vector<Life> found;
    for (const Life& one : seen)
      if (one.event.kind == kind) found.push_back(one);
    return found;
  }
  std::vector<Life> signals(LifeKind kind, s32 signal) const {
    auto found = of(kind);
    std::erase_if(found, [&](const Life& one) { return one.event.signal != signal; });
    return found;
  }
  std::vector<Life> seen;
  int calls = 0;
};

SyscallInterest life(std::initializer_list<LifeKind> kinds) {
  SyscallInterest interest;
  for (const LifeKind kind : kinds) interest.life.add(kind);
  return interest;
}
SyscallInterest all_life() {
  return life({LifeKind::exec, LifeKind::fork, LifeKind::exit, LifeKind::signal_generate, LifeKind::signal_deliver});
}

std::string name(const Life& one) {
  return "event " + std::to_string(static_cast<int>(one.event.kind)) + " of " + std::to_string(one.tid) + " on " +
         std::to_string(one.event.subject);
}

/// A task is born before and ends after everything of its own; births and ends match; nobody ends twice.
void check_order(const LifeRecorder& recorder) {
  std::set<u32> born, ended;
  u32 first = 0;
  for (const Life& one : recorder.seen) {
    if (first == 0) born.insert(first = one.tid);
    // What others do to a task that has ended (SIGCHLD is its own doing) is not its own event; and a task whose maker
    // was killed and had ended before the task was met is told on itself, since nobody knows its maker any more.
    const bool maker_unknown = one.event.kind == LifeKind::fork && one.event.subject == one.tid;
    if (one.event.kind != LifeKind::signal_generate && !maker_unknown) {
      EXPECT_TRUE(born.contains(one.tid)) << name(one) << " before its birth";
      EXPECT_FALSE(ended.contains(one.tid)) << name(one) << " after its end";
    }
    if (one.event.kind == LifeKind::fork) {
      EXPECT_TRUE(born.insert(one.event.subject).second);
    }
    if (one.event.kind == LifeKind::exit) ended.insert(one.tid);
  }
  EXPECT_EQ(born, ended);
}

TEST(Life, BirthsAndEnds) {
  LifeRecorder recorder;
  const auto outcome = run({program("hook_tracee_life"), "forks", "40"}, all_life(), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  EXPECT_EQ(recorder.of(LifeKind::fork).size(), 80u);
  const auto ends = recorder.of(LifeKind::exit);
  ASSERT_EQ(ends.size(), 81u);
  std::map<int, int> codes;
  for (const Life& one : ends) {
    ++codes[one.event.exit_code >> 8];
    EXPECT_EQ(one.event.exit_code & 0xff, 0);
    EXPECT_TRUE(one.event.group_dead);
    EXPECT_EQ(one.comm, "hook_tracee_lif");
    EXPECT_EQ(one.current, "hook_tracee_lif");
  }
  EXPECT_EQ(codes[0], 2);   // child 0 and the command
  EXPECT_EQ(codes[20], 2);  // child 20, and the child of child 19
  EXPECT_EQ(codes[40], 1);
  check_order(recorder);
}

TEST(Life, ExecNamesItsFile) {
  LifeRecorder recorder;
  const std::string self = program("hook_tracee");
  EXPECT_EQ(exit_code(run({self, "exec", self, "vfork"}, life({LifeKind::exec}), recorder).result), 0);
  const auto execs = recorder.of(LifeKind::exec);
  ASSERT_EQ(execs.size(), 3u);
  for (const Life& one : execs) {
    EXPECT_EQ(one.filename, self);
    EXPECT_EQ(one.current, "hook_tracee");
    EXPECT_EQ(one.event.old_pid, one.tid);
  }
  EXPECT_EQ(execs[0].tid, execs[1].tid);
  EXPECT_NE(execs[1].tid, execs[2].tid);
  if (!exists("hook_tracee32")) return;
  LifeRecorder small;
  EXPECT_EQ(exit_code(run({program("hook_tracee32"), "exit", "0"}, life({LifeKind::exec}), small).result), 0);
  ASSERT_EQ(small.seen.size(), 1u);
  EXPECT_EQ(small.seen[0].filename, program("hook_tracee32"));
}

TEST(Life, AThreadThatExecsTakesTheLeadersId) {
  for (int round = 0; round < 20; ++round) {
    LifeRecorder recorder;
    EXPECT_EQ(exit_code(run({program("hook_tracee"), "thread-exec"}, all_life(), recorder).result), 0);
    const auto execs = recorder.of(LifeKind::exec);
    ASSERT_EQ(execs.size(), 2u);
    EXPECT_EQ(execs[1].tid, execs[0].tid);
    EXPECT_NE(execs[1].event.old_pid, execs[1].tid);
    const auto births = recorder.of(LifeKind::fork);
    ASSERT_EQ(births.size(), 2u);
    EXPECT_EQ(execs[1].event.old_pid, births[1].event.subject);
    // The old leader ends without ending its process; only the new program's end does.
    int group_ends = 0;
    for (const Life& one : recorder.of(LifeKind::exit)) group_ends += one.event.group_dead;
    EXPECT_EQ(group_ends, 1);
    EXPECT_TRUE(recorder.seen.back().event.group_dead || recorder.seen.back().event.kind != LifeKind::exit);
  }
}

TEST(Life, ThreadsEndOneByOne) {
  LifeRecorder first;
  EXPECT_EQ(exit_code(run({program("hook_tracee_life"), "leader-first"}, life({LifeKind::exit}), first).result), 5);
  auto ends = first.of(LifeKind::exit);
  ASSERT_EQ(ends.size(), 2u);
  EXPECT_EQ(ends[0].tid, ends[0].tgid);
  EXPECT_FALSE(ends[0].event.group_dead);
  EXPECT_EQ(ends[0].event.exit_code, 0);
  EXPECT_NE(ends[1].tid, ends[1].tgid);
  EXPECT_TRUE(ends[1].event.group_dead);
  EXPECT_EQ(ends[1].event.exit_code, 5 << 8);

  for (int round = 0; round < 10; ++round) {
    LifeRecorder recorder;
    EXPECT_EQ(exit_code(run({program("hook_tracee_life"), "zapped", "12", "3"}, all_life(), recorder).result), 3);
    ends = recorder.of(LifeKind::exit);
    ASSERT_EQ(ends.size(), 13u);
    EXPECT_EQ(std::ranges::count_if(ends, [](const Life& one) { return one.event.group_dead; }), 1);
    EXPECT_TRUE(ends.back().event.group_dead);
    for (const Life& one : ends) EXPECT_EQ(one.event.exit_code, 3 << 8);
    EXPECT_EQ(recorder.signals(LifeKind::signal_deliver, SIGKILL).size(), 12u) << "all but the one that called exit";
    check_order(recorder);
  }
}

TEST(Life, MakersThatAreKilled) {
  for (int round = 0; round < 5; ++round) {
    LifeRecorder recorder;
    EXPECT_EQ(exit_code(run({program("hook_tracee_life"), "killed-makers", "20"}, all_life(), recorder).result), 0);
    check_order(recorder);
    EXPECT_EQ(recorder.of(LifeKind::exit).size(), recorder.of(LifeKind::fork).size() + 1);
  }
}

TEST(Life, ManyThreadsThatAreKilled) {
  for (int round = 0; round < 10; ++round) {
    SyscallInterest interest = all_life();
    interest.enter.set(SYS_openat);
    class Killer final : public SyscallSink {
     public:
      explicit Killer(int after) : left_(after) {}
      void on_event(SyscallEvent&, helper::Task& task) noexcept override {
        if (--left_ == 0) ::kill(static_cast<pid_t>(task.pid_tgid() >> 32), SIGKILL);
      }
      void on_life(const LifeEvent& event, SyscallEvent& frame, helper::Task& task) noexcept override {
        recorder.on_life(event, frame, task);
      }
      LifeRecorder recorder;

     private:
      int left_;
    } killer(15 + round * 9);
    const auto outcome = run({program("hook_tracee"), "threads", "8", "1000"}, interest, killer);
    EXPECT_TRUE(WIFSIGNALED(outcome.result.wait_status));
    check_order(killer.recorder);
    const auto ends = killer.recorder.of(LifeKind::exit);
    EXPECT_EQ(ends.size(), killer.recorder.of(LifeKind::fork).size() + 1);
    EXPECT_EQ(std::ranges::count_if(ends, [](const Life& one) { return one.event.group_dead; }), 1);
    for (const Life& one : ends) EXPECT_EQ(one.event.exit_code & 0x7f, SIGKILL);
  }
}

TEST(Life, AThreadsChildIsItsOwnWhoeverEnds) {
  for (int i = 0; i < 10; ++i) {
    LifeRecorder recorder;
    const auto outcome = run({program("hook_tracee_probes"), "forkers", "60"}, life({LifeKind::fork}), recorder);
    EXPECT_EQ(exit_code(outcome.result), 0);
    std::map<u32, int> children;
    std::set<u32> threads;
    for (const Life& one : recorder.of(LifeKind::fork)) {
      if (one.tid == one.tgid)
        EXPECT_TRUE(threads.insert(one.event.subject).second);
      else
        ++children[one.tid];
    }
    EXPECT_EQ(threads.size(), 60u);
    EXPECT_EQ(children.size(), 60u) << "each of them made one";
    for (const auto& [maker, count] : children) EXPECT_EQ(count, 1) << "by " << maker;
  }
}

TEST(Life, SignalsOfCalls) {
  struct Way {
    const char* how;
    s32 code, error;
    bool to_group;
  };
  for (const Way way :
       {Way{"kill", SI_USER, 0, true}, Way{"tkill", SI_TKILL, 0, false}, Way{"tgkill", SI_TKILL, 0, false},
        Way{"queue", SI_QUEUE, 7, true}, Way{"pidfd", SI_USER, 0, true}, Way{"group", SI_USER, 0, true}}) {
    for (const int signal : {SIGTERM, SIGUSR1, SIGKILL, SIGRTMIN + 3}) {
      LifeRecorder recorder;
      const auto outcome =
          run({program("hook_tracee_life"), "send", way.how, std::to_string(signal)}, all_life(), recorder);
      EXPECT_EQ(exit_code(outcome.result), 0) << way.how << " " << signal;
      const auto generated = recorder.signals(LifeKind::signal_generate, signal);
      ASSERT_EQ(generated.size(), 1u) << way.how << " " << signal;
      const u32 child = recorder.of(LifeKind::fork).at(0).event.subject;
      EXPECT_EQ(generated[0].event.subject, child);
      EXPECT_NE(generated[0].tid, child);
      EXPECT_EQ(generated[0].event.code, way.code);
      EXPECT_EQ(generated[0].event.error, way.error);
      EXPECT_EQ(generated[0].event.to_group, way.to_group);
      EXPECT_EQ(generated[0].comm, "hook_tracee_lif");
      EXPECT_EQ(generated[0].event.result, LifeEvent::Result::delivered);
      // What ends a process is delivered as SIGKILL.
      EXPECT_TRUE(signal == SIGKILL || recorder.signals(LifeKind::signal_deliver, signal).empty());
      const auto delivered = recorder.signals(LifeKind::signal_deliver, SIGKILL);
      ASSERT_EQ(delivered.size(), 1u) << way.how << " " << signal;
      EXPECT_EQ(delivered[0].tid, child);
      EXPECT_EQ(delivered[0].event.handler, 0u);
      check_order(recorder);
    }
  }
}

TEST(Life, SignalsThatAreIgnoredCaughtOrDeadly) {
  LifeRecorder recorder;
  EXPECT_EQ(exit_code(run({program("hook_tracee_life"), "ignored"}, all_life(), recorder).result), 0);
  const auto ignored = recorder.signals(LifeKind::signal_generate, SIGUSR1);
  ASSERT_EQ(ignored.size(), 1u);
  EXPECT_EQ(ignored[0].event.result, LifeEvent::Result::ignored);
  EXPECT_TRUE(recorder.signals(LifeKind::signal_deliver, SIGUSR1).empty());
  EXPECT_TRUE(recorder.signals(LifeKind::signal_generate, SIGUSR2).empty()) << "the call failed";
  // The child's end: SIGCHLD, which the parent ignores by default.
  const auto ends = recorder.signals(LifeKind::signal_generate, SIGCHLD);
  ASSERT_EQ(ends.size(), 1u);
  EXPECT_EQ(ends[0].event.result, LifeEvent::Result::ignored);
  EXPECT_EQ(ends[0].tid, recorder.of(LifeKind::fork).at(0).event.subject);

  LifeRecorder handled;
  EXPECT_EQ(
      exit_code(run({program("hook_tracee_life"), "handler", std::to_string(SIGUSR2)}, all_life(), handled).result), 0);
  ASSERT_EQ(handled.signals(LifeKind::signal_generate, SIGUSR2).size(), 1u);
  ASSERT_EQ(handled.signals(LifeKind::signal_deliver, SIGUSR2).size(), 1u);
  EXPECT_EQ(handled.signals(LifeKind::signal_deliver, SIGUSR2)[0].event.handler, ~u64{0});

  LifeRecorder faulty;
  const auto outcome = run({program("hook_tracee_life"), "fault"}, all_life(), faulty);
  EXPECT_EQ(WTERMSIG(outcome.result.wait_status), SIGSEGV);
  const auto fault = faulty.signals(LifeKind::signal_generate, SIGSEGV);
  ASSERT_EQ(fault.size(), 1u);
  EXPECT_EQ(fault[0].event.code, SEGV_MAPERR);
  EXPECT_FALSE(fault[0].event.to_group);
  EXPECT_EQ(faulty.signals(LifeKind::signal_deliver, SIGSEGV).size(), 1u);
  EXPECT_TRUE(faulty.signals(LifeKind::signal_deliver, SIGKILL).empty());
  EXPECT_EQ(faulty.of(LifeKind::exit).at(0).event.exit_code & 0x7f, SIGSEGV);
}

TEST(Life, OrderOfASignalAndItsReceiver) {
  for (int round = 0; round < 20; ++round) {
    LifeRecorder recorder;
    EXPECT_EQ(exit_code(run({program("hook_tracee_life"), "send", "kill", "15"}, all_life(), recorder).result), 0);
    const auto at = [&](LifeKind kind, s32 signal) {
      return std::ranges::find_if(recorder.seen, [&](const Life& one) {
        return one.event.kind == kind && (signal == 0 || one.event.signal == signal);
      });
    };
    EXPECT_LT(at(LifeKind::signal_generate, SIGTERM), at(LifeKind::signal_deliver, SIGKILL));
    EXPECT_LT(at(LifeKind::signal_deliver, SIGKILL), at(LifeKind::exit, 0));
  }
}

TEST(Life, PriorityAndDebuggers) {
  LifeRecorder recorder;
  EXPECT_EQ(exit_code(run({program("hook_tracee_life"), "nice", "5"}, life({LifeKind::exit}), recorder).result), 0);
  ASSERT_EQ(recorder.seen.size(), 1u);
  EXPECT_GE(recorder.seen[0].event.priority, 125);  // more where the test itself runs nice
  LifeRecorder debugger;
  EXPECT_EQ(exit_code(run({program("hook_tracee_life"), "debugger"}, all_life(), debugger).result), 0);
  check_order(debugger);
}

TEST(Life, AProcessThatIsAttachedTo) {
  LifeRecorder recorder;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl(program("hook_tracee").c_str(), "hook_tracee", "sleep", "300", nullptr);
    ::_exit(99);
  }
  ASSERT_TRUE(eventually([&] { return content("/proc/" + std::to_string(pid) + "/comm") == "hook_tracee\n"; }));
  auto tracer = SyscallTracer::attach(pid, all_life(), recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  ASSERT_TRUE((*tracer)->run());
  ASSERT_EQ(recorder.of(LifeKind::exit).size(), 1u);
  EXPECT_EQ(recorder.of(LifeKind::exit)[0].tid, static_cast<u32>(pid));
  int status = 0;
  ::waitpid(pid, &status, 0);
}

TEST(Life, OtherCallsRunAtFullSpeed) {
  LifeRecorder recorder;
  EXPECT_EQ(exit_code(run({program("hook_tracee"), "opens", "100"}, all_life(), recorder).result), 0);
  EXPECT_EQ(recorder.calls, 0);
  EXPECT_EQ(recorder.seen.size(), 2u);  // its exec and its end
}

}  // namespace
}  // namespace skep::hook::test
