// Walking bpffs.
#include "kernel/pins.hpp"

#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>

#include "base/mapped_file.hpp"
#include "kernel/info.hpp"
#include "kernel/syscall.hpp"

namespace skep::kernel {

namespace {

constexpr std::size_t most_pins = 4096;

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, value, 8).ptr == text.data() + i + 4) {
      out += static_cast<char>(value);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// BPF_OBJ_GET, for reading only where the file's rights allow no more. Negative: -errno.
int get_object(const std::string& path) {
  uapi::ObjPath attr{address_of(path.c_str()), 0, 0};
  const int fd = bpf(uapi::Cmd::obj_get, attr);
  if (fd != -EACCES) return fd;
  attr.file_flags = map_flag::rdonly;
  const int reading = bpf(uapi::Cmd::obj_get, attr);
  return reading < 0 ? fd : reading;
}

struct Identity {
  ObjectKind kind;
  u32 id;
};

/// The descriptor does not say what it is; fdinfo does.
std::optional<Identity> identity_of(int fd) {
  // A link's fdinfo names its program too, so links come first.
  constexpr std::pair<std::string_view, ObjectKind> keys[] = {
      {"link_id:", ObjectKind::link}, {"prog_id:", ObjectKind::program}, {"map_id:", ObjectKind::map}};
  const FdInfo info(fd);
  for (const auto& [key, kind] : keys)
    if (const u64 id = info.number(key); id != 0) return Identity{kind, static_cast<u32>(id)};
  return std::nullopt;
}

void look_at(const std::string& path, Pins& pins) {
  const base::Fd fd(get_object(path));
  const auto identity = fd ? identity_of(fd.get()) : std::nullopt;
  if (!identity) return;
  auto& of_kind = identity->kind == ObjectKind::link      ? pins.links
                  : identity->kind == ObjectKind::program ? pins.programs
                                                          : pins.maps;
  of_kind[identity->id].push_back(path);
}

std::string_view word_of(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::program:
      return "program";
    case ObjectKind::map:
      return "map";
    case ObjectKind::link:
      return "link";
  }
  return "object";
}

}  // namespace

std::vector<Mount> mounts(std::string_view mountinfo, std::string_view file_system) {
  std::vector<Mount> found;
  while (!mountinfo.empty()) {
    const auto end = std::min(mountinfo.find('\n'), mountinfo.size());
    const std::string_view line = mountinfo.substr(0, end);
    mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
    // "36 35 98:0 /root /mount/point options... - type source super-options"
    const auto dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const std::string_view system = line.substr(dash + 3);
    if (system.substr(0, system.find(' ')) != file_system) continue;
    const std::string_view options = system.substr(std::min(system.rfind(' ') + 1, system.size()));
    std::string_view rest = line.substr(0, dash);
    for (int field = 0; field < 4 && !rest.empty(); ++field)
      rest.remove_prefix(std::min(rest.find(' ') + 1, rest.size()));
    found.push_back({unescaped(rest.substr(0, rest.find(' '))), unescaped(options)});
  }
  return found;
}

namespace {

/// not_found or invalid_argument where `path` cannot be a place in bpffs.
Result<void> check_bpffs(const std::filesystem::path& path) {
  const auto directory = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  struct statfs facts{};
  if (::statfs(directory.c_str(), &facts) != 0)
    return tl::unexpected(base::os_error(fmt::format("{}: its directory {}", path.native(), directory.native())));
  if (static_cast<long>(facts.f_type) == bpffs_magic) return {};
  const auto mountinfo = base::read_text("/proc/self/mountinfo", 4u << 20);
  const auto mounted = mountinfo ? mounts(*mountinfo, "bpf") : std::vector<Mount>();
  return fail(Code::invalid_argument,
              fmt::format("{}: {} is not in a bpffs, where objects are pinned; {}", path.native(), directory.native(),
                          mounted.empty() ? "mount one: mount -t bpf bpf /sys/fs/bpf"
                                          : fmt::format("one is mounted at {}", mounted.back().point)));
}

}  // namespace

Result<void> pin_object(int fd, const std::filesystem::path& path) {
  SKEP_TRY(check_bpffs(path));
  uapi::ObjPath attr{address_of(path.c_str()), static_cast<u32>(fd), 0};
  const int status = bpf(uapi::Cmd::obj_pin, attr);
  if (status == -EEXIST)
    return fail(Code::invalid_argument, fmt::format("{}: something is pinned there already", path.native()), EEXIST);
  if (status == -EPERM && path.filename().native().find('.') != std::string::npos)
    return fail(Code::invalid_argument, fmt::format("{}: a name in bpffs must not contain a dot", path.native()),
                EPERM);
  if (status < 0) return tl::unexpected(bpf_error(uapi::Cmd::obj_pin, fmt::format("pin {}", path.native()), -status));
  return {};
}

Result<base::Fd> open_pin(const std::filesystem::path& path) {
  SKEP_TRY(check_bpffs(path));
  uapi::ObjPath attr{address_of(path.c_str()), 0, 0};
  const int fd = bpf(uapi::Cmd::obj_get, attr);
  if (fd == -ENOENT) return fail(Code::not_found, fmt::format("{}: nothing is pinned there", path.native()), ENOENT);
  if (fd < 0) return tl::unexpected(bpf_error(uapi::Cmd::obj_get, path.native(), -fd));
  return base::Fd(fd);
}

Result<PinnedObject> open_pinned(ObjectKind kind, const std::filesystem::path& path) {
  const std::string none = fmt::format("no {} is pinned at {}", word_of(kind), path.native());
  struct stat file{};
  if (::stat(path.c_str(), &file) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) return tl::unexpected(base::os_error(none));
    return fail(Code::not_found, none + ": there is no such file", ENOENT);
  }
  if (!check_bpffs(path)) return fail(Code::not_found, none + ": the file is in no bpffs");
  if (S_ISDIR(file.st_mode)) return fail(Code::not_found, none + ": it is a directory");
  const int fd = get_object(path.native());
  if (fd == -EACCES)
    return fail(Code::permission,
                fmt::format("{}: this process may not open it: it is of user {} and group {}, mode {:04o}",
                            path.native(), file.st_uid, file.st_gid, file.st_mode & 07777u),
                EACCES);
  if (fd < 0) return tl::unexpected(bpf_error(uapi::Cmd::obj_get, path.native(), -fd));
  PinnedObject object{base::Fd(fd), 0};
  const auto identity = identity_of(fd);
  if (!identity || identity->kind != kind)
    return fail(
        Code::not_found,
        fmt::format("{}: {} is", none, identity ? fmt::format("a {}", word_of(identity->kind)) : "something else"));
  object.id = identity->id;
  return object;
}

Pins find_pins() {
  Pins pins;
  const auto mountinfo = base::read_text("/proc/self/mountinfo", 4u << 20);
  if (!mountinfo) return pins;
  std::size_t seen = 0;
  std::vector<std::string> roots;  // one place may be mounted over more than once
  for (Mount& mount : mounts(*mountinfo, "bpf")) roots.push_back(std::move(mount.point));
  std::sort(roots.begin(), roots.end());
  roots.erase(std::unique(roots.begin(), roots.end()), roots.end());
  for (const std::string& root : roots) {
    std::error_code error;
    using Walk = std::filesystem::recursive_directory_iterator;
    for (Walk at(root, std::filesystem::directory_options::skip_permission_denied, error), end;
         !error && at != end && seen < most_pins; at.increment(error), ++seen)
      if (at->is_regular_file(error)) look_at(at->path().native(), pins);
  }
  return pins;
}

}  // namespace skep::kernel
