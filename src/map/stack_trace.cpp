// Stack trace maps. See stack_trace.hpp.
//
// A stack's number is its hash, cut to the number of places. A place holds the whole stack, so two stacks with one
// number are told apart. With BPF_F_STACK_BUILD_ID each address takes the 32 bytes of struct bpf_stack_build_id and
// says "address only", as the kernel does where it cannot reach the file.
// Source: kernel/bpf/stackmap.c.
#include "map/stack_trace.hpp"

#include <bit>
#include <cerrno>
#include <mutex>

#include "map/hash_table.hpp"
#include "map/memory.hpp"
#include "map/spin_lock.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

constexpr u32 build_id_flag = 1u << 5;  // BPF_F_STACK_BUILD_ID
constexpr u32 build_id_bytes = 32;
constexpr s32 status_ip = 2;  // BPF_STACK_BUILD_ID_IP

class StackTraceMap final : public Map {
 public:
  struct Place {
    u32 hash = 0;
    u32 depth = 0;  ///< 0: empty
    u64 addresses[1];
  };

  StackTraceMap(const MapSpec& spec, Region places, u32 count)
      : Map(spec), places_(std::move(places)), count_(count), seed_(hash_seed(spec)) {}

  static u64 stride(const MapSpec& spec) noexcept { return 8 + u64{depth_of(spec)} * 8; }
  static u32 depth_of(const MapSpec& spec) noexcept {
    return spec.value_size / ((spec.flags & build_id_flag) != 0 ? build_id_bytes : 8);
  }

  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void*, const void*, u64) noexcept override { return -EINVAL; }
  s64 erase(const void* key) noexcept override {
    const u32 id = index_of(key);
    if (id >= count_) return -E2BIG;
    const std::lock_guard lock(lock_);
    return std::exchange(place(id).depth, 0) != 0 ? 0 : -ENOENT;
  }
  u64 memory_bytes() const noexcept override { return places_.resident_bytes(); }

  s64 store(std::span<const u64> addresses, u64 flags) noexcept {
    if (addresses.empty()) return -EFAULT;
    if (addresses.size() > depth_of(spec_)) addresses = addresses.first(depth_of(spec_));
    const u32 hash = hash_of(addresses);
    const u32 id = hash & (count_ - 1);
    const std::lock_guard lock(lock_);
    Place& at = place(id);
    if (at.depth != 0) {
      const bool same_hash = at.hash == hash;
      if (same_hash && (flags & stack_flag::compare_hash_only) != 0) return id;
      if (same_hash && at.depth == addresses.size() &&
          std::memcmp(at.addresses, addresses.data(), addresses.size_bytes()) == 0)
        return id;
      if ((flags & stack_flag::reuse_id) == 0) return -EEXIST;
    }
    at.hash = hash;
    at.depth = static_cast<u32>(addresses.size());
    std::memcpy(at.addresses, addresses.data(), addresses.size_bytes());
    return id;
  }

 protected:
  s64 host_lookup(const void* key, void* value) noexcept override { return read(index_of(key), value, false); }
  s64 host_update(const void*, const void*, u64) noexcept override { return -EINVAL; }
  s64 host_take(const void* key, void* value) noexcept override { return read(index_of(key), value, true); }
  s64 host_next_key(const void* key, void* next) noexcept override {
    const std::lock_guard lock(lock_);
    u32 id = 0;
    if (key != nullptr && index_of(key) < count_ && place(index_of(key)).depth != 0) id = index_of(key) + 1;
    while (id < count_ && place(id).depth == 0) ++id;
    if (id >= count_) return -ENOENT;
    std::memcpy(next, &id, sizeof id);
    return 0;
  }

 private:
  Place& place(u32 id) const noexcept { return *reinterpret_cast<Place*>(places_.data() + stride(spec_) * id); }
  u32 hash_of(std::span<const u64> addresses) const noexcept {
    u64 state = seed_ ^ addresses.size();
    for (const u64 address : addresses) state = detail::fold(state ^ address, detail::odd_1);
    return static_cast<u32>(detail::fold(state ^ (state >> 32), detail::odd_2));
  }

  s64 read(u32 id, void* value, bool take) noexcept {
    if (id >= count_) return -ENOENT;
    const std::lock_guard lock(lock_);
    Place& at = place(id);
    if (at.depth == 0) return -ENOENT;
    std::memset(value, 0, spec_.value_size);
    auto* to = static_cast<std::byte*>(value);
    const bool with_build_ids = (spec_.flags & build_id_flag) != 0;
    for (u32 i = 0; i < at.depth; ++i) {
      if (!with_build_ids) {
        std::memcpy(to + u64{i} * 8, &at.addresses[i], 8);
        continue;
      }
      std::memcpy(to + u64{i} * build_id_bytes, &status_ip, sizeof status_ip);
      std::memcpy(to + u64{i} * build_id_bytes + 24, &at.addresses[i], 8);
    }
    if (take) at.depth = 0;
    return 0;
  }

  Region places_;
  u32 count_;  ///< a power of two
  u64 seed_;
  SpinLock lock_;
};

}  // namespace

Result<std::shared_ptr<Map>> make_stack_trace(const MapSpec& spec) {
  const u32 count = std::bit_ceil(spec.max_entries);
  auto places = SKEP_TRY(Region::allocate(StackTraceMap::stride(spec) * count));
  return std::make_shared<StackTraceMap>(spec, std::move(places), count);
}

s64 store_stack(Map& map, std::span<const u64> addresses, u64 flags) noexcept {
  if (map.spec().type != MapType::stack_trace) return -EINVAL;
  return static_cast<StackTraceMap&>(map).store(addresses, flags);
}

u32 stack_depth(const Map& map) noexcept { return StackTraceMap::depth_of(map.spec()); }

}  // namespace skep::map
