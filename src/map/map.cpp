// Making a map of the right type, and what all maps share. See map.hpp.
#include "map/map.hpp"

#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>

#include "map/memory.hpp"
#include "map/timers.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

/// What libbpf does to a definition before the kernel sees it.
MapSpec complete_sizes(MapSpec spec) {
  const bool perf = spec.type == MapType::perf_event_array;
  const bool slots = perf || spec.type == MapType::prog_array || spec.type == MapType::array_of_maps ||
                     spec.type == MapType::cgroup_array;
  if (perf && spec.max_entries == 0) spec.max_entries = possible_cpus();
  if (slots && spec.key_size == 0) spec.key_size = sizeof(u32);
  if ((slots || spec.type == MapType::hash_of_maps) && spec.value_size == 0) spec.value_size = sizeof(u32);
  const bool ring = spec.type == MapType::ringbuf || spec.type == MapType::user_ringbuf;
  if (ring && spec.max_entries > 0 && spec.max_entries <= (1u << 31)) {
    const u32 rounded = std::bit_ceil(spec.max_entries);
    spec.max_entries = rounded < page_bytes ? static_cast<u32>(page_bytes) : rounded;
  }
  return spec;
}

std::string_view first_kernel(MapType type) {
  switch (type) {
#define SKEP_MAP_TYPE(name, number, printed, kernel) \
  case MapType::name:                                \
    return kernel;
#include <skep/tables/map_types.def>
#undef SKEP_MAP_TYPE
    case MapType::unspec:
      break;
  }
  return {};
}

/// Why this engine cannot have a type: the objects that its values belong to are the kernel's.
std::string_view owners(MapType type) {
  switch (type) {
    case MapType::cgroup_storage:
    case MapType::percpu_cgroup_storage:
      return "attached cgroup programs";
    case MapType::sk_storage:
      return "the kernel's sockets";
    case MapType::inode_storage:
      return "the kernel's inodes";
    case MapType::cgrp_storage:
      return "the kernel's control groups";
    case MapType::struct_ops:
      return "the kernel's own tables of functions";
    default:
      return {};
  }
}

tl::unexpected<Error> lacking(MapType type) {
  if (owners(type).empty())
    return fail(Code::invalid_argument,
                "map type " + std::to_string(static_cast<u32>(type)) + " does not exist: see `enum bpf_map_type`",
                EINVAL);
  return fail(Code::unsupported, "values of " + std::string(name_of(type)) + " maps belong to " +
                                     std::string(owners(type)) +
                                     ", of which the user engine has none: use --backend kernel (Linux " +
                                     std::string(first_kernel(type)) + ")");
}

Result<std::shared_ptr<Map>> make(const MapSpec& spec) {
  switch (spec.type) {
    case MapType::array:
      return make_array(spec);
    case MapType::percpu_array:
      return make_percpu_array(spec);
    case MapType::hash:
    case MapType::percpu_hash:
    case MapType::lru_hash:
    case MapType::lru_percpu_hash:
      return make_hash(spec);
    case MapType::ringbuf:
      return make_ringbuf(spec);
    case MapType::perf_event_array:
      return make_perf_array(spec);
    case MapType::prog_array:
      return make_prog_array(spec);
    case MapType::array_of_maps:
      return make_array_of_maps(spec);
    case MapType::hash_of_maps:
      return make_hash_of_maps(spec);
    case MapType::queue:
    case MapType::stack:
      return make_queue_stack(spec);
    case MapType::bloom_filter:
      return make_bloom_filter(spec);
    case MapType::lpm_trie:
      return make_lpm_trie(spec);
    case MapType::devmap:
    case MapType::devmap_hash:
    case MapType::cpumap:
    case MapType::xskmap:
      return make_redirect(spec);
    case MapType::sockmap:
    case MapType::sockhash:
    case MapType::reuseport_sockarray:
      return make_sockets(spec);
    case MapType::cgroup_array:
      return make_cgroup_array(spec);
    case MapType::stack_trace:
      return make_stack_trace(spec);
    case MapType::user_ringbuf:
      return make_user_ringbuf(spec);
    case MapType::task_storage:
      return make_task_storage(spec);
    case MapType::arena:
      return make_arena(spec);
    case MapType::unspec:
    case MapType::cgroup_storage:
    case MapType::percpu_cgroup_storage:
    case MapType::sk_storage:
    case MapType::inode_storage:
    case MapType::cgrp_storage:
    case MapType::struct_ops:
      break;
  }
  return lacking(spec.type);
}

