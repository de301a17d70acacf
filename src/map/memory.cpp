// Regions and the list of them. See memory.hpp.
#include "map/memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>

#include "base/fd.hpp"
#include "map/run.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

/// One place in the list of regions. Entries are never freed, only used again.
struct Entry {
  std::atomic<u64> begin{0};  ///< 0: not in use
  std::atomic<u64> end{0};
  std::atomic<bool> owned{true};
  Entry* next = nullptr;
};
constinit std::atomic<Entry*> entries{nullptr};

Entry* list(u64 begin, u64 end) noexcept {
  Entry* entry = entries.load(std::memory_order_acquire);
  for (; entry != nullptr; entry = entry->next) {
    bool free = false;
    if (entry->owned.compare_exchange_strong(free, true, std::memory_order_acquire)) break;
  }
  if (entry == nullptr) {
    entry = new (std::nothrow) Entry;
    if (entry == nullptr) return nullptr;  // the region then is not readable by address; nothing else depends on it
    entry->next = entries.load(std::memory_order_relaxed);
    while (!entries.compare_exchange_weak(entry->next, entry, std::memory_order_release, std::memory_order_relaxed)) {
    }
  }
  entry->end.store(end, std::memory_order_relaxed);
  entry->begin.store(begin, std::memory_order_seq_cst);
  return entry;
}

/// False: a run that may be looking at the region did not end, so its memory must stay.
bool unlist(Entry* entry) noexcept {
  entry->begin.store(0, std::memory_order_seq_cst);
  // Inside of a run nobody can be waited for (two threads would wait for each other): maps die outside of runs.
  const bool unseen = RunSection::active() || synchronize_runs();
  entry->owned.store(false, std::memory_order_release);
  return unseen;
}

/// Where to ask for memory: 32 TiB from 2^45 on, where neither executables nor libraries nor stacks are placed.
void* next_hint(u64 bytes) noexcept {
  constexpr u64 window = u64{1} << 45;
  static constinit std::atomic<u64> used{0};
  const u64 offset = used.fetch_add(round_up(bytes, page_bytes) + page_bytes, std::memory_order_relaxed);
  // The hint is only a wish: the system places the memory elsewhere when it must.
  return reinterpret_cast<void*>(window + offset % window);  // NOLINT(performance-no-int-to-ptr)
}

Result<void> check_size(u64 bytes) {
  static const u64 memory = static_cast<u64>(::sysconf(_SC_PHYS_PAGES)) * static_cast<u64>(::sysconf(_SC_PAGESIZE));
  if (bytes <= memory) return {};
  return fail(Code::limit,
              "the map would take " + std::to_string(bytes) + " bytes: the machine has " + std::to_string(memory) +
                  "; make max_entries or value_size smaller",
              ENOMEM);
}

tl::unexpected<Error> out_of_memory(u64 bytes, int error_number) {
  return fail(Code::limit,
              "mapping " + std::to_string(bytes) + " bytes for the map: " + std::strerror(error_number) +
                  "; make the map smaller or raise the limit (ulimit -v)",
              error_number);
}

}  // namespace

Region::Region(std::byte* data, u64 bytes) noexcept : data_(data), bytes_(bytes) {
  const u64 begin = reinterpret_cast<u64>(data);
  entry_ = list(begin, begin + bytes);
}

Region::~Region() {
  if (data_ == nullptr) return;
  if (entry_ != nullptr && !unlist(static_cast<Entry*>(entry_))) return;
  ::munmap(data_, bytes_);
}

