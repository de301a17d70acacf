// Finding, making and checking the directory of control sockets. See directory.hpp.
#include "user/control/directory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace skep::user::control {

std::string Directory::socket_path(const std::string& name) const {
  return "/proc/self/fd/" + std::to_string(fd.get()) + "/" + name;
}

Result<Directory> open_directory(const std::filesystem::path& path, bool create) {
  if (create && ::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return tl::unexpected<Error>(base::os_error("make directory " + path.string()));
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return tl::unexpected<Error>(base::os_error("open directory " + path.string()));
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0)
    return tl::unexpected<Error>(base::os_error("look at directory " + path.string()));
  if (status.st_uid != ::geteuid())
    return fail(Code::permission, path.string() + " belongs to user " + std::to_string(status.st_uid) + ", not to " +
                                      std::to_string(::geteuid()) + ": remove it or set XDG_RUNTIME_DIR");
  if ((status.st_mode & 077) != 0)
    return fail(Code::permission, path.string() + " can be entered by other users: chmod 700 it");
  return Directory{path, std::move(fd)};
}

std::vector<std::filesystem::path> candidate_directories() {
  std::vector<std::filesystem::path> candidates;
  const auto add = [&](std::filesystem::path path) {
    if (std::find(candidates.begin(), candidates.end(), path) == candidates.end())
      candidates.push_back(std::move(path));
  };
  const std::string user = std::to_string(::geteuid());
  // Environment variables that are not absolute paths would mean another place in every working directory.
  const auto absolute = [](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && value[0] == '/' ? std::filesystem::path(value) : std::filesystem::path();
  };
  if (const auto runtime = absolute("XDG_RUNTIME_DIR"); !runtime.empty()) add(runtime / "skep");
  if (const auto temporary = absolute("TMPDIR"); !temporary.empty()) add(temporary / ("skep-" + user));
  add("/tmp/skep-" + user);
  // A host started in a login session is looked for from a shell without one, too.
  add("/run/user/" + user + "/skep");
  return candidates;
}

Result<Directory> host_directory() {
  Error last{Code::not_found, "no directory for control sockets"};
  for (const auto& path : candidate_directories()) {
    auto directory = open_directory(path, true);
    if (directory) return directory;
    last = std::move(directory).error();
  }
  return tl::unexpected<Error>(std::move(last));
}

std::string socket_name(int pid) { return std::to_string(pid) + ".sock"; }

std::optional<int> pid_of_socket(const std::string& name) {
  int pid = 0;
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data(), end, pid);
  if (error != std::errc() || pid <= 0 || std::string_view(rest, end) != ".sock") return std::nullopt;
  return pid;
}

}  // namespace skep::user::control
