// Checks of the map types whose values stand for objects. See checks.hpp.
//
// The order is the kernel's, so that a definition with two faults gets the kernel's error number.
// Source: the map_alloc_check and map_alloc functions of kernel/bpf/{stackmap,devmap,cpumap,arraymap,arena,
// bpf_local_storage,reuseport_array,ringbuf}.c, net/xdp/xskmap.c, net/core/sock_map.c (Linux 6.18).
#include <bit>
#include <cerrno>
#include <cstdio>

#include "map/checks.hpp"
#include "map/memory.hpp"
#include "map/words.hpp"

namespace skep::map::checks {

namespace {

constexpr u32 stack_build_id = 1u << 5, clone = 1u << 9, segv_on_fault = 1u << 17, no_user_conv = 1u << 18;
constexpr u32 deepest_stack = 127;      // sysctl_perf_event_max_stack
constexpr u32 build_id_bytes = 32;      // sizeof(struct bpf_stack_build_id)
constexpr u32 largest_sock_key = 512;   // MAX_BPF_STACK
constexpr u64 largest_storage = 65408;  // BPF_LOCAL_STORAGE_MAX_VALUE_SIZE, rounded down

Result<void> stack_trace(const MapSpec& spec) {
  SKEP_TRY(flags(spec, flag::numa_node | host_access_flags | stack_build_id));
  SKEP_TRY(entries(spec));
  SKEP_TRY(key_size(spec, 4));
  const u32 unit = (spec.flags & stack_build_id) != 0 ? build_id_bytes : 8;
  if (spec.value_size < 8 || spec.value_size % unit != 0 || spec.value_size / unit > deepest_stack)
    return invalid("value_size is " + std::to_string(spec.value_size) + ": a stack_trace map holds 1 to " +
                   std::to_string(deepest_stack) + " addresses of " + std::to_string(unit) + " bytes");
  if (spec.max_entries > (1u << 31)) return too_big("max_entries is over 2^31");
  return {};
}

Result<void> devices(const MapSpec& spec) {
  SKEP_TRY(entries(spec));
  SKEP_TRY(key_size(spec, 4));
  SKEP_TRY(value_size(spec, 4, 8));
  SKEP_TRY(flags(spec, flag::numa_node | host_access_flags));
  if (spec.type == MapType::devmap_hash && spec.max_entries > (1u << 31)) return invalid("max_entries is over 2^31");
  return {};
}

/// NR_CPUS: what the running kernel was built for.
u32 most_cpus() {
  u32 highest = 8191;
  if (std::FILE* file = std::fopen("/sys/devices/system/cpu/kernel_max", "re"); file != nullptr) {
    if (std::fscanf(file, "%u", &highest) != 1) highest = 8191;
    std::fclose(file);
  }
  return highest + 1;
}

Result<void> cpus(const MapSpec& spec) {
  SKEP_TRY(entries(spec));
  SKEP_TRY(key_size(spec, 4));
  SKEP_TRY(value_size(spec, 4, 8));
  SKEP_TRY(flags(spec, flag::numa_node));
  if (spec.max_entries > most_cpus())
    return too_big("max_entries is " + std::to_string(spec.max_entries) + ": a cpumap has at most " +
                   std::to_string(most_cpus()));
  return {};
}

Result<void> xsk_sockets(const MapSpec& spec) {
  SKEP_TRY(entries(spec));
  SKEP_TRY(key_size(spec, 4));
  SKEP_TRY(value_size(spec, 4, 4));
  return flags(spec, flag::numa_node | host_access_flags);
}

Result<void> sockets(const MapSpec& spec) {
  SKEP_TRY(entries(spec));
  if (spec.type == MapType::sockmap) SKEP_TRY(key_size(spec, 4));
  if (spec.key_size == 0) return invalid("key_size is 0: expected at least 1");
  SKEP_TRY(value_size(spec, 4, 8));
  SKEP_TRY(flags(spec, flag::numa_node | host_access_flags));
  if (spec.type == MapType::sockhash && spec.key_size > largest_sock_key)
    return too_big("key_size is " + std::to_string(spec.key_size) + ": a sockhash key has at most 512 bytes");
  return {};
}

Result<void> storage(const MapSpec& spec) {
  SKEP_TRY(flags(spec, flag::no_prealloc | clone));
  const std::string type(name_of(spec.type));
  if ((spec.flags & flag::no_prealloc) == 0) return invalid("a " + type + " needs map_flags BPF_F_NO_PREALLOC");
  if (spec.max_entries != 0)
    return invalid("max_entries is " + std::to_string(spec.max_entries) + ": a " + type +
                   " has one value for each object that asks, and max_entries 0");
  SKEP_TRY(key_size(spec, 4));
  if (spec.value_size == 0) return invalid("value_size is 0: expected at least 1");
  if (spec.btf_key_type_id == 0 || spec.btf_value_type_id == 0)
    return invalid("a " + type + " needs the types of its key and value: declare it with __type(key, int)");
  if (spec.value_size > largest_storage)
    return too_big("value_size is " + std::to_string(spec.value_size) + ": a " + type + " value has at most " +
                   std::to_string(largest_storage) + " bytes");
  return {};
}

Result<void> arena(const MapSpec& spec) {
  if (spec.key_size != 0 || spec.value_size != 0)
    return invalid("key_size and value_size are " + std::to_string(spec.key_size) + " and " +
                   std::to_string(spec.value_size) + ": an arena has neither");
  SKEP_TRY(entries(spec));
  if ((spec.flags & flag::mmapable) == 0) return invalid("an arena needs map_flags BPF_F_MMAPABLE");
  SKEP_TRY(flags(spec, flag::mmapable | segv_on_fault | no_user_conv));
  if (spec.map_extra % page_bytes != 0)
    return invalid("map_extra is " + hex(spec.map_extra) + ": an arena's address lies on a page boundary");
  const u64 bytes = u64{spec.max_entries} * page_bytes;
  if (bytes > (u64{4} << 30))
    return too_big("max_entries is " + std::to_string(spec.max_entries) + ": an arena has at most 1048576 pages");
  if (spec.map_extra >> 32 != (spec.map_extra + bytes - 1) >> 32)
    return fail(Code::invalid_argument,
                "map_extra is " + hex(spec.map_extra) + ": the arena would cross a 4 GiB boundary", ERANGE);
  return {};
}

Result<void> user_ring(const MapSpec& spec) {
  SKEP_TRY(flags(spec, flag::numa_node));
  SKEP_TRY(key_size(spec, 0));
  SKEP_TRY(value_size(spec, 0, 0));
  if (!std::has_single_bit(spec.max_entries) || spec.max_entries % page_bytes != 0)
    return invalid("max_entries is " + std::to_string(spec.max_entries) +
                   ": the bytes of a user_ringbuf are a power of two of whole pages (4096, 8192, ...)");
  return {};
}

}  // namespace

Result<void> objects(const MapSpec& spec) {
  switch (spec.type) {
    case MapType::stack_trace:
      return stack_trace(spec);
    case MapType::devmap:
    case MapType::devmap_hash:
      return devices(spec);
    case MapType::cpumap:
      return cpus(spec);
    case MapType::xskmap:
      return xsk_sockets(spec);
    case MapType::sockmap:
    case MapType::sockhash:
      return sockets(spec);
    case MapType::reuseport_sockarray:
      SKEP_TRY(value_size(spec, 4, 8));
      return array(spec);
    case MapType::task_storage:
      return storage(spec);
    case MapType::arena:
      return arena(spec);
    case MapType::user_ringbuf:
      return user_ring(spec);
    default:
      return {};  // make() answers for the others, by name
  }
}

}  // namespace skep::map::checks
