// Whether a map that is there already is what programs will be verified against.
//
// The kernel's verifier looks at the map itself. The engine's looks at the object's definition of it, whoever made the
// map: so the two must agree in all that a proof can rest on. Which keys are always there, which values are known
// numbers, who may write, what lies where in a value, what inner maps look like.
#pragma once
#include <skep/result.hpp>
#include <skep/spec.hpp>

namespace skep::map {
class Map;
}

namespace skep::user {

/// A definition, and the types its numbers are of (nullptr: none).
struct Definition {
  const MapSpec& spec;
  const btf::Btf* types;
};

/// Errors: invalid_argument, saying what differs; unsupported for values that hold objects.
Result<void> check_lent(const Definition& wanted, map::Map& map, const btf::Btf* types);

}  // namespace skep::user
