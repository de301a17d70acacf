// The verifier beside the kernel's, in the same run: time, instructions processed, states and memory of each program.
//
//   bench_verify [--json] [--rounds N] [--no-kernel] PLACE...      PLACE: an ELF object, or a folder of them
//
// Rules: the kernel's, so that both do the same work. Each program is verified N times (5) by either, in turn; the
// least time counts, since other load on the machine makes a run slower, never faster. Our time is the thread's
// computing time; the kernel's is its own "verification time" (log level 4, whole microseconds). Programs are loaded,
// never attached. Without the right to load (CAP_BPF), the kernel's columns stay empty.
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>

#include "backend/selection.hpp"
#include "base/json_writer.hpp"
#include "btf/btf.hpp"
#include "kernel/close.hpp"
#include "kernel/judge.hpp"
#include "verify/verify.hpp"

namespace {

using namespace skep;

struct Row {
  std::string name;
  std::size_t insns = 0;  ///< of the program
  bool accepted = false;
  u64 processed = 0, states = 0, state_bytes = 0;
  double time_us = 1e18;
  std::optional<kernel::KernelVerdict> kernel;

  bool kernel_accepted() const { return kernel->is_accepted(); }
};

struct Settings {
  bool json = false, ask_kernel = true;
  int rounds = 5;
  std::vector<std::string> objects;
};

std::vector<std::string> objects_in(const std::string& place) {
  std::set<std::string> found;
  if (!std::filesystem::is_directory(place)) return {place};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(place))
    if (entry.is_regular_file() && entry.path().extension() == ".o") found.insert(entry.path().string());
  return {found.begin(), found.end()};
}

Row measure(const std::string& object_name, const ProgramSpec& program, const ObjectSpec& object,
            const verify::Options& options, kernel::Judge* kernel, int rounds) {
  Row row;
  row.name = fmt::format("{}:{}", object_name, program.name);
  row.insns = program.insns.size();
  for (int round = 0; round < rounds; ++round) {
    if (const auto outcome = verify::verify(program, object, options)) {
      const auto& report = outcome->report;
      row.accepted = report.accepted;
      row.processed = report.insns_processed;
      row.states = report.states;
      row.state_bytes = report.state_bytes;
      row.time_us = std::min(row.time_us, static_cast<double>(report.time_ns) / 1e3);
    }
    if (kernel == nullptr) continue;
    auto work = kernel->judge(program);
    if (!work.is_judged()) continue;
    const double least = row.kernel ? std::min(row.kernel->time_us, work.time_us) : work.time_us;
    row.kernel = std::move(work);
    row.kernel->time_us = least;
  }
  return row;
}

std::vector<Row> measure_objects(const Settings& settings) {
  verify::Options options;
  options.rules = verify::Rules::kernel;
  options.possible_cpus = static_cast<u32>(sysconf(_SC_NPROCESSORS_CONF));
  if (auto types = btf::Btf::from_file("/sys/kernel/btf/vmlinux")) options.kernel_types = *types;
  kernel::KernelTypes types({});
  std::vector<Row> rows;
  for (const std::string& path : settings.objects) {
    const std::string name = std::filesystem::path(path).filename();
    auto spec = ObjectSpec::from_file(path);
    if (spec) spec = kernel::close_object(*spec);
    if (!spec) {
      fmt::print(stderr, "{}: left out: {}\n", path, spec.error().message);
      continue;
    }
    *spec = backend::without_pins(*std::move(spec));
    std::optional<kernel::Judge> kernel;
    if (settings.ask_kernel) {
      auto opened = kernel::Judge::open(*spec, types);
      if (opened)
        kernel.emplace(*std::move(opened));
      else
        fmt::print(stderr, "{}: the kernel is not asked: {}\n", path, opened.error().message);
    }
    for (const ProgramSpec& program : spec->programs)
      rows.push_back(measure(name, program, *spec, options, kernel ? &*kernel : nullptr, settings.rounds));
  }
  return rows;
}

/// Sums over the programs that both accept.
struct Sum {
  u32 programs = 0, near = 0, faster = 0, large = 0;
  u64 processed = 0, kernel_processed = 0;
  double time_us = 0, kernel_us = 0, log_ratio = 0;

  void add(const Row& row) {
    programs++;
    near += row.processed * 10 <= row.kernel->insns * 11 && row.processed * 10 >= row.kernel->insns * 9;
    processed += row.processed;
    kernel_processed += row.kernel->insns;
    time_us += row.time_us;
    kernel_us += row.kernel->time_us;
    constexpr u64 large_program = 1000;  // processed; below, the kernel's time is mostly not the exploration
    if (row.kernel->insns < large_program) return;
    large++;
    faster += row.time_us < row.kernel->time_us;
    log_ratio += std::log(row.kernel->time_us / row.time_us);
  }
};

