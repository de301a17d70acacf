// Refinement keeps one number for each class and gives new ones by exact comparison, so no hash can merge what differs.
#include "gen/type_merge.hpp"

#include <fmt/format.h>

#include <cstring>
#include <map>
#include <set>

namespace skep::gen {
namespace {

using btf::Kind;

/// Rounds of refinement; real types need about ten. More would only happen to crafted chains, which stay unmerged.
constexpr u32 most_rounds = 200;

bool refers(Kind kind) {
  switch (kind) {
    case Kind::ptr:
    case Kind::typedef_:
    case Kind::volatile_:
    case Kind::const_:
    case Kind::restrict_:
    case Kind::func:
    case Kind::func_proto:
    case Kind::var:
    case Kind::decl_tag:
    case Kind::type_tag:
      return true;
    default:
      return false;
  }
}

u32 word_at(const u8* from, u32 index) {
  u32 out;
  std::memcpy(&out, from + std::size_t{4} * index, sizeof out);
  return out;
}

u32 info_of(const btf::Btf& types, const btf::Type& t) {
  const u32 low = t.kind == Kind::func ? types.linkage(t) : t.vlen;
  return low | static_cast<u32>(t.kind) << 24 | (t.kind_flag ? 1U << 31 : 0);
}

class Comparison {
 public:
  Comparison(const btf::Btf& a, const btf::Btf& b) : a_(a), b_(b) {}

  bool same(u32 a_id, u32 b_id, u32 depth) {
    a_id = a_.resolve(a_id);
    b_id = b_.resolve(b_id);
    if (a_id == 0 || b_id == 0) return a_id == b_id;
    if (depth > 200 || !seen_.insert(u64{a_id} << 32 | b_id).second) return true;  // a cycle: assumed equal
    const auto a = a_.type(a_id), b = b_.type(b_id);
    if (a.kind == Kind::fwd || b.kind == Kind::fwd)
      return a.name == b.name && (a.kind == b.kind || btf::is_composite(a.kind) || btf::is_composite(b.kind));
    if (a.kind != b.kind) return false;
    switch (a.kind) {
      case Kind::int_:
        return a.size() == b.size() && word_at(a.extra, 0) == word_at(b.extra, 0);
      case Kind::float_:
        return a.size() == b.size();
      case Kind::ptr:
      case Kind::func:
      case Kind::var:
        return same(a.type_id(), b.type_id(), depth + 1);
      case Kind::array: {
        const auto x = a_.array(a), y = b_.array(b);
        return (x.count == y.count || x.count == 0 || y.count == 0) && same(x.element_id, y.element_id, depth + 1);
      }
      case Kind::struct_:
      case Kind::union_:
        return same_records(a, b, depth);
      case Kind::enum_:
      case Kind::enum64:
        return a.size() == b.size() && a.name == b.name;
      case Kind::func_proto: {
        const auto x = a_.params(a), y = b_.params(b);
        if (x.size() != y.size() || !same(a.type_id(), b.type_id(), depth + 1)) return false;
        for (std::size_t i = 0; i < x.size(); i++)
          if (!same(x[i].type_id, y[i].type_id, depth + 1)) return false;
        return true;
      }
      default:
        return a.name == b.name;
    }
  }

 private:
  bool same_records(const btf::Type& a, const btf::Type& b, u32 depth) {
    if (a.name != b.name || a.size() != b.size() || a.vlen != b.vlen) return false;
    for (u32 i = 0; i < a.vlen; i++) {
      const auto x = a_.member(a, i), y = b_.member(b, i);
      if (x.name != y.name || x.bit_offset != y.bit_offset || x.bit_size != y.bit_size ||
          !same(x.type_id, y.type_id, depth + 1))
        return false;
    }
    return true;
  }

