// A small BTF is built with what is wanted, and printed by btf::dump_c, which puts declarations in order and fills the
// gaps between members. In the small one a pointer's target is a name only, so it has no cycles but for typedefs.
#include "compile/kernel_types.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <unordered_map>

#include "base/mapped_file.hpp"
#include "btf/builder.hpp"
#include "btf/dump_c.hpp"

namespace skep::compile {
namespace {

using btf::Btf;
using btf::Builder;
using btf::Kind;
using btf::Type;

/// Records up to this size are declared whole: they may be a map's value, whose members somebody else reads.
constexpr u32 whole_record_bytes = 128;
constexpr u32 deepest = 64;

/// The interface between kernel and programs: fixed layouts, no relocation.
bool is_user_interface(std::string_view tag) {
  static constexpr std::array<std::string_view, 6> names = {"xdp_md",          "__sk_buff", "sk_msg_md",
                                                            "sk_reuseport_md", "btf_ptr",   "user_pt_regs"};
  return tag.starts_with("bpf_") || std::find(names.begin(), names.end(), tag) != names.end();
}

std::string text_of(std::string_view text) { return std::string(text); }

/// Whether a name can be in the set at all: by its length and first letter, because nearly none of the kernel's is.
class Filter {
 public:
  explicit Filter(const NameSet& names) {
    for (const std::string& name : names) add(name);
  }
  void add(std::string_view name) {
    if (!name.empty()) lengths_[static_cast<u8>(name[0])] |= bit(name);
  }
  bool may_have(std::string_view name) const {
    return !name.empty() && (lengths_[static_cast<u8>(name[0])] & bit(name)) != 0;
  }

 private:
  static u64 bit(std::string_view name) { return u64{1} << std::min<std::size_t>(name.size(), 63); }
  std::array<u64, 256> lengths_{};
};

class Selection {
 public:
  Selection(const Btf& btf, const TypeWishes& wishes) : btf_(btf), wishes_(wishes) {}

  Result<KernelTypes> run() {
    find_roots();
    for (const u32 id : roots_) SKEP_TRY(convert_root(id));
    while (!queue_.empty()) {
      const u32 id = queue_.front();
      queue_.pop_front();
      SKEP_TRY(record(id, 0));
    }
    for (const auto& [alias, target] : unfinished_)
      if (const auto there = records_.find(target); there != records_.end()) small_.set_type(alias, there->second);
    return print();
  }

 private:
  // ---- what the source names ---------------------------------------------------------------------------------------

  bool wanted_word(std::string_view name) const {
    const std::string word = text_of(name);
    return wishes_.words.count(word) != 0 && wishes_.defined.count(word) == 0;
  }

  void find_roots() {
    const Filter tags(wishes_.tags), words(wishes_.words);
    for (u32 id = 1; id < btf_.type_count(); ++id) {
      const Type t = btf_.type(id);
      if (btf::is_enumeration(t.kind)) {
        find_enumerators(t, words);
        if (tags.may_have(t.name)) root_of_tag(t);
      } else if (btf::is_composite(t.kind)) {
        if (tags.may_have(t.name)) root_of_tag(t);
      } else if (t.kind == Kind::typedef_ && words.may_have(t.name) && wanted_word(t.name)) {
        if (out_.found.insert(text_of(t.name)).second) roots_.push_back(id);
      }
    }
    for (const std::string& tag : wishes_.tags)
      if (!is_given(tag) && by_tag_.count(tag) == 0) out_.missing.insert(tag);
  }

  bool is_given(const std::string& tag) const {
    return wishes_.source_tags.count(tag) != 0 || wishes_.known_tags.count(tag) != 0;
  }

  void root_of_tag(const Type& t) {
    const std::string tag = text_of(t.name);
    if (wishes_.tags.count(tag) == 0 || is_given(tag)) return;
    if (by_tag_.emplace(tag, t.id).second) roots_.push_back(t.id);
  }

  /// Short beginnings, such as a macro's `a##b`, would bring half of the kernel.
  bool is_pasted(std::string_view name) const {
    constexpr std::size_t least = 8;
    return std::any_of(wishes_.beginnings.begin(), wishes_.beginnings.end(), [&](const std::string& beginning) {
      return beginning.size() >= least && name.starts_with(beginning) && wishes_.defined.count(text_of(name)) == 0;
    });
  }

  void find_enumerators(const Type& t, const Filter& words) {
    bool any = false;
    for (const btf::Enumerator& e : btf_.enumerators(t)) {
      if ((!words.may_have(e.name) || !wanted_word(e.name)) && !is_pasted(e.name)) continue;
      any |= enumerators_.emplace(text_of(e.name), t.id).second;
    }
    if (any) roots_.push_back(t.id);
  }

