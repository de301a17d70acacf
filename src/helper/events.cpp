// Helpers that send records to the host. See map/ring.hpp for what happens to them.
// Source: kernel/bpf/ringbuf.c, kernel/trace/bpf_trace.c.
#include <cerrno>

#include "helper/bind.hpp"
#include "helper/packet.hpp"
#include "map/ringbuf.hpp"

namespace skep::helper {

/// Of a packet program the flags may ask for the first bytes of its packet behind the data.
static s64 perf_event_output(Call& call, void*, Map& map, u64 flags, ReadMem data) noexcept {
  constexpr u64 packet_bytes_mask = u64{0xfffff} << 32;  // BPF_F_CTXLEN_MASK
  if (call.packet == nullptr) return map::perf_event_output(map, flags, data.data, data.size);
  const u64 wanted = (flags & packet_bytes_mask) >> 32;
  if (wanted > call.packet->size()) return -EFAULT;
  return map::perf_event_output(map, flags & ~packet_bytes_mask, data.data, data.size, call.packet->data(), wanted);
}
SKEP_BIND(perf_event_output)

static s64 ringbuf_output(Map& ring, ReadMem data, u64 flags) noexcept {
  return map::ringbuf_output(ring, data.data, data.size, flags);
}
SKEP_BIND(ringbuf_output)

static void* ringbuf_reserve(Call& call, Map& ring, u64 size, u64 flags) noexcept {
  void* record = map::ringbuf_reserve(ring, size, flags);
  call.lend(record, size, true);
  return record;
}
SKEP_BIND(ringbuf_reserve)

static void ringbuf_submit(Call& call, void* sample, u64 flags) noexcept {
  call.take_back(sample);
  map::ringbuf_submit(sample, flags);
}
SKEP_BIND(ringbuf_submit)

static void ringbuf_discard(Call& call, void* sample, u64 flags) noexcept {
  call.take_back(sample);
  map::ringbuf_discard(sample, flags);
}
SKEP_BIND(ringbuf_discard)

static u64 ringbuf_query(Map& ring, u64 flags) noexcept { return map::ringbuf_query(ring, flags); }
SKEP_BIND(ringbuf_query)

}  // namespace skep::helper
