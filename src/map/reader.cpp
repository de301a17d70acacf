// Waiting for records. See reader.hpp and ring.hpp.
//
// The rule that loses no wake-up: between two calls of poll() the ring is armed, so the first record that comes
// makes the descriptor readable; arming looks once more for a record that came in between.
#include "map/reader.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.hpp"
#include "map/ringbuf.hpp"

namespace skep::map {

namespace {

using Clock = std::chrono::steady_clock;

class Reader final : public RingReader::Impl {
 public:
  Reader(std::shared_ptr<Map> map, Ring& ring) : map_(std::move(map)), ring_(ring), lost_before_(ring.lost()) {
    ring_.arm();
  }
  ~Reader() override { close_ring(*map_); }

  Result<std::size_t> poll(std::chrono::milliseconds timeout,
                           const std::function<void(const Record&)>& on_record) override {
    // Longer than a year is as good as for ever and does not overflow the clock.
    const auto wait = std::min<std::chrono::milliseconds>(timeout, std::chrono::hours(24 * 365));
    const auto deadline = Clock::now() + wait;
    const Armed armed{ring_};
    for (;;) {
      ring_.disarm();
      if (const std::size_t count = ring_.consume(on_record); count > 0) return count;
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      if (timeout.count() <= 0 || left.count() <= 0) return 0;
      ring_.arm();
      pollfd fd{wait_fd(), POLLIN, 0};
      const int ready = ::poll(&fd, 1, static_cast<int>(std::min<s64>(left.count(), 1 << 30)));
      if (ready < 0 && errno == EINTR) return 0;  // a signal: the caller decides whether to go on
      if (ready < 0) return tl::unexpected<Error>(base::os_error("waiting for records"));
    }
  }
  u64 lost() const override { return ring_.lost() - lost_before_; }
  int wait_fd() const override { return ring_.wake_fd(); }

 private:
  /// Leaves the ring armed, whatever the callback does.
  struct Armed {
    Ring& ring;
    ~Armed() { ring.arm(); }
  };

  std::shared_ptr<Map> map_;
  Ring& ring_;
  u64 lost_before_;
};

}  // namespace

Result<RingReader> open_reader(std::shared_ptr<Map> map) {
  Ring* ring = SKEP_TRY(open_ring(*map));
  return RingReader(std::make_unique<Reader>(std::move(map), *ring));
}

}  // namespace skep::map
