// Finds special fields through BTF.
#include "spec/special_fields.hpp"

#include <algorithm>
#include <optional>

#include "btf/btf.hpp"

namespace skep::spec {
namespace {

using What = SpecialField::What;

constexpr u32 max_depth = 32, max_fields = 64, max_visits = 1 << 16;

/// Kernel objects a value may embed; their bytes belong to helpers and kernel functions.
struct Known {
  std::string_view name;
  What what;
};
constexpr Known known[] = {{"bpf_spin_lock", What::spin_lock}, {"bpf_timer", What::timer},
                           {"bpf_list_head", What::list_head}, {"bpf_list_node", What::list_node},
                           {"bpf_rb_root", What::rb_root},     {"bpf_rb_node", What::rb_node},
                           {"bpf_refcount", What::refcount},   {"bpf_wq", What::workqueue},
                           {"bpf_dynptr", What::other},        {"bpf_res_spin_lock", What::resilient_lock},
                           {"bpf_task_work", What::task_work}};

class Finder {
 public:
  explicit Finder(const btf::Btf& types) : types_(types) {}

  void find(u32 type_id, u32 offset, u32 depth) {
    if (type_id >= types_.type_count()) return;
    if (depth > max_depth || found.size() > max_fields || ++visits_ > max_visits) {
      lost = true;
      return;
    }
    btf::Type type = types_.type(types_.resolve(type_id));
    if (btf::is_composite(type.kind)) {
      for (const Known& k : known)
        if (type.name == k.name) return add({k.what, k.name, offset, type.size()});
      for (u32 m = 0; m < type.vlen; m++) {
        btf::Member member = types_.member(type, m);
        const std::size_t before = found.size();
        inside(member.type_id, offset + member.bit_offset / 8, depth + 1);
        resolve_contains(before, type.id, static_cast<s32>(m));
      }
    } else if (type.kind == btf::Kind::array) {
      array(type, offset, depth);
    } else if (type.kind == btf::Kind::datasec) {
      for (const btf::SecVar& v : types_.section_vars(type)) {
        btf::Type var = types_.type(v.type_id);
        const std::size_t before = found.size();
        if (var.kind == btf::Kind::var) inside(var.type_id(), offset + v.offset, depth + 1);
        resolve_contains(before, v.type_id, -1);
      }
    }
  }

  std::vector<SpecialField> found;
  bool lost = false;

 private:
  void inside(u32 type_id, u32 offset, u32 depth) {
    if (auto pointer = tagged_pointer(type_id)) {
      pointer->offset = offset;
      return add(*pointer);
    }
    find(type_id, offset, depth);
  }

  /// Elements are alike: where the first has nothing special, none has.
  void array(const btf::Type& type, u32 offset, u32 depth) {
    auto array = types_.array(type);
    auto size = types_.size_of(array.element_id);
    if (!size || array.count == 0) return;
    for (u32 i = 0; i < array.count && !lost; i++) {
      const std::size_t before = found.size();
      inside(array.element_id, offset + i * static_cast<u32>(*size), depth + 1);
      if (found.size() == before) return;
    }
  }

  /// `struct task_struct __kptr *p`: a pointer to a type_tag "kptr", "kptr_untrusted", "percpu_kptr" or "uptr".
  std::optional<SpecialField> tagged_pointer(u32 type_id) const {
    if (type_id >= types_.type_count()) return std::nullopt;
    btf::Type pointer = types_.type(types_.resolve(type_id));
    if (pointer.kind != btf::Kind::ptr) return std::nullopt;
    btf::Type target = types_.type(pointer.type_id());
    for (u32 i = 0; i < max_depth && target.kind == btf::Kind::type_tag; i++) {
      SpecialField field{What::other, "kptr", 0, 8, types_.resolve(target.type_id())};
      if (target.name == "kptr") field.what = What::kptr;
      if (target.name == "kptr_untrusted") field.what = What::kptr_untrusted;
      if (target.name == "percpu_kptr") field.what = What::kptr_percpu;
      if (target.name == "uptr") field.what = What::uptr, field.type_name = "uptr";
      if (field.what != What::other) return field;
      target = types_.type(target.type_id());
    }
    return std::nullopt;
  }

  /// Lists and trees from the `first` found on: an array has one each element.
  void resolve_contains(std::size_t first, u32 type_id, s32 component) {
    for (std::size_t i = first; i < found.size(); i++)
      if (found[i].target == 0) resolve_contains(found[i], type_id, component);
  }

  /// "contains:foo:node" on the member or variable says what a list or tree links.
  void resolve_contains(SpecialField& field, u32 type_id, s32 component) const {
    if (field.what != What::list_head && field.what != What::rb_root) return;
    for (u32 id = types_.first_id(); id < types_.type_count(); id++) {
      btf::Type tag = types_.type(id);
      if (tag.kind != btf::Kind::decl_tag || tag.type_id() != type_id || types_.component_index(tag) != component ||
          !tag.name.starts_with("contains:"))
        continue;
      std::string_view rest = tag.name.substr(9);
      auto colon = rest.find(':');
      if (colon == std::string_view::npos) return;
      auto target = types_.find(rest.substr(0, colon), btf::Kind::struct_);
      if (!target) return;
      std::string_view wanted = field.what == What::list_head ? "bpf_list_node" : "bpf_rb_node";
      for (const btf::Member& m : types_.members(types_.type(*target)))
        if (m.name == rest.substr(colon + 1) && types_.type(types_.resolve(m.type_id)).name == wanted)
          field.target = *target, field.node_offset = m.bit_offset / 8;
      return;
    }
  }

  void add(const SpecialField& field) { found.push_back(field); }

  const btf::Btf& types_;
  u32 visits_ = 0;
};

}  // namespace

std::vector<SpecialField> special_fields(const btf::Btf& types, u32 type_id, u32 size) {
  Finder finder(types);
  finder.find(type_id, 0, 0);
  if (finder.lost) return {{What::other, "special fields (too many to tell apart)", 0, size}};
  std::sort(finder.found.begin(), finder.found.end(),
            [](const SpecialField& a, const SpecialField& b) { return a.offset < b.offset; });
  return std::move(finder.found);
}

}  // namespace skep::spec
