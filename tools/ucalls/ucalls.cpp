// skep ucalls: which methods a program in a high-level language calls, how often and how long.
#include "ucalls/ucalls.h"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/syscalls.hpp"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/runtime.hpp"

namespace skep::tools {

const std::string_view ucalls_summary = "calls of methods in high-level languages, and system calls, with their time";

namespace {

/// The probes of a runtime and their arguments (from 1; 0: none). Source: each language's own documentation of its
/// probes (HotSpot: "DTrace Probes in HotSpot VM"; CPython: "Instrumenting CPython with DTrace and SystemTap";
/// perldtrace; Ruby's doc/dtrace_probes; PHP: "DTrace"; Tcl: tclDTrace.d).
struct Language {
  std::string_view name, provider;
  std::array<std::string_view, 2> entries, returns, counted;  ///< the last: where calls are counted without times
  u32 class_argument, class_length, method_argument, method_length;
  std::string_view hint;  ///< what the runtime must be told
};
constexpr Language languages[] = {
    {"java",
     "hotspot",
     {"method__entry"},
     {"method__return"},
     {"method__entry"},
     2,
     3,
     4,
     5,
     "java -XX:+ExtendedDTraceProbes"},
    {"perl", "perl", {"sub__entry"}, {"sub__return"}, {"sub__entry"}, 2, 0, 1, 0, "a perl built with -Dusedtrace"},
    {"php",
     "php",
     {"function__entry"},
     {"function__return"},
     {"function__entry"},
     4,
     0,
     1,
     0,
     "a php built with --enable-dtrace, USE_ZEND_DTRACE=1"},
    {"python",
     "python",
     {"function__entry"},
     {"function__return"},
     {"function__return"},
     1,
     0,
     2,
     0,
     "a python built with --with-dtrace"},
    {"ruby",
     "ruby",
     {"method__entry", "cmethod__entry"},
     {"method__return", "cmethod__return"},
     {"method__entry", "cmethod__entry"},
     1,
     0,
     2,
     0,
     "a ruby built with --enable-dtrace"},
    {"tcl", "tcl", {"proc__entry"}, {"proc__return"}, {"proc__entry"}, 0, 0, 1, 0, "a tcl built with --enable-dtrace"},
};

struct CallOptions {
  std::string language, runtime;
  u32 top = 0;
  bool latency = false, system_calls = false, milliseconds = false;
};

void add_options(Kit& kit, CallOptions& options) {
  auto& app = kit.options();
  kit.wants_process_and_interval();
  app.add_option("-l,--language", options.language, "the language; without it that whose runtime is there")
      ->check(one_of({"java", "perl", "php", "python", "ruby", "tcl", "none"}));
  app.add_option("-T,--top", options.top, "only so many, the most frequent (with -L the longest)")->check(above_zero());
  app.add_flag("-L,--latency", options.latency, "the time from entry to return, too");
  app.add_flag("-S,--syscalls", options.system_calls, "system calls, too");
  app.add_flag("-m,--milliseconds", options.milliseconds, "times in milliseconds, not microseconds");
  app.add_option("--runtime", options.runtime, "the file that has the probes, where it is not found by itself");
}

struct Found {
  const Language* language = nullptr;  ///< none: system calls only
  std::vector<std::string> files;
};

Result<Found> find_runtime(const Kit& kit, const CallOptions& options) {
  if (options.language == "none") {
    if (!options.system_calls) return fail(Code::invalid_argument, "-l none leaves nothing to count: add -S");
    return Found{};
  }
  std::string hint;
  for (const Language& one : languages) {
    if (!options.language.empty() && options.language != one.name) continue;
    if (!options.runtime.empty()) {
      if (options.language.empty()) return fail(Code::invalid_argument, "--runtime takes -l LANGUAGE");
      return Found{&one, {options.runtime}};
    }
    auto files = SKEP_TRY(files_with_probes(one.provider, kit.pid(), kit.command()));
    if (!files.empty()) return Found{&one, std::move(files)};
    if (!options.language.empty()) hint = fmt::format(" (it takes {})", one.hint);
  }
  if (options.system_calls && options.language.empty()) return Found{};
  return fail(Code::not_found,
              fmt::format("no runtime with probes of {} was found in the program and its libraries{}; name it with "
                          "--runtime, or count system calls alone with -l none -S",
                          options.language.empty() ? "a known language" : options.language, hint));
}

struct Row {
  std::string name;
  u64 count, total_ns, untimed;
};

Result<std::vector<Row>> take_rows(Kit& kit, const CallOptions& options, bool has_language) {
  std::vector<Row> rows;
  if (has_language)
    for (const auto& [key, total] : SKEP_TRY((kit.entries<method_key, calls_total>("methods", true)))) {
      const std::string_view place = text(key.class_name), method = text(key.method);
      rows.push_back(
          {fmt::format("{}{}{}", place, place.empty() ? "" : ".", method), total.count, total.total_ns, total.untimed});
    }
  if (options.system_calls)
    for (const auto& [number, total] : SKEP_TRY((kit.entries<u32, calls_total>("calls", true)))) {
      const auto* call = catalog::syscall_row(number);
      rows.push_back({call != nullptr ? std::string(call->name) : fmt::format("[unknown: {}]", number), total.count,
                      total.total_ns, 0});
    }
  std::sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
    const auto weight = [&](const Row& row) { return options.latency ? row.total_ns : row.count; };
    return std::pair(weight(a), a.name) < std::pair(weight(b), b.name);
  });
  if (options.top != 0 && rows.size() > options.top)
    rows.erase(rows.begin(), rows.end() - static_cast<std::ptrdiff_t>(options.top));
  return rows;
}

