// `skep map event_pipe`: the records of a perf event array or a ring buffer, as they come.
//
// Reading takes the records: a ring buffer has one reader, and a perf event array's slot one event. Whoever read them
// before gets nothing meanwhile, which `event_pipe` says when it starts.
#include <fmt/format.h>
#include <signal.h>
#include <time.h>

#include <atomic>

#include "map_words.hpp"

namespace skep::tools {

namespace {

std::atomic<bool> stopped = false;

void stop_on_signals() {
  struct sigaction action{};
  action.sa_handler = [](int) { stopped = true; };
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
}

/// Nanoseconds since boot: records themselves carry no time.
u64 now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

void print_record(const Record& record, const Words& words) {
  constexpr u64 second_ns = 1'000'000'000;
  const u64 time = now_ns();
  if (!words.json) {
    fmt::print("== @{}.{:09} CPU: {} index: {} =====\n{}\n", time / second_ns, time % second_ns, record.cpu, record.cpu,
               hex_text(record.data));
    return;
  }
  constexpr u64 perf_record_sample = 9;
  base::JsonWriter json(words.pretty);
  json.begin_object();
  json.member("type", perf_record_sample);
  json.member("cpu", record.cpu);
  json.member("index", record.cpu);
  json.member("timestamp", time);
  json.key("data");
  write_bytes(json, record.data);
  json.end_object();
  print(json);
}

}  // namespace

Result<int> map_event_pipe(Words& words) {
  auto opened = SKEP_TRY(open_map(words));
  std::optional<u32> cpu;
  if (words.take("cpu")) {
    const std::string text = words.next();
    if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos || text.size() > 6)
      return fail(Code::invalid_argument, fmt::format("cpu '{}' is not the number of a CPU", text));
    cpu = static_cast<u32>(std::stoul(text));
    if (words.take("index") && words.next() != text)
      return fail(Code::unsupported, "event_pipe reads the buffer of each CPU at the index of that CPU's number");
  }
  SKEP_TRY(words.end());
  auto ring = SKEP_TRY(opened.map.open_ring());
  note(fmt::format("reading map {}: its other readers get no records meanwhile; Ctrl-C ends", opened.info.name));
  stop_on_signals();
  u64 lost = 0;
  while (!stopped) {
    const auto got = ring.poll(std::chrono::milliseconds(200), [&](const Record& record) {
      if (!cpu || record.cpu == *cpu) print_record(record, words);
    });
    if (!got && stopped) break;
    SKEP_TRY(Result<std::size_t>(got));
    if (ring.lost() != lost) note(fmt::format("lost {} events", ring.lost() - lost));
    lost = ring.lost();
    std::fflush(stdout);
    if (std::ferror(stdout) != 0) break;  // the reader left
  }
  return 0;
}

}  // namespace skep::tools
