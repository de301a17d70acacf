// Batches on any map: the engine's own command where it has one, else a loop. See map_batch.hpp.
#include <skep/map_batch.hpp>

namespace skep {

namespace {

/// Entries of `bytes` altogether, or an error.
Result<u32> count_entries(const Map& map, std::size_t bytes) {
  const u32 size = map.info().key_size;
  if (size == 0)
    return fail(Code::unsupported,
                "map " + map.info().name + ": entries without keys are pushed and popped one by one");
  if (bytes % size != 0 || bytes / size > ~u32{0})
    return fail(Code::invalid_argument, "map " + map.info().name + ": " + std::to_string(bytes) +
                                            " bytes of keys, expected some times " + std::to_string(size));
  return static_cast<u32>(bytes / size);
}

/// A walk without room would never come to its end; a mark that is too short is none of the map's own.
Result<void> check(const Map& map, const MapBatch& batch) {
  if (batch.room == 0)
    return fail(Code::invalid_argument,
                "map " + map.info().name + ": a batch of at most 0 entries, expected 1 or more");
  if (!batch.position.empty() && batch.position.size() < map.info().key_size)
    return fail(Code::invalid_argument,
                "map " + map.info().name + ": the batch is of a walk over another map; begin a new one");
  return {};
}

template <class Each>
BatchResult one_by_one(u32 count, const Each& each) {
  for (u32 i = 0; i < count; ++i)
    if (auto done = each(i); !done) return {i, std::move(done).error()};
  return {count, {}};
}

}  // namespace

BatchResult update_batch(const Map& map, std::span<const std::byte> keys, std::span<const std::byte> values,
                         u64 flags) {
  const auto count = count_entries(map, keys.size());
  if (!count) return {0, count.error()};
  if (*count == 0) return {};
  const std::size_t key_size = map.info().key_size, value_size = values.size() / *count;
  if (values.size() % *count != 0 || value_size < map.info().value_size)
    return {0, Error{Code::invalid_argument, "map " + map.info().name + ": " + std::to_string(values.size()) +
                                                 " bytes of values for " + std::to_string(*count) +
                                                 " keys, whose values have " + std::to_string(map.info().value_size) +
                                                 " bytes each (or so for every CPU)"}};
  if (auto* const engine = dynamic_cast<BatchedMap*>(map.impl().get()))
    if (auto done = engine->update_batch(keys, values, *count, flags)) return *std::move(done);
  return one_by_one(*count, [&](std::size_t i) {
    return map.update(keys.subspan(i * key_size, key_size), values.subspan(i * value_size, value_size), flags);
  });
}

BatchResult erase_batch(const Map& map, std::span<const std::byte> keys) {
  const auto count = count_entries(map, keys.size());
  if (!count) return {0, count.error()};
  if (*count == 0) return {};
  const std::size_t key_size = map.info().key_size;
  if (auto* const engine = dynamic_cast<BatchedMap*>(map.impl().get()))
    if (auto done = engine->erase_batch(keys, *count)) return *std::move(done);
  return one_by_one(*count, [&](std::size_t i) { return map.erase(keys.subspan(i * key_size, key_size)); });
}

Result<std::vector<std::byte>> take_entry(const Map& map, std::span<const std::byte> key) {
  auto taken = map.take(key);
  if (taken || taken.error().code != Code::unsupported) return taken;
  auto value = SKEP_TRY(map.lookup(key));
  SKEP_TRY(map.erase(key));
  return value;
}

Result<void> Map::next_batch(MapBatch& batch) const {
  SKEP_TRY(check(*this, batch));
  return impl_->next_batch(batch);
}

Result<void> take_batch(const Map& map, MapBatch& batch) {
  SKEP_TRY(check(map, batch));
  if (auto* const engine = dynamic_cast<BatchedMap*>(map.impl().get()))
    if (SKEP_TRY(engine->take_batch(batch))) return {};
  SKEP_TRY(map.next_batch(batch));
  const std::size_t key_size = map.info().key_size;
  MapBatch taken;
  for (u32 i = 0; i < batch.count; ++i) {
    if (i < batch.errors.size() && batch.errors[i] != 0) continue;
    const auto key = std::span(batch.keys).subspan(i * key_size, key_size);
    auto value = take_entry(map, key);
    if (!value && value.error().code == Code::not_found) continue;  // a program deleted it meanwhile
    if (!value && taken.count == 0) return tl::unexpected(std::move(value).error());
    if (!value) {  // what was taken must not be lost: the next call begins again, and meets the error first
      batch.position.clear();
      batch.last = false;
      break;
    }
    taken.keys.insert(taken.keys.end(), key.begin(), key.end());
    taken.values.insert(taken.values.end(), value->begin(), value->end());
    ++taken.count;
  }
  batch.errors.clear();
  batch.keys = std::move(taken.keys);
  batch.values = std::move(taken.values);
  batch.count = taken.count;
  return {};
}

}  // namespace skep
