// Compiling test programs, and running code in processes of its own. See support.hpp.
#include "support.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>

namespace skep::test {

namespace {

bool succeeds(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

/// Compiled objects, kept for the whole test run.
struct Objects {
  std::filesystem::path directory;
  std::map<std::string, std::filesystem::path> files;
  Objects() {
    char name[] = "/tmp/skep-user-test-XXXXXX";
    directory = ::mkdtemp(name);
  }
  ~Objects() { std::filesystem::remove_all(directory); }
};

}  // namespace

const std::string& clang() {
  static const std::string found = [] {
    for (const char* name : {"clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"})
      if (succeeds(std::string(name) + " --print-targets | grep -q bpf")) return std::string(name);
    return std::string();
  }();
  return found;
}

ObjectSpec program_object(const std::string& name) {
  static Objects objects;
  auto& file = objects.files[name];
  if (file.empty()) {
    file = objects.directory / (name + ".bpf.o");
    const std::string command =
        clang() +
        " -O2 -g -target bpf -D__TARGET_ARCH_x86 -I /usr/include/x86_64-linux-gnu -I " SKEP_TEST_PROGRAMS
        " -c " SKEP_TEST_PROGRAMS "/" +
        name + ".bpf.c -o " + file.string();
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
  auto spec = ObjectSpec::from_file(file);
  EXPECT_TRUE(spec) << spec.error().message;
  return spec ? std::move(*spec) : ObjectSpec{};
}

std::vector<Event> events(RingReader& reader) {
  std::vector<Event> found;
  const auto got = reader.poll(std::chrono::milliseconds(0), [&](const Record& record) {
    Event event{};
    std::memcpy(&event, record.data.data(), std::min(record.data.size(), sizeof event));
    event.comm[sizeof event.comm - 1] = event.path[sizeof event.path - 1] = 0;
    found.push_back(event);
  });
  EXPECT_TRUE(got) << got.error().message;
  return found;
}

std::vector<std::string> lines(RingReader& reader) {
  std::vector<std::string> found;
  const auto got = reader.poll(std::chrono::milliseconds(0), [&](const Record& record) {
    found.emplace_back(reinterpret_cast<const char*>(record.data.data()), record.data.size());
  });
  EXPECT_TRUE(got) << got.error().message;
  return found;
}

Scratch::Scratch() {
  char name[] = "/tmp/skep-user-scratch-XXXXXX";
  path_ = ::mkdtemp(name);
  ::setenv("XDG_RUNTIME_DIR", path_.c_str(), 1);
}

Scratch::~Scratch() {
  ::unsetenv("XDG_RUNTIME_DIR");
  std::filesystem::remove_all(path_);
}

std::string in_process(uid_t uid, const std::function<std::string()>& body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return "pipe2 failed";
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is killed leaves nothing behind
    if (uid != 0 && ::geteuid() == 0 && (::setgid(uid) != 0 || ::setuid(uid) != 0)) ::_exit(97);
    const std::string text = body();
    const bool written = ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(written ? 0 : 98);
  }
  ::close(ends[1]);
  std::string text;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd fd{ends[0], POLLIN, 0};
    if (left.count() <= 0 || ::poll(&fd, 1, static_cast<int>(left.count())) == 0) {
      ::kill(child, SIGKILL);
      text += "[hung: killed after 60 s]";
      break;
    }
    char chunk[4096];
    const ssize_t got = ::read(ends[0], chunk, sizeof chunk);
    if (got <= 0) break;
    text.append(chunk, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) text += "[ended by signal " + std::to_string(WTERMSIG(status)) + "]";
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) text += "[exit " + std::to_string(WEXITSTATUS(status)) + "]";
  return text;
}

}  // namespace skep::test
