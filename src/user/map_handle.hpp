// A map of the user engine as users hold it: sizes checked, errno values as sentences.
#pragma once
#include <memory>
#include <skep/backend.hpp>

#include "map/map.hpp"
#include "user/registry.hpp"

namespace skep::user {

/// A handle on `map`. `owner` is kept alive with it.
std::shared_ptr<Map::Impl> make_map_handle(std::shared_ptr<map::Map> map, std::shared_ptr<const void> owner,
                                           ObjectTables tables);

}  // namespace skep::user
