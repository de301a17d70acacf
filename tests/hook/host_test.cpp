// A whole host process and what can happen to it: kill -9, a terminal, another tracer around it, a process to attach
// to.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "support.hpp"

namespace skep::hook::test {
namespace {

pid_t spawn(const std::vector<std::string>& argv, const std::function<void()>& before = {}) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  if (before) before();
  std::vector<char*> pointers;
  for (const auto& argument : argv) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  ::execvp(pointers[0], pointers.data());
  ::_exit(99);
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool has(const std::string& file, const std::string& text) { return content(file).find(text) != std::string::npos; }

int tracer_in(const std::string& log) {
  const std::string text = content(log);
  const auto at = text.find("\ntracer ");
  return at == std::string::npos ? 0 : std::atoi(text.c_str() + at + 8);
}

class Host : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Command, Host, ::testing::Values("notify", "ptrace"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST_P(Host, ExitsWithTheCommandsStatus) {
  const std::string log = scratch("log");
  EXPECT_EQ(wait_for(spawn({program("hook_host"), GetParam(), log, "--", program("hook_tracee"), "exit", "42"})), 42);
  EXPECT_EQ(wait_for(spawn({program("hook_host"), GetParam(), log, "--", program("hook_tracee"), "raise", "15"})), 143);
  EXPECT_EQ(wait_for(spawn({program("hook_host"), GetParam(), log, "--", "skep-no-such-command"})), 127);
}

TEST_P(Host, KilledAtAnyMomentTheCommandGoesOn) {
  for (int round = 0; round < 8; ++round) {
    const std::string log = scratch("log"), report = scratch("report"), end = scratch("end");
    const pid_t host = spawn({program("hook_host"), GetParam(), log, "--", program("hook_tracee"), "steady", report,
                              end, round % 2 == 0 ? "0" : "3"});
    ASSERT_TRUE(eventually([&] { return has(log, "steady3"); }));
    const timespec pause{0, round * 1'300'000};
    ::nanosleep(&pause, nullptr);
    const int tracer = tracer_in(log);
    ::kill(host, SIGKILL);
    EXPECT_EQ(wait_for(host), 128 + SIGKILL);
    EXPECT_TRUE(eventually([&] {
      std::error_code error;
      std::size_t fds = 0;
      for (std::filesystem::directory_iterator at("/proc/" + std::to_string(tracer) + "/fd", error), last; at != last;
           at.increment(error))
        ++fds;
      return fds <= 1;
    })) << "what we had open (the pipe behind us...) is closed";
    const timespec more{0, 20'000'000};
    ::nanosleep(&more, nullptr);
    std::ofstream(end) << "now";
    ASSERT_TRUE(eventually([&] { return !content(report).empty(); })) << "round " << round;
    EXPECT_EQ(content(report), "good\n");
    EXPECT_TRUE(eventually([&] { return !alive(tracer); }));
  }
}

TEST_P(Host, KilledWhileAProgramIsStuck) {
  const std::string log = scratch("log"), report = scratch("report"), end = scratch("end");
  std::ofstream(end) << "now";
  const pid_t host =
      spawn({program("hook_host"), GetParam(), log, "--", program("hook_tracee"), "daemon", report, "10"},
            [] { ::setenv("HOOK_HOST_STUCK", "1", 1); });
  ASSERT_TRUE(eventually([&] { return has(log, "daemon-start"); }));
  ::kill(host, SIGKILL);
  wait_for(host);
  EXPECT_TRUE(eventually([&] { return content(report) == "good\n"; })) << content(report);
}

TEST_P(Host, StopFromASignalHandler) {
  const std::string log = scratch("log"), report = scratch("report"), end = scratch("end");
  const pid_t host =
      spawn({program("hook_host"), GetParam(), log, "--", program("hook_tracee"), "steady", report, end});
  ASSERT_TRUE(eventually([&] { return has(log, "steady3"); }));
  ::kill(host, SIGTERM);
  EXPECT_EQ(wait_for(host), 100);
  EXPECT_TRUE(has(log, "\nend\n"));
  std::ofstream(end) << "now";
  EXPECT_TRUE(eventually([&] { return content(report) == "good\n"; }));
}

// --- a terminal with a real shell's job control ---

class Terminal {
 public:
  explicit Terminal(const std::string& script) {
    master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    EXPECT_GE(master_, 0);
    EXPECT_EQ(::grantpt(master_), 0);
    EXPECT_EQ(::unlockpt(master_), 0);
    const std::string name = ::ptsname(master_);
    shell_ = spawn({"bash", "--norc", "-c", script}, [&] {
      ::setsid();
      const int terminal = ::open(name.c_str(), O_RDWR);
      ::ioctl(terminal, TIOCSCTTY, 0);
      for (int fd : {0, 1, 2}) ::dup2(terminal, fd);
      ::close(terminal);
    });
    ::fcntl(master_, F_SETFL, O_NONBLOCK);
  }
  ~Terminal() {
    ::kill(shell_, SIGKILL);
    ::waitpid(shell_, nullptr, 0);
    ::close(master_);
  }
  void type(char key) { EXPECT_EQ(::write(master_, &key, 1), 1); }
  bool shows(const std::string& text) {
    return eventually([&] {
      char bytes[512];
      for (ssize_t n; (n = ::read(master_, bytes, sizeof bytes)) > 0;)
        output_.append(bytes, static_cast<std::size_t>(n));
      return output_.find(text) != std::string::npos;
    });
  }
  const std::string& output() const { return output_; }

 private:
  int master_ = -1;
  pid_t shell_ = 0;
  std::string output_;
};

TEST_P(Host, JobControlWorksAsWithoutUs) {
  const std::string log = scratch("log");
  Terminal terminal("set -m; " + program("hook_host") + " " + GetParam() + " " + log + " -- " + program("hook_tracee") +
                    " terminal; echo first=$?; fg; echo second=$?");
  ASSERT_TRUE(eventually([&] { return has(log, "enter ready"); }));
  EXPECT_TRUE(has(log, "enter foreground"));
  terminal.type('\x1a');  // Ctrl-Z stops the job: host and command
  ASSERT_TRUE(terminal.shows("first=148")) << terminal.output();
  ASSERT_TRUE(eventually([&] { return has(log, "enter continued"); })) << "fg continues both";
  terminal.type('\x03');  // Ctrl-C ends the command; the host survives to say so
  ASSERT_TRUE(terminal.shows("second=130")) << terminal.output();
  EXPECT_TRUE(has(log, "\nend\n"));
}

// --- tracers in tracers ---

TEST_P(Host, InsideAnotherOneItTracesEveryCall) {
  const std::string outer = scratch("outer"), inner = scratch("inner");
  EXPECT_EQ(wait_for(spawn({program("hook_host"), "notify", outer, "--", program("hook_host"), GetParam(), inner, "--",
                            program("hook_tracee"), "opens", "3"})),
            0);
  EXPECT_TRUE(has(inner, "another seccomp listener")) << content(inner);
  for (const auto& log : {outer, inner})
    for (const char* mark : {"open0", "open1", "open2"}) EXPECT_TRUE(has(log, mark)) << log << content(log);
}

TEST(Nested, TwoPtracersCannotBe) {
  const std::string outer = scratch("outer"), inner = scratch("inner");
  EXPECT_EQ(wait_for(spawn({program("hook_host"), "ptrace", outer, "--", program("hook_host"), "ptrace", inner, "--",
                            program("hook_tracee"), "opens", "3"},
                           // In a sanitizer build: looking for leaks is done by ptrace, which is taken here.
                           [] { ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1); })),
            126);
  EXPECT_TRUE(has(inner, "traces it already")) << content(inner);
}

TEST(Nested, ADebuggerInsideTheTreeWorksUnderNotification) {
  if (::system("strace -V > /dev/null 2>&1") != 0) GTEST_SKIP() << "left out: strace is not installed";
  Recorder recorder;
  const auto outcome =
      run({"strace", "-f", "-o", "/dev/null", program("hook_tracee"), "opens", "3"}, entries({SYS_openat}), recorder);
  EXPECT_EQ(exit_code(outcome.result), 0);
  EXPECT_EQ(recorder.count("open2"), 1);
}

// --- running processes ---

class Attached : public ::testing::Test {
 protected:
  void SetUp() override {
    tracee = spawn({program("hook_tracee"), "steady", report, end, "3"});
    ASSERT_TRUE(eventually([&] {
      std::error_code error;
      const auto tasks = std::filesystem::directory_iterator("/proc/" + std::to_string(tracee) + "/task", error);
      return !error && std::distance(tasks, {}) == 4;
    }));
  }
  void TearDown() override {
    if (tracee > 0) {
      ::kill(tracee, SIGKILL);
      wait_for(tracee);
    }
  }
  /// Ends the tracee in peace and looks whether all its calls worked.
  void expect_unharmed() {
    EXPECT_TRUE(eventually([&] { return tracer_pid() == 0; }));
    std::ofstream(end) << "now";
    EXPECT_EQ(wait_for(tracee), 0);
    EXPECT_EQ(content(report), "good\n");
    tracee = 0;
  }
  int tracer_pid() const {
    const std::string status = content("/proc/" + std::to_string(tracee) + "/status");
    const auto at = status.find("TracerPid:");
    return at == std::string::npos ? -1 : std::atoi(status.c_str() + at + 10);
  }
  pid_t tracee = 0;
  const std::string report = scratch("report"), end = scratch("end");
};

TEST_F(Attached, AllThreadsAreSeenAndLetGo) {
  Recorder recorder;
  auto tracer = SyscallTracer::attach(tracee, both({SYS_openat}), recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  EXPECT_EQ((*tracer)->mechanism(), Mechanism::ptrace_every_call);
  EXPECT_NE((*tracer)->mechanism_text().find("every system call stops"), std::string::npos);
  std::map<u32, int> by_thread;
  recorder.then = [&](SyscallEvent&, helper::Task&, const Seen& seen) {
    ++by_thread[seen.tid];
    EXPECT_EQ(seen.tgid, static_cast<u32>(tracee));
    bool enough = by_thread.size() == 4;
    for (const auto& [tid, count] : by_thread) enough = enough && count >= 10;
    if (enough) (*tracer)->stop();
  };
  auto result = (*tracer)->run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(result->exited);
  EXPECT_EQ(by_thread.size(), 4u);
  for (const Seen& one : recorder.seen) {
    if (one.is_exit) {
      EXPECT_EQ(one.ret, -ENOENT);
    }
  }
  tracer->reset();
  expect_unharmed();
}

TEST_F(Attached, EndsWithTheProcess) {
  Recorder recorder;
  auto tracer = SyscallTracer::attach(tracee, entries({SYS_openat}), recorder);
  ASSERT_TRUE(tracer) << tracer.error().message;
  std::ofstream(end) << "now";
  auto result = (*tracer)->run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->exited);
  EXPECT_EQ(wait_for(tracee), 0) << "the status goes to the parent";
  tracee = 0;
  EXPECT_EQ(content(report), "good\n");
}

TEST_F(Attached, KilledWithoutWarning) {
  const std::string log = scratch("log");
  for (int round = 0; round < 5; ++round) {
    std::ofstream(log, std::ios::trunc) << "";
    const pid_t host = spawn({program("hook_host"), "attach", log, std::to_string(tracee)});
    ASSERT_TRUE(eventually([&] { return has(log, "enter thread"); })) << content(log);
    ::kill(host, SIGKILL);
    wait_for(host);
    EXPECT_TRUE(eventually([&] { return tracer_pid() == 0; }));
  }
  expect_unharmed();
}

TEST_F(Attached, AStoppedProcessStaysStopped) {
  ::kill(tracee, SIGSTOP);
  const auto state = [&] {
    const std::string stat = content("/proc/" + std::to_string(tracee) + "/stat");
    return stat[stat.rfind(')') + 2];
  };
  ASSERT_TRUE(eventually([&] { return state() == 'T'; }));
  const std::string log = scratch("log");
  const pid_t host = spawn({program("hook_host"), "attach", log, std::to_string(tracee)});
  ASSERT_TRUE(eventually([&] { return has(log, "\ntracer"); }));
  const timespec pause{0, 50'000'000};
  ::nanosleep(&pause, nullptr);
  EXPECT_FALSE(has(log, "enter"));
  ::kill(tracee, SIGCONT);
  EXPECT_TRUE(eventually([&] { return has(log, "enter thread"); }));
  ::kill(host, SIGTERM);
  EXPECT_EQ(wait_for(host), 100);
  expect_unharmed();
}

TEST_F(Attached, SecondTracerIsNamed) {
  Recorder recorder;
  auto first = SyscallTracer::attach(tracee, entries({SYS_openat}), recorder);
  ASSERT_TRUE(first) << first.error().message;
  auto second = SyscallTracer::attach(tracee, entries({SYS_openat}), recorder);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::permission);
  EXPECT_NE(second.error().message.find("traces it already"), std::string::npos) << second.error().message;
  first->reset();
  expect_unharmed();
}

TEST(AttachErrors, SayWhatIsWrong) {
  Recorder recorder;
  const auto interest = entries({SYS_openat});
  auto self = SyscallTracer::attach(::getpid(), interest, recorder);
  ASSERT_FALSE(self);
  EXPECT_EQ(self.error().code, Code::invalid_argument);
  EXPECT_FALSE(SyscallTracer::attach(0, interest, recorder));
  EXPECT_FALSE(SyscallTracer::attach(-1, interest, recorder));
  const pid_t gone = spawn({"true"});
  wait_for(gone);
  auto missing = SyscallTracer::attach(gone, interest, recorder);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::not_found);
  if (uid_under_test() == 0) return;
  auto other = SyscallTracer::attach(1, interest, recorder);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Code::permission);
  EXPECT_NE(other.error().message.find("uid 0"), std::string::npos) << other.error().message;
}

}  // namespace
}  // namespace skep::hook::test
