// The helper functions of eBPF: names, numbers, C declarations (helpers.def).
#pragma once
#include <optional>
#include <skep/types.hpp>
#include <span>
#include <string_view>

namespace skep::catalog {

enum class HelperId : u32 {
  unspec = 0,
#define SKEP_HELPER(name, id, ...) name = id,
#include "catalog/helpers.def"
#undef SKEP_HELPER
};

struct HelperRow {
  HelperId id;
  std::string_view name;      ///< without "bpf_"
  std::string_view c_result;  ///< "void *"
  std::string_view c_params;  ///< "void *map, const void *key"
};

/// Every row, in order of id.
std::span<const HelperRow> helpers() noexcept;
/// nullptr for an id without a row.
const HelperRow* helper(u32 id) noexcept;
std::optional<HelperId> helper_by_name(std::string_view name) noexcept;

/// What a helper that works in a kernel only needs, as the end of "it needs ..."; empty for all others.
std::string_view helper_needs(u32 id) noexcept;

/// Whether the kernel lends its GPL-only functions to a program of this licence (Linux, include/linux/license.h).
bool is_gpl_compatible(std::string_view license) noexcept;

}  // namespace skep::catalog
