// One program under the oracle: verified, linked, run on a few inputs in the checked interpreter, and looked at.
#pragma once
#include <functional>
#include <map>
#include <random>

#include "../hostile/watch.hpp"
#include "oracle.hpp"

namespace skep::embedding {

using Random = std::mt19937_64;

struct Outcome {
  bool accepted = false;
  bool joined = false;    ///< proved with joined paths
  std::string refused;    ///< message id
  u32 runs = 0;           ///< that came to an end
  u32 followed = 0;       ///< runs too long to be looked at that came to an end unwatched
  u32 too_long = 0;       ///< that did not, as far as they were followed
  u64 looks = 0;          ///< comparisons of the machine with explored states
  std::string violation;  ///< "" or what broke the law
};

/// How a program is verified.
struct How {
  verify::Rules rules = verify::Rules::user;
  bool often = false;    ///< verify::Options::remember_often
  bool at_once = false;  ///< paths are joined from the start
};

class Runner {
 public:
  /// `object` has the maps; they are kept for the next program of the same object. `seed` chooses the inputs.
  /// `seed` and `inputs`: how often, and on what.
  Outcome judge(const ObjectSpec& object, const ProgramSpec& program, const How& how, u64 seed, u32 inputs);

 private:
  using Maps = std::vector<std::shared_ptr<map::Map>>;
  /// Empty: the object has no maps, or one that is too large for a test or unknown to the engine.
  const Maps& maps_of(const ObjectSpec& object);
  void run(const verify::VerifiedProgram& program, const ObjectSpec& object, u64 seed, u32 inputs, Outcome& outcome);

  std::map<const ObjectSpec*, Maps> maps_;
  Embedding embedding_;  ///< of the last program: what it took is used again
};

}  // namespace skep::embedding
