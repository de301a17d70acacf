// Copying and extending BTF.
#include "kernel/types_image.hpp"

#include <algorithm>

#include "base/byte_reader.hpp"

namespace skep::kernel {

namespace {

constexpr u32 header_bytes = 24, magic_and_version = 0x0001eb9f;

constexpr u32 info_word(btf::Kind kind, u32 count) { return static_cast<u32>(kind) << 24 | count; }

}  // namespace

Result<TypesImage> TypesImage::copy_of(std::shared_ptr<const btf::Btf> original) {
  const base::ByteReader reader(original->bytes());
  const auto header_length = reader.at<u32>(4), type_offset = reader.at<u32>(8), type_length = reader.at<u32>(12),
             string_offset = reader.at<u32>(16), string_length = reader.at<u32>(20);
  const auto bad = [] { return fail(Code::malformed, "BTF: the header does not fit the bytes"); };
  if (!header_length || !type_offset || !type_length || !string_offset || !string_length) return bad();
  const auto types = reader.slice(u64{*header_length} + *type_offset, *type_length);
  const auto strings = reader.slice(u64{*header_length} + *string_offset, *string_length);
  if (!types || !strings || strings->empty() || strings->back() != std::byte{0}) return bad();
  TypesImage image;
  image.types_ = *types;
  image.strings_.assign(reinterpret_cast<const char*>(strings->data()), strings->size());
  image.next_id_ = original->type_count();
  image.original_ = std::move(original);
  return image;
}

u32 TypesImage::string(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  if (text.empty()) return 0;
  const auto [at, is_new] = known_.try_emplace(std::string(text), static_cast<u32>(strings_.size()));
  if (is_new) strings_.append(text).push_back('\0');
  return at->second;
}

u32 TypesImage::append(std::initializer_list<u32> words) {
  added_.insert(added_.end(), words);
  return next_id_++;
}

u32 TypesImage::static_twin(u32 function_id, std::string_view name) {
  if (function_id == 0 || function_id >= original_->type_count()) return 0;
  const btf::Type function = original_->type(function_id);
  if (function.kind != btf::Kind::func) return 0;
  return append({string(name), info_word(btf::Kind::func, 0), function.type_id()});
}

u32 TypesImage::context_function(std::string_view name) {
  if (int_id_ == 0) {
    constexpr u32 signed_32_bits = 1u << 24 | 32;
    int_id_ = append({string("int"), info_word(btf::Kind::int_, 0), 4, signed_32_bits});
    pointer_id_ = append({0, info_word(btf::Kind::ptr, 0), 0});
  }
  const u32 prototype = append({0, info_word(btf::Kind::func_proto, 1), int_id_, string("ctx"), pointer_id_});
  return append({string(name), info_word(btf::Kind::func, 0), prototype});
}

std::vector<std::byte> TypesImage::bytes() const {
  const u32 added_bytes = static_cast<u32>(added_.size() * sizeof(u32));
  const u32 type_bytes = static_cast<u32>(types_.size()) + added_bytes;
  const u32 header[] = {magic_and_version, header_bytes, 0, type_bytes, type_bytes, static_cast<u32>(strings_.size())};
  std::vector<std::byte> out(sizeof header + type_bytes + strings_.size());
  std::byte* at = out.data();
  const auto put = [&at](std::span<const std::byte> bytes) { at = std::copy(bytes.begin(), bytes.end(), at); };
  put(std::as_bytes(std::span(header)));
  put(types_);
  put(std::as_bytes(std::span(added_)));
  put(std::as_bytes(std::span(strings_)));
  return out;
}

}  // namespace skep::kernel
