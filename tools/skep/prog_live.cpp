// skep prog top, profile, tracelog: programs while they run.
//
// Counts of runs need neither hardware counters nor fentry: the kernel counts runs and their time itself while asked to
// (BPF_ENABLE_STATS), and user hosts always do. A sample is the difference of two listings. Cycles and their kind are
// read around each run by programs at its entry and return (kernel/profiler.hpp).
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "base/printable.hpp"
#include "kernel/control.hpp"
#include "kernel/profiler.hpp"
#include "prog_words.hpp"

namespace skep::tools {

namespace {

using Clock = std::chrono::steady_clock;

/// What one program did between two listings.
struct Activity {
  ProgramInfo info;  ///< as it is now
  double events_per_second = 0, ns_per_run = 0, cpu_percent = 0, missed_per_second = 0;
  s64 map_growth_bytes = 0;  ///< of the memory of its maps
};

struct Sample {
  Clock::time_point at;
  std::map<u32, ProgramInfo> programs;
  std::map<u32, u64> map_bytes;
};

Sample take_sample(inspect::World& world) {
  Sample sample;
  sample.at = Clock::now();
  for (auto& found : world.programs()) sample.programs.emplace(found.info.id, std::move(found.info));
  for (const auto& found : world.maps()) sample.map_bytes.emplace(found.info.id, found.info.bytes_memlock);
  return sample;
}

std::vector<Activity> compare(const Sample& before, const Sample& now) {
  const double seconds = std::max(1e-9, std::chrono::duration<double>(now.at - before.at).count());
  std::vector<Activity> rows;
  for (const auto& [id, info] : now.programs) {
    Activity& row = rows.emplace_back();
    row.info = info;
    const auto was = before.programs.find(id);
    const ProgramInfo none;
    const ProgramInfo& old = was == before.programs.end() ? none : was->second;
    const u64 runs = info.run_count - std::min(info.run_count, old.run_count);
    const u64 time = info.run_time_ns - std::min(info.run_time_ns, old.run_time_ns);
    row.events_per_second = static_cast<double>(runs) / seconds;
    row.ns_per_run = runs == 0 ? 0 : static_cast<double>(time) / static_cast<double>(runs);
    row.cpu_percent = static_cast<double>(time) / seconds / 1e9 * 100;
    row.missed_per_second =
        static_cast<double>(info.recursion_misses - std::min(info.recursion_misses, old.recursion_misses)) / seconds;
    for (const u32 map : info.map_ids) {
      const auto a = before.map_bytes.find(map), b = now.map_bytes.find(map);
      if (a != before.map_bytes.end() && b != now.map_bytes.end())
        row.map_growth_bytes += static_cast<s64>(b->second) - static_cast<s64>(a->second);
    }
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Activity& a, const Activity& b) {
    return std::pair(a.cpu_percent, a.events_per_second) > std::pair(b.cpu_percent, b.events_per_second);
  });
  return rows;
}

void write_rows(const std::vector<Activity>& rows, double seconds, bool pretty) {
  base::JsonWriter json(pretty);
  const auto number = [&](std::string_view key, double value) {
    json.key(key);
    json.raw(fmt::format("{:.3f}", value));
  };
  json.begin_object();
  number("seconds", seconds);
  json.key("programs");
  json.begin_array();
  for (const Activity& row : rows) {
    json.begin_object();
    json.member("id", row.info.id);
    json.member("type", name_of(row.info.type));
    json.member("name", row.info.name);
    number("events_per_second", row.events_per_second);
    number("ns_per_run", row.ns_per_run);
    number("cpu_percent", row.cpu_percent);
    number("missed_per_second", row.missed_per_second);
    json.member("map_growth_bytes", row.map_growth_bytes);
    json.member("run_cnt", row.info.run_count);
    json.member("run_time_ns", row.info.run_time_ns);
    if (row.info.host_pid != 0) json.member("pid", row.info.host_pid);
    json.end_object();
  }
  json.end_array();
  json.end_object();
  print(json);
}

void print_rows(const std::vector<Activity>& rows, bool screen) {
  constexpr std::size_t most_rows = 40;
  if (screen) fmt::print("\x1b[H\x1b[2J");
  fmt::print("{:>10}  {:<16} {:<20} {:>12} {:>10} {:>8} {:>9} {:>10}  {}\n", "ID", "TYPE", "NAME", "EVENTS/S", "NS/RUN",
             "CPU %", "MISSED/S", "MAPS +B", "WHERE");
  for (std::size_t i = 0; i < std::min(rows.size(), most_rows); ++i) {
    const Activity& row = rows[i];
    fmt::print("{:>10}  {:<16} {:<20.20} {:>12.1f} {:>10.0f} {:>8.3f} {:>9.1f} {:>10}  {}\n", row.info.id,
               name_of(row.info.type), base::printable(row.info.name), row.events_per_second, row.ns_per_run,
               row.cpu_percent, row.missed_per_second, row.map_growth_bytes,
               row.info.host_pid == 0 ? "kernel"
                                      : fmt::format("{} {}", base::printable(row.info.host_name), row.info.host_pid));
  }
  if (rows.size() > most_rows) fmt::print("... and {} more\n", rows.size() - most_rows);
  if (rows.empty()) fmt::print("no program is loaded\n");
}

/// Sleeps, and ends early when asked to stop.
void sleep_until(Clock::time_point end, const volatile bool& stopped) {
  while (!stopped && Clock::now() < end)
    std::this_thread::sleep_for(std::min<Clock::duration>(std::chrono::milliseconds(50), end - Clock::now()));
}

Result<double> seconds_of(const std::string& text, std::string_view what) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != 0 || !(value > 0) || value > 86400)
    return fail(Code::invalid_argument, fmt::format("{}: '{}' is not a number of seconds", what, text));
  return value;
}

