// What observing system calls costs: per traced openat and per untraced getppid, beside bare and strace.
//
//   bench_syscalls [ROUNDS] [--json]
//
// Every row runs in every round, one after the other, so that a machine that slows down slows all of them; a cell is
// the median over rounds of each run's median block. "same CPU" pins tracer and tracee to one CPU, "different" to two,
// "free" leaves both to the scheduler (and to the tracer's own placement). The openat fails (ENOENT), its path is read
// where the row says so. A traced call's cost is two context switches, so compare rows with each other, not with other
// machines. With --json: what each row adds on one CPU over what strace adds, for bench/check.py.
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <skep/backend.hpp>

#include "compile/compile.hpp"
#include "figures.hpp"
#include "hook/syscall_tracer.hpp"

using namespace skep;
using namespace skep::hook;

namespace {

struct Blocks {
  double median_ns = 0;
  double best_ns = 0;
};

struct Figures {
  Blocks openat;
  Blocks getppid;
};

double now_ns() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

/// The tracee: measures itself and writes its figures to a file.
int work(const char* output, int cpu) {
  pin(cpu);
  const auto blocks = [](int count, int calls, const auto& call) {
    std::vector<double> each;
    for (int block = 0; block < count; ++block) {
      const double begin = now_ns();
      for (int i = 0; i < calls; ++i) call();
      each.push_back((now_ns() - begin) / calls);
    }
    return Blocks{median(each), *std::min_element(each.begin(), each.end())};
  };
  Figures figures;
  figures.openat = blocks(25, 200, [] { ::syscall(SYS_openat, AT_FDCWD, "/skep-bench/none", O_RDONLY, 0); });
  figures.getppid = blocks(25, 5000, [] { ::syscall(SYS_getppid); });
  std::FILE* file = std::fopen(output, "w");
  if (file == nullptr) return 1;
  std::fprintf(file, "%f %f %f %f\n", figures.openat.median_ns, figures.openat.best_ns, figures.getppid.median_ns,
               figures.getppid.best_ns);
  return std::fclose(file);
}

struct Sink final : SyscallSink {
  bool reads = false;
  u64 read_bytes = 0;
  void on_event(SyscallEvent& event, helper::Task& task) noexcept override {
    char path[64];
    if (reads && !event.is_exit && task.read_user(path, event.args[1], 16) == 0) read_bytes += 16;
  }
};

struct Placement {
  const char* name;
  int tracer;
  int tracee;
};

struct Row {
  const char* key;  ///< in figures
  const char* name;
  std::function<bool(const std::vector<std::string>&)> run;
};

bool run_plain(const std::vector<std::string>& argv) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::vector<char*> pointers;
    for (const auto& argument : argv) pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    ::execvp(pointers[0], pointers.data());
    ::_exit(127);
  }
  int status = 0;
  return ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool run_traced(const std::vector<std::string>& argv, const SyscallInterest& interest, bool reads) {
  Sink sink;
  sink.reads = reads;
  auto tracer = SyscallTracer::start(argv, interest, sink);
  if (!tracer) return std::fprintf(stderr, "%s\n", tracer.error().message.c_str()), false;
  const auto result = (*tracer)->run();
  if (!result) std::fprintf(stderr, "%s\n", result.error().message.c_str());
  return result && result->wait_status == 0;
}

/// The same in the kernel: a tracepoint program that reads the path of one process's openat calls.
constexpr const char* in_kernel = R"(
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
int wanted;
struct enter { unsigned long long common, number, args[6]; };
SEC("tracepoint/syscalls/sys_enter_openat") int opens(struct enter *ctx) {
  char path[64];
  if (bpf_get_current_pid_tgid() >> 32 != wanted) return 0;
  bpf_probe_read_user_str(path, sizeof path, (void *)ctx->args[1]);
  return 0;
}
char LICENSE[] SEC("license") = "GPL";
)";

