// Queues and stacks: values without keys, first in first out or last in first out.
//
// A ring of max_entries places under a lock that is held for one copy. Pushing with BPF_EXIST into a full one
// drops the oldest value.
// Source: kernel/bpf/queue_stack_maps.c.
#include <cerrno>
#include <mutex>

#include "map/memory.hpp"
#include "map/spin_lock.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

class QueueStackMap final : public Map {
 public:
  QueueStackMap(const MapSpec& spec, Region values)
      : Map(spec), values_(std::move(values)), stack_(spec.type == MapType::stack) {}

  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void*, const void*, u64) noexcept override { return -EINVAL; }
  s64 erase(const void*) noexcept override { return -EINVAL; }
  u64 memory_bytes() const noexcept override { return values_.resident_bytes(); }

  s64 push(const void* from, u64 flags) noexcept override {
    if (flags != update_any && flags != update_exist) return -EINVAL;
    const std::lock_guard lock(lock_);
    if (count_ == spec_.max_entries) {
      if (flags == update_any) return -E2BIG;
      oldest_ = place(1);
      --count_;
    }
    store_words(value(place(count_)), from, spec_.value_size);
    ++count_;
    return 0;
  }
  s64 pop(void* to) noexcept override { return take(to, true); }
  s64 peek(void* to) noexcept override { return take(to, false); }

 protected:
  s64 host_lookup(const void*, void* to) noexcept override { return take(to, false); }
  s64 host_update(const void*, const void* from, u64 flags) noexcept override { return push(from, flags); }
  s64 host_next_key(const void*, void*) noexcept override { return -EINVAL; }
  s64 host_take(const void*, void* to) noexcept override { return pop(to); }

 private:
  u32 place(u32 after_oldest) const noexcept {
    return static_cast<u32>((u64{oldest_} + after_oldest) % spec_.max_entries);
  }
  void* value(u32 at) const noexcept { return values_.data() + round_up(spec_.value_size, 8) * at; }

  s64 take(void* to, bool remove) noexcept {
    const std::lock_guard lock(lock_);
    if (count_ == 0) {
      std::memset(to, 0, spec_.value_size);
      return -ENOENT;
    }
    load_words(to, value(stack_ ? place(count_ - 1) : oldest_), spec_.value_size);
    if (remove) {
      if (!stack_) oldest_ = place(1);
      --count_;
    }
    return 0;
  }

  Region values_;
  const bool stack_;
  SpinLock lock_;
  u32 oldest_ = 0;
  u32 count_ = 0;
};

}  // namespace

Result<std::shared_ptr<Map>> make_queue_stack(const MapSpec& spec) {
  auto values = SKEP_TRY(Region::allocate(round_up(spec.value_size, 8) * spec.max_entries));
  return std::make_shared<QueueStackMap>(spec, std::move(values));
}

}  // namespace skep::map
