// A map of an embedded module as the public handle.
#pragma once
#include <memory>
#include <skep/backend.hpp>

#include "map/map.hpp"

namespace skep::host {

std::shared_ptr<skep::Map::Impl> map_handle(std::shared_ptr<map::Map> map);

/// Bytes of a value as the host sees it: per-CPU maps have a slot for each possible CPU.
std::size_t value_bytes(const MapInfo& map) noexcept;

}  // namespace skep::host
