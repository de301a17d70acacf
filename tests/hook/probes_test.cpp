// Probes of user functions: every call once, with its arguments and result, whatever the program does around it.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>

#include "hook/probe_context.hpp"
#include "support.hpp"

namespace skep::hook::test {
namespace {

struct Hit {
  ProbeHit hit;
  u32 tid, tgid;
  u64 first, result, ip, sp;
};

class HitRecorder final : public SyscallSink {
 public:
  void on_event(SyscallEvent&, helper::Task&) noexcept override {}
  void on_probe(const ProbeHit& hit, SyscallEvent& frame, helper::Task& task) noexcept override {
    seen.push_back({hit, frame.tid, static_cast<u32>(task.pid_tgid() >> 32), frame.regs.di & 0xffffffff,
                    frame.regs.ax & 0xffffffff, frame.regs.ip, frame.regs.sp});
    if (then) then(seen.back());
  }
  std::vector<Hit> of(u32 site, bool at_return) const {
    std::vector<Hit> found;
    std::ranges::copy_if(seen, std::back_inserter(found),
                         [&](const Hit& one) { return one.hit.site == site && one.hit.at_return == at_return; });
    return found;
  }
  std::vector<u64> arguments(u32 site) const {
    std::vector<u64> found;
    for (const Hit& one : of(site, false)) found.push_back(one.first);
    return found;
  }
  std::vector<u64> results(u32 site) const {
    std::vector<u64> found;
    for (const Hit& one : of(site, true)) found.push_back(one.result);
    return found;
  }
  std::vector<Hit> seen;
  std::function<void(const Hit&)> then;
};

const std::string& tracee() {
  static const std::string path = program("hook_tracee_probes");
  return path;
}

/// Entry and return of a function; the place's index.
u32 probe(SyscallInterest& interest, const std::string& function, const std::string& file = tracee()) {
  u32 place = 0;
  for (const AttachKind kind : {AttachKind::uprobe, AttachKind::uretprobe}) {
    const auto plan = plan_probe({.kind = kind, .target = file + ":" + function});
    if (!plan || !*plan) {
      ADD_FAILURE() << function << ": " << (plan ? "no plan" : plan.error().message);
      return 0;
    }
    for (const ProbeSite& site : (*plan)->sites) place = interest.add_probe(site, (*plan)->at_return);
  }
  return place;
}

TEST(Probes, EntriesAndReturns) {
  SyscallInterest interest;
  const u32 plain = probe(interest, "plain");
  HitRecorder recorder;
  EXPECT_EQ(exit_code(run({tracee(), "plain", "50"}, interest, recorder).result), 0);
  const auto entries = recorder.of(plain, false), returns = recorder.of(plain, true);
  ASSERT_EQ(entries.size(), 50u);
  ASSERT_EQ(returns.size(), 50u);
  for (u64 i = 0; i < 50; ++i) {
    EXPECT_EQ(entries[i].first, i);
    EXPECT_EQ(entries[i].ip, entries[i].hit.function);
    EXPECT_EQ(returns[i].result, i * 3);
    EXPECT_EQ(returns[i].hit.function, entries[i].hit.function);
    EXPECT_EQ(returns[i].sp, entries[i].sp + 8);
  }
}

TEST(Probes, RecursionTailCallsAndJumps) {
  SyscallInterest interest;
  const u32 recurse = probe(interest, "recurse"), last = probe(interest, "last"), tail = probe(interest, "tail");
  const u32 jumper = probe(interest, "jumper"), plain = probe(interest, "plain");
  HitRecorder recursion;
  EXPECT_EQ(exit_code(run({tracee(), "recurse", "5"}, interest, recursion).result), 0);
  EXPECT_EQ(recursion.arguments(recurse), (std::vector<u64>{5, 4, 3, 2, 1}));
  EXPECT_EQ(recursion.results(recurse), (std::vector<u64>{1, 2, 6, 24, 120}));
  HitRecorder tails;
  EXPECT_EQ(exit_code(run({tracee(), "tail", "4"}, interest, tails).result), 0);
  EXPECT_EQ(tails.results(last), (std::vector<u64>{9}));
  EXPECT_EQ(tails.results(tail), (std::vector<u64>{9}));
  HitRecorder jumps;
  EXPECT_EQ(exit_code(run({tracee(), "jump", "3"}, interest, jumps).result), 0);
  EXPECT_EQ(jumps.arguments(jumper), (std::vector<u64>{3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1, 0}));
  EXPECT_TRUE(jumps.results(jumper).empty()) << "none of them returned";
  EXPECT_EQ(jumps.results(plain), (std::vector<u64>{6}));
  const u32 thrower = probe(interest, "thrower");
  HitRecorder throws;
  EXPECT_EQ(exit_code(run({tracee(), "throw", "3"}, interest, throws).result), 0);
  EXPECT_EQ(throws.arguments(thrower), (std::vector<u64>{3, 2, 1, 0}));
  EXPECT_EQ(throws.results(thrower), (std::vector<u64>{5})) << "one of them returned";
}

TEST(Probes, InstructionsThatAreRelative) {
  SyscallInterest interest;
  const u32 relative = probe(interest, "relative"), branching = probe(interest, "branching");
  const u32 calling = probe(interest, "calling"), last = probe(interest, "last");
  HitRecorder recorder;
  EXPECT_EQ(exit_code(run({tracee(), "forms"}, interest, recorder).result), 0);
  EXPECT_EQ(recorder.results(relative), (std::vector<u64>{0}));
  EXPECT_EQ(recorder.results(branching), (std::vector<u64>{4}));
  EXPECT_EQ(recorder.results(last), (std::vector<u64>{5}));
  EXPECT_EQ(recorder.results(calling), (std::vector<u64>{6}));
}

TEST(Probes, ThreadsMissNothing) {
  SyscallInterest interest;
  const u32 plain = probe(interest, "plain"), branching = probe(interest, "branching");
  HitRecorder recorder;
  EXPECT_EQ(exit_code(run({tracee(), "threads", "100"}, interest, recorder).result), 0);
  for (const u32 place : {plain, branching}) {
    EXPECT_EQ(recorder.of(place, false).size(), 800u);
    EXPECT_EQ(recorder.of(place, true).size(), 800u);
  }
}

TEST(Probes, ChildrenInherit) {
  SyscallInterest interest;
  const u32 plain = probe(interest, "plain");
  HitRecorder recorder;
  EXPECT_EQ(exit_code(run({tracee(), "children", "20"}, interest, recorder).result), 0);
  EXPECT_EQ(recorder.of(plain, false).size(), 21u);
  EXPECT_EQ(recorder.of(plain, true).size(), 21u);
  HitRecorder spawned;
  EXPECT_EQ(exit_code(run({tracee(), "spawned"}, interest, spawned).result), 0);
  EXPECT_EQ(spawned.of(plain, true).size(), 3u);
}

TEST(Probes, ChildrenOfThreadsThatEnd) {
  SyscallInterest interest;
  const u32 plain = probe(interest, "plain");
  for (int i = 0; i < 10; ++i) {
    HitRecorder recorder;
    EXPECT_EQ(exit_code(run({tracee(), "forkers", "60"}, interest, recorder).result), 0);
    EXPECT_EQ(recorder.of(plain, false).size(), 60u);
    EXPECT_EQ(recorder.of(plain, true).size(), 60u);
  }
}

TEST(Probes, ChildrenOfKilledMakers) {
  SyscallInterest interest;
  const u32 plain = probe(interest, "plain");
  for (int i = 0; i < 3; ++i) {
    HitRecorder recorder;
    EXPECT_EQ(exit_code(run({tracee(), "orphans", "100"}, interest, recorder).result), 0);
    EXPECT_EQ(recorder.of(plain, false).size(), recorder.of(plain, true).size());
  }
}

TEST(Probes, SignalsInTheMiddle) {
  SyscallInterest interest;
  const u32 relative = probe(interest, "relative"), branching = probe(interest, "branching");
  HitRecorder recorder;
  EXPECT_EQ(exit_code(run({tracee(), "signalled", "300"}, interest, recorder).result), 0);
  EXPECT_GE(recorder.of(relative, false).size(), 301u);
  EXPECT_EQ(recorder.of(relative, false).size(), recorder.of(relative, true).size());
  EXPECT_EQ(recorder.of(branching, true).size(), 300u);
}

TEST(Probes, AStopOfTheGroupStopsWhoIsInAStep) {
  const std::string end = scratch("end");
  SyscallInterest interest;
  probe(interest, "branching");
  HitRecorder recorder;
  std::atomic<int> hits = 0;
  recorder.then = [&](const Hit&) {
    recorder.seen.clear();
    ++hits;
  };
  auto tracer = SyscallTracer::start({tracee(), "endless-threads", end}, interest, recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  std::thread stopper([&, pid = (*tracer)->pid()] {
    for (int i = 0; i < 20; ++i) {
      const int before = hits;
      EXPECT_TRUE(eventually([&] { return hits > before + 200; })) << "it goes on";
      ::kill(pid, SIGSTOP);
      // On a busy machine the last of them stops late.
      EXPECT_TRUE(eventually([&] {
        const int stopped = hits;
        ::usleep(30'000);
        return hits == stopped;
      })) << "nobody runs";
      ::kill(pid, SIGCONT);
    }
    std::ofstream(end) << "end";
  });
  const auto result = (*tracer)->run();
  stopper.join();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(exit_code(*result), 0);
}

TEST(Probes, CodeThatChangesItself) {
  SyscallInterest interest;
  probe(interest, "plain");
  HitRecorder recorder;
  EXPECT_EQ(exit_code(run({tracee(), "overwritten"}, interest, recorder).result), 0);
  EXPECT_TRUE(recorder.seen.empty());
}

TEST(Probes, PlacesThatAreNotWhatTheFileHasAreCounted) {
  SyscallInterest interest;
  probe(interest, "plain");
  interest.probes[0].bytes[0] ^= 1;
  HitRecorder recorder;
  auto tracer = SyscallTracer::start({tracee(), "plain", "5"}, interest, recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  const auto result = (*tracer)->run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(exit_code(*result), 0);
  EXPECT_TRUE(recorder.seen.empty());
  EXPECT_GT((*tracer)->counters().probes_refused, 0u);
}

TEST(Probes, LibrariesAreFoundWhenTheyAreMapped) {
  SyscallInterest interest;
  const u32 root = probe(interest, "cbrt", "libm.so.6");
  HitRecorder recorder;
  EXPECT_EQ(exit_code(run({tracee(), "late", "libm.so.6"}, interest, recorder).result), 0);
  EXPECT_EQ(recorder.of(root, false).size(), 2u) << "it is closed and opened again";
  EXPECT_EQ(recorder.of(root, true).size(), 2u);
  SyscallInterest allocation;
  const u32 allocate = probe(allocation, "malloc", "libc.so.6");
  HitRecorder allocations;
  run({"/bin/ls", "/"}, allocation, allocations);
  EXPECT_GT(allocations.of(allocate, false).size(), 0u);
  EXPECT_EQ(allocations.of(allocate, false).size(), allocations.of(allocate, true).size());
}

TEST(Probes, EverythingIsTakenOutAtTheEnd) {
  const std::string end = scratch("end");
  SyscallInterest interest;
  const u32 plain = probe(interest, "plain");
  HitRecorder recorder;
  int status = -1;
  {
    auto tracer = SyscallTracer::start({tracee(), "steady", end}, interest, recorder);
    ASSERT_TRUE(tracer) << tracer.error().message;
    recorder.then = [&](const Hit&) {
      if (recorder.seen.size() == 40) (*tracer)->stop();
    };
    const auto result = (*tracer)->run();
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_FALSE(result->exited);
    status = (*tracer)->pid();
  }
  const auto seen = recorder.of(plain, false).size();
  ::usleep(50'000);
  EXPECT_TRUE(alive(status)) << "it runs on without its breakpoints";
  EXPECT_EQ(recorder.of(plain, false).size(), seen);
  std::ofstream(end) << "x";
  EXPECT_TRUE(eventually([&] { return !alive(status); }));
}

TEST(Probes, KilledInTheMiddleOfAStep) {
  SyscallInterest interest;
  for (const char* function : {"relative", "branching", "calling", "last"}) probe(interest, function);
  for (int i = 0; i < 20; ++i) {
    const std::string end = scratch("end");
    int ends[2], command = 0;
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t host = ::fork();
    if (host == 0) {
      HitRecorder recorder;
      recorder.then = [&](const Hit&) { recorder.seen.clear(); };
      auto tracer = SyscallTracer::start({tracee(), "busy", end}, interest, recorder);
      const int pid = tracer ? (*tracer)->pid() : 0;
      if (::write(ends[1], &pid, sizeof pid) == sizeof pid && tracer) (void)(*tracer)->run();
      ::_exit(0);
    }
    ASSERT_EQ(::read(ends[0], &command, sizeof command), static_cast<ssize_t>(sizeof command));
    for (const int fd : ends) ::close(fd);
    ASSERT_GT(command, 0);
    ::usleep(static_cast<unsigned>(50'000 + i * 1'111));
    ::kill(host, SIGKILL);
    ::waitpid(host, nullptr, 0);
    std::ofstream(end).close();
    EXPECT_TRUE(eventually([&] { return !alive(command); })) << "it ends as it would";
    EXPECT_EQ(content(end), "right\n");
  }
}

/// Attaches to a tracee in `mode` until `is_enough`; it must go on without us, and end as it would.
void attach_for_a_while(const char* mode, const std::function<bool(const HitRecorder&)>& is_enough) {
  const std::string end = scratch("end");
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl(tracee().c_str(), "hook_tracee_probes", mode, end.c_str(), nullptr);
    ::_exit(99);
  }
  ASSERT_TRUE(eventually([&] { return content("/proc/" + std::to_string(pid) + "/comm") == "hook_tracee_pro\n"; }));
  ::usleep(50'000);
  SyscallInterest interest;
  const u32 plain = probe(interest, "plain");
  HitRecorder recorder;
  {
    auto tracer = SyscallTracer::attach(pid, interest, recorder);
    ASSERT_TRUE(tracer) << tracer.error().message;
    recorder.then = [&](const Hit&) {
      if (is_enough(recorder)) (*tracer)->stop();
    };
    ASSERT_TRUE((*tracer)->run());
  }
  EXPECT_GE(recorder.of(plain, true).size(), 19u);
  ::usleep(100'000);
  std::ofstream{end}.close();
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

u32 static_probe(SyscallInterest& interest, const std::string& file = tracee()) {
  const auto plan = plan_probe({.kind = AttachKind::usdt, .target = file + ":skep_tracee:marked"});
  if (!plan || !*plan || (*plan)->sites.size() != 1 || (*plan)->descriptions.size() != 1) {
    ADD_FAILURE() << (plan ? "no plan" : plan.error().message);
    return 0;
  }
  EXPECT_EQ((*plan)->descriptions[0].count, 2);
  EXPECT_NE((*plan)->sites[0].semaphore_offset, 0u);
  return interest.add_probe((*plan)->sites[0], false);
}

TEST(Probes, StaticProbesAndTheirSemaphores) {
  SyscallInterest interest;
  const u32 marked = static_probe(interest);
  HitRecorder recorder;
  EXPECT_EQ(exit_code(run({tracee(), "statics", "5"}, interest, recorder).result), 0) << "a semaphore is not 1";
  EXPECT_EQ(recorder.arguments(marked), (std::vector<u64>{0, 1, 2, 3, 4, 0, 1, 2, 3, 4}));
  SyscallInterest of_library;
  const u32 late = static_probe(of_library, program("hook_tracee_library"));
  HitRecorder opened;
  EXPECT_EQ(exit_code(run({tracee(), "late-static", program("hook_tracee_library")}, of_library, opened).result), 0);
  EXPECT_EQ(opened.arguments(late), (std::vector<u64>{0, 1, 2})) << "it is opened three times";
}

TEST(Probes, SemaphoresAreLoweredAtTheEnd) {
  const std::string end = scratch("end");
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl(tracee().c_str(), "hook_tracee_probes", "steady-statics", end.c_str(), nullptr);
    ::_exit(99);
  }
  ASSERT_TRUE(eventually([&] { return content("/proc/" + std::to_string(pid) + "/comm") == "hook_tracee_pro\n"; }));
  SyscallInterest interest;
  const u32 marked = static_probe(interest);
  HitRecorder recorder;
  {
    auto tracer = SyscallTracer::attach(pid, interest, recorder);
    ASSERT_TRUE(tracer) << tracer.error().message;
    recorder.then = [&](const Hit&) {
      if (recorder.seen.size() == 10) (*tracer)->stop();
    };
    ASSERT_TRUE((*tracer)->run());
  }
  EXPECT_GE(recorder.arguments(marked).size(), 10u);
  std::ofstream{end}.close();
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0) << "the semaphore is " << WEXITSTATUS(status);
}

TEST(Probes, AProcessThatIsAttachedTo) {
  attach_for_a_while("steady", [](const HitRecorder& recorder) { return recorder.seen.size() == 40; });
}

TEST(Probes, AProcessThatForksWhileItIsLeft) {
  for (u64 i = 0; i < 8; ++i)
    attach_for_a_while("forking", [&](const HitRecorder& recorder) { return recorder.seen.size() >= 60 + i; });
}

TEST(Probes, AProcessWhoseFirstThreadHasEnded) {
  attach_for_a_while("headless", [](const HitRecorder& recorder) {
    const Hit& last = recorder.seen.back();
    return last.tid != last.tgid && last.hit.at_return;
  });
}

TEST(Probes, WhatCannotBeProbedIsRefused) {
  const auto refusal = [&](AttachKind kind, const std::string& target) {
    const auto plan = plan_probe({.kind = kind, .target = target});
    return plan ? std::string() : plan.error().message;
  };
  EXPECT_NE(refusal(AttachKind::uprobe, tracee() + ":no_such").find("no function \"no_such\""), std::string::npos);
  EXPECT_NE(refusal(AttachKind::uprobe, "/no/such/file:main").find("/no/such/file"), std::string::npos);
  EXPECT_NE(refusal(AttachKind::uprobe, "nothing").find("FILE:FUNCTION"), std::string::npos);
  EXPECT_NE(refusal(AttachKind::uretprobe, tracee() + ":plain+4").find("no offset"), std::string::npos);
  EXPECT_NE(refusal(AttachKind::usdt, tracee() + ":marked").find("FILE:PROVIDER:NAME"), std::string::npos);
  EXPECT_NE(refusal(AttachKind::usdt, tracee() + ":skep_tracee:nothing").find("1 of other names"), std::string::npos);
}

}  // namespace
}  // namespace skep::hook::test
