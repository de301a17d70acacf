// Resolving a CO-RE relocation: the program's path through its own type, the same path through each candidate of the
// target, and the numbers read off both.
//
// A path is a list of accessors: array indices (no name) and members (by name). Anonymous structs and unions are
// transparent: the target may nest them differently. Candidates are all types of the same kind and essential name
// ("x___old" means x); those that match must agree on the answer, or the relocation is ambiguous.
#include "btf/core.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "btf/core_match.hpp"
#include "btf/data.hpp"

namespace skep::btf {
namespace {

using core::Budget;

constexpr std::size_t longest_path = 64;

/// One step: member `index` of struct `type_id` (with its name), or element `index` of type `type_id`.
struct Accessor {
  u32 type_id = 0;
  u32 index = 0;
  std::string_view name;
};

struct Path {
  const Btf* btf = nullptr;
  u32 root = 0;
  u64 bit_offset = 0;
  std::vector<Accessor> steps;
};

bool is_field(CoreKind kind) { return kind <= CoreKind::field_rshift_u64; }
bool is_enumerator(CoreKind kind) { return kind == CoreKind::enumval_exists || kind == CoreKind::enumval_value; }

Result<std::vector<u32>> numbers_of(std::string_view access) {
  std::vector<u32> out;
  const char* at = access.data();
  const char* end = at + access.size();
  while (out.size() < longest_path) {
    u32 number = 0;
    const auto [rest, error] = std::from_chars(at, end, number);
    if (error != std::errc{}) break;
    out.push_back(number);
    if (rest == end) return out;
    if (*rest != ':') break;
    at = rest + 1;
  }
  return fail(Code::malformed,
              fmt::format("access \"{}\": expected up to {} numbers with ':' between them", access, longest_path));
}

Result<void> advance(Path& path, u64 count, u32 element_id) {
  const u64 size = SKEP_TRY(path.btf->size_of(element_id));
  // Bit offsets of real types fit 32 bits.
  if (size > 0x1fffffff || count * size > 0x1fffffff || path.bit_offset > 0xffffffffULL)
    return fail(Code::malformed, fmt::format("element {} of {} bytes lies beyond any type", count, size));
  path.bit_offset += count * size * 8;
  return {};
}

/// `int data[]` at the end of a struct: any index is inside it.
bool is_flexible(const Path& path, const Btf::Array& array) {
  if (array.count > 0 || path.steps.empty() || path.steps.back().name.empty()) return false;
  const auto& member = path.steps.back();
  return member.index + 1 == path.btf->type(member.type_id).vlen;
}

/// Follows the numbers through the program's own type.
Result<Path> local_path(const Btf& btf, const CoreRelocation& relocation, CoreKind kind) {
  const auto numbers = SKEP_TRY(numbers_of(relocation.access));
  Path path{&btf, relocation.type_id, 0, {}};
  if (!is_field(kind) && !is_enumerator(kind)) {
    if (relocation.access != "0")
      return fail(Code::malformed, "a relocation about a whole type needs the access \"0\"");
    return path;
  }
  u32 id = btf.resolve(relocation.type_id);
  if (is_enumerator(kind)) {
    const auto type = btf.type(id);
    if (!is_enumeration(type.kind) || numbers.size() != 1 || numbers[0] >= type.vlen)
      return fail(Code::malformed,
                  fmt::format("enumerator {} of {} '{}'", relocation.access, name_of(type.kind), type.name));
    path.steps.push_back({id, numbers[0], btf.enumerators(type)[numbers[0]].name});
    return path;
  }
  path.steps.push_back({id, numbers[0], {}});
  SKEP_TRY(advance(path, numbers[0], id));
  for (std::size_t i = 1; i < numbers.size(); i++) {
    id = btf.resolve(id);
    const auto type = btf.type(id);
    if (is_composite(type.kind) && numbers[i] < type.vlen) {
      const auto member = btf.member(type, numbers[i]);
      path.bit_offset += member.bit_offset;
      if (!member.name.empty()) path.steps.push_back({id, numbers[i], member.name});
      id = member.type_id;
    } else if (const auto array = btf.array(type);
               type.kind == Kind::array && (numbers[i] < array.count || is_flexible(path, array))) {
      id = btf.resolve(array.element_id);
      path.steps.push_back({id, numbers[i], {}});
      SKEP_TRY(advance(path, numbers[i], id));
    } else {
      return fail(Code::malformed,
                  fmt::format("step {} does not exist in {} '{}'", numbers[i], name_of(type.kind), type.name));
    }
  }
  return path;
}

/// Looks for the member of `step` in composite `target_id` of the target, through anonymous members.
/// On success extends `path`, and sets `target_id` to the member's type.
Result<bool> match_member(const Path& local, const Accessor& step, Path& path, u32& target_id, Budget& budget,
                          u32 depth) {
  const Btf& btf = *path.btf;
  const u32 id = btf.resolve(target_id);
  const auto type = btf.type(id);
  if (!is_composite(type.kind)) return false;
  if (depth > longest_path) return fail(Code::limit, "anonymous members nest too deeply");
  const auto wanted = local.btf->member(local.btf->type(step.type_id), step.index);
  for (u32 i = 0; i < type.vlen; i++) {
    if (budget.spent()) return fail(Code::limit, "too many members to search");
    const auto member = btf.member(type, i);
    if (!member.name.empty() && member.name != step.name) continue;
    path.bit_offset += member.bit_offset;
    if (member.name.empty()) {
      u32 inner = member.type_id;
      if (SKEP_TRY(match_member(local, step, path, inner, budget, depth + 1))) {
        target_id = inner;
        return true;
      }
    } else {
      if (!SKEP_TRY(core::fields_are_compatible({*local.btf, wanted.type_id}, {btf, member.type_id}))) return false;
      path.steps.push_back({id, i, member.name});
      target_id = member.type_id;
      return true;
    }
    path.bit_offset -= member.bit_offset;
  }
  return false;
}

Result<std::optional<Path>> match_enumerator(const Path& local, const Btf& target, u32 candidate, Budget& budget) {
  const auto type = target.type(target.resolve(candidate));
  if (!is_enumeration(type.kind)) return std::nullopt;
  budget.spent(type.vlen);
  const auto wanted = essential_name(local.steps[0].name);
  const auto values = target.enumerators(type);
  for (u32 i = 0; i < values.size(); i++)
    if (essential_name(values[i].name) == wanted) return Path{&target, candidate, 0, {{type.id, i, values[i].name}}};
  return std::nullopt;
}

/// The same path through a candidate, or nullopt where it has none.
Result<std::optional<Path>> match(const Path& local, CoreKind kind, const Btf& target, u32 candidate, Budget& budget) {
  if (is_enumerator(kind)) return match_enumerator(local, target, candidate, budget);
  if (!is_field(kind)) {
    const core::TypeRef ours{*local.btf, local.root};
    const core::TypeRef theirs{target, candidate};
    const bool same = kind == CoreKind::type_matches ? SKEP_TRY(core::types_match(ours, theirs, false, budget))
                                                     : SKEP_TRY(core::types_are_compatible(ours, theirs, budget));
    return same ? std::optional(Path{&target, candidate, 0, {}}) : std::nullopt;
  }
  Path path{&target, candidate, 0, {}};
  u32 id = candidate;
  for (std::size_t i = 0; i < local.steps.size(); i++) {
    const auto& step = local.steps[i];
    id = target.resolve(id);
    if (!step.name.empty()) {
      if (!SKEP_TRY(match_member(local, step, path, id, budget, 0))) return std::nullopt;
      continue;
    }
    if (i > 0) {
      const auto type = target.type(id);
      const auto array = target.array(type);
      if (type.kind != Kind::array || (step.index >= array.count && !is_flexible(path, array))) return std::nullopt;
      id = target.resolve(array.element_id);
    }
    path.steps.push_back({id, step.index, {}});
    SKEP_TRY(advance(path, step.index, id));
  }
  return path;
}

/// What a path says of its field: the number, and for byte offsets the width of a plain access.
struct FieldFacts {
  u64 value = 0;
  u32 size = 0;
  u32 type_id = 0;
  bool validate = true;
};

Result<FieldFacts> element_facts(const Path& path, CoreKind kind) {
  const u64 size = SKEP_TRY(path.btf->size_of(path.steps.back().type_id));
  if (kind == CoreKind::field_byte_size) return FieldFacts{.value = size};
  if (kind == CoreKind::field_byte_offset)
    return FieldFacts{
        .value = path.bit_offset / 8, .size = static_cast<u32>(size), .type_id = path.steps.back().type_id};
  return fail(Code::malformed, "only the offset and the size of an array element can be asked for");
}

/// The smallest aligned integer that holds a bit-field.
Result<std::pair<u64, u64>> bit_field_storage(u64 bit_offset, u64 bit_size, u64 bytes) {
  if (bytes == 0 || bytes > 8) return fail(Code::malformed, fmt::format("a bit-field in a type of {} bytes", bytes));
  for (;; bytes *= 2) {
    const u64 offset = bit_offset / 8 / bytes * bytes;
    if (bit_offset + bit_size - offset * 8 <= bytes * 8) return std::pair(offset, bytes);
    if (bytes >= 8) return fail(Code::unsupported, "a bit-field that no 64-bit load covers");
  }
}

Result<FieldFacts> field_facts(const Path& path, CoreKind kind) {
  if (path.steps.back().name.empty()) return element_facts(path, kind);
  const Btf& btf = *path.btf;
  const auto member = btf.member(btf.type(path.steps.back().type_id), path.steps.back().index);
  const u32 field_id = btf.resolve(member.type_id);
  const auto field = btf.type(field_id);
  const bool is_bits = member.bit_size != 0;
  u64 byte_offset = path.bit_offset / 8;
  u64 byte_size = 0;
  if (is_bits)
    std::tie(byte_offset, byte_size) = SKEP_TRY(bit_field_storage(path.bit_offset, member.bit_size, field.size()));
  else
    byte_size = SKEP_TRY(btf.size_of(field_id));
  const u64 bit_size = is_bits ? member.bit_size : byte_size * 8;
  FieldFacts out{.validate = !is_bits};
  switch (kind) {
    case CoreKind::field_byte_offset:
      out.value = byte_offset;
      if (is_bits) break;
      // A load of an array reads one element of it.
      out.type_id = field_id;
      while (btf.type(out.type_id).kind == Kind::array)
        out.type_id = btf.resolve(btf.array(btf.type(out.type_id)).element_id);
      out.size = static_cast<u32>(SKEP_TRY(btf.size_of(out.type_id)));
      break;
    case CoreKind::field_byte_size:
      out.value = byte_size;
      break;
    case CoreKind::field_signed:
      out.value = is_enumeration(field.kind) ? field.kind_flag : btf.int_encoding(field).is_signed;
      out.validate = true;
      break;
    case CoreKind::field_lshift_u64:
      out.value = 64 - (path.bit_offset + bit_size - byte_offset * 8);
      break;
    case CoreKind::field_rshift_u64:
      out.value = 64 - bit_size;
      out.validate = true;
      break;
    default:
      break;
  }
  return out;
}

/// Pointers are 8 bytes to a program, whatever they are elsewhere; unsigned integers may be read wider or narrower.
bool may_resize(const Btf& local, u32 ours_id, const Btf& target, u32 theirs_id) {
  const auto ours = local.type(ours_id);
  const auto theirs = target.type(theirs_id);
  if (ours.kind == Kind::ptr && theirs.kind == Kind::ptr) return true;
  return ours.kind == Kind::int_ && theirs.kind == Kind::int_ && !local.int_encoding(ours).is_signed &&
         !target.int_encoding(theirs).is_signed;
}

Result<CoreValue> field_value(const Path& local, const Path* target, CoreKind kind) {
  if (kind == CoreKind::field_exists)
    return CoreValue{.value = target != nullptr, .original = 1, .found = target != nullptr};
  const auto ours = SKEP_TRY(field_facts(local, kind));
  CoreValue out{
      .original = ours.value, .found = target != nullptr, .validate = ours.validate, .original_size = ours.size};
  if (target == nullptr) {
    out.poison = true;
    return out;
  }
  const auto theirs = SKEP_TRY(field_facts(*target, kind));
  out.value = theirs.value;
  out.size = theirs.size;
  if (out.size != out.original_size) out.resizable = may_resize(*local.btf, ours.type_id, *target->btf, theirs.type_id);
  return out;
}

u64 enumerator_value(const Path& path) {
  const auto type = path.btf->type(path.steps[0].type_id);
  return static_cast<u64>(path.btf->enumerators(type)[path.steps[0].index].value);
}

Result<CoreValue> value_of(const Path& local, const Path* target, CoreKind kind) {
  if (is_field(kind)) return field_value(local, target, kind);
  CoreValue out{.found = target != nullptr};
  switch (kind) {
    case CoreKind::type_id_target:
      out.original = local.root;
      out.value = target != nullptr ? target->root : 0;
      out.validate = false;  // linkers renumber types
      break;
    case CoreKind::type_exists:
    case CoreKind::type_matches:
    case CoreKind::enumval_exists:
      out.original = 1;
      out.value = target != nullptr;
      break;
    case CoreKind::type_size:
      out.original = SKEP_TRY(local.btf->size_of(local.root));
      if (target != nullptr) out.value = SKEP_TRY(target->btf->size_of(target->root));
      break;
    case CoreKind::enumval_value:
      out.original = enumerator_value(local);
      out.poison = target == nullptr;
      if (target != nullptr) out.value = enumerator_value(*target);
      break;
    default:
      break;
  }
  return out;
}

/// The program's own path, of a record that makes sense.
Result<Path> checked_path(const Btf& local, const CoreRelocation& relocation) {
  if (relocation.kind > static_cast<u32>(CoreKind::type_matches))
    return fail(Code::unsupported, fmt::format("CO-RE relocation kind {}; known are 0 to 12", relocation.kind));
  if (relocation.type_id == 0 || relocation.type_id >= local.type_count())
    return fail(Code::malformed,
                fmt::format("CO-RE relocation of type {}, but there are {}", relocation.type_id, local.type_count()));
  const auto kind = static_cast<CoreKind>(relocation.kind);
  auto path = SKEP_TRY_AT(describe(local, relocation), local_path(local, relocation, kind));
  if (kind != CoreKind::type_id_local && local.type(relocation.type_id).name.empty())
    return fail(Code::unsupported,
                fmt::format("{}: an anonymous type cannot be searched for", describe(local, relocation)));
  return path;
}

Result<void> charge(CoreBudget* budget, u64 steps) {
  if (budget == nullptr) return {};
  budget->left -= std::min(budget->left, steps);
  if (budget->left != 0) return {};
  return fail(Code::limit, fmt::format("the relocations of this object, up to this one, look at more than {} types and "
                                       "members, where compiled programs look at some thousands",
                                       CoreBudget::most));
}

/// The same path through every candidate that has it.
Result<std::vector<Path>> matches(const Btf& local, const CoreRelocation& relocation, const Path& path,
                                  const Btf& target, CoreBudget* total) {
  std::vector<Path> out;
  const auto root = local.type(relocation.type_id);
  const auto candidates = target.candidates(essential_name(root.name));
  // The own path was walked, and an enumeration listed for one of its values.
  const u64 own = path.steps.size() * longest_chain + local.type(local.resolve(relocation.type_id)).vlen;
  SKEP_TRY(charge(total, own + candidates.size()));
  for (const u32 candidate : candidates) {
    if (!core::same_kind(target.type(candidate).kind, root.kind)) continue;
    Budget budget;
    const u64 before = budget.steps;
    auto found = SKEP_TRY_AT(describe(local, relocation),
                             match(path, static_cast<CoreKind>(relocation.kind), target, candidate, budget));
    SKEP_TRY(charge(total, before - budget.steps));
    if (found) out.push_back(*std::move(found));
  }
  return out;
}

}  // namespace

Result<CoreValue> resolve(const Btf& local, const CoreRelocation& relocation, const Btf& target, CoreBudget* budget) {
  const auto path = SKEP_TRY(checked_path(local, relocation));
  const auto kind = static_cast<CoreKind>(relocation.kind);
  if (kind == CoreKind::type_id_local)
    return CoreValue{.value = relocation.type_id, .original = relocation.type_id, .found = true, .validate = false};
  std::optional<CoreValue> answer;
  std::optional<u64> first_offset;
  for (const auto& found : SKEP_TRY(matches(local, relocation, path, target, budget))) {
    const auto value = SKEP_TRY_AT(describe(local, relocation), value_of(path, &found, kind));
    if (answer && (value.value != answer->value || value.poison != answer->poison || found.bit_offset != *first_offset))
      return fail(Code::rejected,
                  fmt::format("{}: the target has several types of that name, and they disagree ({} and {})",
                              describe(local, relocation), answer->value, value.value));
    answer = value;
    first_offset = found.bit_offset;
  }
  if (answer) return *answer;
  return SKEP_TRY_AT(describe(local, relocation), value_of(path, nullptr, kind));
}

Result<std::vector<CorePlace>> find_places(const Btf& local, const CoreRelocation& relocation, const Btf& target,
                                           CoreBudget* budget) {
  const auto path = SKEP_TRY(checked_path(local, relocation));
  std::vector<CorePlace> out;
  if (static_cast<CoreKind>(relocation.kind) == CoreKind::type_id_local) return out;
  for (const auto& found : SKEP_TRY(matches(local, relocation, path, target, budget))) {
    out.push_back({found.root, {}});
    for (const auto& step : found.steps) out.back().steps.push_back({step.type_id, step.index, !step.name.empty()});
  }
  return out;
}

std::string describe(const Btf& local, const CoreRelocation& relocation) {
  if (relocation.type_id >= local.type_count()) return fmt::format("type {}", relocation.type_id);
  const auto root = local.type(relocation.type_id);
  std::string_view word = root.kind == Kind::struct_  ? "struct "
                          : root.kind == Kind::union_ ? "union "
                          : is_enumeration(root.kind) ? "enum "
                                                      : "";
  std::string out = fmt::format("{}{}", word, root.name.empty() ? "(anonymous)" : root.name);
  const auto kind = static_cast<CoreKind>(std::min(relocation.kind, 12U));
  if (is_field(kind) || is_enumerator(kind)) {
    if (const auto path = local_path(local, relocation, kind)) {
      for (std::size_t i = 0; i < path->steps.size(); i++) {
        const auto& step = path->steps[i];
        if (!step.name.empty())
          out += fmt::format(".{}", step.name);
        else if (i > 0 || step.index > 0)
          out += fmt::format("[{}]", step.index);
      }
    }
  }
  return fmt::format("{} ({})", out, relocation.access.substr(0, 200));
}

}  // namespace skep::btf
