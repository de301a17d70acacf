// Views into parsed BTF: types, members, names, sizes.
//
// parse() has proved that every type ends inside the bytes. Ids, names and chains may be wrong where only that was
// proved: the first two read as void and as no name, the last end after as many links as parse() would allow. So
// nothing here can fail except a size, which an incomplete type does not have and an array may overflow.
#include "btf/btf.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "btf/data.hpp"

namespace skep::btf {
namespace {

/// Longer names are cut: a bound on what a crafted string section can cost.
constexpr std::size_t longest_string = 1024;

/// Eight bytes a step: the index hashes every name of the kernel.
u64 hash_name(std::string_view name) {
  constexpr u64 multiplier = 0x9e3779b97f4a7c15ULL;
  u64 hash = name.size() * multiplier;
  const char* at = name.data();
  std::size_t left = name.size();
  for (; left >= 8; at += 8, left -= 8) {
    u64 word = 0;
    std::memcpy(&word, at, 8);
    hash = (hash ^ word) * multiplier;
    hash ^= hash >> 32;
  }
  u64 word = 0;
  for (std::size_t i = 0; i < left; i++) word |= u64{static_cast<u8>(at[i])} << (8 * i);
  hash = (hash ^ word) * multiplier;
  return hash ^ (hash >> 32);
}

/// Whether the name may have a flavour: a run of three underscores covers every third index.
bool has_triple_underscore(std::string_view name) {
  for (std::size_t i = 2; i < name.size(); i += 3) {
    if (name[i] != '_') continue;
    const bool before = name[i - 1] == '_';
    const bool after = i + 1 < name.size() && name[i + 1] == '_';
    if (before && (after || name[i - 2] == '_')) return true;
    if (after && i + 2 < name.size() && name[i + 2] == '_') return true;
  }
  return false;
}

}  // namespace

u32 Btf::type_count() const { return data_->count(); }
std::span<const std::byte> Btf::bytes() const { return data_->bytes; }
const std::shared_ptr<const Btf>& Btf::base() const { return data_->base; }
u32 Btf::first_id() const { return data_->first_id; }
u32 Btf::first_string() const { return data_->first_string; }

std::string_view Btf::string(u32 offset) const {
  const Data* data = data_.get();
  while (offset < data->first_string) data = data->base->data_.get();
  const u32 own = offset - data->first_string;
  if (own >= data->string_bytes) return {};
  const char* begin = data->strings + own;
  return {begin, ::strnlen(begin, std::min<std::size_t>(longest_string, data->string_bytes - own))};
}

Type Btf::type(u32 id) const {
  if (id == 0 || id >= data_->count()) return {};
  const Data* data = data_.get();
  while (id < data->first_id) data = data->base->data_.get();
  const u8* at = data->at(id);
  const auto raw = load<RawType>(at);
  return {.id = id,
          .kind = static_cast<Kind>(kind_of(raw.info)),
          .name = raw.name == 0 ? std::string_view{} : string(raw.name),
          .size_or_type = raw.size_or_type,
          .kind_flag = kind_flag_of(raw.info),
          .vlen = vlen_of(raw.info),
          .extra = at + sizeof(RawType)};
}

Member Btf::member(const Type& t, u32 index) const {
  const u8* at = t.extra + 12ULL * index;
  const u32 offset = load<u32>(at + 8);
  return {.name = string(load<u32>(at)),
          .type_id = load<u32>(at + 4),
          .bit_offset = t.kind_flag ? offset & 0xffffff : offset,
          .bit_size = t.kind_flag ? offset >> 24 : 0};
}

std::vector<Member> Btf::members(const Type& t) const {
  std::vector<Member> out;
  if (!is_composite(t.kind)) return out;
  out.reserve(t.vlen);
  for (u32 i = 0; i < t.vlen; i++) out.push_back(member(t, i));
  return out;
}

std::vector<Enumerator> Btf::enumerators(const Type& t) const {
  std::vector<Enumerator> out;
  if (!is_enumeration(t.kind)) return out;
  out.reserve(t.vlen);
  for (u32 i = 0; i < t.vlen; i++) {
    if (t.kind == Kind::enum_) {
      const u8* at = t.extra + 8ULL * i;
      const u32 value = load<u32>(at + 4);
      // The kind flag says signed.
      out.push_back({string(load<u32>(at)), t.kind_flag ? s64{static_cast<s32>(value)} : s64{value}});
    } else {
      const u8* at = t.extra + 12ULL * i;
      out.push_back({string(load<u32>(at)), static_cast<s64>(load<u32>(at + 4) | u64{load<u32>(at + 8)} << 32)});
    }
  }
  return out;
}

std::vector<Param> Btf::params(const Type& t) const {
  std::vector<Param> out;
  if (t.kind != Kind::func_proto) return out;
  out.reserve(t.vlen);
  for (u32 i = 0; i < t.vlen; i++)
    out.push_back({string(load<u32>(t.extra + 8ULL * i)), load<u32>(t.extra + 8ULL * i + 4)});
  return out;
}

std::vector<SecVar> Btf::section_vars(const Type& t) const {
  std::vector<SecVar> out;
  if (t.kind != Kind::datasec) return out;
  out.reserve(t.vlen);
  for (u32 i = 0; i < t.vlen; i++) {
    const u8* at = t.extra + 12ULL * i;
    out.push_back({load<u32>(at), load<u32>(at + 4), load<u32>(at + 8)});
  }
  return out;
}

Btf::Array Btf::array(const Type& t) const {
  if (t.kind != Kind::array) return {0, 0, 0};
  return {load<u32>(t.extra), load<u32>(t.extra + 4), load<u32>(t.extra + 8)};
}

Btf::IntEncoding Btf::int_encoding(const Type& t) const {
  if (t.kind != Kind::int_) return {false, false, false, 0, 0};
  const u32 raw = load<u32>(t.extra);
  const u32 encoding = (raw >> 24) & 0xf;
  return {.is_signed = (encoding & 1) != 0,
          .is_char = (encoding & 2) != 0,
          .is_bool = (encoding & 4) != 0,
          .bits = raw & 0xff,
          .bit_offset = (raw >> 16) & 0xff};
}

u32 Btf::linkage(const Type& t) const {
  if (t.kind == Kind::func) return t.vlen;
  return t.kind == Kind::var ? load<u32>(t.extra) : 0;
}

s32 Btf::component_index(const Type& t) const { return t.kind == Kind::decl_tag ? load<s32>(t.extra) : -1; }

u32 Btf::resolve(u32 id) const {
  for (u32 steps = 0; steps <= longest_chain; steps++) {
    if (id == 0 || id >= data_->count()) return 0;
    const Data* data = data_.get();
    while (id < data->first_id) data = data->base->data_.get();
    const auto raw = data->raw(id);
    if (!is_modifier(static_cast<Kind>(kind_of(raw.info)))) return id;
    id = raw.size_or_type;
  }
  return 0;
}

Result<u64> Btf::size_of(u32 id) const {
  u64 factor = 1;
  for (u32 steps = 0; steps <= longest_chain; steps++) {
    const Type t = type(resolve(id));
    u64 size = 0;
    switch (t.kind) {
      case Kind::int_:
      case Kind::struct_:
      case Kind::union_:
      case Kind::enum_:
      case Kind::enum64:
      case Kind::float_:
      case Kind::datasec:
        size = t.size();
        break;
      case Kind::ptr:
        size = 8;
        break;
      case Kind::var:
        id = t.type_id();
        continue;
      case Kind::array: {
        const auto a = array(t);
        if (__builtin_mul_overflow(factor, u64{a.count}, &factor))
          return fail(Code::malformed, fmt::format("BTF type {}: an array of more than 2^64 bytes", id));
        id = a.element_id;
        continue;
      }
      default:
        return fail(Code::malformed, fmt::format("BTF type {}: {} '{}' has no size", t.id, name_of(t.kind), t.name));
    }
    if (__builtin_mul_overflow(factor, size, &size))
      return fail(Code::malformed, fmt::format("BTF type {}: an array of more than 2^64 bytes", id));
    return size;
  }
  return fail(Code::malformed, fmt::format("BTF type {}: in a chain of more than {} arrays", id, longest_chain));
}

std::optional<u32> Btf::find(std::string_view name, Kind kind) const {
  if (data_->base) {
    if (auto found = data_->base->find(name, kind)) return found;
  }
  return find_own(name, kind);
}

std::optional<u32> Btf::find_own(std::string_view name, Kind kind) const {
  for (const u32 id : data_->own_ids(*this, essential_name(name))) {
    const Type t = type(id);
    if (t.kind == kind && t.name == name) return id;
  }
  return std::nullopt;
}

std::vector<u32> Btf::candidates(std::string_view essential) const {
  std::vector<u32> out;
  if (data_->base) out = data_->base->candidates(essential);
  for (const u32 id : data_->own_ids(*this, essential)) {
    const Kind kind = type(id).kind;
    if (is_composite(kind) || is_enumeration(kind) || kind == Kind::typedef_ || kind == Kind::int_ ||
        kind == Kind::fwd || kind == Kind::float_ || kind == Kind::func)
      out.push_back(id);
  }
  return out;
}

std::vector<u32> Btf::Data::own_ids(const Btf& btf, std::string_view essential) const {
  constexpr std::size_t names_before_index = 200;
  if (essential.empty()) return {};
  const std::lock_guard lock(names_mutex);
  if (heads.empty() && names.size() < names_before_index) {
    const auto [known, is_new] = names.try_emplace(std::string(essential));
    if (is_new) known->second = ids_by_tag(btf, essential);
    return known->second;
  }
  if (heads.empty()) {
    build_index(btf);
    names.clear();
  }
  return ids_by_index(btf, essential);
}

std::vector<u32> Btf::Data::ids_by_tag(const Btf& btf, std::string_view essential) const {
  std::vector<u32> out;
  u64 head = 0;
  std::memcpy(&head, essential.data(), std::min(sizeof head, essential.size()));
  const NameTag tag = name_tag(head);
  const u8* at = tags.get();
  const u8* const end = at + own_count;
  while (at != end && (at = static_cast<const u8*>(std::memchr(at, tag.first, static_cast<std::size_t>(end - at))))) {
    const auto index = static_cast<u32>(at++ - tags.get());
    const u32 id = first_id + index;
    if (second_tags[index] == tag.second && essential_name(btf.string(raw(id).name)) == essential) out.push_back(id);
  }
  return out;
}

std::vector<u32> Btf::Data::ids_by_index(const Btf& btf, std::string_view essential) const {
  std::vector<u32> out;
  for (u32 id = heads[hash_name(essential) & (heads.size() - 1)]; id != 0; id = next[id - first_id])
    if (essential_name(btf.string(raw(id).name)) == essential) out.push_back(id);
  return out;
}

/// Chains grow at the head, so inserting from the last id to the first leaves them ascending.
void Btf::Data::build_index(const Btf& btf) const {
  std::size_t buckets = 16;
  while (buckets < own_count) buckets *= 2;
  heads.assign(buckets, 0);
  next.assign(own_count, 0);
  for (u32 id = count(); id-- > first_id;) {
    const auto raw_type = raw(id);
    if (raw_type.name == 0) continue;
    const auto name = btf.string(raw_type.name);
    u32& head = heads[hash_name(essential_name(name)) & (buckets - 1)];
    next[id - first_id] = head;
    head = id;
  }
}

std::string_view essential_name(std::string_view name) {
  if (!has_triple_underscore(name)) return name;
  // The last "___" between two characters that are not underscores begins the flavour.
  for (std::size_t i = name.size() < 5 ? 0 : name.size() - 4; i-- > 0;) {
    if (name[i] != '_' && name[i + 1] == '_' && name[i + 2] == '_' && name[i + 3] == '_' && name[i + 4] != '_')
      return name.substr(0, i + 1);
  }
  return name;
}

std::string_view name_of(Kind kind) {
  static constexpr std::string_view names[] = {
      "VOID",  "INT",      "PTR",  "ARRAY",      "STRUCT", "UNION",   "ENUM",  "FWD",      "TYPEDEF",  "VOLATILE",
      "CONST", "RESTRICT", "FUNC", "FUNC_PROTO", "VAR",    "DATASEC", "FLOAT", "DECL_TAG", "TYPE_TAG", "ENUM64"};
  return names[static_cast<u8>(kind)];
}

}  // namespace skep::btf
