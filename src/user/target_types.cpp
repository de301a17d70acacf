// target_types.def and process_types.def as BTF. See target_types.hpp.
#include "user/target_types.hpp"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "btf/builder.hpp"
#include "catalog/contexts.hpp"
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
    know("u8", builder_.add_int("unsigned char", 1), 1);
    know("u16", builder_.add_int("short unsigned int", 2), 2);
    know("u32", builder_.add_int("unsigned int", 4), 4);
    know("u64", builder_.add_int("long unsigned int", 8), 8);
    know("s8", builder_.add_int("char", 1, Encoding::signed_), 1);
    know("s16", builder_.add_int("short int", 2, Encoding::signed_), 2);
    know("s32", builder_.add_int("int", 4, Encoding::signed_), 4);
    know("s64", builder_.add_int("long int", 8, Encoding::signed_), 8);
    know("pointer", builder_.add_pointer(0), 8);
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
    sizes_[array_id] = sizes_[id(type)] * count;
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
  /// The fields of a program's context as members. The catalog has a name for each word of an array: "remote_ip6_0".
  void context(std::string_view name) {
    const catalog::Context& known = context_named(name);
    begin(name, known.size, false);
    const auto& fields = known.fields;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      std::string_view field = fields[i].name;
      const auto index = index_of_word(field);
      if (!index) {
        member(fields[i]);
        continue;
      }
      field.remove_suffix(2);
      u32 words = *index + 1;
      const u32 begin = fields[i].offset - *index * 4;
      while (i + 1 < fields.size() && fields[i + 1].name.starts_with(field) && index_of_word(fields[i + 1].name)) {
        ++i;
        ++words;
      }
      array(field, "u32", words, begin);
    }
  }
  void end() {
    if (!is_union_) unite_overlapping();
    const u32 made =
        is_union_ ? builder_.add_union("", bytes_, members_) : builder_.add_struct(name_, bytes_, members_);
    know(key_, made, bytes_);
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
  void know(std::string_view name, u32 type_id, u32 bytes) {
    ids_[std::string(name)] = type_id;
    sizes_[type_id] = bytes;
  }
  void unite_overlapping() {
    std::ranges::stable_sort(members_, {}, &btf::Builder::NewMember::bit_offset);
    std::vector<btf::Builder::NewMember> apart;
    for (auto at = members_.begin(); at != members_.end();) {
      const auto end = std::find_if(at, members_.end(), [&](const auto& m) { return m.bit_offset != at->bit_offset; });
      if (end - at == 1) {
        apart.push_back(std::move(*at));
      } else {
        const u32 begin = at->bit_offset;
        u32 bytes = 0;
        for (auto m = at; m != end; ++m) {
          bytes = std::max(bytes, sizes_[m->type_id]);
          m->bit_offset = 0;
        }
        const u32 both = builder_.add_union("", bytes, std::vector(at, end));
        apart.push_back({.name = {}, .type_id = both, .bit_offset = begin});
      }
      at = end;
    }
    members_ = std::move(apart);
  }
  static const catalog::Context& context_named(std::string_view name) {
    static constexpr catalog::Context none;
    constexpr std::size_t struct_word = std::string_view("struct ").size();
    for (const auto* known :
         {&catalog::bpf_sock_fields(), &catalog::bpf_tcp_sock_fields(), &catalog::bpf_xdp_sock_fields()})
      if (known->name.substr(struct_word) == name) return *known;
    for (u32 type = 1; name_of(static_cast<ProgramType>(type)) != "unknown"; ++type)
      if (const auto* known = catalog::context_of(static_cast<ProgramType>(type));
          known != nullptr && known->name.substr(struct_word) == name)
        return *known;
    return none;  // the table names contexts that are there; a test sees to it
  }
  /// 3 of "remote_ip6_3"; none of "user_ip4".
  static std::optional<u32> index_of_word(std::string_view name) {
    const auto size = name.size();
    if (size < 3 || name[size - 2] != '_' || name[size - 1] < '0' || name[size - 1] > '9') return std::nullopt;
    return static_cast<u32>(name[size - 1] - '0');
  }
  void member(const catalog::ContextField& field) {
    using catalog::Field;
    if (field.kind == Field::array || field.kind == Field::words)
      return array(field.name, "u32", field.size / 4u, field.offset);
    const bool is_number = field.kind == Field::number || field.kind == Field::exact;
    const std::string_view type = field.kind == Field::port ? "u16"
                                  : field.size == 1         ? "u8"
                                  : field.size == 4         ? "u32"
                                  : is_number               ? "u64"
                                                            : "pointer";
    member(field.name, type, field.offset);
  }
  u32 pointer_to(std::string_view target) {
    u32& made = pointers_[std::string(target)];
    if (made == 0) sizes_[made = builder_.add_pointer(0)] = 8;
    return made;
  }
  u32 id(std::string_view type) const {
    const auto found = ids_.find(std::string(type));
    return found == ids_.end() ? 0 : found->second;
  }
  btf::Builder builder_;
  std::map<std::string, u32, std::less<>> ids_;
  std::map<u32, u32> sizes_;             ///< bytes, by number
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
#define SKEP_UNNAMED(name, bytes) table.begin("", bytes, false, #name);
#define SKEP_CONTEXT(name) table.context(#name);
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
#define SKEP_POINTER_AT(name, target, offset) table.pointer(#name, #target, offset);
#define SKEP_TRACEPOINT(name, arguments) table.tracepoint(#name, arguments);
#define SKEP_STRUCT_END table.end();
#include "user/target_types.def"
// After it, for its rows name structures of it.
#include "user/process_types.def"
#undef SKEP_STRUCT
#undef SKEP_UNNAMED
#undef SKEP_CONTEXT
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
#undef SKEP_POINTER_AT
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