Result<void> fill_global_data(Map& map, const MapSpec& spec) {
  if (spec.initial_value.empty()) return {};
  void* value = map.direct_value();
  if (value == nullptr || spec.initial_value.size() > spec.value_size)
    return fail(Code::invalid_argument,
                "initial value of " + std::to_string(spec.initial_value.size()) +
                    " bytes: expected an array of one element with value_size at least that, found " +
                    std::string(name_of(spec.type)) + " of " + std::to_string(spec.max_entries) + " with value_size " +
                    std::to_string(spec.value_size),
                EINVAL);
  std::memcpy(value, spec.initial_value.data(), spec.initial_value.size());
  return {};
}

Result<std::shared_ptr<Map>> create_completed(const MapSpec& spec) {
  SKEP_TRY(check(spec));
  auto map = SKEP_TRY(make(spec));
  SKEP_TRY(fill_global_data(*map, spec));
  if (spec.frozen) {
    map->freeze();
    map->info.frozen = true;
  }
  return map;
}

}  // namespace

Result<std::shared_ptr<Map>> Map::create(const MapSpec& spec) {
  const MapSpec completed = complete_sizes(spec);
  return SKEP_TRY_AT("map " + spec.name, create_completed(completed));
}

Map::Map(const MapSpec& spec) : spec_(spec) {
  info.type = spec_.type;
  info.name = spec_.name;
  info.flags = spec_.flags;
  info.key_size = spec_.key_size;
  info.value_size = spec_.value_size;
  info.max_entries = spec_.max_entries;
  info.btf_key_type_id = spec_.btf_key_type_id;
  info.btf_value_type_id = spec_.btf_value_type_id;
}

Map::~Map() = default;

base::MapView Map::sizes_of_view() const noexcept {
  base::MapView view;
  view.key_size = spec_.key_size;
  view.value_size = spec_.value_size;
  view.max_entries = spec_.max_entries;
  return view;
}

Result<void> Map::set_fields(std::shared_ptr<const Fields> fields) {
  if (!takes_fields() && fields->owns())
    return fail(Code::unsupported, "values of " + std::string(name_of(spec_.type)) +
                                       " maps have no timers, owned pointers, lists or trees in the user engine: use a "
                                       "hash or an array");
  if (!takes_fields()) return {};
  fields_ = std::move(fields);
  fields_are_set();
  return {};
}

void Map::release_users() noexcept {
  has_users_.store(false, std::memory_order_seq_cst);
  if (fields_ && fields_->has_timers()) each_value(&Fields::release_timers);
}

void Map::end_callbacks() noexcept {
  release_users();
  if (fields_ && fields_->has_timers()) fields_->timers()->wait_for(*this);
}

void Map::end_fields() noexcept {
  if (!fields_) return;
  end_callbacks();
  each_value(&Fields::release);
}

s64 Map::push(const void*, u64) noexcept { return -EOPNOTSUPP; }
s64 Map::pop(void*) noexcept { return -EOPNOTSUPP; }
s64 Map::peek(void*) noexcept { return -EOPNOTSUPP; }
void* Map::lookup_percpu(const void*, u32) noexcept { return nullptr; }

s64 Map::copy_lookup(const void* key, void* value, u64 flags) noexcept {
  if ((flags & ~update_locked) != 0) return -EINVAL;
  if ((spec_.flags & flag::wronly) != 0) return -EPERM;
  if (flags != 0) return -EINVAL;  // no value of this map holds a lock
  return host_lookup(key, value);
}

s64 Map::copy_update(const void* key, const void* value, u64 flags) noexcept {
  if ((spec_.flags & flag::rdonly) != 0 || frozen()) return -EPERM;
  if ((flags & update_locked) != 0) return -EINVAL;  // no value of this map holds a lock
  return host_update(key, value, flags);
}

s64 Map::copy_erase(const void* key) noexcept {
  if ((spec_.flags & flag::rdonly) != 0 || frozen()) return -EPERM;
  return host_erase(key);
}

s64 Map::next_key(const void* key, void* next) noexcept {
  if ((spec_.flags & flag::wronly) != 0) return -EPERM;
  return host_next_key(key, next);
}

bool Map::is_per_cpu() const noexcept {
  return spec_.type == MapType::percpu_hash || spec_.type == MapType::percpu_array ||
         spec_.type == MapType::lru_percpu_hash;
}

u32 Map::host_value_size() const noexcept {
  if (!is_per_cpu()) return spec_.value_size;
  // Bounded: a per-CPU value is at most 32 KiB (checks.cpp) and there are at most 65536 CPUs.
  return static_cast<u32>(round_up(spec_.value_size, 8) * possible_cpus());
}

}  // namespace skep::map
