// Maps whose values are maps.
//
// A program that looks up gets the inner map itself. An inner map must have the form of the template that the
// outer one was declared with, because programs are verified against the template.
// Source: kernel/bpf/map_in_map.c (bpf_map_meta_equal), arraymap.c and hashtab.c (*_of_map_*).
#include <cerrno>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "map/direct.hpp"
#include "map/hash_table.hpp"
#include "map/slots.hpp"
#include "map/types.hpp"

namespace skep::map {

namespace {

bool fits(const MapSpec& outline, const MapSpec& inner) noexcept {
  if (outline.type != inner.type || outline.key_size != inner.key_size || outline.value_size != inner.value_size ||
      outline.flags != inner.flags)
    return false;
  // An array's bound is part of what programs are verified against, unless it was declared as open.
  const bool bounded = outline.type == MapType::array && (outline.flags & flag::inner_map) == 0;
  return !bounded || outline.max_entries == inner.max_entries;
}

/// What both kinds share: who owns the inner maps, and waiting before one goes.
class MapOfMaps : public Map {
 public:
  s64 update(const void*, const void*, u64) noexcept final { return -EINVAL; }  // the verifier lets no program write
  s64 erase(const void*) noexcept final { return -EINVAL; }

  s64 set(const void* key, std::shared_ptr<Map> inner, u64 flags) noexcept {
    if (const s64 error = refuses(key, flags); error != 0) return error;
    if (inner == nullptr || !fits(*spec_.inner, inner->spec())) return -EINVAL;
    if (RunSection::active()) return -EBUSY;
    std::shared_ptr<Map> old;
    try {
      const std::lock_guard lock(writing_);
      auto& owner = owners_[text(key)];
      if (const s64 error = store(key, inner.get(), flags); error != 0) {
        if (owner == nullptr) owners_.erase(text(key));
        return error;
      }
      old = std::exchange(owner, std::move(inner));
    } catch (...) {
      return -ENOMEM;
    }
    if (old != nullptr && !synchronize_runs()) keep(std::move(old));
    return 0;
  }

  std::shared_ptr<Map> owner(const void* key) noexcept {
    try {
      const std::lock_guard lock(writing_);
      const auto found = owners_.find(text(key));
      return found != owners_.end() ? found->second : nullptr;
    } catch (...) {
      return nullptr;
    }
  }

 protected:
  explicit MapOfMaps(const MapSpec& spec) : Map(spec) {}
  BatchSupport batch_support() const noexcept final {
    const bool hash = spec_.type == MapType::hash_of_maps;
    return {.look_up = true, .update = true, .erase = hash};
  }
  /// What the kernel checks before it looks at the inner map.
  virtual s64 refuses(const void*, u64) const noexcept { return 0; }
  virtual s64 store(const void* key, Map* inner, u64 flags) noexcept = 0;
  virtual s64 remove(const void* key) noexcept = 0;

  s64 host_lookup(const void* key, void* value) noexcept final {
    const auto inner = owner(key);
    if (inner == nullptr) return -ENOENT;
    std::memcpy(value, &inner->info.id, sizeof inner->info.id);
    return 0;
  }
  // bpf(2) takes a descriptor here. This engine's maps have none: the engine calls set_inner_map().
  s64 host_update(const void*, const void*, u64 flags) noexcept final {
    return flags > update_exist ? -EINVAL : -EBADF;
  }
  s64 host_erase(const void* key) noexcept final {
    if (RunSection::active()) return -EBUSY;
    std::shared_ptr<Map> old;
    try {
      const std::lock_guard lock(writing_);
      if (const s64 error = remove(key); error != 0) return error;
      if (const auto found = owners_.find(text(key)); found != owners_.end()) {
        old = std::move(found->second);
        owners_.erase(found);
      }
    } catch (...) {
      return -ENOMEM;
    }
    if (old != nullptr && !synchronize_runs()) keep(std::move(old));
    return 0;
  }

 private:
  /// A run that may hold it never ended: it lives as long as the outer map.
  void keep(std::shared_ptr<Map> old) noexcept {
    const std::lock_guard lock(writing_);
    try {
      kept_.push_back(old);
    } catch (...) {
      new (std::nothrow) std::shared_ptr<Map>(std::move(old));  // no memory to note it: it lives for ever
    }
  }
  std::string text(const void* key) const { return {static_cast<const char*>(key), spec_.key_size}; }

