// The layout of BCC's histograms: a column of ranges, of counts, and bars of 40 places (20 where numbers are long).
#include "kit/histogram.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/json_writer.hpp"
#include "kit/columns.hpp"

namespace skep::tools {
namespace {

/// `width` places, stars in proportion, a plus where the bar would be longer.
std::string stars(u64 count, u64 most, std::size_t width) {
  const auto length = most == 0 ? 0
                                : static_cast<std::size_t>(static_cast<double>(count) * static_cast<double>(width) /
                                                           static_cast<double>(most));
  std::string bar(std::min(length, width), '*');
  bar.resize(width, ' ');
  return bar;
}

struct Bounds {
  u64 from, to;
};
Bounds log2_bounds(std::size_t slot) {
  return {slot == 0 ? 0 : u64{1} << slot, slot >= 63 ? ~u64{0} : (u64{2} << slot) - 1};
}

/// The slots that are printed: up to the last that counts.
std::span<const u64> counted(std::span<const u64> slots) {
  std::size_t end = slots.size();
  while (end > 0 && slots[end - 1] == 0) --end;
  return slots.first(end);
}

void write_json(trace::Output& output, std::span<const u64> slots, std::string_view unit, std::string_view name,
                std::string_view label, const auto& bounds) {
  base::JsonWriter json(false);
  json.begin_object();
  if (!name.empty()) json.member(name, label);
  json.member("unit", unit);
  json.key("histogram");
  json.begin_array();
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] == 0) continue;
    const Bounds b = bounds(i);
    json.begin_object();
    json.member("from", b.from);
    json.member("to", b.to);
    json.member("count", slots[i]);
    json.end_object();
  }
  json.end_array();
  json.end_object();
  output.line(json.text());
}

void label_line(trace::Output& output, std::string_view name, std::string_view label) {
  if (name.empty()) return;
  output.line("");
  output.line(fmt::format("{} = {}", name, printable(label)));
}

}  // namespace

void print_log2(trace::Output& output, std::span<const u64> all, std::string_view unit, std::string_view name,
                std::string_view label) {
  const auto slots = counted(all);
  if (output.json()) return write_json(output, slots, unit, name, label, log2_bounds);
  label_line(output, name, label);
  if (slots.empty()) return;
  const u64 most = *std::max_element(slots.begin(), slots.end());
  const bool wide = slots.size() > 32;  // numbers of more than ten digits
  const std::size_t width = wide ? 20 : 40, digits = wide ? 20 : 10;
  output.line(wide ? fmt::format("               {:<29} : count     distribution", unit)
                   : fmt::format("     {:<19} : count     distribution", unit));
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const Bounds b = log2_bounds(i);
    output.line(fmt::format("{:>{}} -> {:<{}} : {:<8} |{}|", b.from, digits, b.to, digits, slots[i],
                            stars(slots[i], most, width)));
  }
}

void print_linear(trace::Output& output, std::span<const u64> all, std::string_view unit, std::string_view name,
                  std::string_view label) {
  const auto slots = counted(all);
  if (output.json()) return write_json(output, slots, unit, name, label, [](std::size_t i) { return Bounds{i, i}; });
  label_line(output, name, label);
  if (slots.empty()) return;
  const u64 most = *std::max_element(slots.begin(), slots.end());
  output.line(fmt::format("     {:<13} : count     distribution", unit));
  for (std::size_t i = 0; i < slots.size(); ++i)
    output.line(fmt::format("        {:<10} : {:<8} |{}|", i, slots[i], stars(slots[i], most, 40)));
}

}  // namespace skep::tools