  const btf::Btf &a_, &b_;
  std::set<u64> seen_;
};

}  // namespace

bool same_type(const btf::Btf& a, u32 a_id, const btf::Btf& b, u32 b_id) {
  return Comparison(a, b).same(a_id, b_id, 0);
}

u32 BtfBytes::string(std::string_view text) {
  if (text.empty()) return 0;
  const auto [entry, added] = known_.try_emplace(std::string(text), static_cast<u32>(strings_.size()));
  if (added) strings_.append(text).push_back('\0');
  return entry->second;
}

u32 BtfBytes::begin(std::string_view name, u32 info, u32 size_or_type) {
  put(string(name));
  put(info);
  put(size_or_type);
  return next_id_++;
}

void BtfBytes::put(u32 word) { types_.push_back(word); }

std::vector<std::byte> BtfBytes::finish() const {
  const u32 type_bytes = static_cast<u32>(types_.size() * 4);
  const u32 header[] = {0x0001eb9f, 24, 0, type_bytes, type_bytes, static_cast<u32>(strings_.size())};
  std::vector<std::byte> out;
  for (const std::span<const std::byte> part : {std::span<const std::byte>(std::as_bytes(std::span(header))),
                                                std::as_bytes(std::span(types_)), std::as_bytes(std::span(strings_))})
    out.insert(out.end(), part.begin(), part.end());
  return out;
}

TypeMerge::TypeMerge(std::span<const TypesOf> inputs) : inputs_(inputs.begin(), inputs.end()) {
  all_.push_back({});
  for (u32 i = 0; i < inputs_.size(); i++) {
    first_.push_back(static_cast<u32>(all_.size()) - 1);
    for (u32 id = 1; inputs_[i] && id < inputs_[i]->type_count(); id++) all_.push_back({i, id});
  }
}

TypeRef TypeMerge::final_of(TypeRef ref) const {
  for (u32 steps = 0; steps < 8; steps++) {
    const auto found = redirected_.find(key(ref));
    if (found == redirected_.end()) break;
    ref = found->second;
  }
  return ref;
}

/// A forward declaration becomes the record of that name where there is one, or several of the same size and members.
void TypeMerge::resolve_forwards() {
  std::map<std::pair<std::string_view, bool>, std::pair<TypeRef, bool>> records;  // -> first, whether all agree
  for (std::size_t i = 1; i < all_.size(); i++) {
    const auto t = inputs_[all_[i].input]->type(all_[i].id);
    if (!btf::is_composite(t.kind) || t.name.empty()) continue;
    const auto [entry, added] = records.try_emplace({t.name, t.kind == Kind::union_}, all_[i], true);
    if (!added) entry->second.second &= content(all_[i]) == content(entry->second.first);
  }
  for (std::size_t i = 1; i < all_.size(); i++) {
    const auto t = inputs_[all_[i].input]->type(all_[i].id);
    if (t.kind != Kind::fwd) continue;
    const auto found = records.find({t.name, t.kind_flag});
    if (found != records.end() && found->second.second) redirect(all_[i], found->second.first);
  }
}

std::vector<u32> TypeMerge::references(TypeRef ref) const {
  const auto& types = *inputs_[ref.input];
  const auto t = types.type(ref.id);
  std::vector<u32> out;
  const auto add = [&](u32 id) { out.push_back(id == 0 ? 0 : flat(final_of({ref.input, id}))); };
  if (refers(t.kind)) add(t.type_id());
  if (t.kind == Kind::array) {
    add(types.array(t).element_id);
    add(types.array(t).index_id);
  }
  if (btf::is_composite(t.kind))
    for (u32 i = 0; i < t.vlen; i++) add(types.member(t, i).type_id);
  if (t.kind == Kind::func_proto)
    for (const auto& param : types.params(t)) add(param.type_id);
  return out;
}

/// Everything a type says itself, without what it refers to.
std::string TypeMerge::content(TypeRef ref) const {
  const auto& types = *inputs_[ref.input];
  const auto t = types.type(ref.id);
  std::string out = fmt::format("{} {} {} ", t.name, info_of(types, t), refers(t.kind) ? 0 : t.size());
  switch (t.kind) {
    case Kind::int_:
    case Kind::decl_tag:
      out += fmt::format("{}", word_at(t.extra, 0));
      break;
    case Kind::array:
      out += fmt::format("{}", types.array(t).count);
      break;
    case Kind::struct_:
    case Kind::union_:
      for (const auto& m : types.members(t)) out += fmt::format("{} {} {};", m.name, m.bit_offset, m.bit_size);
      break;
    case Kind::enum_:
    case Kind::enum64:
      for (const auto& e : types.enumerators(t)) out += fmt::format("{} {};", e.name, e.value);
      break;
    case Kind::func_proto:
      for (const auto& p : types.params(t)) out += fmt::format("{};", p.name);
      break;
    case Kind::var:
    case Kind::datasec:
      out += fmt::format("{} {}", ref.input, ref.id);  // equal to nothing else
      break;
    default:
      break;
  }
  return out;
}

void TypeMerge::refine() {
  class_.assign(all_.size(), 0);
  std::map<std::string, u32> contents;
  for (std::size_t i = 1; i < all_.size(); i++)
    class_[i] = contents.try_emplace(content(all_[i]), static_cast<u32>(contents.size()) + 1).first->second;
  std::vector<std::vector<u32>> refs(all_.size());
  for (std::size_t i = 1; i < all_.size(); i++) refs[i] = references(all_[i]);
  std::size_t count = contents.size();
  for (u32 round = 0; round < most_rounds; round++) {
    std::map<std::vector<u32>, u32> finer;
    std::vector<u32> next(all_.size());
    for (std::size_t i = 1; i < all_.size(); i++) {
      std::vector<u32> signature{class_[i]};
      for (const u32 ref : refs[i]) signature.push_back(class_[ref]);
      next[i] = finer.try_emplace(std::move(signature), static_cast<u32>(finer.size()) + 1).first->second;
    }
    class_ = std::move(next);
    if (finer.size() == count) return;
    count = finer.size();
  }
  for (std::size_t i = 1; i < all_.size(); i++) class_[i] = static_cast<u32>(i);
}

u32 TypeMerge::id_of(TypeRef ref) const {
  if (ref.id == 0) return 0;
  return ids_[class_[flat(final_of(ref))]];
}

void TypeMerge::write_type(BtfBytes& out, TypeRef ref) {
  const auto& types = *inputs_[ref.input];
  const auto t = types.type(ref.id);
  const auto mapped = [&](u32 id) { return id_of({ref.input, id}); };
  out.begin(t.name, info_of(types, t), refers(t.kind) ? mapped(t.type_id()) : t.size_or_type);
  switch (t.kind) {
    case Kind::int_:
    case Kind::var:
    case Kind::decl_tag:
      out.put(word_at(t.extra, 0));
      break;
    case Kind::array:
      for (const u32 word : {mapped(types.array(t).element_id), mapped(types.array(t).index_id), types.array(t).count})
        out.put(word);
      break;
    case Kind::struct_:
    case Kind::union_:
      for (u32 i = 0; i < t.vlen; i++) {
        const auto member = types.member(t, i);
        for (const u32 word : {out.string(member.name), mapped(member.type_id), word_at(t.extra, 3 * i + 2)})
          out.put(word);
      }
      break;
    case Kind::enum_:
    case Kind::enum64: {
      const auto values = types.enumerators(t);
      const u32 words = t.kind == Kind::enum_ ? 2 : 3;
      for (u32 i = 0; i < values.size(); i++) {
        out.put(out.string(values[i].name));
        for (u32 word = 1; word < words; word++) out.put(word_at(t.extra, words * i + word));
      }
      break;
    }
    case Kind::func_proto:
      for (const auto& param : types.params(t)) {
        out.put(out.string(param.name));
        out.put(mapped(param.type_id));
      }
      break;
    default:
      break;
  }
}

void TypeMerge::write(BtfBytes& out) {
  resolve_forwards();
  refine();
  // Ids first, because types refer forwards; in the order of the inputs.
  ids_.assign(all_.size() + 1, 0);
  std::vector<TypeRef> order;
  u32 next = out.next_id();
  for (std::size_t i = 1; i < all_.size(); i++) {
    if (redirected_.contains(key(all_[i]))) continue;
    if (inputs_[all_[i].input]->type(all_[i].id).kind == Kind::datasec) continue;
    u32& id = ids_[class_[i]];
    if (id != 0) continue;
    id = next++;
    order.push_back(all_[i]);
  }
  for (const auto ref : order) write_type(out, ref);
}

}  // namespace skep::gen
