// See entry_printer.hpp. bytes of text are copied from a table; numbers are written by fmt's integer writer.
#include "inspect/entry_printer.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/json_writer.hpp"
#include "btf/format_value.hpp"

namespace skep::inspect {
namespace {

enum class Source : u8 { key, value };
enum class Kind : u8 {
  literal,
  unsigned_number,
  signed_number,
  boolean,
  hex_number,
  hex_list,
  hex_text,
  object_id,
  typed
};

/// Literal text, then a value.
struct Step {
  std::string before;
  Kind kind = Kind::literal;
  Source source = Source::key;
  u32 offset = 0, size = 0;
  u32 type_id = 0;        ///< typed
  std::size_t depth = 0;  ///< typed: of the JSON around it
};

/// The two digits of every byte.
constexpr auto digits = [] {
  std::array<std::array<char, 2>, 256> all{};
  constexpr char hex[] = "0123456789abcdef";
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = {hex[i >> 4], hex[i & 15]};
  return all;
}();

/// "0x01","0x02"
void append_hex_list(std::string& out, std::span<const std::byte> bytes) {
  const std::size_t begin = out.size();
  constexpr std::size_t each = sizeof("\"0x00\",") - 1;
  out.resize(begin + bytes.size() * each);
  char* at = out.data() + begin;
  for (const std::byte byte : bytes) {
    std::memcpy(at, "\"0x00\",", each);
    std::memcpy(at + 3, digits[static_cast<u8>(byte)].data(), 2);
    at += each;
  }
  if (!bytes.empty()) out.pop_back();
}

void append_hex_text(std::string& out, std::span<const std::byte> bytes) {
  constexpr std::size_t in_a_line = 16, in_a_group = 8;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i % in_a_line == 0 && i != 0)
      out += '\n';
    else if (i % in_a_group == 0 && i != 0)
      out += "  ";
    else if (i != 0)
      out += ' ';
    out.append(digits[static_cast<u8>(bytes[i])].data(), 2);
  }
}

u64 number_at(std::span<const std::byte> bytes, u32 size) {
  u64 value = 0;
  std::memcpy(&value, bytes.data(), size);
  return value;
}

s64 signed_at(std::span<const std::byte> bytes, u32 size) {
  const u32 shift = 64 - 8 * size;
  return static_cast<s64>(number_at(bytes, size) << shift) >> shift;
}

}  // namespace

struct EntryPrinter::Plan {
  Plan(const MapInfo& info, const btf::Btf* types, const EntryLayout& layout, std::size_t value_bytes)
      : info_(info), types_(types), layout_(layout), writer_(layout.pretty, layout.depth), depth_(layout.depth) {
    value_bytes_ = value_bytes;
    if (layout.form == EntryForm::bytes)
      text_entry();
    else
      json_entry();
    steps_.push_back({.before = std::exchange(text_, {}) + writer_.take()});
  }

  void play(std::string& out, std::span<const std::byte> key, std::span<const std::byte> value) const {
    for (const Step& step : steps_) {
      out += step.before;
      const auto all = step.source == Source::key ? key : value;
      const auto bytes = all.subspan(step.offset, step.size);
      switch (step.kind) {
        case Kind::literal:
          break;
        case Kind::unsigned_number:
        case Kind::object_id: {
          const fmt::format_int text(number_at(bytes, step.size));
          out.append(text.data(), text.size());
          break;
        }
        case Kind::signed_number: {
          const fmt::format_int text(signed_at(bytes, step.size));
          out.append(text.data(), text.size());
          break;
        }
        case Kind::boolean:
          out += number_at(bytes, step.size) != 0 ? "true" : "false";
          break;
        case Kind::hex_number:
          if (const u64 pointer = number_at(bytes, step.size); pointer != 0)
            out += fmt::format("{:#x}", pointer);
          else
            out += "(nil)";
          break;
        case Kind::hex_list:
          append_hex_list(out, bytes);
          break;
        case Kind::hex_text:
          append_hex_text(out, bytes);
          break;
        case Kind::typed:
          typed(out, step, bytes);
          break;
      }
    }
  }

  std::size_t value_bytes() const { return value_bytes_; }

 private:
  btf::ValueStyle style() const {
    return layout_.form == EntryForm::plain ? btf::ValueStyle::plain : btf::ValueStyle::json;
  }

  /// A typed value, or its bytes where the types do not fit it.
  void typed(std::string& out, const Step& step, std::span<const std::byte> bytes) const {
    base::JsonWriter attempt(layout_.pretty, step.depth);
    if (!btf::write_value(attempt, *types_, step.type_id, bytes, style())) {
      attempt = base::JsonWriter(layout_.pretty, step.depth);
      attempt.begin_array();
      std::string list;
      append_hex_list(list, bytes);
      if (!bytes.empty()) attempt.raw(list);
      attempt.end_array();
    }
    out += attempt.text();
  }

