// Making and editing BTF: types go into one byte vector in the file's own layout, strings into another.
#include "btf/builder.hpp"

#include <algorithm>
#include <limits>

#include "btf/data.hpp"

namespace skep::btf {

Builder::Builder() : strings_(1, '\0') {}

Builder Builder::copy_of(const Btf& btf) {
  const auto& data = *btf.data_;
  Builder out;
  out.base_ = data.base;
  out.first_id_ = data.first_id;
  out.first_string_ = data.first_string;
  out.types_.assign(data.types, data.types + data.type_bytes);
  out.strings_.assign(data.strings, data.strings + data.string_bytes);
  for (u32 id = data.first_id; id < data.count(); id++)
    out.offsets_.push_back(static_cast<u32>(data.at(id) - data.types));
  return out;
}

u32 Builder::string(std::string_view text) {
  if (text.empty()) return 0;
  const auto [entry, added] = known_strings_.try_emplace(std::string(text), 0);
  if (!added) return entry->second;
  entry->second = first_string_ + static_cast<u32>(strings_.size());
  strings_.insert(strings_.end(), text.begin(), text.end());
  strings_.push_back('\0');
  return entry->second;
}

void Builder::put(u32 value) {
  const auto* bytes = reinterpret_cast<const u8*>(&value);
  types_.insert(types_.end(), bytes, bytes + sizeof value);
}
u32 Builder::get(u32 where) const { return load<u32>(types_.data() + where); }
void Builder::set(u32 where, u32 value) { std::memcpy(types_.data() + where, &value, sizeof value); }

u32 Builder::begin(std::string_view name, Kind kind, u32 vlen, bool kind_flag, u32 size_or_type) {
  const u32 name_offset = string(name);
  offsets_.push_back(static_cast<u32>(types_.size()));
  put(name_offset);
  put((vlen & 0xffff) | static_cast<u32>(kind) << 24 | (kind_flag ? 1U << 31 : 0));
  put(size_or_type);
  return type_count() - 1;
}

u32 Builder::add_int(std::string_view name, u32 size_bytes, Encoding encoding) {
  const u32 id = begin(name, Kind::int_, 0, false, size_bytes);
  put(static_cast<u32>(encoding) << 24 | size_bytes * 8);
  return id;
}
u32 Builder::add_float(std::string_view name, u32 size_bytes) {
  return begin(name, Kind::float_, 0, false, size_bytes);
}
u32 Builder::add_pointer(u32 type_id) { return begin({}, Kind::ptr, 0, false, type_id); }
u32 Builder::add_array(u32 element_id, u32 index_id, u32 count) {
  const u32 id = begin({}, Kind::array, 0, false, 0);
  put(element_id);
  put(index_id);
  put(count);
  return id;
}

u32 Builder::add_composite(Kind kind, std::string_view name, u32 size_bytes, std::span<const NewMember> members) {
  const bool bit_fields = std::any_of(members.begin(), members.end(), [](const auto& m) { return m.bit_size != 0; });
  std::vector<u32> names;
  for (const auto& m : members) names.push_back(string(m.name));
  const u32 id = begin(name, kind, static_cast<u32>(members.size()), bit_fields, size_bytes);
  for (std::size_t i = 0; i < members.size(); i++) {
    put(names[i]);
    put(members[i].type_id);
    put(bit_fields ? members[i].bit_size << 24 | members[i].bit_offset : members[i].bit_offset);
  }
  return id;
}
u32 Builder::add_struct(std::string_view name, u32 size_bytes, std::span<const NewMember> members) {
  return add_composite(Kind::struct_, name, size_bytes, members);
}
u32 Builder::add_union(std::string_view name, u32 size_bytes, std::span<const NewMember> members) {
  return add_composite(Kind::union_, name, size_bytes, members);
}

u32 Builder::add_enum(std::string_view name, u32 size_bytes, bool is_signed, std::span<const Enumerator> values) {
  std::vector<u32> names;
  for (const auto& v : values) names.push_back(string(v.name));
  const u32 id = begin(name, Kind::enum_, static_cast<u32>(values.size()), is_signed, size_bytes);
  for (std::size_t i = 0; i < values.size(); i++) {
    put(names[i]);
    put(static_cast<u32>(values[i].value));
  }
  return id;
}
u32 Builder::add_enum64(std::string_view name, bool is_signed, std::span<const Enumerator> values) {
  std::vector<u32> names;
  for (const auto& v : values) names.push_back(string(v.name));
  const u32 id = begin(name, Kind::enum64, static_cast<u32>(values.size()), is_signed, 8);
  for (std::size_t i = 0; i < values.size(); i++) {
    put(names[i]);
    put(static_cast<u32>(values[i].value));
    put(static_cast<u32>(static_cast<u64>(values[i].value) >> 32));
  }
  return id;
}

u32 Builder::add_forward(std::string_view name, bool is_union) { return begin(name, Kind::fwd, 0, is_union, 0); }
u32 Builder::add_modifier(Kind kind, std::string_view name, u32 type_id) {
  return begin(name, kind, 0, false, type_id);
}

u32 Builder::add_func_proto(u32 return_id, std::span<const Param> params) {
  std::vector<u32> names;
  for (const auto& p : params) names.push_back(string(p.name));
  const u32 id = begin({}, Kind::func_proto, static_cast<u32>(params.size()), false, return_id);
  for (std::size_t i = 0; i < params.size(); i++) {
    put(names[i]);
    put(params[i].type_id);
  }
  return id;
}
u32 Builder::add_func(std::string_view name, u32 proto_id, u32 linkage) {
  return begin(name, Kind::func, linkage, false, proto_id);
}
u32 Builder::add_var(std::string_view name, u32 type_id, u32 linkage) {
  const u32 id = begin(name, Kind::var, 0, false, type_id);
  put(linkage);
  return id;
}
u32 Builder::add_datasec(std::string_view name, u32 size_bytes, std::span<const SecVar> vars) {
  const u32 id = begin(name, Kind::datasec, static_cast<u32>(vars.size()), false, size_bytes);
  for (const auto& v : vars) {
    put(v.type_id);
    put(v.offset);
    put(v.size);
  }
  return id;
}
u32 Builder::add_decl_tag(std::string_view name, u32 type_id, s32 component_index) {
  const u32 id = begin(name, Kind::decl_tag, 0, false, type_id);
  put(static_cast<u32>(component_index));
  return id;
}

void Builder::set_section(u32 datasec_id, u32 size_bytes, std::span<const SecVar> vars) {
  const u32 where = at(datasec_id);
  set(where + 8, size_bytes);
  const u32 count = std::min(vlen_of(get(where + 4)), static_cast<u32>(vars.size()));
  for (u32 i = 0; i < count; i++) {
    const u32 entry = where + 12 + 12 * i;
    set(entry, vars[i].type_id);
    set(entry + 4, vars[i].offset);
    set(entry + 8, vars[i].size);
  }
}

void Builder::set_linkage(u32 id, u32 linkage) {
  const u32 where = at(id);
  const u32 info = get(where + 4);
  if (static_cast<Kind>(kind_of(info)) == Kind::func)
    set(where + 4, (info & ~0xffffU) | linkage);
  else
    set(where + 12, linkage);
}
void Builder::set_type(u32 id, u32 type_id) { set(at(id) + 8, type_id); }
void Builder::set_param_name(u32 proto_id, u32 index, std::string_view name) {
  const u32 name_offset = string(name);
  set(at(proto_id) + 12 + 8 * index, name_offset);
}
void Builder::rename(u32 id, std::string_view name) {
  const u32 name_offset = string(name);
  set(at(id), name_offset);
}

std::vector<std::byte> Builder::bytes() const {
  const RawHeader header{.magic = btf_magic,
                         .version = 1,
                         .flags = 0,
                         .header_length = sizeof(RawHeader),
                         .type_offset = 0,
                         .type_length = static_cast<u32>(types_.size()),
                         .string_offset = static_cast<u32>(types_.size()),
                         .string_length = static_cast<u32>(strings_.size())};
  std::vector<std::byte> out(sizeof header + types_.size() + strings_.size());
  std::memcpy(out.data(), &header, sizeof header);
  if (!types_.empty()) std::memcpy(out.data() + sizeof header, types_.data(), types_.size());
  if (!strings_.empty()) std::memcpy(out.data() + sizeof header + types_.size(), strings_.data(), strings_.size());
  return out;
}

Result<std::shared_ptr<const Btf>> Builder::build() const {
  if (types_.size() + strings_.size() > std::numeric_limits<u32>::max() / 2)
    return fail(Code::limit, "BTF: more than 2 GiB of types and strings");
  return Btf::parse(bytes(), base_);
}

}  // namespace skep::btf