Result<bool> run_in_kernel(const std::vector<std::string>& argv) {
  const auto spec = SKEP_TRY(compile::load_text(in_kernel, "opens.bpf.c"));
  auto engine = SKEP_TRY(kernel_backend());
  auto object = SKEP_TRY(engine->load(spec));
  auto program = SKEP_TRY(object.program("opens"));
  const auto link = SKEP_TRY(program.attach());
  Result<void> told = {};
  Workload workload{.command = argv};
  workload.on_start = [&](int pid) {
    for (Map& map : object.maps())
      if (map.info().name.ends_with(".bss"))
        told = map.update(std::as_bytes(std::span("\0\0\0", 4)), std::as_bytes(std::span(&pid, 1)));
  };
  const auto result = SKEP_TRY(engine->run(workload));
  SKEP_TRY(std::move(told));
  return result.wait_status == 0;
}

bool run_kernel_engine(const std::vector<std::string>& argv) {
  const auto done = run_in_kernel(argv);
  if (!done) std::fprintf(stderr, "kernel engine: %s\n", done.error().message.c_str());
  return done && *done;
}

std::vector<Row> rows() {
  SyscallInterest entry, both, elsewhere;
  entry.enter.set(SYS_openat);
  both.enter.set(SYS_openat);
  both.exit.set(SYS_openat);
  elsewhere.enter.set(SYS_mount);
  SyscallInterest registers = entry;
  registers.needs_registers = true;
  std::vector<Row> rows = {
      {"bare", "bare", run_plain},
      {"filter", "filter only (nothing wanted happens)",
       [=](auto& argv) { return run_traced(argv, elsewhere, false); }},
      {"entry", "entry: user notification", [=](auto& argv) { return run_traced(argv, entry, false); }},
      {"entry with path", "entry: user notification, path read",
       [=](auto& argv) { return run_traced(argv, entry, true); }},
      {"entry by ptrace", "entry: ptrace (all registers), path read",
       [=](auto& argv) { return run_traced(argv, registers, true); }},
      {"entry and return", "entry + return: ptrace", [=](auto& argv) { return run_traced(argv, both, false); }},
      {"entry and return with path", "entry + return: ptrace, path read",
       [=](auto& argv) { return run_traced(argv, both, true); }},
  };
  if (kernel_backend() && run_kernel_engine({"true"}))
    rows.push_back({"kernel engine", "kernel engine: tracepoint, path read", run_kernel_engine});
  else
    std::fprintf(stderr, "left out: the kernel engine cannot be used here\n");
  if (run_plain({"sh", "-c", "strace --seccomp-bpf -f -o /dev/null true 2> /dev/null"}))
    rows.push_back({"strace", "strace -f -e trace=openat --seccomp-bpf", [](const auto& argv) {
                      std::vector<std::string> all = {"strace",        "-f", "-e",       "trace=openat",
                                                      "--seccomp-bpf", "-o", "/dev/null"};
                      all.insert(all.end(), argv.begin(), argv.end());
                      return run_plain(all);
                    }});
  else
    std::fprintf(stderr, "left out: strace --seccomp-bpf is not installed\n");
  return rows;
}

using FiguresOfRows = std::map<std::string, std::vector<Figures>>;

/// Median and best of a row over the rounds.
Blocks cell(const FiguresOfRows& figures, const Row& row, Blocks Figures::* call) {
  std::vector<double> medians;
  double best = 1e18;
  for (const Figures& one : figures.at(row.name)) {
    medians.push_back((one.*call).median_ns);
    best = std::min(best, (one.*call).best_ns);
  }
  return Blocks{median(medians), best};
}

