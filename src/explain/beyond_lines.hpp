// What the source tells of a refusal beyond the lines that have instructions.
//
// A loop whose condition the compiler has decided has a `for` that no instruction belongs to. The verifier then knows
// the loop's body alone; with the source at hand the head is found above it.
#pragma once
#include <memory>

#include "explain/source.hpp"
#include "verify/diagnosis.hpp"

namespace skep::explain {

/// `diagnosis`, with what `source` (the file that the refused line is in) adds to it. Null stays null.
std::shared_ptr<const verify::Diagnosis> with_source(std::shared_ptr<const verify::Diagnosis> diagnosis,
                                                     const Source& source);

}  // namespace skep::explain
