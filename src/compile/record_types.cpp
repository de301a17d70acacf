// Variables of BTF, looked at one after the other.
#include "compile/record_types.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "btf/btf.hpp"

namespace skep::compile {
namespace {

using btf::Kind;

constexpr std::string_view named_record = "skep_record__";
constexpr std::string_view unnamed_record = "skep_record__SKEP_MAP_AT_";
constexpr std::string_view of_map = "skep_record_of_map";
constexpr std::string_view reserved_from = "skep_record_map";
constexpr std::string_view submitted = "skep_record_submitted";
constexpr std::string_view bcc_map = "skep_map_";

bool carries_records(const MapSpec& map) {
  return map.type == MapType::ringbuf || map.type == MapType::perf_event_array;
}

class Finder {
 public:
  explicit Finder(const btf::Btf& btf) : btf_(btf) {
    for (const std::string_view section : {".maps", "skep.records", ".bss", ".data"}) read(section);
    pair_reservations();
  }

  std::optional<u32> type_of(const MapSpec& map, bool only_one) const {
    if (const auto it = by_name_.find(map.name); it != by_name_.end()) return it->second;
    if (const auto definition = definitions_.find(map.name); definition != definitions_.end())
      if (const auto it = by_definition_.find(definition->second); it != by_definition_.end()) return it->second;
    if (map.btf_value_type_id != 0 && is_record(map.btf_value_type_id)) return map.btf_value_type_id;
    if (const auto it = unused_.find("unused_" + map.name); it != unused_.end()) return it->second;
    if (!only_one) return std::nullopt;
    if (unnamed_.size() == 1) return *unnamed_.begin();
    if (const auto it = unused_.find("unused"); unnamed_.empty() && it != unused_.end()) return it->second;
    return std::nullopt;
  }

 private:
  /// A type that says more than its bytes do: numbers and bare bytes are shown as they are anyway.
  bool is_record(u32 type_id) const {
    const btf::Type t = btf_.type(btf_.resolve(type_id));
    return (t.kind == Kind::struct_ || t.kind == Kind::union_) && btf_.size_of(t.id).has_value();
  }

  /// What a pointer type points at, without const and the like, if that is a record.
  std::optional<u32> pointee(u32 type_id) const {
    const btf::Type t = btf_.type(btf_.resolve(type_id));
    if (t.kind != Kind::ptr) return std::nullopt;
    u32 target = t.type_id();
    while (true) {
      const btf::Type inner = btf_.type(target);
      if (inner.kind != Kind::const_ && inner.kind != Kind::volatile_) break;
      target = inner.type_id();
    }
    return is_record(target) ? std::optional(target) : std::nullopt;
  }

  void read(std::string_view section) {
    const auto id = btf_.find(section, Kind::datasec);
    if (!id) return;
    for (const btf::SecVar& entry : btf_.section_vars(btf_.type(*id))) {
      const btf::Type variable = btf_.type(entry.type_id);
      if (variable.kind != Kind::var) continue;
      if (section == ".maps")
        read_definition(variable);
      else if (section == "skep.records")
        read_record(variable);
      else if (variable.name.starts_with("unused"))
        if (const auto type = pointee(variable.type_id())) unused_.emplace(variable.name, *type);
    }
  }

  void read_definition(const btf::Type& variable) {
    std::string_view name = variable.name;
    if (name.starts_with(bcc_map)) name.remove_prefix(bcc_map.size());
    definitions_.emplace(name, btf_.resolve(variable.type_id()));
  }

  /// A static variable of a function is called FUNCTION.NAME, and FUNCTION.NAME.3 when there are several.
  void read_record(const btf::Type& variable) {
    const std::size_t at = variable.name.find("skep_record_");
    if (at == variable.name.npos) return;
    const std::string_view function = variable.name.substr(0, at);
    std::string_view name = variable.name.substr(at);
    name = name.substr(0, name.find('.'));
    const u32 type_id = variable.type_id();
    const auto record = pointee(type_id);
    if (name == of_map) {
      read_record_of_map(type_id);
    } else if (name == reserved_from) {
      if (const u32 map = definition(type_id); map != 0) reserved_[std::string(function)].insert(map);
    } else if (!record) {
      return;
    } else if (name == submitted) {
      submitted_[std::string(function)].insert(btf_.resolve(*record));
      unnamed_.insert(btf_.resolve(*record));
    } else if (name.starts_with(unnamed_record)) {
      unnamed_.insert(btf_.resolve(*record));
    } else if (name.starts_with(named_record)) {
      by_name_.emplace(name.substr(named_record.size()), *record);
    }
  }

  void read_record_of_map(u32 type_id) {
    const btf::Type pointer = btf_.type(btf_.resolve(type_id));
    if (pointer.kind != Kind::ptr) return;
    const btf::Type function = btf_.type(btf_.resolve(pointer.type_id()));
    if (function.kind != Kind::func_proto || function.vlen != 1) return;
    const u32 map = definition(btf_.params(function).front().type_id);
    const auto record = pointee(function.type_id());
    if (map != 0 && record) by_definition_.emplace(map, *record);
  }

  /// The struct that describes a map, from a pointer to it; 0 for other pointers.
  u32 definition(u32 type_id) const {
    const btf::Type t = btf_.type(btf_.resolve(type_id));
    if (t.kind != Kind::ptr) return 0;
    const u32 target = btf_.resolve(t.type_id());
    return btf_.type(target).kind == Kind::struct_ ? target : 0;
  }

  void pair_reservations() {
    for (const auto& [function, maps] : reserved_) {
      const auto records = submitted_.find(function);
      if (maps.size() == 1 && records != submitted_.end() && records->second.size() == 1)
        by_definition_.emplace(*maps.begin(), *records->second.begin());
    }
  }

  const btf::Btf& btf_;
  std::map<std::string, u32, std::less<>> by_name_, definitions_, unused_;
  std::map<u32, u32> by_definition_;
  std::map<std::string, std::set<u32>> reserved_, submitted_;  ///< by function
  std::set<u32> unnamed_;
};

}  // namespace

void note_record_types(ObjectSpec& spec) {
  const auto count = std::count_if(spec.maps.begin(), spec.maps.end(), carries_records);
  if (count == 0) return;
  if (!spec.btf) return;
  const Finder finder(*spec.btf);
  for (MapSpec& map : spec.maps)
    if (carries_records(map)) map.btf_value_type_id = finder.type_of(map, count == 1).value_or(0);
}

}  // namespace skep::compile
