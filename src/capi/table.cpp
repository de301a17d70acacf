// Maps: one entry, and all of them.
//
// Reading every entry is one call, not one for each key: a caller in another language pays for each call more than the
// map does. Entries are taken, not read and then deleted: what a program adds meanwhile is in the entry that was taken
// or in the one that stays, never in neither.
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <skep/map_batch.hpp>

#include "base/cpus.hpp"
#include "capi/state.hpp"

namespace skep::capi {
namespace {

using Bytes = std::vector<std::byte>;

/// What skep_table_read_all() hands out.
struct Entries {
  Bytes keys, values;
  u64 count = 0;
};

bool is_array(MapType type) { return type == MapType::array || type == MapType::percpu_array; }

std::span<const std::byte> bytes(const void* from, std::size_t size) {
  return {static_cast<const std::byte*>(from), from != nullptr ? size : 0};
}

template <class Body>
int with_table(const skep_table* table, Body body) noexcept {
  return status_of([&]() -> Result<s64> {
    if (table == nullptr) return is_null("the table");
    return body(*table);
  });
}

/// Calls `body` with every batch of entries.
template <class Body>
Result<void> walk(const skep_table& table, Body body) {
  MapBatch batch;
  do {
    SKEP_TRY(table.map().next_batch(batch));
    SKEP_TRY(body(batch));
  } while (!batch.last);
  return {};
}

/// Appends the entries of a batch whose values could be read.
void append(const skep_table& table, const MapBatch& batch, Entries& to) {
  const std::size_t key_size = table.key_bytes(), value_size = table.value_bytes();
  for (u32 i = 0; i < batch.count; ++i) {
    if (i < batch.errors.size() && batch.errors[i] != 0) continue;
    const auto key = batch.keys.begin() + static_cast<std::ptrdiff_t>(i * key_size);
    const auto value = batch.values.begin() + static_cast<std::ptrdiff_t>(i * value_size);
    to.keys.insert(to.keys.end(), key, key + static_cast<std::ptrdiff_t>(key_size));
    to.values.insert(to.values.end(), value, value + static_cast<std::ptrdiff_t>(value_size));
    ++to.count;
  }
}

Result<Bytes> all_keys(const skep_table& table) {
  Bytes keys;
  std::optional<Bytes> at;
  // A map that shrinks while it is walked begins again from its first key: the bound ends that.
  for (u64 left = u64{table.map().info().max_entries} * 2 + 1; left > 0; --left) {
    at = SKEP_TRY(table.map().next_key(at ? std::optional<std::span<const std::byte>>(*at) : std::nullopt));
    if (!at) break;
    keys.insert(keys.end(), at->begin(), at->end());
  }
  return keys;
}

Result<void> take_all(const skep_table& table, Entries& to) {
  // Programs may go on adding entries: twice as many as fit are more than were there at the beginning.
  const u64 most = 2 * u64{table.map().info().max_entries} + 16;
  MapBatch batch;
  for (u64 seen = 0; !batch.last && seen < most; seen += std::max<u32>(batch.count, 1)) {
    SKEP_TRY(take_batch(table.map(), batch));
    append(table, batch, to);
  }
  return {};
}

Result<s64> read_all(const skep_table& table, s32 how, skep_entries* out) {
  auto entries = std::make_unique<Entries>();
  switch (how) {
    case SKEP_ENTRIES_READ:
      SKEP_TRY(walk(table, [&](const MapBatch& batch) -> Result<void> {
        append(table, batch, *entries);
        return {};
      }));
      break;
    case SKEP_ENTRIES_TAKE:
      SKEP_TRY(take_all(table, *entries));
      break;
    case SKEP_ENTRIES_KEYS:
      entries->keys = SKEP_TRY(all_keys(table));
      entries->count = table.key_bytes() != 0 ? entries->keys.size() / table.key_bytes() : 0;
      break;
    default:
      return fail(Code::invalid_argument, fmt::format("no way of reading {}", how));
  }
  SKEP_TRY(give(out, skep_entries{sizeof(skep_entries), entries->keys.data(), entries->values.data(), entries->count,
                                  entries.get()}));
  entries.release();
  return 0;
}

/// What a batch of changes came to.
Result<s64> told(BatchResult result, uint64_t* done) {
  if (done != nullptr) *done = result.count;
  if (result.error) return tl::unexpected(*std::move(result.error));
  return 0;
}

/// The bytes of `count` entries. Errors: limit.
Result<std::span<const std::byte>> entries_at(const void* from, std::size_t size, uint64_t count) {
  if (count != 0 && from == nullptr) return is_null("the keys or values");
  if (count > ~u32{0} || (size != 0 && count > std::numeric_limits<std::size_t>::max() / size))
    return fail(Code::limit, fmt::format("{} entries are more than a map can have", count));
  return bytes(from, size * count);
}

Result<s64> clear(const skep_table& table) {
  const Bytes keys = SKEP_TRY(all_keys(table));
  const std::size_t key_size = table.key_bytes();
  if (key_size == 0 || keys.empty()) return 0;
  const bool stays = is_array(table.spec().type);
  constexpr std::size_t most_at_once = 4096;
  const std::size_t count = keys.size() / key_size;
  const Bytes zeroes(stays ? std::min(count, most_at_once) * table.value_bytes() : 0);
  for (std::size_t at = 0; at < count;) {
    const std::size_t some = std::min(count - at, most_at_once);
    const auto part = std::span<const std::byte>(keys).subspan(at * key_size, some * key_size);
    const BatchResult result =
        stays ? update_batch(table.map(), part, std::span<const std::byte>(zeroes).first(some * table.value_bytes()))
              : erase_batch(table.map(), part);
    if (result.error && result.error->code != Code::not_found) return tl::unexpected(*result.error);
    at += result.count + (result.error ? 1 : 0);  // a program deleted that one meanwhile
  }
  return static_cast<s64>(count);
}

}  // namespace
}  // namespace skep::capi

