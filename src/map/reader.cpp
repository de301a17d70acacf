// Waiting for records. See reader.hpp and ring.hpp.
//
// The rule that loses no wake-up: between two calls of poll() the ring is armed, so the first record that comes
// makes the descriptor readable; arming looks once more for a record that came in between.
#include "map/reader.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "base/fd.hpp"
#include "map/arena.hpp"
#include "map/ringbuf.hpp"
#include "map/user_ringbuf.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

using Clock = std::chrono::steady_clock;

/// Longer than a year is as good as for ever and does not overflow the clock.
Clock::time_point after(std::chrono::milliseconds wait) {
  return Clock::now() + std::min<std::chrono::milliseconds>(wait, std::chrono::hours(24 * 365));
}

class Reader final : public RingReader::Impl {
 public:
  Reader(std::shared_ptr<Map> map, Ring& ring) : map_(std::move(map)), ring_(ring), lost_before_(ring.lost()) {
    ring_.arm();
  }
  ~Reader() override { close_ring(*map_); }

  Result<std::size_t> poll(std::chrono::milliseconds timeout,
                           const std::function<void(const Record&)>& on_record) override {
    const auto deadline = after(timeout);
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

class Writer final : public RingWriter::Impl {
 public:
  explicit Writer(std::shared_ptr<Map> map) : map_(std::move(map)) {}

  Result<std::span<std::byte>> reserve(u32 bytes, std::chrono::milliseconds timeout) override {
    const std::string place = "user ring buffer " + map_->info.name;
    if (round_up(u64{bytes} + 8, 8) > map_->spec().max_entries)
      return fail(Code::limit, place + ": a record of " + std::to_string(bytes) +
                                   " bytes and its header never fit into " + std::to_string(map_->spec().max_entries));
    const auto deadline = after(timeout);
    // Whoever drains it is a thread of this process that tells nobody: the waits grow to a millisecond.
    for (auto pause = std::chrono::microseconds(20);; pause = std::min(pause * 2, std::chrono::microseconds(1000))) {
      if (void* place_for_it = user_ring_reserve(*map_, bytes); place_for_it != nullptr)
        return std::span(static_cast<std::byte*>(place_for_it), bytes);
      if (Clock::now() >= deadline) return fail(Code::limit, place + ": no room: programs have not drained it");
      std::this_thread::sleep_for(pause);
    }
  }
  void finish(std::span<std::byte> record, bool discard) noexcept override {
    discard ? user_ring_discard(*map_, record.data()) : user_ring_submit(*map_, record.data());
  }

 private:
  std::shared_ptr<Map> map_;
};

}  // namespace

Result<RingWriter> open_writer(std::shared_ptr<Map> map) {
  if (map->spec().type != MapType::user_ringbuf)
    return fail(Code::unsupported, "map " + map->info.name + ": a " + std::string(name_of(map->spec().type)) +
                                       " map takes no records from its host; expected user_ringbuf");
  return RingWriter(std::make_unique<Writer>(std::move(map)));
}

Result<std::span<std::byte>> shared_memory(Map& map) {
  const MapSpec& spec = map.spec();
  if (spec.type == MapType::arena) {
    const ArenaWindow window = arena_window(map);
    return std::span(reinterpret_cast<std::byte*>(window.begin), window.end - window.begin);
  }
  const u32 first = 0;
  if (spec.type == MapType::array && (spec.flags & flag::mmapable) != 0 && map.fields() == nullptr) {
    // Programs were verified with what is in it, so nobody may write there. Linux: bpf_map_mmap.
    if (map.frozen() || (spec.flags & (flag::rdonly_prog | flag::rdonly)) != 0)
      return fail(Code::permission, "map " + map.info.name + ": it is frozen or read-only, so its memory is not shared",
                  EPERM);
    return std::span(static_cast<std::byte*>(map.lookup(&first)), round_up(spec.value_size, 8) * spec.max_entries);
  }
  return fail(Code::unsupported,
              "map " + map.info.name + ": only arenas, and arrays with BPF_F_MMAPABLE, share their memory");
}

Result<RingReader> open_reader(std::shared_ptr<Map> map) {
  Ring* ring = SKEP_TRY(open_ring(*map));
  return RingReader(std::make_unique<Reader>(std::move(map), *ring));
}

}  // namespace skep::map
