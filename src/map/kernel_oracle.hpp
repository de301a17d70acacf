// The running kernel's maps through bpf(2): what the tests of this room compare with.
//
// Only tests include this. Every map lives in this process and goes with it.
#pragma once
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <skep/spec.hpp>

#include "base/fd.hpp"
#include "map/map.hpp"

namespace skep::map::oracle {

inline long bpf(int command, bpf_attr& attr) noexcept { return ::syscall(SYS_bpf, command, &attr, sizeof attr); }

inline u64 address(const void* pointer) noexcept { return reinterpret_cast<u64>(pointer); }

/// A definition for both sides; local storage gets the types it needs.
inline MapSpec make_spec(MapType type, u32 key_size, u32 value_size, u32 max_entries, u32 flags = 0) {
  MapSpec spec;
  spec.name = "compared";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.flags = flags;
  if (type == MapType::task_storage) spec.btf_key_type_id = 1, spec.btf_value_type_id = 2;
  return spec;
}

/// A map of the kernel; every operation returns 0 or a negative errno.
class KernelMap {
 public:
  /// `error` is 0 or the negative errno of BPF_MAP_CREATE.
  explicit KernelMap(const MapSpec& spec) {
    bpf_attr attr{};
    base::Fd inner;
    if (spec.inner != nullptr) {
      inner = std::move(KernelMap(*spec.inner).fd);
      attr.inner_map_fd = static_cast<u32>(inner.get());
    }
    attr.map_type = static_cast<u32>(spec.type);
    attr.key_size = spec.key_size;
    attr.value_size = spec.value_size;
    attr.max_entries = spec.max_entries;
    attr.map_flags = spec.flags;
    attr.map_extra = spec.map_extra;
    attr.numa_node = spec.numa_node;
    base::Fd types;
    if (spec.btf_value_type_id != 0) {
      types = value_types(spec.value_size);
      attr.btf_fd = static_cast<u32>(types.get());
      attr.btf_key_type_id = 1;
      attr.btf_value_type_id = 2;
    }
    fd = base::Fd(static_cast<int>(bpf(BPF_MAP_CREATE, attr)));
    error = fd ? 0 : -errno;
  }

  s64 lookup(const void* key, void* value) const { return element(BPF_MAP_LOOKUP_ELEM, key, value, 0); }
  s64 update(const void* key, const void* value, u64 flags) const {
    return element(BPF_MAP_UPDATE_ELEM, key, value, flags);
  }
  s64 erase(const void* key) const { return element(BPF_MAP_DELETE_ELEM, key, nullptr, 0); }
  s64 pop(void* value) const { return element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, nullptr, value, 0); }
  s64 take(const void* key, void* value, u64 flags) const {
    return element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, key, value, flags);
  }
  s64 lookup_with(const void* key, void* value, u64 flags) const {
    return element(BPF_MAP_LOOKUP_ELEM, key, value, flags);
  }
  s64 lookup_batch(Batch& batch) const { return many(BPF_MAP_LOOKUP_BATCH, batch); }
  s64 take_batch(Batch& batch) const { return many(BPF_MAP_LOOKUP_AND_DELETE_BATCH, batch); }
  s64 update_batch(Batch& batch) const { return many(BPF_MAP_UPDATE_BATCH, batch); }
  s64 erase_batch(Batch& batch) const { return many(BPF_MAP_DELETE_BATCH, batch); }
  s64 next_key(const void* key, void* next) const { return element(BPF_MAP_GET_NEXT_KEY, key, next, 0); }
  s64 freeze() const {
    bpf_attr attr{};
    attr.map_fd = static_cast<u32>(fd.get());
    return bpf(BPF_MAP_FREEZE, attr) == 0 ? 0 : -errno;
  }

  base::Fd fd;
  s64 error = 0;

 private:
  s64 element(int command, const void* key, const void* value, u64 flags) const {
    bpf_attr attr{};
    attr.map_fd = static_cast<u32>(fd.get());
    attr.key = address(key);
    attr.value = address(value);
    attr.flags = flags;
    return bpf(command, attr) == 0 ? 0 : -errno;
  }
  s64 many(int command, Batch& batch) const {
    bpf_attr attr{};
    attr.batch.map_fd = static_cast<u32>(fd.get());
    attr.batch.in_batch = address(batch.in);
    attr.batch.out_batch = address(batch.out);
    attr.batch.keys = address(batch.keys);
    attr.batch.values = address(batch.values);
    attr.batch.count = batch.count;
    attr.batch.elem_flags = batch.elem_flags;
    attr.batch.flags = batch.flags;
    const s64 answer = bpf(command, attr) == 0 ? 0 : -errno;
    batch.count = attr.batch.count;
    return answer;
  }

  /// Types 1: int, 2: an array of `bytes` characters (type 3).
  static base::Fd value_types(u32 bytes) {
    const u32 types[] = {1, 1u << 24, 4, 1u << 24 | 32,  // int, signed, 32 bits
                         0, 3u << 24, 0, 3,
                         1, bytes,            // an array of type 3, indexed by type 1
                         1, 1u << 24, 1, 8};  // one byte
    const char names[] = "\0t";
    std::byte blob[24 + sizeof types + sizeof names];
    const u32 header[] = {0x0001eb9f, 24, 0, sizeof types, sizeof types, sizeof names};
    std::memcpy(blob, header, 24);
    std::memcpy(blob + 24, types, sizeof types);
    std::memcpy(blob + 24 + sizeof types, names, sizeof names);
    bpf_attr attr{};
    attr.btf = address(blob);
    attr.btf_size = sizeof blob;
    return base::Fd(static_cast<int>(bpf(BPF_BTF_LOAD, attr)));
  }
};

/// Whether bpf(2) lets this process make maps. What else goes wrong is for the test to report.
inline bool permitted() {
  MapSpec spec;
  spec.type = MapType::hash;
  spec.key_size = spec.value_size = 4;
  spec.max_entries = 1;
  const KernelMap map(spec);
  return map.error != -EPERM && map.error != -ENOSYS;
}

}  // namespace skep::map::oracle

/// Skips a test of the calling process has no access to bpf(2).
#define SKEP_NEEDS_BPF() \
  if (!::skep::map::oracle::permitted()) GTEST_SKIP() << "bpf(2) is not permitted here: needs CAP_BPF"
