// Probes of user functions: every call once, with its arguments and result, whatever the program does around it.
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>

#include "elf/functions.hpp"
#include "elf/user_binary.hpp"
#include "elf/x86_insn.hpp"
#include "probes.hpp"

namespace skep::hook::test {
namespace {

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

TEST(Probes, APatternIsAllThatCanBeOfItsName) {
  const auto plan = [](AttachKind kind, const std::string& functions) {
    return *plan_probe({.kind = kind, .target = tracee() + ":" + functions}).value();
  };
  const auto one = plan(AttachKind::uprobe, "plain"), same = plan(AttachKind::uprobe_multi, "[p]lain");
  ASSERT_EQ(same.sites.size(), 1u);
  EXPECT_EQ(same.sites[0].file_offset, one.sites.at(0).file_offset);
  EXPECT_TRUE(same.sites[0].begins_function);
  EXPECT_EQ(same.note, "");
  const auto all = plan(AttachKind::uretprobe_multi, "*");
  EXPECT_TRUE(all.at_return);
  EXPECT_GT(all.sites.size(), 5u);
  EXPECT_NE(all.note.find("places are left out: "), std::string::npos) << "the program's beginning returns to nobody";
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
  EXPECT_NE(refusal(AttachKind::uprobe, tracee() + ":plain+100000").find("behind the end"), std::string::npos);
  EXPECT_NE(refusal(AttachKind::uprobe, tracee() + ":plain+0xfffffffffffffff0").find("behind the end"),
            std::string::npos);
  EXPECT_NE(refusal(AttachKind::uretprobe, tracee() + ":_start").find("it has no caller"), std::string::npos);
  EXPECT_NE(refusal(AttachKind::uprobe, tracee() + ":pl?in+100000").find("behind the end"), std::string::npos);
  EXPECT_NE(refusal(AttachKind::uprobe, tracee() + ":plin").find("did you mean \"plain\"?"), std::string::npos);
#if defined(__x86_64__)
  const auto library = elf::open_user_binary("libc.so.6", 0);
  ASSERT_TRUE(library) << library.error().message;
  const auto malloc = elf::functions(*library, [](std::string_view name) { return name == "malloc"; }).value().at(0);
  elf::InsnBytes insn{};
  u64 plus = 0;  // of the first instruction that has a middle
  do {
    ASSERT_TRUE(library->read(malloc.file_offset + plus++, std::as_writable_bytes(std::span(insn))));
  } while (elf::x86_insn(insn).length == 1);
  EXPECT_NE(refusal(AttachKind::uprobe, fmt::format("libc.so.6:malloc+{}", plus)).find("inside of an instruction"),
            std::string::npos);
#endif
  EXPECT_NE(refusal(AttachKind::usdt, tracee() + ":marked").find("FILE:PROVIDER:NAME"), std::string::npos);
  EXPECT_NE(refusal(AttachKind::usdt, tracee() + ":skep_tracee:nothing").find("1 of other names"), std::string::npos);
}

}  // namespace
}  // namespace skep::hook::test
