// Maps of the user engine: one interface, one file per type, the kernel's semantics and errors.
//
// Two faces. The program's face (lookup, update, erase) is what helpers call: it returns pointers into the
// map and negative errno values, allocates nothing and never blocks for long. The host's face (copy_*)
// copies, speaks per-CPU values as the system call does, and obeys what the map forbids its host (BPF_F_RDONLY,
// BPF_F_WRONLY, freezing).
//
// Look-ups take no lock. A pointer that lookup() returned stays valid memory as long as the map lives; as in the
// kernel's preallocated maps, the element may be given to another key after its own was deleted or replaced.
#pragma once
#include <atomic>
#include <memory>
#include <skep/inspect.hpp>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <skep/types.hpp>
#include <span>

#include "base/map_view.hpp"
#include "map/fields.hpp"
#include "map/run.hpp"

namespace skep::map {

namespace flag = map_flag;

/// Flags of update(): any, only if absent, only if present.
inline constexpr u64 update_any = 0, update_noexist = 1, update_exist = 2;

/// Of update() and copy_*(): the value is read or written under the bpf_spin_lock it holds.
inline constexpr u64 update_locked = 4;

/// One call of a batch operation: the kernel's bpf_attr::batch.
struct Batch {
  const void* in = nullptr;  ///< look-ups: what the call before wrote to `out`; null: from the beginning
  void* out = nullptr;       ///< look-ups: where to go on; room for key_size bytes and at least 4
  void* keys = nullptr;      ///< count * key_size bytes
  void* values = nullptr;    ///< count * host_value_size() bytes
  u32 count = 0;             ///< in: how many there is room for, or are given; out: how many were done
  u64 elem_flags = 0;
  u64 flags = 0;
};

/// The kernel's internal "this map type cannot do that" (ENOTSUPP), which bpf(2) lets through; errno.h has no name.
inline constexpr s64 not_supported = 524;

class Map {
 public:
  virtual ~Map();
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;

  /// Makes an empty map (global data: filled and, where asked, frozen).
  /// Sizes that libbpf completes are completed here: max_entries of a perf_event_array 0 becomes the CPUs, that of a
  /// ringbuf is rounded up to a power of two of pages.
  /// Errors: invalid_argument (EINVAL of the kernel, with a sentence), limit (E2BIG/ENOMEM), unsupported (a type this
  /// engine lacks). os_error holds the errno that bpf(2) would give.
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec);

  // --- the program's face ---
  /// Address of the value (the current CPU's for per-CPU maps), or nullptr. Valid for the program's run.
  /// Maps of maps: the inner Map*.
  virtual void* lookup(const void* key) noexcept = 0;
  /// 0 or a negative errno. flags as BPF_ANY (0), BPF_NOEXIST (1), BPF_EXIST (2).
  virtual s64 update(const void* key, const void* value, u64 flags) noexcept = 0;
  virtual s64 erase(const void* key) noexcept = 0;
  /// Queue, stack, bloom filter operations: -EOPNOTSUPP elsewhere.
  virtual s64 push(const void* value, u64 flags) noexcept;
  virtual s64 pop(void* value) noexcept;
  virtual s64 peek(void* value) noexcept;
  /// Per-CPU maps: the value of `cpu`, or nullptr (no such key or CPU, or not a per-CPU map).
  virtual void* lookup_percpu(const void* key, u32 cpu) noexcept;

  // --- the host's face: 0 or a negative errno ---
  /// `value` has room for host_value_size() bytes. Queue, stack: key is nullptr, the next element is copied.
  /// Program arrays and maps of maps: the object's id.
  s64 copy_lookup(const void* key, void* value, u64 flags = 0) noexcept;
  s64 copy_update(const void* key, const void* value, u64 flags) noexcept;
  s64 copy_erase(const void* key) noexcept;
  /// Takes an element out: hashes, queues and stacks.
  s64 copy_take(const void* key, void* value, u64 flags) noexcept;
  /// The batch forms. A look-up that came to the end gives -ENOENT, with the last elements in it; one whose next group
  /// of elements is larger than its room -ENOSPC. Others stop at the first element that fails.
  s64 lookup_batch(Batch& batch) noexcept;
  s64 take_batch(Batch& batch) noexcept;
  s64 update_batch(Batch& batch) noexcept;
  s64 erase_batch(Batch& batch) noexcept;
  /// key == nullptr: the first key. -ENOENT after the last.
  s64 next_key(const void* key, void* next) noexcept;

