// PATH is searched once for each known name; versions are remembered by the file's identity.
#include "compile/clang.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "base/digest.hpp"
#include "compile/process.hpp"

namespace skep::compile {
namespace {

constexpr int oldest = 14;
constexpr int newest = 25;

bool is_program(const std::string& path, struct stat& status) {
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

/// PATH's directories, each once: a dozen names are looked for in them at every start, and /bin is often /usr/bin.
std::vector<std::string> search_directories() {
  const char* variable = std::getenv("PATH");
  std::string_view rest = variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin";
  std::vector<std::string> directories;
  std::vector<std::pair<dev_t, ino_t>> seen;
  for (;;) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    std::string directory(rest.substr(0, colon));
    struct stat status{};
    // A relative entry would make the result depend on where one stands: not searched.
    if (directory.starts_with('/') && ::stat(directory.c_str(), &status) == 0) {
      const std::pair identity(status.st_dev, status.st_ino);
      if (std::ranges::find(seen, identity) == seen.end()) {
        seen.push_back(identity);
        directories.push_back(std::move(directory));
      }
    }
    if (colon == rest.size()) return directories;
    rest.remove_prefix(colon + 1);
  }
}

std::optional<std::string> search(const std::vector<std::string>& directories, std::string_view name,
                                  struct stat& status) {
  for (const std::string& directory : directories) {
    std::string path = fmt::format("{}/{}", directory, name);
    if (is_program(path, status)) return path;
  }
  return std::nullopt;
}

std::string identity_of(const std::string& path, const struct stat& s) {
  return fmt::format("{} {} {} {} {}.{}", path, s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
}

int major_of(std::string_view version) {
  int major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  return major;
}

Result<std::string> version_of(const Cache& cache, const std::string& path, const std::string& identity) {
  const std::string name = "clang-" + base::Digest().field(identity).name();
  if (auto known = cache.read(name)) {
    std::string version = version_in(*known);
    if (!version.empty()) return version;
  }
  auto printed = SKEP_TRY(run_process({path, "--version"}));
  std::string version = version_in(printed.output);
  if (printed.exit_status != 0 || version.empty())
    return fail(Code::unsupported,
                fmt::format("{} --version printed no version of clang: {}", path, printed.output.substr(0, 200)));
  // A cache that cannot be written costs time only.
  (void)cache.write(name, "clang version " + version + "\n");
  return version;
}

std::string absence() {
  return fmt::format(
      "no clang found: install Debian's `clang` package ({} or newer), or name one in SKEP_CLANG; an object (.o) needs "
      "no compiler",
      oldest);
}

Result<std::string> locate(struct stat& status) {
  if (const char* named = std::getenv("SKEP_CLANG"); named != nullptr && *named != '\0') {
    if (std::string_view(named).find('/') == std::string_view::npos) {
      if (auto found = search(search_directories(), named, status)) return *std::move(found);
    } else if (is_program(named, status)) {
      std::error_code error;
      const auto path = std::filesystem::absolute(named, error);
      return error ? std::string(named) : path.string();
    }
    return fail(Code::not_found, fmt::format("SKEP_CLANG names {}, which is no program here", named));
  }
  const auto directories = search_directories();
  for (int n = newest; n >= oldest; --n)
    if (auto found = search(directories, fmt::format("clang-{}", n), status)) return *std::move(found);
  if (auto found = search(directories, "clang", status)) return *std::move(found);
  return fail(Code::not_found, absence());
}

}  // namespace

std::string version_in(std::string_view text) {
  constexpr std::string_view before = "clang version ";
  const std::size_t at = text.find(before);
  if (at == text.npos) return {};
  text.remove_prefix(at + before.size());
  return std::string(text.substr(0, text.find_first_not_of("0123456789.")));
}

Result<Clang> find_clang(const Cache& cache) {
  struct stat status{};
  Clang clang;
  clang.path = SKEP_TRY(locate(status));
  clang.identity = identity_of(clang.path, status);
  clang.version = SKEP_TRY(version_of(cache, clang.path, clang.identity));
  if (major_of(clang.version) < oldest)
    return fail(Code::unsupported,
                fmt::format("{} is clang {}; skep needs {} or newer: install Debian's `clang` package", clang.path,
                            clang.version, oldest));
  clang.target = "bpf";
  return clang;
}

}  // namespace skep::compile
