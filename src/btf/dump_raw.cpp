// One arm per kind; each prints what follows the common `[id] KIND 'name'`.
#include "btf/dump_raw.hpp"

#include <fmt/core.h>
#include <fmt/format.h>

namespace skep::btf {
std::string_view shown_name(std::string_view name) { return name.empty() ? "(anon)" : name; }

std::string_view encoding_text(const Btf::IntEncoding& encoding) {
  const int flags = (encoding.is_signed ? 1 : 0) | (encoding.is_char ? 2 : 0) | (encoding.is_bool ? 4 : 0);
  switch (flags) {
    case 0:
      return "(none)";
    case 1:
      return "SIGNED";
    case 2:
      return "CHAR";
    case 4:
      return "BOOL";
    default:
      return "UNKN";
  }
}

std::string_view linkage_text(u32 linkage) {
  static constexpr std::string_view names[] = {"static", "global", "extern"};
  return linkage < std::size(names) ? names[linkage] : "(unknown)";
}

namespace {

void members(const Btf& btf, const Type& t, std::string& out) {
  out += fmt::format(" size={} vlen={}", t.size(), t.vlen);
  for (u32 i = 0; i < t.vlen; i++) {
    const auto m = btf.member(t, i);
    out += fmt::format("\n\t'{}' type_id={} bits_offset={}", shown_name(m.name), m.type_id, m.bit_offset);
    if (m.bit_size != 0) out += fmt::format(" bitfield_size={}", m.bit_size);
  }
}

void enumerators(const Btf& btf, const Type& t, std::string& out) {
  out += fmt::format(" encoding={} size={} vlen={}", t.kind_flag ? "SIGNED" : "UNSIGNED", t.size(), t.vlen);
  const std::string_view suffix = t.kind == Kind::enum_ ? "" : t.kind_flag ? "LL" : "ULL";
  for (const auto& e : btf.enumerators(t)) {
    if (t.kind_flag)
      out += fmt::format("\n\t'{}' val={}{}", shown_name(e.name), e.value, suffix);
    else
      out += fmt::format("\n\t'{}' val={}{}", shown_name(e.name), static_cast<u64>(e.value), suffix);
  }
}

void params(const Btf& btf, const Type& t, std::string& out) {
  out += fmt::format(" ret_type_id={} vlen={}", t.type_id(), t.vlen);
  for (const auto& p : btf.params(t)) out += fmt::format("\n\t'{}' type_id={}", shown_name(p.name), p.type_id);
}

void section(const Btf& btf, const Type& t, std::string& out) {
  out += fmt::format(" size={} vlen={}", t.size(), t.vlen);
  for (const auto& v : btf.section_vars(t)) {
    out += fmt::format("\n\ttype_id={} offset={} size={}", v.type_id, v.offset, v.size);
    const auto named = btf.type(v.type_id);
    if (named.kind == Kind::var || named.kind == Kind::func)
      out += fmt::format(" ({} '{}')", name_of(named.kind), named.name);
  }
}

}  // namespace

void dump_raw(const Btf& btf, u32 id, std::string& out) {
  const auto t = btf.type(id);
  out += fmt::format("[{}] {} '{}'", id, name_of(t.kind), shown_name(t.name));
  switch (t.kind) {
    case Kind::int_: {
      const auto e = btf.int_encoding(t);
      out += fmt::format(" size={} bits_offset={} nr_bits={} encoding={}", t.size(), e.bit_offset, e.bits,
                         encoding_text(e));
      break;
    }
    case Kind::array: {
      const auto a = btf.array(t);
      out += fmt::format(" type_id={} index_type_id={} nr_elems={}", a.element_id, a.index_id, a.count);
      break;
    }
    case Kind::struct_:
    case Kind::union_:
      members(btf, t, out);
      break;
    case Kind::enum_:
    case Kind::enum64:
      enumerators(btf, t, out);
      break;
    case Kind::fwd:
      out += fmt::format(" fwd_kind={}", t.kind_flag ? "union" : "struct");
      break;
    case Kind::func:
      out += fmt::format(" type_id={} linkage={}", t.type_id(), linkage_text(btf.linkage(t)));
      break;
    case Kind::func_proto:
      params(btf, t, out);
      break;
    case Kind::var:
      out += fmt::format(" type_id={}, linkage={}", t.type_id(), linkage_text(btf.linkage(t)));
      break;
    case Kind::datasec:
      section(btf, t, out);
      break;
    case Kind::float_:
      out += fmt::format(" size={}", t.size());
      break;
    case Kind::decl_tag:
      out += fmt::format(" type_id={} component_idx={}", t.type_id(), btf.component_index(t));
      break;
    case Kind::ptr:
    case Kind::typedef_:
    case Kind::volatile_:
    case Kind::const_:
    case Kind::restrict_:
    case Kind::type_tag:
      out += fmt::format(" type_id={}", t.type_id());
      break;
    case Kind::void_:
      break;
  }
  out += '\n';
}

std::string dump_raw(const Btf& btf) {
  std::string out;
  for (u32 id = btf.first_id(); id < btf.type_count(); id++) dump_raw(btf, id, out);
  return out;
}

}  // namespace skep::btf