  /// Address of the only value of a one-entry array (global data), or nullptr.
  virtual void* direct_value() noexcept { return nullptr; }
  /// What machine code may do with this map without calling it (base/map_view.hpp). Valid as long as the map lives.
  virtual base::MapView inline_view() noexcept { return sizes_of_view(); }
  /// Bytes of memory in use.
  virtual u64 memory_bytes() const noexcept = 0;

  const MapSpec& spec() const noexcept { return spec_; }
  /// Bytes of a value as the host sees it (per-CPU: all CPUs).
  u32 host_value_size() const noexcept;
  bool is_per_cpu() const noexcept;
  /// From now on the host may only read. Programs are not affected.
  void freeze() noexcept { frozen_.store(true, std::memory_order_release); }
  bool frozen() const noexcept { return frozen_.load(std::memory_order_acquire); }

  /// Says which parts of a value only helpers touch; before there are elements. Errors: unsupported (the values of this
  /// type have none here).
  Result<void> set_fields(std::shared_ptr<const Fields> fields);
  /// nullptr: values are plain bytes.
  const Fields* fields() const noexcept { return fields_.get(); }
  /// The last user let go: timers in values end, and none is made any more. Until somebody asks for the map again.
  void release_users() noexcept;
  void regain_users() noexcept { has_users_.store(true, std::memory_order_release); }
  /// The same for good, and no callback is running afterwards: who frees programs beside their maps calls this first.
  void end_callbacks() noexcept;
  bool has_users() const noexcept { return has_users_.load(std::memory_order_acquire); }
  /// Copies the key of the element that has the value at `value` (of a type whose values may have timers). False: there
  /// is none, or its key does not fit into the 512 bytes of `key`.
  virtual bool key_of(const void*, void*) const noexcept { return false; }

  MapInfo info;  ///< create() copies the spec's facts; the engine fills the rest (id, host)

 protected:
  explicit Map(const MapSpec& spec);
  /// A view that says how large things are and offers nothing.
  base::MapView sizes_of_view() const noexcept;
  virtual s64 host_lookup(const void* key, void* value) noexcept = 0;
  virtual s64 host_update(const void* key, const void* value, u64 flags) noexcept = 0;
  virtual s64 host_erase(const void* key) noexcept { return erase(key); }
  virtual s64 host_next_key(const void* key, void* next) noexcept = 0;
  virtual s64 host_take(const void*, void*) noexcept { return -not_supported; }
  /// Which batch operations the type has, and whether it does look-ups its own way (host_batch).
  struct BatchSupport {
    bool look_up = false, take = false, update = false, erase = false;
  };
  virtual BatchSupport batch_support() const noexcept { return {}; }
  /// lookup_batch and take_batch, after the checks that all types share. The default walks by host_next_key.
  virtual s64 host_batch(Batch& batch, bool take) noexcept;

  /// Whether values may have special fields, and the type does what they need.
  virtual bool takes_fields() const noexcept { return false; }
  virtual void fields_are_set() noexcept {}
  /// Calls a function of fields_ for every value there is or was.
  using VisitValue = void (Fields::*)(void* value) const noexcept;
  virtual void each_value(VisitValue) noexcept {}
  /// What the destructor of such a type does first: nothing is held afterwards, and no callback uses a value.
  void end_fields() noexcept;

  MapSpec spec_;
  std::shared_ptr<const Fields> fields_;

 private:
  std::atomic<bool> frozen_{false};
  std::atomic<bool> has_users_{true};
};

}  // namespace skep::map
