// How the time of each CPU is shared among processes, over some seconds. As root.
// Run: ./cpu_distribution [SECONDS]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <skep/bcc.hpp>
#include <thread>

constexpr std::string_view program = R"(
#include <linux/sched.h>

struct key { u32 cpu, pid; };
BPF_HASH(started, u32, u64);
BPF_HASH(spent, struct key, u64);

/* bool preempt, struct task_struct *prev, struct task_struct *next */
RAW_TRACEPOINT_PROBE(sched_switch) {
  u32 cpu = bpf_get_smp_processor_id();
  u64 now = bpf_ktime_get_ns(), *since = started.lookup(&cpu);
  struct key key = {.cpu = cpu, .pid = bpf_get_current_pid_tgid() >> 32};
  if (since) spent.increment(key, now - *since);
  started.update(&cpu, &now);
  return 0;
}
)";

struct Key {
  uint32_t cpu, pid;
};

skep::Result<void> measure(int seconds) {
  auto bpf = SKEP_TRY(skep::bcc::Bpf::from_text(program));
  SKEP_TRY(bpf.attach("raw_tracepoint__sched_switch", "raw_tracepoint:sched_switch"));
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  auto rows = SKEP_TRY(bpf.table<Key, uint64_t>("spent").items());
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return a.first.cpu != b.first.cpu ? a.first.cpu < b.first.cpu : a.second > b.second;
  });
  std::printf("%4s %8s %10s %7s\n", "CPU", "PID", "ms", "share");
  for (const auto& [key, ns] : rows)
    std::printf("%4u %8u %10.3f %6.2f%%\n", key.cpu, key.pid, static_cast<double>(ns) / 1e6,
                static_cast<double>(ns) / 1e7 / seconds);
  return {};
}

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 10;
  const auto done = measure(seconds);
  if (!done) std::fprintf(stderr, "cpu_distribution: %s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
