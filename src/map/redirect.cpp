// Maps of redirect targets: devmap, devmap_hash, cpumap, xskmap.
//
// A target is a small number with a little beside it: a device's index, a queue length for a CPU, a socket's
// descriptor. Slots are words, so programs read them without a lock. The rules of what may be stored are the kernel's:
// a device must exist, a CPU must be possible, a socket must be an AF_XDP socket. Programs that run at the target
// (bpf_devmap_val::bpf_prog) need descriptors of kernel programs and are refused.
// Source: kernel/bpf/devmap.c, cpumap.c, net/xdp/xskmap.c.
#include "map/redirect.hpp"

#include <net/if.h>
#include <sys/socket.h>

#include <cerrno>

#include "map/hash_table.hpp"
#include "map/memory.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

/// What a program and the host see of a slot; `target` 0: empty.
struct Slot {
  u32 target = 0;   ///< ifindex, queue size, descriptor + 1
  u32 program = 0;  ///< always 0 here
};

u64 word_of(Slot slot) noexcept { return slot.target | u64{slot.program} << 32; }

bool device_exists(u32 index) noexcept {
  char name[IF_NAMESIZE];
  return ::if_indextoname(index, name) != nullptr;
}

/// The value as the host gave it: a second word is a program's descriptor, of which there are none here.
s64 read_value(const void* value, u32 size, Slot& slot) noexcept {
  std::memcpy(&slot.target, value, sizeof slot.target);
  s32 program = 0;
  if (size == 8) std::memcpy(&program, static_cast<const std::byte*>(value) + 4, sizeof program);
  return program > 0 ? -EINVAL : 0;
}

/// Slots by index.
class RedirectArray : public Map {
 public:
  RedirectArray(const MapSpec& spec, Region slots) : Map(spec), slots_(std::move(slots)) {}

  s64 erase(const void* key) noexcept override {
    const u32 index = index_of(key);
    if (index >= spec_.max_entries) return -EINVAL;
    word_at(slots_.data(), u64{index} * 8).store(0, std::memory_order_release);
    return 0;
  }
  u64 memory_bytes() const noexcept override { return slots_.resident_bytes(); }
  Slot slot(u32 index) const noexcept {
    if (index >= spec_.max_entries) return {};
    const u64 word = word_at(slots_.data(), u64{index} * 8).load(std::memory_order_acquire);
    return {static_cast<u32>(word), static_cast<u32>(word >> 32)};
  }

 protected:
  void* address(u32 index) const noexcept { return slots_.data() + u64{index} * 8; }
  void store(u32 index, Slot made) noexcept {
    word_at(slots_.data(), u64{index} * 8).store(word_of(made), std::memory_order_release);
  }
  s64 host_lookup(const void* key, void* value) noexcept override {
    const Slot found = slot(index_of(key));
    if (found.target == 0) return -ENOENT;
    std::memcpy(value, &found, spec_.value_size);
    return 0;
  }
  s64 host_update(const void* key, const void* value, u64 flags) noexcept override { return update(key, value, flags); }
  s64 host_next_key(const void* key, void* next) noexcept override { return next_index(key, spec_.max_entries, next); }

  Region slots_;
};

class DevMap final : public RedirectArray {
 public:
  using RedirectArray::RedirectArray;

  void* lookup(const void* key) noexcept override {
    const u32 index = index_of(key);
    return slot(index).target != 0 ? address(index) : nullptr;
  }
  s64 update(const void* key, const void* value, u64 flags) noexcept override {
    const u32 index = index_of(key);
    if (flags > update_exist) return -EINVAL;
    if (index >= spec_.max_entries) return -E2BIG;
    if (flags == update_noexist) return -EEXIST;
    Slot made;
    const s64 refused = read_value(value, spec_.value_size, made);
    if (refused != 0 || (made.target != 0 && !device_exists(made.target))) return -EINVAL;
    store(index, made);
    return 0;
  }
};

class CpuMap final : public RedirectArray {
 public:
  using RedirectArray::RedirectArray;

  void* lookup(const void* key) noexcept override {
    const u32 index = index_of(key);
    return slot(index).target != 0 ? address(index) : nullptr;
  }
  s64 update(const void* key, const void* value, u64 flags) noexcept override {
    constexpr u32 longest_queue = 16384;
    const u32 cpu = index_of(key);
    if (flags > update_exist) return -EINVAL;
    if (cpu >= spec_.max_entries) return -E2BIG;
    if (flags == update_noexist) return -EEXIST;
    Slot made;
    const s64 refused = read_value(value, spec_.value_size, made);
    if (made.target > longest_queue) return -EOVERFLOW;
    if (cpu >= possible_cpus()) return -ENODEV;
    if (refused != 0) return refused;
    store(cpu, made);
    return 0;
  }
};

