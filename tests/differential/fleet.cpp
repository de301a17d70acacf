// See fleet.hpp.
#include "fleet.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <vector>

namespace skep::differential {
namespace {

/// On one CPU, so that per-CPU maps are written in the same slots everywhere.
void stay_on_a_cpu(u32 worker) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  const int count = CPU_COUNT(&allowed);
  int nth = static_cast<int>(worker) % std::max(count, 1);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed) || nth-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

/// The tallies of all workers as one file.
void save(const std::string& path, const void* tallies, u64 bytes) {
  if (path.empty()) return;
  const std::string fresh = path + ".new";
  std::ofstream(fresh, std::ios::binary).write(static_cast<const char*>(tallies), static_cast<std::streamsize>(bytes));
  std::rename(fresh.c_str(), path.c_str());
}
bool restore(const std::string& path, void* tallies, u64 bytes) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in || static_cast<u64>(in.tellg()) != bytes) return false;
  in.seekg(0);
  in.read(static_cast<char*>(tallies), static_cast<std::streamsize>(bytes));
  return static_cast<bool>(in);
}

Progress& progress(const Fleet& fleet, u32 index) {
  return *reinterpret_cast<Progress*>(static_cast<char*>(fleet.tallies) + index * fleet.tally_bytes);
}

u64 cpu_seconds(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0) return 0;
  return static_cast<u64>(used.tv_sec);
}

/// A worker that computes and does not get on: one program takes milliseconds, making a failing one small some seconds.
/// Counted is its own time, so a busy machine ends nobody.
struct Watch {
  static constexpr u64 patience_s = 300;
  u64 next = ~u64{0}, since_s = 0;

  bool is_stuck(pid_t pid, u64 next_now) {
    const u64 now = cpu_seconds(pid);
    if (next_now != next) next = next_now, since_s = now;
    return now > since_s + patience_s;
  }
};

constexpr u32 tick_us = 20'000, ticks_per_second = 1'000'000 / tick_us;

}  // namespace

void Fleet::each_seed(u32 index, const std::function<void(u64 seed)>& one) const {
  stay_on_a_cpu(index);
  Progress& done = progress(*this, index);
  while (done.next < count) {
    done.current = first + done.next;
    one(done.current);
    done.next += processes;
  }
}

void Fleet::report() const {
  u64 done = 0;
  for (u32 i = 0; i < processes; i++) done += progress(*this, i).next / processes;
  fmt::print("{} of {} seeds done\n", std::min(done, count), count);
  std::fflush(stdout);
}

bool Fleet::run(const std::function<void(u32)>& work, const std::function<void(u32, u64, int)>& died) {
  const u64 bytes = processes * tally_bytes;
  tallies = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (tallies == MAP_FAILED) return std::perror("mmap"), false;
  if (state.empty() || !restore(state, tallies, bytes))
    for (u32 i = 0; i < processes; i++) progress(*this, i).next = i;
  else
    fmt::print("resumed from {}\n", state);
  fmt::print("seeds {} to {}\n", first, first + count - 1);
  std::fflush(stdout);
  std::vector<pid_t> workers(processes, 0);
  const auto start = [&](u32 i) {
    workers[i] = ::fork();
    if (workers[i] != 0) return;
    work(i);
    std::fflush(stdout);
    ::_exit(0);
  };
  for (u32 i = 0; i < processes; i++) start(i);
  std::vector<Watch> watches(processes);
  for (u32 running = processes, ticks = 0; running != 0; ticks++) {
    ::usleep(tick_us);
    if (ticks % (5 * ticks_per_second) == 0) save(state, tallies, bytes);
    if (ticks % ticks_per_second == 0)
      for (u32 i = 0; i < processes; i++)
        if (workers[i] > 0 && watches[i].is_stuck(workers[i], progress(*this, i).next)) ::kill(workers[i], SIGKILL);
    if (ticks % (60 * ticks_per_second) == 60 * ticks_per_second - 1) report();
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) continue;
    const auto index = static_cast<u32>(std::ranges::find(workers, pid) - workers.begin());
    if (index >= processes) continue;
    running--;
    workers[index] = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    Progress& lost = progress(*this, index);
    fmt::print("\nFAILURE seed {}: the worker died ({} {})\n", lost.current, WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    died(index, lost.current, status);
    std::fflush(stdout);
    lost.next = lost.current - first + processes;
    watches[index] = {};
    start(index);
    running++;
  }
  save(state, tallies, bytes);
  return true;
}

}  // namespace skep::differential
