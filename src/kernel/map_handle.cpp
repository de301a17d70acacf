// Map operations on a descriptor.
#include "kernel/map_handle.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "backend/batches.hpp"
#include "base/cpus.hpp"
#include "kernel/info.hpp"
#include "kernel/open.hpp"
#include "kernel/pins.hpp"
#include "kernel/rings.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

constexpr u64 most_lookup_bytes = 1u << 30;
constexpr int enotsupp = 524;  // the kernel's own ENOTSUPP, which libc does not name

bool is_per_cpu(MapType type) {
  return type == MapType::percpu_hash || type == MapType::percpu_array || type == MapType::lru_percpu_hash ||
         type == MapType::percpu_cgroup_storage;
}

/// Maps whose values user space writes as descriptors and reads as ids.
bool holds_objects(MapType type) {
  return type == MapType::array_of_maps || type == MapType::hash_of_maps || type == MapType::prog_array;
}

/// What a map's elements are, where user space writes descriptors of them that are its own; "" for other maps.
std::string_view described_elements(MapType type) {
  switch (type) {
    case MapType::sockmap:
    case MapType::sockhash:
    case MapType::xskmap:
    case MapType::reuseport_sockarray:
      return "sockets";
    case MapType::perf_event_array:
      return "perf events";
    case MapType::cgroup_array:
      return "control groups";
    default:
      return {};
  }
}

uapi::MapElem element(int fd, std::span<const std::byte> key, const void* value, u64 flags = 0) {
  return {static_cast<u32>(fd), 0, key.empty() ? 0 : address_of(key.data()), address_of(value), flags};
}

}  // namespace

u64 lookup_bytes(const MapInfo& info, u32 cpus) noexcept {
  if (is_per_cpu(info.type)) return (static_cast<u64>(info.value_size) + 7) / 8 * 8 * cpus;
  if (holds_objects(info.type)) return sizeof(u32);
  return info.value_size;
}

Result<std::shared_ptr<KernelMap>> KernelMap::adopt(base::Fd fd, std::string_view name) {
  auto info = SKEP_TRY(map_info(fd.get()));
  if (!name.empty()) info.name = name;
  return std::shared_ptr<KernelMap>(new KernelMap(std::move(fd), std::move(info)));
}

Result<std::shared_ptr<KernelMap>> KernelMap::open(const std::filesystem::path& path) {
  base::Fd fd = SKEP_TRY(open_pin(path));
  if (FdInfo(fd.get()).number("map_id:") == 0)
    return fail(Code::invalid_argument, fmt::format("{}: what is pinned there is no map", path.native()));
  return adopt(std::move(fd));
}

Result<std::shared_ptr<KernelMap>> KernelMap::adopt_new(base::Fd fd, std::string_view name, bool is_frozen) {
  auto info = SKEP_TRY(map_info(fd.get(), Ask::kernel_only));
  info.name = name;
  info.frozen = is_frozen;
  return std::shared_ptr<KernelMap>(new KernelMap(std::move(fd), std::move(info)));
}

/// The program or map whose id `value` holds.
Result<base::Fd> KernelMap::open_named(std::span<const std::byte> value) const {
  u32 id = 0;
  std::memcpy(&id, value.data(), sizeof id);
  const bool program = info_.type == MapType::prog_array;
  const std::string_view kind = program ? "program" : "map";
  return open_by_id(program ? uapi::Cmd::prog_get_fd_by_id : uapi::Cmd::map_get_fd_by_id, id, kind)
      .map_error([&](Error error) {
        if (error.code == Code::not_found)
          error.message += fmt::format("; a {} map takes ids of {}s", name_of(info_.type), kind);
        return std::move(error).within(place());
      });
}

std::string KernelMap::place() const { return fmt::format("map {}", info_.name); }

Error KernelMap::refused(uapi::Cmd cmd, int error_number) const {
  const bool for_reading = error_number == EPERM && (::fcntl(fd_.get(), F_GETFL) & O_ACCMODE) == O_RDONLY;
  if (!for_reading) return bpf_error(cmd, place(), error_number);
  return Error{Code::permission, place() + ": it is open for reading only, as its pin's rights allow this process",
               EPERM};
}

Result<void> KernelMap::check_key(std::span<const std::byte> key) const {
  if (key.size() == info_.key_size) return {};
  return fail(Code::invalid_argument,
              fmt::format("map {}: the key is {} bytes, expected {}", info_.name, key.size(), info_.key_size));
}

