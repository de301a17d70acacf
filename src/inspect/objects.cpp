// Collecting from every inspector, and bpftool's ways of naming an object.
#include "inspect/objects.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

namespace skep::inspect {

World World::open() {
  World world;
  if (auto kernel = kernel_inspector()) {
    world.inspectors_.push_back(std::move(*kernel));
  } else {
    world.notes_.push_back("the kernel's objects are not shown: " + kernel.error().message);
  }
  for (auto& host : user_hosts()) world.inspectors_.push_back(std::move(host));
  return world;
}

namespace {

/// What an Inspector has for a kind of object.
template <class Info>
struct Kind;
template <>
struct Kind<ProgramInfo> {
  static constexpr std::string_view name = "program";
  static constexpr auto list = &Inspector::programs;
  static constexpr auto pinned = &Inspector::pinned_program;
};
template <>
struct Kind<MapInfo> {
  static constexpr std::string_view name = "map";
  static constexpr auto list = &Inspector::maps;
  static constexpr auto pinned = &Inspector::pinned_map;
};
template <>
struct Kind<LinkInfo> {
  static constexpr std::string_view name = "link";
  static constexpr auto list = &Inspector::links;
  static constexpr auto pinned = &Inspector::pinned_link;
};
template <>
struct Kind<BtfInfo> {
  static constexpr auto list = &Inspector::btfs;
};

}  // namespace

template <class Info>
std::vector<Found<Info>> World::collect() {
  std::vector<Found<Info>> all;
  for (auto& inspector : inspectors_) {
    auto infos = (inspector.get()->*Kind<Info>::list)();
    if (!infos) {
      note(infos.error().message);
      continue;
    }
    note(inspector->left_out());
    for (auto& info : *infos) all.push_back({std::move(info), inspector.get()});
  }
  return all;
}

void World::note(std::string text) {
  if (!text.empty() && std::ranges::find(notes_, text) == notes_.end()) notes_.push_back(std::move(text));
}

std::vector<Found<ProgramInfo>> World::programs() { return collect<ProgramInfo>(); }
std::vector<Found<MapInfo>> World::maps() { return collect<MapInfo>(); }
std::vector<Found<LinkInfo>> World::links() { return collect<LinkInfo>(); }
std::vector<Found<BtfInfo>> World::btfs() { return collect<BtfInfo>(); }

template <class Info>
Result<std::vector<Found<Info>>> World::all(const Handle& handle) {
  if (handle.by != Handle::By::pinned)
    return select(collect<Info>(), handle, Kind<Info>::name).map_error([&](Error error) {
      return explained(std::move(error));
    });
  // Nothing need be listed for what has a path.
  Error error = {Code::unsupported, fmt::format("{} {}: this process sees no kernel", Kind<Info>::name, handle.text())};
  for (auto& inspector : inspectors_) {
    auto info = (inspector.get()->*Kind<Info>::pinned)(handle.value);
    if (info) return std::vector<Found<Info>>{{std::move(*info), inspector.get()}};
    if (info.error().code != Code::unsupported) error = std::move(info.error());
  }
  return tl::unexpected(explained(std::move(error)));
}

template <class Info>
Result<Found<Info>> World::one(const Handle& handle) {
  auto found = SKEP_TRY(all<Info>(handle));
  if (found.size() == 1) return std::move(found.front());
  std::string ids;
  for (const auto& one : found) ids += fmt::format("{}{}", ids.empty() ? "" : ", ", one.info.id);
  return fail(Code::invalid_argument,
              fmt::format("{} {}s match {}: name one by id: {}", found.size(), Kind<Info>::name, handle.text(), ids));
}

Result<Found<ProgramInfo>> World::program(const Handle& handle) { return one<ProgramInfo>(handle); }
Result<Found<MapInfo>> World::map(const Handle& handle) { return one<MapInfo>(handle); }
Result<Found<LinkInfo>> World::link(const Handle& handle) { return one<LinkInfo>(handle); }
template Result<std::vector<Found<ProgramInfo>>> World::all(const Handle&);
template Result<std::vector<Found<MapInfo>>> World::all(const Handle&);
template Result<std::vector<Found<LinkInfo>>> World::all(const Handle&);

Error World::explained(Error error) const {
  if (error.code == Code::not_found)
    for (const std::string& note : notes_) error.message.append("; ").append(note);
  return error;
}

Result<Handle> Handle::parse(const std::vector<std::string>& words, std::size_t& position, std::string_view kind) {
  const bool program = kind == "program";
  const std::string ways = kind == "link" ? std::string("id N, pinned PATH")
                                          : fmt::format("id N, name NAME{}, pinned PATH", program ? ", tag TAG" : "");
  if (position >= words.size()) return fail(Code::invalid_argument, fmt::format("name a {}: {}", kind, ways));
  const std::string& way = words[position];
  Handle handle;
  const auto is_number = [&handle](const std::string& text) {
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, handle.id);
    return error == std::errc() && stop == end;
  };
  if (is_number(way)) {  // an id, as everywhere else on the page that showed it
    handle.value = way;
    ++position;
    return handle;
  }
  if (!is_way(way) || (way == "name" && kind == "link") || (way == "tag" && !program))
    return fail(Code::invalid_argument, fmt::format("'{}' does not name a {}: expected {}", way, kind, ways));
  if (position + 1 >= words.size())
    return fail(Code::invalid_argument, fmt::format("'{}' must be followed by a value: {}", way, ways));
  handle.value = words[position + 1];
  if (way == "id") {
    if (!is_number(handle.value))
      return fail(Code::invalid_argument, fmt::format("id '{}' is not a number", handle.value));
  } else if (way == "name") {
    handle.by = By::name;
  } else if (way == "tag") {
    handle.by = By::tag;
  } else {
    handle.by = By::pinned;
    std::error_code error;  // a directory that is gone: then nothing is pinned there
    const auto path = std::filesystem::absolute(handle.value, error).lexically_normal();
    if (!error) handle.value = path.native();
  }
  position += 2;
  return handle;
}

