// BPF_MAP_CREATE, BPF_MAP_FREEZE, BPF_BTF_LOAD.
#include "kernel/map_create.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "backend/names.hpp"
#include "base/cpus.hpp"
#include "kernel/info.hpp"
#include "kernel/map_needs.hpp"
#include "kernel/mapping.hpp"
#include "kernel/module_types.hpp"
#include "kernel/struct_ops.hpp"
#include "kernel/syscall.hpp"
#include "kernel/verifier_log.hpp"

namespace skep::kernel {

namespace {

constexpr std::string_view pin_directory = "/sys/fs/bpf";

bool is_map_of_maps(MapType type) { return type == MapType::array_of_maps || type == MapType::hash_of_maps; }

uapi::MapCreate attributes(const MapSpec& map, std::string_view stored_name, int inner_fd, int btf_fd) {
  uapi::MapCreate attr;
  attr.map_type = static_cast<u32>(map.type);
  attr.key_size = map.key_size;
  attr.value_size = map.value_size;
  attr.max_entries = map.max_entries;
  attr.map_flags = map.flags | (map.frozen ? map_flag::rdonly_prog : 0);
  attr.map_extra = map.map_extra;
  if ((attr.map_flags & map_flag::numa_node) != 0) attr.numa_node = map.numa_node;
  if (inner_fd >= 0) attr.inner_map_fd = static_cast<u32>(inner_fd);
  if (btf_fd >= 0 && map.btf_value_type_id != 0) {
    attr.btf_fd = static_cast<u32>(btf_fd);
    attr.btf_key_type_id = map.btf_key_type_id;
    attr.btf_value_type_id = map.btf_value_type_id;
  }
  set_object_name(attr.map_name, stored_name);
  return attr;
}

/// Creates one map. Types whose maps take no BTF refuse it with EINVAL or ENOTSUPP, so a second try goes without.
Result<base::Fd> create(const MapSpec& map, std::string_view stored_name, int inner_fd, int btf_fd,
                        const Token* token) {
  auto attr = attributes(map, stored_name, inner_fd, btf_fd);
  show_token(token, attr.map_flags, attr.map_token_fd);
  int fd = bpf(uapi::Cmd::map_create, attr);
  if (fd < 0 && attr.btf_fd != 0 && fd != -EPERM) {
    attr = attributes(map, stored_name, inner_fd, -1);
    show_token(token, attr.map_flags, attr.map_token_fd);
    fd = bpf(uapi::Cmd::map_create, attr);
  }
  if (fd >= 0) return base::Fd(fd);
  Error error = refused(uapi::Cmd::map_create, fmt::format("map {}", map.name), -fd, token, map.type);
  if (fd == -EINVAL) {
    error.message += fmt::format(" ({}, keys of {} bytes, values of {}, {} entries, flags {:#x}: ", name_of(map.type),
                                 map.key_size, map.value_size, map.max_entries, attr.map_flags);
    const auto needs = needs_of(map.type);
    error.message += needs.empty()
                         ? "this kernel does not know the type, or does not take these sizes or flags)"
                         : fmt::format("expected {}; or this kernel does not know the type or a flag)", needs);
  }
  if (fd == -ENOMEM || fd == -E2BIG) {
    error.code = Code::limit;
    error.message += fmt::format(" ({}, keys of {} bytes, values of {}, {} entries: more than the kernel {})",
                                 name_of(map.type), map.key_size, map.value_size, map.max_entries,
                                 fd == -E2BIG ? "makes in one map" : "has memory for");
  }
  return tl::unexpected(std::move(error));
}

/// Whether the map is frozen now.
Result<bool> write_initial(const MapSpec& map, int fd) {
  const bool is_zero = std::ranges::all_of(map.initial_value, [](std::byte byte) { return byte == std::byte{}; });
  if (!is_zero) {  // as the kernel makes it
    const u32 key = 0;
    std::vector<std::byte> value = map.initial_value;
    value.resize(map.value_size);
    uapi::MapElem attr{static_cast<u32>(fd), 0, address_of(&key), address_of(value.data()), 0};
    SKEP_TRY(bpf_ok(uapi::Cmd::map_update_elem, attr, fmt::format("map {}: initial values", map.name)));
  }
  if (!map.frozen) return false;
  uapi::MapFreeze freeze{static_cast<u32>(fd)};
  const int status = bpf(uapi::Cmd::map_freeze, freeze);
  if (status < 0 && status != -EINVAL)
    return tl::unexpected(bpf_error(uapi::Cmd::map_freeze, fmt::format("map {}", map.name), -status));
  return status >= 0;  // EINVAL: a kernel before 5.2; the map is read-only for programs all the same
}

/// Where a map that is pinned by name lies, and whether the object says so itself: it has a variable skep_pin_NAME with
/// the path. Otherwise the name is a file of the bpffs that everybody mounts.
struct PinPlace {
  std::string path;
  bool is_told = false;
};
PinPlace pin_place(const ObjectSpec& object, const MapSpec& map) {
  if (const auto told = object.variable("skep_pin_" + map.name)) {
    const auto* const text = reinterpret_cast<const char*>(object.maps[told->map].initial_value.data()) + told->offset;
    if (std::string path(text, ::strnlen(text, told->size)); !path.empty()) return {std::move(path), true};
  }
  return {fmt::format("{}/{}", pin_directory, map.name)};
}

/// The map pinned there, an empty Fd when there is none, an error when it is another kind of map. Where the path is
/// told, the map may be another's, who has decided how many entries it takes.
Result<base::Fd> open_pinned(const MapSpec& map, const PinPlace& place) {
  uapi::ObjPath attr{address_of(place.path.c_str()), 0, 0};
  const int status = bpf(uapi::Cmd::obj_get, attr);
  if (status == -ENOENT) return base::Fd();
  if (status < 0)
    return tl::unexpected(
        bpf_error(uapi::Cmd::obj_get, fmt::format("map {}: pinned at {}", map.name, place.path), -status));
  base::Fd fd(status);
  if (FdInfo(fd.get()).number("map_id:") == 0)
    return fail(Code::invalid_argument, fmt::format("map {}: what is pinned at {} is no map", map.name, place.path));
  const auto there = SKEP_TRY(raw_map_info(fd.get()));
  // Flags that say how a descriptor may be used are not kept with the map; device maps get one from the kernel.
  const bool is_devmap = map.type == MapType::devmap || map.type == MapType::devmap_hash;
  const u32 passing = map_flag::rdonly | map_flag::wronly | uapi::flag_token | (is_devmap ? map_flag::rdonly_prog : 0);
  const bool same_flags = ((there.map_flags ^ map.flags) & ~passing) == 0;
  if (there.type == static_cast<u32>(map.type) && there.key_size == map.key_size &&
      there.value_size == map.value_size && (place.is_told || (there.max_entries == map.max_entries && same_flags)))
    return fd;
  const auto text = [&](MapType type, u32 key, u32 value, u32 entries, u32 flags) {
    return fmt::format("{}, key {}, value {}, {} entries{}", name_of(type), key, value, entries,
                       same_flags ? "" : fmt::format(", flags {:#x}", flags));
  };
  return fail(Code::invalid_argument,
              fmt::format("map {}: {} holds another map ({}); the object's is {}: remove that pin or rename the map",
                          map.name, place.path,
                          text(static_cast<MapType>(there.type), there.key_size, there.value_size, there.max_entries,
                               there.map_flags),
                          text(map.type, map.key_size, map.value_size, map.max_entries, map.flags)));
}

Result<void> pin(const MapSpec& map, const PinPlace& place, int fd) {
  uapi::ObjPath attr{address_of(place.path.c_str()), static_cast<u32>(fd), 0};
  const int status = bpf(uapi::Cmd::obj_pin, attr);
  if (status >= 0) return {};
  Error error = bpf_error(uapi::Cmd::obj_pin, fmt::format("map {}: pin at {}", map.name, place.path), -status);
  if (status == -ENOENT || status == -EPERM)
    error.message += fmt::format(". A map pinned by name needs bpffs: `mount -t bpf bpf {}`", pin_directory);
  return tl::unexpected(std::move(error));
}

/// A struct_ops map: its value is the kernel's wrapper of the structure. It is filled when it is attached.
Result<std::shared_ptr<KernelMap>> create_ops(const ObjectSpec& object, const MapSpec& map, int btf_fd,
                                              KernelTypes& kernel, const Token* token) {
  const auto layout = SKEP_TRY(ops_layout(object, map, kernel));
  uapi::MapCreate attr;
  attr.map_type = static_cast<u32>(map.type);
  attr.key_size = map.key_size;
  attr.value_size = layout.value_size;
  attr.max_entries = 1;
  attr.map_flags = map.flags;
  if (btf_fd >= 0) attr.btf_fd = static_cast<u32>(btf_fd);  // asked for beside any type id
  attr.btf_vmlinux_value_type_id = layout.value_id;
  set_object_name(attr.map_name, backend::stored_name(map.name));
  base::Fd owner;
  if (!layout.module.empty()) {
    owner = SKEP_TRY_AT(fmt::format("map {}", map.name), open_module_types(layout.module));
    attr.value_type_btf_obj_fd = owner.get();
    attr.map_flags |= uapi::flag_vtype_btf_obj_fd;
  }
  show_token(token, attr.map_flags, attr.map_token_fd);
  const int fd = bpf(uapi::Cmd::map_create, attr);
  if (fd >= 0) return KernelMap::adopt_new(base::Fd(fd), map.name);
  Error error = refused(uapi::Cmd::map_create, fmt::format("map {}", map.name), -fd, token, map.type);
  constexpr int enotsupp = 524;
  if (fd == -enotsupp || fd == -EOPNOTSUPP)
    error = {Code::unsupported,
             fmt::format("map {}: this kernel lets no program implement struct {}", map.name, layout.name), -fd};
  if (fd == -EINVAL && owner)
    error.message +=
        fmt::format(" (struct {} is module {}'s; structures of modules came with 6.9)", layout.name, layout.module);
  else if (fd == -EINVAL && map.flags != 0)
    error.message += " (links of struct_ops maps came with 6.4; section \".struct_ops\" does without)";
  return tl::unexpected(std::move(error));
}

/// A map that was there already. Programs are verified against the address at which hosts see an arena: the first of
/// them says it, and where another one did (at an address that this process does not know) the map is ready as it is.
std::shared_ptr<KernelMap> ready(std::shared_ptr<KernelMap> map) {
  if (map->info().type == MapType::arena) static_cast<void>(map->memory());
  return map;
}

Result<std::shared_ptr<KernelMap>> create_one(const ObjectSpec& object, const MapSpec& spec, int btf_fd,
                                              KernelTypes& kernel, const Token* token) {
  const MapSpec map = completed(spec, base::possible_cpus(), page_bytes());
  const std::string stored = backend::stored_map_name(object.name, map);
  if (map.type == MapType::struct_ops) return create_ops(object, map, btf_fd, kernel, token);
  const PinPlace place = map.pin_by_name ? pin_place(object, map) : PinPlace();
  if (map.pin_by_name)
    if (auto fd = SKEP_TRY(open_pinned(map, place))) return ready(SKEP_TRY(KernelMap::adopt(std::move(fd), map.name)));
  base::Fd inner;
  if (is_map_of_maps(map.type)) {
    if (!map.inner)
      return fail(Code::malformed,
                  fmt::format("map {}: a map of maps needs the definition of its inner maps", map.name));
    inner = SKEP_TRY_AT(fmt::format("map {}: template of inner maps", map.name),
                        create(completed(*map.inner, base::possible_cpus(), page_bytes()),
                               backend::stored_name(map.inner->name), -1, btf_fd, token));
  }
  auto fd = SKEP_TRY(create(map, stored, inner.get(), btf_fd, token));
  const bool is_frozen = map.is_global_data && SKEP_TRY(write_initial(map, fd.get()));
  auto made = SKEP_TRY(KernelMap::adopt_new(std::move(fd), map.is_global_data ? stored : map.name, is_frozen));
  if (map.type == MapType::arena) {
    const auto memory = SKEP_TRY(made->memory());
    if (map.initial_value.size() > memory.size())
      return fail(Code::limit, fmt::format("map {}: variables of {} bytes in an arena of {}", map.name,
                                           map.initial_value.size(), memory.size()));
    std::ranges::copy(map.initial_value, memory.begin());
  }
  if (map.pin_by_name) SKEP_TRY(pin(map, place, made->fd()));
  return made;
}

Result<std::shared_ptr<KernelMap>> take_given(const MapSpec& wanted, const Map& given) {
  auto map = std::dynamic_pointer_cast<KernelMap>(given.impl());
  if (!map) return fail(Code::invalid_argument, "the map that was given for it is not the kernel's");
  SKEP_TRY(backend::check_given(wanted, map->info()));
  return ready(std::move(map));
}

}  // namespace

MapSpec completed(const MapSpec& spec, u32 cpus, u64 page_size) {
  MapSpec map = spec;
  switch (map.type) {
    case MapType::perf_event_array:
      if (map.max_entries == 0) map.max_entries = cpus;
      [[fallthrough]];
    case MapType::prog_array:
    case MapType::cgroup_array:
    case MapType::array_of_maps:
      if (map.key_size == 0) map.key_size = sizeof(u32);
      [[fallthrough]];
    case MapType::hash_of_maps:
      if (map.value_size == 0) map.value_size = sizeof(u32);
      break;
    case MapType::ringbuf:
    case MapType::user_ringbuf: {
      const u64 wanted = std::max<u64>(map.max_entries, page_size);
      if (wanted <= 1u << 31) map.max_entries = static_cast<u32>(std::bit_ceil(wanted));
      break;
    }
    default:
      break;  // every other type needs what its definition says
  }
  return map;
}

Result<std::vector<std::shared_ptr<KernelMap>>> create_maps(const ObjectSpec& object,
                                                            std::span<const LoadOptions::Given> given, int btf_fd,
                                                            KernelTypes& kernel, const Token* token) {
  std::vector<std::shared_ptr<KernelMap>> maps;
  maps.reserve(object.maps.size());
  const auto given_for = [&](const MapSpec& map) {
    return std::ranges::find(given, map.name, &LoadOptions::Given::name);
  };
  for (const MapSpec& map : object.maps) {
    const auto found = given_for(map);
    maps.push_back(found != given.end() ? SKEP_TRY_AT(fmt::format("map {}", map.name), take_given(map, found->map))
                                        : SKEP_TRY(create_one(object, map, btf_fd, kernel, token)));
  }
  for (std::size_t i = 0; i < object.maps.size(); ++i) {
    if (!is_map_of_maps(object.maps[i].type) || given_for(object.maps[i]) != given.end()) continue;
    for (const MapSpec::Slot& slot : object.maps[i].slots) {
      const auto inner = std::ranges::find(object.maps, slot.name, &MapSpec::name);
      if (inner == object.maps.end())
        return fail(Code::not_found, fmt::format("map {}: slot {} names map \"{}\", which the object does not have",
                                                 object.maps[i].name, slot.index, slot.name));
      SKEP_TRY(set_slot(*maps[i], slot.index, maps[static_cast<std::size_t>(inner - object.maps.begin())]->fd()));
    }
  }
  return maps;
}

Result<std::shared_ptr<KernelMap>> create_map_of(const ObjectSpec& object, const MapSpec& map, int btf_fd,
                                                 KernelTypes& kernel) {
  return create_one(object, map, btf_fd, kernel, nullptr);
}

Result<std::shared_ptr<KernelMap>> create_map(const MapSpec& spec, int inner_fd) {
  const MapSpec map = completed(spec, base::possible_cpus(), page_bytes());
  auto fd = SKEP_TRY(create(map, backend::stored_name(map.name), inner_fd, -1, nullptr));
  return KernelMap::adopt_new(std::move(fd), map.name);
}

Result<void> set_slot(const KernelMap& map, u32 index, int fd) {
  const u32 value = static_cast<u32>(fd);
  uapi::MapElem attr{static_cast<u32>(map.fd()), 0, address_of(&index), address_of(&value), 0};
  return bpf_ok(uapi::Cmd::map_update_elem, attr, fmt::format("map {}: slot {}", map.info().name, index));
}

Result<base::Fd> load_types(std::span<const std::byte> bytes, const Token* token) {
  uapi::BtfLoad attr;
  show_token(token, attr.flags, attr.token_fd);
  attr.btf = address_of(bytes.data());
  attr.btf_size = static_cast<u32>(bytes.size());
  int fd = bpf(uapi::Cmd::btf_load, attr);
  if (fd >= 0) return base::Fd(fd);
  const int first_error = -fd;
  std::string log(1u << 16, '\0');
  attr.log_buf = address_of(log.data());
  attr.log_size = static_cast<u32>(log.size());
  attr.log_level = 1;
  fd = bpf(uapi::Cmd::btf_load, attr);
  if (fd >= 0) return base::Fd(fd);
  log.resize(log.find('\0') == std::string::npos ? log.size() : log.find('\0'));
  Error error = refused(uapi::Cmd::btf_load, "types", first_error, token);
  const auto refusal = read_refusal(log);
  const std::string_view told = std::string_view(log).substr(0, log.find_last_not_of('\n') + 1);
  const std::string_view last_line = told.substr(told.rfind('\n') + 1);
  if (!refusal.reason.empty() || !last_line.empty())
    error.message += fmt::format(": {}", refusal.reason.empty() ? last_line : std::string_view(refusal.reason));
  return tl::unexpected(std::move(error));
}

}  // namespace skep::kernel
