// A map of the user engine as users hold it: sizes checked, errno values as sentences.
#pragma once
#include <memory>
#include <skep/backend.hpp>

#include "map/map.hpp"
#include "user/registry.hpp"

namespace skep::user {

struct LoadedObject;

/// A handle on `map`, a part of `owner`, which is kept alive with it: a user's reference (loaded.hpp).
std::shared_ptr<Map::Impl> make_map_handle(std::shared_ptr<map::Map> map, std::shared_ptr<const LoadedObject> owner,
                                           ObjectTables tables);

/// A map of this engine behind a handle, and the object that it is part of; `map` is null for others' maps.
struct OwnMap {
  std::shared_ptr<map::Map> map;
  std::shared_ptr<const LoadedObject> owner;  ///< a user's reference
};
OwnMap own_map(const Map& handle);

}  // namespace skep::user
