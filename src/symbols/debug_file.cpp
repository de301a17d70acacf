// Finding separate debug files. See debug_file.hpp.
#include "symbols/debug_file.hpp"

#include <fmt/core.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/byte_reader.hpp"

namespace skep::symbols {

namespace {

constexpr u64 most_note_bytes = 65536;
constexpr u64 most_debug_bytes = 4ULL << 30;
constexpr std::size_t most_id_bytes = 64;
constexpr u32 note_build_id = 3;  // NT_GNU_BUILD_ID
constexpr const char* debug_root = "/usr/lib/debug";

constexpr std::array<u32, 256> crc_table = [] {
  std::array<u32, 256> table{};
  for (u32 i = 0; i < 256; ++i) {
    u32 value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
    table[i] = value;
  }
  return table;
}();

/// The descriptor of the first note of a kind, of vendor "GNU".
std::optional<std::span<const std::byte>> gnu_note(std::span<const std::byte> bytes, u32 kind) {
  const base::ByteReader reader(bytes);
  const auto padded = [](u64 size) { return (size + 3) & ~u64{3}; };
  for (u64 at = 0; at + 12 <= reader.size();) {
    const u32 name_size = *reader.at<u32>(at), size = *reader.at<u32>(at + 4), type = *reader.at<u32>(at + 8);
    const u64 descriptor = at + 12 + padded(name_size);
    if (!reader.contains(descriptor, size)) return std::nullopt;
    if (type == kind && name_size == 4 && std::memcmp(bytes.data() + at + 12, "GNU", 4) == 0)
      return bytes.subspan(descriptor, size);
    at = descriptor + padded(size);
  }
  return std::nullopt;
}

struct Link {
  std::string name;
  u32 checksum = 0;
};

std::optional<Link> debug_link(elf::FileImage& image) {
  const elf::Section* const section = image.file().section(".gnu_debuglink");
  if (section == nullptr || section->size > most_note_bytes || !image.load(*section)) return std::nullopt;
  const auto bytes = image.file().contents(*section);
  if (!bytes) return std::nullopt;
  const base::ByteReader reader(*bytes);
  const auto name = reader.string(0);
  if (!name || name->empty() || name->find('/') != name->npos) return std::nullopt;  // a name, not a way out
  const auto checksum = reader.at<u32>((name->size() + 1 + 3) & ~std::size_t{3});
  return checksum ? std::optional(Link{std::string(*name), *checksum}) : std::nullopt;
}

std::string path_by_id(const std::string& id) {
  return fmt::format("{}/.build-id/{}/{}.debug", debug_root, id.substr(0, 2), id.substr(2));
}

/// Whether a candidate belongs to the stripped file.
bool fits(int candidate, const std::string& id, std::optional<u32> checksum) {
  auto image = elf::FileImage::open(candidate);
  if (!image) return false;
  if (!id.empty() && build_id(*image) == id) return true;
  if (!checksum) return false;
  const auto found = debug_link_checksum(candidate);
  return found && *found == *checksum;
}

std::optional<FoundFile> first_that_fits(const std::vector<std::string>& paths, const DebugPlaces& places,
                                         const std::string& id, std::optional<u32> checksum) {
  for (const Root* root : {places.process, places.own})
    for (const std::string& path : paths) {
      if (root == nullptr) continue;
      auto file = root->open_regular(path);
      if (file && fits(file->get(), id, checksum)) return FoundFile{*std::move(file), path};
    }
  return std::nullopt;
}

}  // namespace

std::string directory_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

std::string build_id_text(std::span<const std::byte> id) {
  std::string text;
  for (const std::byte byte : id) text += fmt::format("{:02x}", static_cast<u8>(byte));
  return text;
}

std::string build_id(elf::FileImage& image) {
  for (const elf::Section& section : image.file().sections()) {
    if (section.type != elf::section_note || section.size > most_note_bytes || section.name != ".note.gnu.build-id")
      continue;
    if (!image.load(section)) continue;
    const auto bytes = image.file().contents(section);
    const auto id = bytes ? gnu_note(*bytes, note_build_id) : std::nullopt;
    if (id && !id->empty() && id->size() <= most_id_bytes) return build_id_text(*id);
  }
  return {};
}

std::optional<FoundFile> find_debug_file(elf::FileImage& image, const std::string& id, const DebugPlaces& places) {
  if (id.size() > 2)
    if (auto found = first_that_fits({path_by_id(id)}, places, id, std::nullopt)) return found;
  const auto link = debug_link(image);
  if (!link || places.directory.empty()) return std::nullopt;
  const std::string& directory = places.directory;
  return first_that_fits(
      {directory + "/" + link->name, directory + "/.debug/" + link->name, debug_root + directory + "/" + link->name},
      places, id, link->checksum);
}

std::optional<base::Fd> find_supplement(elf::FileImage& image, const DebugPlaces& places) {
  const elf::Section* const section = image.file().section(".gnu_debugaltlink");
  if (section == nullptr || section->size > most_note_bytes || !image.load(*section)) return std::nullopt;
  const auto bytes = image.file().contents(*section);
  if (!bytes) return std::nullopt;
  const auto name = base::ByteReader(*bytes).string(0);
  if (!name || name->empty()) return std::nullopt;
  const auto id_bytes = bytes->subspan(name->size() + 1);
  if (id_bytes.size() < 2 || id_bytes.size() > most_id_bytes) return std::nullopt;
  const std::string id = build_id_text(id_bytes);
  const std::string path = name->starts_with('/') ? std::string(*name) : fmt::format("{}/{}", places.directory, *name);
  auto found = first_that_fits({path, path_by_id(id)}, places, id, std::nullopt);
  return found ? std::optional(std::move(found->file)) : std::nullopt;
}

Result<u32> debug_link_checksum(int fd) {
  std::vector<u8> buffer(1u << 18);
  u32 sum = 0xffffffff;
  for (u64 at = 0;;) {
    const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(base::os_error("debug file"));
    if (got == 0) return ~sum;
    at += static_cast<u64>(got);
    if (at > most_debug_bytes)
      return fail(Code::limit, fmt::format("a debug file of more than {} GiB", most_debug_bytes >> 30));
    for (ssize_t i = 0; i < got; ++i) sum = sum >> 8 ^ crc_table[(sum ^ buffer[static_cast<std::size_t>(i)]) & 0xff];
  }
}

}  // namespace skep::symbols
