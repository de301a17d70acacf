// What an Inspector answers where its world has no such thing, and a walk over any map.
//
// Pins, maps without an object and forced detaching belong to the kernel. The objects of a user engine live in a
// process and go with it: the sentences say so.
#include <cerrno>
#include <skep/backend.hpp>

namespace skep {

namespace {
tl::unexpected<Error> only_kernel(std::string_view what) {
  return fail(Code::unsupported, "a user-engine process has no " + std::string(what) +
                                     ": what it loads lives in it, as long as it runs; the kernel engine has");
}
}  // namespace

Result<ProgramInfo> Inspector::pinned_program(const std::filesystem::path&) { return only_kernel("bpffs to pin in"); }
Result<MapInfo> Inspector::pinned_map(const std::filesystem::path&) { return only_kernel("bpffs to pin in"); }
Result<LinkInfo> Inspector::pinned_link(const std::filesystem::path&) { return only_kernel("bpffs to pin in"); }
Result<void> Inspector::pin(ObjectKind, u32, const std::filesystem::path&) { return only_kernel("bpffs to pin in"); }
Result<Map> Inspector::create_map(const MapSpec&, u32) { return only_kernel("maps without an object"); }
Result<void> Inspector::detach_link(u32) { return only_kernel("links that others can detach"); }

namespace {
/// Maps whose keys are there whether something is at them or not, and where that is worth saying.
bool has_fixed_keys(MapType type) {
  return type == MapType::devmap || type == MapType::cpumap || type == MapType::xskmap || type == MapType::sockmap ||
         type == MapType::reuseport_sockarray || type == MapType::cgroup_array || type == MapType::perf_event_array;
}
}  // namespace

Result<void> Map::Impl::next_batch(MapBatch& batch) {
  batch.keys.clear();
  batch.values.clear();
  batch.errors.clear();
  batch.count = 0;
  // A walk that meets nothing but vanishing elements ends too.
  for (u32 steps = 0; steps < batch.room; ++steps) {
    auto key = SKEP_TRY(next_key(
        batch.position.empty() ? std::nullopt : std::optional<std::span<const std::byte>>(std::span(batch.position))));
    if (!key) {
      batch.last = true;
      return {};
    }
    batch.position = *key;
    auto value = lookup(*key);
    const bool gone = !value && value.error().code == Code::not_found;
    if (gone && !has_fixed_keys(info().type)) continue;
    if (!value && value.error().os_error == 0) return tl::unexpected(std::move(value).error());
    batch.keys.insert(batch.keys.end(), key->begin(), key->end());
    if (value) {
      batch.values.insert(batch.values.end(), value->begin(), value->end());
    } else {
      batch.errors.resize(batch.count);
      batch.errors.push_back(gone ? ENOENT : value.error().os_error);
      batch.values.resize(batch.values.size() + info().value_size);  // values stay side by side
    }
    ++batch.count;
  }
  return {};
}

}  // namespace skep
