// One arm per kind, as in dump_raw.cpp.
#include "btf/dump_json.hpp"

#include "btf/dump_raw.hpp"

namespace skep::btf {
namespace {

/// "members":[{...},...]
template <class Items, class Write>
void list(base::JsonWriter& json, std::string_view key, const Items& items, Write write) {
  json.key(key);
  json.begin_array();
  for (const auto& item : items) {
    json.begin_object();
    write(item);
    json.end_object();
  }
  json.end_array();
}

void write_members(base::JsonWriter& json, const Btf& btf, const Type& t) {
  json.member("size", t.size());
  json.member("vlen", t.vlen);
  list(json, "members", btf.members(t), [&](const Member& m) {
    json.member("name", shown_name(m.name));
    json.member("type_id", m.type_id);
    json.member("bits_offset", m.bit_offset);
    if (m.bit_size != 0) json.member("bitfield_size", m.bit_size);
  });
}

void write_enumerators(base::JsonWriter& json, const Btf& btf, const Type& t) {
  json.member("encoding", t.kind_flag ? "SIGNED" : "UNSIGNED");
  json.member("size", t.size());
  json.member("vlen", t.vlen);
  list(json, "values", btf.enumerators(t), [&](const Enumerator& e) {
    json.member("name", shown_name(e.name));
    t.kind_flag ? json.member("val", e.value) : json.member("val", static_cast<u64>(e.value));
  });
}

void write_params(base::JsonWriter& json, const Btf& btf, const Type& t) {
  json.member("ret_type_id", t.type_id());
  json.member("vlen", t.vlen);
  list(json, "params", btf.params(t), [&](const Param& p) {
    json.member("name", shown_name(p.name));
    json.member("type_id", p.type_id);
  });
}

void write_section(base::JsonWriter& json, const Btf& btf, const Type& t) {
  json.member("size", t.size());
  json.member("vlen", t.vlen);
  list(json, "vars", btf.section_vars(t), [&](const SecVar& v) {
    json.member("type_id", v.type_id);
    json.member("offset", v.offset);
    json.member("size", v.size);
  });
}

void write_rest(base::JsonWriter& json, const Btf& btf, const Type& t) {
  switch (t.kind) {
    case Kind::int_: {
      const auto e = btf.int_encoding(t);
      json.member("size", t.size());
      json.member("bits_offset", e.bit_offset);
      json.member("nr_bits", e.bits);
      json.member("encoding", encoding_text(e));
      return;
    }
    case Kind::array: {
      const auto a = btf.array(t);
      json.member("type_id", a.element_id);
      json.member("index_type_id", a.index_id);
      json.member("nr_elems", a.count);
      return;
    }
    case Kind::struct_:
    case Kind::union_:
      return write_members(json, btf, t);
    case Kind::enum_:
    case Kind::enum64:
      return write_enumerators(json, btf, t);
    case Kind::fwd:
      return json.member("fwd_kind", t.kind_flag ? "union" : "struct");
    case Kind::func:
    case Kind::var:
      json.member("type_id", t.type_id());
      json.member("linkage", linkage_text(btf.linkage(t)));
      return;
    case Kind::func_proto:
      return write_params(json, btf, t);
    case Kind::datasec:
      return write_section(json, btf, t);
    case Kind::float_:
      return json.member("size", t.size());
    case Kind::decl_tag:
      json.member("type_id", t.type_id());
      json.member("component_idx", s64{btf.component_index(t)});
      return;
    case Kind::ptr:
    case Kind::typedef_:
    case Kind::volatile_:
    case Kind::const_:
    case Kind::restrict_:
    case Kind::type_tag:
      return json.member("type_id", t.type_id());
    case Kind::void_:
      return;
  }
}

}  // namespace

void write_type(base::JsonWriter& json, const Btf& btf, u32 id) {
  const auto t = btf.type(id);
  json.begin_object();
  json.member("id", id);
  json.member("kind", name_of(t.kind));
  json.member("name", shown_name(t.name));
  write_rest(json, btf, t);
  json.end_object();
}

}  // namespace skep::btf
