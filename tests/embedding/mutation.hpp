// Programs near known ones: small changes to programs of a corpus, in the places where verdicts turn.
#pragma once
#include <random>
#include <skep/spec.hpp>

namespace skep::embedding {

/// One to four changes: constants at their limits, other comparisons and widths, registers exchanged, instructions
/// taken away, repeated or moved. References and functions stay where they are.
ProgramSpec mutate(const ProgramSpec& original, std::mt19937_64& random);

}  // namespace skep::embedding
