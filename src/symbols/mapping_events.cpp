// Rings of perf events, one for each CPU. See mapping_events.hpp.
#include "symbols/mapping_events.hpp"

#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/byte_reader.hpp"
#include "base/cpus.hpp"

namespace skep::symbols {

namespace {

constexpr std::size_t ring_pages = 16;
constexpr u16 misc_executed = 1u << 13;  // PERF_RECORD_MISC_COMM_EXEC

std::size_t page_bytes() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

perf_event_attr attributes(bool inherited) {
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = PERF_TYPE_SOFTWARE;
  attr.config = PERF_COUNT_SW_DUMMY;
  attr.exclude_kernel = attr.exclude_hv = 1;
  attr.inherit = inherited;
  attr.mmap = attr.mmap2 = attr.comm = attr.comm_exec = attr.task = 1;
  attr.sample_id_all = 1;
  attr.sample_type = PERF_SAMPLE_TIME;  // behind every record: events of one process come from several CPUs
  attr.use_clockid = 1;
  attr.clockid = CLOCK_MONOTONIC;
  attr.watermark = 1;
  attr.wakeup_watermark = static_cast<u32>(ring_pages * page_bytes());  // nobody waits for it
  return attr;
}

u64 now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

/// The record's own part, without the header. False: of no interest here.
bool parse(const perf_event_header& header, base::ByteReader body, MappingEvent& event) {
  const auto word = [&](u64 offset) { return body.at<u32>(offset).value_or(0); };
  const auto number = [&](u64 offset) { return body.at<u64>(offset).value_or(0); };
  if (body.size() < sizeof(u64)) return false;
  event.time_ns = number(body.size() - sizeof(u64));
  event.pid = word(0);
  switch (header.type) {
    case PERF_RECORD_FORK:
      event.kind = MappingEvent::Kind::forked;
      event.parent = word(4);
      return event.pid != event.parent;  // a thread has its process's
    case PERF_RECORD_COMM:
      event.kind = MappingEvent::Kind::executed;
      return (header.misc & misc_executed) != 0;
    case PERF_RECORD_MMAP2: {
      Mapping& mapping = event.mapping;
      mapping.begin = number(8);
      mapping.end = mapping.begin + number(16);
      mapping.file_offset = number(24);
      mapping.device_major = word(32), mapping.device_minor = word(36);
      mapping.inode = number(40);
      mapping.executable = true;
      const auto path = body.string(64);
      if (path && *path != "//anon") mapping.path = *path;
      event.kind = MappingEvent::Kind::mapped;
      return mapping.end > mapping.begin;
    }
    default:
      return false;
  }
}

}  // namespace

class MappingEvents::Ring {
 public:
  static Result<Ring> open(perf_event_attr attr, int pid, u32 cpu) {
    Ring ring;
    ring.event_ = base::Fd(
        static_cast<int>(::syscall(SYS_perf_event_open, &attr, pid, static_cast<int>(cpu), -1, PERF_FLAG_FD_CLOEXEC)));
    if (!ring.event_) {
      if (errno == ENOSYS) return fail(Code::unsupported, "this kernel has no perf events", ENOSYS);
      return tl::unexpected(base::os_error("perf_event_open"));
    }
    ring.bytes_ = (ring_pages + 1) * page_bytes();
    void* const memory = ::mmap(nullptr, ring.bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, ring.event_.get(), 0);
    if (memory == MAP_FAILED) return tl::unexpected(base::os_error("the ring of perf_event_open"));
    ring.memory_ = memory;
    return ring;
  }
  Ring() = default;
  Ring(Ring&& other) noexcept
      : event_(std::move(other.event_)),
        memory_(std::exchange(other.memory_, nullptr)),
        bytes_(other.bytes_),
        later_(std::move(other.later_)),
        lost_(other.lost_) {}
  Ring& operator=(Ring&& other) noexcept {
    std::swap(event_, other.event_), std::swap(memory_, other.memory_), std::swap(bytes_, other.bytes_);
    std::swap(later_, other.later_), std::swap(lost_, other.lost_);
    return *this;
  }
  ~Ring() {
    if (memory_ != nullptr) ::munmap(memory_, bytes_);
  }

  /// Events before `until`, which no other CPU can precede any more; the others wait for the next call.
  void read(u64 until, std::vector<MappingEvent>& out) {
    take();
    const auto end = std::ranges::find_if(later_, [&](const MappingEvent& event) { return event.time_ns >= until; });
    out.insert(out.end(), std::make_move_iterator(later_.begin()), std::make_move_iterator(end));
    later_.erase(later_.begin(), end);
  }
  u64 lost() const noexcept { return lost_; }

 private:
  void take() {
    auto* const control = static_cast<perf_event_mmap_page*>(memory_);
    const u64 size = ring_pages * page_bytes();
    const auto* const data = static_cast<const std::byte*>(memory_) + page_bytes();
    const u64 head = std::atomic_ref(control->data_head).load(std::memory_order_acquire);
    u64 tail = control->data_tail;
    std::vector<std::byte> record;
    while (head - tail >= sizeof(perf_event_header)) {
      perf_event_header header;
      std::memcpy(&header, data + tail % size, sizeof header);  // records are of whole words: a header never wraps
      if (header.size < sizeof header || header.size > head - tail) break;
      record.resize(header.size);
      const u64 at = tail % size, straight = std::min<u64>(header.size, size - at);
      std::memcpy(record.data(), data + at, straight);
      std::memcpy(record.data() + straight, data, header.size - straight);
      MappingEvent event;
      const base::ByteReader body(std::span<const std::byte>(record).subspan(sizeof header));
      if (header.type == PERF_RECORD_LOST) lost_ += body.at<u64>(sizeof(u64)).value_or(0);
      if (parse(header, body, event)) later_.push_back(std::move(event));
      tail += header.size;
    }
    std::atomic_ref(control->data_tail).store(head, std::memory_order_release);
  }

  base::Fd event_;
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
  std::vector<MappingEvent> later_;
  u64 lost_ = 0;
};

Result<MappingEvents> MappingEvents::open(Of whose) {
  const bool inherited = whose == Of::own_children;
  std::vector<Ring> rings;
  for (const u32 cpu : base::online_cpus()) {
    auto ring = Ring::open(attributes(inherited), inherited ? 0 : -1, cpu);
    if (!ring && ring.error().os_error == ENODEV) continue;  // went offline
    if (!ring) return tl::unexpected(std::move(ring).error());
    rings.push_back(*std::move(ring));
  }
  return MappingEvents(std::move(rings));
}

std::vector<MappingEvent> MappingEvents::read(bool everything) {
  constexpr u64 settled_ns = 1'000'000;
  const u64 until = everything ? ~u64{0} : now_ns() - settled_ns;
  std::vector<MappingEvent> events;
  for (Ring& ring : rings_) ring.read(until, events);
  std::ranges::stable_sort(events, {}, &MappingEvent::time_ns);
  return events;
}

u64 MappingEvents::lost() const noexcept {
  u64 lost = 0;
  for (const Ring& ring : rings_) lost += ring.lost();
  return lost;
}

MappingEvents::MappingEvents(std::vector<Ring> rings) noexcept : rings_(std::move(rings)) {}
MappingEvents::MappingEvents(MappingEvents&&) noexcept = default;
MappingEvents& MappingEvents::operator=(MappingEvents&&) noexcept = default;
MappingEvents::~MappingEvents() = default;

}  // namespace skep::symbols
