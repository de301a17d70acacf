// Writers and the reader of a ring. See ring.hpp.
//
// A header is one 64-bit word: length and bits below, above it either the number of pages from the
// start of the region (never 0 because the head page comes first) or the CPU plus 1. So no header is ever zero.
#include "map/ring.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/fd.hpp"
#include "map/run.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {
constexpr u32 length_of(u64 word) noexcept { return static_cast<u32>(word) & 0x3fffffffu; }
}  // namespace

Result<std::unique_ptr<Ring>> Ring::create(u64 data_bytes, Header header) {
  auto region = SKEP_TRY(Region::ring(page_bytes, data_bytes));
  return std::unique_ptr<Ring>(new Ring(std::move(region), data_bytes, header));
}

Ring::Ring(Region region, u64 data_bytes, Header header) noexcept
    : region_(std::move(region)), data_(region_.data() + page_bytes), mask_(data_bytes - 1), kind_(header) {
  reinterpret_cast<Head*>(region_.data())->ring = this;
}

Ring::~Ring() {
  if (const int fd = wake_fd(); fd >= 0) ::close(fd);
}

std::atomic_ref<u64> Ring::header_at(u64 position) const noexcept {
  return std::atomic_ref<u64>(*reinterpret_cast<u64*>(data_ + (position & mask_)));
}

/// An old `position` may be told that there is room; taking it then fails.
bool Ring::has_room(u64 position, u64 length) noexcept {
  if (position + length - consumed_.load(std::memory_order_acquire) <= mask_) return true;
  const u64 now = consumer_.load(std::memory_order_acquire);
  consumed_.store(now, std::memory_order_release);
  return position + length - now <= mask_;
}