void print_rows(Kit& kit, const CallOptions& options, bool has_language) {
  const auto rows = take_rows(kit, options, has_language);
  if (!rows) return kit.give_up(rows.error());
  Columns columns(kit.output(), {{"METHOD", "method", -50},
                                 {"# CALLS", "calls", 8},
                                 {options.milliseconds ? "TIME (ms)" : "TIME (us)",
                                  options.milliseconds ? "time_ms" : "time_us", 6, options.latency},
                                 {"", "untimed", 0, false}});
  if (!kit.json()) kit.output().line("");
  columns.heading();
  u64 untimed = 0;
  for (const Row& row : *rows) {
    untimed += row.untimed;
    columns.row({row.name, row.count,
                 Decimal{static_cast<double>(row.total_ns) / (options.milliseconds ? 1e6 : 1e3), 2}, row.untimed});
  }
  if (untimed > 0) note(fmt::format("of {} calls the runtime told only the return: their time is not known", untimed));
}

Result<void> attach_probes(Kit& kit, const Found& found, Object& object, bool latency, std::vector<Link>& links) {
  const auto attach = [&](std::string_view name, const std::array<std::string_view, 2>& probes) -> Result<void> {
    auto program = SKEP_TRY(object.program(name));
    for (const std::string& file : found.files)
      for (const std::string_view probe : probes)
        if (!probe.empty())
          kit.attach_one(program,
                         {.kind = AttachKind::usdt,
                          .target = fmt::format("{}:{}:{}", file, found.language->provider, probe),
                          .pid = kit.pid()},
                         links);
    return {};
  };
  if (!latency) return attach("method_counted", found.language->counted);
  SKEP_TRY(attach("method_enter", found.language->entries));
  return attach("method_exit", found.language->returns);
}

}  // namespace

int ucalls(const Arguments& arguments) {
  Kit kit({.name = "ucalls",
           .about = "Counts calls of methods in Java, Perl, PHP, Python, Ruby and Tcl, and system calls.\n"
                    "It stands on the static probes of the language's runtime.",
           .examples = "  skep ucalls -l java 185          # methods of Java in process 185, until Ctrl-C\n"
                       "  skep ucalls -l python 2020 1     # every second\n"
                       "  skep ucalls 185 -S               # system calls, too\n"
                       "  skep ucalls -l none -S 6712      # system calls only\n"
                       "  skep ucalls -L -T 10 1344        # the ten that take longest\n"
                       "  skep ucalls -mL -- /usr/bin/python3 script.py   # of a command",
           .user_engine = true,
           .kernel_first = true});
  CallOptions options;
  add_options(kit, options);
  if (auto status = kit.parse(arguments)) return *status;
  const auto found = find_runtime(kit, options);
  if (!found) return kit.complain(found.error());
  const Language* language = found->language;
  kit.set("with_latency", options.latency);
  if (language != nullptr) {
    kit.set("class_argument", language->class_argument);
    kit.set("class_length_argument", language->class_length);
    kit.set("method_argument", language->method_argument);
    kit.set("method_length_argument", language->method_length);
  }
  kit.only_if(language != nullptr && !options.latency, "method_counted");
  kit.only_if(language != nullptr && options.latency, "method_enter");
  kit.only_if(language != nullptr && options.latency, "method_exit");
  kit.only_if(options.system_calls && options.latency, "call_enter");
  kit.only_if(options.system_calls, "call_exit");
  kit.on_attach([&](Object& object, std::vector<Link>& links) {
    return language != nullptr ? attach_probes(kit, *found, object, options.latency, links) : Result<void>{};
  });
  kit.on_summary([&] { print_rows(kit, options, language != nullptr); });
  return kit.run([&] {
    if (kit.json() || kit.has_command()) return;
    kit.output().line(fmt::format("Tracing calls in process {} (language: {})... Ctrl-C to quit.", kit.pid(),
                                  language != nullptr ? language->name : "none"));
  });
}

}  // namespace skep::tools
