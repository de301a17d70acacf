// The two tables of map_helpers.def as look-ups.
#include "catalog/map_rules.hpp"

#include <algorithm>
#include <initializer_list>

namespace skep::catalog {
namespace {

bool map_allows(HelperId helper, MapType type) {
  using enum HelperId;
  auto listed = [helper](std::initializer_list<HelperId> helpers) {
    return std::find(helpers.begin(), helpers.end(), helper) != helpers.end();
  };
#define SKEP_MAP_ONLY(map_type, ...) \
  if (type == MapType::map_type) return listed({__VA_ARGS__});
#define SKEP_HELPER_ONLY(...)
#include "catalog/map_helpers.def"
#undef SKEP_MAP_ONLY
#undef SKEP_HELPER_ONLY
  return type != MapType::struct_ops;
}

bool helper_allows(HelperId helper, MapType type) {
  using enum MapType;
  auto listed = [type](std::initializer_list<MapType> types) {
    return std::find(types.begin(), types.end(), type) != types.end();
  };
#define SKEP_MAP_ONLY(...)
#define SKEP_HELPER_ONLY(name, ...) \
  if (helper == HelperId::name) return listed({__VA_ARGS__});
#include "catalog/map_helpers.def"
#undef SKEP_MAP_ONLY
#undef SKEP_HELPER_ONLY
  return true;
}

}  // namespace

bool may_use(HelperId helper, MapType type) noexcept { return map_allows(helper, type) && helper_allows(helper, type); }

bool has_plain_values(MapType type) noexcept {
  switch (type) {
    case MapType::array_of_maps:
    case MapType::hash_of_maps:
    case MapType::xskmap:
    case MapType::sockmap:
    case MapType::sockhash:
      return false;
    default:
      return true;
  }
}

bool is_for_sleepers(MapType type) noexcept {
  switch (type) {
    case MapType::hash:
    case MapType::lru_hash:
    case MapType::percpu_hash:
    case MapType::lru_percpu_hash:
    case MapType::array:
    case MapType::percpu_array:
    case MapType::array_of_maps:
    case MapType::hash_of_maps:
    case MapType::queue:
    case MapType::stack:
    case MapType::ringbuf:
    case MapType::user_ringbuf:
    case MapType::sk_storage:
    case MapType::inode_storage:
    case MapType::task_storage:
    case MapType::cgrp_storage:
    case MapType::arena:
      return true;
    default:
      return false;
  }
}

std::string_view kernel_struct_of(MapType type) noexcept {
#define SKEP_MAP_STRUCT(map_type, structure) \
  if (type == MapType::map_type) return structure;
#include "catalog/map_structs.def"
#undef SKEP_MAP_STRUCT
  return {};
}

}  // namespace skep::catalog
