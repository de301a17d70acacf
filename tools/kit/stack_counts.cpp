// See stack_counts.hpp.
#include "kit/stack_counts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/json_writer.hpp"
#include "kit/columns.hpp"

namespace skep::tools {

void StackCounts::add_common_options() {
  kit_.options().add_flag("-f,--folded", folded_, "one line for each stack, for flame graphs");
  kit_.options()
      .add_option("--stack-storage-size", storage_, "different stacks that are kept")
      ->capture_default_str()
      ->check(range(1, 1 << 20));
}

void StackCounts::add_options() {
  has_user_stacks_ = true;
  const Option user =
      kit_.options().add_flag("-U,--user-stacks-only", only_user_, "only the programs' part of the stacks");
  kit_.options().add_flag("-K,--kernel-stacks-only", only_kernel_, "only the kernel's part")->excludes(user);
  kit_.options().add_flag("-d,--delimited", delimited_, "a mark between the two parts");
  stacks_.add_options(kit_.options());
  kit_.options().add_option("--flame", flame_, "draws a flame graph into this file (SVG) instead of printing");
  add_common_options();
}

void StackCounts::apply() {
  kit_.set("with_kernel_stacks", !only_user_);
  kit_.set("with_user_stacks", !only_kernel_);
  kit_.set_map_size("stacks", storage_);
  if (folded_ || is_drawn()) stacks_.fold();
  if (is_drawn()) stacks_.mark_kernel();
  if (has_user_stacks_ && !only_kernel_) kit_.name_stacks_by(stacks_.symbolizer());
}

std::string_view StackCounts::kind() const { return only_user_ ? "user" : only_kernel_ ? "kernel" : "user + kernel"; }

std::vector<u64> StackCounts::addresses(s32 id) {
  if (id == -EFAULT) return {};
  if (id < 0) {
    ++missing_;
    is_full_ = is_full_ || id == -ENOMEM || id == -EEXIST;
    return {};
  }
  std::vector<u64> frames(STACK_FRAMES);
  const auto map = kit_.object().map("stacks");
  const auto key = static_cast<u32>(id);
  if (!map || !map->lookup_into(std::as_bytes(std::span(&key, 1)), std::as_writable_bytes(std::span(frames)))) {
    ++missing_;
    return {};
  }
  frames.erase(std::find(frames.begin(), frames.end(), 0), frames.end());
  return frames;
}

std::string StackCounts::kernel_name(u64 address) { return symbols::text(symbolizer().kernel(address)); }

StackCounts::Named StackCounts::names_of(const stack_key& key) {
  Named named;
  named.kernel = stacks_.kernel(addresses(key.kernel));
  named.user = stacks_.user(key.pid, addresses(key.user));
  named.has_kernel = key.kernel >= 0, named.has_user = key.user >= 0;
  if (key.kernel < 0 && key.kernel != -EFAULT) named.kernel = {{0, "[Missed Kernel Stack]"}};
  if (key.user < 0 && key.user != -EFAULT) named.user = {{0, "[Missed User Stack]"}};
  return named;
}

void StackCounts::print_folded(const stack_key& key, const Named& named, u64 count) {
  StackLines kernel = named.kernel;
  if (delimited_ && named.has_kernel && named.has_user) kernel.push_back({0, "-"});
  kit_.output().line(fmt::format("{} {}", folded(printable(text(key.comm)), named.user, kernel), count));
}

void StackCounts::print_lines(const stack_key& key, const Named& named, u64 count) {
  trace::Output& output = kit_.output();
  for (const StackLine& frame : named.kernel) output.line("    " + frame.name);
  if (delimited_ && named.has_kernel && named.has_user) output.line("    --");
  for (const StackLine& frame : named.user) output.line("    " + frame.name);
  output.line(fmt::format("    {:<16} {} ({})", "-", printable(text(key.comm)), key.tid));
  output.line(fmt::format("        {}", count));
  output.line("");
}

void StackCounts::print_json(const stack_key& key, const Named& named, u64 count, std::string_view unit) {
  base::JsonWriter json(false);
  json.begin_object();
  json.member("comm", text(key.comm));
  json.member("pid", u64{key.pid});
  json.member("tid", u64{key.tid});
  for (const auto& [part, lines] : {std::pair{"kernel", &named.kernel}, {"user", &named.user}}) {
    json.key(part);
    json.begin_array();
    for (const StackLine& line : *lines) json.string(line.name);
    json.end_array();
  }
  json.member(unit, count);
  json.end_object();
  kit_.output().line(json.text());
}

void StackCounts::print(std::vector<std::pair<stack_key, u64>> counted, std::string_view unit) {
  if (is_drawn()) return draw(counted, unit);
  std::sort(counted.begin(), counted.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (!folded_ && !kit_.json()) kit_.output().line("");
  for (const auto& [key, count] : counted) {
    const Named named = names_of(key);
    if (kit_.json())
      print_json(key, named, count, unit);
    else if (folded_)
      print_folded(key, named, count);
    else
      print_lines(key, named, count);
  }
}

void StackCounts::draw(const std::vector<std::pair<stack_key, u64>>& counted, std::string_view unit) {
  symbols::FoldedStacks stacks;
  for (const auto& [key, count] : counted) {
    const Named named = names_of(key);
    stacks.add(folded(text(key.comm), named.user, named.kernel), count);
  }
  if (auto drawn = tools::draw(stacks, flame_, fmt::format("{} stacks of {}", kind(), scope_words(kit_)), unit); !drawn)
    return kit_.give_up(drawn.error());
  note(fmt::format("{} stacks are drawn in {}", counted.size(), flame_));
}

void StackCounts::tell_missing() const {
  if (missing_ == 0) return;
  note(fmt::format("WARNING: {} stack traces lost and could not be displayed.{}", missing_,
                   is_full_ ? " Consider increasing --stack-storage-size." : ""));
}

std::string_view scope_words(const Kit& kit) {
  return kit.has_command() ? "the command" : kit.has_scope() ? "one process" : "all threads";
}

std::string duration_words(const Kit& kit) {
  return kit.duration_s() > 0 ? fmt::format(" for {} secs.", kit.duration_s()) : "... Hit Ctrl-C to end.";
}

}  // namespace skep::tools
