// What bpf(BPF_MAP_CREATE) checks before it allocates, with a sentence for each refusal.
//
// One function per family, the checks in the kernel's order so that the error number is the kernel's too.
// Source: map_create and map_alloc_check of kernel/bpf/{syscall,arraymap,hashtab,ringbuf,queue_stack_maps,
// bloom_filter,lpm_trie,map_in_map}.c (Linux 6.18).
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <string>

#include "map/checks.hpp"
#include "map/memory.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace checks {

tl::unexpected<Error> invalid(std::string message) { return fail(Code::invalid_argument, std::move(message), EINVAL); }
tl::unexpected<Error> too_big(std::string message) { return fail(Code::limit, std::move(message), E2BIG); }

std::string hex(u64 number) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  do text.insert(text.begin(), digits[number & 15]);
  while ((number >>= 4) != 0);
  return "0x" + text;
}

Result<void> flags(const MapSpec& spec, u32 permitted) {
  if (const u32 unknown = spec.flags & ~permitted; unknown != 0)
    return invalid("map_flags " + hex(spec.flags) + ": a " + std::string(name_of(spec.type)) + " map does not take " +
                   hex(unknown));
  if ((spec.flags & flag::rdonly_prog) != 0 && (spec.flags & flag::wronly_prog) != 0)
    return invalid("map_flags has both BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG: choose one");
  if ((spec.flags & flag::rdonly) != 0 && (spec.flags & flag::wronly) != 0)
    return invalid("map_flags has both BPF_F_RDONLY and BPF_F_WRONLY: choose one");
  return {};
}

Result<void> entries(const MapSpec& spec) {
  if (spec.max_entries == 0) return invalid("max_entries is 0: expected at least 1");
  return {};
}

Result<void> key_size(const MapSpec& spec, u32 expected) {
  if (spec.key_size != expected)
    return invalid("key_size is " + std::to_string(spec.key_size) + ": a " + std::string(name_of(spec.type)) +
                   " map needs " + std::to_string(expected));
  return {};
}

Result<void> value_size(const MapSpec& spec, u32 expected, u32 or_else) {
  if (spec.value_size == expected || spec.value_size == or_else) return {};
  return invalid("value_size is " + std::to_string(spec.value_size) + ": a " + std::string(name_of(spec.type)) +
                 " map needs " + std::to_string(expected) +
                 (or_else != expected ? " or " + std::to_string(or_else) : std::string()));
}

}  // namespace checks

namespace {

using namespace checks;

constexpr u64 largest_allocation = u64{4} << 20;     // KMALLOC_MAX_SIZE
constexpr u64 largest_percpu_value = u64{32} << 10;  // PCPU_MIN_UNIT_SIZE
constexpr u64 hash_element_overhead = 48;            // sizeof(struct htab_elem)
constexpr u32 lpm_key_min = 4 + 1, lpm_key_max = 4 + 256;

Result<void> check_value_size(const MapSpec& spec) {
  if (spec.value_size == 0) return invalid("value_size is 0: expected at least 1");
  return {};
}

Result<void> check_percpu_value(const MapSpec& spec) {
  if (round_up(spec.value_size, 8) > largest_percpu_value)
    return too_big("value_size is " + std::to_string(spec.value_size) + ": a per-CPU value has at most " +
                   std::to_string(largest_percpu_value) + " bytes");
  if ((spec.flags & flag::numa_node) != 0)
    return invalid("BPF_F_NUMA_NODE on a per-CPU map: its memory belongs to each CPU's node already");
  return {};
}

}  // namespace

