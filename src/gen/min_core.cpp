// Marking and writing: a set of kept types with their kept members, closed over what those need, then copied in order.
#include "gen/min_core.hpp"

#include <fmt/format.h>

#include <cstring>
#include <map>
#include <set>
#include <tuple>

#include "btf/core.hpp"
#include "gen/type_merge.hpp"

namespace skep::gen {
namespace {

using btf::CoreKind;
using btf::Kind;

constexpr u32 deepest = 64;

class Keeper {
 public:
  explicit Keeper(const btf::Btf& full) : full_(full) {}

  void keep_place(const btf::CorePlace& place) {
    keep(place.root);
    u32 record = full_.resolve(place.root);
    for (const auto& step : place.steps) {
      if (!step.is_member) continue;
      keep_way(record, step.type_id, 0);
      kept_[step.type_id].insert(step.index);
      const auto t = full_.type(step.type_id);
      if (!btf::is_composite(t.kind)) continue;
      record = element(full_.member(t, step.index).type_id);
    }
  }

  /// All that type_matches compares: the members the local type has, by name, and the names behind pointers.
  void keep_match(const btf::Btf& local, u32 local_id, u32 id, bool behind_pointer, u32 depth) {
    local_id = local.resolve(local_id);
    id = full_.resolve(id);
    keep(id);
    if (depth > deepest || !matched_.insert({local_id, id, behind_pointer}).second) return;
    const auto a = local.type(local_id), b = full_.type(id);
    switch (b.kind) {
      case Kind::ptr:
        pointers_.insert(id);
        keep_match(local, a.kind == Kind::ptr ? a.type_id() : 0, b.type_id(), true, depth + 1);
        break;
      case Kind::array:
        keep_match(local, a.kind == Kind::array ? local.array(a).element_id : 0, full_.array(b).element_id,
                   behind_pointer, depth + 1);
        break;
      case Kind::struct_:
      case Kind::union_:
        keep_members(local, a, b, behind_pointer, depth);
        break;
      case Kind::enum_:
      case Kind::enum64:
        for (u32 i = 0; i < b.vlen; i++) kept_[id].insert(i);
        break;
      case Kind::func_proto:
        protos_.insert(id);
        keep_proto(local, a, b, depth);
        break;
      default:
        break;
    }
  }

  std::vector<std::byte> write(u32& count) {
    close();
    BtfBytes out;
    u32 next = out.next_id();
    for (const auto& [id, members] : kept_) ids_[id] = next++;
    for (const auto& [id, members] : kept_) write_type(out, full_.type(id), members);
    count = next - 1;
    return out.finish();
  }

 private:
  void keep(u32 id) {
    if (id != 0) kept_.try_emplace(id);
  }
  /// The record at the end of arrays.
  u32 element(u32 id) const {
    id = full_.resolve(id);
    while (full_.type(id).kind == Kind::array) id = full_.resolve(full_.array(full_.type(id)).element_id);
    return id;
  }
  /// The unnamed members that lead from `from` to record `to`.
  bool keep_way(u32 from, u32 to, u32 depth) {
    if (from == to) return true;
    const auto t = full_.type(from);
    if (!btf::is_composite(t.kind) || depth > deepest) return false;
    for (u32 i = 0; i < t.vlen; i++) {
      const auto member = full_.member(t, i);
      if (!member.name.empty() || !keep_way(full_.resolve(member.type_id), to, depth + 1)) continue;
      kept_[from].insert(i);
      return true;
    }
    return false;
  }
  void keep_members(const btf::Btf& local, const btf::Type& a, const btf::Type& b, bool behind_pointer, u32 depth) {
    if (behind_pointer || !btf::is_composite(a.kind)) return;
    for (const auto& ours : local.members(a))
      for (u32 i = 0; i < b.vlen; i++) {
        const auto theirs = full_.member(b, i);
        if (btf::essential_name(ours.name) != btf::essential_name(theirs.name)) continue;
        kept_[b.id].insert(i);
        keep_match(local, ours.type_id, theirs.type_id, false, depth + 1);
      }
  }
  void keep_proto(const btf::Btf& local, const btf::Type& a, const btf::Type& b, u32 depth) {
    const bool comparable = a.kind == Kind::func_proto;
    const auto ours = comparable ? local.params(a) : std::vector<btf::Param>();
    const auto theirs = full_.params(b);
    keep_match(local, comparable ? a.type_id() : 0, b.type_id(), true, depth + 1);
    for (u32 i = 0; i < theirs.size(); i++)
      keep_match(local, i < ours.size() ? ours[i].type_id : 0, theirs[i].type_id, false, depth + 1);
  }

  /// Until every kept type's own needs are kept.
  void close() {
    std::vector<u32> work;
    for (const auto& [id, members] : kept_) work.push_back(id);
    const auto need = [&](u32 id) {
      id = full_.resolve(id);
      if (id != 0 && kept_.try_emplace(id).second) work.push_back(id);
    };
    while (!work.empty()) {
      const auto t = full_.type(work.back());
      work.pop_back();
      if (btf::is_modifier(t.kind)) need(t.id);
      if (t.kind == Kind::ptr && pointers_.contains(t.id)) need(t.type_id());
      if (t.kind == Kind::array) {
        need(full_.array(t).element_id);
        need(full_.array(t).index_id);
      }
      if (btf::is_composite(t.kind))
        for (const u32 index : kept_[t.id]) need(full_.member(t, index).type_id);
      if (t.kind == Kind::func_proto) {
        need(t.type_id());
        for (const auto& param : full_.params(t)) need(param.type_id);
      }
    }
  }

