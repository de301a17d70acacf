// What the command sees of being traced: nothing. Status, signals, stops, inheritance, and life after us.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "support.hpp"

namespace skep::hook::test {
namespace {

int count_entries(const char* directory) {
  return static_cast<int>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

/// Runs `body` in a child of the test; its exit code.
int in_child(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

class Lifecycle : public EachMechanism {};
INSTANTIATE_TEST_SUITE_P(Command, Lifecycle, ::testing::Values(Mechanism::notify, Mechanism::ptrace_filtered),
                         mechanism_name);

TEST_P(Lifecycle, ExitStatusIsTheCommands) {
  Recorder recorder;
  for (int code : {0, 1, 7, 127, 255})
    EXPECT_EQ(exit_code(run({program("hook_tracee"), "exit", std::to_string(code)}, openat(), recorder).result), code);
  for (int signal : {SIGTERM, SIGKILL, SIGSEGV, SIGINT, SIGUSR1, SIGALRM, SIGTRAP, SIGABRT, SIGCHLD + 0}) {
    const int status =
        run({program("hook_tracee"), "raise", std::to_string(signal)}, openat(), recorder).result.wait_status;
    if (signal == SIGCHLD) {
      EXPECT_EQ(WEXITSTATUS(status), 1) << "SIGCHLD is ignored by default";
      continue;
    }
    EXPECT_TRUE(WIFSIGNALED(status)) << signal;
    EXPECT_EQ(WTERMSIG(status), signal);
  }
}

TEST_P(Lifecycle, StopsAndContinuations) {
  Recorder recorder;
  for (int signal : {SIGSTOP, SIGTSTP, SIGTTIN}) {
    // A session without a terminal would ignore terminal stops: an orphaned process group. SIGSTOP always works.
    const auto outcome = run({program("hook_tracee"), "job", std::to_string(signal)}, openat(), recorder);
    if (signal == SIGSTOP) {
      EXPECT_EQ(exit_code(outcome.result), 0);
      continue;
    }
    const int plain = in_child([&] {
      ::execl(program("hook_tracee").c_str(), "hook_tracee", "job", std::to_string(signal).c_str(), nullptr);
      return 99;
    });
    EXPECT_EQ(exit_code(outcome.result), plain) << signal;
  }
  EXPECT_GE(recorder.count("after-stop"), 1);
}

TEST_P(Lifecycle, SignalsInterruptAsUsual) {
  Recorder recorder;
  SyscallInterest interest = openat();
  interest.enter.set(SYS_read);  // the interrupted call is itself observed
  if (GetParam() != Mechanism::notify) interest.exit.set(SYS_read);
  EXPECT_EQ(exit_code(run({program("hook_tracee"), "interrupted", "0"}, interest, recorder).result), 0);
  EXPECT_EQ(exit_code(run({program("hook_tracee"), "interrupted", "1"}, interest, recorder).result), 0);
}

TEST_P(Lifecycle, CallsAreSeenOnceUnderAStormOfSignals) {
  Recorder recorder;
  recorder.read_paths = true;
  EXPECT_EQ(exit_code(run({program("hook_tracee"), "storm", "300"}, openat(), recorder).result), 0);
  // A signal that comes before we took the call lets it start over, unseen; after that it is not interrupted.
  for (int i = 0; i < 300; ++i) EXPECT_EQ(recorder.count("storm" + std::to_string(i)), 1) << i;
}

TEST_P(Lifecycle, ATaskThatDiesDuringItsCall) {
  Recorder recorder;
  int tried = 0;
  recorder.then = [&](SyscallEvent& event, helper::Task& task, const Seen& seen) {
    if (seen.path != "open3" || tried++ > 0) return;
    ::kill(static_cast<pid_t>(seen.tgid), SIGKILL);
    EXPECT_TRUE(eventually([&] { return !alive(static_cast<int>(seen.tid)); }));
    char byte[400];
    EXPECT_EQ(task.read_user(byte, event.args[1], sizeof byte), -EFAULT);
    EXPECT_EQ(task.write_user(event.args[1], "x", 1), -EFAULT);
    char comm[16];
    task.comm(comm);
    EXPECT_EQ(comm[15], 0);
    EXPECT_EQ(static_cast<u32>(task.pid_tgid()), seen.tid);
  };
  const auto outcome = run({program("hook_tracee"), "opens", "10"}, openat(), recorder);
  EXPECT_EQ(tried, 1);
  EXPECT_TRUE(WIFSIGNALED(outcome.result.wait_status));
  EXPECT_EQ(WTERMSIG(outcome.result.wait_status), SIGKILL);
  EXPECT_EQ(recorder.count("open4"), 0);
}

TEST_P(Lifecycle, AThreadGroupThatDiesUnderLoad) {
  for (int round = 0; round < 20; ++round) {
    Recorder recorder;
    recorder.then = [&](SyscallEvent&, helper::Task&, const Seen& seen) {
      if (recorder.seen.size() == 20u + static_cast<u32>(round) * 7) ::kill(static_cast<pid_t>(seen.tgid), SIGKILL);
    };
    const auto outcome = run({program("hook_tracee"), "threads", "8", "1000"}, openat(), recorder);
    EXPECT_TRUE(WIFSIGNALED(outcome.result.wait_status));
  }
}

TEST_P(Lifecycle, EverythingIsInherited) {
  const std::string plain = scratch("plain"), traced = scratch("traced");
  const auto prepare = [&](const std::string& output) {
    ::setpgid(0, 0);
    const int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(fd, 1);
    ::dup2(fd, 77);
    ::close(fd);
    ::signal(SIGUSR2, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGINT, [](int) {});  // a handler becomes the default by exec, with and without us
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR1);
    ::sigaddset(&blocked, SIGCHLD);
    ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
    ::setenv("SKEP_TEST_MARK", "kept", 1);
    ::umask(027);
    return ::chdir("/usr");
  };
  ASSERT_EQ(in_child([&] {
              if (prepare(plain) != 0) return 98;
              ::execl(program("hook_tracee").c_str(), "hook_tracee", "inherited", nullptr);
              return 99;
            }),
            0);
  ASSERT_EQ(in_child([&] {
              if (prepare(traced) != 0) return 98;
              Recorder recorder;
              return exit_code(run({program("hook_tracee"), "inherited"}, openat(), recorder).result);
            }),
            0);
  // The group is the caller's own in both: each child made itself a leader.
  const auto without_group = [](std::string text) {
    const auto at = text.find("\npgrp ");
    EXPECT_NE(at, std::string::npos);
    return text.erase(at, text.find('\n', at + 1) - at);
  };
  EXPECT_EQ(without_group(content(traced)), without_group(content(plain)));
  EXPECT_NE(content(traced).find("env kept"), std::string::npos);
}

TEST_P(Lifecycle, TheHostIsLeftAsItWas) {
  struct sigaction before[32], after[32];
  for (int i = 1; i < 32; ++i) ::sigaction(i, nullptr, &before[i]);
  const int fds = count_entries("/proc/self/fd");
  for (int i = 0; i < 3; ++i) {
    Recorder recorder;
    run({program("hook_tracee"), "opens", "5"}, openat(), recorder);
  }
  for (int i = 1; i < 32; ++i) {
    ::sigaction(i, nullptr, &after[i]);
    EXPECT_EQ(before[i].sa_handler, after[i].sa_handler) << i;
  }
  EXPECT_EQ(count_entries("/proc/self/fd"), fds);
  EXPECT_EQ(count_entries("/proc/self/task"), 1);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1) << "no child is left behind";
}

TEST_P(Lifecycle, DaemonsAreWaitedFor) {
  const std::string report = scratch("report");
  Recorder recorder;
  const auto outcome = run({program("hook_tracee"), "daemon", report, "50"}, openat(), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  EXPECT_EQ(recorder.count("daemon-start"), 1);
  EXPECT_EQ(recorder.count("daemon-end"), 1);
  EXPECT_EQ(content(report), "good\n");
}

TEST_P(Lifecycle, StopLetsTheTreeGoOn) {
  const std::string report = scratch("report"), end = scratch("end");
  Recorder recorder;
  int tracer_pid = 0;
  {
    auto tracer = SyscallTracer::start({program("hook_tracee"), "steady", report, end, "2"}, openat(), recorder);
    ASSERT_TRUE(tracer) << tracer.error().message;
    tracer_pid = (*tracer)->tracer_pid();
    recorder.then = [&](SyscallEvent&, helper::Task&, const Seen&) {
      if (recorder.seen.size() == 40) (*tracer)->stop();
    };
    auto result = (*tracer)->run();
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_FALSE(result->exited);
  }
  const std::size_t seen = recorder.seen.size();
  const timespec pause{0, 50'000'000};
  ::nanosleep(&pause, nullptr);
  EXPECT_EQ(recorder.seen.size(), seen) << "nothing is shown after run() has returned";
  EXPECT_TRUE(alive(tracer_pid)) << "it answers for the filter as long as the tree lives";
  std::ofstream(end) << "now";
  EXPECT_TRUE(eventually([&] { return !content(report).empty(); }));
  EXPECT_EQ(content(report), "good\n");
  EXPECT_TRUE(eventually([&] { return !alive(tracer_pid); })) << "and no longer";
}

TEST_P(Lifecycle, DestroyedBeforeRun) {
  const std::string report = scratch("report"), end = scratch("end");
  std::ofstream(end) << "now";
  Recorder recorder;
  {
    ASSERT_TRUE(SyscallTracer::start({program("hook_tracee"), "steady", report, end}, openat(), recorder));
  }
  EXPECT_TRUE(eventually([&] { return content(report) == "good\n"; }));
  EXPECT_TRUE(recorder.seen.empty());
}

TEST_P(Lifecycle, StopBeforeRun) {
  const std::string report = scratch("report"), end = scratch("end");
  Recorder recorder;
  auto tracer = SyscallTracer::start({program("hook_tracee"), "steady", report, end}, openat(), recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  (*tracer)->stop();
  auto result = (*tracer)->run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(result->exited);
  std::ofstream(end) << "now";
  EXPECT_TRUE(eventually([&] { return content(report) == "good\n"; }));
}

TEST_P(Lifecycle, ACrashInTheSinkDoesNotReachTheCommand) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "left out: the address sanitizer handles crashes itself";
#endif
  const std::string report = scratch("report"), end = scratch("end");
  std::ofstream(end) << "now";
  Recorder recorder;
  recorder.then = [](SyscallEvent&, helper::Task&, const Seen& seen) {
    volatile int* nowhere = nullptr;
    if (seen.path == "daemon-start") *nowhere = 1;
  };
  auto tracer = SyscallTracer::start({program("hook_tracee"), "daemon", report, "10"}, openat(), recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  auto result = (*tracer)->run();
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("signal 11"), std::string::npos) << result.error().message;
  EXPECT_TRUE(eventually([&] { return content(report) == "good\n"; }));
}

TEST_P(Lifecycle, TheTracerProcessKilledFromOutside) {
  const std::string report = scratch("report"), end = scratch("end");
  Recorder recorder;
  auto tracer = SyscallTracer::start({program("hook_tracee"), "steady", report, end}, openat(), recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  const int command = (*tracer)->pid();
  recorder.read_paths = false;  // nothing on the heap that dies with the process
  recorder.then = [&](SyscallEvent&, helper::Task&, const Seen&) {
    if (recorder.seen.size() != 20) return;
    const int fd = ::open(end.c_str(), O_WRONLY | O_CREAT, 0644);
    ::close(fd);
    ::kill((*tracer)->tracer_pid(), SIGKILL);
  };
  auto result = (*tracer)->run();
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("ended from outside"), std::string::npos);
  if (GetParam() == Mechanism::notify)
    EXPECT_EQ(content(report), "good\n") << "we hold the listener too, and answer in its stead";
  else
    EXPECT_TRUE(eventually([&] { return !alive(command); })) << "ended rather than broken";
}

// --- errors ---

TEST(Errors, NamesThatCannotBeRun) {
  Recorder recorder;
  const auto start = [&](std::vector<std::string> argv) {
    return SyscallTracer::start(std::move(argv), entries({SYS_openat}), recorder);
  };
  const auto missing = start({"skep-no-such-command"});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found);
  EXPECT_EQ(missing.error().message, "skep-no-such-command: command not found in PATH");
  const auto path = start({"/skep/no/such/file"});
  ASSERT_FALSE(path);
  EXPECT_EQ(path.error().code, Code::not_found);
  EXPECT_NE(path.error().message.find("No such file"), std::string::npos);
  const std::string text = scratch("text");
  std::ofstream(text) << "exit 3\n";
  const auto refused = start({text});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::permission);
  const auto directory = start({"/usr"});
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code, Code::permission);
  ASSERT_FALSE(start({}));
  ASSERT_FALSE(start({""}));
  const auto nothing = SyscallTracer::start({"true"}, SyscallInterest{}, recorder);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, Code::invalid_argument);
}

