// See watch.hpp.
#include "watch.hpp"

#include <algorithm>
#include <cerrno>

namespace skep::hostile {
namespace {

thread_local Watch* watch_of_thread = nullptr;

constexpr u32 map_lookup_elem = 1, probe_write_user = 36, ringbuf_reserve = 131, map_lookup_percpu_elem = 195,
              for_each_map_elem = 164;

void grant(u64 address, u64 size) {
  if (address != 0 && watch_of_thread != nullptr) watch_of_thread->grant(address, size);
}

template <u32 id>
u64 look_up(void* call, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept {
  const u64 value = helper::table()[id](call, a1, a2, a3, a4, a5);
  grant(value, reinterpret_cast<map::Map*>(a1)->spec().value_size);
  return value;
}
u64 reserve(void* call, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept {
  const u64 record = helper::table()[ringbuf_reserve](call, a1, a2, a3, a4, a5);
  grant(record, a2);
  return record;
}
/// The callback gets every value there is, and its key.
u64 for_each(void* call, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept {
  auto& map = *reinterpret_cast<map::Map*>(a1);
  std::vector<std::byte> key(map.spec().key_size), next(map.spec().key_size);
  const std::byte* previous = nullptr;
  for (u32 n = 0; n < 256 && map.next_key(previous, next.data()) == 0; n++) {
    grant(reinterpret_cast<u64>(map.lookup(next.data())), map.spec().value_size);
    key = next;
    previous = key.data();
  }
  return helper::table()[for_each_map_elem](call, a1, a2, a3, a4, a5);
}
u64 refused_write(void*, u64, u64, u64, u64, u64) noexcept { return static_cast<u64>(-EPERM); }

}  // namespace

Watch::Watch() : outer_(watch_of_thread) { watch_of_thread = this; }
Watch::~Watch() { watch_of_thread = outer_; }

void Watch::grant(u64 address, u64 size) {
  if (address == 0) return;
  const bool known =
      std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& r) { return r.begin == address && r.size >= size; });
  if (!known) ranges_.push_back({address, size});
}

void Watch::grant_direct_values(std::span<const std::shared_ptr<map::Map>> maps) {
  for (const auto& map : maps) grant(reinterpret_cast<u64>(map->direct_value()), map->spec().value_size);
}

bool Watch::allows(u64 address, u32 size, bool) noexcept {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    return address >= range.begin && size <= range.size && address - range.begin <= range.size - size;
  });
}

std::span<const helper::HelperFn> watched_helpers() {
  static const std::vector<helper::HelperFn> helpers = [] {
    std::vector<helper::HelperFn> table(helper::table().begin(), helper::table().end());
    const auto replace = [&](u32 id, helper::HelperFn function) {
      if (id < table.size() && table[id] != nullptr) table[id] = function;
    };
    replace(map_lookup_elem, look_up<map_lookup_elem>);
    replace(map_lookup_percpu_elem, look_up<map_lookup_percpu_elem>);
    replace(ringbuf_reserve, reserve);
    replace(for_each_map_elem, for_each);
    replace(probe_write_user, refused_write);
    return table;
  }();
  return helpers;
}

}  // namespace skep::hostile