class XskMap final : public RedirectArray {
 public:
  using RedirectArray::RedirectArray;

  void* lookup(const void*) noexcept override { return nullptr; }  // a socket: nothing a program here could use
  s64 update(const void* key, const void* value, u64 flags) noexcept override {
    const u32 index = index_of(key);
    if (flags > update_exist) return -EINVAL;
    if (index >= spec_.max_entries) return -E2BIG;
    const u32 fd = index_of(value);
    int domain = 0;
    socklen_t size = sizeof domain;
    if (::getsockopt(static_cast<int>(fd), SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) return -errno;
    if (domain != AF_XDP) return -EOPNOTSUPP;
    const u32 before = slot(index).target;
    if (before == fd + 1) return 0;
    if (before != 0 && flags == update_noexist) return -EEXIST;
    if (before == 0 && flags == update_exist) return -ENOENT;
    store(index, {fd + 1, 0});
    return 0;
  }

 protected:
  s64 host_lookup(const void*, void*) noexcept override { return -EOPNOTSUPP; }
};

/// Devices by any number.
class DevHash final : public Map {
 public:
  DevHash(const MapSpec& spec, HashTable table) : Map(spec), table_(std::move(table)) {}

  void* lookup(const void* key) noexcept override {
    const HashTable::Ref ref = table_.find<4>(key);
    return ref != 0 ? table_.value(ref) : nullptr;
  }
  s64 update(const void* key, const void* value, u64 flags) noexcept override {
    Slot made;
    const s64 refused = read_value(value, spec_.value_size, made);
    if (flags > update_exist || made.target == 0) return -EINVAL;
    if (flags == update_noexist && table_.find<4>(key) != 0) return -EEXIST;
    if (refused != 0 || !device_exists(made.target)) return -EINVAL;
    // BPF_EXIST asks for nothing here, as in the kernel.
    return table_.update(key, &made, flags == update_noexist ? update_noexist : update_any, 0);
  }
  s64 erase(const void* key) noexcept override { return table_.erase(key); }
  u64 memory_bytes() const noexcept override { return table_.memory_bytes(); }

 protected:
  s64 host_lookup(const void* key, void* value) noexcept override {
    Slot found;
    const s64 error = table_.copy(key, &found);
    if (error == 0) std::memcpy(value, &found, spec_.value_size);
    return error;
  }
  s64 host_update(const void* key, const void* value, u64 flags) noexcept override { return update(key, value, flags); }
  s64 host_next_key(const void* key, void* next) noexcept override { return table_.next_key(key, next); }

 private:
  HashTable table_;
};

}  // namespace

Result<std::shared_ptr<Map>> make_redirect(const MapSpec& given) {
  MapSpec spec = given;
  const bool devices = spec.type == MapType::devmap || spec.type == MapType::devmap_hash;
  if (devices) spec.flags |= flag::rdonly_prog;  // as the kernel adds it: programs read the value, nobody writes it
  if (spec.type == MapType::devmap_hash) {
    auto table = SKEP_TRY(HashTable::create(
        {.key_size = 4, .value_size = sizeof(Slot), .max_entries = spec.max_entries, .seed = hash_seed(spec)}));
    return std::make_shared<DevHash>(spec, std::move(table));
  }
  auto slots = SKEP_TRY(Region::allocate(u64{spec.max_entries} * 8));
  if (spec.type == MapType::cpumap) return std::make_shared<CpuMap>(spec, std::move(slots));
  if (spec.type == MapType::xskmap) return std::make_shared<XskMap>(spec, std::move(slots));
  return std::make_shared<DevMap>(spec, std::move(slots));
}

RedirectTarget redirect_target(Map& map, u32 index) noexcept {
  switch (map.spec().type) {
    case MapType::devmap:
    case MapType::devmap_hash: {
      u32 device = 0;
      if (const void* found = map.lookup(&index); found != nullptr) device = index_of(found);
      return {device != 0, device};
    }
    case MapType::cpumap:
      return {static_cast<RedirectArray&>(map).slot(index).target != 0, index};
    case MapType::xskmap: {
      const u32 socket = static_cast<RedirectArray&>(map).slot(index).target;
      return {socket != 0, socket != 0 ? socket - 1 : 0};
    }
    default:
      return {};
  }
}

u64 redirect_flags(MapType type) noexcept {
  constexpr u64 broadcast = 1u << 3, exclude_ingress = 1u << 4;
  return type == MapType::devmap || type == MapType::devmap_hash ? broadcast | exclude_ingress : 0;
}

}  // namespace skep::map
