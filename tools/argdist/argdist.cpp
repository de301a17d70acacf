// skep argdist: values at functions, tracepoints and static probes, counted or as histograms.
//
// The specifiers become one C program in BCC's dialect, as trace's probes do: it takes clang the first time, and the
// cache has it from then on. Each specifier has its map of counts (specifier.hpp says how keys are laid out).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "argdist/specifier.hpp"
#include "base/json_writer.hpp"
#include "compile/compile.hpp"
#include "kit/columns.hpp"
#include "kit/histogram.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view argdist_summary = "values at functions, tracepoints and static probes, counted or as histograms";

namespace {

struct DistOptions {
  std::vector<std::string> counts, histograms, includes;
  u32 string_bytes = 80, top = 0;
  int tid = 0;
  double interval_s = 1;
  u64 outputs = 0;
  bool verbose = false, cumulative = false;
  KeyLayout layout() const { return {(string_bytes + 7) / 8 * std::size_t{8}}; }
};

void add_options(Kit& kit, DistOptions& options) {
  auto& app = kit.options();
  kit.wants_pid();
  kit.wants_duration("-d,--duration");
  app.add_option("-C,--count", options.counts, "counts how often each value occurs")->allow_extra_args(false);
  app.add_option("-H,--histogram", options.histograms, "a histogram of the values")->allow_extra_args(false);
  app.add_option("-t,--tid", options.tid, "this thread only")->check(range(1, 1 << 22));
  app.add_option("-z,--string-size", options.string_bytes, "the most bytes of a string")
      ->check(range(1, 200))
      ->capture_default_str();
  app.add_option("-i,--interval", options.interval_s, "seconds between outputs")
      ->check(duration())
      ->capture_default_str();
  app.add_option("-n,--number", options.outputs, "number of outputs")->check(above_zero());
  app.add_flag("-v,--verbose", options.verbose, "prints the C program before it runs");
  app.add_flag("-c,--cumulative", options.cumulative, "goes on counting after each output");
  app.add_option("-T,--top", options.top, "only so many values of a count, the most frequent")->check(above_zero());
  app.add_option("-I,--include", options.includes, "one more header for types, such as linux/fs.h (repeatable)")
      ->allow_extra_args(false);
}

Result<std::vector<Specifier>> read_specifiers(const DistOptions& options) {
  std::vector<Specifier> out;
  for (const std::string& text : options.counts) out.push_back(SKEP_TRY(parse_specifier(text, false)));
  for (const std::string& text : options.histograms) out.push_back(SKEP_TRY(parse_specifier(text, true)));
  if (out.empty()) return fail(Code::invalid_argument, "say what to collect with -C or -H");
  return out;
}

Result<ObjectSpec> compile_specifiers(const Kit& kit, const std::vector<Specifier>& specifiers,
                                      const DistOptions& options) {
  std::string source = "#include <linux/ptrace.h>\n";
  for (const std::string& header : options.includes) source += fmt::format("#include <{}>\n", header);
  const WantedTask wanted{
      .pid = kit.in_kernel() ? kit.pid() : 0, .tid = options.tid, .of_tree = kit.in_kernel() && kit.has_command()};
  if (wanted.of_tree) source += tree_source();
  for (std::size_t i = 0; i < specifiers.size(); ++i)
    source += SKEP_TRY(generate(specifiers[i], i, options.layout(), wanted));
  if (options.verbose) fmt::print(stderr, "{}", source);
  compile::CompileOptions compiling;
  compiling.dialect = compile::Dialect::bcc;
  auto spec = SKEP_TRY(compile::load_text(source, "argdist.c", compiling));
  const auto aim = [&](std::string_view name, const ProbeText& place) -> Result<void> {
    ProgramSpec* program = spec.program(name);
    if (program == nullptr) return fail(Code::malformed, "the compiled program has no handler for a specifier");
    program->attach = SKEP_TRY(target_of(place, kit.pid()));
    program->type = program->attach.program_type();
    return {};
  };
  for (std::size_t i = 0; i < specifiers.size(); ++i) {
    ProbeText entry = specifiers[i].place;
    entry.type = 'p';
    const std::string begin = fmt::format("begin_{}", i);
    if (spec.program(begin) != nullptr) SKEP_TRY(aim(begin, entry));
    SKEP_TRY(aim(fmt::format("probe_{}", i), specifiers[i].place));
  }
  return spec;
}

/// One value of a key as people read it, and as JSON.
struct Value {
  std::string name, text;
  bool is_text = false;
};

std::vector<Value> values_of(const Specifier& specifier, std::span<const std::byte> key, std::size_t string_bytes) {
  std::vector<Value> out;
  u64 signs = 0;
  std::memcpy(&signs, key.data(), sizeof signs);
  std::size_t at = sizeof signs;
  for (std::size_t i = 0; i < specifier.values.size(); ++i) {
    const auto* begin = reinterpret_cast<const char*>(key.data() + at);
    if (specifier.is_text(i)) {
      out.push_back({specifier.shown(i), std::string(begin, ::strnlen(begin, string_bytes)), true});
      at += string_bytes;
      continue;
    }
    u64 number = 0;
    std::memcpy(&number, begin, sizeof number);
    out.push_back({specifier.shown(i),
                   (signs >> i & 1) != 0 ? std::to_string(static_cast<s64>(number)) : std::to_string(number)});
    at += sizeof number;
  }
  return out;
}

class Printer {
 public:
  Printer(Kit& kit, const std::vector<Specifier>& specifiers, const DistOptions& options)
      : kit_(kit), specifiers_(specifiers), options_(options) {}

