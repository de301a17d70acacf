// Making BTF: new types for what has none on this machine, and edited copies of what a compiler wrote.
//
// A Builder appends types and hands out their ids. `copy_of` starts from existing BTF with the same ids, so that a
// few places can be edited: compilers leave section sizes, variable offsets and the linkage of externs to the
// loader, and the kernel insists on them.
// Source: kernel Documentation/bpf/btf.rst.
#pragma once
#include <unordered_map>

#include "btf/btf.hpp"

namespace skep::btf {

class Builder {
 public:
  Builder();
  /// Types and strings of `btf` (of its own part, when split), to be edited or extended.
  static Builder copy_of(const Btf& btf);

  enum class Encoding : u8 { unsigned_ = 0, signed_ = 1, char_ = 2, bool_ = 4 };
  struct NewMember {
    std::string_view name;
    u32 type_id = 0;
    u32 bit_offset = 0;
    u32 bit_size = 0;  ///< 0: not a bit-field
  };

  // Each returns the new type's id.
  u32 add_int(std::string_view name, u32 size_bytes, Encoding encoding = Encoding::unsigned_);
  u32 add_float(std::string_view name, u32 size_bytes);
  u32 add_pointer(u32 type_id);
  u32 add_array(u32 element_id, u32 index_id, u32 count);
  u32 add_struct(std::string_view name, u32 size_bytes, std::span<const NewMember> members);
  u32 add_union(std::string_view name, u32 size_bytes, std::span<const NewMember> members);
  u32 add_enum(std::string_view name, u32 size_bytes, bool is_signed, std::span<const Enumerator> values);
  u32 add_enum64(std::string_view name, bool is_signed, std::span<const Enumerator> values);
  u32 add_forward(std::string_view name, bool is_union);
  /// typedef, const, volatile, restrict or type_tag; the name is that of a typedef or tag.
  u32 add_modifier(Kind kind, std::string_view name, u32 type_id);
  u32 add_func_proto(u32 return_id, std::span<const Param> params);
  /// linkage: 0 static, 1 global, 2 extern.
  u32 add_func(std::string_view name, u32 proto_id, u32 linkage);
  u32 add_var(std::string_view name, u32 type_id, u32 linkage);
  u32 add_datasec(std::string_view name, u32 size_bytes, std::span<const SecVar> vars);
  u32 add_decl_tag(std::string_view name, u32 type_id, s32 component_index);

  // Edits of types that are there; ids must be of the right kind.
  void set_section(u32 datasec_id, u32 size_bytes, std::span<const SecVar> vars);  ///< as many vars as before
  void set_linkage(u32 var_or_func_id, u32 linkage);
  void set_type(u32 id, u32 type_id);  ///< what a pointer, modifier, var or func refers to
  void set_param_name(u32 proto_id, u32 index, std::string_view name);
  void rename(u32 id, std::string_view name);

  u32 type_count() const { return first_id_ + static_cast<u32>(offsets_.size()); }
  std::vector<std::byte> bytes() const;
  Result<std::shared_ptr<const Btf>> build() const;

 private:
  u32 string(std::string_view text);
  u32 begin(std::string_view name, Kind kind, u32 vlen, bool kind_flag, u32 size_or_type);
  u32 add_composite(Kind kind, std::string_view name, u32 size_bytes, std::span<const NewMember> members);
  void put(u32 value);
  u32 get(u32 at) const;
  void set(u32 at, u32 value);
  u32 at(u32 id) const { return offsets_[id - first_id_]; }

  std::shared_ptr<const Btf> base_;
  u32 first_id_ = 1, first_string_ = 0;
  std::vector<u8> types_;
  std::vector<char> strings_;
  std::vector<u32> offsets_;
  std::unordered_map<std::string, u32> known_strings_;
};

}  // namespace skep::btf
