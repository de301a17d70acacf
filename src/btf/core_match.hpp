// Whether two types mean the same across two BTFs. Private to this room.
#pragma once
#include <algorithm>

#include "btf/btf.hpp"

namespace skep::btf::core {

/// Bounds the work that comparing with one candidate may cause: crafted types may nest exponentially.
struct Budget {
  u64 steps = 200'000;
  bool spent(u64 count = 1) {
    steps -= std::min(steps, count);
    return steps == 0;
  }
};

/// The type of an accessor chain at one place.
struct TypeRef {
  const Btf& btf;
  u32 id = 0;
};

/// Kinds that may stand for each other: equal, or both enumerations.
bool same_kind(Kind a, Kind b);
/// Fields whose types may differ in size but not in nature. Errors: limit.
Result<bool> fields_are_compatible(TypeRef local, TypeRef target, u32 depth = 0);
/// type_exists and type_size: the same shape, ignoring names below the root. Errors: limit.
Result<bool> types_are_compatible(TypeRef local, TypeRef target, Budget& budget, u32 depth = 0);
/// type_matches: every member of the local type, by name, down to the leaves. Errors: limit.
Result<bool> types_match(TypeRef local, TypeRef target, bool behind_pointer, Budget& budget, u32 depth = 0);

}  // namespace skep::btf::core