std::byte* Ring::reserve(u64 size) noexcept {
  const u64 length = round_up(size + header_bytes, 8);
  if (size > largest_record || length > mask_) {
    lost_.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  u64 position = producer_.load(std::memory_order_relaxed);
  for (;;) {
    if (has_room(position, length)) {
      if (producer_.compare_exchange_weak(position, position + length, std::memory_order_acq_rel,
                                          std::memory_order_relaxed))
        break;
      continue;
    }
    const u64 now = producer_.load(std::memory_order_relaxed);
    if (now == position) {
      lost_.fetch_add(1, std::memory_order_relaxed);
      return nullptr;
    }
    position = now;  // it was old: others wrote and were read since
  }
  std::byte* record = data_ + (position & mask_);
  const u64 upper =
      kind_ == Header::cpu ? u64{current_cpu()} + 1 : static_cast<u64>(record - region_.data()) / page_bytes;
  header_at(position).store(upper << 32 | busy_bit | size, std::memory_order_release);
  return record + header_bytes;
}

void Ring::publish(std::atomic_ref<u64> header, u64 word, u64 flags) noexcept {
  // seq_cst on both: either this writer sees that the reader is armed, or the reader sees this record.
  header.store(word, std::memory_order_seq_cst);
  if ((flags & ring_flag::force_wakeup) != 0) {
    signal();
  } else if ((flags & ring_flag::no_wakeup) == 0 && armed_.load(std::memory_order_seq_cst) &&
             armed_.exchange(false, std::memory_order_seq_cst)) {
    signal();
  }
}

void Ring::commit(void* sample, u64 flags, bool discard) noexcept {
  std::byte* record = static_cast<std::byte*>(sample) - header_bytes;
  const std::atomic_ref<u64> header(*reinterpret_cast<u64*>(record));
  const u64 word = header.load(std::memory_order_relaxed);
  const u64 page = reinterpret_cast<u64>(record) / page_bytes;
  const auto* head = reinterpret_cast<const Head*>((page - (word >> 32)) * page_bytes);  // NOLINT
  head->ring->publish(header, (word & ~u64{busy_bit}) | (discard ? discard_bit : 0), flags);
}

bool Ring::write(const void* data, u64 size, const void* more, u64 more_size, u64 flags) noexcept {
  std::byte* to = reserve(size + more_size);
  if (to == nullptr) return false;
  std::memcpy(to, data, size);
  if (more_size > 0) std::memcpy(to + size, more, more_size);
  const std::atomic_ref<u64> header(*reinterpret_cast<u64*>(to - header_bytes));
  publish(header, header.load(std::memory_order_relaxed) & ~u64{busy_bit}, flags);
  return true;
}

u64 Ring::query(u64 flags) const noexcept {
  switch (flags) {
    case ring_flag::avail_data: {
      const u64 consumed = consumer_.load(std::memory_order_acquire);
      return producer_.load(std::memory_order_acquire) - consumed;
    }
    case ring_flag::ring_size:
      return mask_ + 1;
    case ring_flag::cons_pos:
      return consumer_.load(std::memory_order_acquire);
    case ring_flag::prod_pos:
      return producer_.load(std::memory_order_acquire);
    default:
      return 0;
  }
}

// --- the reader ---

bool Ring::has_complete_record() const noexcept {
  const u64 position = consumer_.load(std::memory_order_relaxed);
  if (position == producer_.load(std::memory_order_seq_cst)) return false;
  const u64 word = header_at(position).load(std::memory_order_seq_cst);
  return word != 0 && (word & busy_bit) == 0;
}

/// The part of the ring that is being read. Zeroes what was read and gives it back to the writers, a few KiB at a time,
/// and the rest even when a callback throws: a record is handed out once.
class Ring::Reading {
 public:
  explicit Reading(Ring& ring) noexcept
      : ring_(ring),
        most_(std::min<u64>((ring.mask_ + 1) / 8, 8 << 10)),
        released_(ring.consumer_.load(std::memory_order_relaxed)),
        position_(released_) {}
  ~Reading() { release(); }

  u64 position() const noexcept { return position_; }
  /// Counts `length` bytes as read; they stay readable until the next call.
  void pass(u64 length) noexcept {
    if (position_ - released_ >= most_) release();
    position_ += length;
  }

 private:
  void release() noexcept {
    if (position_ == released_) return;
    std::memset(ring_.data_ + (released_ & ring_.mask_), 0, position_ - released_);
    released_ = position_;
    ring_.consumer_.store(released_, std::memory_order_release);
  }
  Ring& ring_;
  const u64 most_;
  u64 released_, position_;
};

std::size_t Ring::consume(const std::function<void(const Record&)>& on_record) {
  const std::lock_guard lock(reading_);
  std::size_t count = 0;
  const u64 end = producer_.load(std::memory_order_acquire);
  Reading reading(*this);
  while (reading.position() != end) {
    const u64 position = reading.position(), word = header_at(position).load(std::memory_order_acquire);
    if (word == 0 || (word & busy_bit) != 0) break;
    const u32 size = length_of(word);
    const u64 length = round_up(size + header_bytes, 8);
    if (length > end - position) {
      // Nobody but this file writes headers. Should one be broken all the same, nothing beyond the ring is touched.
      lost_.fetch_add(1, std::memory_order_relaxed);
      reading.pass(end - position);
      break;
    }
    reading.pass(length);
    if ((word & discard_bit) != 0) continue;
    ++count;
    const std::byte* data = data_ + (position & mask_) + header_bytes;
    const u32 cpu = kind_ == Header::cpu ? static_cast<u32>(word >> 32) - 1 : 0;
    on_record(Record{.data = {data, size}, .cpu = cpu});
  }
  return count;
}

void Ring::drop_all() noexcept {
  consume([](const Record&) {});
}

Result<void> Ring::open_wake() {
  const std::lock_guard lock(reading_);
  if (wake_fd() >= 0) return {};
  base::Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) return tl::unexpected<Error>(base::os_error("ring buffer: eventfd"));
  wake_.store(fd.release(), std::memory_order_release);
  return {};
}

void Ring::signal() const noexcept {
  const int fd = wake_fd();
  if (fd < 0) return;
  const u64 one = 1;
  [[maybe_unused]] const auto written = ::write(fd, &one, sizeof one);  // full counter: readable already
}

void Ring::arm() noexcept {
  const std::lock_guard lock(reading_);
  armed_.store(true, std::memory_order_seq_cst);
  if (has_complete_record() && armed_.exchange(false, std::memory_order_seq_cst)) signal();
}

void Ring::disarm() noexcept {
  armed_.store(false, std::memory_order_relaxed);
  u64 times = 0;
  [[maybe_unused]] const auto drained = ::read(wake_fd(), &times, sizeof times);
}

}  // namespace skep::map
