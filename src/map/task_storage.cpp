// Task storage maps. See task_storage.hpp.
//
// The host's key is a descriptor of a task (pidfd), as in bpf(2); it is resolved through /proc/self/fdinfo. There is
// no limit in the definition (max_entries is 0), so there is one here: as many values as fit in 256 MiB, at most 65536.
#include "map/task_storage.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/fd.hpp"
#include "map/hash_table.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

constexpr u64 most_bytes = 256 << 20;
constexpr u64 most_tasks = 65536, fewest_tasks = 1024;
constexpr u32 creations_between_sweeps = 4096;

/// A short file of /proc, terminated. False: it cannot be read.
template <std::size_t size>
bool read_text(const char* path, char (&text)[size]) noexcept {
  const base::Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  const auto length = file ? ::read(file.get(), text, size - 1) : -1;
  text[length > 0 ? length : 0] = '\0';
  return length > 0;
}

/// The task that a pidfd stands for. 0 and the id, -EBADF (no pidfd), -ENOENT (it ended).
s64 task_of_pidfd(u32 fd, u32& tid) noexcept {
  char path[64], text[512];
  std::snprintf(path, sizeof path, "/proc/self/fdinfo/%u", fd);
  if (!read_text(path, text)) return -EBADF;
  const char* line = std::strstr(text, "\nPid:");
  if (line == nullptr) return -EBADF;
  const long pid = std::strtol(line + 5, nullptr, 10);
  if (pid <= 0) return -ENOENT;
  tid = static_cast<u32>(pid);
  return 0;
}

struct Key {
  u64 tid = 0;
  u64 started = 0;
};
Key task_key(const TaskIdentity& task) noexcept { return {task.tid, task.started}; }

class TaskStorageMap final : public Map {
 public:
  TaskStorageMap(const MapSpec& spec, HashTable table)
      : Map(spec), table_(std::move(table)), zeros_(new std::byte[spec.value_size]()) {}

  // Programs speak of tasks, not of keys.
  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void*, const void*, u64) noexcept override { return -EOPNOTSUPP; }
  s64 erase(const void*) noexcept override { return -EOPNOTSUPP; }
  u64 memory_bytes() const noexcept override { return table_.memory_bytes(); }

  void* get(const TaskIdentity& task, bool create, const void* initial) noexcept {
    const Key key = task_key(task);
    for (int attempts = 0; attempts < 2; ++attempts) {
      if (const auto ref = table_.find<sizeof(Key)>(&key); ref != 0) return table_.value(ref);
      if (!create || set(task, initial != nullptr ? initial : zeros_.get(), update_noexist) == -E2BIG) return nullptr;
    }
    const auto ref = table_.find<sizeof(Key)>(&key);
    return ref != 0 ? table_.value(ref) : nullptr;
  }
  s64 set(const TaskIdentity& task, const void* value, u64 flags) noexcept {
    const Key key = task_key(task);
    if (creations_.fetch_add(1, std::memory_order_relaxed) % creations_between_sweeps == creations_between_sweeps - 1)
      forget_ended();
    const s64 error = table_.update(&key, value, flags, 0);
    return error == -E2BIG && forget_ended() ? table_.update(&key, value, flags, 0) : error;
  }
  s64 drop(const TaskIdentity& task) noexcept {
    const Key key = task_key(task);
    return table_.erase(&key);
  }

 protected:
  s64 host_lookup(const void* key, void* value) noexcept override {
    TaskIdentity task;
    if (const s64 error = resolve(key, task); error != 0) return error;
    const Key found = task_key(task);
    return table_.copy(&found, value);
  }
  s64 host_update(const void* key, const void* value, u64 flags) noexcept override {
    TaskIdentity task;
    if (const s64 error = resolve(key, task); error != 0) return error;
    return flags > update_exist ? -EINVAL : set(task, value, flags);
  }
  s64 host_erase(const void* key) noexcept override {
    TaskIdentity task;
    if (const s64 error = resolve(key, task); error != 0) return error;
    return drop(task);
  }
  s64 host_next_key(const void*, void*) noexcept override { return -not_supported; }

 private:
  static s64 resolve(const void* key, TaskIdentity& task) noexcept {
    u32 tid = 0;
    if (const s64 error = task_of_pidfd(index_of(key), tid); error != 0) return error;
    task = identify_task(tid);
    return task.known() ? 0 : -ENOENT;
  }

  /// Drops the values of tasks that ended; whether there were any.
  bool forget_ended() noexcept {
    bool any = false;
    Key key, next;
    for (const void* from = nullptr; table_.next_key(from, &next) == 0;) {
      if (identify_task(static_cast<u32>(next.tid)).started != next.started) {
        any = table_.erase(&next) == 0 || any;
        continue;  // from the same place again
      }
      key = next;
      from = &key;
    }
    return any;
  }

  HashTable table_;
  std::unique_ptr<std::byte[]> zeros_;
  std::atomic<u32> creations_{0};
};

TaskStorageMap* storage(Map& map) noexcept {
  return map.spec().type == MapType::task_storage ? static_cast<TaskStorageMap*>(&map) : nullptr;
}

}  // namespace

TaskIdentity identify_task(u32 tid) noexcept {
  char path[40], text[1024];
  std::snprintf(path, sizeof path, "/proc/%u/stat", tid);
  if (!read_text(path, text)) return {};
  // "tid (name) state ppid ...": the name may hold anything, so fields count from the last ')'. Field 22 is the start.
  const char* field = std::strrchr(text, ')');
  for (int number = 2; field != nullptr && number < 22; ++number) {
    field = std::strchr(field + 1, ' ');
  }
  return field != nullptr ? TaskIdentity{tid, std::strtoull(field + 1, nullptr, 10)} : TaskIdentity{};
}

Result<std::shared_ptr<Map>> make_task_storage(const MapSpec& spec) {
  const u64 fitting = most_bytes / (round_up(spec.value_size, 8) + 64);
  auto table =
      SKEP_TRY(HashTable::create({.key_size = sizeof(Key),
                                  .value_size = spec.value_size,
                                  .max_entries = static_cast<u32>(std::clamp(fitting, fewest_tasks, most_tasks)),
                                  .seed = hash_seed(spec)}));
  return std::make_shared<TaskStorageMap>(spec, std::move(table));
}

void* task_storage_get(Map& map, const TaskIdentity& task, bool create, const void* initial) noexcept {
  TaskStorageMap* found = storage(map);
  return found != nullptr && task.known() ? found->get(task, create, initial) : nullptr;
}

s64 task_storage_erase(Map& map, const TaskIdentity& task) noexcept {
  TaskStorageMap* found = storage(map);
  return found != nullptr ? found->drop(task) : -EINVAL;
}

}  // namespace skep::map
