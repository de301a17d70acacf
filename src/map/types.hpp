// The map types of this engine: one maker each, called by Map::create() with a checked spec.
#pragma once
#include "map/map.hpp"

namespace skep::map {

Result<std::shared_ptr<Map>> make_array(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_percpu_array(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_hash(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_ringbuf(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_perf_array(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_prog_array(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_array_of_maps(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_hash_of_maps(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_queue_stack(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_bloom_filter(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_lpm_trie(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_redirect(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_sockets(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_cgroup_array(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_stack_trace(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_user_ringbuf(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_task_storage(const MapSpec& spec);
Result<std::shared_ptr<Map>> make_arena(const MapSpec& spec);

/// What the hash functions of a new map start from: unpredictable, or 0 with BPF_F_ZERO_SEED.
u64 hash_seed(const MapSpec& spec) noexcept;

/// What bpf(BPF_MAP_CREATE) checks before it allocates. Errors as Map::create().
Result<void> check(const MapSpec& spec);

}  // namespace skep::map
