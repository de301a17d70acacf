// Pools of objects. See object_pool.hpp.
#include "map/object_pool.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "map/memory.hpp"
#include "map/spin_lock.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

constexpr u64 pool_bytes = u64{64} << 20;
constexpr u64 pool_header_bytes = 64;
constexpr u32 most_copies = 8192;  ///< Linux: NR_CPUS at most; the largest object of each still fits the pool

/// What stands before every object.
struct Prefix {
  std::atomic<u32> references;
  u32 next_free;     ///< number + 1
  Prefix* next_put;  ///< in the list of objects whose last reference is gone
};
static_assert(sizeof(Prefix) == 16);

}  // namespace

class ObjectPool {
 public:
  ObjectPool(const ObjectShape& shape, Region region)
      : shape_(shape),
        region_(std::move(region)),
        bytes_(round_up(shape.size, 8)),
        slot_bytes_(static_cast<u32>(sizeof(Prefix) + round_up(bytes_ * shape.copies, 16))),
        slots_(static_cast<u32>((pool_bytes - pool_header_bytes) / slot_bytes_)) {
    const u64 first = reinterpret_cast<u64>(region_.data());
    begin_ = region_.data() + (round_up(first, pool_bytes) - first);
    *reinterpret_cast<ObjectPool**>(begin_) = this;
  }

  static ObjectPool& of(const void* inside) noexcept {
    return **reinterpret_cast<ObjectPool**>(reinterpret_cast<u64>(inside) & ~(pool_bytes - 1));  // NOLINT
  }
  static bool fits(const ObjectShape& shape) noexcept {
    return shape.size > 0 && shape.size <= largest_object && shape.copies > 0 && shape.copies <= most_copies;
  }

  Prefix& prefix_of(const void* inside) const noexcept {
    const u64 offset = static_cast<u64>(static_cast<const std::byte*>(inside) - begin_) - pool_header_bytes;
    return *reinterpret_cast<Prefix*>(begin_ + pool_header_bytes + offset / slot_bytes_ * slot_bytes_);
  }
  static std::byte* object_of(Prefix& prefix) noexcept { return reinterpret_cast<std::byte*>(&prefix + 1); }

  void* take() noexcept {
    Prefix* prefix = nullptr;
    lock_.lock();
    if (free_ != 0) {
      prefix = &slot(free_ - 1);
      free_ = prefix->next_free;
    } else if (fresh_ < slots_) {
      prefix = &slot(fresh_++);
    }
    lock_.unlock();
    if (prefix == nullptr) return nullptr;
    users_.fetch_add(1, std::memory_order_relaxed);
    // Others may still be looking at what was here before: word by word.
    clear_words(object_of(*prefix), bytes_ * shape_.copies);
    prefix->references.store(1, std::memory_order_release);
    return object_of(*prefix);
  }

  /// The object is nobody's: its fields let go, its place is free.
  void free(Prefix& prefix) noexcept {
    if (shape_.fields != nullptr) shape_.fields->release(object_of(prefix));
    const auto number =
        static_cast<u32>((reinterpret_cast<std::byte*>(&prefix) - begin_ - pool_header_bytes) / slot_bytes_);
    lock_.lock();
    prefix.next_free = free_;
    free_ = number + 1;
    lock_.unlock();
    leave();
  }

  /// The pool goes when its owner and all objects are gone.
  void leave() noexcept {
    if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  u64 bytes() const noexcept { return bytes_; }
  u32 copies() const noexcept { return shape_.copies; }
  u64 count() const noexcept { return users_.load(std::memory_order_relaxed) - 1; }

 private:
  Prefix& slot(u32 number) const noexcept {
    return *reinterpret_cast<Prefix*>(begin_ + pool_header_bytes + u64{number} * slot_bytes_);
  }

  const ObjectShape shape_;
  Region region_;
  std::byte* begin_ = nullptr;
  const u64 bytes_;
  const u32 slot_bytes_;
  const u32 slots_;
  SpinLock lock_;
  u32 free_ = 0, fresh_ = 0;
  std::atomic<u64> users_{1};  ///< objects, and the owner
};

Result<std::shared_ptr<ObjectPool>> make_object_pool(const ObjectShape& shape) {
  if (!ObjectPool::fits(shape))
    return fail(Code::limit, "an object of " + std::to_string(shape.size) + " bytes: objects have 1 to " +
                                 std::to_string(largest_object));
  auto region = SKEP_TRY(Region::allocate(2 * pool_bytes));
  return std::shared_ptr<ObjectPool>(new ObjectPool(shape, std::move(region)), [](ObjectPool* pool) { pool->leave(); });
}

void* object_new(ObjectPool& pool) noexcept { return pool.take(); }

bool object_get(void* inside) noexcept {
  Prefix& prefix = ObjectPool::of(inside).prefix_of(inside);
  u32 references = prefix.references.load(std::memory_order_relaxed);
  while (references != 0)
    if (prefix.references.compare_exchange_weak(references, references + 1, std::memory_order_acquire)) return true;
  return false;
}

void object_put(void* inside) noexcept {
  // Objects that this one held come back here while it is freed: they wait in a list of this thread.
  static thread_local Prefix* waiting = nullptr;
  static thread_local bool working = false;
  Prefix& first = ObjectPool::of(inside).prefix_of(inside);
  if (first.references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  first.next_put = waiting;
  waiting = &first;
  if (working) return;
  working = true;
  while (waiting != nullptr) {
    Prefix& next = *waiting;
    waiting = next.next_put;
    ObjectPool::of(&next).free(next);
  }
  working = false;
}

void* object_begin(void* inside) noexcept { return ObjectPool::object_of(ObjectPool::of(inside).prefix_of(inside)); }
u64 object_bytes(void* inside) noexcept { return ObjectPool::of(inside).bytes(); }
void* object_copy(void* inside, u32 copy) noexcept {
  const ObjectPool& pool = ObjectPool::of(inside);
  return copy < pool.copies() ? static_cast<std::byte*>(object_begin(inside)) + copy * pool.bytes() : nullptr;
}
u64 object_count(const ObjectPool& pool) noexcept { return pool.count(); }

}  // namespace skep::map
