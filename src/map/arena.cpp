// Arenas. See arena.hpp.
//
// One bit a page says whether it is handed out. Pages are found first fit, from where the last search ended for single
// pages. A page's memory is given back to the system when it is freed and is zero when it is handed out again.
// Source: kernel/bpf/arena.c (rules of allocation).
#include "map/arena.hpp"

#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <mutex>
#include <vector>

#include "map/memory.hpp"
#include "map/spin_lock.hpp"
#include "map/types.hpp"

namespace skep::map {

namespace {

class ArenaMap final : public Map {
 public:
  ArenaMap(const MapSpec& spec, Region region, u64 first_offset)
      : Map(spec), region_(std::move(region)), used_((u64{spec.max_entries} + 63) / 64) {
    window_.base = reinterpret_cast<u64>(region_.data()) + Region::window_guard;
    window_.begin = window_.base + first_offset;
    window_.end = window_.begin + u64{spec.max_entries} * page_bytes;
  }

  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void*, const void*, u64) noexcept override { return -EOPNOTSUPP; }
  s64 erase(const void*) noexcept override { return -EOPNOTSUPP; }
  u64 memory_bytes() const noexcept override { return pages_.load(std::memory_order_relaxed) * page_bytes; }
  base::MapView inline_view() noexcept override {
    base::MapView view = sizes_of_view();
    view.kind = base::MapView::Kind::arena;
    view.values = window_.base;
    return view;
  }
  const ArenaWindow& window() const noexcept { return window_; }

  u64 allocate(u64 address, u32 pages) noexcept {
    if (pages == 0 || pages > spec_.max_entries || address % page_bytes != 0) return 0;
    u64 first = 0;
    {
      const std::lock_guard lock(lock_);
      if (address != 0) {
        first = page_of(address);
        if (first > spec_.max_entries - pages || run_length(first, pages) != pages) return 0;
      } else if (first = find(pages); first == none) {
        return 0;
      }
      mark(first, pages, true);
    }
    // What a program wrote here before it owned the page goes: a page comes zeroed.
    discard(first, pages);
    return window_.begin + first * page_bytes;
  }

  void free(u64 address, u32 pages) noexcept {
    const u64 first = page_of(address & ~(page_bytes - 1));
    if (first >= spec_.max_entries) return;
    const u64 left = spec_.max_entries - first, count = pages < left ? pages : left;
    discard(first, count);
    const std::lock_guard lock(lock_);
    mark(first, count, false);
  }

  s64 reserve(u64 address, u32 pages) noexcept {
    if (pages == 0) return 0;
    const u64 first = page_of(address);
    if (first + pages > spec_.max_entries) return -EINVAL;
    const std::lock_guard lock(lock_);
    if (run_length(first, pages) != pages) return -EBUSY;
    mark(first, pages, true);
    return 0;
  }

 protected:
  s64 host_lookup(const void*, void*) noexcept override { return -EINVAL; }
  s64 host_update(const void*, const void*, u64) noexcept override { return -EOPNOTSUPP; }
  s64 host_next_key(const void*, void*) noexcept override { return -EOPNOTSUPP; }

 private:
  static constexpr u64 none = ~u64{0};

  /// Only the lower half of an address counts.
  u64 page_of(u64 address) const noexcept { return static_cast<u32>(address - window_.begin) / page_bytes; }
  bool is_used(u64 page) const noexcept { return (used_[page / 64] >> (page % 64) & 1) != 0; }
  /// Free pages from `first` on, at most `wanted`.
  u64 run_length(u64 first, u64 wanted) const noexcept {
    u64 length = 0;
    while (length < wanted && !is_used(first + length)) ++length;
    return length;
  }
  void mark(u64 first, u64 count, bool used) noexcept {
    u64 changed = 0;
    for (u64 page = first; page < first + count; ++page) {
      changed += is_used(page) != used;
      const u64 bit = u64{1} << (page % 64);
      used_[page / 64] = used ? used_[page / 64] | bit : used_[page / 64] & ~bit;
    }
    if (used)
      pages_.fetch_add(changed, std::memory_order_relaxed);
    else
      pages_.fetch_sub(changed, std::memory_order_relaxed);
    search_from_ = used ? first + count : first < search_from_ ? first : search_from_;
  }

  u64 find(u64 pages) noexcept {
    const u64 found = find_between(search_from_, pages);
    return found != none || search_from_ == 0 ? found : find_between(0, pages);
  }
  u64 find_between(u64 from, u64 pages) const noexcept {
    for (u64 page = from; page + pages <= spec_.max_entries;) {
      if (page % 64 == 0 && used_[page / 64] == ~u64{0}) {
        page += 64;
        continue;
      }
      const u64 length = run_length(page, pages);
      if (length == pages) return page;
      page += length + 1;
    }
    return none;
  }

  void discard(u64 first, u64 count) const noexcept {
    ::madvise(reinterpret_cast<void*>(window_.begin + first * page_bytes), count * page_bytes,  // NOLINT
              MADV_DONTNEED);
  }

  Region region_;
  ArenaWindow window_;
  SpinLock lock_;
  std::vector<u64> used_;
  u64 search_from_ = 0;
  std::atomic<u64> pages_{0};
};

ArenaMap* arena(Map& map) noexcept {
  return map.spec().type == MapType::arena ? static_cast<ArenaMap*>(&map) : nullptr;
}

}  // namespace

Result<std::shared_ptr<Map>> make_arena(const MapSpec& spec) {
  constexpr u64 lower_half = 0xffffffff;
  const u64 first = spec.map_extra & lower_half;
  auto region = SKEP_TRY(Region::window(first, u64{spec.max_entries} * page_bytes, spec.map_extra & ~lower_half));
  return std::make_shared<ArenaMap>(spec, std::move(region), first);
}

ArenaWindow arena_window(Map& map) noexcept {
  ArenaMap* found = arena(map);
  return found != nullptr ? found->window() : ArenaWindow{};
}

u64 arena_alloc_pages(Map& map, u64 address, u32 pages, s32, u64 flags) noexcept {
  ArenaMap* found = arena(map);
  return found != nullptr && flags == 0 ? found->allocate(address, pages) : 0;
}

void arena_free_pages(Map& map, u64 address, u32 pages) noexcept {
  if (ArenaMap* found = arena(map); found != nullptr) found->free(address, pages);
}

s64 arena_reserve_pages(Map& map, u64 address, u32 pages) noexcept {
  ArenaMap* found = arena(map);
  return found != nullptr ? found->reserve(address, pages) : -EINVAL;
}

}  // namespace skep::map