TEST_P(Lifecycle, ScriptsWithAndWithoutInterpreter) {
  Recorder recorder;
  const std::string plain = scratch("plain"), broken = scratch("broken");
  std::ofstream(plain) << "exit 3\n";
  std::ofstream(broken) << "#!/skep/no/such/interpreter\n";
  ::chmod(plain.c_str(), 0755);
  ::chmod(broken.c_str(), 0755);
  EXPECT_EQ(exit_code(run({plain}, openat(), recorder).result), 3) << "a script without #! is run by sh, as shells do";
  auto tracer = SyscallTracer::start({broken}, openat(), recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  const auto result = (*tracer)->run();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::not_found);
  EXPECT_NE(result.error().message.find("interpreter"), std::string::npos) << result.error().message;
}

TEST_P(Lifecycle, PathIsSearchedAsAShellDoes) {
  const std::string directory = scratch("path");
  std::filesystem::create_directories(directory + "/first/skep-tool");  // a directory is passed over
  std::filesystem::create_directories(directory + "/second");
  std::filesystem::copy_file(program("hook_tracee"), directory + "/second/skep-tool");
  EXPECT_EQ(in_child([&] {
              ::setenv("PATH", (directory + "/first:" + directory + "/second").c_str(), 1);
              Recorder recorder;
              return exit_code(run({"skep-tool", "exit", "21"}, openat(), recorder).result);
            }),
            21);
}

TEST(Privileges, AreDeniedOnlyWhereTheyMustBe) {
  Recorder recorder;
  auto tracer = SyscallTracer::start({program("hook_tracee"), "exit", "0"}, entries({SYS_openat}), recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  EXPECT_EQ((*tracer)->new_privileges_denied(), uid_under_test() != 0);
  ASSERT_TRUE((*tracer)->run());
}

}  // namespace skep::hook::test
