// Writing into a BPF user ring buffer.
//
// The mirror of ring_buffer.cpp: one page with the program's position (read-only), one page with the writer's position,
// then the data, mapped twice in a row (both writable). The program trusts nothing it finds there; the writer trusts
// the reader's position only as far as the ring's size. Source: kernel/bpf/ringbuf.c, __bpf_user_ringbuf_peek.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "base/fd.hpp"
#include "kernel/mapping.hpp"
#include "kernel/ring_layout.hpp"
#include "kernel/rings.hpp"

namespace skep::kernel {
namespace {

class UserRingWriter final : public RingWriter::Impl {
 public:
  UserRingWriter(base::Fd map, Mapping consumer, Mapping producer, u64 size, std::string name)
      : map_(std::move(map)),
        consumer_(std::move(consumer)),
        producer_(std::move(producer)),
        size_(size),
        name_(std::move(name)) {}

  Result<std::span<std::byte>> reserve(u32 bytes, std::chrono::milliseconds timeout) override {
    const u64 length = ring_record_bytes(bytes);
    if (length > size_ || bytes >= ring_discarded)
      return fail(Code::limit, fmt::format("user ring buffer {}: a record of {} bytes and its header never fit into {}",
                                           name_, bytes, size_));
    // Longer than a year is as good as for ever and does not overflow the clock.
    const auto until =
        std::chrono::steady_clock::now() + std::min<std::chrono::milliseconds>(timeout, std::chrono::hours(24 * 365));
    for (auto pause = std::chrono::microseconds(20);; pause = std::min(pause * 2, std::chrono::microseconds(1000))) {
      if (std::byte* place = take(bytes, length); place != nullptr) return std::span(place, bytes);
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      if (left.count() <= 0)
        return fail(Code::limit, fmt::format("user ring buffer {}: no room: programs have not drained it", name_));
      // The descriptor is writable as soon as there is any room, which may be too little: then only time helps.
      if (SKEP_TRY(wait_writable(map_.get(), left))) std::this_thread::sleep_for(pause);
    }
  }

  void finish(std::span<std::byte> record, bool discard) noexcept override {
    // The record may lie in the second image of the data; its header is the one before it all the same.
    auto* header = reinterpret_cast<u32*>(record.data() - ring_header_bytes);
    std::atomic_ref<u32>(*header).store(static_cast<u32>(record.size()) | (discard ? ring_discarded : 0),
                                        std::memory_order_release);
  }

 private:
  std::byte* take(u32 bytes, u64 length) {
    const std::lock_guard lock(one_at_a_time_);
    std::atomic_ref<u64> read_position(consumer_.at<u64>(0)), write_position(producer_.at<u64>(0));
    const u64 read = read_position.load(std::memory_order_acquire);
    const u64 written = write_position.load(std::memory_order_relaxed);
    if (written - read > size_ || size_ - (written - read) < length) return nullptr;
    std::byte* record = producer_.bytes() + page_bytes() + (written & (size_ - 1));
    auto* header = reinterpret_cast<u32*>(record);
    std::atomic_ref<u32>(header[1]).store(0, std::memory_order_relaxed);
    std::atomic_ref<u32>(header[0]).store(bytes | ring_busy, std::memory_order_relaxed);
    write_position.store(written + length, std::memory_order_release);
    return record + ring_header_bytes;
  }

  std::mutex one_at_a_time_;
  base::Fd map_;
  Mapping consumer_, producer_;
  u64 size_;
  std::string name_;
};

}  // namespace

Result<RingWriter> open_user_ring(int map_fd, const MapInfo& info) {
  const std::string place = fmt::format("user ring buffer {}", info.name);
  const u64 size = SKEP_TRY_AT(place, ring_size(info));
  base::Fd fd(::fcntl(map_fd, F_DUPFD_CLOEXEC, 0));
  if (!fd) return tl::unexpected(base::os_error(place));
  auto consumer = SKEP_TRY_AT(place, Mapping::map(fd.get(), page_bytes(), PROT_READ, 0));
  auto producer =
      SKEP_TRY_AT(place, Mapping::map(fd.get(), page_bytes() + 2 * size, PROT_READ | PROT_WRITE, page_bytes()));
  return RingWriter(
      std::make_unique<UserRingWriter>(std::move(fd), std::move(consumer), std::move(producer), size, info.name));
}

}  // namespace skep::kernel