void print_text(const std::vector<Row>& rows, const Sum& sum, u64 most_bytes) {
  fmt::print("{:<52} {:>6} {:>9} {:>9} {:>7} {:>7} {:>8} {:>10} {:>10} {:>6}\n", "program", "insns", "processed",
             "kernel", "states", "kernel", "KiB", "us", "kernel us", "ratio");
  for (const Row& row : rows) {
    fmt::print("{:<52} {:>6} {:>9} ", row.name, row.insns, row.processed);
    if (row.kernel)
      fmt::print("{:>9} {:>7} {:>7} {:>8} {:>10.1f} {:>10.0f} {:>6.2f}", row.kernel->insns, row.states,
                 row.kernel->states, row.state_bytes >> 10, row.time_us, row.kernel->time_us,
                 row.kernel->time_us / row.time_us);
    else
      fmt::print("{:>9} {:>7} {:>7} {:>8} {:>10.1f}", "", row.states, "", row.state_bytes >> 10, row.time_us);
    if (!row.accepted || (row.kernel && !row.kernel_accepted()))
      fmt::print("  {} here, {} by the kernel", row.accepted ? "accepted" : "refused",
                 !row.kernel             ? "unknown"
                 : row.kernel_accepted() ? "accepted"
                                         : "refused");
    fmt::print("\n");
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print("\n{} programs, states of one {} KiB at most, this process {} MiB\n", rows.size(), most_bytes >> 10,
             usage.ru_maxrss >> 10);
  if (sum.programs == 0) return;
  fmt::print(
      "accepted by both: {} programs, {} instructions processed (kernel {}), within a tenth in {} programs\n"
      "  {:.1f} ms (kernel {:.1f} ms, {:.2f} times as long); {:.3f} us for each instruction (kernel {:.3f})\n",
      sum.programs, sum.processed, sum.kernel_processed, sum.near, sum.time_us / 1e3, sum.kernel_us / 1e3,
      sum.kernel_us / sum.time_us, sum.time_us / static_cast<double>(sum.processed),
      sum.kernel_us / static_cast<double>(sum.kernel_processed));
  if (sum.large != 0)
    fmt::print("  of {} with 1000 processed or more, {} are faster here; geometric mean {:.2f} times\n", sum.large,
               sum.faster, std::exp(sum.log_ratio / sum.large));
}

void print_json(const std::vector<Row>& rows) {
  base::JsonWriter json;
  json.begin_array();
  for (const Row& row : rows) {
    json.begin_object();
    json.member("program", row.name);
    json.member("insns", static_cast<u64>(row.insns));
    json.member("accepted", row.accepted);
    json.member("processed", row.processed);
    json.member("states", row.states);
    json.member("state_bytes", row.state_bytes);
    json.member("time_ns", static_cast<u64>(row.time_us * 1e3));
    if (row.kernel) {
      json.member("kernel_accepted", row.kernel_accepted());
      json.member("kernel_processed", row.kernel->insns);
      json.member("kernel_states", row.kernel->states);
      json.member("kernel_peak_states", row.kernel->peak_states);
      json.member("kernel_time_ns", static_cast<u64>(row.kernel->time_us * 1e3));
    }
    json.end_object();
  }
  json.end_array();
  fmt::print("{}\n", json.text());
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  for (int a = 1; a < argc; ++a) {
    const std::string word = argv[a];
    if (word == "--json")
      settings.json = true;
    else if (word == "--no-kernel")
      settings.ask_kernel = false;
    else if (word == "--rounds" && a + 1 < argc)
      settings.rounds = std::max(1, std::atoi(argv[++a]));
    else
      for (auto& path : objects_in(word)) settings.objects.push_back(std::move(path));
  }
  if (settings.objects.empty()) {
    fmt::print(stderr, "usage: bench_verify [--json] [--rounds N] [--no-kernel] OBJECT|FOLDER...\n");
    return 2;
  }
  const auto rows = measure_objects(settings);
  Sum sum;
  u64 most_bytes = 0;
  for (const Row& row : rows) {
    most_bytes = std::max(most_bytes, row.state_bytes);
    if (row.accepted && row.kernel && row.kernel_accepted()) sum.add(row);
  }
  settings.json ? print_json(rows) : print_text(rows, sum, most_bytes);
  return 0;
}