using namespace skep;
using namespace skep::capi;

std::size_t skep_table::value_bytes() const {
  const MapInfo& info = map().info();
  switch (info.type) {
    case MapType::percpu_hash:
    case MapType::percpu_array:
    case MapType::lru_percpu_hash:
    case MapType::percpu_cgroup_storage:
      return (std::size_t{info.value_size} + 7) / 8 * 8 * base::possible_cpus();
    case MapType::prog_array:
    case MapType::array_of_maps:
    case MapType::hash_of_maps:
      return sizeof(u32);
    default:
      return info.value_size;
  }
}

uint32_t skep_object_table_count(const skep_object* object) {
  return object != nullptr ? static_cast<uint32_t>(object->state->tables.size()) : 0;
}

skep_table* skep_object_table_at(skep_object* object, uint32_t index) {
  if (object == nullptr || index >= object->state->tables.size()) return nullptr;
  return &object->state->tables[index];
}

skep_table* skep_object_table(skep_object* object, const char* name) {
  skep_table* found = nullptr;
  guarded([&]() -> Result<s64> {
    if (object == nullptr || name == nullptr) return is_null("the object or the table's name");
    for (skep_table& table : object->state->tables)
      if (table.spec().name == name) found = &table;
    if (found != nullptr) return 0;
    std::string names;
    for (const skep_table& table : object->state->tables) names += (names.empty() ? "" : ", ") + table.spec().name;
    return fail(Code::not_found, fmt::format("no table \"{}\"; there are: {}", name, names));
  });
  return found;
}

