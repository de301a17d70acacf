// How soon a process that has something attached is gone, and how soon a new one knows its kernel's types; beside
// libbpf.
//
//   bench_exit [ROUNDS] [--json]
//
// Every round starts a new process for each engine and way to attach, in turn. It loads and attaches one program of the
// same object and says so; from the SIGINT that ends it until it is gone is what counts. Most of that time the kernel
// waits until nobody can be inside of what was attached, so the goal (10 ms) is one where the kernel allows it. For the
// types, a new process finds the offset of task_struct.pid as a CO-RE relocation asks for it (libbpf: the structure's
// number), and times it itself. libbpf is opened at run time (libbpf.so.1).
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <skep/backend.hpp>
#include <string>

#include "base/cpus.hpp"
#include "base/fd.hpp"
#include "base/mapped_file.hpp"
#include "btf/builder.hpp"
#include "btf/core.hpp"
#include "compile/compile.hpp"
#include "figures.hpp"
#include "kernel/kernel_types.hpp"
#include "libbpf.hpp"

/// What the uprobe stands on; nobody calls it.
extern "C" __attribute__((noinline, used, visibility("default"))) void bench_exit_marker() { asm volatile(""); }

namespace {

using namespace skep;
using bench::Libbpf;
using bench::median;
using bench::now_us;

struct Way {
  const char *name, *program;
  int times = 1;  ///< so many attachments of the same program
};
constexpr Way ways[] = {{"tracepoint", "on_tracepoint"},    {"raw tracepoint", "on_raw_tracepoint"},
                        {"perf event", "on_sample"},        {"uprobe", "on_function"},
                        {"ten uprobes", "on_function", 10}, {"control group", "on_packet"}};
constexpr int samples_a_second = 99;

// ---- in the process that is measured

void say(std::string_view text) { static_cast<void>(!::write(STDOUT_FILENO, text.data(), text.size())); }

void wait_for_interrupt(const sigset_t& signals) {
  say("attached\n");
  int signal = 0;
  ::sigwait(&signals, &signal);
}

AttachTarget target_of(std::string_view program, const std::string& cgroup, AttachTarget as_it_says) {
  if (program == "on_sample") return {AttachKind::perf_event, fmt::format("cpu-clock:{}hz", samples_a_second)};
  if (program == "on_packet") return {AttachKind::cgroup_skb_egress, cgroup};
  return as_it_says;
}

Result<void> live_by_skep(const std::string& file, const std::string& name, const std::string& cgroup, int times,
                          const sigset_t& signals) {
  const auto spec = SKEP_TRY(ObjectSpec::from_file(file));
  auto engine = SKEP_TRY(kernel_backend());
  LoadOptions options;
  options.programs = {name};
  auto object = SKEP_TRY(engine->load(spec, options));
  auto program = SKEP_TRY(object.program(name));
  std::vector<Link> links;
  for (int i = 0; i < times; ++i) links.push_back(SKEP_TRY(program.attach(target_of(name, cgroup, program.target()))));
  wait_for_interrupt(signals);
  detach_all(links);
  return {};
}

Result<std::vector<void*>> attach_samples(const Libbpf& lib, void* program) {
  std::vector<void*> links;
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = PERF_TYPE_SOFTWARE;
  attr.config = PERF_COUNT_SW_CPU_CLOCK;
  attr.sample_freq = samples_a_second;
  attr.freq = 1;
  for (const u32 cpu : base::online_cpus()) {
    const long event = ::syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
    if (event < 0) return tl::unexpected(base::os_error("perf_event_open"));
    links.push_back(lib.attach_perf_event(program, static_cast<int>(event)));
  }
  return links;
}

Result<void> live_by_libbpf(const std::string& file, const std::string& name, const std::string& cgroup, int times,
                            const sigset_t& signals) {
  const auto lib = SKEP_TRY(Libbpf::open());
  const auto bytes = SKEP_TRY(base::read_file(file));
  void* const object = lib.open_mem(bytes.data(), bytes.size(), nullptr);
  if (object == nullptr) return fail(Code::io, "libbpf does not open the object");
  for (void* program = lib.next_program(object, nullptr); program != nullptr;
       program = lib.next_program(object, program))
    lib.set_autoload(program, name == lib.program_name(program));
  if (lib.load(object) != 0) return fail(Code::io, "libbpf does not load the object");
  void* const program = lib.find_program(object, name.c_str());
  std::vector<void*> links;
  base::Fd group;
  if (name == "on_sample") {
    links = SKEP_TRY(attach_samples(lib, program));
  } else if (name == "on_packet") {
    group = base::Fd(::open(cgroup.c_str(), O_RDONLY | O_CLOEXEC));
    links.push_back(lib.attach_cgroup(program, group.get()));
  } else {
    for (int i = 0; i < times; ++i) links.push_back(lib.attach(program));
  }
  for (void* link : links)
    if (link == nullptr) return fail(Code::io, "libbpf does not attach the program");
  wait_for_interrupt(signals);
  for (void* link : links) lib.destroy(link);
  lib.close(object);
  return {};
}

Result<void> relocate_by_skep() {
  btf::Builder builder;
  const u32 int_id = builder.add_int("int", 4, btf::Builder::Encoding::signed_);
  const btf::Builder::NewMember member[] = {{"pid", int_id, 0}};
  const u32 task = builder.add_struct("task_struct", 4, member);
  const auto own = SKEP_TRY(builder.build());
  const double begin = now_us();
  const auto types = SKEP_TRY(kernel::KernelTypes::running());
  const auto value = SKEP_TRY(btf::resolve(*own, {.insn = 0, .type_id = task, .access = "0:0", .kind = 0}, *types));
  const double spent = now_us() - begin;
  if (!value.found || value.value == 0) return fail(Code::not_found, "this kernel's task_struct has no pid");
  say(fmt::format("{}\n", spent));
  return {};
}

Result<void> relocate_by_libbpf() {
  constexpr u32 kind_struct = 4;
  const auto lib = SKEP_TRY(Libbpf::open());
  const double begin = now_us();
  void* const types = lib.kernel_types();
  const int id = types == nullptr ? -1 : lib.find_type(types, "task_struct", kind_struct);
  const double spent = now_us() - begin;
  if (id <= 0) return fail(Code::not_found, "libbpf finds no task_struct");
  say(fmt::format("{}\n", spent));
  lib.free_types(types);
  return {};
}

/// bench_exit --as ENGINE PROGRAM FILE CGROUP TIMES; without a program the first relocation.
Result<void> live(char** words) {
  const std::string engine = words[0], program = words[1], file = words[2], cgroup = words[3];
  const int times = std::atoi(words[4]);
  const bool by_skep = engine == "skep";
  if (program.empty()) return by_skep ? relocate_by_skep() : relocate_by_libbpf();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  return by_skep ? live_by_skep(file, program, cgroup, times, signals)
                 : live_by_libbpf(file, program, cgroup, times, signals);
}

// ---- in the one that measures

/// What one process says in its first line, and how long it took from SIGINT until it was gone.
struct Life {
  std::string line;
  double exit_us = 0;
};

/// What a process is told to do.
struct Task {
  std::string program;  ///< "": the first relocation
  std::string file, cgroup;
  int times = 1;
};

Result<Life> one_life(const char* engine, const Task& task) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(base::os_error("pipe"));
  const base::Fd reader(ends[0]);
  base::Fd writer(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
  std::string words[] = {
      "bench_exit", "--as", engine, task.program, task.file, task.cgroup, fmt::to_string(task.times)};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int status = ::posix_spawn(&child, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (status != 0) return tl::unexpected(base::os_error("start a process", status));
  writer = base::Fd();
  Life life;
  for (char byte = 0; life.line.empty() || life.line.back() != '\n'; life.line += byte)
    if (::read(reader.get(), &byte, 1) != 1) break;
  const double begin = now_us();
  ::kill(child, SIGINT);
  int result = 0;
  ::waitpid(child, &result, 0);
  life.exit_us = now_us() - begin;
  const bool ended = WIFEXITED(result) && WEXITSTATUS(result) == 0;
  const bool interrupted = task.program.empty() && WIFSIGNALED(result);  // it had said what it knew
  if (life.line.empty() || (!ended && !interrupted))
    return fail(Code::io, fmt::format("{} {}: it failed", engine, task.program));
  return life;
}

/// A control group of our own, for as long as we run: below the machine's cgroup2 file system, or one mounted where
/// only we and our children see it.
class OwnGroup {
 public:
  OwnGroup() : path_(root() / fmt::format("skep-bench-{}", ::getpid())) {
    std::error_code error;  // the row is left out where it cannot be made
    std::filesystem::create_directory(path_, error);
  }
  ~OwnGroup() {
    ::rmdir(path_.c_str());
    if (mounted_.empty()) return;
    ::umount(mounted_.c_str());
    ::rmdir(mounted_.c_str());
  }
  OwnGroup(const OwnGroup&) = delete;
  OwnGroup& operator=(const OwnGroup&) = delete;
  const std::string& path() const { return path_.native(); }

 private:
  std::filesystem::path root() {
    std::ifstream mounts("/proc/mounts");
    for (std::string device, where, type, rest; mounts >> device >> where >> type && std::getline(mounts, rest);)
      if (type == "cgroup2") return where;
    auto own = std::filesystem::temp_directory_path() / fmt::format("skep-bench-mount-{}", ::getpid());
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mkdir(own.c_str(), 0700) != 0)
      return own;
    if (::mount("none", own.c_str(), "cgroup2", 0, nullptr) == 0)
      mounted_ = own;
    else
      ::rmdir(own.c_str());
    return own;
  }

  std::string mounted_;
  std::filesystem::path path_;
};

struct Row {
  std::string name;
  std::vector<double> skep, libbpf;
};

/// Both engines in turn; `value` of a life, in milliseconds.
template <class Value>
Result<Row> take_turns(const std::string& name, int rounds, const Task& task, Value value) {
  Row row{name, {}, {}};
  for (int round = 0; round < rounds; ++round) {
    row.skep.push_back(value(SKEP_TRY(one_life("skep", task))));
    row.libbpf.push_back(value(SKEP_TRY(one_life("libbpf", task))));
  }
  return row;
}

void report(const Result<Row>& row, const std::string& name, bench::Figures& figures, bool json) {
  if (!row) {
    figures.leave_out(name + ", ms", row.error().message);
    figures.leave_out(name + ", skep / libbpf", row.error().message);
    fmt::print(stderr, "bench_exit: {}: {}\n", name, row.error().message);
    return;
  }
  const double ours = median(row->skep), theirs = median(row->libbpf);
  figures.add(name + ", ms", ours);
  figures.add(name + ", skep / libbpf", ours / theirs);
  if (!json) fmt::print("{:32} {:10.2f} {:10.2f} {:8.2f}\n", name, ours, theirs, ours / theirs);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 7 && std::string_view(argv[1]) == "--as") {
    const auto lived = live(argv + 2);
    if (!lived) fmt::print(stderr, "bench_exit: {} {}: {}\n", argv[2], argv[3], lived.error().message);
    return lived ? 0 : 1;
  }
  int rounds = 21;
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--json")
      json = true;
    else
      rounds = std::max(3, std::atoi(argv[i]));
  }
  bench::Figures figures;
  const auto compiled = compile::compile_file(SKEP_BENCH_DIRECTORY "/programs/kernel_exit.bpf.c");
  const std::string file =
      fmt::format("{}/skep-bench-exit-{}.o", std::filesystem::temp_directory_path().native(), ::getpid());
  const auto written = compiled ? base::write_file_atomic(file, compiled->object) : tl::unexpected(compiled.error());
  if (!json) fmt::print("{:32} {:>10} {:>10} {:>8}\n", "medians, ms", "skep", "libbpf", "ratio");
  const auto spent = [](const Life& life) { return std::atof(life.line.c_str()) / 1e3; };
  report(take_turns("first relocation", rounds, {}, spent), "first relocation", figures, json);
  const OwnGroup group;
  for (const Way& way : ways) {
    const std::string name = fmt::format("exit, {}", way.name);
    const auto until_gone = [](const Life& life) { return life.exit_us / 1e3; };
    report(written ? take_turns(name, rounds, {way.program, file, group.path(), way.times}, until_gone)
                   : Result<Row>(tl::unexpected(written.error())),
           name, figures, json);
  }
  ::unlink(file.c_str());
  if (json) fmt::print("{}", figures.json());
  return 0;
}
