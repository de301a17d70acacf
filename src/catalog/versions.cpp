// The rows of versions.def, and the last column of the tables of types, as look-ups.
#include "catalog/versions.hpp"

#include <fmt/format.h>

namespace skep::catalog {
namespace {

constexpr Version parse(std::string_view text) {
  if (!text.empty() && text[0] == 'v') text.remove_prefix(1);
  Version parts[2] = {};
  std::size_t at = 0;
  for (int part = 0; part < 2; part++) {
    const std::size_t begin = at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9' && at - begin < 3; at++)
      parts[part] = parts[part] * 10 + static_cast<Version>(text[at] - '0');
    if (at == begin) return 0;
    if (part == 0 && (at == text.size() || text[at++] != '.')) return 0;
  }
  return parts[0] * 1000 + parts[1];
}
/// A row's.
consteval Version first(std::string_view text) { return parse(text); }
static_assert(parse("5.15") == 5015 && parse("v6.1") == 6001 && parse("6.1.12-generic") == 6001 && parse("5") == 0);

struct HelperRange {
  u32 last;
  Version since;
};
constexpr HelperRange helper_ranges[] = {
#define SKEP_HELPERS_SINCE(last, since) {last, first(since)},
#include "catalog/versions.def"
};
constexpr bool ascending() {
  for (std::size_t i = 1; i < std::size(helper_ranges); i++)
    if (helper_ranges[i].last <= helper_ranges[i - 1].last || helper_ranges[i].since <= helper_ranges[i - 1].since)
      return false;
  return true;
}
static_assert(ascending(), "versions.def: helpers must be in order of id and of release");

}  // namespace

Version version_of(std::string_view text) noexcept { return parse(text); }

std::string text_of(Version version) { return fmt::format("{}.{}", version / 1000, version % 1000); }

std::string_view name_of(Feature feature) noexcept {
  switch (feature) {
#define SKEP_FEATURE_SINCE(name, since, text) \
  case Feature::name:                         \
    return text;
#include "catalog/versions.def"
  }
  return {};
}

Version since(Feature feature) noexcept {
  switch (feature) {
#define SKEP_FEATURE_SINCE(name, since, text) \
  case Feature::name:                         \
    return first(since);
#include "catalog/versions.def"
  }
  return 0;
}

Version since(ProgramType type) noexcept {
#define SKEP_PROGRAM_TYPE(name, number, printed, release) \
  if (type == ProgramType::name) return first(release);
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
  return 0;
}

Version since(MapType type) noexcept {
#define SKEP_MAP_TYPE(name, number, printed, release) \
  if (type == MapType::name) return first(release);
#include <skep/tables/map_types.def>
#undef SKEP_MAP_TYPE
  return 0;
}

Version helper_since(u32 id) noexcept {
  for (const HelperRange& range : helper_ranges)
    if (id <= range.last) return range.since;
  return 0;
}

Version kfunc_since(std::string_view name) noexcept {
#define SKEP_KFUNCS_SINCE(prefix, release) \
  if (name.starts_with(prefix)) return first(release);
#include "catalog/versions.def"
  return 0;
}

}  // namespace skep::catalog