/// The descriptor that keeps the kernel counting; without the right to it a note.
base::Fd count_in_kernel() {
  auto statistics = kernel::enable_statistics();
  if (statistics) return *std::move(statistics);
  note("programs of the kernel are not counted: " + statistics.error().message);
  return {};
}

}  // namespace

Result<int> prog_top(Words& words) {
  double interval = 1;
  u64 count = 0;
  while (!words.done()) {
    if (words.take("interval"))
      interval = SKEP_TRY(seconds_of(words.next(), "interval"));
    else if (words.take("count"))
      count = SKEP_TRY(count_of(words.next(), "count"));
    else
      SKEP_TRY(words.end());
  }
  const auto statistics = count_in_kernel();
  const volatile bool& stopped = stop_on_signals();
  const bool screen = !words.json && ::isatty(STDOUT_FILENO) != 0;
  const auto open = [] { return inspect::World::open(); };
  auto world = open();
  Sample before = take_sample(world);
  for (u64 shown = 0; !stopped && (count == 0 || shown < count); ++shown) {
    const auto length = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(interval));
    sleep_until(before.at + length, stopped);
    if (stopped) break;
    world = open();  // hosts come and go
    Sample now = take_sample(world);
    const auto rows = compare(before, now);
    if (words.json)
      write_rows(rows, std::chrono::duration<double>(now.at - before.at).count(), words.pretty);
    else
      print_rows(rows, screen);
    std::fflush(stdout);
    if (std::ferror(stdout) != 0) break;
    before = std::move(now);
  }
  return 0;
}

