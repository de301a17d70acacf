// Probes when the tracer goes, in peace or by SIGKILL, whatever it is in the middle of: nothing stays behind, and the
// program ends as it would.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "probes.hpp"

namespace skep::hook::test {
namespace {

TEST(ProbesAtTheEnd, EverythingIsTakenOutAtTheEnd) {
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

/// A host that traces a program which never rests, until it is killed.
struct Killed {
  std::string end = scratch("end");
  pid_t host = -1;
  struct {
    int command = 0, tracer = 0;
  } pids;

  Killed(const SyscallInterest& interest, const char* looks_for_its_end_rarely) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    host = ::fork();
    if (host == 0) {
      HitRecorder recorder;
      recorder.then = [&](const Hit&) { recorder.seen.clear(); };
      auto tracer = SyscallTracer::start({tracee(), "busy", end, looks_for_its_end_rarely}, interest, recorder);
      if (tracer) pids = {(*tracer)->pid(), (*tracer)->tracer_pid()};
      if (::write(ends[1], &pids, sizeof pids) == sizeof pids && tracer) (void)(*tracer)->run();
      ::_exit(0);
    }
    EXPECT_EQ(::read(ends[0], &pids, sizeof pids), static_cast<ssize_t>(sizeof pids));
    for (const int fd : ends) ::close(fd);
  }
  void kill() const {
    ::kill(host, SIGKILL);
    ::waitpid(host, nullptr, 0);
  }
  void expect_right_end() const {
    std::ofstream(end).close();
    EXPECT_TRUE(eventually([&] { return !alive(pids.command); })) << "it ends as it would";
    EXPECT_EQ(content(end), "right\n");
  }
};

SyscallInterest busy_functions() {
  SyscallInterest interest;
  for (const char* function : {"relative", "branching", "calling", "last"}) probe(interest, function);
  return interest;
}

TEST(ProbesAtTheEnd, KilledInTheMiddleOfAStep) {
  const SyscallInterest interest = busy_functions();
  for (u32 i = 0; i < 20; ++i) {
    const Killed killed(interest, "1023");
    ASSERT_GT(killed.pids.command, 0);
    ::usleep(50'000 + i * 1'111);
    killed.kill();
    killed.expect_right_end();
  }
}

// While the program starts, stops are of many kinds.
TEST(ProbesAtTheEnd, KilledAtTheBeginning) {
  const SyscallInterest interest = busy_functions();
  for (u32 i = 0; i < 60; ++i) {
    const Killed killed(interest, "1023");
    ASSERT_GT(killed.pids.command, 0);
    ::usleep(i * 150);
    killed.kill();
    killed.expect_right_end();
  }
}

// As it is on a busy machine: the tracer has resumed a task, and gets no CPU until that is in its next stop.
TEST(ProbesAtTheEnd, KilledWhileTheTracerIsHeldUp) {
  SyscallInterest interest = busy_functions();
  interest.enter.set(SYS_access);
  interest.exit.set(SYS_access);
  for (u32 i = 0; i < 100; ++i) {
    const Killed killed(interest, "0");
    ASSERT_GT(killed.pids.command, 0);
    ASSERT_GT(killed.pids.tracer, 0) << "kill(0) would mean this process's group";
    ::usleep(1'000 + i * 97);
    ::kill(killed.pids.tracer, SIGSTOP);
    ::usleep(1'000);
    killed.kill();
    ::kill(killed.pids.tracer, SIGCONT);
    killed.expect_right_end();
  }
}

/// Attaches to a tracee in `mode` until 20 returns were seen and the last hit `is_enough`; it must go on without us,
/// and end as it would.
void attach_for_a_while(const char* mode, const std::function<bool(const Hit&)>& is_enough) {
  const std::string end = scratch("end");
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl(tracee().c_str(), "hook_tracee_probes", mode, end.c_str(), nullptr);
    ::_exit(99);
  }
  ASSERT_TRUE(eventually([&] { return content("/proc/" + std::to_string(pid) + "/comm") == "hook_tracee_pro\n"; }));
  ::usleep(50'000);
  SyscallInterest interest;
  probe(interest, "plain");
  HitRecorder recorder;
  {
    auto tracer = SyscallTracer::attach(pid, interest, recorder);
    ASSERT_TRUE(tracer) << tracer.error().message;
    recorder.then = [&, returns = 0](const Hit& hit) mutable {
      if (hit.hit.at_return) ++returns;
      if (returns == 20) std::ofstream(end + ".first").close();
      if (returns >= 20 && is_enough(hit)) (*tracer)->stop();
    };
    ASSERT_TRUE((*tracer)->run());
  }
  ::usleep(100'000);
  std::ofstream{end}.close();
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(ProbesAtTheEnd, SemaphoresAreLoweredAtTheEnd) {
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

TEST(ProbesAtTheEnd, AProcessThatIsAttachedTo) {
  attach_for_a_while("steady", [](const Hit&) { return true; });
}

TEST(ProbesAtTheEnd, AProcessThatForksWhileItIsLeft) {
  for (int i = 0; i < 8; ++i) attach_for_a_while("forking", [more = i](const Hit&) mutable { return more-- <= 0; });
}

TEST(ProbesAtTheEnd, AProcessWhoseFirstThreadHasEnded) {
  attach_for_a_while("headless", [](const Hit& last) { return last.tid != last.tgid && last.hit.at_return; });
}

}  // namespace
}  // namespace skep::hook::test
