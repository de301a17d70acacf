// An access string of CO-RE read along the types, member by member.
#include "compile/relocation_path.hpp"

#include <algorithm>
#include <charconv>

#include "btf/btf.hpp"

namespace skep::compile {

std::optional<RelocatedField> relocated_field(const btf::Btf& types, const CoreRelocation& relocation) {
  if (relocation.type_id >= types.type_count()) return std::nullopt;
  RelocatedField field{.name = {}, .is_element = true, .type_id = types.resolve(relocation.type_id), .in_union = false};
  std::string_view path = relocation.access;
  for (bool first = true; !path.empty(); first = false) {
    u32 index = 0;
    const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), index);
    if (error != std::errc{}) return std::nullopt;
    path.remove_prefix(std::min(static_cast<std::size_t>(end - path.data()) + 1, path.size()));
    if (first) continue;  // an element of the root, which is a pointer's target
    const btf::Type t = types.type(field.type_id);
    if (btf::is_composite(t.kind) && index < t.vlen) {
      const btf::Member member = types.member(t, index);
      const bool in_union = field.in_union || t.kind == btf::Kind::union_;
      field = {member.name, false, types.resolve(member.type_id), in_union};
    } else if (t.kind == btf::Kind::array) {
      field = {{}, true, types.resolve(types.array(t).element_id), field.in_union};
    } else {
      return std::nullopt;
    }
  }
  return field;
}

}  // namespace skep::compile