Result<void> checks::array(const MapSpec& spec) {
  const bool plain = spec.type == MapType::array;
  u32 permitted = access_flags | flag::numa_node;
  if (plain) permitted |= flag::mmapable | flag::inner_map;
  if (spec.type == MapType::perf_event_array) permitted |= flag::preserve_elems;
  SKEP_TRY(entries(spec));
  SKEP_TRY(key_size(spec, 4));
  SKEP_TRY(check_value_size(spec));
  SKEP_TRY(flags(spec, permitted));
  if (spec.value_size > 0x7fffffffu)
    return too_big("value_size is " + std::to_string(spec.value_size) + ": over 2 GiB");
  if (spec.type == MapType::percpu_array) SKEP_TRY(check_percpu_value(spec));
  return {};
}

namespace {

/// Arrays whose values are descriptors in bpf(2): programs, perf events, maps.
Result<void> check_slots(const MapSpec& spec) {
  if (spec.value_size != 4)
    return invalid("value_size is " + std::to_string(spec.value_size) + ": a " + std::string(name_of(spec.type)) +
                   " map needs 4");
  if ((spec.flags & (flag::rdonly_prog | flag::wronly_prog)) != 0)
    return invalid("BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG do not apply to a " + std::string(name_of(spec.type)));
  return {};
}

Result<void> check_hash(const MapSpec& spec) {
  const bool per_cpu = spec.type == MapType::percpu_hash || spec.type == MapType::lru_percpu_hash;
  const bool lru = spec.type == MapType::lru_hash || spec.type == MapType::lru_percpu_hash;
  SKEP_TRY(flags(spec, access_flags | flag::no_prealloc | flag::no_common_lru | flag::numa_node | flag::zero_seed));
  if (!lru && (spec.flags & flag::no_common_lru) != 0) return invalid("BPF_F_NO_COMMON_LRU: only for LRU maps");
  if (lru && (spec.flags & flag::no_prealloc) != 0)
    return fail(Code::invalid_argument, "BPF_F_NO_PREALLOC: an LRU map is always preallocated; remove the flag",
                not_supported);
  if ((per_cpu || (spec.flags & flag::no_common_lru) != 0) && (spec.flags & flag::numa_node) != 0)
    return invalid("BPF_F_NUMA_NODE on a per-CPU map: its memory belongs to each CPU's node already");
  SKEP_TRY(entries(spec));
  if (spec.key_size == 0) return invalid("key_size is 0: expected at least 1");
  SKEP_TRY(check_value_size(spec));
  if (u64{spec.key_size} + spec.value_size >= largest_allocation - hash_element_overhead)
    return too_big("key_size + value_size is " + std::to_string(u64{spec.key_size} + spec.value_size) +
                   ": an element has at most " + std::to_string(largest_allocation - hash_element_overhead) + " bytes");
  if (per_cpu) SKEP_TRY(check_percpu_value(spec));
  if (std::bit_ceil(u64{spec.max_entries}) > (u64{1} << 27))
    return too_big("max_entries is " + std::to_string(spec.max_entries) + ": a hash has at most 134217728");
  return {};
}

Result<void> check_ringbuf(const MapSpec& spec) {
  SKEP_TRY(flags(spec, flag::numa_node));
  SKEP_TRY(key_size(spec, 0));
  if (spec.value_size != 0) return invalid("value_size is " + std::to_string(spec.value_size) + ": a ringbuf needs 0");
  if (!std::has_single_bit(spec.max_entries) || spec.max_entries % page_bytes != 0)
    return invalid("max_entries is " + std::to_string(spec.max_entries) +
                   ": the bytes of a ringbuf are a power of two of whole pages (4096, 8192, ...)");
  return {};
}

Result<void> check_queue(const MapSpec& spec) {
  SKEP_TRY(entries(spec));
  SKEP_TRY(key_size(spec, 0));
  SKEP_TRY(check_value_size(spec));
  SKEP_TRY(flags(spec, access_flags | flag::numa_node));
  if (spec.value_size > largest_allocation) return too_big("value_size is over 4 MiB");
  return {};
}

Result<void> check_bloom(const MapSpec& spec) {
  if (spec.value_size > largest_allocation) return too_big("value_size is over 4 MiB");
  SKEP_TRY(key_size(spec, 0));
  SKEP_TRY(check_value_size(spec));
  SKEP_TRY(entries(spec));
  SKEP_TRY(flags(spec, access_flags | flag::numa_node | flag::zero_seed));
  if (spec.map_extra > 15)
    return invalid("map_extra is " + std::to_string(spec.map_extra) + ": a bloom filter has 1 to 15 hash functions");
  return {};
}

Result<void> check_lpm(const MapSpec& spec) {
  SKEP_TRY(entries(spec));
  if ((spec.flags & flag::no_prealloc) == 0) return invalid("an lpm_trie needs map_flags BPF_F_NO_PREALLOC");
  SKEP_TRY(flags(spec, access_flags | flag::no_prealloc | flag::numa_node));
  if (spec.key_size < lpm_key_min || spec.key_size > lpm_key_max)
    return invalid("key_size is " + std::to_string(spec.key_size) +
                   ": an lpm_trie key is a u32 prefix length and 1 to 256 bytes");
  if (spec.value_size == 0 || spec.value_size > largest_allocation - lpm_key_max - 40)
    return invalid("value_size is " + std::to_string(spec.value_size) + ": expected 1 to about 4 MiB");
  return {};
}

Result<void> check_inner(const MapSpec& spec) {
  if (spec.inner == nullptr)
    return fail(Code::invalid_argument,
                "a " + std::string(name_of(spec.type)) +
                    " needs the definition of its inner maps: declare `__array(values, struct { ... })`",
                EBADF);
  const MapType type = spec.inner->type;
  if (type == MapType::array_of_maps || type == MapType::hash_of_maps)
    return invalid("the inner map is a " + std::string(name_of(type)) + ": maps of maps nest once only");
  if (type == MapType::prog_array)
    return fail(Code::invalid_argument, "the inner map is a prog_array, which cannot be an inner map", not_supported);
  return {};
}

Result<void> check_numa_node(const MapSpec& spec) {
  if ((spec.flags & flag::numa_node) == 0) return {};
  const std::string node = "/sys/devices/system/node/node" + std::to_string(spec.numa_node);
  if (spec.numa_node != 0 && ::access(node.c_str(), F_OK) != 0)
    return invalid("numa_node is " + std::to_string(spec.numa_node) + ": this machine has no such node");
  return {};
}

}  // namespace