  std::mutex writing_;
  std::unordered_map<std::string, std::shared_ptr<Map>> owners_;  ///< by key bytes
  std::vector<std::shared_ptr<Map>> kept_;
};

class ArrayOfMaps final : public MapOfMaps {
 public:
  ArrayOfMaps(const MapSpec& spec, Region slots) : MapOfMaps(spec), slots_(std::move(slots)) {}

  void* lookup(const void* key) noexcept override {
    const u32 index = index_of(key);
    if (index >= spec_.max_entries || !RunSection::active()) return nullptr;
    return slot(index).load(std::memory_order_seq_cst);
  }
  u64 memory_bytes() const noexcept override { return slots_.resident_bytes(); }
  base::MapView inline_view() noexcept override {
    base::MapView view = sizes_of_view();
    view.lookup = &Direct<ArrayOfMaps>::lookup;
    return view;
  }

 protected:
  s64 refuses(const void* key, u64 flags) const noexcept override {
    if (flags != update_any) return -EINVAL;
    return index_of(key) >= spec_.max_entries ? -E2BIG : 0;
  }
  s64 store(const void* key, Map* inner, u64) noexcept override {
    slot(index_of(key)).store(inner, std::memory_order_seq_cst);
    return 0;
  }
  s64 remove(const void* key) noexcept override {
    const u32 index = index_of(key);
    if (index >= spec_.max_entries) return -E2BIG;
    return slot(index).exchange(nullptr, std::memory_order_seq_cst) == nullptr ? -ENOENT : 0;
  }
  s64 host_next_key(const void* key, void* next) noexcept override { return next_index(key, spec_.max_entries, next); }

 private:
  std::atomic<Map*>& slot(u32 index) const noexcept {
    return reinterpret_cast<std::atomic<Map*>*>(slots_.data())[index];
  }
  Region slots_;
};

class HashOfMaps final : public MapOfMaps {
 public:
  HashOfMaps(const MapSpec& spec, HashTable table) : MapOfMaps(spec), table_(std::move(table)) {}

  void* lookup(const void* key) noexcept override {
    if (!RunSection::active()) return nullptr;
    u64 inner = 0;
    return table_.copy(key, &inner) == 0 ? reinterpret_cast<void*>(inner) : nullptr;  // NOLINT
  }
  u64 memory_bytes() const noexcept override { return table_.memory_bytes(); }
  base::MapView inline_view() noexcept override {
    base::MapView view = sizes_of_view();
    view.lookup = &Direct<HashOfMaps>::lookup;
    return view;
  }

 protected:
  s64 store(const void* key, Map* inner, u64 flags) noexcept override {
    const u64 pointer = reinterpret_cast<u64>(inner);
    return table_.update(key, &pointer, flags, 0);
  }
  s64 remove(const void* key) noexcept override { return table_.erase(key); }
  s64 host_next_key(const void* key, void* next) noexcept override { return table_.next_key(key, next); }

 private:
  HashTable table_;
};

MapOfMaps* map_of_maps(Map& map) noexcept {
  const bool is = map.spec().type == MapType::array_of_maps || map.spec().type == MapType::hash_of_maps;
  return is ? static_cast<MapOfMaps*>(&map) : nullptr;
}

}  // namespace

Result<std::shared_ptr<Map>> make_array_of_maps(const MapSpec& spec) {
  auto slots = SKEP_TRY(Region::allocate(sizeof(std::atomic<Map*>) * u64{spec.max_entries}));
  return std::make_shared<ArrayOfMaps>(spec, std::move(slots));
}

Result<std::shared_ptr<Map>> make_hash_of_maps(const MapSpec& spec) {
  auto table = SKEP_TRY(HashTable::create({.key_size = spec.key_size,
                                           .value_size = sizeof(Map*),
                                           .max_entries = spec.max_entries,
                                           .seed = hash_seed(spec)}));
  return std::make_shared<HashOfMaps>(spec, std::move(table));
}

s64 set_inner_map(Map& map, const void* key, std::shared_ptr<Map> inner, u64 flags) noexcept {
  MapOfMaps* outer = map_of_maps(map);
  // Programs know inner maps by a template, which has no such fields (helper/objects.cpp): they would overwrite them.
  const bool fits = inner == nullptr || inner->fields() == nullptr || !inner->fields()->owns();
  return outer != nullptr && fits ? outer->set(key, std::move(inner), flags) : -EINVAL;
}

std::shared_ptr<Map> inner_map(Map& map, const void* key) noexcept {
  MapOfMaps* outer = map_of_maps(map);
  return outer != nullptr ? outer->owner(key) : nullptr;
}

}  // namespace skep::map
