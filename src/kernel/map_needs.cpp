// See map_needs.hpp. Source: the map_alloc_check() of each type in the kernel's kernel/bpf and net.
#include "kernel/map_needs.hpp"

namespace skep::kernel {

std::string_view needs_of(MapType type) noexcept {
  switch (type) {
    case MapType::hash:
    case MapType::percpu_hash:
    case MapType::lru_hash:
    case MapType::lru_percpu_hash:
      return "keys, values and entries of more than 0";
    case MapType::array:
    case MapType::percpu_array:
      return "keys of 4 bytes, values and entries of more than 0";
    case MapType::prog_array:
    case MapType::perf_event_array:
    case MapType::cgroup_array:
    case MapType::devmap:
    case MapType::cpumap:
    case MapType::xskmap:
      return "keys of 4 bytes";
    case MapType::sockmap:
    case MapType::reuseport_sockarray:
      return "keys of 4 bytes, values of 4 or 8";
    case MapType::sockhash:
      return "values of 4 or 8 bytes";
    case MapType::array_of_maps:
    case MapType::hash_of_maps:
      return "values of 4 bytes, and a map that the inner ones are like (`inner_map MAP`)";
    case MapType::lpm_trie:
      return "keys of 5 to 260 bytes, the first 4 being the length of the prefix in bits, and flag 1 "
             "(BPF_F_NO_PREALLOC)";
    case MapType::stack_trace:
      return "keys of 4 bytes, values of 8 bytes a frame, up to kernel.perf_event_max_stack frames";
    case MapType::queue:
    case MapType::stack:
      return "keys of 0 bytes";
    case MapType::bloom_filter:
      return "keys of 0 bytes, and up to 15 hash functions";
    case MapType::ringbuf:
    case MapType::user_ringbuf:
      return "keys and values of 0 bytes, and as many entries as bytes: a power of two, whole pages";
    case MapType::arena:
      return "keys and values of 0 bytes, as many entries as pages, and flag 0x400 (BPF_F_MMAPABLE)";
    case MapType::cgroup_storage:
    case MapType::percpu_cgroup_storage:
      return "keys of 8 or 16 bytes, and 0 entries";
    case MapType::sk_storage:
    case MapType::inode_storage:
    case MapType::task_storage:
    case MapType::cgrp_storage:
      return "keys of 4 bytes, 0 entries, flag 1 (BPF_F_NO_PREALLOC), and types of its keys and values, which an "
             "object file has";
    case MapType::struct_ops:
      return "the type of a structure of the kernel, which an object file has (`skep struct_ops register FILE`)";
    default:
      return {};
  }
}

}  // namespace skep::kernel
