// Perf event arrays: records for the host, accepted while somebody reads.
//
// In the kernel a slot holds a perf event with its own buffer, one for each CPU, and records of different CPUs come
// out in no particular order. Here all CPUs share one ring and each record says which CPU wrote it, so the reader
// sees events in the order in which they happened. Opening a reader opens all slots; without one, output is refused
// with -ENOENT as the kernel refuses an empty slot, and costs nothing.
//
// A record is as long as the program said (the kernel pads it so that it ends on an 8-byte boundary).
// Source: kernel/trace/bpf_trace.c (bpf_perf_event_output), kernel/bpf/arraymap.c (perf_event_fd_array_*).
#include "map/perf_array.hpp"

#include <bit>
#include <cerrno>

#include "map/ringbuf.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

constexpr u64 index_mask = 0xffffffff;  // BPF_F_INDEX_MASK, and BPF_F_CURRENT_CPU

class PerfArrayMap final : public Map {
 public:
  explicit PerfArrayMap(const MapSpec& spec) : Map(spec) {}

  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void*, const void*, u64) noexcept override { return -EINVAL; }
  s64 erase(const void* key) noexcept override { return index_of(key) < spec_.max_entries ? -ENOENT : -E2BIG; }
  u64 memory_bytes() const noexcept override {
    const Ring* ring = ring_.load(std::memory_order_acquire);
    return ring != nullptr ? ring->memory_bytes() : 0;
  }

  s64 output(u64 flags, const void* data, u64 size, const void* more, u64 more_size) noexcept {
    if ((flags & ~index_mask) != 0) return -EINVAL;
    const u64 index = flags == index_mask ? current_cpu() : flags;
    if (index >= spec_.max_entries) return -E2BIG;
    Ring* ring = open_.load(std::memory_order_acquire);
    if (ring == nullptr) return -ENOENT;
    if (index != current_cpu()) return -EOPNOTSUPP;
    return ring->write(data, size, more, more_size, 0) ? 0 : -ENOSPC;
  }

  Result<Ring*> open() {
    const std::lock_guard lock(opening_);
    if (owner_ == nullptr) {
      owner_ = SKEP_TRY(Ring::create(bytes(), Ring::Header::cpu));
      ring_.store(owner_.get(), std::memory_order_release);
    }
    SKEP_TRY(owner_->open_wake());
    if (readers_++ == 0) {
      owner_->drop_all();  // what came between the last reader and this one belongs to nobody
      open_.store(owner_.get(), std::memory_order_release);
    }
    return owner_.get();
  }
  void close() noexcept {
    const std::lock_guard lock(opening_);
    if (--readers_ == 0) open_.store(nullptr, std::memory_order_release);
  }

 protected:
  // Slots hold descriptors of perf events in bpf(2); this engine opens them by itself.
  s64 host_lookup(const void*, void*) noexcept override { return -not_supported; }
  s64 host_update(const void* key, const void*, u64 flags) noexcept override {
    if (flags != update_any) return -EINVAL;
    return index_of(key) < spec_.max_entries ? -EBADF : -E2BIG;
  }
  s64 host_next_key(const void* key, void* next) noexcept override { return next_index(key, spec_.max_entries, next); }

 private:
  /// 64 KiB a CPU, at least 256 KiB, at most 16 MiB; touched only where records come to lie.
  static u64 bytes() noexcept {
    const u64 wanted = std::bit_ceil(u64{possible_cpus()} * (64u << 10));
    return wanted<(256u << 10) ? 256u << 10 : wanted>(16u << 20) ? 16u << 20 : wanted;
  }

  std::mutex opening_;
  u32 readers_ = 0;
  std::unique_ptr<Ring> owner_;       ///< made once; lives as long as the map
  std::atomic<Ring*> ring_{nullptr};  ///< the same, for memory_bytes()
  std::atomic<Ring*> open_{nullptr};  ///< the same while there is a reader
};

}  // namespace

Result<std::shared_ptr<Map>> make_perf_array(const MapSpec& spec) { return std::make_shared<PerfArrayMap>(spec); }

Result<Ring*> open_perf_ring(Map& map) { return static_cast<PerfArrayMap&>(map).open(); }
void close_perf_ring(Map& map) noexcept { static_cast<PerfArrayMap&>(map).close(); }

s64 perf_event_output(Map& map, u64 flags, const void* data, u64 size, const void* more, u64 more_size) noexcept {
  if (map.spec().type != MapType::perf_event_array) return -EINVAL;
  return static_cast<PerfArrayMap&>(map).output(flags, data, size, more, more_size);
}

}  // namespace skep::map