Result<std::vector<std::byte>> KernelMap::lookup(std::span<const std::byte> key) {
  return read_element(uapi::Cmd::map_lookup_elem, key);
}

Result<std::vector<std::byte>> KernelMap::take(std::span<const std::byte> key) {
  return read_element(uapi::Cmd::map_lookup_and_delete_elem, key);
}

Result<void> KernelMap::freeze() {
  uapi::MapFreeze attr{static_cast<u32>(fd_.get())};
  const int status = bpf(uapi::Cmd::map_freeze, attr);
  if (status == -EBUSY)
    return fail(Code::invalid_argument,
                fmt::format("map {}: it is frozen already, or a process has it mapped for writing", info_.name), EBUSY);
  if (status < 0) return tl::unexpected(refused(uapi::Cmd::map_freeze, -status));
  info_.frozen = true;
  return {};
}

Result<std::vector<std::byte>> KernelMap::read_element(uapi::Cmd cmd, std::span<const std::byte> key) {
  SKEP_TRY(check_key(key));
  const u64 size = lookup_bytes(info_, base::possible_cpus());
  if (size > most_lookup_bytes)
    return fail(Code::limit, fmt::format("map {}: a value has {} bytes, the most skep reads is {}", info_.name, size,
                                         most_lookup_bytes));
  std::vector<std::byte> value(size);
  auto attr = element(fd_.get(), key, value.data());
  const int status = bpf(cmd, attr);
  if (status == -ENOENT)
    return fail(Code::not_found,
                fmt::format("map {}: {}", info_.name, info_.key_size == 0 ? "it is empty" : "no such key"), ENOENT);
  if (status == -EOPNOTSUPP || status == -enotsupp || (status == -EINVAL && cmd != uapi::Cmd::map_lookup_elem))
    return fail(Code::unsupported,
                fmt::format("map {}: the kernel does not let user space {} elements of a {} map", info_.name,
                            cmd == uapi::Cmd::map_lookup_elem ? "read" : "take", name_of(info_.type)),
                -status);
  if (status == -ENOSPC && described_elements(info_.type) == "sockets")
    return fail(Code::unsupported,
                fmt::format("map {}: a look-up gives a socket's cookie of 8 bytes, and this map's values have {}",
                            info_.name, info_.value_size),
                ENOSPC);
  if (status < 0) return tl::unexpected(refused(cmd, -status));
  return value;
}

Result<void> KernelMap::update(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags) {
  SKEP_TRY(check_key(key));
  const u64 size = lookup_bytes(info_, base::possible_cpus());
  if (value.size() != size)
    return fail(Code::invalid_argument,
                fmt::format("map {}: the value is {} bytes, expected {}", info_.name, value.size(), size));
  auto attr = element(fd_.get(), key, value.data(), flags);
  base::Fd object;
  u32 object_fd = 0;
  if (holds_objects(info_.type)) {
    object = SKEP_TRY(open_named(value));
    object_fd = static_cast<u32>(object.get());
    attr.value_or_next_key = address_of(&object_fd);
  }
  const int status = bpf(uapi::Cmd::map_update_elem, attr);
  if (status == -EINVAL && holds_objects(info_.type))
    return fail(Code::invalid_argument,
                fmt::format("map {}: the {} does not fit: {}", info_.name,
                            info_.type == MapType::prog_array ? "program" : "map",
                            info_.type == MapType::prog_array
                                ? "its type must be that of the programs that are there or use the array"
                                : "its type, key, value, entries and flags must be those of the template"),
                EINVAL);
  if (status >= 0) return {};
  if (status == -EPERM && info_.frozen)
    return fail(Code::permission, fmt::format("map {}: frozen, so user space cannot change it any more", info_.name),
                EPERM);
  if (status == -E2BIG)
    return fail(Code::limit,
                fmt::format("map {}: full or out of range ({} entries at most)", info_.name, info_.max_entries), E2BIG);
  if (status == -EEXIST)
    return fail(Code::invalid_argument, fmt::format("map {}: the key exists already", info_.name), EEXIST);
  if (status == -ENOENT) return fail(Code::not_found, fmt::format("map {}: no such key", info_.name), ENOENT);
  if (const auto elements = described_elements(info_.type);
      !elements.empty() && (status == -EBADF || status == -ENOTSOCK || status == -EINVAL))
    return fail(Code::invalid_argument,
                fmt::format("map {}: elements of {} maps are {}, written as descriptors of the process that has them "
                            "open; the number given is none of this process",
                            info_.name, name_of(info_.type), elements),
                -status);
  if (status == -EINVAL && (info_.type == MapType::devmap || info_.type == MapType::devmap_hash))
    return fail(Code::invalid_argument,
                fmt::format("map {}: elements of {} maps begin with the number of a network device, and this network "
                            "namespace has none of the given number",
                            info_.name, name_of(info_.type)),
                EINVAL);
  return tl::unexpected(refused(uapi::Cmd::map_update_elem, -status));
}

