// Reading perf event arrays.
//
// Every online CPU gets a software event of kind BPF output; its descriptor goes into the map at the CPU's index, and
// bpf_perf_event_output() writes into that CPU's ring. A ring is one control page (positions, offsets) and a power of
// two of data pages. A record is a header {type, misc, size} and a body; it may wrap at the ring's end, then it is
// copied into a straight buffer. Records that did not fit are counted by the event itself (PERF_FORMAT_LOST, 6.0);
// before that the kernel reports them by a PERF_RECORD_LOST in front of the next record that fits.
// Source: perf_event_open(2); include/uapi/linux/perf_event.h.
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/perf_event.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/byte_reader.hpp"
#include "base/cpus.hpp"
#include "base/fd.hpp"
#include "kernel/mapping.hpp"
#include "kernel/perf_event.hpp"
#include "kernel/rings.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

struct CpuRing {
  u32 cpu = 0;
  base::Fd event;
  Mapping memory;
  bool counts_lost = false;  ///< the event counts what did not fit
};

/// What an event with PERF_FORMAT_LOST lost so far.
u64 lost_by(const base::Fd& event) {
  struct {
    u64 value, lost;
  } counts{};
  return ::read(event.get(), &counts, sizeof counts) == sizeof counts ? counts.lost : 0;
}

class PerfBufferReader final : public RingReader::Impl {
 public:
  PerfBufferReader(base::Fd map, base::Fd epoll, std::vector<CpuRing> rings, std::string name)
      : map_(std::move(map)), epoll_(std::move(epoll)), rings_(std::move(rings)), name_(std::move(name)) {}

  ~PerfBufferReader() override {
    for (const CpuRing& ring : rings_) {
      uapi::MapElem attr{static_cast<u32>(map_.get()), 0, address_of(&ring.cpu), 0, 0};
      bpf(uapi::Cmd::map_delete_elem, attr);
    }
  }

  Result<std::size_t> poll(std::chrono::milliseconds timeout,
                           const std::function<void(const Record&)>& on_record) override {
    if (const auto got = drain(on_record); !got || *got != 0) return got;
    SKEP_TRY(wait_readable(epoll_.get(), timeout));
    return drain(on_record);
  }
  u64 lost() const override {
    u64 sum = lost_.load(std::memory_order_relaxed);
    for (const CpuRing& ring : rings_)
      if (ring.counts_lost) sum += lost_by(ring.event);
    return sum;
  }
  int wait_fd() const override { return epoll_.get(); }

 private:
  Result<std::size_t> drain(const std::function<void(const Record&)>& on_record) {
    std::size_t count = 0;
    for (const CpuRing& ring : rings_) count += SKEP_TRY(drain(ring, on_record));
    return count;
  }

  Result<std::size_t> drain(const CpuRing& ring, const std::function<void(const Record&)>& on_record) {
    auto& control = ring.memory.at<perf_event_mmap_page>(0);
    const u64 size = ring.memory.size() - page_bytes();
    const std::byte* data = ring.memory.bytes() + page_bytes();
    std::atomic_ref<__u64> head(control.data_head), tail(control.data_tail);
    const u64 end = head.load(std::memory_order_acquire);
    u64 position = tail.load(std::memory_order_relaxed);
    std::size_t count = 0;
    // The position is shared with the CPU that writes: it is moved once for 1/16 of the ring, and at the end, also when
    // a callback throws.
    struct Release {
      std::atomic_ref<__u64> shared;
      const u64& position;
      ~Release() { shared.store(position, std::memory_order_release); }
    } const release{tail, position};
    for (u64 moved = position; position != end;) {
      const auto header = header_at(data, size, position);
      if (end - position > size || header.size < sizeof header || header.size > end - position) {
        const u64 waiting = end - position;
        position = end;
        return fail(Code::malformed, fmt::format("perf buffer {}: CPU {} holds a record of {} bytes with {} waiting",
                                                 name_, ring.cpu, header.size, waiting));
      }
      const auto record = straight(data, size, position, header.size);
      position += header.size;
      if (handle(header, record, ring, on_record)) ++count;
      if (position - moved < size / 16) continue;
      tail.store(position, std::memory_order_release);
      moved = position;
    }
    return count;
  }

