// Arrays: a value for every index below max_entries, all there from the start.
//
// The value of index i lies at i * round_up(value_size, 8): a look-up is a compare and a multiplication. Per-CPU
// arrays repeat that for each CPU, so that CPUs do not share cache lines.
// Source: kernel/bpf/arraymap.c (order of checks and error numbers).
#include <cerrno>

#include "map/direct.hpp"
#include "map/memory.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

class ArrayBase : public Map {
 public:
  s64 erase(const void*) noexcept final { return -EINVAL; }
  u64 memory_bytes() const noexcept final { return values_.resident_bytes(); }

 protected:
  bool takes_fields() const noexcept final { return true; }
  /// Overwrites a value; what its fields hold goes, as in the kernel also when the host writes.
  void write(void* to, const void* from, u64 size) const noexcept {
    if (fields_ == nullptr) [[likely]]
      return store_words(to, from, size);
    fields_->store(to, from);
    fields_->release(to);
  }
  void read(void* to, const void* from, u64 size) const noexcept {
    fields_ == nullptr ? load_words(to, from, size) : fields_->load(to, from, size > spec_.value_size);
  }
  BatchSupport batch_support() const noexcept final { return {.look_up = true, .update = true}; }
  ArrayBase(const MapSpec& spec, Region values)
      : Map(spec),
        values_(std::move(values)),
        base_(values_.data()),
        stride_(round_up(spec.value_size, 8)),
        count_(spec.max_entries) {}

  s64 refuses(u32 index, u64 flags) const noexcept {
    if (flags > update_exist) return -EINVAL;
    if (index >= count_) return -E2BIG;
    return flags == update_noexist ? -EEXIST : 0;
  }
  s64 host_next_key(const void* key, void* next) noexcept final { return next_index(key, count_, next); }

  Region values_;
  std::byte* base_;
  u64 stride_;
  u32 count_;
};

class ArrayMap final : public ArrayBase {
 public:
  ArrayMap(const MapSpec& spec, Region values) : ArrayBase(spec, std::move(values)) {}
  ~ArrayMap() override { end_fields(); }

  void* lookup(const void* key) noexcept override {
    const u32 index = index_of(key);
    return index < count_ ? base_ + stride_ * index : nullptr;
  }
  s64 update(const void* key, const void* value, u64 flags) noexcept override {
    const u32 index = index_of(key);
    if (const s64 error = refuses(index, flags); error != 0) return error;
    write(base_ + stride_ * index, value, spec_.value_size);
    return 0;
  }
  void* direct_value() noexcept override { return count_ == 1 ? base_ : nullptr; }
  base::MapView inline_view() noexcept override {
    base::MapView view = Direct<ArrayMap>::add_to(sizes_of_view());
    // check() bounds a value below 2 GiB, so a stride fits in 32 bits.
    view.kind = base::MapView::Kind::array;
    view.stride = static_cast<u32>(stride_);
    view.values = reinterpret_cast<u64>(base_);
    return view;
  }

 protected:
  s64 host_lookup(const void* key, void* value) noexcept override {
    const void* found = lookup(key);
    if (found == nullptr) return -ENOENT;
    read(value, found, spec_.value_size);
    return 0;
  }
  s64 host_update(const void* key, const void* value, u64 flags) noexcept override { return update(key, value, flags); }
  bool key_of(const void* value, void* key) const noexcept override {
    const u32 index = static_cast<u32>(static_cast<u64>(static_cast<const std::byte*>(value) - base_) / stride_);
    std::memcpy(key, &index, sizeof index);
    return true;
  }
  void each_value(VisitValue visit) noexcept override {
    for (u32 index = 0; index < count_; ++index) (*fields_.*visit)(base_ + stride_ * index);
  }
};

class PerCpuArrayMap final : public ArrayBase {
 public:
  PerCpuArrayMap(const MapSpec& spec, Region values, u64 cpu_stride)
      : ArrayBase(spec, std::move(values)), cpu_stride_(cpu_stride) {}
  ~PerCpuArrayMap() override { end_fields(); }

  void* lookup(const void* key) noexcept override {
    const u32 index = index_of(key);
    return index < count_ ? value(index, current_cpu()) : nullptr;
  }
  void* lookup_percpu(const void* key, u32 cpu) noexcept override {
    const u32 index = index_of(key);
    return index < count_ && cpu < possible_cpus() ? value(index, cpu) : nullptr;
  }
  s64 update(const void* key, const void* from, u64 flags) noexcept override {
    const u32 index = index_of(key);
    if (const s64 error = refuses(index, flags); error != 0) return error;
    write(value(index, current_cpu()), from, spec_.value_size);
    return 0;
  }
  base::MapView inline_view() noexcept override {
    base::MapView view = Direct<PerCpuArrayMap>::add_to(sizes_of_view());
    view.kind = base::MapView::Kind::percpu_array;
    view.stride = static_cast<u32>(stride_);
    view.values = reinterpret_cast<u64>(base_);
    view.cpu_stride = cpu_stride_;
    return view;
  }

 protected:
  s64 host_lookup(const void* key, void* to) noexcept override {
    const u32 index = index_of(key);
    if (index >= count_) return -ENOENT;
    for (u32 cpu = 0; cpu < possible_cpus(); ++cpu)
      read(static_cast<std::byte*>(to) + stride_ * cpu, value(index, cpu), stride_);
    return 0;
  }
  s64 host_update(const void* key, const void* from, u64 flags) noexcept override {
    const u32 index = index_of(key);
    if (const s64 error = refuses(index, flags); error != 0) return error;
    for (u32 cpu = 0; cpu < possible_cpus(); ++cpu)
      write(value(index, cpu), static_cast<const std::byte*>(from) + stride_ * cpu, stride_);
    return 0;
  }

  void each_value(VisitValue visit) noexcept override {
    for (u32 cpu = 0; cpu < possible_cpus(); ++cpu)
      for (u32 index = 0; index < count_; ++index) (*fields_.*visit)(value(index, cpu));
  }

 private:
  void* value(u32 index, u32 cpu) const noexcept { return base_ + cpu_stride_ * cpu + stride_ * index; }
  u64 cpu_stride_;
};

}  // namespace

Result<std::shared_ptr<Map>> make_array(const MapSpec& spec) {
  auto values = SKEP_TRY(Region::allocate(round_up(spec.value_size, 8) * spec.max_entries));
  return std::make_shared<ArrayMap>(spec, std::move(values));
}

Result<std::shared_ptr<Map>> make_percpu_array(const MapSpec& spec) {
  const u64 cpu_stride = round_up(round_up(spec.value_size, 8) * spec.max_entries, 64);
  auto values = SKEP_TRY(Region::allocate(cpu_stride * possible_cpus()));
  return std::make_shared<PerCpuArrayMap>(spec, std::move(values), cpu_stride);
}

}  // namespace skep::map
