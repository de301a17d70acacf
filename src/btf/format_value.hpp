// Bytes and their type become a value people can read.
//
// visit_value() walks a value by its BTF type and tells a visitor what it meets; printers for JSON, for text and for
// columns are visitors. write_value() is the printer that `map dump` uses, in bpftool's two forms.
#pragma once
#include "base/json_writer.hpp"
#include "btf/btf.hpp"

namespace skep::btf {

/// What visit_value() reports, in order. Strings are valid during the call only.
class ValueVisitor {
 public:
  virtual ~ValueVisitor() = default;
  virtual void begin_object() = 0;               ///< struct, union, variable or section
  virtual void name(std::string_view name) = 0;  ///< the key of what follows; "" for an anonymous member
  virtual void end_object() = 0;
  virtual void begin_array() = 0;
  virtual void end_array() = 0;
  virtual void unsigned_number(u64 value) = 0;
  virtual void signed_number(s64 value) = 0;
  virtual void boolean(bool value) = 0;
  virtual void character(u8 value) = 0;           ///< an int whose encoding says char
  virtual void text(std::string_view value) = 0;  ///< a char array that holds a terminated, printable string
  virtual void bits(u64 low, u64 high) = 0;       ///< a bit-field or a 128-bit integer, unsigned
  virtual void pointer(u64 value) = 0;
  virtual void enumerator(std::string_view name, s64 value) = 0;  ///< name is "" where no enumerator has the value
  virtual void floating(double value) = 0;
  virtual void unknown(std::string_view kind) = 0;  ///< a type that has no value (void, fwd, func)
};

/// Walks one value. `bytes` may be longer than the type.
/// Errors: malformed (too few bytes, or types that contradict themselves), limit (too deep or too many parts).
Result<void> visit_value(const Btf& btf, u32 type_id, std::span<const std::byte> bytes, ValueVisitor& visitor);

enum class ValueStyle : u8 {
  plain,  ///< `bpftool map dump`: pointers and bit-fields in hexadecimal
  json,   ///< the "formatted" part of `bpftool -j map dump`
};

/// Writes one value. On error the writer may hold half of it.
Result<void> write_value(base::JsonWriter& writer, const Btf& btf, u32 type_id, std::span<const std::byte> bytes,
                         ValueStyle style);
/// The value on one line: `{"i":-5,"name":"bob"}`.
Result<std::string> format_value(const Btf& btf, u32 type_id, std::span<const std::byte> bytes,
                                 ValueStyle style = ValueStyle::json);

}  // namespace skep::btf
