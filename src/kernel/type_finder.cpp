// Searching BTF in place.
#include "kernel/type_finder.hpp"

#include <cstring>
#include <string>

#include "base/byte_reader.hpp"
#include "btf/data.hpp"

namespace skep::kernel {

namespace {

constexpr u64 header_bytes = 12, member_bytes = 12;

}  // namespace

Result<TypeFinder> TypeFinder::open(const std::string& path) {
  TypeFinder finder;
  if (auto mapped = base::MappedFile::open(path); mapped && !mapped->bytes().empty()) {
    finder.mapped_ = std::make_unique<base::MappedFile>(std::move(*mapped));
    SKEP_TRY_AT(path, finder.read_header(finder.mapped_->bytes()));
    return finder;
  }
  return over(SKEP_TRY(base::read_file(path)));  // kernels before 6.16 do not map their types
}

Result<TypeFinder> TypeFinder::over(std::vector<std::byte> bytes) {
  TypeFinder finder;
  finder.owned_ = std::move(bytes);
  SKEP_TRY(finder.read_header(finder.owned_));
  return finder;
}

Result<void> TypeFinder::read_header(std::span<const std::byte> bytes) {
  const base::ByteReader reader(bytes);
  const auto magic = reader.at<u16>(0);
  const auto length = reader.at<u32>(4), type_offset = reader.at<u32>(8), type_length = reader.at<u32>(12),
             string_offset = reader.at<u32>(16), string_length = reader.at<u32>(20);
  if (!string_length || *magic != 0xeb9f) return fail(Code::malformed, "not BTF: expected magic 0xeb9f and a header");
  const auto types = reader.slice(u64{*length} + *type_offset, *type_length);
  const auto strings = reader.slice(u64{*length} + *string_offset, *string_length);
  if (!types || !strings) return fail(Code::malformed, "BTF: the header does not fit the bytes");
  types_ = *types;
  strings_ = *strings;
  return {};
}

std::optional<u32> TypeFinder::string_offset(std::string_view text) const {
  std::string wanted(1, '\0');
  wanted.append(text).push_back('\0');
  const void* found = ::memmem(strings_.data(), strings_.size(), wanted.data(), wanted.size());
  if (found == nullptr) return std::nullopt;
  return static_cast<u32>(static_cast<const std::byte*>(found) - strings_.data() + 1);
}

std::optional<TypeFinder::Place> TypeFinder::locate(std::string_view name, btf::Kind kind) const {
  const auto wanted = string_offset(name);
  if (!wanted) return std::nullopt;
  const base::ByteReader reader(types_);
  Place place{1, 0};
  while (const auto info = reader.at<u32>(place.offset + 4)) {
    const u32 found = btf::kind_of(*info);
    if (found == 0 || found > btf::last_kind) return std::nullopt;
    const u64 bytes = header_bytes + btf::extra_size(found, btf::vlen_of(*info));
    if (!reader.contains(place.offset, bytes)) return std::nullopt;
    if (static_cast<btf::Kind>(found) == kind && reader.at<u32>(place.offset) == *wanted) return place;
    place.offset += bytes;
    ++place.id;
  }
  return std::nullopt;
}

std::optional<u32> TypeFinder::find(std::string_view name, btf::Kind kind) const {
  const auto place = locate(name, kind);
  return place ? std::optional(place->id) : std::nullopt;
}

std::optional<u32> TypeFinder::member_offset(std::string_view structure, std::string_view member) const {
  const auto place = locate(structure, btf::Kind::struct_);
  const auto wanted = string_offset(member);
  if (!place || !wanted) return std::nullopt;
  const base::ByteReader reader(types_);
  const u32 info = *reader.at<u32>(place->offset + 4);
  for (u32 i = 0; i < btf::vlen_of(info); ++i) {
    const u64 at = place->offset + header_bytes + i * member_bytes;
    if (reader.at<u32>(at) != *wanted) continue;
    const u32 bits = *reader.at<u32>(at + 8);
    return ((info >> 31) != 0 ? bits & 0xffffff : bits) / 8;  // with kind_flag the upper byte is a bit-field's width
  }
  return std::nullopt;
}

}  // namespace skep::kernel
