// See fix_declarations.hpp. Whatever is guessed here is compiled and verified before anyone sees it.
#include "explain/fix_declarations.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "verify/c_line.hpp"

namespace skep::explain {

namespace c_line = verify::c_line;

namespace {

std::optional<u32> number_of(std::string_view text) {
  u32 number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// The length of an array that a line declares, as it is written: "ROOM" of `char buffer[ROOM];`.
std::string_view declared_length(std::string_view line) {
  line = c_line::trimmed(line);
  const auto open = line.find('['), close = line.find(']');
  const bool declares = open != std::string_view::npos && close != std::string_view::npos && open < close &&
                        line.find('=') > open && line.find('(') > open &&
                        line.rfind(' ', open) != std::string_view::npos;
  if (!declares || line.starts_with("return")) return {};
  return c_line::trimmed(line.substr(open + 1, close - open - 1));
}

/// A length, and the line that says what it is: the declaration's, or that of a #define.
struct Length {
  u32 line = 0, elements = 0;
};

std::optional<Length> length_at(const Source& source, u32 line) {
  const std::string_view text = declared_length(source.line(line));
  if (text.empty()) return std::nullopt;
  if (const auto number = number_of(text)) return Length{line, *number};
  const std::string definition = fmt::format("#define {} ", text);
  for (u32 n = 1; n <= source.size(); n++) {
    const std::string& l = source.line(n);
    if (!l.starts_with(definition)) continue;
    const auto number = number_of(c_line::trimmed(std::string_view(l).substr(definition.size())));
    return number ? std::optional(Length{n, *number}) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::vector<Source> smaller_buffers(const Source& source, const verify::Diagnosis& diagnosis, u32 line) {
  std::set<u32> lines{line};
  for (const verify::Event& e : diagnosis.events)
    if (e.source && e.source->line != 0 && e.source->line <= source.size()) lines.insert(e.source->line);
  std::optional<Length> largest;
  for (const u32 in : lines) {
    const auto function = source.function_at(in);
    for (u32 n = function ? function->body : 1; function && n <= function->end; n++)
      if (const auto length = length_at(source, n); length && (!largest || length->elements > largest->elements))
        largest = length;
  }
  std::vector<Source> found;
  if (!largest) return found;
  for (u32 elements = largest->elements / 2; elements >= largest->elements / 8 && elements != 0; elements /= 2) {
    const auto shorter =
        replaced(source.line(largest->line), fmt::format("{}", largest->elements), fmt::format("{}", elements));
    if (!shorter) break;
    found.push_back(source);
    found.back().replace(largest->line, *shorter);
  }
  return found;
}

std::vector<Source> other_map_type(const Source& source, std::string_view name, std::string_view call) {
  std::vector<std::string> members;
  if (call.starts_with("bpf_ringbuf_"))
    members = {"__uint(type, BPF_MAP_TYPE_RINGBUF);", "__uint(max_entries, 4096);"};
  else if (call == "bpf_perf_event_output" || call == "bpf_perf_event_read")
    members = {"__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);", "__uint(key_size, 4);", "__uint(value_size, 4);"};
  else if (call == "bpf_redirect_map")
    members = {"__uint(type, BPF_MAP_TYPE_DEVMAP);", "__uint(max_entries, 64);", "__uint(key_size, 4);",
               "__uint(value_size, 4);"};
  else if (call == "bpf_tail_call")
    members = {"__uint(type, BPF_MAP_TYPE_PROG_ARRAY);", "__uint(max_entries, 8);", "__uint(key_size, 4);",
               "__uint(value_size, 4);"};
  if (members.empty()) return {};
  const std::string end = fmt::format("}} {} SEC(\".maps\")", name);
  for (u32 n = 1; n <= source.size(); n++) {
    if (!source.line(n).starts_with(end)) continue;
    u32 begin = n;
    while (begin > 1 && source.line(begin - 1).find("struct {") == std::string::npos) begin--;
    if (begin == 1) return {};
    Source changed = source;
    const std::string indent = changed.indent(begin);
    for (u32 old = begin; old < n; old++) changed.erase(begin);
    for (auto member = members.rbegin(); member != members.rend(); ++member)
      changed.insert_before(begin, indent + *member);
    return {changed};
  }
  return {};
}

std::vector<Source> ended_function(const Source& source, const Source::Function& f, std::string_view give_up) {
  std::vector<Source> found;
  for (u32 n = f.body; n <= f.end; n++) {  // what the compiler was told never to come to
    const auto line = replaced(source.line(n), "__builtin_unreachable();", give_up);
    if (!line) continue;
    found.push_back(source);
    found.back().replace(n, *line);
  }
  for (u32 n = f.end; n > f.body; n--) {  // assembly: an exit behind its last line
    const std::string& line = source.line(n);
    const auto quote = line.rfind("\\n\"");
    if (quote == std::string::npos) continue;
    Source changed = source;
    changed.replace(n, line.substr(0, quote + 3));
    changed.insert_before(n + 1, fmt::format("{}\"exit\\n\"{}", source.indent(n), line.substr(quote + 3)));
    found.push_back(std::move(changed));
    break;
  }
  if (f.end > f.body) {
    found.push_back(source);
    found.back().insert_before(f.end, fmt::format("{}  {}", source.indent(f.end), give_up));
  }
  return found;
}

}  // namespace skep::explain
