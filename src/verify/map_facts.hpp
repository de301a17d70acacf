// What the verifier asks of a map, worked out once per program: sizes, permissions, fields with special meaning.
#pragma once
#include <skep/spec.hpp>
#include <string_view>
#include <vector>

namespace skep::verify {

/// A field of a map value that programs may not touch directly.
struct SpecialField {
  enum class What : u8 { spin_lock, other };
  What what = What::other;
  std::string_view type_name;  ///< "bpf_spin_lock"
  u32 offset = 0;
  u32 size = 0;
};

struct MapFacts {
  const MapSpec* spec = nullptr;
  std::vector<SpecialField> fields;
  s32 inner = -1;             ///< index of the inner map's facts, or -1
  bool program_reads = true;  ///< the program may read values
  bool program_writes = true;
  bool is_constant = false;  ///< nobody writes any more: values are known numbers

  const SpecialField* spin_lock() const {
    for (const SpecialField& f : fields)
      if (f.what == SpecialField::What::spin_lock) return &f;
    return nullptr;
  }
};

/// Facts of every map of the object, then of the inner maps they hold.
std::vector<MapFacts> map_facts(const ObjectSpec& object);

}  // namespace skep::verify
