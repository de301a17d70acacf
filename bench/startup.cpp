// Start to first event: how long a person waits between pressing return and the first line.
//
// Each contender runs as a whole process, its standard output a pipe; the clock starts before the spawn and
// stops when "Hello World!" has arrived. Contenders take turns, so a noisy machine disturbs them alike;
// medians are printed, with the peak memory of the largest process.
//
//   bench_startup SKEP EXAMPLES_DIRECTORY [ROUNDS] [--json]
//
// With --json: skep's times over those of its neighbours, for bench/check.py.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "figures.hpp"

extern char** environ;

namespace {

using Clock = std::chrono::steady_clock;

struct Contender {
  std::string name;
  std::vector<std::string> command;
  std::string marker = "Hello World!";
  const char* key = "";  ///< in figures; "": in the table only
  std::vector<double> first_ms = {};
  std::vector<double> whole_ms = {};
  long peak_kib = 0;
};

double since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  if (values.empty()) return -1;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// One run; false when the marker never came.
bool run_once(Contender& contender, bool count) {
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return false;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  if (contender.name.starts_with("strace")) ::posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 2);
  std::vector<char*> argv;
  for (auto& word : contender.command) argv.push_back(word.data());
  argv.push_back(nullptr);
  const auto begin = Clock::now();
  pid_t pid = 0;
  const int failed = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_fds[1]);
  if (failed != 0) {
    ::close(pipe_fds[0]);
    return false;
  }
  std::string seen;
  double first = -1;
  char buffer[4096];
  for (ssize_t got; (got = ::read(pipe_fds[0], buffer, sizeof buffer)) > 0;) {
    seen.append(buffer, static_cast<std::size_t>(got));
    if (first < 0 && seen.find(contender.marker) != std::string::npos) first = since(begin);
  }
  ::close(pipe_fds[0]);
  int status = 0;
  rusage usage{};
  ::wait4(pid, &status, 0, &usage);
  if (first < 0) return false;
  if (count) {
    contender.first_ms.push_back(first);
    contender.whole_ms.push_back(since(begin));
    contender.peak_kib = std::max(contender.peak_kib, usage.ru_maxrss);
  }
  return true;
}

/// Each way of running skep over strace and over a shell that says the same: of the fastest starts, which other load
/// reaches least.
skep::bench::Figures figures_of(const std::vector<Contender>& contenders, const std::vector<std::string>& absent) {
  skep::bench::Figures figures;
  for (const Contender& ours : contenders) {
    if (!std::string_view(ours.key).starts_with("skep")) continue;
    figures.add(fmt::format("{}, peak MiB", ours.key), static_cast<double>(ours.peak_kib) / 1024);
    for (const char* key : {"strace", "sh"}) {
      const auto base = std::ranges::find(contenders, std::string_view(key), &Contender::key);
      const auto name = fmt::format("{}, first event / {}", ours.key, key);
      if (base != contenders.end())
        figures.add(name, std::ranges::min(ours.first_ms) / std::ranges::min(base->first_ms));
      else
        figures.leave_out(name, fmt::format("{} is not installed or printed nothing", key));
    }
  }
  for (const auto& key : absent)
    if (key.starts_with("skep"))
      for (const char* what : {", peak MiB", ", first event / strace", ", first event / sh"})
        figures.leave_out(key + what, "it does not run here");
  return figures;
}

}  // namespace

int main(int argc, char** argv) {
  const bool json = argc > 1 && std::string_view(argv[argc - 1]) == "--json";
  argc -= json;
  if (argc < 3) {
    fmt::print(stderr, "usage: bench_startup SKEP EXAMPLES_DIRECTORY [ROUNDS] [--json]\n");
    return 2;
  }
  std::FILE* const out = json ? stderr : stdout;
  const std::string skep = argv[1], examples = argv[2];
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 21;
  const std::string object = fmt::format("/tmp/skep-bench-{}.o", ::getpid());
  if (std::system(fmt::format("'{}' compile '{}/hello.bpf.c' -o '{}'", skep, examples, object).c_str()) != 0) return 1;
  const std::vector<std::string> attach = {"--program", "hello", "--attach", "syscall:execve", "--", "/bin/true"};
  const auto with = [&](std::vector<std::string> head) {
    head.insert(head.end(), attach.begin(), attach.end());
    return head;
  };
  std::vector<Contender> contenders = {
      {.name = "skep run hello.o", .command = with({skep, "run", object}), .key = "skep"},
      {.name = "skep run hello.bpf.c, cached",
       .command = with({skep, "run", examples + "/hello.bpf.c"}),
       .key = "skep cached"},
      {.name = "skep run hello.o, kernel engine",
       .command = with({skep, "run", object, "--backend", "kernel"}),
       .key = "skep kernel"},
      {.name = "strace -f -e trace=execve",
       .command = {"strace", "-f", "-e", "trace=execve", "/bin/true"},
       .marker = "execve(",
       .key = "strace"},
      {.name = "bpftrace",
       .command = {"bpftrace", "-e", "tracepoint:syscalls:sys_enter_execve { printf(\"Hello World!\\n\"); }", "-c",
                   "/bin/true"}},
      {.name = "sh -c 'echo Hello World!'", .command = {"sh", "-c", "echo 'Hello World!'"}, .key = "sh"},
  };
  std::vector<std::string> absent;
  std::erase_if(contenders, [&](Contender& contender) {
    if (run_once(contender, false)) return false;
    fmt::print(out, "left out, it printed nothing here: {}\n", contender.name);
    absent.emplace_back(contender.key);
    return true;
  });
  for (int round = 0; round < rounds; ++round)
    for (auto& contender : contenders) run_once(contender, true);
  fmt::print(out, "{:<34} {:>14} {:>12} {:>10}\n", "contender", "first event ms", "whole ms", "peak MiB");
  for (auto& contender : contenders)
    fmt::print(out, "{:<34} {:>14.2f} {:>12.2f} {:>10.1f}\n", contender.name, median(contender.first_ms),
               median(contender.whole_ms), static_cast<double>(contender.peak_kib) / 1024);
  ::unlink(object.c_str());
  if (json) fmt::print("{}", figures_of(contenders, absent).json());
  return 0;
}
