// Control groups and the array of them. See cgroup.hpp.
// Source: kernel/bpf/arraymap.c (cgroup_fd_array_*).
#include "map/cgroup.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/fd.hpp"
#include "map/memory.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

/// The unified line of /proc/TID/cgroup is "0::/path".
std::string_view unified_path(std::string_view text) noexcept {
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    if (line.starts_with("0::")) return line.substr(3);
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return {};
}

/// Where cgroup2 is: alone, or beside the older hierarchies.
const char* mount_point() noexcept {
  for (const char* place : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    struct statfs system{};
    if (::statfs(place, &system) == 0 && system.f_type == CGROUP2_SUPER_MAGIC) return place;
  }
  return nullptr;
}

class CgroupArray final : public Map {
 public:
  CgroupArray(const MapSpec& spec, Region ids) : Map(spec), ids_(std::move(ids)) {}

  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void*, const void*, u64) noexcept override { return -EINVAL; }
  s64 erase(const void* key) noexcept override {
    const u32 index = index_of(key);
    if (index >= spec_.max_entries) return -E2BIG;
    return slot(index).exchange(0, std::memory_order_acq_rel) != 0 ? 0 : -ENOENT;
  }
  u64 memory_bytes() const noexcept override { return ids_.resident_bytes(); }
  std::atomic_ref<u64> slot(u32 index) const noexcept { return word_at(ids_.data(), u64{index} * 8); }

 protected:
  s64 host_lookup(const void*, void*) noexcept override { return -not_supported; }
  s64 host_update(const void* key, const void* value, u64 flags) noexcept override {
    if (flags != update_any) return -EINVAL;
    const u32 index = index_of(key);
    if (index >= spec_.max_entries) return -E2BIG;
    const u64 id = cgroup_of_fd(static_cast<int>(index_of(value)));
    if (id == 0) return -EBADF;
    slot(index).store(id, std::memory_order_release);
    return 0;
  }
  s64 host_next_key(const void* key, void* next) noexcept override { return next_index(key, spec_.max_entries, next); }

 private:
  Region ids_;
};

}  // namespace

CgroupPath cgroup_of_task(u32 tid) noexcept {
  CgroupPath path;
  const char* root = mount_point();
  char name[40];
  std::snprintf(name, sizeof name, "/proc/%u/cgroup", tid);
  const base::Fd file(::open(name, O_RDONLY | O_CLOEXEC));
  if (root == nullptr || !file) return path;
  char text[4096 + 64];
  const auto length = ::read(file.get(), text, sizeof text);
  const auto below = length > 0 ? unified_path({text, static_cast<std::size_t>(length)}) : std::string_view();
  if (!below.starts_with('/')) return path;
  // Each step on the way is a directory; the path is built in one buffer and cut after each of its names.
  char directory[4096 + 128];
  const int root_length = std::snprintf(directory, sizeof directory, "%s", root);
  std::memcpy(directory + root_length, below.data(), below.size());
  const std::size_t end = static_cast<std::size_t>(root_length) + below.size();
  for (std::size_t at = static_cast<std::size_t>(root_length); at <= end; ++at) {
    if (at != end && directory[at] != '/') continue;
    if (at == end && directory[end - 1] == '/') break;  // "/" is the root itself, which came before
    struct stat status{};
    const char kept = std::exchange(directory[at], '\0');
    if (path.count == CgroupPath::deepest || ::stat(directory, &status) != 0) return {};
    path.ids[path.count++] = status.st_ino;
    directory[at] = kept;
  }
  return path;
}

u64 cgroup_of_fd(int fd) noexcept {
  struct statfs system{};
  struct stat status{};
  if (::fstatfs(fd, &system) != 0 || system.f_type != CGROUP2_SUPER_MAGIC) return 0;
  return ::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode) ? status.st_ino : 0;
}

Result<std::shared_ptr<Map>> make_cgroup_array(const MapSpec& spec) {
  auto ids = SKEP_TRY(Region::allocate(u64{spec.max_entries} * 8));
  return std::make_shared<CgroupArray>(spec, std::move(ids));
}

s64 cgroup_at(Map& map, u32 index, u64& id) noexcept {
  if (map.spec().type != MapType::cgroup_array) return -EINVAL;
  if (index >= map.spec().max_entries) return -E2BIG;
  id = static_cast<CgroupArray&>(map).slot(index).load(std::memory_order_acquire);
  return 0;
}

}  // namespace skep::map
