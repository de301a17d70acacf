// See events.hpp. Column widths are fixed from the types before the first record: rows arrive one by one.
#include "trace/events.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/json_writer.hpp"
#include "base/printable.hpp"
#include "btf/btf.hpp"
#include "btf/format_value.hpp"
#include "trace/fields.hpp"

namespace skep::trace {

struct EventDecoder::State {
  std::string map;
  bool per_cpu = false;
  std::shared_ptr<const btf::Btf> types;
  u32 type_id = 0;  ///< 0: records are shown as bytes
  std::vector<std::string> names;
  std::vector<std::size_t> widths;
  bool names_map = false;  ///< the first column says which map: rows of several maps come mixed
  bool heading_due = true;

  void print_row(const std::vector<std::string>& texts, Output& output) const;
};

namespace {

/// How wide a column of this type usually is.
std::size_t usual_width(const btf::Btf& types, u32 type_id) {
  const auto type = types.type(types.resolve(type_id));
  if (type.kind == btf::Kind::array) return std::min<std::size_t>(types.array(type).count, 16);
  const auto size = types.size_of(type_id);
  return size && *size <= 4 ? 7 : 16;
}

}  // namespace

EventDecoder::EventDecoder(const ObjectSpec& spec, const MapInfo& map) : state_(std::make_unique<State>()) {
  state_->map = map.name;
  state_->per_cpu = map.type == MapType::perf_event_array;
  // The kernel keeps 15 characters of a name: the spec has all of them.
  for (const auto& known : spec.maps) {
    if (known.type != map.type ||
        std::string_view(known.name).substr(0, 15) != std::string_view(map.name).substr(0, 15))
      continue;
    state_->map = known.name;
    state_->type_id = known.btf_value_type_id;
  }
  state_->types = spec.btf;
  if (state_->types == nullptr || state_->type_id >= state_->types->type_count()) state_->type_id = 0;
  if (state_->type_id == 0) return;
  state_->names = column_names(*state_->types, state_->type_id, "value");
  const auto type = state_->types->type(state_->types->resolve(state_->type_id));
  if (type.kind != btf::Kind::struct_) return;
  std::size_t longest = 0, rings = 0;
  for (const auto& known : spec.maps) {
    if (known.type != MapType::ringbuf && known.type != MapType::perf_event_array) continue;
    longest = std::max(longest, known.name.size());
    ++rings;
  }
  state_->names_map = rings > 1;
  if (state_->names_map) {
    state_->names.insert(state_->names.begin(), "map");
    state_->widths.push_back(longest);
  }
  for (const auto& member : state_->types->members(type))
    state_->widths.push_back(std::max(member.name.size(), usual_width(*state_->types, member.type_id)));
}

EventDecoder::~EventDecoder() = default;

void EventDecoder::State::print_row(const std::vector<std::string>& texts, Output& output) const {
  std::string line;
  for (std::size_t i = 0; i < texts.size(); ++i)
    line += i + 1 == texts.size() || i >= widths.size() ? texts[i] : fmt::format("{:<{}} ", texts[i], widths[i]);
  output.line(line);
}

void EventDecoder::print(const Record& record, Output& output) {
  // perf pads records to eight bytes: a record may be longer than its type, never shorter.
  std::string value;
  if (state_->type_id != 0) {
    auto formatted = btf::format_value(*state_->types, state_->type_id, record.data);
    if (formatted) value = std::move(*formatted);
  }
  if (output.json()) {
    base::JsonWriter json;
    json.begin_object();
    json.member("map", state_->map);
    if (state_->per_cpu) json.member("cpu", record.cpu);
    json.key("data");
    value.empty() ? json.string(hex(record.data)) : json.raw(value);
    json.end_object();
    output.line(json.text());
    return;
  }
  if (value.empty()) {
    output.line(fmt::format("{}: {}", state_->map, hex(record.data)));
    return;
  }
  if (std::exchange(state_->heading_due, false)) {
    auto names = state_->names;
    for (auto& name : names)
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
    state_->print_row(names, output);
  }
  auto texts = column_texts(*state_->types, state_->type_id, record.data);
  if (state_->names_map) texts.insert(texts.begin(), state_->map);
  state_->print_row(texts, output);
}

namespace {

/// The parts of `   comm-123 [000] ..... 12.345678: bpf_trace_printk: text`; text alone where it is shaped otherwise.
void write_trace_fields(base::JsonWriter& json, std::string_view line) {
  constexpr std::string_view marker = ": bpf_trace_printk: ";
  const auto at = line.find(marker);
  const auto bracket = line.find(" [");
  const auto task = line.substr(0, bracket == std::string_view::npos ? 0 : bracket);
  const auto dash = task.rfind('-');
  if (at == std::string_view::npos || dash == std::string_view::npos || bracket > at || at - bracket < 8)
    return json.member("text", line);
  const auto number = [](std::string_view text) {
    u64 value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  };
  const auto trim = [](std::string_view text) {
    while (text.starts_with(' ')) text.remove_prefix(1);
    while (text.ends_with(' ')) text.remove_suffix(1);
    return text;
  };
  const auto stamp_at = line.rfind(' ', at - 1);
  json.member("comm", trim(task.substr(0, dash)));
  json.member("pid", number(trim(task.substr(dash + 1))));
  json.member("cpu", number(line.substr(bracket + 2, 3)));
  json.member("time", line.substr(stamp_at + 1, at - stamp_at - 1));
  json.member("text", line.substr(at + marker.size()));
}

}  // namespace

void print_trace_line(const Record& record, Output& output) {
  const std::string_view line(reinterpret_cast<const char*>(record.data.data()), record.data.size());
  if (!output.json()) return output.line(base::printable_text(std::string(line)));  // it quotes names of files
  base::JsonWriter json;
  json.begin_object();
  json.key("trace");
  json.begin_object();
  write_trace_fields(json, line);
  json.end_object();
  json.end_object();
  output.line(json.text());
}

}  // namespace skep::trace
