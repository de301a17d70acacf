// Searching BTF in place.
#include "kernel/type_finder.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/byte_reader.hpp"
#include "btf/data.hpp"

namespace skep::kernel {

namespace {

constexpr u64 header_bytes = 12, member_bytes = 12;

bool is_one_of(u32 offset, const std::vector<u32>& wanted) {
  return std::find(wanted.begin(), wanted.end(), offset) != wanted.end();
}

}  // namespace

Result<TypeFinder> TypeFinder::open(const std::string& path, const TypeFinder* base) {
  TypeFinder finder;
  finder.base_ = base;
  if (auto mapped = base::MappedFile::open(path); mapped && !mapped->bytes().empty()) {
    finder.mapped_ = std::make_unique<base::MappedFile>(std::move(*mapped));
    SKEP_TRY_AT(path, finder.read_header(finder.mapped_->bytes()));
    return finder;
  }
  return over(SKEP_TRY(base::read_file(path)), base);  // kernels before 6.16 do not map their types
}

Result<TypeFinder> TypeFinder::over(std::vector<std::byte> bytes, const TypeFinder* base) {
  TypeFinder finder;
  finder.base_ = base;
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
  if (base_ != nullptr) {
    first_id_ = base_->first_id_ + base_->count();
    first_string_ = static_cast<u32>(base_->strings_.size());
  }
  return {};
}

u32 TypeFinder::count() const {
  if (count_) return *count_;
  const base::ByteReader reader(types_);
  u32 count = 0;
  u64 offset = 0;
  while (const auto info = reader.at<u32>(offset + 4)) {
    const u32 found = btf::kind_of(*info);
    if (found == 0 || found > btf::last_kind) break;
    offset += header_bytes + btf::extra_size(found, btf::vlen_of(*info));
    ++count;
  }
  count_ = count;
  return count;
}

std::optional<u32> TypeFinder::own_string(std::string_view text) const {
  if (!last_text_.empty() && text == last_text_) return last_string_;
  std::string wanted(1, '\0');
  wanted.append(text).push_back('\0');
  const void* found = ::memmem(strings_.data(), strings_.size(), wanted.data(), wanted.size());
  last_text_ = text;
  last_string_.reset();
  // The strings of a split file need not begin with an empty one.
  const bool is_first = base_ != nullptr && strings_.size() > text.size() &&
                        std::memcmp(strings_.data(), wanted.data() + 1, wanted.size() - 1) == 0;
  if (is_first)
    last_string_ = first_string_;
  else if (found != nullptr)
    last_string_ = first_string_ + static_cast<u32>(static_cast<const std::byte*>(found) - strings_.data() + 1);
  return last_string_;
}

std::vector<u32> TypeFinder::strings_equal_to(std::string_view text) const {
  std::vector<u32> offsets;
  if (base_ != nullptr) offsets = base_->strings_equal_to(text);
  if (const auto own = own_string(text)) offsets.push_back(*own);
  return offsets;
}

std::optional<TypeFinder::Place> TypeFinder::locate(std::string_view name, btf::Kind kind) const {
  const auto wanted = strings_equal_to(name);
  if (wanted.empty()) return std::nullopt;
  const base::ByteReader reader(types_);
  Place place{first_id_, 0};
  while (const auto info = reader.at<u32>(place.offset + 4)) {
    const u32 found = btf::kind_of(*info);
    if (found == 0 || found > btf::last_kind) return std::nullopt;
    const u64 bytes = header_bytes + btf::extra_size(found, btf::vlen_of(*info));
    if (!reader.contains(place.offset, bytes)) return std::nullopt;
    if (static_cast<btf::Kind>(found) == kind && is_one_of(*reader.at<u32>(place.offset), wanted)) return place;
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
  const auto wanted = strings_equal_to(member);
  if (!place || wanted.empty()) return std::nullopt;
  const base::ByteReader reader(types_);
  const u32 info = *reader.at<u32>(place->offset + 4);
  for (u32 i = 0; i < btf::vlen_of(info); ++i) {
    const u64 at = place->offset + header_bytes + i * member_bytes;
    if (!is_one_of(*reader.at<u32>(at), wanted)) continue;
    const u32 bits = *reader.at<u32>(at + 8);
    return ((info >> 31) != 0 ? bits & 0xffffff : bits) / 8;  // with kind_flag the upper byte is a bit-field's width
  }
  return std::nullopt;
}

}  // namespace skep::kernel
