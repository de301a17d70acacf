// Host access to maps. See map_handle.hpp.
//
// Program arrays and maps of maps take object ids where bpf(2) takes file descriptors: `skep map update` in
// another process has ids and nothing else.
#include "user/map_handle.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "backend/batches.hpp"
#include "map/reader.hpp"
#include "map/slots.hpp"
#include "user/loaded.hpp"

namespace skep::user {

namespace {

using Bytes = std::vector<std::byte>;

class MapHandle final : public Map::Impl, public BatchedMap {
 public:
  MapHandle(std::shared_ptr<map::Map> map, std::shared_ptr<const LoadedObject> owner, ObjectTables tables)
      : map_(std::move(map)), owner_(std::move(owner)), tables_(std::move(tables)) {}

  const MapInfo& info() const override { return map_->info; }

  Result<Bytes> lookup(std::span<const std::byte> key) override {
    SKEP_TRY(check_key(key));
    Bytes value(map_->host_value_size());
    if (const s64 error = map_->copy_lookup(pointer(key), value.data()); error != 0)
      return tl::unexpected<Error>(explain(error, "lookup"));
    return value;
  }

  Result<void> update(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags) override {
    SKEP_TRY(check_key(key));
    if (value.size() != map_->host_value_size())
      return tl::unexpected<Error>(wrong_size("value", value.size(), map_->host_value_size()));
    s64 error = 0;
    switch (map_->spec().type) {
      case MapType::prog_array:
        error = SKEP_TRY(set_program(key, value, flags));
        break;
      case MapType::array_of_maps:
      case MapType::hash_of_maps:
        error = SKEP_TRY(set_map(key, value, flags));
        break;
      default:
        error = map_->copy_update(pointer(key), value.data(), flags);
    }
    if (error != 0) return tl::unexpected<Error>(explain(error, "update"));
    return {};
  }

  Result<void> erase(std::span<const std::byte> key) override {
    SKEP_TRY(check_key(key));
    if (const s64 error = map_->copy_erase(pointer(key)); error != 0)
      return tl::unexpected<Error>(explain(error, "delete"));
    return {};
  }

  Result<std::optional<Bytes>> next_key(std::optional<std::span<const std::byte>> key) override {
    if (key) SKEP_TRY(check_key(*key));
    Bytes next(map_->spec().key_size);
    const s64 error = map_->next_key(key ? pointer(*key) : nullptr, next.data());
    if (error == -ENOENT) return std::nullopt;
    if (error != 0) return tl::unexpected<Error>(explain(error, "next key"));
    return next;
  }

  Result<RingReader> open_ring() override { return map::open_reader(map_); }
  Result<RingWriter> open_ring_writer() override { return map::open_writer(map_); }
  Result<std::span<std::byte>> memory() override { return map::shared_memory(*map_); }

  Result<Bytes> take(std::span<const std::byte> key) override {
    SKEP_TRY(check_key(key));
    Bytes value(map_->host_value_size());
    if (const s64 error = map_->copy_take(pointer(key), value.data(), 0); error != 0)
      return tl::unexpected<Error>(explain(error, "take"));
    return value;
  }

  Result<void> freeze() override {
    if (map_->frozen()) return fail(Code::invalid_argument, "map " + info().name + ": it is frozen already", EBUSY);
    map_->freeze();
    return {};
  }

  Result<void> next_batch(MapBatch& batch) override {
    if (SKEP_TRY(walk(batch, &map::Map::lookup_batch))) return {};
    return Impl::next_batch(batch);
  }
  Result<bool> take_batch(MapBatch& batch) override { return walk(batch, &map::Map::take_batch); }

  std::optional<BatchResult> update_batch(std::span<const std::byte> keys, std::span<const std::byte> values, u32 count,
                                          u64 flags) override {
    const std::size_t key_bytes = map_->spec().key_size, value_bytes = map_->host_value_size();
    if (takes_ids() || values.size() != count * value_bytes) return std::nullopt;
    return backend::in_batches(
        count,
        [&](u32 from) {
          return change(&map::Map::update_batch, keys.data() + from * key_bytes, values.data() + from * value_bytes,
                        count - from, flags);
        },
        [&](u32 at) {
          return update(keys.subspan(at * key_bytes, key_bytes), values.subspan(at * value_bytes, value_bytes), flags);
        });
  }

  std::optional<BatchResult> erase_batch(std::span<const std::byte> keys, u32 count) override {
    const std::size_t key_bytes = map_->spec().key_size;
    return backend::in_batches(
        count,
        [&](u32 from) {
          return change(&map::Map::erase_batch, keys.data() + from * key_bytes, nullptr, count - from, 0);
        },
        [&](u32 at) { return erase(keys.subspan(at * key_bytes, key_bytes)); });
  }

  OwnMap own() const { return {map_, owner_}; }

 private:
  using BatchCall = s64 (map::Map::*)(map::Batch&) noexcept;

  /// Maps whose values are written as ids and held as objects.
  bool takes_ids() const {
    const MapType type = map_->spec().type;
    return type == MapType::prog_array || type == MapType::array_of_maps || type == MapType::hash_of_maps;
  }

  /// How many entries were done; nullopt: this map has no such batch. The map room copies what it is given.
  std::optional<u32> change(BatchCall call, const std::byte* keys, const std::byte* values, u32 count, u64 flags) {
    map::Batch batch{.keys = const_cast<std::byte*>(keys),
                     .values = const_cast<std::byte*>(values),
                     .count = count,
                     .elem_flags = flags};
    if ((*map_.*call)(batch) == 0) return count;
    if (batch.count >= count) return std::nullopt;  // refused before the first
    return batch.count;
  }

