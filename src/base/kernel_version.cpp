// Notes of an ELF file lie in its segments of type PT_NOTE: {name size, descriptor size, type}, both padded to four
// bytes.
#include "base/kernel_version.hpp"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/utsname.h>

#include <algorithm>
#include <charconv>

#include "base/byte_reader.hpp"

namespace skep::base {

namespace {

constexpr std::string_view owner{"Linux", 6};  // with its zero
constexpr u32 version_type = 0;
constexpr std::size_t most_vdso_bytes = 4096;  // its first page, which holds the headers and the notes

std::optional<u32> version_in_segment(const ByteReader& notes) {
  const auto padded = [](u64 size) { return (size + 3) & ~u64{3}; };
  for (u64 at = 0; const auto head = notes.at<Elf64_Nhdr>(at);) {
    const u64 name = at + sizeof *head, description = name + padded(head->n_namesz);
    if (head->n_type == version_type && head->n_descsz == sizeof(u32) && head->n_namesz == owner.size() &&
        notes.string(name) == owner.substr(0, owner.size() - 1))
      return notes.at<u32>(description);
    at = description + padded(head->n_descsz);
  }
  return std::nullopt;
}

std::optional<u32> version_in_vdso() {
  const auto* image = reinterpret_cast<const std::byte*>(::getauxval(AT_SYSINFO_EHDR));
  return image == nullptr ? std::nullopt : version_in_notes({image, most_vdso_bytes});
}

u32 version_in_uname() {
  utsname names{};
  return ::uname(&names) == 0 ? version_of_release(names.release) : 0;
}

}  // namespace

std::optional<u32> version_in_notes(std::span<const std::byte> image) {
  const ByteReader file(image);
  const auto head = file.at<Elf64_Ehdr>(0);
  if (!head || !std::equal(head->e_ident, head->e_ident + SELFMAG, ELFMAG)) return std::nullopt;
  for (u32 i = 0; i < head->e_phnum; ++i) {
    const auto segment = file.at<Elf64_Phdr>(head->e_phoff + u64{i} * sizeof(Elf64_Phdr));
    if (!segment) break;
    if (segment->p_type != PT_NOTE) continue;
    const auto notes = file.slice(segment->p_offset, segment->p_filesz);
    if (!notes) continue;
    if (const auto version = version_in_segment(ByteReader(*notes))) return version;
  }
  return std::nullopt;
}

u32 version_of_release(std::string_view release) {
  u32 parts[3] = {};
  const char *at = release.data(), *const end = at + release.size();
  for (u32& part : parts) {
    const auto [next, error] = std::from_chars(at, end, part);
    if (error != std::errc() || next == end || *next != '.') break;
    at = next + 1;
  }
  return (parts[0] & 0xff) << 16 | (parts[1] & 0xff) << 8 | std::min(parts[2], 255U);
}

u32 kernel_version_code() {
  static const u32 code = [] {
    const auto version = version_in_vdso();
    return version ? *version : version_in_uname();
  }();
  return code;
}

}  // namespace skep::base
