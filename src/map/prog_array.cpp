// Program arrays: the targets of tail calls.
//
// A slot is one atomic pointer that a tail call reads, and beside it what keeps the target alive.
// Source: kernel/bpf/arraymap.c (fd_array_*, prog_array_*).
#include <cerrno>
#include <mutex>
#include <vector>

#include "map/memory.hpp"
#include "map/slots.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

class ProgArrayMap final : public Map {
 public:
  struct Slot {
    std::atomic<const void*> target;
    std::atomic<u32> id;
  };

  ProgArrayMap(const MapSpec& spec, Region slots) : Map(spec), slots_(std::move(slots)) {}

  void* lookup(const void*) noexcept override { return nullptr; }  // the verifier lets no program look
  s64 update(const void*, const void*, u64) noexcept override { return -EINVAL; }
  s64 erase(const void* key) noexcept override { return clear(index_of(key)); }
  u64 memory_bytes() const noexcept override { return slots_.resident_bytes(); }

  const void* target(u32 index) const noexcept {
    if (index >= spec_.max_entries || !RunSection::active()) return nullptr;
    return slot(index).target.load(std::memory_order_seq_cst);
  }

  s64 set(u32 index, std::shared_ptr<const void> object, u32 id) noexcept {
    if (index >= spec_.max_entries) return -E2BIG;
    if (RunSection::active()) return -EBUSY;
    std::shared_ptr<const void> old;
    {
      const std::lock_guard lock(writing_);
      try {
        if (owners_.size() <= index) owners_.resize(std::size_t{index} + 1);
      } catch (...) {
        return -ENOMEM;
      }
      slot(index).target.store(object.get(), std::memory_order_seq_cst);
      slot(index).id.store(id, std::memory_order_relaxed);
      old = std::exchange(owners_[index], std::move(object));
    }
    if (old != nullptr && !synchronize_runs()) keep(std::move(old));
    return 0;
  }

  s64 clear(u32 index) noexcept {
    if (index >= spec_.max_entries) return -E2BIG;
    if (slot(index).target.load(std::memory_order_acquire) == nullptr) return -ENOENT;
    return set(index, nullptr, 0);
  }

  ProgArrayTargets take() noexcept {
    ProgArrayTargets taken;
    if (RunSection::active()) return taken;
    const std::lock_guard lock(writing_);
    for (u32 index = 0; index < owners_.size(); ++index) slot(index).target.store(nullptr, std::memory_order_seq_cst);
    taken.swap(owners_);
    return taken;
  }

  void let_go(ProgArrayTargets taken) noexcept {
    if (taken.empty() || synchronize_runs()) return;
    for (auto& each : taken)
      if (each != nullptr) keep(std::move(each));
  }

 protected:
  s64 host_lookup(const void* key, void* value) noexcept override {
    const u32 index = index_of(key);
    if (index >= spec_.max_entries || slot(index).target.load(std::memory_order_acquire) == nullptr) return -ENOENT;
    const u32 id = slot(index).id.load(std::memory_order_relaxed);
    std::memcpy(value, &id, sizeof id);
    return 0;
  }
  // bpf(2) takes a descriptor here. This engine's programs have none: the engine calls prog_array_set().
  s64 host_update(const void* key, const void*, u64 flags) noexcept override {
    if (flags != update_any) return -EINVAL;
    return index_of(key) < spec_.max_entries ? -EBADF : -E2BIG;
  }
  s64 host_next_key(const void* key, void* next) noexcept override { return next_index(key, spec_.max_entries, next); }

 private:
  /// A run that may hold it never ended: it lives as long as the array.
  void keep(std::shared_ptr<const void> old) noexcept {
    const std::lock_guard lock(writing_);
    try {
      kept_.push_back(old);
    } catch (...) {
      new (std::nothrow) std::shared_ptr<const void>(std::move(old));  // no memory to note it: it lives for ever
    }
  }
  Slot& slot(u32 index) const noexcept { return reinterpret_cast<Slot*>(slots_.data())[index]; }

  Region slots_;  ///< zero bytes are empty slots
  std::mutex writing_;
  std::vector<std::shared_ptr<const void>> owners_, kept_;
};

ProgArrayMap* prog_array(Map& map) noexcept {
  return map.spec().type == MapType::prog_array ? static_cast<ProgArrayMap*>(&map) : nullptr;
}

}  // namespace

Result<std::shared_ptr<Map>> make_prog_array(const MapSpec& spec) {
  auto slots = SKEP_TRY(Region::allocate(sizeof(ProgArrayMap::Slot) * u64{spec.max_entries}));
  return std::make_shared<ProgArrayMap>(spec, std::move(slots));
}

s64 prog_array_set(Map& map, u32 index, std::shared_ptr<const void> target, u32 id) noexcept {
  ProgArrayMap* array = prog_array(map);
  return array != nullptr ? array->set(index, std::move(target), id) : -EINVAL;
}

const void* prog_array_target(Map& map, u32 index) noexcept {
  const ProgArrayMap* array = prog_array(map);
  return array != nullptr ? array->target(index) : nullptr;
}

ProgArrayTargets prog_array_take(Map& map) noexcept {
  ProgArrayMap* array = prog_array(map);
  return array != nullptr ? array->take() : ProgArrayTargets();
}

void prog_array_let_go(Map& map, ProgArrayTargets taken) noexcept {
  if (ProgArrayMap* array = prog_array(map); array != nullptr) array->let_go(std::move(taken));
}

void prog_array_clear(Map& map) noexcept { prog_array_let_go(map, prog_array_take(map)); }

}  // namespace skep::map
