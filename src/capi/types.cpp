// The types of an object, one step at a time: enough for any language to lay its own structures over bytes.
#include <fmt/format.h>

#include "btf/btf.hpp"
#include "capi/state.hpp"

namespace skep::capi {
namespace {

s32 kind_of(btf::Kind kind) {
  switch (kind) {
    case btf::Kind::int_:
      return SKEP_TYPE_INT;
    case btf::Kind::ptr:
      return SKEP_TYPE_POINTER;
    case btf::Kind::array:
      return SKEP_TYPE_ARRAY;
    case btf::Kind::struct_:
      return SKEP_TYPE_STRUCT;
    case btf::Kind::union_:
      return SKEP_TYPE_UNION;
    case btf::Kind::enum_:
    case btf::Kind::enum64:
      return SKEP_TYPE_ENUM;
    case btf::Kind::float_:
      return SKEP_TYPE_FLOAT;
    case btf::Kind::func:
    case btf::Kind::func_proto:
      return SKEP_TYPE_FUNCTION;
    default:
      return SKEP_TYPE_VOID;
  }
}

Result<const btf::Btf*> types_of(const skep_object* object, u32 id) {
  if (object == nullptr) return is_null("the object");
  const btf::Btf* types = object->state->spec.btf.get();
  const u32 count = types != nullptr ? types->type_count() : 1;
  if (id >= count || types == nullptr)
    return fail(Code::not_found, fmt::format("no type {}: the object has {}", id, count - 1));
  return types;
}

Result<s64> describe(const btf::Btf& types, u32 id, skep_type* out) {
  const u32 resolved = types.resolve(id);
  const btf::Type type = types.type(resolved);
  skep_type told{};
  told.size = sizeof told;
  told.name = type.name.empty() ? "" : type.name.data();  // strings of a BTF end in zeros
  told.kind = kind_of(type.kind);
  told.id = resolved;
  told.bytes = types.size_of(resolved).value_or(0);
  told.alignment = types.align_of(resolved);
  switch (told.kind) {
    case SKEP_TYPE_INT: {
      const auto encoding = types.int_encoding(type);
      told.is_signed = encoding.is_signed;
      told.is_bool = encoding.is_bool;
      break;
    }
    case SKEP_TYPE_ARRAY: {
      const auto array = types.array(type);
      told.type = array.element_id;
      told.count = array.count;
      break;
    }
    case SKEP_TYPE_POINTER:
      told.type = type.type_id();
      break;
    case SKEP_TYPE_STRUCT:
    case SKEP_TYPE_UNION:
    case SKEP_TYPE_ENUM:
      told.count = type.vlen;
      told.is_signed = type.kind_flag;
      break;
    default:
      break;
  }
  return give(out, told);
}

Result<s64> describe_member(const btf::Btf& types, u32 id, u32 index, skep_member* out) {
  const btf::Type type = types.type(types.resolve(id));
  if (index >= type.vlen || !(btf::is_composite(type.kind) || btf::is_enumeration(type.kind)))
    return fail(Code::not_found, fmt::format("type {} has no member {}", id, index));
  skep_member told{};
  told.size = sizeof told;
  if (btf::is_enumeration(type.kind)) {
    const auto one = types.enumerators(type)[index];
    told.name = one.name.data();
    told.value = one.value;
    return give(out, told);
  }
  const btf::Member member = types.member(type, index);
  told.name = member.name.empty() ? "" : member.name.data();
  told.type = member.type_id;
  told.bit_offset = member.bit_offset;
  told.bit_size = member.bit_size;
  return give(out, told);
}

}  // namespace
}  // namespace skep::capi

using namespace skep;
using namespace skep::capi;

int skep_object_type(const skep_object* object, uint32_t id, skep_type* type) {
  return status_of([&]() -> Result<s64> { return describe(*SKEP_TRY(types_of(object, id)), id, type); });
}

int skep_object_member(const skep_object* object, uint32_t type, uint32_t index, skep_member* member) {
  return status_of(
      [&]() -> Result<s64> { return describe_member(*SKEP_TRY(types_of(object, type)), type, index, member); });
}