Result<void> KernelMap::erase(std::span<const std::byte> key) {
  SKEP_TRY(check_key(key));
  auto attr = element(fd_.get(), key, nullptr);
  const int status = bpf(uapi::Cmd::map_delete_elem, attr);
  if (status >= 0) return {};
  const bool says_so_otherwise = status == -EINVAL && info_.type == MapType::sockmap;
  if (status == -ENOENT || says_so_otherwise)
    return fail(Code::not_found, fmt::format("map {}: no such key", info_.name), ENOENT);
  if (status == -EINVAL || status == -EOPNOTSUPP || status == -enotsupp)
    return fail(Code::unsupported,
                fmt::format("map {}: elements of {} maps cannot be deleted", info_.name, name_of(info_.type)), -status);
  return tl::unexpected(refused(uapi::Cmd::map_delete_elem, -status));
}

Result<std::optional<std::vector<std::byte>>> KernelMap::next_key(std::optional<std::span<const std::byte>> key) {
  if (key) SKEP_TRY(check_key(*key));
  std::vector<std::byte> next(info_.key_size);
  auto attr = element(fd_.get(), key.value_or(std::span<const std::byte>()), next.data());
  const int status = bpf(uapi::Cmd::map_get_next_key, attr);
  if (status == -ENOENT) return std::nullopt;
  if (status == -EOPNOTSUPP || status == -enotsupp || status == -EINVAL)
    return fail(Code::unsupported, fmt::format("map {}: {} maps have no keys to walk", info_.name, name_of(info_.type)),
                -status);
  if (status < 0) return tl::unexpected(bpf_error(uapi::Cmd::map_get_next_key, place(), -status));
  return next;
}

Result<void> KernelMap::next_batch(MapBatch& batch) {
  if (has_batches_) {
    has_batches_ = SKEP_TRY(kernel_batch(uapi::Cmd::map_lookup_batch, batch));
    if (has_batches_) return {};
  }
  return Impl::next_batch(batch);
}

Result<bool> KernelMap::take_batch(MapBatch& batch) {
  if (!takes_batches_ || holds_objects(info_.type)) return false;
  takes_batches_ = SKEP_TRY(kernel_batch(uapi::Cmd::map_lookup_and_delete_batch, batch));
  return takes_batches_;
}

/// False: this map has no batches, and the walk has not begun.
Result<bool> KernelMap::kernel_batch(uapi::Cmd cmd, MapBatch& batch) {
  constexpr u64 most_bytes = 1u << 20, least_position_bytes = 8;
  const u64 value_bytes = lookup_bytes(info_, base::possible_cpus());
  const u64 entry_bytes = std::max<u64>(1, info_.key_size + value_bytes);
  u64 room = std::clamp<u64>(most_bytes / entry_bytes, 1, batch.room);
  std::vector<std::byte> next(std::max<u64>(info_.key_size, least_position_bytes));
  while (true) {
    if (room * entry_bytes > most_lookup_bytes)
      return fail(Code::limit,
                  fmt::format("map {}: {} entries of one bucket are more than skep reads at once", info_.name, room));
    batch.keys.resize(room * info_.key_size);
    batch.values.resize(room * value_bytes);
    batch.errors.clear();
    uapi::MapBatch attr;
    attr.map_fd = static_cast<u32>(fd_.get());
    attr.in_batch = batch.position.empty() ? 0 : address_of(batch.position.data());
    attr.out_batch = address_of(next.data());
    attr.keys = address_of(batch.keys.data());
    attr.values = address_of(batch.values.data());
    attr.count = static_cast<u32>(room);
    const int status = bpf(cmd, attr);
    if (status == -ENOSPC && attr.count == 0) {  // the next bucket of the hash has more entries
      room *= 2;
      continue;
    }
    const bool has_none = status == -EOPNOTSUPP || status == -enotsupp || status == -EINVAL;
    if (has_none && batch.position.empty()) return false;
    if (status < 0 && status != -ENOENT && status != -ENOSPC) return tl::unexpected(refused(cmd, -status));
    batch.count = attr.count;
    batch.keys.resize(attr.count * u64{info_.key_size});
    batch.values.resize(attr.count * value_bytes);
    batch.last = status == -ENOENT;
    batch.position = std::move(next);
    return true;
  }
}

