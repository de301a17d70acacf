// Many entries of a map at once: written, deleted or taken by a few system calls where the engine has such (Linux 5.6),
// else one after the other. Map::next_batch() reads them.
//
//   const BatchResult done = skep::update_batch(map, keys, values);   // both: entries side by side, as in MapBatch
//   if (done.error) ...                                               // done.count entries were written before it
//   MapBatch batch;
//   do {
//     SKEP_TRY(skep::take_batch(map, batch));                         // batch.count entries are out of the map now
//   } while (!batch.last);
#pragma once
#include <optional>
#include <skep/backend.hpp>
#include <span>

namespace skep {

/// How far a batch came: the entries before `count` are done; `error` says why the next one is not.
struct BatchResult {
  u32 count = 0;
  std::optional<Error> error;
};

/// What a Map::Impl is besides, if its engine has commands for many entries. nullopt: not for this map.
struct BatchedMap {
  virtual ~BatchedMap() = default;
  virtual std::optional<BatchResult> update_batch(std::span<const std::byte> keys, std::span<const std::byte> values,
                                                  u32 count, u64 flags) = 0;
  virtual std::optional<BatchResult> erase_batch(std::span<const std::byte> keys, u32 count) = 0;
  /// False: not for this map.
  virtual Result<bool> take_batch(MapBatch& batch) = 0;
};

/// Writes entries; `flags` as Map::update() takes them. Errors: those of update(); invalid_argument where the sizes do
/// not fit each other.
BatchResult update_batch(const Map& map, std::span<const std::byte> keys, std::span<const std::byte> values,
                         u64 flags = 0);
/// Deletes the entries of these keys, up to the first that is not there (not_found).
BatchResult erase_batch(const Map& map, std::span<const std::byte> keys);
/// Looks up and deletes one entry: in one step where the map can do that, else in two. Errors: those of Map::take() and
/// Map::erase().
Result<std::vector<std::byte>> take_entry(const Map& map, std::span<const std::byte> key);
/// Looks up and deletes the entries that follow batch.position, as Map::next_batch() reads them: of what programs do to
/// an entry meanwhile, all before is in the batch and all after in a new entry. Programs that go on adding entries can
/// make the walk longer. Errors: those of next_batch(); unsupported where entries cannot be deleted (arrays).
Result<void> take_batch(const Map& map, MapBatch& batch);

}  // namespace skep
