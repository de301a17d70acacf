// Walking a value by its type. The bytes are as hostile as the types: every member's place is checked against the
// bytes it is read from, and depth and number of parts are bounded.
// Source: bpftool's map dump, observed byte for byte, for what becomes a string, a number or a bit pattern.
#include "btf/format_value.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "btf/data.hpp"

namespace skep::btf {
namespace {

constexpr u32 deepest = 64;
constexpr u32 most_parts = 8'000'000;

class Walker {
 public:
  Walker(const Btf& btf, ValueVisitor& visitor) : btf_(btf), visitor_(visitor) {}

  Result<void> value(u32 id, std::span<const std::byte> bytes, u32 depth) {
    if (depth > deepest) return fail(Code::limit, fmt::format("types nest more than {} deep", deepest));
    if (parts_++ >= most_parts) return fail(Code::limit, fmt::format("more than {} parts in one value", most_parts));
    const auto t = btf_.type(btf_.resolve(id));
    switch (t.kind) {
      case Kind::int_:
        return integer(t, bytes);
      case Kind::enum_:
      case Kind::enum64:
        return enumeration(t, bytes);
      case Kind::ptr:
        visitor_.pointer(SKEP_TRY(unsigned_of(bytes, 8)));
        return {};
      case Kind::float_:
        return floating(t, bytes);
      case Kind::array:
        return array(t, bytes, depth);
      case Kind::struct_:
      case Kind::union_:
        return composite(t, bytes, depth);
      case Kind::var:
        visitor_.begin_object();
        visitor_.name(t.name);
        SKEP_TRY(value(t.type_id(), bytes, depth + 1));
        visitor_.end_object();
        return {};
      case Kind::datasec:
        return section(t, bytes, depth);
      default:
        visitor_.unknown(name_of(t.kind));
        return {};
    }
  }

 private:
  static tl::unexpected<Error> too_short(u64 needed, u64 have) {
    return fail(Code::malformed, fmt::format("the type needs {} bytes, the value has {}", needed, have));
  }

  static Result<u64> unsigned_of(std::span<const std::byte> bytes, u64 size) {
    if (size > 8) return fail(Code::malformed, fmt::format("an integer of {} bytes", size));
    if (bytes.size() < size) return too_short(size, bytes.size());
    u64 value = 0;
    std::memcpy(&value, bytes.data(), size);
    return value;
  }
  static s64 sign_extended(u64 value, u64 size) {
    const u64 shift = size == 0 ? 0 : 64 - 8 * size;
    return static_cast<s64>(value << shift) >> shift;
  }

  Result<void> integer(const Type& t, std::span<const std::byte> bytes) {
    const auto encoding = btf_.int_encoding(t);
    const u64 size = t.size();
    if (encoding.bit_offset != 0 || encoding.bits != size * 8 || size > 8)
      return bit_field(bytes, encoding.bit_offset, encoding.bits);
    const u64 value = SKEP_TRY(unsigned_of(bytes, size));
    if (encoding.is_bool)
      visitor_.boolean(value != 0);
    else if (encoding.is_char)
      visitor_.character(static_cast<u8>(value));
    else if (encoding.is_signed)
      visitor_.signed_number(sign_extended(value, size));
    else
      visitor_.unsigned_number(value);
    return {};
  }

  /// `count` bits (at most 128) that begin `offset` bits into `bytes`.
  Result<void> bit_field(std::span<const std::byte> bytes, u64 offset, u64 count) {
    if (count > 128) return fail(Code::malformed, fmt::format("a number of {} bits", count));
    if (offset + count > bytes.size() * 8) return too_short((offset + count + 7) / 8, bytes.size());
    u64 halves[2] = {0, 0};
    for (u64 i = 0; i < count; i++) {
      const u64 bit = offset + i;
      if (((static_cast<u8>(bytes[bit / 8]) >> (bit % 8)) & 1) != 0) halves[i / 64] |= 1ULL << (i % 64);
    }
    visitor_.bits(halves[0], halves[1]);
    return {};
  }