/// How many entries were done; nullopt: this map, or this kernel, has no batches.
std::optional<u32> KernelMap::change_batch(uapi::Cmd cmd, const std::byte* keys, const std::byte* values, u32 count,
                                           u64 flags) {
  uapi::MapBatch attr;
  attr.map_fd = static_cast<u32>(fd_.get());
  attr.keys = address_of(keys);
  attr.values = address_of(values);
  attr.count = count;
  attr.elem_flags = flags;
  const int status = bpf(cmd, attr);
  if (status >= 0) return count;
  // What was refused before the first entry left the field as it was.
  if (status == -EOPNOTSUPP || status == -enotsupp || status == -EINVAL || attr.count >= count) return std::nullopt;
  return attr.count;
}

std::optional<BatchResult> KernelMap::update_batch(std::span<const std::byte> keys, std::span<const std::byte> values,
                                                   u32 count, u64 flags) {
  const std::size_t key_bytes = info_.key_size, value_bytes = lookup_bytes(info_, base::possible_cpus());
  if (holds_objects(info_.type) || values.size() != count * value_bytes) return std::nullopt;
  return backend::in_batches(
      count,
      [&](u32 from) {
        return change_batch(uapi::Cmd::map_update_batch, keys.data() + from * key_bytes,
                            values.data() + from * value_bytes, count - from, flags);
      },
      [&](u32 at) {
        return update(keys.subspan(at * key_bytes, key_bytes), values.subspan(at * value_bytes, value_bytes), flags);
      });
}

std::optional<BatchResult> KernelMap::erase_batch(std::span<const std::byte> keys, u32 count) {
  const std::size_t key_bytes = info_.key_size;
  return backend::in_batches(
      count,
      [&](u32 from) {
        return change_batch(uapi::Cmd::map_delete_batch, keys.data() + from * key_bytes, nullptr, count - from, 0);
      },
      [&](u32 at) { return erase(keys.subspan(at * key_bytes, key_bytes)); });
}

Result<RingReader> KernelMap::open_ring() {
  if (info_.type == MapType::ringbuf) return open_ring_buffer(fd_.get(), info_);
  if (info_.type == MapType::perf_event_array) return open_perf_buffer(fd_.get(), info_);
  return fail(Code::unsupported, fmt::format("map {}: a {} map is not a ring; expected ringbuf or perf_event_array",
                                             info_.name, name_of(info_.type)));
}

Result<RingWriter> KernelMap::open_ring_writer() {
  if (info_.type == MapType::user_ringbuf) return open_user_ring(fd_.get(), info_);
  return fail(Code::unsupported, fmt::format("map {}: a {} map takes no records from its host; expected user_ringbuf",
                                             info_.name, name_of(info_.type)));
}

Result<std::span<std::byte>> KernelMap::memory() {
  u64 bytes = 0;
  if (info_.type == MapType::arena)
    bytes = u64{info_.max_entries} * page_bytes();
  else if (info_.type == MapType::array && (info_.flags & map_flag::mmapable) != 0)
    bytes = (u64{info_.value_size} + 7) / 8 * 8 * info_.max_entries;
  else
    return fail(Code::unsupported,
                fmt::format("map {}: only arenas, and arrays with BPF_F_MMAPABLE, share their memory", info_.name));
  const std::lock_guard lock(mapping_now_);
  if (!memory_) {
    const u64 whole = (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
    const u64 address = info_.type == MapType::arena ? info_.map_extra : 0;
    auto mapping = Mapping::map(fd_.get(), whole, PROT_READ | PROT_WRITE, 0, address);
    if (!mapping) {
      Error error = std::move(mapping.error()).within(place());
      if ((error.os_error == EBUSY || error.os_error == EINVAL) && info_.type == MapType::arena)
        error.message += " (another process mapped this arena at an address of its own; map_extra would say which)";
      if (error.os_error == EPERM || error.os_error == EACCES) {
        error.code = Code::permission;
        error.message += " (the map is frozen or read-only)";
      }
      return tl::unexpected(std::move(error));
    }
    memory_.emplace(*std::move(mapping));
  }
  return std::span(memory_->bytes(), bytes);
}

}  // namespace skep::kernel
