// Three notions of sameness, from loose to strict: fields, types by shape, types member by member.
//
// Source: behaviour of libbpf's relo_core (what it calls fields_are_compat, types_are_compat and types_match).
#include "btf/core_match.hpp"

#include "btf/core.hpp"

#include "btf/data.hpp"

namespace skep::btf::core {
namespace {

constexpr u32 deepest = 32;

tl::unexpected<Error> too_deep() { return fail(Code::limit, "types nest too deeply to be compared"); }

bool same_essential_name(const Type& a, const Type& b) { return essential_name(a.name) == essential_name(b.name); }

bool plain_integer(const Btf& btf, const Type& t) { return btf.int_encoding(t).bit_offset == 0; }

Result<bool> protos_compatible(TypeRef local, const Type& a, TypeRef target, const Type& b, Budget& budget, u32 depth) {
  if (a.vlen != b.vlen) return false;
  if (budget.spent(a.vlen)) return too_deep();
  const auto ours = local.btf.params(a);
  const auto theirs = target.btf.params(b);
  for (u32 i = 0; i < a.vlen; i++) {
    const bool same = SKEP_TRY(
        types_are_compatible({local.btf, ours[i].type_id}, {target.btf, theirs[i].type_id}, budget, depth + 1));
    if (!same) return false;
  }
  return types_are_compatible({local.btf, a.type_id()}, {target.btf, b.type_id()}, budget, depth + 1);
}

Result<bool> protos_match(TypeRef local, const Type& a, TypeRef target, const Type& b, bool behind_pointer,
                          Budget& budget, u32 depth) {
  if (a.vlen != b.vlen) return false;
  if (budget.spent(a.vlen)) return too_deep();
  const auto ours = local.btf.params(a);
  const auto theirs = target.btf.params(b);
  for (u32 i = 0; i < a.vlen; i++) {
    const bool same = SKEP_TRY(
        types_match({local.btf, ours[i].type_id}, {target.btf, theirs[i].type_id}, behind_pointer, budget, depth + 1));
    if (!same) return false;
  }
  return types_match({local.btf, a.type_id()}, {target.btf, b.type_id()}, behind_pointer, budget, depth + 1);
}

Result<bool> enums_match(TypeRef local, const Type& a, TypeRef target, const Type& b, Budget& budget) {
  if (!is_enumeration(b.kind) || a.vlen > b.vlen) return false;
  if (budget.spent(a.vlen + b.vlen)) return too_deep();
  const auto theirs = target.btf.enumerators(b);
  for (const auto& ours : local.btf.enumerators(a)) {
    bool found = false;
    for (const auto& candidate : theirs) {
      if (budget.spent()) return too_deep();
      found = essential_name(ours.name) == essential_name(candidate.name);
      if (found) break;
    }
    if (!found) return false;
  }
  return true;
}

Result<bool> members_match(TypeRef local, const Type& a, TypeRef target, const Type& b, Budget& budget, u32 depth) {
  if (a.vlen > b.vlen) return false;
  for (u32 i = 0; i < a.vlen; i++) {
    const auto ours = local.btf.member(a, i);
    bool found = false;
    for (u32 j = 0; j < b.vlen && !found; j++) {
      if (budget.spent()) return too_deep();
      const auto theirs = target.btf.member(b, j);
      if (essential_name(ours.name) != essential_name(theirs.name)) continue;
      found = SKEP_TRY(types_match({local.btf, ours.type_id}, {target.btf, theirs.type_id}, false, budget, depth + 1));
    }
    if (!found) return false;
  }
  return true;
}

bool forward_matches(const Type& a, const Type& b, bool behind_pointer) {
  if (a.kind == b.kind) return a.kind_flag == b.kind_flag;
  return behind_pointer && b.kind == (a.kind_flag ? Kind::union_ : Kind::struct_);
}

}  // namespace

bool same_kind(Kind a, Kind b) { return a == b || (is_enumeration(a) && is_enumeration(b)); }

Result<bool> fields_are_compatible(TypeRef local, TypeRef target, u32 depth) {
  if (depth > longest_chain) return too_deep();
  const Type a = local.btf.type(local.btf.resolve(local.id));
  const Type b = target.btf.type(target.btf.resolve(target.id));
  if (is_composite(a.kind) && is_composite(b.kind)) return true;
  if (!same_kind(a.kind, b.kind)) return false;
  switch (a.kind) {
    case Kind::ptr:
    case Kind::float_:
      return true;
    case Kind::fwd:
    case Kind::enum_:
    case Kind::enum64: {
      const auto ours = essential_name(a.name);
      const auto theirs = essential_name(b.name);
      return ours.empty() || theirs.empty() || ours == theirs;
    }
    case Kind::int_:
      return plain_integer(local.btf, a) && plain_integer(target.btf, b);
    case Kind::array:
      return fields_are_compatible({local.btf, local.btf.array(a).element_id},
                                   {target.btf, target.btf.array(b).element_id}, depth + 1);
    default:
      return false;
  }
}

Result<bool> types_are_compatible(TypeRef local, TypeRef target, Budget& budget, u32 depth) {
  if (depth > deepest || budget.spent()) return too_deep();
  const Type a = local.btf.type(local.btf.resolve(local.id));
  const Type b = target.btf.type(target.btf.resolve(target.id));
  if (!same_kind(a.kind, b.kind)) return false;
  switch (a.kind) {
    case Kind::void_:
    case Kind::struct_:
    case Kind::union_:
    case Kind::enum_:
    case Kind::enum64:
    case Kind::fwd:
      return true;
    case Kind::int_:
      return plain_integer(local.btf, a) && plain_integer(target.btf, b);
    case Kind::ptr:
      return types_are_compatible({local.btf, a.type_id()}, {target.btf, b.type_id()}, budget, depth + 1);
    case Kind::array:
      return types_are_compatible({local.btf, local.btf.array(a).element_id},
                                  {target.btf, target.btf.array(b).element_id}, budget, depth + 1);
    case Kind::func_proto:
      return protos_compatible(local, a, target, b, budget, depth);
    default:
      return false;
  }
}

Result<bool> types_match(TypeRef local, TypeRef target, bool behind_pointer, Budget& budget, u32 depth) {
  if (depth > deepest || budget.spent()) return too_deep();
  const Type a = local.btf.type(local.btf.resolve(local.id));
  const Type b = target.btf.type(target.btf.resolve(target.id));
  if (!same_essential_name(a, b)) return false;
  switch (a.kind) {
    case Kind::void_:
      return b.kind == Kind::void_;
    case Kind::fwd:
      return forward_matches(a, b, behind_pointer);
    case Kind::enum_:
    case Kind::enum64:
      return enums_match(local, a, target, b, budget);
    case Kind::struct_:
    case Kind::union_:
      if (behind_pointer) return a.kind == b.kind || (b.kind == Kind::fwd && (a.kind == Kind::union_) == b.kind_flag);
      if (a.kind != b.kind) return false;
      return members_match(local, a, target, b, budget, depth);
    case Kind::int_:
      return b.kind == Kind::int_ && a.size() == b.size() &&
             local.btf.int_encoding(a).is_signed == target.btf.int_encoding(b).is_signed;
    case Kind::ptr:
      if (b.kind != Kind::ptr) return false;
      return types_match({local.btf, a.type_id()}, {target.btf, b.type_id()}, true, budget, depth + 1);
    case Kind::array: {
      if (b.kind != Kind::array) return false;
      const auto ours = local.btf.array(a);
      const auto theirs = target.btf.array(b);
      if (ours.count != theirs.count) return false;
      return types_match({local.btf, ours.element_id}, {target.btf, theirs.element_id}, behind_pointer, budget,
                         depth + 1);
    }
    case Kind::func_proto:
      if (b.kind != Kind::func_proto) return false;
      return protos_match(local, a, target, b, behind_pointer, budget, depth);
    default:
      return false;
  }
}

}  // namespace skep::btf::core