  // ---- the small BTF -----------------------------------------------------------------------------------------------

  Result<void> convert_root(u32 id) {
    const Type t = btf_.type(id);
    if (btf::is_composite(t.kind)) {
      SKEP_TRY(record(id, 0));
    } else {
      SKEP_TRY(convert(id, true, 0));
    }
    return {};
  }

  Result<u32> convert(u32 id, bool by_value, u32 depth) {
    if (depth > deepest) return fail(Code::limit, "types of the kernel nested more than 64 deep");
    const Type t = btf_.type(id);
    switch (t.kind) {
      case Kind::void_:
        return 0U;
      case Kind::struct_:
      case Kind::union_:
        if (by_value || t.name.empty()) return record(id, depth);
        return forward(t.name, t.kind == Kind::union_);
      case Kind::fwd:
        return forward(t.name, t.kind_flag);
      case Kind::typedef_:
        return alias(t, depth);
      default:
        break;
    }
    // What has no name of its own may be made twice; the text is the same.
    if (const auto known = plain_.find({id, by_value}); known != plain_.end()) return known->second;
    const u32 made = SKEP_TRY(plain(t, by_value, depth));
    plain_[{id, by_value}] = made;
    return made;
  }

  Result<u32> plain(const Type& t, bool by_value, u32 depth) {
    switch (t.kind) {
      case Kind::int_: {
        const auto e = btf_.int_encoding(t);
        const auto encoding = e.is_bool     ? Builder::Encoding::bool_
                              : e.is_char   ? Builder::Encoding::char_
                              : e.is_signed ? Builder::Encoding::signed_
                                            : Builder::Encoding::unsigned_;
        return small_.add_int(t.name, t.size(), encoding);
      }
      case Kind::float_:
        return small_.add_float(t.name, t.size());
      case Kind::ptr:
        return small_.add_pointer(SKEP_TRY(convert(t.type_id(), false, depth + 1)));
      case Kind::volatile_:
      case Kind::const_:
      case Kind::restrict_:
        return small_.add_modifier(t.kind, {}, SKEP_TRY(convert(t.type_id(), by_value, depth + 1)));
      case Kind::type_tag:  // __rcu, __user: the compiler of today has no such attribute
        return convert(t.type_id(), by_value, depth + 1);
      case Kind::array: {
        const auto a = btf_.array(t);
        const u32 element = SKEP_TRY(convert(a.element_id, true, depth + 1));
        return small_.add_array(element, index_type(), a.count);
      }
      case Kind::enum_:
      case Kind::enum64:
        return enumeration(t);
      case Kind::func_proto: {
        const u32 result = SKEP_TRY(convert(t.type_id(), false, depth + 1));
        std::vector<btf::Param> params = btf_.params(t);
        for (btf::Param& p : params) p = {{}, SKEP_TRY(convert(p.type_id, false, depth + 1))};
        return small_.add_func_proto(result, params);
      }
      default:
        return 0U;
    }
  }

  u32 index_type() {
    if (index_type_ == 0) index_type_ = small_.add_int("unsigned int", 4);
    return index_type_;
  }

  /// The enumerators that the source names, in the enumeration that has them first.
  u32 enumeration(const Type& t) {
    std::vector<btf::Enumerator> values;
    for (const btf::Enumerator& e : btf_.enumerators(t)) {
      const auto wanted = enumerators_.find(text_of(e.name));
      if (wanted == enumerators_.end() || wanted->second != t.id) continue;
      values.push_back(e);
      out_.found.insert(text_of(e.name));
    }
    if (values.empty() && t.name.empty())
      return small_.add_int(t.size() == 8 ? "unsigned long" : "unsigned int", t.size() == 8 ? 8 : 4);
    return t.kind == Kind::enum_ ? small_.add_enum(t.name, t.size(), t.kind_flag, values)
                                 : small_.add_enum64(t.name, t.kind_flag, values);
  }

  u32 forward(std::string_view name, bool is_union) {
    const auto [entry, added] = forwards_.try_emplace(text_of(name));
    if (added) entry->second = small_.add_forward(name, is_union);
    return entry->second;
  }

