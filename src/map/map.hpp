// Maps of the user engine: one interface, one file per type, the kernel's semantics and errors.
//
// Two faces. The program's face (lookup, update, erase) is what helpers call: it returns pointers into the
// map and negative errno values, allocates nothing and never blocks for long. The host's face (copy_*)
// copies, and speaks per-CPU values as the system call does.
#pragma once
#include <memory>
#include <skep/inspect.hpp>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <skep/types.hpp>
#include <span>

namespace skep::map {

class Map {
 public:
  virtual ~Map() = default;

  /// Makes an empty map (global data: filled and, where asked, frozen).
  /// Errors: invalid_argument (EINVAL of the kernel, with a sentence), limit (E2BIG/ENOMEM), unsupported (a type this
  /// engine lacks).
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec);

  // --- the program's face ---
  /// Address of the value (the current CPU's for per-CPU maps), or nullptr. Valid for the program's run.
  virtual void* lookup(const void* key) noexcept = 0;
  /// 0 or a negative errno. flags as BPF_ANY (0), BPF_NOEXIST (1), BPF_EXIST (2).
  virtual s64 update(const void* key, const void* value, u64 flags) noexcept = 0;
  virtual s64 erase(const void* key) noexcept = 0;
  /// Queue, stack, bloom filter operations: -EOPNOTSUPP elsewhere.
  virtual s64 push(const void* value, u64 flags) noexcept;
  virtual s64 pop(void* value) noexcept;
  virtual s64 peek(void* value) noexcept;

  // --- the host's face: 0 or a negative errno ---
  virtual s64 copy_lookup(const void* key, void* value) noexcept = 0;
  virtual s64 copy_update(const void* key, const void* value, u64 flags) noexcept = 0;
  /// key == nullptr: the first key. -ENOENT after the last.
  virtual s64 next_key(const void* key, void* next) noexcept = 0;

  /// Address of the only value of a one-entry array (global data), or nullptr.
  virtual void* direct_value() noexcept { return nullptr; }
  /// Bytes of memory in use.
  virtual u64 memory_bytes() const noexcept = 0;

  const MapSpec& spec() const noexcept { return spec_; }
  /// Bytes of a value as the host sees it (per-CPU: all CPUs).
  u32 host_value_size() const noexcept;
  bool is_per_cpu() const noexcept;
  void freeze() noexcept { frozen_ = true; }
  bool frozen() const noexcept { return frozen_; }

  MapInfo info;  ///< filled by the engine (id, host)

 protected:
  explicit Map(MapSpec spec) : spec_(std::move(spec)) {}
  MapSpec spec_;
  bool frozen_ = false;
};

/// CPUs that per-CPU maps have slots for: the kernel's possible CPUs.
u32 possible_cpus() noexcept;
/// The CPU whose slots the running program uses. The engine sets it per thread before a run (event's CPU).
u32 current_cpu() noexcept;
void set_current_cpu(u32 cpu) noexcept;

}  // namespace skep::map
