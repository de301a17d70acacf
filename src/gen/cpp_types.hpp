// BTF types as C++ definitions whose layout is exactly what the program sees.
//
// Each record that is asked for becomes a struct inside the generated class, with what it contains by value before it.
// The layout a C++ compiler would give is computed beside the text: where it differs, bytes fill the gap; where bytes
// do not help, the struct is packed; where that does not help either (overlapping members), it is an array of bytes of
// the right size. So every definition compiles, whatever the types say. A static_assert repeats the size.
//
// Pointers are numbers: they are addresses in the program's world. Typedefs are followed; they name what has no name.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "btf/btf.hpp"

namespace skep::gen {

class CppTypes {
 public:
  /// Definitions are nested in class `scope`; its own member names are `taken`.
  CppTypes(const btf::Btf& btf, std::string scope, std::set<std::string> taken)
      : btf_(btf), scope_(std::move(scope)), taken_(std::move(taken)) {
    taken_.insert(scope_);
  }

  /// The type of a value of `size` bytes: "skep::u32", "scope::event", "std::array<char, 16>". Without a usable type
  /// (`id` 0) it is an array of bytes. `place` names a record that has no name.
  std::string value_type(u32 id, u64 size, std::string_view place);
  /// A struct of the variables of a data section that others may see; false where there are none.
  bool section(const btf::Type& datasec, std::string_view name);
  /// A definition that nothing uses by value (the record behind a pointer).
  void define(u32 id);
  /// A name that is free in the class, made from `wanted`.
  std::string unique(std::string_view wanted);
  /// All definitions so far, in order.
  const std::string& text() const { return text_; }

 private:
  struct Spelled {
    std::string base, suffix;  ///< "char", "[16]"
    u64 size = 0, align = 1;   ///< bytes
    std::string comment;
  };
  struct Field {
    std::string name;
    u32 type_id = 0;
    u64 bit_offset = 0, bit_size = 0;
  };
  struct Layout {
    std::string body;
    u64 size = 0, align = 1;
    bool packed = false;
  };
  struct Frame {
    u32 indent = 1, depth = 0;
    std::set<std::string>* names = nullptr;  ///< of members, shared with unnamed members
  };
  struct Shape {
    bool is_union = false, packed = false, may_grow = false;
    u64 size = 0;
  };
  class Writer;

  std::optional<Spelled> spell(u32 id, std::string_view place, Frame frame);
  std::optional<Spelled> spell_record(const btf::Type& t, std::string_view hint, Frame frame);
  std::optional<Spelled> spell_enum(const btf::Type& t, std::string_view hint);
  std::optional<Spelled> inline_record(const btf::Type& t, Frame frame);
  std::optional<Layout> lay_out(const std::vector<Field>& fields, Shape shape, Frame frame);
  std::optional<Layout> try_lay_out(const std::vector<Field>& fields, Shape shape, Frame frame);
  bool add_field(Writer& out, const Field& field, const Shape& shape, Frame frame);
  bool add_bits(Writer& out, const Field& field, const Shape& shape, const Spelled& type, const std::string& name);
  std::vector<Field> fields_of(const btf::Type& t) const;
  void emit_record(std::string_view word, const std::string& name, const Layout& layout, u64 size);

  const btf::Btf& btf_;
  std::string scope_, text_;
  std::set<std::string> taken_;
  std::unordered_map<u32, Spelled> done_;
  std::set<u32> open_;      ///< being defined: a type that contains itself
  u32 budget_ = 1'000'000;  ///< fields that may be laid out; crafted types nest exponentially
};

/// `text` as a C++ identifier: other characters become '_', keywords and common macros get one behind.
std::string cpp_identifier(std::string_view text);

}  // namespace skep::gen
