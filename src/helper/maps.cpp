// Helpers on maps: thin, because the maps keep the kernel's rules themselves.
// Source: kernel/bpf/helpers.c.
#include <cerrno>

#include "helper/bind.hpp"

namespace skep::helper {

static void* map_lookup_elem(Map& map, MapKey key) noexcept { return map.lookup(key.data); }
SKEP_BIND(map_lookup_elem)

static s64 map_update_elem(Map& map, MapKey key, MapValue value, u64 flags) noexcept {
  return map.update(key.data, value.data, flags);
}
SKEP_BIND(map_update_elem)

static s64 map_delete_elem(Map& map, MapKey key) noexcept { return map.erase(key.data); }
SKEP_BIND(map_delete_elem)

static s64 map_push_elem(Map& map, MapValue value, u64 flags) noexcept { return map.push(value.data, flags); }
SKEP_BIND(map_push_elem)

static s64 map_pop_elem(Map& map, MapValue value) noexcept { return map.pop(value.data); }
SKEP_BIND(map_pop_elem)

static s64 map_peek_elem(Map& map, MapValue value) noexcept { return map.peek(value.data); }
SKEP_BIND(map_peek_elem)

static void* map_lookup_percpu_elem(Map& map, MapKey key, u32 cpu) noexcept { return map.lookup_percpu(key.data, cpu); }
SKEP_BIND(map_lookup_percpu_elem)

}  // namespace skep::helper