namespace {

struct Metric {
  std::string_view name;
  u64 ProgramInfo::* value;
};
constexpr Metric metrics[] = {{"run_cnt", &ProgramInfo::run_count},
                              {"run_time_ns", &ProgramInfo::run_time_ns},
                              {"recursion_misses", &ProgramInfo::recursion_misses}};

Result<ProgramInfo> info_now(NamedProgram& program) {
  for (auto& info : SKEP_TRY(program.where->programs()))
    if (info.id == program.info.id) return info;
  return fail(Code::not_found, fmt::format("program {} is gone", describe(program.info)));
}

/// What was asked for: counts that the kernel or a host keeps anyway, and counters that are read around each run.
struct Wanted {
  std::vector<Metric> metrics;
  std::vector<std::string> counters;
};

Result<Wanted> wanted_of(Words& words) {
  Wanted wanted;
  while (!words.done()) {
    const std::string name = words.next();
    const auto row =
        std::find_if(std::begin(metrics), std::end(metrics), [&](const Metric& m) { return m.name == name; });
    if (row != std::end(metrics)) {
      wanted.metrics.push_back(*row);
    } else if (const auto known = kernel::check_profile_counter(name); known) {
      wanted.counters.push_back(name);
    } else {
      return fail(Code::invalid_argument,
                  fmt::format("metric '{}': expected run_cnt, run_time_ns, recursion_misses; cycles, instructions, "
                              "l1d_loads, llc_misses, itlb_misses, dtlb_misses, or a counter by perf(1)'s name ({})",
                              name, known.error().message));
    }
  }
  if (wanted.metrics.empty() && wanted.counters.empty()) wanted.metrics.assign(std::begin(metrics), std::end(metrics));
  return wanted;
}

/// One line of the table, or one object of the array.
void tell_metric(base::JsonWriter& json, bool as_json, std::string_view name, u64 runs, u64 value) {
  if (as_json) {
    json.begin_object();
    json.member("metric", name);
    json.member("run_cnt", runs);
    json.member("value", value);
    json.end_object();
  } else if (name != "run_cnt") {
    fmt::print("{:>18} {:<20} # {:>10.1f} a run\n", value, name,
               runs == 0 ? 0.0 : static_cast<double>(value) / static_cast<double>(runs));
  }
}

void tell_counter(base::JsonWriter& json, bool as_json, std::string_view name, u64 runs,
                  const kernel::Profiler::Value& value) {
  if (as_json) {
    json.begin_object();
    json.member("metric", name);
    json.member("run_cnt", runs);
    json.member("value", value.counter);
    json.member("enabled", value.enabled);
    json.member("running", value.running);
    json.end_object();
    return;
  }
  const auto share = [](u64 part, u64 whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  fmt::print("{:>18} {:<20} # {:>10.1f} a run", value.counter, name, share(value.counter, runs));
  if (value.running < value.enabled)
    fmt::print("   (counted {:.1f} % of the time)", 100 * share(value.running, value.enabled));
  fmt::print("\n");
}

}  // namespace

Result<int> prog_profile(Words& words) {
  if (words.take("--lines")) return profile_lines(words);
  auto program = SKEP_TRY(find_program(words));
  std::optional<double> duration;
  if (words.take("duration")) duration = SKEP_TRY(seconds_of(words.next(), "duration"));
  const auto wanted = SKEP_TRY(wanted_of(words));
  base::Fd statistics;
  if (program.in_kernel() && !wanted.metrics.empty()) statistics = SKEP_TRY(kernel::enable_statistics());
  std::optional<kernel::Profiler> profiler;
  if (!wanted.counters.empty()) {
    SKEP_TRY(need_kernel(program, "reading counters around each run"));
    profiler = SKEP_TRY(kernel::Profiler::start(program.info.id, wanted.counters));
  }
  const volatile bool& stopped = stop_on_signals();
  const ProgramInfo before = SKEP_TRY(info_now(program));
  const auto begin = Clock::now();
  const double seconds = duration.value_or(86400);
  sleep_until(begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)), stopped);
  const ProgramInfo after = SKEP_TRY(info_now(program));
  const auto reading = profiler ? SKEP_TRY(profiler->read()) : kernel::Profiler::Reading();
  // Runs are counted by the kernel while statistics are kept; else those around which counters were read.
  const u64 runs = statistics || !program.in_kernel() ? after.run_count - before.run_count : reading.runs;
  base::JsonWriter json(words.pretty);
  json.begin_array();
  if (!words.json) fmt::print("\n{:>18} run_cnt\n", runs);
  for (const Metric& metric : wanted.metrics)
    tell_metric(json, words.json, metric.name, runs, after.*metric.value - before.*metric.value);
  for (std::size_t i = 0; i < wanted.counters.size(); ++i)
    tell_counter(json, words.json, wanted.counters[i], reading.runs, reading.values[i]);
  json.end_array();
  if (words.json) print(json);
  return 0;
}

namespace {

/// What waits in one of a program's own streams.
Result<int> print_stream(Words& words) {
  const std::string which = words.next();
  if (which != "stdout" && which != "stderr")
    return fail(Code::invalid_argument,
                fmt::format("tracelog '{}': expected nothing, or stdout or stderr and a program", which));
  const auto program = SKEP_TRY(find_program(words));
  SKEP_TRY(words.end());
  SKEP_TRY(need_kernel(program, "a program's own stream"));
  const auto stream =
      which == "stdout" ? kernel::ProgramStream::standard_output : kernel::ProgramStream::standard_error;
  const std::string text = SKEP_TRY(kernel::read_stream(program.info.id, stream));
  words.json ? fmt::print("{}\n", base::json_quote(text)) : fmt::print("{}", base::printable_text(text));
  return 0;
}

}  // namespace

Result<int> prog_tracelog(Words& words) {
  if (!words.done()) return print_stream(words);
  auto engine = SKEP_TRY(kernel_backend());
  auto pipe = SKEP_TRY(engine->open_trace_pipe());
  const volatile bool& stopped = stop_on_signals();
  while (!stopped) {
    const auto got = pipe.poll(std::chrono::milliseconds(200), [&](const Record& record) {
      const std::string_view line(reinterpret_cast<const char*>(record.data.data()), record.data.size());
      words.json ? fmt::print("{{\"trace\":{}}}\n", base::json_quote(line))
                 : fmt::print("{}\n", base::printable_text(std::string(line)));
    });
    if (!got && stopped) break;
    SKEP_TRY(Result<std::size_t>(got));
    std::fflush(stdout);
    if (std::ferror(stdout) != 0) break;
  }
  return 0;
}

}  // namespace skep::tools