  /// A typedef stands for a whole type wherever that is not still being made.
  Result<u32> alias(const Type& t, u32 depth) {
    if (const auto known = aliases_.find(t.id); known != aliases_.end()) return known->second;
    u32 target = t.type_id();
    while (btf::is_modifier(btf_.type(target).kind) && btf_.type(target).kind != Kind::typedef_)
      target = btf_.type(target).type_id();
    const Type direct = btf_.type(target);
    const bool open = btf::is_composite(direct.kind) && working_.count(target) != 0;
    const u32 made_target = SKEP_TRY(convert(t.type_id(), !open, depth + 1));
    // Defined by the source with another meaning perhaps: its own name for it is left to the source.
    const u32 made = wishes_.defined.count(text_of(t.name)) != 0
                         ? made_target
                         : small_.add_modifier(Kind::typedef_, t.name, made_target);
    if (open && made != made_target) unfinished_.emplace_back(made, target);
    aliases_.emplace(t.id, made);
    return made;
  }

  /// A record by value.
  Result<u32> record(u32 id, u32 depth) {
    if (const auto known = records_.find(id); known != records_.end()) return known->second;
    if (depth > deepest) return fail(Code::limit, "records of the kernel nested more than 64 deep");
    const Type t = btf_.type(id);
    working_.insert(id);
    std::vector<Builder::NewMember> members;
    const BitFields outer = std::exchange(bit_fields_, {});  // of the record that this one is inside of
    const bool whole = t.size() <= whole_record_bytes && !is_huge(t);
    if (!is_known(t))
      for (const btf::Member& m : btf_.members(t)) {
        if (!(whole || is_named(m, 0)) || !is_possible(m)) continue;
        const u32 type = SKEP_TRY(convert(m.type_id, true, depth + 1));
        if (m.bit_size != 0)
          add_bit_field(members, t, {m.name, type, m.bit_offset, m.bit_size});
        else
          members.push_back({m.name, type, m.bit_offset, 0});
        if (wishes_.words.count(text_of(m.name)) != 0) follow(m.type_id);
      }
    close_bit_fields(members);
    if (members.empty() && t.size() > 0) members.push_back({"skep_bytes", bytes(t.size()), 0, 0});
    working_.erase(id);
    bit_fields_ = outer;
    const u32 made = t.kind == Kind::struct_ ? small_.add_struct(t.name, t.size(), members)
                                             : small_.add_union(t.name, t.size(), members);
    records_.emplace(id, made);
    return made;
  }

  // Bit-fields. A compiler reads one from a unit of storage that it chooses by what lies around it, which no relocation
  // describes. So those that share bytes stand in a struct of their own, without a name and without
  // preserve_access_index: C then finds them where this kernel has them (bcc_program.cpp leaves such accesses alone).

  struct BitFields {
    u32 first_byte = 0, end_byte = 0;
    std::vector<Builder::NewMember> fields;
  };

  void add_bit_field(std::vector<Builder::NewMember>& members, const Type& owner, const Builder::NewMember& field) {
    const u32 first = field.bit_offset / 8, end = (field.bit_offset + field.bit_size + 7) / 8;
    BitFields& open = bit_fields_;
    if (!open.fields.empty() && (owner.kind == Kind::union_ || first >= open.end_byte)) close_bit_fields(members);
    if (open.fields.empty()) open.first_byte = first;
    open.end_byte = std::max(end, open.end_byte);
    open.fields.push_back(field);
  }

  void close_bit_fields(std::vector<Builder::NewMember>& members) {
    const BitFields group = std::exchange(bit_fields_, {});
    if (group.fields.empty()) return;
    std::vector<Builder::NewMember> inside = group.fields;
    for (Builder::NewMember& field : inside) field.bit_offset -= group.first_byte * 8;
    const u32 made = small_.add_struct({}, group.end_byte - group.first_byte, inside);
    bit_field_groups_.insert(made);
    const Builder::NewMember member{{}, made, group.first_byte * 8, 0};
    const auto behind = std::find_if(members.begin(), members.end(),
                                     [&](const Builder::NewMember& m) { return m.bit_offset > member.bit_offset; });
    members.insert(behind, member);
  }

  bool is_known(const Type& t) const { return wishes_.known_tags.count(text_of(t.name)) != 0; }
  bool is_huge(const Type& t) const { return t.vlen > 32; }

  u32 bytes(u32 count) {
    if (byte_type_ == 0) byte_type_ = small_.add_int("unsigned char", 1);
    return small_.add_array(byte_type_, index_type(), count);
  }