  /// One step of a walk. False: this map has no such batch.
  Result<bool> walk(MapBatch& batch, BatchCall call) {
    constexpr u64 most_bytes = 1u << 20, least_position_bytes = 8;
    const u64 key_bytes = map_->spec().key_size, value_bytes = map_->host_value_size();
    u64 room = std::clamp<u64>(most_bytes / std::max<u64>(1, key_bytes + value_bytes), 1, batch.room);
    Bytes next(std::max(key_bytes, least_position_bytes));
    for (;;) {
      batch.keys.resize(room * key_bytes);
      batch.values.resize(room * value_bytes);
      batch.errors.clear();
      map::Batch step{.in = batch.position.empty() ? nullptr : batch.position.data(),
                      .out = next.data(),
                      .keys = batch.keys.data(),
                      .values = batch.values.data(),
                      .count = static_cast<u32>(room)};
      const s64 error = (*map_.*call)(step);
      if (error == -map::not_supported) return false;
      if (error == -ENOSPC && step.count == 0 && room < map_->spec().max_entries) {  // the next bucket has more
        room *= 2;
        continue;
      }
      if (error != 0 && error != -ENOENT && error != -ENOSPC) return tl::unexpected<Error>(explain(error, "read"));
      batch.count = step.count;
      batch.keys.resize(step.count * key_bytes);
      batch.values.resize(step.count * value_bytes);
      batch.last = error == -ENOENT;
      batch.position = std::move(next);
      return true;
    }
  }

  /// Queues have keys of no bytes; the map room takes those as nullptr.
  static const void* pointer(std::span<const std::byte> key) { return key.empty() ? nullptr : key.data(); }

  Result<void> check_key(std::span<const std::byte> key) const {
    if (key.size() == map_->spec().key_size) return {};
    return tl::unexpected<Error>(wrong_size("key", key.size(), map_->spec().key_size));
  }
  Error wrong_size(std::string_view what, std::size_t found, std::size_t expected) const {
    return Error{Code::invalid_argument, "map " + info().name + ": the " + std::string(what) + " has " +
                                             std::to_string(found) + " bytes, expected " + std::to_string(expected)};
  }

  Result<s64> set_program(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags) {
    if (flags != 0) return -EINVAL;
    u32 index = 0, id = 0;
    std::memcpy(&index, key.data(), sizeof index);
    std::memcpy(&id, value.data(), sizeof id);
    const auto tables = tables_.lock();
    const auto found = tables ? tables->program_table->find(id) : nullptr;
    const auto program = std::dynamic_pointer_cast<const LoadedProgram>(found);
    if (!program)
      return fail(Code::not_found, "map " + info().name + ": no program with id " + std::to_string(id) +
                                       " in this process; a program array takes program ids");
    // A program of the same object lives as long as its array anyway; to hold it would be a circle.
    const auto* function = program->function.get();
    const bool same_object = program->object == owner_.get();
    std::shared_ptr<const void> target =
        same_object ? std::shared_ptr<const void>(program->function) : std::shared_ptr<const void>(program, function);
    return map::prog_array_set(*map_, index, std::move(target), id);
  }

  Result<s64> set_map(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags) {
    u32 id = 0;
    std::memcpy(&id, value.data(), sizeof id);
    const auto tables = tables_.lock();
    const auto found = tables ? tables->map_table->find(id) : nullptr;
    const auto inner = std::dynamic_pointer_cast<const LoadedMap>(found);
    if (!inner)
      return fail(Code::not_found, "map " + info().name + ": no map with id " + std::to_string(id) +
                                       " in this process; a map of maps takes map ids");
    return map::set_inner_map(*map_, pointer(key), inner->map, flags);
  }

  Error explain(s64 error, std::string_view action) const {
    const int number = static_cast<int>(-error);
    std::string place = "map " + info().name + ": " + std::string(action) + ": ";
    switch (number) {
      case ENOENT:
        return {Code::not_found, place + (map_->spec().key_size == 0 ? "it is empty" : "no such key"), number};
      case EEXIST:
        return {Code::invalid_argument, place + "the key is there already", number};
      case E2BIG:
        return {Code::limit,
                place + "the map is full or the index lies outside its " + std::to_string(map_->spec().max_entries) +
                    " entries",
                number};
      case ENOMEM:
        return {Code::limit, place + "no memory", number};
      case EPERM:
        return {Code::permission, place + "this map is read-only or write-only for its host", number};
      case EINVAL:
        return {Code::invalid_argument, place + "this map type does not take these flags or this operation", number};
      case EOPNOTSUPP:
      case map::not_supported:
        return {Code::unsupported,
                place + "maps of type " + std::string(name_of(map_->spec().type)) + " cannot do that", number};
      default:
        return {Code::io, place + std::strerror(number), number};
    }
  }

  std::shared_ptr<map::Map> map_;
  std::shared_ptr<const LoadedObject> owner_;
  ObjectTables tables_;
};

}  // namespace

std::shared_ptr<Map::Impl> make_map_handle(std::shared_ptr<map::Map> map, std::shared_ptr<const LoadedObject> owner,
                                           ObjectTables tables) {
  return std::make_shared<MapHandle>(std::move(map), std::move(owner), std::move(tables));
}

OwnMap own_map(const Map& handle) {
  const auto* own = dynamic_cast<const MapHandle*>(handle.impl().get());
  return own != nullptr ? own->own() : OwnMap{};
}

}  // namespace skep::user
