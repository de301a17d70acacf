// skep runqlen: how many tasks wait for a CPU, sampled.
#include <fmt/format.h>

#include <numeric>

#include "base/cpus.hpp"
#include "base/json_writer.hpp"
#include "kit/distribution.hpp"
#include "runqlen/runqlen.h"

namespace skep::tools {

const std::string_view runqlen_summary = "how many tasks wait for each CPU, sampled, as histograms";

namespace {

/// Percent of the samples in which somebody waited.
void print_occupancy(Kit& kit, const queue_lengths& lengths, const std::string& cpu) {
  const u64 all = std::accumulate(std::begin(lengths.samples), std::end(lengths.samples), u64{0});
  const double percent =
      all == 0 ? 0 : 100.0 * static_cast<double>(all - lengths.samples[0]) / static_cast<double>(all);
  if (!kit.json()) {
    kit.output().line(cpu.empty() ? fmt::format("runqocc: {:.2f}%", percent)
                                  : fmt::format("runqocc, CPU {:<3} {:6.2f}%", cpu, percent));
    return;
  }
  base::JsonWriter json(false);
  json.begin_object();
  if (!cpu.empty()) json.member("cpu", cpu);
  json.key("occupancy_percent");
  json.raw(fmt::format("{:.2f}", percent));
  json.member("samples", all);
  json.end_object();
  kit.output().line(json.text());
}

Result<void> print(Kit& kit, bool occupancy, bool each_cpu) {
  const Map map = SKEP_TRY(kit.object().map("lengths"));
  for (u32 cpu = 0; cpu < map.info().max_entries; ++cpu) {
    const auto lengths = SKEP_TRY(map.get<queue_lengths>(cpu));
    const queue_lengths none{};
    SKEP_TRY(map.update(std::as_bytes(std::span(&cpu, 1)), std::as_bytes(std::span(&none, 1))));
    const std::string label = each_cpu ? fmt::format("{}", cpu) : std::string();
    if (occupancy)
      print_occupancy(kit, lengths, label);
    else
      print_linear(kit.output(), slots_of(lengths.samples), "runqlen", each_cpu ? "cpu" : "", label);
  }
  return {};
}

}  // namespace

int runqlen(const Arguments& arguments) {
  Kit kit({.name = "runqlen",
           .about = "Samples the length of the CPUs' run queues, 99 times a second: tasks that wait, without the one "
                    "that runs.",
           .examples = "  skep runqlen          # one histogram, at Ctrl-C\n"
                       "  skep runqlen 1 10     # each second, ten times\n"
                       "  skep runqlen -T 1     # with the time\n"
                       "  skep runqlen -O       # how much of the time somebody waited\n"
                       "  skep runqlen -COT 1   # the same for each CPU"});
  bool time = false, occupancy = false, each_cpu = false;
  kit.wants_interval(0);
  kit.options().add_flag("-T,--timestamp", time, "the time above each output");
  kit.options().add_flag("-O,--runqocc", occupancy, "percent of the samples in which somebody waited");
  kit.options().add_flag("-C,--cpus", each_cpu, "for each CPU");
  if (auto status = kit.parse(arguments)) return *status;
  kit.set("each_cpu", each_cpu);
  if (each_cpu) kit.set_map_size("lengths", base::possible_cpus());
  kit.on_attach([](Object& object, std::vector<Link>& links) -> Result<void> {
    auto sample = SKEP_TRY(object.program("sample"));
    links.push_back(SKEP_TRY(sample.attach({AttachKind::perf_event, "cpu-clock:99hz"})));
    return {};
  });
  kit.on_summary([&] {
    begin_summary(kit, time);
    if (auto printed = print(kit, occupancy, each_cpu); !printed) kit.give_up(printed.error());
  });
  return kit.run([&] {
    if (!kit.json()) kit.output().line("Sampling run queue length... Hit Ctrl-C to end.");
  });
}

}  // namespace skep::tools
