// What changed between two programs: a shortest edit script over their instructions' texts.
#pragma once
#include <string>
#include <vector>

namespace skep::inspect {

struct Edit {
  enum class Kind : unsigned char { same, removed, added } kind = Kind::same;
  std::size_t before = 0,
              after = 0;  ///< indices into the two lists; of `added` only `after` counts, of `removed` `before`
};

/// Edits that turn `before` into `after`, in order. Beyond what a few seconds can compare, equal ends are found and the
/// middle is one replacement.
std::vector<Edit> edits_between(const std::vector<std::string>& before, const std::vector<std::string>& after);

}  // namespace skep::inspect
