// The member or element that a CO-RE relocation of a field ends at.
#pragma once
#include <optional>
#include <skep/spec.hpp>
#include <string_view>

namespace skep::btf {
class Btf;
}

namespace skep::compile {

struct RelocatedField {
  std::string_view name;  ///< of the member; "" for an element of an array and for a member without a name
  bool is_element = false;
  u32 type_id = 0;        ///< what resolve() makes of its type
  bool in_union = false;  ///< a union lies on the way: other members have the same place
};

/// nullopt where the path leaves the types.
std::optional<RelocatedField> relocated_field(const btf::Btf& types, const CoreRelocation& relocation);

}  // namespace skep::compile