  Result<void> enumeration(const Type& t, std::span<const std::byte> bytes) {
    const u64 raw = SKEP_TRY(unsigned_of(bytes, t.size()));
    // A 4-byte enumerator above 2^31 is -1 to one compiler and 4294967295 to another: bits decide.
    const u64 mask = t.size() >= 8 ? ~0ULL : (1ULL << (8 * t.size())) - 1;
    parts_ += t.vlen / 16;
    std::string_view name;
    for (u32 i = 0; i < t.vlen && name.empty(); i++) {
      const bool narrow = t.kind == Kind::enum_;
      const u8* at = t.extra + (narrow ? 8ULL : 12ULL) * i;
      const u64 candidate = narrow ? load<u32>(at + 4) : load<u32>(at + 4) | u64{load<u32>(at + 8)} << 32;
      if ((candidate & mask) == raw) name = btf_.string(load<u32>(at));
    }
    const s64 value = t.kind_flag || t.kind == Kind::enum_ ? sign_extended(raw, t.size()) : static_cast<s64>(raw);
    visitor_.enumerator(name, value);
    return {};
  }

  Result<void> floating(const Type& t, std::span<const std::byte> bytes) {
    if (bytes.size() < t.size()) return too_short(t.size(), bytes.size());
    if (t.size() == 4) {
      float value = 0;
      std::memcpy(&value, bytes.data(), sizeof value);
      visitor_.floating(value);
    } else if (t.size() == 8) {
      double value = 0;
      std::memcpy(&value, bytes.data(), sizeof value);
      visitor_.floating(value);
    } else {
      visitor_.unknown(t.name);
    }
    return {};
  }

  /// char[] with a terminator and nothing unprintable before it.
  std::optional<std::string_view> as_text(const Btf::Array& a, std::span<const std::byte> bytes) const {
    u32 id = a.element_id;
    auto element = btf_.type(id);
    while (is_modifier(element.kind) && element.kind != Kind::typedef_) element = btf_.type(element.type_id());
    const bool is_char = element.kind == Kind::int_ && element.size() == 1 &&
                         (btf_.int_encoding(element).is_char || element.name == "char");
    if (!is_char) return std::nullopt;
    const auto* text = reinterpret_cast<const char*>(bytes.data());
    for (u64 i = 0; i < std::min<u64>(a.count, bytes.size()); i++) {
      if (text[i] == 0) return std::string_view(text, i);
      if (text[i] <= 0x1f || text[i] >= 0x7f) break;
    }
    return std::nullopt;
  }

  Result<void> array(const Type& t, std::span<const std::byte> bytes, u32 depth) {
    const auto a = btf_.array(t);
    const u64 size = SKEP_TRY(btf_.size_of(a.element_id));
    u64 total = 0;
    if (__builtin_mul_overflow(size, u64{a.count}, &total) || total > bytes.size())
      return too_short(total, bytes.size());
    if (const auto text = as_text(a, bytes.first(total))) {
      visitor_.text(*text);
      return {};
    }
    visitor_.begin_array();
    for (u64 i = 0; i < a.count; i++) SKEP_TRY(value(a.element_id, bytes.subspan(i * size, size), depth + 1));
    visitor_.end_array();
    return {};
  }

  Result<void> composite(const Type& t, std::span<const std::byte> bytes, u32 depth) {
    visitor_.begin_object();
    for (u32 i = 0; i < t.vlen; i++) {
      const auto m = btf_.member(t, i);
      const u64 offset = m.bit_offset / 8;
      if (offset > bytes.size()) return too_short(offset, bytes.size());
      visitor_.name(m.name);
      parts_ += static_cast<u32>(m.name.size() / 16);
      const auto rest = bytes.subspan(offset);
      if (m.bit_size != 0) {
        SKEP_TRY(bit_field(rest, m.bit_offset % 8, m.bit_size));
      } else if (m.bit_offset % 8 != 0) {
        // Bit-fields of old compilers: the width is in the int's encoding.
        const auto encoding = btf_.int_encoding(btf_.type(btf_.resolve(m.type_id)));
        SKEP_TRY(bit_field(rest, m.bit_offset % 8 + encoding.bit_offset, encoding.bits));
      } else {
        SKEP_TRY(value(m.type_id, rest, depth + 1));
      }
    }
    visitor_.end_object();
    return {};
  }

