// Which code sends over sockets: stacks of send(), counted, for one process (or all). As root.
// Run: ./send_stacks SECONDS [PID]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <skep/bcc.hpp>
#include <thread>

constexpr std::string_view program = R"(
#include <uapi/linux/ptrace.h>

struct key { int pid, stack; char comm[16]; };
BPF_STACK_TRACE(stacks, 4096);
BPF_HASH(counts, struct key, u64);

int on_send(struct pt_regs *ctx) {
  struct key key = {.pid = bpf_get_current_pid_tgid() >> 32};
  key.stack = stacks.get_stackid(ctx, BPF_F_USER_STACK);
  bpf_get_current_comm(key.comm, sizeof(key.comm));
  counts.increment(key);
  return 0;
}
)";

struct Key {
  int pid, stack;
  char comm[16];
};

skep::Result<void> count(int seconds, int pid) {
  auto bpf = SKEP_TRY(skep::bcc::Bpf::from_text(program));
  SKEP_TRY(bpf.attach_uprobe("libc.so.6", "send", "on_send", pid));
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  auto rows = SKEP_TRY(bpf.table<Key, uint64_t>("counts").items());
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [key, calls] : rows) {
    std::printf("%s (%d): %llu calls of send\n", key.comm, key.pid, static_cast<unsigned long long>(calls));
    for (const uint64_t address : bpf.stack("stacks", key.stack))
      std::printf("    %s\n", bpf.symbol(key.pid, address).c_str());
  }
  return {};
}

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: send_stacks SECONDS [PID]\n"), 2;
  const auto done = count(std::max(1, std::atoi(argv[1])), argc > 2 ? std::atoi(argv[2]) : 0);
  if (!done) std::fprintf(stderr, "send_stacks: %s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
