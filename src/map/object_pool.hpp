// Objects that programs make: bpf_obj_new() and CPU masks.
//
// Every type has a pool of its own, and a pool's memory holds objects of that type and of no other as long as it lives.
// So a pointer that outlived its object (one read from a map that another CPU emptied) still points at an object of the
// same type: reading through it faults nowhere and finds no wild pointers (the kernel: SLAB_TYPESAFE_BY_RCU; its own
// allocator waits for RCU before memory is used again).
// A pool lies in one region of 64 MiB on a 64 MiB boundary, paid for when touched: an address inside of an object tells
// its pool and its first byte. That is the bound of a type's memory; then programs get a null pointer.
// Objects are counted. The last reference lets go of what the object's own fields hold; objects that hold objects are
// worked off one after the other, so that a long chain needs no stack.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_obj_new_impl, __bpf_obj_drop_impl, bpf_refcount_acquire_impl).
#pragma once
#include <memory>
#include <skep/result.hpp>
#include <skep/types.hpp>

#include "map/fields.hpp"

namespace skep::map {

class ObjectPool;

struct ObjectShape {
  u32 size = 0;
  std::shared_ptr<const Fields> fields;  ///< of the object; null: plain bytes
  u32 copies = 1;                        ///< of an object that each CPU has one of: as many as there may be CPUs
};

/// Errors: limit (no memory, or an object that no pool could hold).
Result<std::shared_ptr<ObjectPool>> make_object_pool(const ObjectShape& shape);

/// A new object, all zero, with one reference; nullptr: the pool is full.
void* object_new(ObjectPool& pool) noexcept;
/// Another reference to the object that `inside` points into. False: it is gone.
bool object_get(void* inside) noexcept;
/// Gives a reference back.
void object_put(void* inside) noexcept;
/// First byte of the object that `inside` points into.
void* object_begin(void* inside) noexcept;
/// Bytes of the object, or of each of its copies, rounded up to words.
u64 object_bytes(void* inside) noexcept;
/// Copy number `copy` of the object that `inside` points into, nullptr: there are not so many.
void* object_copy(void* inside, u32 copy) noexcept;
/// Objects that somebody has a reference to.
u64 object_count(const ObjectPool& pool) noexcept;

/// Linux: what bpf_mem_alloc holds at most.
inline constexpr u32 largest_object = 4096 - 8;

}  // namespace skep::map
