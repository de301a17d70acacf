// skep prog profile --lines: how often each C line of a program in a file runs, in the user engine.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "backend/selection.hpp"
#include "base/mapped_file.hpp"
#include "base/printable.hpp"
#include "line_counter.hpp"
#include "map/map.hpp"
#include "prog_words.hpp"
#include "user/loaded.hpp"
#include "user/prepare.hpp"
#include "user/registry.hpp"
#include "user/test_run.hpp"

namespace skep::tools {

namespace {

struct LinesOptions {
  ProgramFile source;
  std::string program;
  TestRun run;
};

Result<LinesOptions> parse_line(Words& words) {
  LinesOptions options;
  options.source.file = words.next();
  if (options.source.file.empty()) return fail(Code::invalid_argument, "--lines: expected a source or object file");
  while (!words.done()) {
    const std::string word = words.next(), value = words.next();
    if (value.empty()) return fail(Code::invalid_argument, fmt::format("'{}' must be followed by a value", word));
    if (word == "program") {
      options.program = value;
    } else if (word == "input") {
      options.run.data = SKEP_TRY(base::read_file(value));
    } else if (word == "context") {
      options.run.context = SKEP_TRY(base::read_file(value));
    } else if (word == "repeat") {
      options.run.repeat = static_cast<u32>(std::min<u64>(SKEP_TRY(count_of(value, "repeat")), 0xffffffffu));
    } else {
      return fail(Code::invalid_argument, fmt::format("'{}': expected program, input, context or repeat", word));
    }
  }
  return options;
}

/// A line with its count: the largest of the blocks it has instructions in.
struct LineCount {
  SourceLine line;
  u32 insns = 0;
  std::optional<u64> count;
};

std::vector<LineCount> counts_of(const CountedProgram& counted, std::span<const u64> counters) {
  std::vector<LineCount> lines;
  for (const CountedLine& entry : counted.lines) {
    const bool same =
        !lines.empty() && lines.back().line.line == entry.line.line && lines.back().line.file == entry.line.file;
    if (!same) lines.push_back({entry.line, 0, std::nullopt});
    LineCount& line = lines.back();
    line.insns += entry.insns;
    if (entry.count) line.count = std::max(line.count.value_or(0), counters[*entry.count]);
  }
  return lines;
}

void print_lines(const std::vector<LineCount>& lines, u64 result) {
  std::string file;
  for (const LineCount& line : lines) {
    if (line.line.file != file) fmt::print("{}:\n", base::printable(file = line.line.file));
    const auto begin = line.line.text.find_first_not_of(" \t");
    fmt::print("{:>12} {:>5}  {}\n", line.count ? std::to_string(*line.count) : "?", line.line.line,
               begin == std::string::npos ? "" : base::printable_text(line.line.text.substr(begin)));
  }
  fmt::print("Return value: {}\n", result);
}

void print_json(const std::vector<LineCount>& lines, u64 result, bool pretty) {
  base::JsonWriter json(pretty);
  json.begin_object();
  json.member("retval", result);
  json.key("lines");
  json.begin_array();
  for (const LineCount& line : lines) {
    json.begin_object();
    json.member("file", line.line.file);
    json.member("line_num", line.line.line);
    json.member("src", line.line.text);
    json.member("insns", line.insns);
    json.key("count");
    line.count ? json.number(*line.count) : json.null();
    json.end_object();
  }
  json.end_array();
  json.end_object();
  print(json);
}

}  // namespace

Result<int> profile_lines(Words& words) {
  LinesOptions options = SKEP_TRY(parse_line(words));
  auto spec = SKEP_TRY(read_program_file(options.source));
  if (spec.programs.empty()) return fail(Code::invalid_argument, options.source.file + ": no program in this file");
  if (options.program.empty()) options.program = spec.programs.front().name;
  const auto selection = SKEP_TRY(backend::select_programs(spec, backend::with_tail_calls(spec, options.program), {}));
  const ObjectSpec prepared = SKEP_TRY(user::prepare(backend::only(spec, selection)));
  const CountedProgram counted = SKEP_TRY(count_lines(prepared, options.program));
  const auto object = SKEP_TRY(user::load_object(counted.object, std::make_shared<user::Registry>(), {}));
  const ProgramType type = object->programs.front()->facts.type;
  constexpr std::size_t plain_packet = 64;
  const bool takes_packet = type == ProgramType::xdp || type == ProgramType::sched_cls ||
                            type == ProgramType::sched_act || type == ProgramType::socket_filter ||
                            type == ProgramType::cgroup_skb;
  if (takes_packet && options.run.data.empty()) options.run.data.resize(plain_packet);
  const auto ran = SKEP_TRY(user::test_run(*object->programs.front()->function, options.run, nullptr));
  std::vector<u64> counters(counted.counters);
  if (!counters.empty())
    std::memcpy(counters.data(), object->maps.back()->map->direct_value(), counters.size() * sizeof(u64));
  const auto lines = counts_of(counted, counters);
  if (words.json)
    print_json(lines, ran.result, words.pretty);
  else
    print_lines(lines, ran.result);
  return 0;
}

}  // namespace skep::tools
