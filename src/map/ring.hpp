// A ring of records: many writers that never wait, one reader at a time.
//
// A record is the kernel's: a header of 8 bytes (length with the busy and discard bits, page offset), the data,
// padding to 8 bytes. The data pages are mapped twice in a row, so a record never wraps. Writers take their place
// with one compare-and-swap and publish by clearing the busy bit; nobody waits for a writer that was interrupted
// except the reader, which reads in order.
//
// Two ideas of ours. The reader zeroes what it has read, so a header that is not written yet reads as zero and
// writers need no lock; it gives places back for a few KiB at once, and writers look at its position only when the ring
// seems full, so that the two touch each other's memory rarely. And a writer wakes the reader (one write to an eventfd,
// about a microsecond) only when the reader said that it has read everything; a busy reader costs the writers nothing.
// Source: Documentation/bpf/ringbuf.rst, kernel/bpf/ringbuf.c (layout, limits, wake-up flags).
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <skep/backend.hpp>
#include <skep/result.hpp>
#include <skep/types.hpp>

#include "map/memory.hpp"

namespace skep::map {

/// BPF_RB_*: flags of submit, discard, output; what query() asks for.
namespace ring_flag {
inline constexpr u64 no_wakeup = 1, force_wakeup = 2;
inline constexpr u64 avail_data = 0, ring_size = 1, cons_pos = 2, prod_pos = 3;
}  // namespace ring_flag

class Ring {
 public:
  /// What the upper half of a record's header says.
  enum class Header {
    home,  ///< the way back to the ring, for commit(): ring buffer maps
    cpu,   ///< the CPU that wrote it: perf event arrays
  };

  /// `data_bytes`: a power of two of whole pages. Errors: limit, io.
  static Result<std::unique_ptr<Ring>> create(u64 data_bytes, Header header);
  ~Ring();

  /// Space for `size` bytes, or nullptr when there is none now (counted as lost). Ends with commit().
  std::byte* reserve(u64 size) noexcept;
  /// Publishes (or discards) what reserve() of any ring with Header::home returned.
  static void commit(void* sample, u64 flags, bool discard) noexcept;
  /// Reserve, copy and commit. False: no space, counted.
  bool write(const void* data, u64 size, u64 flags) noexcept { return write(data, size, nullptr, 0, flags); }
  /// The same with a second piece behind the first.
  bool write(const void* data, u64 size, const void* more, u64 more_size, u64 flags) noexcept;
  u64 query(u64 flags) const noexcept;
  u64 lost() const noexcept { return lost_.load(std::memory_order_relaxed); }
  u64 memory_bytes() const noexcept { return region_.resident_bytes(); }

  // --- the reader ---
  /// Hands over every record that is complete now, in order. Not from inside `on_record`.
  std::size_t consume(const std::function<void(const Record&)>& on_record);
  /// Throws away what waits.
  void drop_all() noexcept;
  /// Makes the wake-up descriptor. Errors: io.
  Result<void> open_wake();
  int wake_fd() const noexcept { return wake_.load(std::memory_order_acquire); }
  /// Asks for a wake-up at the next record; the descriptor is readable at once when one waits already.
  void arm() noexcept;
  /// Takes the wake-up back.
  void disarm() noexcept;

 private:
  /// In front of the data: how a record's address leads to its ring.
  struct Head {
    Ring* ring;
  };
  class Reading;
  static constexpr u64 header_bytes = 8;
  static constexpr u32 busy_bit = 1u << 31, discard_bit = 1u << 30;
  static constexpr u64 largest_record = 0xffffffffu / 4;

  Ring(Region region, u64 data_bytes, Header header) noexcept;
  std::atomic_ref<u64> header_at(u64 position) const noexcept;
  void publish(std::atomic_ref<u64> header, u64 word, u64 flags) noexcept;
  bool has_complete_record() const noexcept;
  bool has_room(u64 position, u64 length) noexcept;
  void signal() const noexcept;

  Region region_;
  std::byte* data_;
  u64 mask_;
  Header kind_;
  alignas(64) std::atomic<u64> producer_{0};
  std::atomic<u64> consumed_{0};  ///< consumer_ as writers last saw it: never ahead of it
  std::atomic<u64> lost_{0};
  alignas(64) std::atomic<u64> consumer_{0};
  std::atomic<bool> armed_{false};
  std::atomic<int> wake_{-1};
  std::mutex reading_;
};

}  // namespace skep::map
