// posix_spawn with one pipe. The child gets default signal handling and an unblocked mask, whatever the caller's are.
#include "compile/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/fd.hpp"

extern char** environ;

namespace skep::compile {
namespace {

constexpr std::size_t most_output_bytes = 256 << 10;

/// Include paths from the environment would make the result depend on more than the cache's key knows;
/// the locale would change the words that errors are recognised by.
bool passed_on(std::string_view variable) {
  for (std::string_view dropped :
       {"CPATH=", "C_INCLUDE_PATH=", "CPLUS_INCLUDE_PATH=", "OBJC_INCLUDE_PATH=", "CCC_OVERRIDE_OPTIONS=",
        "CCC_ADD_ARGS=", "COMPILER_PATH=", "LC_ALL=", "LC_MESSAGES=", "LANG=", "LANGUAGE=", "SOURCE_DATE_EPOCH="})
    if (variable.starts_with(dropped)) return false;
  return true;
}

struct SpawnSettings {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnSettings(int output) {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    ::posix_spawnattr_init(&attributes);
    sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
};

void read_until_end(int fd, std::string& out) {
  char piece[16 << 10];
  for (;;) {
    const ssize_t got = ::read(fd, piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    const std::size_t room = most_output_bytes - std::min(out.size(), most_output_bytes);
    out.append(piece, std::min(static_cast<std::size_t>(got), room));
  }
}

}  // namespace

Result<Finished> run_process(const std::vector<std::string>& arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(base::os_error("pipe"));
  base::Fd reading(ends[0]), writing(ends[1]);

  std::vector<char*> argv, envp;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  std::string locale = "LC_ALL=C";
  for (char** e = environ; *e != nullptr; ++e)
    if (passed_on(*e)) envp.push_back(*e);
  envp.push_back(locale.data());
  envp.push_back(nullptr);

  SpawnSettings settings(writing.get());
  pid_t child = 0;
  const int refused = ::posix_spawn(&child, argv[0], &settings.actions, &settings.attributes, argv.data(), envp.data());
  if (refused != 0) return tl::unexpected(base::os_error(arguments[0], refused));
  writing.reset();

  Finished done;
  read_until_end(reading.get(), done.output);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return tl::unexpected(base::os_error(arguments[0] + ": wait"));
  done.exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return done;
}

}  // namespace skep::compile
