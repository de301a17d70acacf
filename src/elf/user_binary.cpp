// Finding the file of a user probe.
#include "elf/user_binary.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/mapped_file.hpp"
#include "base/split.hpp"

namespace skep::elf {

namespace {

bool is_file(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

/// A file that the process has mapped whose last component is `name` or begins with it and a dot ("libc" finds
/// libc.so.6).
std::optional<std::string> mapped_by(int pid, std::string_view name) {
  const auto maps = base::read_text(fmt::format("/proc/{}/maps", pid), 16u << 20);
  if (!maps) return std::nullopt;
  for (const std::string& line : base::split(*maps, '\n')) {
    const auto slash = line.find('/');
    if (slash == std::string::npos) continue;
    const std::string path = line.substr(slash);
    const std::string_view last = std::string_view(path).substr(path.rfind('/') + 1);
    const bool fits =
        last == name || (last.starts_with(name) && (last[name.size()] == '.' || last[name.size()] == '-'));
    if (fits && last.find(".so") != last.npos) return path;
  }
  return std::nullopt;
}

std::vector<std::string> folders_for(std::string_view name) {
  std::vector<std::string> folders;
  if (name.find(".so") != name.npos) {
    if (const char* own = std::getenv("LD_LIBRARY_PATH")) folders = base::split(own, ':');
#if defined(__aarch64__)
    constexpr std::string_view triplet = "aarch64-linux-gnu";
#else
    constexpr std::string_view triplet = "x86_64-linux-gnu";
#endif
    for (const char* folder : {"/usr/lib64", "/usr/lib", "/lib64", "/lib", "/usr/local/lib"}) {
      folders.push_back(fmt::format("{}/{}", folder, triplet));
      folders.emplace_back(folder);
    }
    return folders;
  }
  const char* path = std::getenv("PATH");
  return base::split(path != nullptr ? path : "/usr/bin:/bin:/usr/sbin:/sbin", ':');
}

Result<std::string> resolve(std::string_view name, int pid) {
  const std::string root = pid != 0 ? fmt::format("/proc/{}/root", pid) : std::string();
  if (pid != 0 && ::access(fmt::format("/proc/{}", pid).c_str(), F_OK) != 0)
    return fail(Code::not_found, fmt::format("there is no process {}", pid));
  if (name.find('/') != name.npos) {
    const std::string path(name);
    if (pid != 0 && path.starts_with('/'))
      if (auto inside = path_in_root(root, path)) return *std::move(inside);
    if (is_file(path)) return path;
    const bool is_something = ::access(path.c_str(), F_OK) == 0;
    return fail(Code::not_found, is_something ? fmt::format("\"{}\" is no file: expected a program or library", path)
                                              : fmt::format("there is no file \"{}\"", path));
  }
  if (pid != 0)
    if (const auto mapped = mapped_by(pid, name))
      // The kernel names it from our root; what is not below that, from its own.
      return path_in_root(root, *mapped).value_or(*mapped);
  std::string looked;
  for (const std::string& folder : folders_for(name)) {
    const std::string path = fmt::format("{}/{}", folder, name);
    if (is_file(path)) return path;
    looked.append(looked.empty() ? "" : ", ").append(folder);
  }
  return fail(Code::not_found, fmt::format("there is no \"{}\" in {}; give its path", name, looked));
}

/// The sections by which places of probes are found, with those that hold their names.
Result<void> load_needed(FileImage& image) {
  const auto sections = image.file().sections();
  const auto load = [&](const Section& section) -> Result<void> {
    auto loaded = image.load(section);
    // A section that lies outside the file is complained of by whoever asks for it, and only then.
    if (!loaded && loaded.error().code != Code::malformed) return loaded;
    return {};
  };
  for (const Section& section : sections) {
    const bool has_names =
        section.type == section_symtab || section.type == section_dynsym || section.name == ".dynamic";
    if (!has_names && section.type != section_note && section.type != section_symtab_shndx) continue;
    SKEP_TRY(load(section));
    if (has_names && section.link < sections.size()) SKEP_TRY(load(sections[section.link]));
  }
  return {};
}

}  // namespace

Result<std::size_t> UserBinary::read(u64 offset, std::span<std::byte> to) const {
  std::size_t done = 0;
  while (done < to.size()) {
    const ssize_t got = ::pread(fd.get(), to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(base::os_error(path));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

std::optional<std::string> path_in_root(const std::string& root, std::string_view path) {
  constexpr int most_links = 40;  // as the kernel allows
  auto components = [](std::string_view text) {
    auto parts = base::split(std::string(text), '/');
    std::ranges::reverse(parts);
    return parts;
  };
  std::vector<std::string> inside;                    // where the walk is, from the root on
  std::vector<std::string> ahead = components(path);  // the next one last
  const auto text = [&] {
    std::string whole = root;
    for (const std::string& part : inside) whole.append("/").append(part);
    return whole;
  };
  int links = 0;
  while (!ahead.empty()) {
    const std::string part = std::move(ahead.back());
    ahead.pop_back();
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!inside.empty()) inside.pop_back();
      continue;
    }
    inside.push_back(part);
    std::array<char, 4096> target;
    const ssize_t length = ::readlink(text().c_str(), target.data(), target.size());
    if (length < 0) continue;  // no link; what is missing is seen at the end
    if (++links > most_links || static_cast<std::size_t>(length) == target.size()) return std::nullopt;
    inside.pop_back();
    const std::string_view to(target.data(), static_cast<std::size_t>(length));
    if (to.starts_with('/')) inside.clear();
    for (std::string& one : components(to)) ahead.push_back(std::move(one));
  }
  std::string found = text();
  return is_file(found) ? std::optional(std::move(found)) : std::nullopt;
}

Result<UserBinary> open_user_binary(std::string_view name, int pid) {
  return open_binary_file(SKEP_TRY(resolve(name, pid)));
}

Result<UserBinary> open_binary_file(std::string path) {
  UserBinary binary;
  binary.path = std::move(path);
  // A process's own tree may have put a pipe in the file's place since: that is refused below, not waited for.
  binary.fd = base::Fd(::open(binary.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!binary.fd) return tl::unexpected(base::os_error(binary.path));
  struct stat status{};
  if (::fstat(binary.fd.get(), &status) != 0) return tl::unexpected(base::os_error(binary.path));
  binary.size = static_cast<u64>(status.st_size);
  binary.image = std::make_shared<FileImage>(SKEP_TRY_AT(binary.path, FileImage::open(binary.fd.get())));
  SKEP_TRY_AT(binary.path, load_needed(*binary.image));
  binary.file = binary.image->file();
  return binary;
}

}  // namespace skep::elf
