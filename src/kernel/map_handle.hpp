// A kernel map behind Map: look-ups and updates by bpf(2), rings by mmap.
//
// Program arrays and maps of maps take object ids, as in the user engine, and turn them into the descriptors that
// bpf(2) wants: whoever names an object from outside has its id.
#pragma once
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <skep/backend.hpp>
#include <skep/map_batch.hpp>

#include "base/fd.hpp"
#include "kernel/mapping.hpp"
#include "kernel/uapi.hpp"

namespace skep::kernel {

/// Shared by every handle to the same map; closes its descriptor with the last.
class KernelMap final : public Map::Impl, public BatchedMap {
 public:
  /// Takes the descriptor and asks the kernel for the map's facts. A non-empty `name` replaces the kernel's,
  /// which is cut at 15 characters.
  static Result<std::shared_ptr<KernelMap>> adopt(base::Fd fd, std::string_view name = {});
  /// The map pinned at `path`. Errors: those of open_pin(); invalid_argument where something else is pinned there.
  static Result<std::shared_ptr<KernelMap>> open(const std::filesystem::path& path);
  /// The same of a map that this process has just made.
  static Result<std::shared_ptr<KernelMap>> adopt_new(base::Fd fd, std::string_view name, bool is_frozen = false);

  const MapInfo& info() const override { return info_; }
  Result<std::vector<std::byte>> lookup(std::span<const std::byte> key) override;
  Result<void> update(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags) override;
  Result<void> erase(std::span<const std::byte> key) override;
  Result<std::optional<std::vector<std::byte>>> next_key(std::optional<std::span<const std::byte>> key) override;
  Result<RingReader> open_ring() override;
  Result<RingWriter> open_ring_writer() override;
  Result<std::span<std::byte>> memory() override;
  Result<std::vector<std::byte>> take(std::span<const std::byte> key) override;
  Result<void> freeze() override;
  /// BPF_MAP_LOOKUP_BATCH where the map has it (5.6; per-CPU arrays 5.13), else from key to key.
  Result<void> next_batch(MapBatch& batch) override;
  std::optional<BatchResult> update_batch(std::span<const std::byte> keys, std::span<const std::byte> values, u32 count,
                                          u64 flags) override;
  std::optional<BatchResult> erase_batch(std::span<const std::byte> keys, u32 count) override;
  Result<bool> take_batch(MapBatch& batch) override;

  int fd() const noexcept { return fd_.get(); }
  void set_info(MapInfo info) { info_ = std::move(info); }

 private:
  KernelMap(base::Fd fd, MapInfo info) : fd_(std::move(fd)), info_(std::move(info)) {}
  Result<void> check_key(std::span<const std::byte> key) const;
  std::string place() const;
  Error refused(uapi::Cmd cmd, int error_number) const;
  Result<base::Fd> open_named(std::span<const std::byte> value) const;
  Result<std::vector<std::byte>> read_element(uapi::Cmd cmd, std::span<const std::byte> key);
  Result<bool> kernel_batch(uapi::Cmd cmd, MapBatch& batch);
  std::optional<u32> change_batch(uapi::Cmd cmd, const std::byte* keys, const std::byte* values, u32 count, u64 flags);

  base::Fd fd_;
  MapInfo info_;
  bool has_batches_ = true, takes_batches_ = true;
  std::mutex mapping_now_;
  std::optional<Mapping> memory_;
};

/// Bytes that a look-up hands out: per-CPU maps have one slot of round_up(value_size, 8) for every possible CPU.
u64 lookup_bytes(const MapInfo& info, u32 cpus) noexcept;

}  // namespace skep::kernel
