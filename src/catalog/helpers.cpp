// Look-ups in the helper table.
#include "catalog/helpers.hpp"

#include <algorithm>
#include <iterator>

namespace skep::catalog {
namespace {

constexpr HelperRow rows[] = {
#define SKEP_HELPER(name, id, result, params, ...) {HelperId::name, #name, result, params},
#include "catalog/helpers.def"
#undef SKEP_HELPER
};

constexpr bool ids_are_positions() {
  u32 expected = 1;
  for (const auto& row : rows)
    if (static_cast<u32>(row.id) != expected++) return false;
  return true;
}
static_assert(ids_are_positions(), "helpers.def: ids must count from 1 without gaps");

}  // namespace

std::span<const HelperRow> helpers() noexcept { return rows; }

const HelperRow* helper(u32 id) noexcept { return id >= 1 && id <= std::size(rows) ? &rows[id - 1] : nullptr; }

std::optional<HelperId> helper_by_name(std::string_view name) noexcept {
  for (const auto& row : rows)
    if (row.name == name) return row.id;
  return std::nullopt;
}

std::string_view helper_needs(u32 id) noexcept {
  switch (static_cast<HelperId>(id)) {
#define SKEP_HELPER_NEEDS(name, what) \
  case HelperId::name:                \
    return what;
#include "catalog/helper_needs.def"
#undef SKEP_HELPER_NEEDS
    default:  // they need nothing that only a kernel has
      return {};
  }
}

bool is_gpl_compatible(std::string_view license) noexcept {
  constexpr std::string_view compatible[] = {"GPL",          "GPL v2",       "GPL and additional rights",
                                             "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"};
  return std::find(std::begin(compatible), std::end(compatible), license) != std::end(compatible);
}

}  // namespace skep::catalog