  void print() {
    if (!kit_.json()) kit_.output().line(fmt::format("[{}]", clock_time()));
    for (std::size_t i = 0; i < specifiers_.size(); ++i) {
      const auto printed = specifiers_[i].is_histogram ? print_histogram(i) : print_counts(i);
      if (!printed) kit_.give_up(printed.error());
    }
  }

 private:
  Result<void> print_histogram(std::size_t number) {
    const Specifier& specifier = specifiers_[number];
    const std::string map = fmt::format("counts_{}", number);
    std::array<u64, 64> slots{};
    for (const auto& [slot, count] : SKEP_TRY(kit_.entries<u32, u64>(map)))
      if (slot < slots.size()) slots[slot] = count;
    if (!options_.cumulative) {
      const Map counts = SKEP_TRY(kit_.object().map(map));
      constexpr u64 zero = 0;
      for (u32 slot = 0; slot < slots.size(); ++slot)
        if (slots[slot] != 0)
          SKEP_TRY(counts.update(std::as_bytes(std::span(&slot, 1)), std::as_bytes(std::span(&zero, 1))));
    }
    const std::string& title = specifier.label.empty() ? specifier.text : specifier.label;
    if (kit_.json()) {
      print_log2(kit_.output(), slots, specifier.shown(0), "probe", title);
      return {};
    }
    if (specifier.label.empty()) kit_.output().line(printable(title));
    print_log2(kit_.output(), slots, specifier.label.empty() ? without_dollar(specifier.shown(0)) : specifier.label);
    return {};
  }

