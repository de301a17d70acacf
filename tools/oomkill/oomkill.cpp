// skep oomkill: processes that the kernel ends because memory is used up.
#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/process.hpp"
#include "kit/screen.hpp"
#include "oomkill/oomkill.h"

namespace skep::tools {

const std::string_view oomkill_summary = "processes that the kernel ends because memory is used up";

namespace {

void print_json(Kit& kit, const oom_event& event, std::string_view victim) {
  base::JsonWriter json(false);
  json.begin_object();
  json.member("time", clock_time());
  json.member("trigger_pid", u64{event.trigger_pid});
  json.member("trigger_comm", text(event.trigger));
  json.member("victim_pid", u64{event.victim_pid});
  json.member("victim_comm", victim);
  if (event.pages != 0) json.member("pages", u64{event.pages});
  json.member("load_average", load_average());
  json.end_object();
  kit.output().line(json.text());
}

}  // namespace

int oomkill(const Arguments& arguments) {
  Kit kit({.name = "oomkill",
           .about = "Traces the kernel's out-of-memory killer: who needed memory, who was ended for it.",
           .examples = "  skep oomkill        # until Ctrl-C\n"
                       "  skep oomkill -j"});
  kit.wants_duration("-d,--duration");
  if (auto status = kit.parse(arguments)) return *status;
  kit.on_record<oom_event>("events", [&](const oom_event& event) {
    const std::string named(text(event.victim));
    const std::string victim = named.empty() ? comm_of(event.victim_pid) : named;
    if (kit.json()) return print_json(kit, event, victim);
    kit.output().line(fmt::format("{} Triggered by PID {} (\"{}\"), OOM kill of PID {} (\"{}\"), {} pages, loadavg: {}",
                                  clock_time(), event.trigger_pid, printable(text(event.trigger)), event.victim_pid,
                                  printable(victim), event.pages == 0 ? "?" : fmt::format("{}", event.pages),
                                  load_average()));
  });
  return kit.run([&] {
    if (!kit.json()) kit.output().line("Tracing OOM kills... Ctrl-C to stop.");
  });
}

}  // namespace skep::tools