Result<Region> Region::allocate(u64 bytes) {
  SKEP_TRY(check_size(bytes));
  bytes = round_up(bytes == 0 ? 1 : bytes, page_bytes);
  void* data =
      ::mmap(next_hint(bytes), bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return out_of_memory(bytes, errno);
  return Region(static_cast<std::byte*>(data), bytes);
}

Result<Region> Region::ring(u64 head_bytes, u64 data_bytes) {
  SKEP_TRY(check_size(head_bytes + 2 * data_bytes));
  const base::Fd memory(::memfd_create("skep-ring", MFD_CLOEXEC));
  if (!memory) return tl::unexpected<Error>(base::os_error("ring buffer: memfd_create"));
  const u64 file_bytes = head_bytes + data_bytes;
  if (::ftruncate(memory.get(), static_cast<off_t>(file_bytes)) != 0)
    return tl::unexpected<Error>(base::os_error("ring buffer: ftruncate"));
  const u64 bytes = file_bytes + data_bytes;
  void* data = ::mmap(next_hint(bytes), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return out_of_memory(bytes, errno);
  auto* first = static_cast<std::byte*>(data);
  std::byte* second = first + file_bytes;
  const bool mapped =
      ::mmap(first, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory.get(), 0) == first &&
      ::mmap(second, data_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory.get(),
             static_cast<off_t>(head_bytes)) == second;
  if (!mapped) {
    const int error_number = errno;
    ::munmap(data, bytes);
    return out_of_memory(bytes, error_number);
  }
  return Region(first, bytes);
}

Result<Region> Region::window(u64 begin, u64 bytes, u64 wanted) {
  SKEP_TRY(check_size(bytes));
  constexpr u64 sink_bytes = 16 << 20, reserved = window_bytes + 2 * window_guard;
  const base::Fd sink(::memfd_create("skep-arena", MFD_CLOEXEC));
  if (!sink || ::ftruncate(sink.get(), sink_bytes) != 0)
    return tl::unexpected<Error>(base::os_error("arena: memfd_create"));
  const auto reserve = [](u64 address, u64 length, int flags) {
    return ::mmap(reinterpret_cast<void*>(address), length, PROT_NONE,  // NOLINT(performance-no-int-to-ptr)
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  };
  void* placed = wanted >= window_guard ? reserve(wanted - window_guard, reserved, MAP_FIXED_NOREPLACE) : MAP_FAILED;
  auto* start = static_cast<std::byte*>(placed);
  if (placed == MAP_FAILED) {  // twice as much, of which an aligned half is kept
    const u64 generous = reserved + window_bytes;
    placed = reserve(0, generous, 0);
    if (placed == MAP_FAILED) return out_of_memory(reserved, errno);
    auto* all = static_cast<std::byte*>(placed);
    const u64 base = round_up(reinterpret_cast<u64>(all) + window_guard, window_bytes);
    start = all + (base - window_guard - reinterpret_cast<u64>(all));
    if (start != all) ::munmap(all, static_cast<std::size_t>(start - all));
    ::munmap(start + reserved, static_cast<std::size_t>(all + generous - (start + reserved)));
  }
  const u64 own = window_guard + begin, end = own + bytes;
  bool mapped = ::mmap(start + own, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
  const auto cover = [&](u64 from, u64 to) {
    for (u64 at = from; mapped && at < to; at += sink_bytes)
      mapped = ::mmap(start + at, to - at < sink_bytes ? to - at : sink_bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE | MAP_FIXED, sink.get(), 0) != MAP_FAILED;
  };
  cover(0, own);
  cover(end, reserved);
  if (!mapped) {
    const int error_number = errno;
    ::munmap(start, reserved);
    return out_of_memory(reserved, error_number);
  }
  return Region(start, reserved);
}

u64 Region::resident_bytes() const noexcept {
  constexpr u64 pages_at_once = 4096;
  unsigned char in_memory[pages_at_once];
  u64 resident = 0;
  for (u64 offset = 0; offset < bytes_; offset += pages_at_once * page_bytes) {
    const u64 length = bytes_ - offset < pages_at_once * page_bytes ? bytes_ - offset : pages_at_once * page_bytes;
    if (::mincore(data_ + offset, length, in_memory) != 0) return bytes_;
    for (u64 page = 0; page < length / page_bytes; ++page) resident += (in_memory[page] & 1u) * page_bytes;
  }
  return resident;
}

u64 map_bytes_from(u64 address) noexcept {
  if (!RunSection::active()) return 0;
  for (Entry* entry = entries.load(std::memory_order_seq_cst); entry != nullptr; entry = entry->next) {
    const u64 begin = entry->begin.load(std::memory_order_seq_cst);
    if (begin == 0 || address < begin) continue;
    const u64 end = entry->end.load(std::memory_order_relaxed);
    // Looked at twice: between the two loads the entry may have become another region's.
    if (address < end && entry->begin.load(std::memory_order_seq_cst) == begin) return end - address;
  }
  return 0;
}

}  // namespace skep::map
