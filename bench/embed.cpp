// What the engine costs a program that hosts it: bytes of the program, and time until the first result.
//
//   bench_embed [ROUNDS] [--json]
//
// bench_first, which lies beside this program, is such a host. It is started many times, in turns with a process that
// does nothing (/bin/true); the clock begins before the spawn, as a person would count. "In the process" begins at
// main(), with the object file in memory. Medians and the fastest starts are shown; figures are the fastest, which
// other load reaches least.
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.hpp"
#include "compile/compile.hpp"
#include "figures.hpp"

extern char** environ;

namespace skep::bench {
namespace {

/// A filter as hosts have it: bounds, a map, a decision.
constexpr const char* filter = R"(
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, unsigned); __type(value, long); } seen SEC(".maps");
SEC("xdp") int decide(struct xdp_md *ctx) {
  unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
  if (data + 34 > end) return XDP_ABORTED;
  unsigned key = *(unsigned *)(data + 26);
  long one = 1, *count = bpf_map_lookup_elem(&seen, &key);
  if (count) __sync_fetch_and_add(count, 1);
  else bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
  return data[23] == 17 ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
)";

double now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// Runs a program; its output, or the reason. `spawned_ns`: before it was started; `gone_ns`: when it had ended.
Result<std::string> run(std::vector<std::string> words, double& spawned_ns, double& gone_ns) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(Code::io, "pipe2");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  spawned_ns = now_ns();
  const int failed = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string text(256, '\0');
  const auto got = failed == 0 ? ::read(ends[0], text.data(), text.size()) : 0;
  ::close(ends[0]);
  int status = 0;
  if (failed == 0) ::waitpid(pid, &status, 0);
  gone_ns = now_ns();
  if (failed != 0 || status != 0)
    return fail(Code::io, fmt::format("{}: {}", words[0], failed != 0 ? ::strerror(failed) : "it failed"));
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

/// Bytes that the program takes in a file without symbols: its loaded segments.
Result<u64> loaded_bytes(const std::string& path) {
  const auto file = SKEP_TRY(base::read_file(path));
  Elf64_Ehdr header;
  if (file.size() < sizeof header) return fail(Code::malformed, path + " is no ELF file");
  std::memcpy(&header, file.data(), sizeof header);
  u64 bytes = 0;
  for (u32 i = 0; i < header.e_phnum && header.e_phoff + (i + 1) * sizeof(Elf64_Phdr) <= file.size(); ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, file.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_type == PT_LOAD) bytes += segment.p_filesz;
  }
  return bytes;
}

struct Times {
  std::vector<double> nothing, main, in_process, result;
};

Result<Times> measure(const std::string& host, const std::string& object, int rounds) {
  Times times;
  for (int round = -2; round < rounds; ++round) {  // the first two bring the files into memory
    double spawned = 0, gone = 0, spawned_true = 0, gone_true = 0;
    SKEP_TRY(run({"/bin/true"}, spawned_true, gone_true));
    const auto text = SKEP_TRY(run({host, object}, spawned, gone));
    long long begin = 0, read = 0, end = 0;
    if (std::sscanf(text.c_str(), "%lld %lld %lld", &begin, &read, &end) != 3)
      return fail(Code::malformed, fmt::format("{} printed '{}'", host, text));
    if (round < 0) continue;
    times.nothing.push_back((gone_true - spawned_true) / 1e6);
    times.main.push_back((static_cast<double>(begin) - spawned) / 1e6);
    times.in_process.push_back(static_cast<double>(end - read) / 1e6);
    times.result.push_back((static_cast<double>(end) - spawned) / 1e6);
  }
  return times;
}

Result<int> run(int rounds, bool json) {
  const auto host = (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "bench_first").native();
  const double megabytes = static_cast<double>(SKEP_TRY(loaded_bytes(host))) / 1e6;
  char object[] = "/tmp/skep-bench-XXXXXX";
  const int fd = ::mkstemp(object);
  if (fd < 0) return fail(Code::io, "cannot make a file in /tmp");
  ::close(fd);
  const auto compiled = compile::compile_text(filter, "decide.bpf.c");
  const auto written = compiled ? base::write_file_atomic(object, compiled->object) : Result<void>{};
  const auto times = compiled && written ? measure(host, object, rounds) : Result<Times>{};
  ::unlink(object);
  SKEP_TRY(compiled);
  SKEP_TRY(written);
  const Times all = SKEP_TRY(times);
  std::FILE* const out = json ? stderr : stdout;
  fmt::print(out, "a host with the engine linked in, without symbols: {:.2f} MB\n\n{:<48} {:>8} {:>8}\n", megabytes,
             "ms", "median", "fastest");
  const auto row = [&](const char* name, const std::vector<double>& ms) {
    fmt::print(out, "{:<48} {:>8.2f} {:>8.2f}\n", name, median(ms), std::ranges::min(ms));
  };
  row("a process that does nothing, spawn to end", all.nothing);
  row("spawn to main()", all.main);
  row("object in memory to first result", all.in_process);
  row("spawn to first result", all.result);
  Figures figures;
  figures.add("host, MB", megabytes);
  figures.add("object in memory to first result, ms", std::ranges::min(all.in_process));
  figures.add("spawn to first result, ms", std::ranges::min(all.result));
  figures.add("spawn to first result / a process that does nothing",
              std::ranges::min(all.result) / std::ranges::min(all.nothing));
  if (json) fmt::print("{}", figures.json());
  return 0;
}

}  // namespace
}  // namespace skep::bench

int main(int argc, char** argv) {
  const bool json = argc > 1 && std::string_view(argv[argc - 1]) == "--json";
  argc -= json;
  const auto status = skep::bench::run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 41, json);
  if (status) return *status;
  fmt::print(stderr, "bench_embed: {}\n", status.error().message);
  return 2;
}