  u32 id_of(u32 id) const {
    const auto found = ids_.find(full_.resolve(id));
    return found == ids_.end() ? 0 : found->second;
  }

  void write_type(BtfBytes& out, const btf::Type& t, const std::set<u32>& members) {
    const auto word = [&](u32 index) {
      u32 value;
      std::memcpy(&value, t.extra + std::size_t{4} * index, sizeof value);
      return value;
    };
    const bool by_member = btf::is_composite(t.kind) || btf::is_enumeration(t.kind);
    const u32 count = by_member ? static_cast<u32>(members.size()) : t.kind == Kind::func_proto ? t.vlen : 0;
    u32 third = t.size_or_type;
    if (btf::is_modifier(t.kind) || t.kind == Kind::func_proto || t.kind == Kind::ptr)
      third = id_of(t.kind == Kind::ptr && !pointers_.contains(t.id) ? 0 : t.type_id());
    // A modifier other than typedef is never kept: what they qualify is.
    out.begin(t.name, count | static_cast<u32>(t.kind) << 24 | (t.kind_flag ? 1U << 31 : 0), third);
    if (t.kind == Kind::int_) out.put(word(0));
    if (t.kind == Kind::array)
      for (const u32 value : {id_of(full_.array(t).element_id), id_of(full_.array(t).index_id), full_.array(t).count})
        out.put(value);
    if (t.kind == Kind::func_proto)
      for (const auto& param : full_.params(t))
        for (const u32 value : {out.string(param.name), id_of(param.type_id)}) out.put(value);
    if (!by_member) return;
    const auto values = btf::is_enumeration(t.kind) ? full_.enumerators(t) : std::vector<btf::Enumerator>();
    for (const u32 index : members) {
      if (btf::is_composite(t.kind)) {
        const auto member = full_.member(t, index);
        for (const u32 value : {out.string(member.name), id_of(member.type_id), word(3 * index + 2)}) out.put(value);
        continue;
      }
      const u32 words = t.kind == Kind::enum_ ? 2 : 3;
      out.put(out.string(values[index].name));
      for (u32 i = 1; i < words; i++) out.put(word(words * index + i));
    }
  }

  const btf::Btf& full_;
  std::map<u32, std::set<u32>> kept_;  ///< by id: which members or enumerators
  std::set<u32> pointers_, protos_;    ///< of which the other end is kept
  std::set<std::tuple<u32, u32, bool>> matched_;
  std::map<u32, u32> ids_;
};

/// The different relocations of an object.
std::vector<CoreRelocation> relocations_of(const ObjectSpec& object) {
  std::set<std::tuple<u32, std::string_view, u32>> seen;
  std::vector<CoreRelocation> out;
  for (const auto& program : object.programs)
    for (const auto& relocation : program.relocations)
      if (seen.insert({relocation.type_id, relocation.access, relocation.kind}).second) out.push_back(relocation);
  return out;
}

bool same_answer(const Result<btf::CoreValue>& a, const Result<btf::CoreValue>& b) {
  if (!a || !b) return !a && !b && a.error().code == b.error().code;
  return a->value == b->value && a->original == b->original && a->found == b->found && a->poison == b->poison &&
         a->size == b->size && a->original_size == b->original_size && a->resizable == b->resizable;
}

}  // namespace

Result<SmallTypes> min_core_btf(const btf::Btf& full, std::span<const ObjectSpec> objects) {
  Keeper keeper(full);
  btf::CoreBudget budget;
  for (const auto& object : objects) {
    for (const auto& relocation : relocations_of(object)) {
      const auto kind = static_cast<CoreKind>(relocation.kind);
      for (const auto& place : SKEP_TRY_AT(object.name, btf::find_places(*object.btf, relocation, full, &budget))) {
        keeper.keep_place(place);
        if (kind == CoreKind::type_exists || kind == CoreKind::type_matches || kind == CoreKind::type_size)
          keeper.keep_match(*object.btf, relocation.type_id, place.root, kind != CoreKind::type_matches, 0);
      }
    }
  }
  SmallTypes out;
  out.bytes = keeper.write(out.types);
  const auto small = SKEP_TRY_AT("the small types", btf::Btf::parse(out.bytes));
  btf::CoreBudget compared;
  for (const auto& object : objects) {
    for (const auto& relocation : relocations_of(object)) {
      out.relocations++;
      const auto what = fmt::format("{}: {}", object.name, btf::describe(*object.btf, relocation));
      if (static_cast<CoreKind>(relocation.kind) == CoreKind::type_id_target) {
        out.notes.push_back(what + ": asks for a type id of the running kernel, which small types do not have");
        continue;
      }
      if (!same_answer(btf::resolve(*object.btf, relocation, full, &compared),
                       btf::resolve(*object.btf, relocation, *small, &compared)))
        return fail(Code::unsupported, what + ": the small types would answer otherwise than the full ones");
    }
  }
  return out;
}

}  // namespace skep::gen