Result<void> check(const MapSpec& spec) {
  if (spec.map_extra != 0 && spec.type != MapType::bloom_filter && spec.type != MapType::arena)
    return invalid("map_extra is " + std::to_string(spec.map_extra) + ": only bloom filters and arenas take it");
  SKEP_TRY(check_numa_node(spec));
  switch (spec.type) {
    case MapType::array:
    case MapType::percpu_array:
      return checks::array(spec);
    case MapType::perf_event_array:
    case MapType::prog_array:
    case MapType::cgroup_array:
      SKEP_TRY(check_slots(spec));
      return checks::array(spec);
    case MapType::array_of_maps:
      SKEP_TRY(check_inner(spec));
      SKEP_TRY(check_slots(spec));
      return checks::array(spec);
    case MapType::hash_of_maps:
      SKEP_TRY(check_inner(spec));
      if (spec.value_size != 4)
        return invalid("value_size is " + std::to_string(spec.value_size) + ": a hash_of_maps map needs 4");
      return check_hash(spec);
    case MapType::hash:
    case MapType::percpu_hash:
    case MapType::lru_hash:
    case MapType::lru_percpu_hash:
      return check_hash(spec);
    case MapType::ringbuf:
      return check_ringbuf(spec);
    case MapType::queue:
    case MapType::stack:
      return check_queue(spec);
    case MapType::bloom_filter:
      return check_bloom(spec);
    case MapType::lpm_trie:
      return check_lpm(spec);
    default:
      return checks::objects(spec);
  }
}

}  // namespace skep::map
