// Reading a BPF ring buffer.
//
// The map is mapped in two parts: one page with the reader's position (writable), then one page with the writer's
// position and the data, which the kernel maps twice in a row so that a record never wraps (read-only). Positions
// only grow; position modulo size is the place. A record is an 8-byte header (length, busy bit, discard bit) and the
// data, padded to 8. The reader takes records until it meets a busy one, and moves its position behind each. Who only
// looks keeps a position of its own and copies: the place of a record that was taken meanwhile is written again, which
// the writer's position shows. Source: Documentation/bpf/ringbuf.rst; kernel/bpf/ringbuf.c.
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <vector>

#include "base/fd.hpp"
#include "kernel/mapping.hpp"
#include "kernel/ring_layout.hpp"
#include "kernel/rings.hpp"

namespace skep::kernel {

namespace {

class RingBufferReader final : public RingReader::Impl {
 public:
  RingBufferReader(base::Fd map, Mapping consumer, Mapping producer, u64 size, std::string name, bool takes)
      : takes_(takes),
        map_(std::move(map)),
        consumer_(std::move(consumer)),
        producer_(std::move(producer)),
        size_(size),
        name_(std::move(name)) {}

  Result<std::size_t> poll(std::chrono::milliseconds timeout,
                           const std::function<void(const Record&)>& on_record) override {
    if (const auto got = drain(on_record); !got || *got != 0) return got;
    SKEP_TRY(wait_readable(map_.get(), timeout));
    return drain(on_record);
  }
  u64 lost() const override { return 0; }  // a full ring tells the program, which counts for itself
  int wait_fd() const override { return map_.get(); }

 private:
  Result<std::size_t> drain(const std::function<void(const Record&)>& on_record) {
    std::atomic_ref<u64> read_position(consumer_.at<u64>(0)), write_position(producer_.at<u64>(0));
    const std::byte* data = producer_.bytes() + page_bytes();
    std::size_t count = 0;
    u64 position = std::max(read_position.load(std::memory_order_acquire), looked_at_);
    for (;;) {
      const u64 written = write_position.load(std::memory_order_acquire);
      if (position == written) return count;
      if (position > written || written - position > size_ || position % 8 != 0)
        return fail(Code::malformed, fmt::format("ring buffer {}: positions do not fit (read {}, written {}, size {})",
                                                 name_, position, written, size_));
      const u64 place = position & (size_ - 1);
      auto* header = const_cast<u32*>(reinterpret_cast<const u32*>(data + place));
      const u32 length = std::atomic_ref<u32>(*header).load(std::memory_order_acquire);
      if ((length & ring_busy) != 0) return count;
      const u32 bytes = length & ~(ring_busy | ring_discarded);
      if (bytes > size_ - ring_header_bytes)
        return fail(Code::malformed,
                    fmt::format("ring buffer {}: a record of {} bytes in a ring of {}", name_, bytes, size_));
      std::span<const std::byte> record(data + place + ring_header_bytes, bytes);
      if (!takes_) {
        copy_.assign(record.begin(), record.end());
        record = copy_;
        if (write_position.load(std::memory_order_acquire) - position > size_) {
          position = std::max(position + 8, read_position.load(std::memory_order_acquire));
          continue;  // taken and written over while it was copied
        }
      }
      if ((length & ring_discarded) == 0) {
        on_record({record, 0});
        ++count;
      }
      position += ring_record_bytes(bytes);
      if (takes_)
        read_position.store(position, std::memory_order_release);
      else
        looked_at_ = position;
    }
  }

  bool takes_;
  u64 looked_at_ = 0;            ///< of one that only looks: behind the last record
  std::vector<std::byte> copy_;  ///< the record it hands out
  base::Fd map_;
  Mapping consumer_, producer_;
  u64 size_;
  std::string name_;
};

Result<RingReader> open(int map_fd, const MapInfo& info, bool takes) {
  const u64 size = SKEP_TRY_AT("ring buffer " + info.name, ring_size(info));
  base::Fd own(::fcntl(map_fd, F_DUPFD_CLOEXEC, 0));
  if (!own) return tl::unexpected(base::os_error("ring buffer " + info.name));
  auto consumer = SKEP_TRY_AT("ring buffer " + info.name,
                              Mapping::map(own.get(), page_bytes(), takes ? PROT_READ | PROT_WRITE : PROT_READ, 0));
  auto producer = SKEP_TRY_AT("ring buffer " + info.name,
                              Mapping::map(own.get(), page_bytes() + 2 * size, PROT_READ, page_bytes()));
  return RingReader(std::make_unique<RingBufferReader>(std::move(own), std::move(consumer), std::move(producer), size,
                                                       info.name, takes));
}

}  // namespace

Result<RingReader> open_ring_buffer(int map_fd, const MapInfo& info) { return open(map_fd, info, true); }
Result<RingReader> peek_ring_buffer(int map_fd, const MapInfo& info) { return open(map_fd, info, false); }

}  // namespace skep::kernel