void print_table(std::FILE* out, const std::vector<Row>& rows, const Placement& placement,
                 const FiguresOfRows& figures) {
  std::fprintf(out, "\n%-42s%9s %9s %9s   %9s %9s %9s\n", placement.name, "openat", "best", "added", "getppid", "best",
               "added");
  const Blocks bare_openat = cell(figures, rows.front(), &Figures::openat),
               bare_getppid = cell(figures, rows.front(), &Figures::getppid);
  for (const Row& row : rows) {
    const Blocks openat = cell(figures, row, &Figures::openat), getppid = cell(figures, row, &Figures::getppid);
    std::fprintf(out, "%-42s%6.2f us %6.2f us %6.2f us   %6.0f ns %6.0f ns %6.0f ns\n", row.name,
                 openat.median_ns / 1000, openat.best_ns / 1000, (openat.best_ns - bare_openat.best_ns) / 1000,
                 getppid.median_ns, getppid.best_ns, getppid.best_ns - bare_getppid.best_ns);
  }
}

/// What rows add to a traced openat over what strace adds to it, and an untraced getppid over one behind a bare filter:
/// of the best blocks, which other load reaches least.
bench::Figures added(const std::vector<Row>& rows, const FiguresOfRows& figures) {
  bench::Figures out;
  const auto added_ns = [&](const Row& row, Blocks Figures::* call) {
    return cell(figures, row, call).best_ns - cell(figures, rows.front(), call).best_ns;
  };
  const auto find = [&](std::string_view key) { return std::ranges::find(rows, key, &Row::key); };
  const auto strace = find("strace"), filter = find("filter");
  for (const char* key : {"entry", "entry with path", "entry by ptrace", "entry and return",
                          "entry and return with path", "kernel engine"}) {
    const auto row = find(key);
    const std::string name = std::string("openat, ") + key + " / strace";
    if (row == rows.end() || strace == rows.end())
      out.leave_out(
          name, row == rows.end() ? "the kernel engine cannot be used here" : "strace --seccomp-bpf is not installed");
    else
      out.add(name, added_ns(*row, &Figures::openat) / added_ns(*strace, &Figures::openat));
    if (row != rows.end() && std::string_view(key) == "entry and return with path")
      out.add("untraced getppid / behind a bare filter",
              cell(figures, *row, &Figures::getppid).best_ns / cell(figures, *filter, &Figures::getppid).best_ns);
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "--work") == 0) return work(argv[2], std::atoi(argv[3]));
  const bool json = argc > 1 && std::strcmp(argv[argc - 1], "--json") == 0;
  argc -= json;
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 5;
  char self[4096] = {};
  if (::readlink("/proc/self/exe", self, sizeof self - 1) < 0) return 1;
  char output[] = "/tmp/skep-bench-XXXXXX";
  const int fd = ::mkstemp(output);
  if (fd < 0) return 1;
  ::close(fd);

  const std::vector<Row> all = rows();
  std::vector<Placement> placements = {{"same CPU", 0, 0}, {"different CPUs", 0, 1}, {"free", -1, -1}};
  if (json) placements.resize(1);
  for (const Placement& placement : placements) {
    if (placement.tracee > 0 && ::sysconf(_SC_NPROCESSORS_ONLN) < 2) continue;
    FiguresOfRows figures;
    for (int round = 0; round < rounds; ++round) {
      for (const Row& row : all) {
        // A process of its own per run: pinning and everything else ends with it.
        const pid_t pid = ::fork();
        if (pid == 0) {
          pin(placement.tracer);
          ::_exit(row.run({self, "--work", output, std::to_string(placement.tracee)}) ? 0 : 1);
        }
        int status = 0;
        ::waitpid(pid, &status, 0);
        Figures one;
        std::FILE* file = status == 0 ? std::fopen(output, "r") : nullptr;
        const bool read =
            file != nullptr && std::fscanf(file, "%lf %lf %lf %lf", &one.openat.median_ns, &one.openat.best_ns,
                                           &one.getppid.median_ns, &one.getppid.best_ns) == 4;
        if (file != nullptr) std::fclose(file);
        if (!read) return std::fprintf(stderr, "%s: the run failed\n", row.name), 1;
        figures[row.name].push_back(one);
      }
    }
    print_table(json ? stderr : stdout, all, placement, figures);
    if (json) std::fputs(added(all, figures).json().c_str(), stdout);
  }
  ::unlink(output);
  return 0;
}
