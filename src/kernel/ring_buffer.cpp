// Reading a BPF ring buffer.
//
// The map is mapped in two parts: one page with the reader's position (writable), then one page with the writer's
// position and the data, which the kernel maps twice in a row so that a record never wraps (read-only). Positions
// only grow; position modulo size is the place. A record is an 8-byte header (length, busy bit, discard bit) and the
// data, padded to 8. The reader takes records until it meets a busy one.
//
// Both positions are shared with the CPUs that write: whoever touches them for every record makes those CPUs fetch the
// line again for every record. So they are touched once for a few kilobytes: the writer's is read, the records up to
// there are handed out, the reader's is moved behind them. What waits to be given back is never more than 1/16 of the
// room that was free, so a nearly full ring is given back record by record. The kernel wakes the reader when the record
// that is committed lies at the reader's position: before a reader says that nothing is left, its position is written,
// and it looks once more behind a full fence.
//
// Who only looks keeps a position of its own and copies: the place of a record that was taken meanwhile is written
// again, which the writer's position shows. Source: Documentation/bpf/ringbuf.rst; kernel/bpf/ringbuf.c.
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
        data_(producer_.bytes() + page_bytes()),
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
  using OnRecord = std::function<void(const Record&)>;

  /// The header of a record, and where it lies.
  struct Header {
    const std::byte* data = nullptr;
    u32 length = 0;  ///< with its bits
    bool is_busy() const { return (length & ring_busy) != 0; }
    bool is_discarded() const { return (length & ring_discarded) != 0; }
    u32 bytes() const { return length & ~(ring_busy | ring_discarded); }
  };

  Header header_at(u64 position) const {
    const std::byte* place = data_ + (position & (size_ - 1));
    auto* header = const_cast<u32*>(reinterpret_cast<const u32*>(place));
    return {place + ring_header_bytes, std::atomic_ref<u32>(*header).load(std::memory_order_acquire)};
  }

  /// Moves the reader's position when it goes, also when a callback throws: what was handed out is not handed out
  /// again.
  struct Release {
    std::atomic_ref<u64> shared;
    const u64& position;
    ~Release() { shared.store(position, std::memory_order_release); }
  };

  Result<std::size_t> drain(const OnRecord& on_record) { return takes_ ? take(on_record) : look(on_record); }

  Result<std::size_t> take(const OnRecord& on_record) {
    std::size_t count = 0;
    u64 position = read_position().load(std::memory_order_acquire);
    for (bool fenced = false;;) {
      const u64 written = write_position().load(std::memory_order_acquire);
      if (!fits(position, written)) return positions_do_not_fit(position, written);
      const u64 before = position, room = size_ - (written - position);
      if (position != written)
        SKEP_TRY(take_some(position, std::min(written, position + 1 + std::min(most_held_back, room / 16)), on_record,
                           count));
      if (position != before) {
        fenced = false;
        continue;
      }
      if (fenced) return count;
      std::atomic_thread_fence(std::memory_order_seq_cst);
      fenced = true;
    }
  }

  /// Hands out records until `end` is reached or passed, or one is busy.
  ///
  /// Where a record begins is known when the length before it has been read: a chain of loads that waits for memory
  /// each time. Records of one ring mostly have one length, so the length before is taken for the next one, and
  /// corrected where it is wrong: the CPU predicts that branch and runs ahead. What is handed out goes by the length
  /// that was read.
  Result<void> take_some(u64& position, u64 end, const OnRecord& on_record, std::size_t& count) {
    const Release release{read_position(), position};
    u64 step = step_;
    while (position < end) {
      const Header header = header_at(position);
      if (header.is_busy()) break;
      const u32 bytes = header.bytes();
      if (bytes > size_ - ring_header_bytes) return too_long(bytes);
      if (const u64 actual = ring_record_bytes(bytes); actual != step) [[unlikely]] {
        step = actual;
        asm volatile(""
                     : "+r"(step));  // or the compiler sees that both ways give `actual`, and makes it the chain again
      }
      position += step;
      if (header.is_discarded()) continue;
      ++count;
      on_record({{header.data, bytes}, 0});
    }
    step_ = step;
    return {};
  }

  Result<std::size_t> look(const OnRecord& on_record) {
    std::size_t count = 0;
    u64 position = std::max(read_position().load(std::memory_order_acquire), looked_at_);
    for (;;) {
      const u64 written = write_position().load(std::memory_order_acquire);
      if (position == written) return count;
      if (!fits(position, written)) return positions_do_not_fit(position, written);
      const Header header = header_at(position);
      if (header.is_busy()) return count;
      const u32 bytes = header.bytes();
      if (bytes > size_ - ring_header_bytes) return too_long(bytes);
      copy_.assign(header.data, header.data + bytes);
      if (write_position().load(std::memory_order_acquire) - position > size_) {
        position = std::max(position + 8, read_position().load(std::memory_order_acquire));
        continue;  // taken and written over while it was copied
      }
      if (!header.is_discarded()) {
        on_record({copy_, 0});
        ++count;
      }
      looked_at_ = position += ring_record_bytes(bytes);
    }
  }

  std::atomic_ref<u64> read_position() const { return std::atomic_ref<u64>(consumer_.at<u64>(0)); }
  std::atomic_ref<u64> write_position() const { return std::atomic_ref<u64>(producer_.at<u64>(0)); }

  bool fits(u64 position, u64 written) const {
    return position <= written && written - position <= size_ && position % 8 == 0;
  }
  tl::unexpected<Error> positions_do_not_fit(u64 position, u64 written) const {
    return fail(Code::malformed, fmt::format("ring buffer {}: positions do not fit (read {}, written {}, size {})",
                                             name_, position, written, size_));
  }
  tl::unexpected<Error> too_long(u32 bytes) const {
    return fail(Code::malformed,
                fmt::format("ring buffer {}: a record of {} bytes in a ring of {}", name_, bytes, size_));
  }

  static constexpr u64 most_held_back = 4096;  ///< bytes

  bool takes_;
  u64 step_ = 0;                 ///< what the last record took
  u64 looked_at_ = 0;            ///< of one that only looks: behind the last record
  std::vector<std::byte> copy_;  ///< the record it hands out
  base::Fd map_;
  Mapping consumer_, producer_;
  const std::byte* data_;
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
