// Many elements in one call: the kernel's batch operations.
//
// Three ways, as there. Updates and deletions do one element after the other and stop at the first that fails. Look-ups
// of arrays and tries walk by next_key and continue after a key; an element that goes while they walk is left out.
// Look-ups of hashes go bucket by bucket and continue at a bucket (hash.cpp), so an element that stays is seen exactly
// once whatever others insert and delete.
// Source: kernel/bpf/syscall.c (generic_map_*_batch, bpf_map_do_batch), hashtab.c (__htab_map_lookup_and_delete_batch).
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "map/map.hpp"

namespace skep::map {

namespace {

std::byte* at(void* base, u64 index, u64 size) noexcept { return static_cast<std::byte*>(base) + index * size; }

/// Does `one` for each element; says how many succeeded.
template <class One>
s64 each(Batch& batch, One one) noexcept {
  if ((batch.elem_flags & ~update_locked) != 0) return -EINVAL;
  if ((batch.elem_flags & update_locked) != 0) return -EINVAL;  // no value of this map holds a lock
  s64 error = 0;
  u32 done = 0;
  for (; done < batch.count; ++done)
    if (error = one(done); error != 0) break;
  batch.count = done;
  return error;
}

}  // namespace

s64 Map::copy_take(const void* key, void* value, u64 flags) noexcept {
  constexpr u32 closed = flag::rdonly | flag::wronly;
  if ((flags & ~update_locked) != 0) return -EINVAL;
  if ((spec_.flags & closed) != 0 || frozen()) return -EPERM;
  if (flags != 0) return -EINVAL;
  return host_take(key, value);
}

s64 Map::lookup_batch(Batch& batch) noexcept {
  if ((spec_.flags & flag::wronly) != 0) return -EPERM;
  return batch_support().look_up ? host_batch(batch, false) : -not_supported;
}

s64 Map::take_batch(Batch& batch) noexcept {
  if ((spec_.flags & (flag::rdonly | flag::wronly)) != 0 || frozen()) return -EPERM;
  return batch_support().take ? host_batch(batch, true) : -not_supported;
}

s64 Map::update_batch(Batch& batch) noexcept {
  if ((spec_.flags & flag::rdonly) != 0 || frozen()) return -EPERM;
  if (!batch_support().update) return -not_supported;
  return each(batch, [&](u32 i) noexcept {
    return host_update(at(batch.keys, i, spec_.key_size), at(batch.values, i, host_value_size()), batch.elem_flags);
  });
}

s64 Map::erase_batch(Batch& batch) noexcept {
  if ((spec_.flags & flag::rdonly) != 0 || frozen()) return -EPERM;
  if (!batch_support().erase) return -not_supported;
  return each(batch, [&](u32 i) noexcept { return host_erase(at(batch.keys, i, spec_.key_size)); });
}

s64 Map::host_batch(Batch& batch, bool) noexcept {
  if (batch.elem_flags != 0) return -EINVAL;
  const u32 room = batch.count, key_size = spec_.key_size;
  if (room == 0) return 0;
  batch.count = 0;
  const std::unique_ptr<std::byte[]> keys(new (std::nothrow) std::byte[u64{key_size} * 2]);
  if (keys == nullptr) return -ENOMEM;
  std::byte *before = keys.get(), *key = before + key_size;
  if (batch.in != nullptr) std::memcpy(before, batch.in, key_size);
  const void* from = batch.in != nullptr ? before : nullptr;
  s64 error = 0;
  u32 done = 0;
  while (done < room) {
    if (error = host_next_key(from, key); error != 0) break;
    error = host_lookup(key, at(batch.values, done, host_value_size()));
    if (error != 0 && error != -ENOENT) return error;
    if (error == 0) std::memcpy(at(batch.keys, done++, key_size), key, key_size);
    std::swap(before, key);
    from = before;
  }
  batch.count = done;
  if (done > 0) std::memcpy(batch.out, before, key_size);
  return error;
}

}  // namespace skep::map
