// Reads map flags and finds special fields through BTF.
#include "verify/map_facts.hpp"

#include "btf/btf.hpp"

namespace skep::verify {
namespace {

constexpr u32 flag_read_only_program = 1u << 7, flag_write_only_program = 1u << 8;  // BPF_F_RDONLY_PROG, _WRONLY_PROG
constexpr u32 max_depth = 8, max_fields = 64;

/// Kernel objects a value may embed; their bytes belong to helpers and kfuncs.
constexpr std::string_view special_types[] = {"bpf_spin_lock", "bpf_timer",         "bpf_list_head", "bpf_list_node",
                                              "bpf_rb_root",   "bpf_rb_node",       "bpf_refcount",  "bpf_wq",
                                              "bpf_dynptr",    "bpf_res_spin_lock", "bpf_task_work"};

class FieldFinder {
 public:
  FieldFinder(const btf::Btf& types, std::vector<SpecialField>& out) : types_(types), out_(out) {}

  void find(u32 type_id, u32 offset, u32 depth) {
    if (depth > max_depth || out_.size() >= max_fields || type_id >= types_.type_count()) return;
    btf::Type type = types_.type(types_.resolve(type_id));
    if (type.kind == btf::Kind::struct_ || type.kind == btf::Kind::union_) {
      for (std::string_view special : special_types)
        if (type.name == special) return add(special, offset, type.size());
      for (const btf::Member& m : types_.members(type)) {
        if (is_tagged_pointer(m.type_id)) add("kptr", offset + m.bit_offset / 8, 8);
        find(m.type_id, offset + m.bit_offset / 8, depth + 1);
      }
    } else if (type.kind == btf::Kind::array) {
      auto array = types_.array(type);
      auto size = types_.size_of(array.element_id);
      if (!size) return;
      for (u32 i = 0; i < array.count && i < 16; i++) {
        if (is_tagged_pointer(array.element_id)) add("kptr", offset + i * static_cast<u32>(*size), 8);
        find(array.element_id, offset + i * static_cast<u32>(*size), depth + 1);
      }
    } else if (type.kind == btf::Kind::datasec) {
      for (const btf::SecVar& v : types_.section_vars(type)) {
        btf::Type var = types_.type(v.type_id);
        if (var.kind == btf::Kind::var) find(var.type_id(), offset + v.offset, depth + 1);
      }
    }
  }

 private:
  /// `struct task_struct __kptr *p`: a pointer to a type_tag "kptr", "kptr_untrusted", "percpu_kptr" or "uptr".
  bool is_tagged_pointer(u32 type_id) const {
    btf::Type pointer = types_.type(types_.resolve(type_id));
    if (pointer.kind != btf::Kind::ptr) return false;
    btf::Type target = types_.type(pointer.type_id());
    for (u32 i = 0; i < max_depth && target.kind == btf::Kind::type_tag; i++) {
      if (target.name.find("kptr") != std::string_view::npos || target.name == "uptr") return true;
      target = types_.type(target.type_id());
    }
    return false;
  }
  void add(std::string_view name, u32 offset, u32 size) {
    auto what = name == "bpf_spin_lock" ? SpecialField::What::spin_lock : SpecialField::What::other;
    out_.push_back({what, name, offset, size});
  }

  const btf::Btf& types_;
  std::vector<SpecialField>& out_;
};

MapFacts facts_of(const MapSpec& spec, const btf::Btf* types) {
  MapFacts facts;
  facts.spec = &spec;
  facts.program_writes = (spec.flags & flag_read_only_program) == 0 && spec.type != MapType::devmap &&
                         spec.type != MapType::devmap_hash && !spec.frozen;
  facts.program_reads = (spec.flags & flag_write_only_program) == 0;
  facts.is_constant = spec.frozen && spec.is_global_data;
  if (types != nullptr && spec.btf_value_type_id != 0)
    FieldFinder(*types, facts.fields).find(spec.btf_value_type_id, 0, 0);
  return facts;
}

}  // namespace

std::vector<MapFacts> map_facts(const ObjectSpec& object) {
  std::vector<MapFacts> result;
  for (const MapSpec& spec : object.maps) result.push_back(facts_of(spec, object.btf.get()));
  for (std::size_t i = 0; i < object.maps.size(); i++) {
    if (object.maps[i].inner == nullptr) continue;
    result[i].inner = static_cast<s32>(result.size());
    result.push_back(facts_of(*object.maps[i].inner, object.btf.get()));
  }
  return result;
}

}  // namespace skep::verify