  Result<void> section(const Type& t, std::span<const std::byte> bytes, u32 depth) {
    visitor_.begin_object();
    visitor_.name(t.name);
    visitor_.begin_array();
    for (const auto& entry : btf_.section_vars(t)) {
      if (entry.offset > bytes.size()) return too_short(entry.offset, bytes.size());
      SKEP_TRY(value(entry.type_id, bytes.subspan(entry.offset), depth + 1));
    }
    visitor_.end_array();
    visitor_.end_object();
    return {};
  }

  const Btf& btf_;
  ValueVisitor& visitor_;
  u32 parts_ = 0;
};

/// bpftool's spelling of each part.
class JsonPrinter : public ValueVisitor {
 public:
  JsonPrinter(base::JsonWriter& writer, ValueStyle style) : writer_(writer), plain_(style == ValueStyle::plain) {}

  void begin_object() override { writer_.begin_object(); }
  void name(std::string_view name) override { writer_.key(name); }
  void end_object() override { writer_.end_object(); }
  void begin_array() override { writer_.begin_array(); }
  void end_array() override { writer_.end_array(); }
  void unsigned_number(u64 value) override { writer_.number(value); }
  void signed_number(s64 value) override { writer_.number(value); }
  void boolean(bool value) override { writer_.boolean(value); }
  void character(u8 value) override {
    if (value >= 0x20 && value < 0x7f)
      writer_.string(std::string(1, static_cast<char>(value)));
    else
      writer_.raw(plain_ ? fmt::format("{:#x}", value) : fmt::format("\"\\u00{:02x}\"", value));
  }
  void text(std::string_view value) override { writer_.string(value); }
  void bits(u64 low, u64 high) override {
    const auto digits = high == 0 ? fmt::format("{:#x}", low) : fmt::format("{:#x}{:016x}", high, low);
    plain_ ? writer_.raw(digits) : writer_.string(digits);
  }
  void pointer(u64 value) override {
    plain_ ? writer_.raw(value == 0 ? "(nil)" : fmt::format("{:#x}", value)) : writer_.number(value);
  }
  void enumerator(std::string_view name, s64 value) override {
    name.empty() ? writer_.number(value) : writer_.string(name);
  }
  void floating(double value) override {
    // JSON has no infinities.
    if (value - value == 0)
      writer_.raw(fmt::format("{}", value));
    else
      writer_.string(fmt::format("{}", value));
  }
  void unknown(std::string_view kind) override { writer_.string(fmt::format("(no value: {})", kind)); }

 private:
  base::JsonWriter& writer_;
  bool plain_;
};

}  // namespace

Result<void> visit_value(const Btf& btf, u32 type_id, std::span<const std::byte> bytes, ValueVisitor& visitor) {
  if (type_id >= btf.type_count())
    return fail(Code::malformed, fmt::format("type {}, but there are {}", type_id, btf.type_count()));
  return Walker(btf, visitor).value(type_id, bytes, 0);
}

Result<void> write_value(base::JsonWriter& writer, const Btf& btf, u32 type_id, std::span<const std::byte> bytes,
                         ValueStyle style) {
  JsonPrinter printer(writer, style);
  return visit_value(btf, type_id, bytes, printer);
}

Result<std::string> format_value(const Btf& btf, u32 type_id, std::span<const std::byte> bytes, ValueStyle style) {
  base::JsonWriter writer;
  SKEP_TRY(write_value(writer, btf, type_id, bytes, style));
  return writer.take();
}

}  // namespace skep::btf
