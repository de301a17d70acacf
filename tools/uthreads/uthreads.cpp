// skep uthreads: threads that begin, of C programs and of Java.
#include "uthreads/uthreads.h"

#include <fmt/format.h>

#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/probes.hpp"
#include "kit/runtime.hpp"
#include "symbols/symbolizer.hpp"

namespace skep::tools {

const std::string_view uthreads_summary = "threads that begin, with the function or the name they have, of C and Java";

namespace {

/// pthread_create(): in the C library, before glibc 2.34 in a library of its own, or in the program itself.
Result<AttachTarget> thread_creation(const Kit& kit) {
  std::vector<std::string> places = {"c", "pthread"};
  if (kit.pid() != 0) places.push_back(fmt::format("/proc/{}/exe", kit.pid()));
  if (kit.has_command()) places.push_back(kit.command().front());
  for (const std::string& place : places)
    if (auto found = find_probes({.pattern = place + ":pthread_create", .pid = kit.pid()}))
      return std::move(found->front().target);
  return fail(Code::not_found, "pthread_create() is neither in the C library nor in the program");
}

Result<void> attach_java(Kit& kit, const std::vector<std::string>& files, Object& object, std::vector<Link>& links) {
  for (const std::string& file : files)
    for (const auto& [program, probe] : {std::pair("java_start", "thread__start"), {"java_stop", "thread__stop"}}) {
      auto handler = SKEP_TRY(object.program(program));
      kit.attach_one(handler,
                     {.kind = AttachKind::usdt, .target = fmt::format("{}:hotspot:{}", file, probe), .pid = kit.pid()},
                     links);
    }
  return {};
}

}  // namespace

int uthreads(const Arguments& arguments) {
  Kit kit({.name = "uthreads",
           .about = "Traces threads that begin: of pthread_create() with their function, of Java with their name.",
           .examples = "  skep uthreads 12245              # of process 12245\n"
                       "  skep uthreads -l java 185        # Java's own, with their names, and their ends\n"
                       "  skep uthreads -- ./server        # of a command, without privileges",
           .user_engine = true,
           .kernel_first = true});
  std::string language;
  kit.wants_process_and_interval();
  kit.options()
      .add_option("-l,--language", language, "java, or c (none is the same); without it what is there")
      ->check(one_of({"c", "java", "none"}));
  if (auto status = kit.parse(arguments)) return *status;
  if (kit.interval_s() > 0) return kit.complain("uthreads prints as it happens: there is no interval");
  std::vector<std::string> java;
  if (language.empty() || language == "java") {
    auto found = files_with_probes("hotspot", kit.pid(), kit.command());
    if (!found) return kit.complain(found.error());
    java = *std::move(found);
    if (java.empty() && language == "java") return kit.complain("no Java virtual machine with probes was found");
  }
  kit.only_if(!java.empty(), "java_start");
  kit.only_if(!java.empty(), "java_stop");
  kit.on_attach([&](Object& object, std::vector<Link>& links) -> Result<void> {
    const AttachTarget function = SKEP_TRY(thread_creation(kit));
    auto enter = SKEP_TRY(object.program("create_enter")), exit = SKEP_TRY(object.program("create_exit"));
    if (!kit.attach_pair(enter, exit, function, links))
      return fail(Code::unsupported, "no probe can be set on " + function.target);
    return attach_java(kit, java, object, links);
  });
  Columns columns(
      kit.output(),
      {{"TIME", "time_s", -8}, {"ID", "id", -16}, {"TYPE", "type", -8}, {"DESCRIPTION", "description", -30}});
  symbols::Symbolizer symbolizer;
  kit.name_stacks_by(symbolizer);
  kit.on_record<uthread_event>("events", [&](const uthread_event& event) {
    const bool is_java = event.kind != UTHREAD_PTHREAD;
    const u64 start = event.runtime_id;
    columns.row(
        {Decimal{seconds_since_start(event.time_ns), 3},
         is_java ? fmt::format("R={}/N={}", event.runtime_id, event.native_id) : std::to_string(event.native_id),
         event.kind == UTHREAD_START  ? "start"
         : event.kind == UTHREAD_STOP ? "stop"
                                      : "pthread",
         is_java ? std::string(text(event.name)) : symbols::text(symbolizer.user(event.pid, start), {.module = true})});
  });
  return kit.run([&] {
    if (!kit.json() && !kit.has_command())
      kit.output().line(fmt::format("Tracing thread events in process {} (language: {})... Ctrl-C to quit.", kit.pid(),
                                    java.empty() ? "c" : "java"));
    columns.heading();
  });
}

}  // namespace skep::tools