  // The writer makes the literal text; a value is an empty piece of it, where the text so far is taken.
  void begin_object() { writer_.begin_object(), ++depth_; }
  void end_object() { writer_.end_object(), --depth_; }
  void begin_array() { writer_.begin_array(), ++depth_; }
  void end_array() { writer_.end_array(), --depth_; }
  void step(Kind kind, Source source, u64 offset, u64 size, u32 type_id = 0) {
    writer_.raw("");
    steps_.push_back({std::exchange(text_, {}) + writer_.take(), kind, source, static_cast<u32>(offset),
                      static_cast<u32>(size), type_id, depth_});
  }

  void hex_array(Source source, u64 offset, u64 size) {
    begin_array();
    if (size != 0) step(Kind::hex_list, source, offset, size);
    end_array();
  }

  /// Calls `each(cpu, offset)` for the slots of a per-CPU value.
  template <class Each>
  void each_cpu(Each each) const {
    const u64 stride = (u64{info_.value_size} + 7) & ~u64{7};
    for (u32 cpu = 0; stride != 0 && (cpu + 1) * stride <= value_bytes_; ++cpu) each(cpu, cpu * stride);
  }

  /// "value", or "values" with one object a CPU.
  template <class Write>
  void values(Write write) {
    if (!is_per_cpu(info_.type)) {
      writer_.key("value");
      write(0, value_bytes_);
      return;
    }
    writer_.key("values");
    begin_array();
    each_cpu([&](u32 cpu, u64 offset) {
      begin_object();
      writer_.member("cpu", cpu);
      writer_.key("value");
      write(offset, info_.value_size);
      end_object();
    });
    end_array();
  }

  void json_entry() {
    const bool has_types = types_ != nullptr && info_.btf_value_type_id != 0;
    if (layout_.form == EntryForm::plain && has_types) return formatted();
    begin_object();
    writer_.key("key");
    hex_array(Source::key, 0, info_.key_size);
    values([&](u64 offset, u64 size) { hex_array(Source::value, offset, size); });
    const bool holds_maps = info_.type == MapType::array_of_maps || info_.type == MapType::hash_of_maps;
    if (holds_maps && value_bytes_ == sizeof(u32)) {
      writer_.key("inner_map_id");
      step(Kind::object_id, Source::value, 0, sizeof(u32));
    }
    if (has_types) {
      writer_.key("formatted");
      formatted();
    }
    end_object();
  }

  /// {"key":..., "value":...}: global data has no key type, and then no key is shown.
  void formatted() {
    begin_object();
    if (info_.btf_key_type_id != 0) {
      writer_.key("key");
      value_of(info_.btf_key_type_id, Source::key, 0, info_.key_size);
    }
    values([&](u64 offset, u64 size) { value_of(info_.btf_value_type_id, Source::value, offset, size); });
    end_object();
  }

  void value_of(u32 type_id, Source source, u64 offset, u64 size) {
    constexpr u32 most_steps = 4096;
    if (type_id < types_->type_count() && simple(type_id, size, 0, most_steps))
      return simple_value(type_id, source, offset);
    step(Kind::typed, source, offset, size, type_id);
  }

  /// Whether a type is made of whole numbers only, and fits into `room` bytes.
  bool simple(u32 type_id, u64 room, u32 depth, u32 budget) const {
    constexpr u32 deepest = 16, longest_array = 64;
    if (depth > deepest) return false;
    const auto t = types_->type(types_->resolve(type_id));
    switch (t.kind) {
      case btf::Kind::int_: {
        const auto encoding = types_->int_encoding(t);
        const bool whole = t.size() == 1 || t.size() == 2 || t.size() == 4 || t.size() == 8;
        return whole && !encoding.is_char && encoding.bit_offset == 0 && encoding.bits == t.size() * 8 &&
               t.size() <= room;
      }
      case btf::Kind::ptr:
        return room >= sizeof(u64);
      case btf::Kind::array: {
        const auto array = types_->array(t);
        const auto size = types_->size_of(array.element_id);
        const auto element = types_->type(types_->resolve(array.element_id));
        const bool text = element.kind == btf::Kind::int_ && element.size() == 1;  // may be a string
        return size && !text && array.count != 0 && array.count <= longest_array && array.count <= budget &&
               *size * array.count <= room && simple(array.element_id, *size, depth + 1, budget / array.count);
      }
      case btf::Kind::struct_:
      case btf::Kind::union_: {
        if (t.vlen > budget || t.size() > room) return false;
        for (u32 i = 0; i < t.vlen; ++i) {
          const auto m = types_->member(t, i);
          if (m.bit_size != 0 || m.bit_offset % 8 != 0 || m.bit_offset / 8 > room) return false;
          if (!simple(m.type_id, room - m.bit_offset / 8, depth + 1, budget / t.vlen)) return false;
        }
        return true;
      }
      default:
        return false;
    }
  }

