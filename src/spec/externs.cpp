// What the object leaves open: kernel configuration values, kernel symbols and functions; and its types, completed.
//
// Externs are undefined symbols whose BTF variable (or function) sits in the DATASEC ".kconfig" or ".ksyms".
// kconfig values get a place in a read-only map of their own, laid out here because that needs types only; the values
// come later (spec/resolve.hpp). Compilers leave several BTF fields to the loader; they are filled in so that
// ObjectSpec::btf can go to the kernel as it is, with all type ids unchanged.
// Source: libbpf's __kconfig and __ksym conventions; kernel/bpf/btf.c for what the kernel checks.
#include <fmt/core.h>

#include <algorithm>
#include <unordered_set>

#include "base/sort_by.hpp"
#include "spec/object_reader.hpp"

namespace skep::spec {
namespace {

constexpr std::string_view kconfig_section = ".kconfig", ksyms_section = ".ksyms";
constexpr u32 linkage_static = 0, linkage_global = 1, linkage_extern = 2;
constexpr u64 largest_kconfig_value = 4096;

u64 rounded_up(u64 value, u64 alignment) { return (value + alignment - 1) / alignment * alignment; }

}  // namespace

Result<void> ObjectReader::read_externs() {
  if (!btf_) return {};
  if (const auto datasec = btf_->find(ksyms_section, btf::Kind::datasec)) {
    for (const auto& entry : btf_->section_vars(btf_->type(*datasec))) {
      const auto type = btf_->type(entry.type_id);
      const auto found = externs_.find(type.name);
      if (found == externs_.end()) continue;
      const bool is_function = type.kind == btf::Kind::func;
      found->second.kind = is_function ? Extern::Kind::kfunc : Extern::Kind::ksym;
      // `extern const void sym __ksym` has no type to speak of: only its address is wanted.
      found->second.type_id = is_function ? type.id : type.kind == btf::Kind::var ? btf_->resolve(type.type_id()) : 0;
    }
  }
  if (const auto datasec = btf_->find(kconfig_section, btf::Kind::datasec))
    SKEP_TRY_AT("section .kconfig", lay_out_kconfig(*datasec));
  return {};
}

/// Largest alignment first, then smallest size, then by name: libbpf's order, without holes.
Result<void> ObjectReader::lay_out_kconfig(u32 datasec_id) {
  struct Value {
    std::string_view name;
    u32 type_id;
    u64 size, alignment;
  };
  std::vector<Value> values;
  const auto entries = btf_->section_vars(btf_->type(datasec_id));
  if (entries.size() > most_config_values)
    return fail(Code::limit, fmt::format("{} values; at most {} are laid out", entries.size(), most_config_values));
  for (const auto& entry : entries) {
    const auto variable = btf_->type(entry.type_id);
    if (variable.kind != btf::Kind::var)
      return fail(Code::malformed,
                  fmt::format("type {} is a {}, expected a variable", variable.id, btf::name_of(variable.kind)));
    const u64 size = SKEP_TRY_AT(variable.name, btf_->size_of(variable.type_id()));
    if (size == 0 || size > largest_kconfig_value)
      return fail(Code::unsupported, fmt::format("{}: {} bytes; configuration values take 1 to {}", variable.name, size,
                                                 largest_kconfig_value));
    values.push_back({variable.name, variable.type_id(), size, btf_->align_of(variable.type_id())});
  }
  std::sort(values.begin(), values.end(), [](const Value& a, const Value& b) {
    if (a.alignment != b.alignment) return a.alignment > b.alignment;
    return a.size != b.size ? a.size < b.size : a.name < b.name;
  });
  u64 offset = 0;
  for (const auto& value : values) {
    offset = rounded_up(offset, value.alignment);
    // A value that is declared and never used has no symbol, but a place all the same.
    auto& known = externs_.try_emplace(value.name, Extern{.name = value.name, .weak = true}).first->second;
    known.kind = Extern::Kind::kconfig;
    known.type_id = value.type_id;
    known.offset = static_cast<u32>(offset);
    offset += value.size;
  }
  if (values.empty()) return {};
  SKEP_TRY(take_data_bytes(offset, kconfig_section));
  MapSpec map;
  map.name = data_map_name(kconfig_section);
  map.type = MapType::array;
  map.key_size = 4;
  map.value_size = static_cast<u32>(offset);
  map.max_entries = 1;
  map.flags = map_flag::rdonly_prog | map_flag::mmapable;
  map.is_global_data = true;
  map.frozen = true;
  map.btf_value_type_id = datasec_id;
  map.initial_value.resize(offset);
  kconfig_map_ = static_cast<u32>(out_.maps.size());
  return add_map(std::move(map), {});
}

/// What sections named ".ksyms" share: a crafted object has many.
struct ObjectReader::Ksyms {
  u32 int_id = 0, placeholder = 0;
};

Result<void> ObjectReader::complete_btf() {
  if (!btf_) return {};
  auto builder = btf::Builder::copy_of(*btf_);
  Ksyms made;
  complete_linkage(builder);
  complete_functions(builder);
  for (u32 id = 1; id < btf_->type_count(); id++) {
    const auto type = btf_->type(id);
    if (type.kind != btf::Kind::datasec) continue;
    if (type.name == ksyms_section)
      complete_ksyms(builder, id, made);
    else
      complete_section(builder, id);
  }
  out_.btf = SKEP_TRY_AT("section .BTF, completed", builder.build());
  return {};
}

/// Size of the section and offsets of its variables, in ascending order.
void ObjectReader::complete_section(btf::Builder& builder, u32 datasec_id) {
  const auto type = btf_->type(datasec_id);
  auto vars = btf_->section_vars(type);
  const auto* section = section_named(type.name);
  u32 size = type.size();
  if (type.name == kconfig_section) {
    for (auto& entry : vars) {
      const auto variable = btf_->type(entry.type_id);
      const auto known = externs_.find(variable.name);
      if (variable.kind != btf::Kind::var || known == externs_.end()) continue;
      entry.offset = known->second.offset;
      entry.size = static_cast<u32>(btf_->size_of(variable.type_id()).value_or(0));
      builder.set_linkage(variable.id, linkage_global);
    }
    if (kconfig_map_) size = out_.maps[*kconfig_map_].value_size;
  } else if (section != nullptr) {
    const bool offsets_missing = size == 0;
    if (offsets_missing) size = static_cast<u32>(section->size);
    for (auto& entry : vars) {
      const auto variable = btf_->type(entry.type_id);
      const auto symbol = named_symbols_.find({section->index, variable.name});
      if (variable.kind != btf::Kind::var || symbol == named_symbols_.end()) continue;
      const auto where = symbols_->at(symbol->second);
      if (offsets_missing) entry.offset = static_cast<u32>(where.value);
      if (where.visibility != elf::visibility_default) builder.set_linkage(variable.id, linkage_static);
    }
  }
  base::sort_by(vars, [](const auto& entry) { return entry.offset; });
  builder.set_section(datasec_id, size, vars);
}

/// The kernel knows no extern functions: each becomes a global one. Most stand in .ksyms, too; one that is first
/// declared without its section does not. And it wants parameters of functions to have names.
void ObjectReader::complete_functions(btf::Builder& builder) {
  std::unordered_set<u32> named;  // prototypes: a crafted object has many functions of one
  for (u32 id = 1; id < btf_->type_count(); id++) {
    const auto type = btf_->type(id);
    if (type.kind != btf::Kind::func) continue;
    if (btf_->linkage(type) == linkage_extern) builder.set_linkage(id, linkage_global);
    const auto proto = btf_->type(type.type_id());
    const auto params = named.insert(proto.id).second ? btf_->params(proto) : std::vector<btf::Param>();
    for (u32 i = 0; i < params.size(); i++)
      if (params[i].type_id != 0 && params[i].name.empty()) builder.set_param_name(proto.id, i, "unnamed");
  }
}

/// The kernel knows no extern variables: each entry of .ksyms becomes an int of its own.
void ObjectReader::complete_ksyms(btf::Builder& builder, u32 datasec_id, Ksyms& made) {
  const auto type = btf_->type(datasec_id);
  auto vars = btf_->section_vars(type);
  auto& [int_id, placeholder] = made;
  for (u32 id = 1; id < btf_->type_count() && int_id == 0; id++)
    if (const auto candidate = btf_->type(id); candidate.kind == btf::Kind::int_ && candidate.size() == 4) int_id = id;
  if (int_id == 0) int_id = builder.add_int("int", 4, btf::Builder::Encoding::signed_);
  u32 offset = 0;
  for (auto& entry : vars) {
    const auto named = btf_->type(entry.type_id);
    if (named.kind == btf::Kind::func) {
      if (placeholder == 0) placeholder = builder.add_var("dummy_ksym", int_id, linkage_global);
      entry.type_id = placeholder;
    } else if (named.kind == btf::Kind::var) {
      builder.set_linkage(named.id, linkage_global);
      builder.set_type(named.id, int_id);
    }
    entry.offset = offset;
    entry.size = 4;
    offset += 4;
  }
  builder.set_section(datasec_id, offset, vars);
}

/// A function that other objects may not see is static to the kernel too: verified where it is called.
void ObjectReader::complete_linkage(btf::Builder& builder) {
  std::unordered_map<std::string_view, bool> hidden;
  for (const auto& function : functions_) {
    const auto symbol = named_symbols_.find({function.section, function.name});
    if (symbol != named_symbols_.end() && symbols_->at(symbol->second).visibility != elf::visibility_default)
      hidden.emplace(function.name, true);
  }
  if (hidden.empty()) return;
  for (u32 id = 1; id < btf_->type_count(); id++) {
    const auto type = btf_->type(id);
    if (type.kind == btf::Kind::func && btf_->linkage(type) == linkage_global && hidden.contains(type.name))
      builder.set_linkage(id, linkage_static);
  }
}

}  // namespace skep::spec
