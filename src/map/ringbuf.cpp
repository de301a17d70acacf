// The ring buffer map. See ring.hpp for the ring.
//
// It has no keys: every map operation of the host is refused with the kernel's number, records come out through a
// RingReader (reader.hpp).
// Source: kernel/bpf/ringbuf.c.
#include "map/ringbuf.hpp"

#include <cerrno>

#include "map/perf_array.hpp"
#include "map/types.hpp"

namespace skep::map {

namespace {

class RingbufMap final : public Map {
 public:
  RingbufMap(const MapSpec& spec, std::unique_ptr<Ring> made) : Map(spec), ring(std::move(made)) {}

  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void*, const void*, u64) noexcept override { return -not_supported; }
  s64 erase(const void*) noexcept override { return -not_supported; }
  u64 memory_bytes() const noexcept override { return ring->memory_bytes(); }

  std::unique_ptr<Ring> ring;

 protected:
  s64 host_lookup(const void*, void*) noexcept override { return -not_supported; }
  s64 host_update(const void*, const void*, u64) noexcept override { return -not_supported; }
  s64 host_next_key(const void*, void*) noexcept override { return -not_supported; }
};

Ring* ring_of(Map& map) noexcept {
  return map.spec().type == MapType::ringbuf ? static_cast<RingbufMap&>(map).ring.get() : nullptr;
}

}  // namespace

Result<std::shared_ptr<Map>> make_ringbuf(const MapSpec& spec) {
  auto ring = SKEP_TRY(Ring::create(spec.max_entries, Ring::Header::home));
  return std::make_shared<RingbufMap>(spec, std::move(ring));
}

void* ringbuf_reserve(Map& map, u64 size, u64 flags) noexcept {
  Ring* ring = ring_of(map);
  return ring != nullptr && flags == 0 ? ring->reserve(size) : nullptr;
}

void ringbuf_submit(void* sample, u64 flags) noexcept { Ring::commit(sample, flags, false); }
void ringbuf_discard(void* sample, u64 flags) noexcept { Ring::commit(sample, flags, true); }

s64 ringbuf_output(Map& map, const void* data, u64 size, u64 flags) noexcept {
  Ring* ring = ring_of(map);
  if (ring == nullptr || (flags & ~(ring_flag::no_wakeup | ring_flag::force_wakeup)) != 0) return -EINVAL;
  return ring->write(data, size, flags) ? 0 : -EAGAIN;
}

u64 ringbuf_query(Map& map, u64 flags) noexcept {
  const Ring* ring = ring_of(map);
  return ring != nullptr ? ring->query(flags) : 0;
}

Result<Ring*> open_ring(Map& map) {
  if (map.spec().type == MapType::perf_event_array) return open_perf_ring(map);
  Ring* ring = ring_of(map);
  if (ring == nullptr)
    return fail(Code::invalid_argument, "a " + std::string(name_of(map.spec().type)) +
                                            " map has no records to read: expected a ringbuf or perf_event_array");
  SKEP_TRY(ring->open_wake());
  return ring;
}

void close_ring(Map& map) noexcept {
  if (map.spec().type == MapType::perf_event_array) close_perf_ring(map);
}

}  // namespace skep::map
