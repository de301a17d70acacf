// Test support, and main: --as-nobody drops to uid 65534 before any test runs.
#include "support.hpp"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace skep::hook::test {
namespace {

constexpr std::string_view marker = "/skep-tracee/";

/// This run's directory: made before privileges are dropped, removed at the end.
std::filesystem::path& directory() {
  static std::filesystem::path path;
  return path;
}

}  // namespace

std::string program(const std::string& name) { return directory() / "bin" / name; }
bool exists(const std::string& name) { return std::filesystem::exists(program(name)); }

std::string scratch(const std::string& name) {
  static int counter = 0;
  return directory() / "files" / (name + "." + std::to_string(::getpid()) + "." + std::to_string(++counter));
}

std::string content(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    const timespec pause{0, 5'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return condition();
}

bool alive(int pid) {
  const std::string stat = content("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = stat.rfind(')');
  return name_end != std::string::npos && stat.size() > name_end + 2 && stat[name_end + 2] != 'Z' &&
         stat[name_end + 2] != 'X';
}

int uid_under_test() { return static_cast<int>(::getuid()); }

std::string read_string(helper::Task& task, u64 address, s64& error) {
  std::string text;
  for (error = 0; text.size() < 256;) {
    char byte = 0;
    error = task.read_user(&byte, address + text.size(), 1);
    if (error != 0 || byte == 0) break;
    text += byte;
  }
  return text;
}

void Recorder::on_event(SyscallEvent& event, helper::Task& task) noexcept {
  Seen one{};
  one.tid = event.tid;
  one.tgid = static_cast<u32>(task.pid_tgid() >> 32);
  one.uid = static_cast<u32>(task.uid_gid());
  one.gid = static_cast<u32>(task.uid_gid() >> 32);
  one.nr = event.nr;
  one.own_nr = event.own_nr;
  one.abi = event.abi;
  one.is_exit = event.is_exit;
  one.args = event.args;
  one.ret = event.ret;
  char comm[16];
  task.comm(comm);
  one.comm = comm;
  if (read_paths && event.nr == SYS_openat) {
    one.path = read_string(task, event.args[1], one.path_error);
    if (one.path.starts_with(marker)) one.path.erase(0, marker.size());
  }
  seen.push_back(one);
  if (then) then(event, task, one);
}

std::map<std::string, int> Recorder::marks() const {
  std::map<std::string, int> marks;
  for (const Seen& one : seen)
    if (!one.is_exit && one.nr == SYS_openat && !one.path.empty() && one.path[0] != '/') ++marks[one.path];
  return marks;
}

int Recorder::count(const std::string& mark) const {
  const auto all = marks();
  const auto at = all.find(mark);
  return at == all.end() ? 0 : at->second;
}

SyscallInterest entries(std::initializer_list<u32> numbers) {
  SyscallInterest interest;
  for (u32 number : numbers) interest.enter.set(number);
  return interest;
}

SyscallInterest both(std::initializer_list<u32> numbers) {
  SyscallInterest interest = entries(numbers);
  interest.exit = interest.enter;
  return interest;
}

SyscallInterest openat_interest(Mechanism mechanism) {
  return mechanism == Mechanism::notify ? entries({SYS_openat}) : both({SYS_openat});
}

Outcome run(std::vector<std::string> argv, const SyscallInterest& interest, SyscallSink& sink) {
  auto tracer = SyscallTracer::start(std::move(argv), interest, sink);
  if (!tracer) {
    ADD_FAILURE() << tracer.error().message;
    return {};
  }
  auto result = (*tracer)->run();
  if (!result) {
    ADD_FAILURE() << result.error().message;
    return {};
  }
  EXPECT_TRUE(result->exited);
  return {*result, (*tracer)->mechanism()};
}

int exit_code(const RunResult& result) { return WIFEXITED(result.wait_status) ? WEXITSTATUS(result.wait_status) : -1; }

std::string mechanism_name(const ::testing::TestParamInfo<Mechanism>& info) {
  return info.param == Mechanism::notify ? "notify" : "ptrace";
}

namespace {

/// Programs are copied to a place that any user can reach: a build directory may lie in a private home.
void make_directory(uid_t user) {
  char name[] = "/tmp/skep-hook-test-XXXXXX";
  if (::mkdtemp(name) == nullptr) std::abort();
  directory() = name;
  std::filesystem::create_directories(directory() / "bin");
  std::filesystem::create_directories(directory() / "files");
  for (const char* file : {"hook_tracee", "hook_tracee_static", "hook_tracee32", "hook_tracee_life",
                           "hook_tracee_probes", "hook_tracee_library", "hook_host"}) {
    const std::filesystem::path from = std::filesystem::path(SKEP_HOOK_PROGRAMS) / file;
    if (std::filesystem::exists(from)) std::filesystem::copy_file(from, directory() / "bin" / file);
  }
  ::chmod(name, 0755);
  for (const auto* part : {"bin", "files"})
    if (::chown((directory() / part).c_str(), user, static_cast<gid_t>(-1)) != 0) std::abort();
  if (::chown(name, user, static_cast<gid_t>(-1)) != 0) std::abort();
}

}  // namespace
}  // namespace skep::hook::test

int main(int argc, char** argv) {
  constexpr uid_t nobody = 65534;
  bool drop = false;
  for (int i = 1; i < argc; ++i) drop = drop || std::strcmp(argv[i], "--as-nobody") == 0;
  ::testing::InitGoogleTest(&argc, argv);
  const uid_t before = ::getuid();
  if (drop && before != 0 && before != nobody) {
    std::printf("left out: only root may become uid %u, and we are uid %u: hook.process covers this user\n", nobody,
                before);
    return 0;
  }
  skep::hook::test::make_directory(drop ? nobody : before);
  if (drop && before == 0 &&
      (::setgroups(0, nullptr) != 0 || ::setgid(nobody) != 0 || ::setuid(nobody) != 0 || ::chdir("/") != 0)) {
    std::perror("cannot become nobody");
    return 1;
  }
  // A changed user without an exec is not dumpable, so not traceable: be as a program is that nobody started.
  if (drop) ::prctl(PR_SET_DUMPABLE, 1);
  const int result = RUN_ALL_TESTS();
  std::error_code ignored;
  std::filesystem::remove_all(skep::hook::test::directory(), ignored);
  return result;
}
