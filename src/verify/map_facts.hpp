// What the verifier asks of a map, worked out once per program: sizes, permissions, fields with special meaning.
#pragma once
#include <skep/spec.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "verify/special_fields.hpp"

namespace skep::verify {

struct MapFacts {
  const MapSpec* spec = nullptr;
  std::string value_name;  ///< "the value of map NAME"
  std::vector<SpecialField> fields;
  s32 inner = -1;             ///< index of the inner map's facts, or -1
  bool program_reads = true;  ///< the program may read values
  bool program_writes = true;
  bool is_constant = false;  ///< nobody writes any more: values are known numbers

  /// Whether values hold a lock, so that it counts which value a pointer leads to.
  bool has_lock() const {
    return field_of(fields, SpecialField::What::spin_lock) != nullptr ||
           field_of(fields, SpecialField::What::resilient_lock) != nullptr;
  }
};

/// Facts of every map of the object, then of the inner maps they hold.
std::vector<MapFacts> map_facts(const ObjectSpec& object);

}  // namespace skep::verify