  /// The source writes this member's name; of a member without a name, that of one inside.
  bool is_named(const btf::Member& m, u32 depth) const {
    if (!m.name.empty()) return wishes_.words.count(text_of(m.name)) != 0;
    const Type inner = btf_.type(btf_.resolve(m.type_id));
    if (!btf::is_composite(inner.kind) || depth > deepest) return false;
    for (u32 i = 0; i < inner.vlen; ++i)
      if (is_named(btf_.member(inner, i), depth + 1)) return true;
    return false;
  }

  /// A member that can be declared: its name is no macro, and by value it holds nothing that the source defines.
  bool is_possible(const btf::Member& m) const {
    if (wishes_.macros.count(text_of(m.name)) != 0) return false;
    Type t = btf_.type(btf_.resolve(m.type_id));
    for (u32 steps = 0; t.kind == Kind::array && steps < deepest; ++steps)
      t = btf_.type(btf_.resolve(btf_.array(t).element_id));
    return t.name.empty() || !(btf::is_composite(t.kind) || btf::is_enumeration(t.kind)) ||
           wishes_.source_tags.count(text_of(t.name)) == 0;
  }

  /// What a member that the source names points to is wanted whole.
  void follow(u32 id) {
    for (u32 steps = 0; steps < deepest; ++steps) {
      const Type t = btf_.type(btf_.resolve(id));
      if (t.kind == Kind::ptr) {
        id = t.type_id();
      } else if (t.kind == Kind::array) {
        id = btf_.array(t).element_id;
      } else {
        if (btf::is_composite(t.kind) && !t.name.empty() && !is_given(text_of(t.name)) && queued_.insert(t.id).second)
          queue_.push_back(t.id);
        return;
      }
    }
  }

  // ---- text
  // ----------------------------------------------------------------------------------------------------------

  Result<KernelTypes> print() {
    const auto small = SKEP_TRY(small_.build());
    btf::DumpOptions options{.header = false};
    options.is_known = [this](const Type& t) { return wishes_.known_tags.count(text_of(t.name)) != 0; };
    options.attribute = [this](const Type& t) -> std::string_view {
      const bool plain = is_user_interface(t.name) || bit_field_groups_.count(t.id) != 0;
      return plain ? std::string_view() : "__attribute__((preserve_access_index)) ";
    };
    out_.text = SKEP_TRY(btf::dump_c(*small, options));
    return std::move(out_);
  }

  const Btf& btf_;
  const TypeWishes& wishes_;
  KernelTypes out_;
  std::vector<u32> roots_;
  std::unordered_map<std::string, u32> by_tag_, enumerators_, forwards_;
  std::deque<u32> queue_;
  std::unordered_set<u32> queued_, working_;
  Builder small_;
  struct PlainHash {
    std::size_t operator()(const std::pair<u32, bool>& key) const { return key.first * 2 + key.second; }
  };
  std::unordered_map<std::pair<u32, bool>, u32, PlainHash> plain_;
  std::unordered_map<u32, u32> aliases_, records_;
  std::vector<std::pair<u32, u32>> unfinished_;  ///< typedef in the small BTF, record in the kernel's
  u32 index_type_ = 0, byte_type_ = 0;
  BitFields bit_fields_;
  std::unordered_set<u32> bit_field_groups_;  ///< in the small BTF
};

/// How many of the tags a BTF defines itself (its base not counted).
std::size_t defines(const Btf& btf, const NameSet& tags) {
  std::size_t count = 0;
  for (u32 id = btf.first_id(); id < btf.type_count(); ++id) {
    const Type t = btf.type(id);
    if (btf::is_composite(t.kind) && tags.count(text_of(t.name)) != 0) ++count;
  }
  return count;
}

}  // namespace

Result<KernelTypes> kernel_types(const Btf& btf, const TypeWishes& wishes) { return Selection(btf, wishes).run(); }

Result<std::shared_ptr<const Btf>> kernel_btf_with(const NameSet& tags, const std::string& directory) {
  namespace fs = std::filesystem;
  const auto base = SKEP_TRY(Btf::from_file(directory + "/vmlinux"));
  if (tags.empty()) return base;
  std::shared_ptr<const Btf> best = base;
  std::size_t most = 0;
  std::vector<fs::path> modules;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error))
    if (at->path().filename() != "vmlinux") modules.push_back(at->path());
  std::sort(modules.begin(), modules.end());
  for (const fs::path& path : modules) {
    auto bytes = base::read_file(path, 64u << 20);
    if (!bytes) continue;
    auto module = Btf::parse(*std::move(bytes), base);
    if (!module) continue;
    if (const std::size_t count = defines(**module, tags); count > most) {
      most = count;
      best = *module;
    }
  }
  return best;
}

}  // namespace skep::compile
