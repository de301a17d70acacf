// The maps are the user's: they are opened by path, checked for their layout, and never written.
#include "kit/containers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "kernel/map_handle.hpp"

namespace skep::tools {
namespace {

using Bytes = std::vector<std::byte>;
using PathText = std::array<char, 256>;  // TOOL_PATH_BYTES of tool.bpf.h

/// In order.
Result<std::vector<Bytes>> keys_of(const Map& map) {
  std::vector<Bytes> keys;
  MapBatch batch;
  do {
    SKEP_TRY(map.next_batch(batch));
    const std::size_t size = map.info().key_size;
    for (u32 i = 0; i < batch.count; ++i) {
      const auto key = std::span(batch.keys).subspan(i * size, size);
      keys.emplace_back(key.begin(), key.end());
    }
  } while (!batch.last);
  std::sort(keys.begin(), keys.end());
  return keys;
}

bool has(const std::vector<Bytes>& keys, const Bytes& key) { return std::binary_search(keys.begin(), keys.end(), key); }

}  // namespace

Containers::Containers(Kit& kit) : kit_(kit) {
  kit.options().add_option("--cgroupmap", cgroups_,
                           "only tasks in the cgroups whose numbers are keys of the map pinned at this path");
  kit.options().add_option("--mntnsmap", mount_namespaces_,
                           "only tasks in the mount namespaces whose numbers are keys of the map pinned at this path");
}

Result<void> Containers::open() {
  SKEP_TRY(open_one("--cgroupmap", cgroups_, "wanted_cgroups", "cgroupset"));
  SKEP_TRY(open_one("--mntnsmap", mount_namespaces_, "wanted_mount_namespaces", "mount_ns_set"));
  if (pairs_.empty() || kit_.in_kernel()) return {};
  kit_.on_loaded([this](Object& object) -> Result<void> {
    SKEP_TRY(copy(object));
    follower_ = std::jthread([this, &object](const std::stop_token& stop) { follow(stop, object); });
    return {};
  });
  return {};
}

Result<void> Containers::open_one(std::string_view option, const std::string& path, std::string_view constant,
                                  std::string_view name) {
  auto& maps = kit_.spec().maps;
  const auto own = std::find_if(maps.begin(), maps.end(), [&](const MapSpec& map) { return map.name == name; });
  if (path.empty() || own == maps.end()) {
    kit_.set_map_size(name, 1);  // nobody asks it
    return {};
  }
  PathText text{};
  if (path.size() >= text.size())
    return fail(Code::limit,
                fmt::format("{}: a path of {} bytes; expected at most {}", option, path.size(), text.size() - 1));
  auto map = SKEP_TRY_AT(option, kernel::KernelMap::open(path));
  const MapInfo& found = map->info();
  if (found.type != own->type || found.key_size != own->key_size || found.value_size != own->value_size)
    return fail(
        Code::invalid_argument,
        fmt::format("{}: {} is of type {}, with keys of {} bytes and values of {}; expected {}, {} and {}. "
                    "Make one: skep map create {} type {} key {} value {} entries 128 name {}",
                    option, path, name_of(found.type), found.key_size, found.value_size, name_of(own->type),
                    own->key_size, own->value_size, path, name_of(own->type), own->key_size, own->value_size, name));
  kit_.set(constant, true);
  if (kit_.in_kernel()) {
    std::copy(path.begin(), path.end(), text.begin());
    kit_.set(fmt::format("skep_pin_{}", name), text);
    own->pin_by_name = true;
  } else {
    own->max_entries = found.max_entries;
    pairs_.push_back({Map(std::move(map)), std::string(name)});
  }
  return {};
}

Result<void> Containers::copy(const Object& object) const {
  for (const Pair& pair : pairs_) {
    const Map own = SKEP_TRY(object.map(pair.own));
    const auto wanted = SKEP_TRY(keys_of(pair.theirs)), had = SKEP_TRY(keys_of(own));
    const Bytes value(own.info().value_size);
    for (const Bytes& key : had)
      if (!has(wanted, key)) SKEP_TRY(own.erase(key));
    for (const Bytes& key : wanted)
      if (!has(had, key)) SKEP_TRY(own.update(key, value));
  }
  return {};
}

void Containers::follow(const std::stop_token& stop, const Object& object) const {
  constexpr std::chrono::milliseconds look(100);
  while (!stop.stop_requested()) {
    std::this_thread::sleep_for(look);
    if (const auto copied = copy(object); !copied) {
      note(fmt::format("containers are not looked up any more: {}", copied.error().message));
      return;
    }
  }
}

}  // namespace skep::tools
