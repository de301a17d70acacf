// Text first, then the object's bytes.
//
//   skep-object 1 DEPENDENCIES WARNING_BYTES OBJECT_BYTES
//   STAMP DIGEST PATH          one line each; STAMP is comma-separated numbers or "-"
//   (warnings)(object)
//
// Looking at a file's times is cheaper than reading it, so content is compared only when they changed.
#include "compile/entry.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <charconv>
#include <ctime>

#include "base/digest.hpp"
#include "base/mapped_file.hpp"

namespace skep::compile {
namespace {

constexpr std::size_t most_dependencies = 10'000;
constexpr std::size_t digest_length = 40;
/// Times tick coarsely: a file changed just now may change again without a visible trace.
constexpr std::time_t settled_after_s = 2;

std::optional<std::string> stamp_of(const std::string& path) {
  struct stat s{};
  if (::stat(path.c_str(), &s) != 0 || !S_ISREG(s.st_mode)) return std::nullopt;
  return fmt::format("{},{},{},{}.{},{}.{}", s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec,
                     s.st_ctim.tv_sec, s.st_ctim.tv_nsec);
}

bool settled(const std::string& path) {
  struct stat s{};
  return ::stat(path.c_str(), &s) == 0 && std::time(nullptr) - s.st_ctim.tv_sec > settled_after_s;
}

std::optional<std::string> digest_of(const std::string& path) {
  const auto text = base::read_text(path);
  if (!text) return std::nullopt;
  return base::Digest().field(*text).name();
}

/// Takes one token up to `end`; false when there is none.
bool take(std::string_view& rest, char end, std::string_view& out) {
  const std::size_t at = rest.find(end);
  if (at == rest.npos) return false;
  out = rest.substr(0, at);
  rest.remove_prefix(at + 1);
  return true;
}

bool take_number(std::string_view& rest, char end, std::size_t& out) {
  std::string_view text;
  if (!take(rest, end, text) || text.empty()) return false;
  const auto [p, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && p == text.data() + text.size();
}

}  // namespace

std::optional<Dependency> depend_on(const std::string& path) {
  auto stamp = stamp_of(path);
  auto digest = digest_of(path);
  if (!stamp || !digest || path.find('\n') != path.npos) return std::nullopt;
  if (!settled(path) || stamp_of(path) != stamp) stamp->clear();
  return Dependency{path, *std::move(stamp), *std::move(digest)};
}

bool still_valid(const Entry& entry) {
  for (const Dependency& d : entry.dependencies) {
    const auto stamp = stamp_of(d.path);
    if (!stamp) return false;
    if (!d.stamp.empty() && *stamp == d.stamp) continue;
    if (digest_of(d.path) != d.digest) return false;
  }
  return true;
}

std::vector<std::string> parse_depfile(std::string_view text) {
  std::vector<std::string> out;
  const std::size_t colon = text.find(": ");
  if (colon == text.npos) return out;
  std::string word;
  const auto finish = [&] {
    if (!word.empty()) out.push_back(std::exchange(word, {}));
  };
  for (std::size_t i = colon + 2; i < text.size(); ++i) {
    const char c = text[i];
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (c == '\\' && (next == ' ' || next == '#' || next == '\\')) {
      word.push_back(next);
      ++i;
    } else if (c == '\\' && next == '\n') {
      finish();
      ++i;
    } else if (c == '$' && next == '$') {
      word.push_back('$');
      ++i;
    } else if (c == ' ' || c == '\n' || c == '\t') {
      finish();
    } else {
      word.push_back(c);
    }
  }
  finish();
  return out;
}

std::string write_entry(const Entry& entry) {
  std::string out =
      fmt::format("skep-object 1 {} {} {}\n", entry.dependencies.size(), entry.warnings.size(), entry.object.size());
  for (const Dependency& d : entry.dependencies)
    out += fmt::format("{} {} {}\n", d.stamp.empty() ? "-" : d.stamp, d.digest, d.path);
  return out + entry.warnings + entry.object;
}

std::optional<Entry> read_entry(std::string_view bytes) {
  constexpr std::string_view magic = "skep-object 1 ";
  if (!bytes.starts_with(magic)) return std::nullopt;
  bytes.remove_prefix(magic.size());
  std::size_t count = 0, warnings = 0, object = 0;
  if (!take_number(bytes, ' ', count) || !take_number(bytes, ' ', warnings) || !take_number(bytes, '\n', object))
    return std::nullopt;
  if (count > most_dependencies) return std::nullopt;
  Entry entry;
  for (std::size_t i = 0; i < count; ++i) {
    std::string_view stamp, digest, path;
    if (!take(bytes, ' ', stamp) || !take(bytes, ' ', digest) || !take(bytes, '\n', path)) return std::nullopt;
    if (digest.size() != digest_length || !path.starts_with('/')) return std::nullopt;
    entry.dependencies.push_back(
        {std::string(path), stamp == "-" ? std::string() : std::string(stamp), std::string(digest)});
  }
  if (warnings > bytes.size() || object != bytes.size() - warnings) return std::nullopt;
  entry.warnings = bytes.substr(0, warnings);
  entry.object = bytes.substr(warnings);
  return entry;
}

}  // namespace skep::compile
