// Map operations on a descriptor.
#include "kernel/map_handle.hpp"

#include <fmt/core.h>

#include <cerrno>

#include "base/cpus.hpp"
#include "kernel/info.hpp"
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

std::string KernelMap::place() const { return fmt::format("map {}", info_.name); }

Result<void> KernelMap::check_key(std::span<const std::byte> key) const {
  if (key.size() == info_.key_size) return {};
  return fail(Code::invalid_argument,
              fmt::format("map {}: the key is {} bytes, expected {}", info_.name, key.size(), info_.key_size));
}

Result<std::vector<std::byte>> KernelMap::lookup(std::span<const std::byte> key) {
  SKEP_TRY(check_key(key));
  const u64 size = lookup_bytes(info_, base::possible_cpus());
  if (size > most_lookup_bytes)
    return fail(Code::limit, fmt::format("map {}: a value has {} bytes, the most skep reads is {}", info_.name, size,
                                         most_lookup_bytes));
  std::vector<std::byte> value(size);
  auto attr = element(fd_.get(), key, value.data());
  const int status = bpf(uapi::Cmd::map_lookup_elem, attr);
  if (status == -ENOENT) return fail(Code::not_found, fmt::format("map {}: no such key", info_.name), ENOENT);
  if (status == -EOPNOTSUPP || status == -enotsupp)
    return fail(Code::unsupported,
                fmt::format("map {}: the kernel does not let user space read elements of a {} map", info_.name,
                            name_of(info_.type)),
                -status);
  if (status < 0) return tl::unexpected(bpf_error(uapi::Cmd::map_lookup_elem, place(), -status));
  return value;
}

Result<void> KernelMap::update(std::span<const std::byte> key, std::span<const std::byte> value, u64 flags) {
  SKEP_TRY(check_key(key));
  const u64 size = lookup_bytes(info_, base::possible_cpus());
  if (value.size() != size)
    return fail(Code::invalid_argument,
                fmt::format("map {}: the value is {} bytes, expected {}", info_.name, value.size(), size));
  auto attr = element(fd_.get(), key, value.data(), flags);
  const int status = bpf(uapi::Cmd::map_update_elem, attr);
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
  return tl::unexpected(bpf_error(uapi::Cmd::map_update_elem, place(), -status));
}

Result<void> KernelMap::erase(std::span<const std::byte> key) {
  SKEP_TRY(check_key(key));
  auto attr = element(fd_.get(), key, nullptr);
  const int status = bpf(uapi::Cmd::map_delete_elem, attr);
  if (status >= 0) return {};
  if (status == -ENOENT) return fail(Code::not_found, fmt::format("map {}: no such key", info_.name), ENOENT);
  if (status == -EINVAL || status == -EOPNOTSUPP || status == -enotsupp)
    return fail(Code::unsupported,
                fmt::format("map {}: elements of {} maps cannot be deleted", info_.name, name_of(info_.type)), -status);
  return tl::unexpected(bpf_error(uapi::Cmd::map_delete_elem, place(), -status));
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

Result<RingReader> KernelMap::open_ring() {
  if (info_.type == MapType::ringbuf) return open_ring_buffer(fd_.get(), info_);
  if (info_.type == MapType::perf_event_array) return open_perf_buffer(fd_.get(), info_);
  return fail(Code::unsupported, fmt::format("map {}: a {} map is not a ring; expected ringbuf or perf_event_array",
                                             info_.name, name_of(info_.type)));
}

}  // namespace skep::kernel
