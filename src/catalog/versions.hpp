// The first Linux that has a helper, a kernel function, a type or a feature.
#pragma once
#include <skep/spec.hpp>
#include <string>
#include <string_view>

namespace skep::catalog {

/// 1000 * major + minor: 5015 is Linux 5.15.
using Version = u32;

/// "5.15", "v6.1", "6.1.12-generic"; 0 where the text does not begin with a version.
Version version_of(std::string_view text) noexcept;
std::string text_of(Version version);

enum class Feature : u8 {
#define SKEP_FEATURE_SINCE(name, since, text) name,
#include "catalog/versions.def"
};
std::string_view name_of(Feature feature) noexcept;

/// 0: unknown, or as old as BPF.
Version since(Feature feature) noexcept;
Version since(ProgramType type) noexcept;
Version since(MapType type) noexcept;
Version helper_since(u32 id) noexcept;
Version kfunc_since(std::string_view name) noexcept;

}  // namespace skep::catalog
