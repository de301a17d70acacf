// Copies in and out, with the kernel's errors as sentences. Program arrays and maps of maps are what the object file
// says: without ids of loaded objects there is nothing a host could put in.
#include "host/map_handle.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "base/fd.hpp"
#include "map/reader.hpp"
#include "map/run.hpp"

namespace skep::host {
namespace {

using Bytes = std::vector<std::byte>;

class Handle final : public skep::Map::Impl {
 public:
  explicit Handle(std::shared_ptr<map::Map> map) : map_(std::move(map)) {}

  const MapInfo& info() const override { return map_->info; }

  Result<Bytes> lookup(std::span<const std::byte> key) override {
    SKEP_TRY(check("key", key.size(), map_->spec().key_size));
    Bytes value(map_->host_value_size());
    SKEP_TRY(answer("lookup", map_->copy_lookup(pointer(key), value.data())));
    return value;
  }
  Result<void> lookup_into(std::span<const std::byte> key, std::span<std::byte> value) override {
    SKEP_TRY(check("key", key.size(), map_->spec().key_size));
    SKEP_TRY(check("value", value.size(), map_->host_value_size()));
    return answer("lookup", map_->copy_lookup(pointer(key), value.data()));
  }
  Result<void> update(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags) override {
    SKEP_TRY(check("key", key.size(), map_->spec().key_size));
    SKEP_TRY(check("value", value.size(), map_->host_value_size()));
    return answer("update", map_->copy_update(pointer(key), value.data(), flags));
  }
  Result<void> erase(std::span<const std::byte> key) override {
    SKEP_TRY(check("key", key.size(), map_->spec().key_size));
    return answer("delete", map_->copy_erase(pointer(key)));
  }
  Result<std::optional<Bytes>> next_key(std::optional<std::span<const std::byte>> key) override {
    if (key) SKEP_TRY(check("key", key->size(), map_->spec().key_size));
    Bytes next(map_->spec().key_size);
    const s64 status = map_->next_key(key ? pointer(*key) : nullptr, next.data());
    if (status == -ENOENT) return std::nullopt;
    SKEP_TRY(answer("next key", status));
    return next;
  }
  Result<RingReader> open_ring() override { return map::open_reader(map_); }
  Result<Bytes> take(std::span<const std::byte> key) override {
    SKEP_TRY(check("key", key.size(), map_->spec().key_size));
    Bytes value(map_->host_value_size());
    SKEP_TRY(answer("take", map_->copy_take(pointer(key), value.data(), 0)));
    return value;
  }
  Result<void> freeze() override {
    map_->freeze();
    return {};
  }

 private:
  /// Queues have keys of no bytes; the map room takes those as nullptr.
  static const void* pointer(std::span<const std::byte> key) { return key.empty() ? nullptr : key.data(); }

  Result<void> check(const char* what, std::size_t found, std::size_t expected) const {
    if (found == expected) return {};
    return fail(Code::invalid_argument,
                fmt::format("map {}: the {} has {} bytes, expected {}", info().name, what, found, expected));
  }
  Result<void> answer(const char* action, s64 status) const {
    if (status == 0) return {};
    const int number = static_cast<int>(-status);
    const char* text = number == map::not_supported ? "Operation not supported" : strerrordesc_np(number);
    const Code code = number == ENOENT                                       ? Code::not_found
                      : number == E2BIG || number == ENOMEM                  ? Code::limit
                      : number == EOPNOTSUPP || number == map::not_supported ? Code::unsupported
                      : number == EPERM                                      ? Code::permission
                                                                             : Code::invalid_argument;
    return fail(code,
                fmt::format("map {} ({}): {}: {}", info().name, name_of(map_->spec().type), action,
                            text != nullptr ? text : "failed"),
                number);
  }

  std::shared_ptr<map::Map> map_;
};

}  // namespace

std::size_t value_bytes(const MapInfo& map) noexcept {
  switch (map.type) {
    case MapType::percpu_array:
    case MapType::percpu_hash:
    case MapType::lru_percpu_hash:
    case MapType::percpu_cgroup_storage:
      return (map.value_size + std::size_t{7}) / 8 * 8 * map::possible_cpus();
    default:
      return map.value_size;
  }
}

std::shared_ptr<skep::Map::Impl> map_handle(std::shared_ptr<map::Map> map) {
  return std::make_shared<Handle>(std::move(map));
}

}  // namespace skep::host