namespace skep::btf {

namespace {

/// A structure that is only declared stands for any: nothing of it is used but pointers.
Result<bool> parameter_fits(const Btf& local, u32 ours, const Btf& target, u32 theirs, core::Budget& budget) {
  const auto is_record = [](const Type& type) { return is_composite(type.kind) || type.kind == Kind::fwd; };
  const Type a = local.type(local.resolve(ours)), b = target.type(target.resolve(theirs));
  if (a.kind == Kind::ptr && b.kind == Kind::ptr) {
    const Type at = local.type(local.resolve(a.type_id())), bt = target.type(target.resolve(b.type_id()));
    if ((at.kind == Kind::fwd || bt.kind == Kind::fwd) && is_record(at) && is_record(bt)) return true;
  }
  return core::types_are_compatible({local, ours}, {target, theirs}, budget);
}

}  // namespace

Result<bool> declarations_fit(const Btf& local, u32 our_function, const Btf& target, u32 their_function) {
  const Type ours = local.type(local.type(our_function).type_id());
  const Type theirs = target.type(target.type(their_function).type_id());
  if (ours.kind != Kind::func_proto || theirs.kind != Kind::func_proto || ours.vlen != theirs.vlen) return false;
  core::Budget budget;
  const auto our_params = local.params(ours), their_params = target.params(theirs);
  for (u32 i = 0; i < ours.vlen; ++i)
    if (!SKEP_TRY(parameter_fits(local, our_params[i].type_id, target, their_params[i].type_id, budget))) return false;
  return parameter_fits(local, ours.type_id(), target, theirs.type_id(), budget);
}

}  // namespace skep::btf