  /// Records are multiples of 8 bytes, so a header never wraps.
  static perf_event_header header_at(const std::byte* data, u64 size, u64 position) {
    perf_event_header header;
    std::memcpy(&header, data + (position & (size - 1) & ~u64{7}), sizeof header);
    return header;
  }

  /// The record in one piece: in place, or copied when it wraps.
  std::span<const std::byte> straight(const std::byte* data, u64 size, u64 position, u64 length) {
    const u64 place = position & (size - 1);
    if (length <= size - place) return {data + place, length};
    copy_.resize(length);
    std::memcpy(copy_.data(), data + place, size - place);
    std::memcpy(copy_.data() + (size - place), data, length - (size - place));
    return copy_;
  }

  /// True when a record was handed out.
  bool handle(const perf_event_header& header, std::span<const std::byte> bytes, const CpuRing& ring,
              const std::function<void(const Record&)>& on_record) {
    const base::ByteReader reader(bytes);
    if (header.type == PERF_RECORD_LOST && !ring.counts_lost) {
      lost_.fetch_add(reader.at<u64>(16).value_or(0), std::memory_order_relaxed);  // {header, id, lost}
      return false;
    }
    if (header.type != PERF_RECORD_SAMPLE) return false;
    const auto length = reader.at<u32>(8);  // {header, size, data}: PERF_SAMPLE_RAW is all that was asked for
    const auto data = length ? reader.slice(12, *length) : std::nullopt;
    if (!data) return false;
    on_record({*data, ring.cpu});
    return true;
  }

  base::Fd map_, epoll_;
  std::vector<CpuRing> rings_;
  std::vector<std::byte> copy_;
  std::string name_;
  std::atomic<u64> lost_ = 0;
};

Result<CpuRing> open_cpu(int map_fd, u32 cpu, u64 data_bytes) {
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = PERF_TYPE_SOFTWARE;
  attr.config = PERF_COUNT_SW_BPF_OUTPUT;
  attr.sample_type = PERF_SAMPLE_RAW;
  attr.sample_period = 1;
  attr.wakeup_events = 1;
  attr.read_format = PERF_FORMAT_LOST;
  auto opened = open_perf_event(attr, -1, static_cast<int>(cpu));
  const bool counts_lost = opened.has_value();
  attr.read_format = 0;
  base::Fd event = counts_lost ? *std::move(opened) : SKEP_TRY(open_perf_event(attr, -1, static_cast<int>(cpu)));
  auto memory = SKEP_TRY(Mapping::map(event.get(), page_bytes() + data_bytes, PROT_READ | PROT_WRITE, 0));
  const u32 fd = static_cast<u32>(event.get());
  uapi::MapElem element{static_cast<u32>(map_fd), 0, address_of(&cpu), address_of(&fd), 0};
  SKEP_TRY(bpf_ok(uapi::Cmd::map_update_elem, element, "put a ring into the map"));
  if (::ioctl(event.get(), PERF_EVENT_IOC_ENABLE, 0) != 0) return tl::unexpected(base::os_error("enable the event"));
  return CpuRing{cpu, std::move(event), std::move(memory), counts_lost};
}

}  // namespace

Result<RingReader> open_perf_buffer(int map_fd, const MapInfo& info, u32 pages_per_cpu) {
  const std::string place = "perf buffer " + info.name;
  base::Fd own(::fcntl(map_fd, F_DUPFD_CLOEXEC, 0));
  base::Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!own || !epoll) return tl::unexpected(base::os_error(place));
  std::vector<CpuRing> rings;
  for (const u32 cpu : base::online_cpus()) {
    if (cpu >= info.max_entries) break;  // the program cannot write there either
    auto ring = open_cpu(own.get(), cpu, std::bit_ceil(std::max(pages_per_cpu, 1u)) * page_bytes());
    if (!ring && ring.error().os_error == ENODEV) continue;  // went offline just now
    if (!ring) return tl::unexpected(std::move(ring).error().within(fmt::format("{}: CPU {}", place, cpu)));
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, ring->event.get(), &interest) != 0)
      return tl::unexpected(base::os_error(place));
    rings.push_back(std::move(*ring));
  }
  if (rings.empty())
    return fail(Code::not_found,
                fmt::format("{}: none of the online CPUs has a slot in the map ({} entries)", place, info.max_entries));
  return RingReader(std::make_unique<PerfBufferReader>(std::move(own), std::move(epoll), std::move(rings), info.name));
}

}  // namespace skep::kernel
