// Maps and programs of the kernel that have no handle here: pinned ones, those of other libraries and of other
// processes.
//
// bpf(2) with its errors as sentences, and a door from a descriptor to a table.
#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>

#include "capi/state.hpp"
#include "kernel/map_handle.hpp"
#include "kernel/open.hpp"
#include "kernel/pins.hpp"
#include "kernel/syscall.hpp"

namespace skep::capi {
namespace {

using kernel::address_of;
using kernel::uapi::Cmd;

Result<s64> element(Cmd cmd, s32 descriptor, const void* key, const void* value, u64 flags = 0) {
  kernel::uapi::MapElem attr{static_cast<u32>(descriptor), 0, address_of(key), address_of(value), flags};
  SKEP_TRY(kernel::bpf_ok(cmd, attr, fmt::format("map of descriptor {}", descriptor)));
  return 0;
}

Result<s64> next_key(s32 descriptor, const void* key, void* next) {
  const auto found = element(Cmd::map_get_next_key, descriptor, key, next);
  if (!found && found.error().os_error == ENOENT) return 1;
  return found;
}

Result<s64> create_map(const char* name, u32 type, u32 key_size, u32 value_size, u32 max_entries, u32 flags) {
  kernel::uapi::MapCreate attr;
  attr.map_type = type;
  attr.key_size = key_size;
  attr.value_size = value_size;
  attr.max_entries = max_entries;
  attr.map_flags = flags;
  if (name != nullptr) kernel::set_object_name(attr.map_name, name);
  return SKEP_TRY(kernel::bpf_fd(Cmd::map_create, attr, "create a map")).release();
}

Result<s64> by_id(const char* kind, u32 id) {
  const std::string_view what = kind;
  if (what == "map") return SKEP_TRY(kernel::open_by_id(Cmd::map_get_fd_by_id, id, what)).release();
  if (what == "program") return SKEP_TRY(kernel::open_by_id(Cmd::prog_get_fd_by_id, id, what)).release();
  return fail(Code::invalid_argument, fmt::format("no kind of object \"{}\": there are map and program", what));
}

template <class T>
void tell(T* to, T value) {
  if (to != nullptr) *to = value;
}

Result<s64> test_run(kernel::uapi::TestRun& attr, u32* size_out, u32* result, u32* duration_ns) {
  SKEP_TRY(kernel::bpf_ok(Cmd::prog_test_run, attr, fmt::format("program of descriptor {}", attr.prog_fd)));
  tell(size_out, attr.data_size_out);
  tell(result, attr.retval);
  tell(duration_ns, attr.duration);
  return 0;
}

Result<std::unique_ptr<skep_object>> object_of_map(skep_engine* engine, s32 descriptor) {
  if (engine == nullptr) return is_null("the engine");
  if (engine->state->name != "kernel")
    return fail(Code::unsupported, "maps of the user engine live in this process and have no descriptors");
  base::Fd own(::fcntl(descriptor, F_DUPFD_CLOEXEC, 1));
  if (!own) return tl::unexpected(base::os_error(fmt::format("descriptor {}", descriptor)));
  auto map = SKEP_TRY(kernel::KernelMap::adopt(std::move(own)));
  const MapInfo& info = map->info();
  auto state = std::make_shared<ObjectState>();
  state->engine = engine->state;
  MapSpec spec;
  spec.name = info.name;
  spec.type = info.type;
  if (info.btf_id != 0)
    if (auto types = kernel::types_by_id(info.btf_id)) {
      state->spec.btf = *std::move(types);
      spec.btf_key_type_id = info.btf_key_type_id;
      spec.btf_value_type_id = info.btf_value_type_id;
    }
  state->spec.maps.push_back(std::move(spec));
  state->maps.emplace_back(std::move(map));
  state->tables.push_back({state.get(), 0});
  return std::make_unique<skep_object>(skep_object{std::move(state)});
}

}  // namespace
}  // namespace skep::capi

using namespace skep;
using namespace skep::capi;

int skep_descriptor_open(const char* path) {
  return status_of([&]() -> Result<s64> {
    if (path == nullptr) return is_null("the path");
    return SKEP_TRY(kernel::open_pin(path)).release();
  });
}

int skep_descriptor_by_id(const char* kind, uint32_t id) {
  return status_of([&]() -> Result<s64> { return kind != nullptr ? by_id(kind, id) : is_null("the kind"); });
}

int skep_descriptor_pin(int32_t descriptor, const char* path) {
  return status_of([&]() -> Result<s64> {
    if (path == nullptr) return is_null("the path");
    SKEP_TRY(kernel::pin_object(descriptor, path));
    return 0;
  });
}

int skep_descriptor_create_map(const char* name, uint32_t type, uint32_t key_size, uint32_t value_size,
                               uint32_t max_entries, uint32_t flags) {
  return status_of([&] { return create_map(name, type, key_size, value_size, max_entries, flags); });
}

int skep_descriptor_lookup(int32_t descriptor, const void* key, void* value) {
  return status_of([&] { return element(Cmd::map_lookup_elem, descriptor, key, value); });
}

int skep_descriptor_update(int32_t descriptor, const void* key, const void* value, uint64_t flags) {
  return status_of([&] { return element(Cmd::map_update_elem, descriptor, key, value, flags); });
}

int skep_descriptor_delete(int32_t descriptor, const void* key) {
  return status_of([&] { return element(Cmd::map_delete_elem, descriptor, key, nullptr); });
}

int skep_descriptor_take(int32_t descriptor, const void* key, void* value) {
  return status_of([&] { return element(Cmd::map_lookup_and_delete_elem, descriptor, key, value); });
}

int skep_descriptor_next_key(int32_t descriptor, const void* key, void* next) {
  return status_of([&] { return next_key(descriptor, key, next); });
}

int skep_descriptor_test_run(int32_t descriptor, uint32_t repeat, const void* data, uint32_t size, void* data_out,
                             uint32_t* size_out, uint32_t* result, uint32_t* duration_ns) {
  return status_of([&] {
    kernel::uapi::TestRun attr;
    attr.prog_fd = static_cast<u32>(descriptor);
    attr.repeat = repeat;
    attr.data_in = address_of(data);
    attr.data_size_in = size;
    attr.data_out = address_of(data_out);
    return test_run(attr, size_out, result, duration_ns);
  });
}

skep_object* skep_object_of_map(skep_engine* engine, int32_t descriptor) {
  return handle_of<skep_object>([&] { return object_of_map(engine, descriptor); });
}
