// Direct forms of the three commonest helpers for one class of maps.
//
// A program's look-up through the helper is a call of the helper, a virtual call of the map and the operation. Where
// the class of a map is known when a program is linked, one call does: these functions name the class, so the
// compiler puts the operation into them. `MapType_` is final and derives from Map.
#pragma once
#include "map/map.hpp"

namespace skep::map {

template <class MapType_>
struct Direct {
  static MapType_& self(u64 map) noexcept {
    return static_cast<MapType_&>(*reinterpret_cast<Map*>(map));  // NOLINT(performance-no-int-to-ptr)
  }
  static const void* memory(u64 address) noexcept { return reinterpret_cast<const void*>(address); }  // NOLINT

  static u64 lookup(void*, u64 map, u64 key, u64, u64, u64) noexcept {
    return reinterpret_cast<u64>(self(map).MapType_::lookup(memory(key)));
  }
  static u64 update(void*, u64 map, u64 key, u64 value, u64 flags, u64) noexcept {
    return static_cast<u64>(self(map).MapType_::update(memory(key), memory(value), flags));
  }
  static u64 erase(void*, u64 map, u64 key, u64, u64, u64) noexcept {
    return static_cast<u64>(self(map).MapType_::erase(memory(key)));
  }

  /// `view` with all three.
  static base::MapView add_to(base::MapView view) noexcept {
    view.lookup = &lookup;
    view.update = &update;
    view.erase = &erase;
    return view;
  }
};

}  // namespace skep::map