int skep_table_describe(const skep_table* table, skep_table_info* info) {
  return with_table(table, [&](const skep_table& of) -> Result<s64> {
    const MapInfo& map = of.map().info();
    const MapSpec& spec = of.spec();
    return give(info,
                skep_table_info{sizeof(skep_table_info), spec.name.c_str(), name_of(map.type).data(), map.id,
                                static_cast<u32>(map.type), map.flags, map.max_entries, map.key_size, map.value_size,
                                static_cast<u32>(of.value_bytes()), spec.btf_key_type_id, spec.btf_value_type_id});
  });
}

int skep_table_descriptor(const skep_table* table) {
  return with_table(table, [&](const skep_table& of) {
    return descriptor_of(*of.object->engine, ObjectKind::map, of.map().info().id);
  });
}

int skep_table_lookup(const skep_table* table, const void* key, void* value) {
  return with_table(table, [&](const skep_table& in) -> Result<s64> {
    if (value == nullptr) return is_null("the buffer");
    SKEP_TRY(in.map().lookup_into(bytes(key, in.key_bytes()), {static_cast<std::byte*>(value), in.value_bytes()}));
    return 0;
  });
}

int skep_table_update(const skep_table* table, const void* key, const void* value, uint64_t flags) {
  return with_table(table, [&](const skep_table& in) -> Result<s64> {
    SKEP_TRY(in.map().update(bytes(key, in.key_bytes()), bytes(value, in.value_bytes()), flags));
    return 0;
  });
}

int skep_table_delete(const skep_table* table, const void* key) {
  return with_table(table, [&](const skep_table& in) -> Result<s64> {
    SKEP_TRY(in.map().erase(bytes(key, in.key_bytes())));
    return 0;
  });
}

int skep_table_take(const skep_table* table, const void* key, void* value) {
  return with_table(table, [&](const skep_table& in) -> Result<s64> {
    if (value == nullptr) return is_null("the buffer");
    const Bytes taken = SKEP_TRY(take_entry(in.map(), bytes(key, in.key_bytes())));
    std::memcpy(value, taken.data(), std::min(taken.size(), in.value_bytes()));
    return 0;
  });
}

int skep_table_update_batch(const skep_table* table, const void* keys, const void* values, uint64_t count,
                            uint64_t flags, uint64_t* done) {
  return with_table(table, [&](const skep_table& in) -> Result<s64> {
    const auto all_keys = SKEP_TRY(entries_at(keys, in.key_bytes(), count));
    return told(update_batch(in.map(), all_keys, SKEP_TRY(entries_at(values, in.value_bytes(), count)), flags), done);
  });
}

int skep_table_delete_batch(const skep_table* table, const void* keys, uint64_t count, uint64_t* done) {
  return with_table(table, [&](const skep_table& in) -> Result<s64> {
    return told(erase_batch(in.map(), SKEP_TRY(entries_at(keys, in.key_bytes(), count))), done);
  });
}

int skep_table_next_key(const skep_table* table, const void* key, void* next) {
  return with_table(table, [&](const skep_table& in) -> Result<s64> {
    if (next == nullptr) return is_null("the buffer");
    const auto after = key == nullptr ? std::nullopt : std::optional(bytes(key, in.key_bytes()));
    const auto found = SKEP_TRY(in.map().next_key(after));
    if (!found) return 1;
    std::memcpy(next, found->data(), found->size());
    return 0;
  });
}

int skep_table_read_all(const skep_table* table, int32_t how, skep_entries* entries) {
  return with_table(table, [&](const skep_table& in) { return read_all(in, how, entries); });
}

void skep_entries_close(skep_entries* entries) {
  if (entries == nullptr) return;
  delete static_cast<Entries*>(entries->memory);
  entries->memory = nullptr;
}

int64_t skep_table_clear(const skep_table* table) {
  return with_table(table, [&](const skep_table& in) { return clear(in); });
}

int skep_table_freeze(const skep_table* table) {
  return with_table(table, [&](const skep_table& in) -> Result<s64> {
    SKEP_TRY(in.map().freeze());
    return 0;
  });
}
