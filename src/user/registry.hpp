// Everything loaded in this process, by id: the user engine's equal of the kernel's object tables.
//
// An id says where its object lives. Ids of kernel objects are small; ids of user engines have the top bit set,
// then the process's pid (at most 22 bits on Linux), then a number of 9 bits:
//
//    31   30 ........ 9   8 .... 0
//     1       pid          number
//
// So two hosts never share an id, `skep map dump id N` needs no host, and a listing of both worlds is one
// list. A host can have 512 objects of each kind at a time; numbers are given out round robin, so an id is
// not used again soon after its object went.
//
// The registry holds weak references: objects live as long as their handles, and vanish from it with them.
#pragma once
#include <array>
#include <memory>
#include <mutex>
#include <skep/backend.hpp>
#include <skep/inspect.hpp>
#include <string>
#include <utility>
#include <vector>

namespace skep::vm {
class Jit;
}

namespace skep::user {

inline constexpr u32 objects_per_host = 512;

/// The id of object `number` of the host `pid`.
constexpr u32 object_id(u32 pid, u32 number) { return 0x80000000u | (pid & 0x3fffffu) << 9 | (number & 0x1ffu); }

/// What the registry knows of a loaded program.
struct RegisteredProgram {
  virtual ~RegisteredProgram() = default;
  virtual ProgramInfo describe() const = 0;
  virtual Result<ProgramCode> code() const = 0;
  virtual Result<TestRunResult> test_run(const TestRun& run) const = 0;
};
struct RegisteredMap {
  virtual ~RegisteredMap() = default;
  virtual MapInfo describe() const = 0;
  /// A handle that keeps the map alive. `self` is the registry's reference to this.
  virtual std::shared_ptr<Map::Impl> open(std::shared_ptr<const RegisteredMap> self) const = 0;
};
struct RegisteredLink {
  virtual ~RegisteredLink() = default;
  virtual LinkInfo describe() const = 0;
};

/// Ids and weak references of one kind of object. Thread-safe.
template <class T>
class Table : public std::enable_shared_from_this<Table<T>> {
 public:
  /// Holds an id until it goes; the id is free again then.
  class Lease {
   public:
    Lease() = default;
    Lease(std::shared_ptr<Table> table, u32 id) : table_(std::move(table)), id_(id) {}
    Lease(Lease&& other) noexcept : table_(std::move(other.table_)), id_(std::exchange(other.id_, 0)) {}
    Lease& operator=(Lease&& other) noexcept {
      if (this != &other) {
        reset();
        table_ = std::move(other.table_);
        id_ = std::exchange(other.id_, 0);
      }
      return *this;
    }
    ~Lease() { reset(); }
    u32 id() const { return id_; }
    /// Makes the object visible under this id.
    void publish(std::weak_ptr<T> object) {
      const std::lock_guard lock(table_->mutex_);
      table_->slots_[id_ % objects_per_host].object = std::move(object);
    }
    void reset() {
      if (!table_) return;
      const auto table = std::move(table_);  // outlives the lock on its mutex
      const std::lock_guard lock(table->mutex_);
      table->slots_[std::exchange(id_, 0) % objects_per_host] = {};
      --table->used_;
    }

   private:
    std::shared_ptr<Table> table_;
    u32 id_ = 0;
  };

  Table(u32 pid, std::string kind) : pid_(pid), kind_(std::move(kind)) {}

  /// Errors: limit, when this process has 512 of them.
  Result<Lease> reserve() {
    const std::lock_guard lock(mutex_);
    if (used_ == objects_per_host)
      return fail(Code::limit, "this process has " + std::to_string(objects_per_host) + " " + kind_ +
                                   " already, the most a user engine can name: release some");
    while (slots_[next_].taken) next_ = (next_ + 1) % objects_per_host;
    slots_[next_].taken = true;
    ++used_;
    const u32 id = object_id(pid_, next_);
    next_ = (next_ + 1) % objects_per_host;
    return Lease(this->shared_from_this(), id);
  }

  /// The object, or null.
  std::shared_ptr<T> find(u32 id) const {
    if (object_id(pid_, id) != id) return nullptr;
    const std::lock_guard lock(mutex_);
    return slots_[id % objects_per_host].object.lock();
  }

  /// With their ids.
  std::vector<std::pair<u32, std::shared_ptr<T>>> numbered() const {
    std::vector<std::pair<u32, std::shared_ptr<T>>> objects;
    const std::lock_guard lock(mutex_);
    for (u32 number = 0; number < objects_per_host; ++number)
      if (auto object = slots_[number].object.lock()) objects.emplace_back(object_id(pid_, number), std::move(object));
    return objects;
  }

  std::vector<std::shared_ptr<T>> all() const {
    std::vector<std::shared_ptr<T>> objects;
    objects.reserve(objects_per_host);
    const std::lock_guard lock(mutex_);
    for (const Slot& slot : slots_)
      if (auto object = slot.object.lock()) objects.push_back(std::move(object));
    return objects;
  }

 private:
  struct Slot {
    std::weak_ptr<T> object;
    bool taken = false;
  };
  const u32 pid_;
  const std::string kind_;
  mutable std::mutex mutex_;
  std::array<Slot, objects_per_host> slots_{};
  u32 used_ = 0;
  u32 next_ = 1;  // number 0 comes last: ids that end in zeros look like mistakes
};

/// The tables, and the Inspector of this process over them.
class Registry final : public Inspector {
 public:
  Registry();

  const std::shared_ptr<Table<const RegisteredProgram>> program_table;
  const std::shared_ptr<Table<const RegisteredMap>> map_table;
  const std::shared_ptr<Table<const RegisteredLink>> link_table;
  const std::shared_ptr<Table<const btf::Btf>> btf_table;
  /// Code memory and the background compiler of this process's programs.
  const std::shared_ptr<vm::Jit> jit;

  int pid() const { return pid_; }
  /// This process's name, as other processes see it.
  std::string host_name() const;

  Result<std::vector<ProgramInfo>> programs() override;
  Result<std::vector<MapInfo>> maps() override;
  Result<std::vector<LinkInfo>> links() override;
  Result<ProgramCode> program_code(u32 program_id) override;
  Result<Map> map(u32 map_id) override;
  Result<std::shared_ptr<const btf::Btf>> btf(u32 btf_id) override;
  Result<std::vector<BtfInfo>> btfs() override;
  Result<TestRunResult> test_run(u32 program_id, const TestRun& run) override;

 private:
  explicit Registry(int pid);
  int pid_;
};

/// Finds objects by id for handles that may outlive their engine.
using ObjectTables = std::weak_ptr<Registry>;

}  // namespace skep::user
