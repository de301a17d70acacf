// Copying, repairing and extending BTF for the kernel.
#include "kernel/types_image.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/byte_reader.hpp"
#include "btf/btf.hpp"

namespace skep::kernel {

namespace {

constexpr u32 header_words = 3;  // name, info, size or type
constexpr u32 linkage_static = 0, linkage_global = 1, linkage_extern = 2;
constexpr u32 header_bytes = 24;

btf::Kind kind_of(u32 info) { return static_cast<btf::Kind>(info >> 24 & 0x1f); }
u32 count_of(u32 info) { return info & 0xffff; }
u32 info_word(btf::Kind kind, u32 count) { return static_cast<u32>(kind) << 24 | count; }

/// 32-bit words behind the header of a type, or none for a kind that is not known.
std::optional<u32> tail_words(u32 info) {
  using btf::Kind;
  switch (kind_of(info)) {
    case Kind::int_:
    case Kind::var:
    case Kind::decl_tag:
      return 1;
    case Kind::array:
      return 3;
    case Kind::struct_:
    case Kind::union_:
    case Kind::datasec:
    case Kind::enum64:
      return 3 * count_of(info);
    case Kind::enum_:
    case Kind::func_proto:
      return 2 * count_of(info);
    case Kind::ptr:
    case Kind::fwd:
    case Kind::typedef_:
    case Kind::volatile_:
    case Kind::const_:
    case Kind::restrict_:
    case Kind::func:
    case Kind::float_:
    case Kind::type_tag:
      return 0;
    case Kind::void_:
      break;
  }
  return std::nullopt;
}

}  // namespace

TypesImage TypesImage::empty() {
  TypesImage image;
  image.starts_.push_back(0);
  return image;
}

std::string_view TypesImage::string_at(u32 offset) const {
  return offset < strings_.size() ? std::string_view(strings_.c_str() + offset) : std::string_view();
}

Result<TypesImage> TypesImage::copy_of(std::span<const std::byte> btf, std::span<const MapSpec> data_sections) {
  const base::ByteReader reader(btf);
  const auto bad = [] { return fail(Code::malformed, "BTF: the header does not fit the bytes"); };
  const auto header_length = reader.at<u32>(4), type_offset = reader.at<u32>(8), type_length = reader.at<u32>(12),
             string_offset = reader.at<u32>(16), string_length = reader.at<u32>(20);
  if (!header_length || !type_offset || !type_length || !string_offset || !string_length) return bad();
  const auto types = reader.slice(u64{*header_length} + *type_offset, *type_length);
  const auto strings = reader.slice(u64{*header_length} + *string_offset, *string_length);
  if (!types || !strings || strings->empty() || strings->back() != std::byte{0}) return bad();
  TypesImage image = empty();
  image.strings_.assign(reinterpret_cast<const char*>(strings->data()), strings->size());
  image.types_.reserve(types->size() / 4 + 64);
  for (u64 offset = 0; offset < types->size();) SKEP_TRY(image.copy_type(*types, offset, data_sections));
  return image;
}

Result<void> TypesImage::copy_type(std::span<const std::byte> types, u64& offset,
                                   std::span<const MapSpec> data_sections) {
  const base::ByteReader reader(types);
  const auto info = reader.at<u32>(offset + 4);
  const auto tail = info ? tail_words(*info) : std::nullopt;
  const u64 words = header_words + u64{tail.value_or(0)};
  if (!tail || !reader.contains(offset, words * 4))
    return fail(Code::malformed,
                fmt::format("BTF: type {} at offset {} is no known type or is cut off", next_id_, offset));
  const std::size_t start = types_.size();
  types_.resize(start + words);
  std::memcpy(types_.data() + start, types.data() + offset, words * 4);
  offset += words * 4;
  starts_.push_back(static_cast<u32>(start));
  ++next_id_;

  const std::span<u32> copy(types_.data() + start, words);
  switch (kind_of(*info)) {
    case btf::Kind::datasec: {
      const std::string_view name = string_at(copy[0]);
      const auto map = std::find_if(data_sections.begin(), data_sections.end(),
                                    [&](const MapSpec& m) { return m.is_global_data && m.name == name; });
      if (map != data_sections.end()) {
        repair_data_section(copy, *map);
      } else {  // .maps, .ksyms, license: nothing of it exists in the kernel. A plain int keeps the id.
        types_.resize(start);
        types_.insert(types_.end(), {copy[0], info_word(btf::Kind::int_, 0), 4, 32});
      }
      break;
    }
    case btf::Kind::var:
      if (copy[3] == linkage_extern) copy[3] = linkage_global;
      break;
    case btf::Kind::func:
      if (count_of(copy[1]) == linkage_extern) copy[1] = info_word(btf::Kind::func, linkage_static);
      break;
    case btf::Kind::func_proto: {
      const u32 count = count_of(copy[1]);
      for (u32 i = 0; i < count; ++i) {
        const bool variadic = i + 1 == count && types_[start + header_words + 2 * i + 1] == 0;
        if (types_[start + header_words + 2 * i] == 0 && !variadic) {
          const u32 name = string("arg");
          types_[start + header_words + 2 * i] = name;
        }
      }
      break;
    }
    default:
      break;  // every other kind is taken as it is
  }
  return {};
}

void TypesImage::repair_data_section(std::span<u32> words, const MapSpec& map) {
  const u32 size = static_cast<u32>(std::max<std::size_t>(map.initial_value.size(), map.value_size));
  if (words[2] == 0) words[2] = size;
}

u32 TypesImage::string(std::string_view text) {
  if (text.empty()) return 0;
  const auto [at, is_new] = known_.try_emplace(std::string(text), static_cast<u32>(strings_.size()));
  if (is_new) strings_.append(text.substr(0, text.find('\0'))).push_back('\0');
  return at->second;
}

u32 TypesImage::append(std::initializer_list<u32> words) {
  starts_.push_back(static_cast<u32>(types_.size()));
  types_.insert(types_.end(), words);
  return next_id_++;
}

u32 TypesImage::static_twin(u32 function_id, std::string_view name) {
  if (function_id == 0 || function_id >= next_id_) return 0;
  const u32 start = starts_[function_id];
  if (kind_of(types_[start + 1]) != btf::Kind::func) return 0;
  const u32 prototype = types_[start + 2];
  return append({string(name), info_word(btf::Kind::func, linkage_static), prototype});
}

u32 TypesImage::context_function(std::string_view name) {
  if (int_id_ == 0) {
    int_id_ = append({string("int"), info_word(btf::Kind::int_, 0), 4, 1u << 24 | 32});
    pointer_id_ = append({0, info_word(btf::Kind::ptr, 0), 0});
  }
  const u32 prototype = append({0, info_word(btf::Kind::func_proto, 1), int_id_, string("ctx"), pointer_id_});
  return append({string(name), info_word(btf::Kind::func, linkage_static), prototype});
}

std::vector<std::byte> TypesImage::bytes() const {
  const u32 type_bytes = static_cast<u32>(types_.size() * 4);
  const u32 header[] = {0x0001eb9f, header_bytes, 0, type_bytes, type_bytes, static_cast<u32>(strings_.size())};
  std::vector<std::byte> out(sizeof header + type_bytes + strings_.size());
  std::memcpy(out.data(), header, sizeof header);
  if (type_bytes != 0) std::memcpy(out.data() + sizeof header, types_.data(), type_bytes);
  std::memcpy(out.data() + sizeof header + type_bytes, strings_.data(), strings_.size());
  return out;
}

}  // namespace skep::kernel