namespace {
constexpr std::string_view ways_to_name[] = {"id", "name", "tag", "pinned"};  // by Handle::By
}

bool Handle::is_way(std::string_view word) noexcept {
  return std::ranges::find(ways_to_name, word) != std::end(ways_to_name);
}

std::string Handle::text() const { return fmt::format("{} {}", ways_to_name[static_cast<int>(by)], value); }

namespace {

/// The kernel keeps 15 characters of a name; a longer one on the command line means the same object.
bool same_name(std::string_view kept, std::string_view asked) {
  return kept == asked || (kept.size() == 15 && asked.substr(0, 15) == kept);
}

bool pinned_at(const std::vector<std::string>& paths, const std::string& path) {
  return std::find(paths.begin(), paths.end(), path) != paths.end();
}

std::string describe(const ProgramInfo& info) { return info.name.empty() ? fmt::format("id {}", info.id) : info.name; }
std::string describe(const MapInfo& info) { return info.name.empty() ? fmt::format("id {}", info.id) : info.name; }
std::string describe(const LinkInfo& info) { return fmt::format("id {}", info.id); }

}  // namespace

bool Handle::matches(const ProgramInfo& info) const {
  switch (by) {
    case By::id:
      return info.id == id;
    case By::name:
      return same_name(info.name, value);
    case By::tag:
      return info.tag == value;
    case By::pinned:
      return pinned_at(info.pinned, value);
  }
  return false;
}

bool Handle::matches(const MapInfo& info) const {
  switch (by) {
    case By::id:
      return info.id == id;
    case By::name:
      return same_name(info.name, value);
    case By::tag:
      return false;
    case By::pinned:
      return pinned_at(info.pinned, value);
  }
  return false;
}

bool Handle::matches(const LinkInfo& info) const {
  return by == By::id ? info.id == id : by == By::pinned && pinned_at(info.pinned, value);
}

namespace {

Error nothing_pinned(std::string_view kind, const std::string& path) {
  std::error_code error;
  return {Code::not_found, fmt::format("no {} is pinned at {}: {}", kind, path,
                                       std::filesystem::exists(path, error)
                                           ? "the file is in no bpffs, or something else is pinned there"
                                           : "there is no such file")};
}

}  // namespace

template <class Info>
Result<std::vector<Found<Info>>> select(std::vector<Found<Info>> all, const Handle& handle, std::string_view kind) {
  std::string there_are;
  std::size_t named = 0;
  for (const auto& found : all) {
    if (++named > 12) continue;
    there_are.append(there_are.empty() ? "" : ", ").append(describe(found.info));
  }
  std::erase_if(all, [&](const Found<Info>& found) { return !handle.matches(found.info); });
  if (!all.empty()) return all;
  if (handle.by == Handle::By::pinned) return tl::unexpected(nothing_pinned(kind, handle.value));
  if (named == 0) return fail(Code::not_found, fmt::format("no {} with {}: none is loaded", kind, handle.text()));
  return fail(Code::not_found, fmt::format("no {} with {}; loaded: {}{}", kind, handle.text(), there_are,
                                           named > 12 ? fmt::format(" and {} more", named - 12) : ""));
}

template Result<std::vector<Found<ProgramInfo>>> select(std::vector<Found<ProgramInfo>>, const Handle&,
                                                        std::string_view);
template Result<std::vector<Found<MapInfo>>> select(std::vector<Found<MapInfo>>, const Handle&, std::string_view);
template Result<std::vector<Found<LinkInfo>>> select(std::vector<Found<LinkInfo>>, const Handle&, std::string_view);

}  // namespace skep::inspect