  Result<void> print_counts(std::size_t number) {
    const Specifier& specifier = specifiers_[number];
    std::vector<std::pair<u64, std::vector<Value>>> rows;
    const KeyLayout layout = options_.layout();
    const std::size_t key_bytes = layout.size_of(specifier);
    SKEP_TRY(kit_.read_entries(fmt::format("counts_{}", number), !options_.cumulative, key_bytes, sizeof(u64),
                               [&](const std::byte* key, const std::byte* value) {
                                 u64 count = 0;
                                 std::memcpy(&count, value, sizeof count);
                                 rows.emplace_back(count, values_of(specifier, {key, key_bytes}, layout.string_bytes));
                               }));
    std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
      const auto texts = [](const std::vector<Value>& values) {
        std::vector<std::string> out;
        for (const Value& one : values) out.push_back(one.text);
        return out;
      };
      return a.first != b.first ? a.first < b.first : texts(a.second) < texts(b.second);
    });
    if (options_.top != 0 && rows.size() > options_.top)
      rows.erase(rows.begin(), rows.end() - static_cast<std::ptrdiff_t>(options_.top));
    const std::string& title = specifier.label.empty() ? specifier.text : specifier.label;
    if (!kit_.json()) {
      kit_.output().line(printable(title));
      kit_.output().line(fmt::format("\t{:<10} {}", "COUNT", "EVENT"));
    }
    for (const auto& [count, values] : rows) kit_.json() ? print_json(title, count, values) : print_row(count, values);
    return {};
  }

  static std::string without_dollar(std::string text) { return text == "$retval" ? text.substr(1) : text; }

  void print_row(u64 count, const std::vector<Value>& values) {
    std::string event = values.empty() ? "total calls" : "";
    for (const Value& one : values)
      event += fmt::format("{}{} = {}", event.empty() ? "" : ", ", without_dollar(one.name), printable(one.text));
    kit_.output().line(fmt::format("\t{:<10} {}", count, event));
  }

  void print_json(const std::string& title, u64 count, const std::vector<Value>& values) {
    base::JsonWriter json(false);
    json.begin_object();
    json.member("probe", title);
    json.member("count", count);
    json.key("values");
    json.begin_object();
    for (const Value& one : values) {
      if (one.is_text)
        json.member(one.name, one.text);
      else if (one.text.starts_with('-'))
        json.member(one.name, static_cast<s64>(std::stoll(one.text)));
      else
        json.member(one.name, static_cast<u64>(std::stoull(one.text)));
    }
    json.end_object();
    json.end_object();
    kit_.output().line(json.text());
  }

  Kit& kit_;
  const std::vector<Specifier>& specifiers_;
  const DistOptions& options_;
};

}  // namespace

int argdist(const Arguments& arguments) {
  Kit kit(
      {.name = "argdist",
       .about =
           "Counts values at functions, tracepoints and static probes, or shows their distribution.\n"
           "A specifier: {p,r,t,u}:[LIBRARY|CATEGORY]:NAME(SIGNATURE)[:TYPE[,...]:EXPRESSION[,...][:FILTER]][#LABEL]\n"
           "p entry of a function, r its return ($retval, $entry(PARAMETER), $latency in ns), t a tracepoint\n"
           "(args->FIELD), u a static probe (arg1, arg2, ...). char* is a string; $pid, $tid, $uid, $COMM are known.",
       .examples = "  skep argdist -p 181 -C 'p:c:malloc(size_t size):size_t:size:size>=16'   # sizes, in process 181\n"
                   "  skep argdist -H 'r:c:read(int fd):u64:$latency/1000:$entry(fd)==0#us' -- cat   # time of reads\n"
                   "  skep argdist -C 'p:c:puts(char *text):char*:text' -i 10 -n 1   # texts, of ten seconds\n"
                   "  skep argdist -C 't:syscalls:sys_enter_openat():char*:args->filename' -- ls\n"
                   "  skep argdist -C 'u:/usr/bin/python3:function__return():char*:arg2' -T 5   # functions of Python\n"
                   "  skep argdist -C 'r:c:getaddrinfo(char *host):char*,int:$entry(host),$retval'",
       .user_engine = true,
       .compiled_at_run_time = true});
  DistOptions options;
  add_options(kit, options);
  if (auto status = kit.parse(arguments)) return *status;
  const auto specifiers = read_specifiers(options);
  if (!specifiers) return kit.complain(specifiers.error());
  auto spec = compile_specifiers(kit, *specifiers, options);
  if (!spec) return kit.complain(spec.error());
  kit.use(*std::move(spec));
  kit.print_every(options.interval_s);
  kit.end_after_outputs(options.outputs);
  Printer printer(kit, *specifiers, options);
  kit.on_summary([&] { printer.print(); });
  return kit.run();
}

}  // namespace skep::tools