  void simple_value(u32 type_id, Source source, u64 offset) {
    const auto t = types_->type(types_->resolve(type_id));
    switch (t.kind) {
      case btf::Kind::int_: {
        const auto encoding = types_->int_encoding(t);
        return step(encoding.is_bool     ? Kind::boolean
                    : encoding.is_signed ? Kind::signed_number
                                         : Kind::unsigned_number,
                    source, offset, t.size());
      }
      case btf::Kind::ptr:
        return step(style() == btf::ValueStyle::plain ? Kind::hex_number : Kind::unsigned_number, source, offset,
                    sizeof(u64));
      case btf::Kind::array: {
        const auto array = types_->array(t);
        const u64 size = types_->size_of(array.element_id).value_or(0);
        begin_array();
        for (u32 i = 0; i < array.count; ++i) simple_value(array.element_id, source, offset + i * size);
        return end_array();
      }
      default:
        begin_object();
        for (u32 i = 0; i < t.vlen; ++i) {
          const auto m = types_->member(t, i);
          writer_.key(m.name);
          simple_value(m.type_id, source, offset + m.bit_offset / 8);
        }
        return end_object();
    }
  }

  void text_entry() {
    const auto hex = [&](Source source, u64 offset, u64 size) {
      if (size != 0) step(Kind::hex_text, source, offset, size);
    };
    if (is_per_cpu(info_.type)) {
      text_ = "key:\n";
      hex(Source::key, 0, info_.key_size);
      text_ += "\n";
      each_cpu([&](u32 cpu, u64 offset) {
        text_ += fmt::format("value (CPU {:02}): ", cpu);
        // The writer would put commas between values; text has none.
        writer_ = base::JsonWriter();
        hex(Source::value, offset, info_.value_size);
        text_ += "\n";
      });
      writer_ = base::JsonWriter();
      return;
    }
    constexpr u64 longest_on_one_line = 24, longest_part = 16;
    const u64 key = info_.key_size, value = value_bytes_;
    const bool broken = key > longest_part || value > longest_part;
    const bool one_line = !broken && key + value <= longest_on_one_line;
    if (key != 0) {
      text_ = broken ? "key:\n" : "key: ";
      hex(Source::key, 0, key);
      text_ += one_line ? "  " : "\n";
    }
    text_ += broken ? "value:\n" : "value: ";
    writer_ = base::JsonWriter();
    hex(Source::value, 0, value);
    text_ += "\n";
  }

  const MapInfo& info_;
  const btf::Btf* types_;
  EntryLayout layout_;
  base::JsonWriter writer_;
  std::size_t depth_;
  std::size_t value_bytes_ = 0;
  std::string text_;  ///< text form: what the writer does not make
  std::vector<Step> steps_;
};

EntryPrinter::EntryPrinter(MapInfo info, const btf::Btf* types, const EntryLayout& layout)
    : info_(std::move(info)), types_(types), layout_(layout) {}
EntryPrinter::~EntryPrinter() = default;

void EntryPrinter::append(std::string& out, std::span<const std::byte> key, std::span<const std::byte> value) {
  if (plan_ == nullptr || plan_->value_bytes() != value.size())
    plan_ = std::make_unique<Plan>(info_, types_, layout_, value.size());
  if (key.size() == info_.key_size) plan_->play(out, key, value);
}

void EntryPrinter::append_error(std::string& out, std::span<const std::byte> key, int error_number) {
  const char* name = ::strerrordesc_np(error_number);
  const std::string reason = name != nullptr ? name : fmt::format("Unknown error {}", error_number);
  if (layout_.form == EntryForm::bytes) {
    constexpr std::size_t longest_on_one_line = 24, longest_part = 16;
    const std::string shown = error_number == ENOENT ? "<no entry>" : reason;
    const bool broken = key.size() > longest_part || shown.size() > longest_part;
    const bool one_line = !broken && key.size() + shown.size() <= longest_on_one_line;
    out += broken ? "key:\n" : "key: ";
    append_hex_text(out, key);
    out += fmt::format("{}value:{}{}\n", one_line ? "  " : "\n", broken ? '\n' : ' ', shown);
    return;
  }
  base::JsonWriter json(layout_.pretty, layout_.depth);
  json.begin_object();
  json.key("key");
  json.begin_array();
  std::string list;
  append_hex_list(list, key);
  json.raw(list);
  json.end_array();
  json.key("value");
  json.begin_object();
  json.member("error", reason);
  json.end_object();
  json.end_object();
  out += json.text();
}

std::string hex_text(std::span<const std::byte> bytes) {
  std::string text;
  append_hex_text(text, bytes);
  return text;
}

bool is_per_cpu(MapType type) noexcept {
  return type == MapType::percpu_hash || type == MapType::percpu_array || type == MapType::lru_percpu_hash ||
         type == MapType::percpu_cgroup_storage;
}

}  // namespace skep::inspect
