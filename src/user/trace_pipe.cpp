// The ring behind the trace pipe. See trace_pipe.hpp.
//
// A record is a 32-bit length and the line, byte by byte around the end of the ring. Positions only grow; the
// ring's place is position & mask. Who empties and who fills meet in one rule: the writer publishes its tail and
// then looks at the head, the reader publishes its head and then looks at the tail, so one of them sees the other.
#include "user/trace_pipe.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace skep::user {

namespace {
/// The lines of a message. As in the kernel's pipe a newline ends one, also within a message, and what is empty behind
/// it is none.
void each_line(std::string_view text, const std::function<void(const Record&)>& on_record) {
  for (bool is_first = true;; is_first = false) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (is_first || !line.empty()) on_record(Record{.data = std::as_bytes(std::span(line))});
    if (line.size() == text.size()) return;
    text.remove_prefix(line.size() + 1);
  }
}
}  // namespace

class TracePipe::Reader final : public RingReader::Impl {
 public:
  explicit Reader(std::shared_ptr<TracePipe> pipe) : pipe_(std::move(pipe)), lost_before_(pipe_->lost_) {}

  Result<std::size_t> poll(std::chrono::milliseconds timeout,
                           const std::function<void(const Record&)>& on_record) override {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (true) {
      const std::size_t records = pipe_->take_all(on_record);
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (records != 0 || left.count() <= 0) return records;
      // The signal for a line may come after the line was read: then this wakes for nothing, and waits again.
      pollfd fd{wait_fd(), POLLIN, 0};
      const int ready = ::poll(&fd, 1, static_cast<int>(std::min<s64>(left.count(), 1 << 30)));
      if (ready < 0 && errno == EINTR) return std::size_t{0};
      if (ready < 0) return tl::unexpected<Error>(base::os_error("wait for trace lines"));
    }
  }
  u64 lost() const override { return pipe_->lost_ - lost_before_; }
  int wait_fd() const override { return pipe_->wake_.get(); }

 private:
  std::shared_ptr<TracePipe> pipe_;
  u64 lost_before_;
};

TracePipe::TracePipe(base::Fd wake, std::size_t bytes)
    : wake_(std::move(wake)), mask_(bytes - 1), ring_(new std::byte[bytes]) {}

Result<std::shared_ptr<TracePipe>> TracePipe::create(std::size_t bytes) {
  base::Fd wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake) return tl::unexpected<Error>(base::os_error("trace pipe: eventfd"));
  return std::shared_ptr<TracePipe>(new TracePipe(std::move(wake), bytes));
}

RingReader TracePipe::open() { return RingReader(std::make_unique<Reader>(shared_from_this())); }

void TracePipe::copy_in(u64 at, const void* from, std::size_t size) noexcept {
  const std::size_t place = at & mask_;
  const std::size_t first = std::min(size, mask_ + 1 - place);
  std::memcpy(ring_.get() + place, from, first);
  std::memcpy(ring_.get(), static_cast<const std::byte*>(from) + first, size - first);
}

void TracePipe::copy_out(u64 at, void* to, std::size_t size) const noexcept {
  const std::size_t place = at & mask_;
  const std::size_t first = std::min(size, mask_ + 1 - place);
  std::memcpy(to, ring_.get() + place, first);
  std::memcpy(static_cast<std::byte*>(to) + first, ring_.get(), size - first);
}

void TracePipe::signal() const noexcept {
  const u64 one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

bool TracePipe::line(std::string_view text) noexcept {
  while (writing_.test_and_set(std::memory_order_acquire)) writing_.wait(true, std::memory_order_relaxed);
  const u64 tail = tail_.load(std::memory_order_relaxed);
  const u32 size = static_cast<u32>(std::min<std::size_t>(text.size(), 1u << 20));
  const std::size_t needed = sizeof size + size;
  const bool fits = needed <= mask_ + 1 - (tail - head_.load());
  bool was_empty = false;
  if (fits) {
    copy_in(tail, &size, sizeof size);
    copy_in(tail + sizeof size, text.data(), size);
    tail_.store(tail + needed);
    was_empty = head_.load() == tail;
  } else {
    lost_.fetch_add(1, std::memory_order_relaxed);
  }
  writing_.clear(std::memory_order_release);
  writing_.notify_one();
  if (was_empty) signal();
  return fits;
}

std::size_t TracePipe::take_all(const std::function<void(const Record&)>& on_record) {
  const std::lock_guard turn(reading_);
  u64 count_signals = 0;
  [[maybe_unused]] const auto drained = ::read(wake_.get(), &count_signals, sizeof count_signals);
  std::size_t records = 0;
  u64 head = head_.load();
  // Only what was there at the start, so that a writer without pause cannot hold the reader here.
  for (const u64 end = tail_.load(); head != end; ++records) {
    u32 size = 0;
    copy_out(head, &size, sizeof size);
    scratch_.resize(size);
    copy_out(head + sizeof size, scratch_.data(), size);
    head += sizeof size + size;
    head_.store(head);
    each_line({scratch_.data(), size}, on_record);
  }
  if (tail_.load() != head) signal();
  return records;
}

}  // namespace skep::user
