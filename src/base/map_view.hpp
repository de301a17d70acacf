// What machine code needs to know of a map to do its commonest operation without asking the map.
//
// An array's look-up is one compare and one multiplication, so a JIT writes it into the program:
//
//   index < max_entries ? values + index * stride : null
//
// Every other map that can be looked up gives the address of a function made for its key size, which skips the
// helper's and the map's dispatch. A view is plain data: the room of the machine and the room of the maps both read
// it and need not know each other. All addresses are good for as long as the map lives.
#pragma once
#include <skep/types.hpp>

#include "base/run.hpp"

namespace skep::base {

struct MapView {
  enum class Kind : u8 {
    none,   ///< nothing to inline: `lookup` may still be set
    array,  ///< values[index], the same for every CPU
    arena,  ///< no look-ups: `values` is the window's base, a multiple of 4 GiB, and an arena pointer its lower half
  };
  Kind kind = Kind::none;
  u32 key_size = 0;
  u32 value_size = 0;
  u32 max_entries = 0;  ///< an index at or above it has no value
  u32 stride = 0;       ///< bytes from one value of an array to the next, a multiple of 8
  u64 values = 0;       ///< address of the value at index 0 of an array

  /// Direct forms of the helpers map_lookup_elem, map_update_elem and map_delete_elem for this map: the arguments and
  /// the result are those of the helper (the map first). Null: call the helper.
  HelperFn lookup = nullptr;
  HelperFn update = nullptr;
  HelperFn erase = nullptr;
};

}  // namespace skep::base
