// target_types.def as BTF. See target_types.hpp.
#include "user/target_types.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "btf/builder.hpp"
#include "catalog/helpers.hpp"
#include "helper/helpers.hpp"
#include "hook/shadow_layout.hpp"

namespace skep::user {

namespace {

/// A structure in the making: members collect until it is complete.
class TypeTable {
 public:
  TypeTable() {
    using Encoding = btf::Builder::Encoding;
    ids_["u8"] = builder_.add_int("unsigned char", 1);
    ids_["u16"] = builder_.add_int("short unsigned int", 2);
    ids_["u32"] = builder_.add_int("unsigned int", 4);
    ids_["u64"] = builder_.add_int("long unsigned int", 8);
    ids_["s8"] = builder_.add_int("char", 1, Encoding::signed_);
    ids_["s32"] = builder_.add_int("int", 4, Encoding::signed_);
    ids_["s64"] = builder_.add_int("long int", 8, Encoding::signed_);
    ids_["pointer"] = builder_.add_pointer(0);
  }

  /// `key`: what other rows call it, where it has no name in C.
  void begin(std::string_view name, u32 bytes, bool is_union, std::string_view key = {}) {
    name_ = name;
    key_ = key.empty() ? name : key;
    bytes_ = bytes;
    is_union_ = is_union;
    members_.clear();
  }
  void member(std::string_view name, std::string_view type, u32 offset_bytes) {
    members_.push_back({.name = name, .type_id = id(type), .bit_offset = offset_bytes * 8});
  }
  void array(std::string_view name, std::string_view type, u32 count, u32 offset_bytes) {
    const u32 array_id = builder_.add_array(id(type), id("u32"), count);
    members_.push_back({.name = name, .type_id = array_id, .bit_offset = offset_bytes * 8});
  }
  void bits(std::string_view name, std::string_view type, u32 bit_offset, u32 bit_size) {
    members_.push_back({.name = name, .type_id = id(type), .bit_offset = bit_offset, .bit_size = bit_size});
  }
  /// Where it points to may come later: build() fills it in.
  void pointer(std::string_view name, std::string_view target, u32 offset_bytes) {
    members_.push_back({.name = name, .type_id = pointer_to(target), .bit_offset = offset_bytes * 8});
  }
  /// btf_trace_NAME, a pointer to a function of (void *, arguments...), as the kernel's types have it.
  void tracepoint(std::string_view name, std::string_view arguments) {
    std::vector<btf::Param> params{{.name = {}, .type_id = id("pointer")}};
    while (!arguments.empty()) {
      const auto comma = arguments.find(", ");
      const std::string_view type = arguments.substr(0, comma);
      arguments.remove_prefix(comma == std::string_view::npos ? arguments.size() : comma + 2);
      const bool is_pointer = type.ends_with(" *");
      params.push_back({.name = {}, .type_id = is_pointer ? pointer_to(type.substr(0, type.size() - 2)) : id(type)});
    }
    const u32 function = builder_.add_pointer(builder_.add_func_proto(0, params));
    builder_.add_modifier(btf::Kind::typedef_, "btf_trace_" + std::string(name), function);
  }
  void end() {
    const u32 made =
        is_union_ ? builder_.add_union("", bytes_, members_) : builder_.add_struct(name_, bytes_, members_);
    ids_[key_] = made;
  }

  /// enum bpf_func_id, with the helpers that this engine has.
  void helpers() {
    const auto table = helper::table();
    std::vector<std::string> names;
    std::vector<btf::Enumerator> values;
    for (const auto& row : catalog::helpers()) {
      const auto number = static_cast<u32>(row.id);
      if (number >= table.size() || table[number] == nullptr) continue;
      names.push_back("BPF_FUNC_" + std::string(row.name));
      values.push_back({.name = {}, .value = number});
    }
    for (std::size_t i = 0; i < values.size(); ++i) values[i].name = names[i];
    builder_.add_enum("bpf_func_id", 4, false, values);
  }

  Result<std::shared_ptr<const btf::Btf>> build() {
    for (const auto& [target, pointer] : pointers_) builder_.set_type(pointer, id(target));
    return builder_.build();
  }

 private:
  u32 pointer_to(std::string_view target) {
    u32& made = pointers_[std::string(target)];
    if (made == 0) made = builder_.add_pointer(0);
    return made;
  }
  u32 id(std::string_view type) const {
    const auto found = ids_.find(std::string(type));
    return found == ids_.end() ? 0 : found->second;
  }
  btf::Builder builder_;
  std::map<std::string, u32, std::less<>> ids_;
  std::map<std::string, u32> pointers_;  ///< by the structure they point to
  std::string name_, key_;
  u32 bytes_ = 0;
  bool is_union_ = false;
  std::vector<btf::Builder::NewMember> members_;
};

}  // namespace

namespace {
Result<std::shared_ptr<const btf::Btf>> make_types() {
  TypeTable table;
#define SKEP_STRUCT(name, bytes) table.begin(#name, bytes, false);
#define SKEP_UNION(name, bytes) table.begin(#name, bytes, true);
#define SKEP_MEMBER(name, type, offset) table.member(#name, #type, offset);
#define SKEP_ARRAY(name, type, count, offset) table.array(#name, #type, count, offset);
#define SKEP_BITS(name, type, offset, size) table.bits(#name, #type, offset, size);
#define SKEP_INNER(name, type, offset) table.member(#name, #type, offset);
#define SKEP_SHADOW(name, structure)                  \
  {                                                   \
    using Structure = struct hook::shadow::structure; \
    table.begin(#name, sizeof(Structure), false, #name[0] == 0 ? #structure : #name);
#define SKEP_FIELD_AS(name, type, in_cpp) table.member(#name, #type, offsetof(Structure, in_cpp));
#define SKEP_FIELD(name, type) SKEP_FIELD_AS(name, type, name)
#define SKEP_POINTER(name, target) table.pointer(#name, #target, offsetof(Structure, name));
#define SKEP_CHARS(name, count) table.array(#name, "s8", count, offsetof(Structure, name));
#define SKEP_SHADOW_END \
  table.end();          \
  }
#define SKEP_TRACEPOINT(name, arguments) table.tracepoint(#name, arguments);
#define SKEP_STRUCT_END table.end();
#include "user/target_types.def"
#undef SKEP_STRUCT
#undef SKEP_UNION
#undef SKEP_MEMBER
#undef SKEP_ARRAY
#undef SKEP_BITS
#undef SKEP_INNER
#undef SKEP_STRUCT_END
#undef SKEP_SHADOW
#undef SKEP_FIELD
#undef SKEP_FIELD_AS
#undef SKEP_POINTER
#undef SKEP_CHARS
#undef SKEP_SHADOW_END
#undef SKEP_TRACEPOINT
  table.helpers();
  return table.build();
}
}  // namespace

Result<std::shared_ptr<const btf::Btf>> target_types() {
  static const Result<std::shared_ptr<const btf::Btf>> types = make_types();
  return types;
}

}  // namespace skep::user
