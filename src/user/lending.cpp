// See lending.hpp.
#include "user/lending.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "backend/names.hpp"
#include "btf/btf.hpp"
#include "map/map.hpp"
#include "spec/special_fields.hpp"

namespace skep::user {
namespace {

Result<void> differs(const std::string& what, const std::string& found, const std::string& expected) {
  return fail(Code::invalid_argument,
              "the map that was given for it has " + what + " " + found + ", expected " + expected);
}

bool has_places(MapType type) {
  return type == MapType::array || type == MapType::percpu_array || type == MapType::array_of_maps ||
         type == MapType::arena;
}

/// Types whose definitions may leave their sizes out; no program hands memory of them to its map.
bool may_say_nothing(MapType type) {
  return type == MapType::perf_event_array || type == MapType::prog_array || type == MapType::cgroup_array;
}

std::vector<spec::SpecialField> fields_of(const Definition& map) {
  if (map.types == nullptr || map.spec.btf_value_type_id == 0 || map.spec.btf_value_type_id >= map.types->type_count())
    return {};
  return spec::special_fields(*map.types, map.spec.btf_value_type_id, map.spec.value_size);
}

Result<void> check_fields(const Definition& wanted, const Definition& found) {
  const auto expected = fields_of(wanted), there = fields_of(found);
  const auto same = [](const spec::SpecialField& a, const spec::SpecialField& b) {
    return a.what == b.what && a.offset == b.offset && a.size == b.size;
  };
  if (std::ranges::equal(expected, there, same)) return {};
  const auto list = [](const std::vector<spec::SpecialField>& fields) {
    std::string text;
    for (const auto& field : fields)
      text.append(text.empty() ? "" : ", ").append(field.type_name).append(" at ").append(std::to_string(field.offset));
    return text.empty() ? std::string("plain bytes") : text;
  };
  return differs("values with", list(there), list(expected));
}

Result<void> check_definition(const Definition& wanted, const Definition& found) {
  const MapSpec &expected = wanted.spec, &there = found.spec;
  if (there.type != expected.type)
    return differs("type", std::string(name_of(there.type)), std::string(name_of(expected.type)));
  const auto fits = [&](u32 has, u32 should) { return has == should || (should == 0 && may_say_nothing(there.type)); };
  if (!fits(there.key_size, expected.key_size))
    return differs("keys of", std::to_string(there.key_size), std::to_string(expected.key_size) + " bytes");
  if (!fits(there.value_size, expected.value_size))
    return differs("values of", std::to_string(there.value_size), std::to_string(expected.value_size) + " bytes");
  // Keys below the number of entries are there without a look: programs need no test.
  if (has_places(there.type) && there.max_entries < expected.max_entries)
    return differs("entries:", std::to_string(there.max_entries), "at least " + std::to_string(expected.max_entries));
  const auto access = [](const MapSpec& map) { return map.flags & (map_flag::rdonly_prog | map_flag::wronly_prog); };
  if (access(there) != access(expected))
    return fail(Code::invalid_argument,
                "the map that was given for it differs in what programs may do: BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG");
  SKEP_TRY(check_fields(wanted, found));
  if ((there.inner == nullptr) != (expected.inner == nullptr))
    return fail(Code::invalid_argument, "of it and the map that was given for it only one defines its inner maps");
  if (there.inner == nullptr) return {};
  auto inner = check_definition({*expected.inner, wanted.types}, {*there.inner, found.types});
  if (!inner) return tl::unexpected(std::move(inner).error().within("inner maps"));
  return {};
}

}  // namespace

Result<void> check_lent(const Definition& wanted, map::Map& map, const btf::Btf* types) {
  SKEP_TRY(check_definition(wanted, {map.spec(), types}));
  // Objects in such values are of the pools of the object whose program made them. (Timers keep their programs alive.)
  const auto holds_objects = [](const map::Field& field) {
    return field.what == map::Field::What::pointer || field.what == map::Field::What::list_head ||
           field.what == map::Field::What::tree_root;
  };
  if (map.fields() != nullptr && std::ranges::any_of(map.fields()->all(), holds_objects))
    return fail(Code::unsupported,
                "a map whose values hold owned pointers, lists or trees stays with the object that made it");
  const MapSpec& expected = wanted.spec;
  if (!expected.frozen || !expected.is_global_data) return {};
  const void* there = map.direct_value();
  std::vector<std::byte> value = expected.initial_value;
  value.resize(expected.value_size);
  if (!map.spec().frozen || there == nullptr || std::memcmp(there, value.data(), value.size()) != 0)
    return fail(Code::invalid_argument,
                "the map that was given for it has other constants than the object, with which programs are verified");
  return {};
}

}  // namespace skep::user
