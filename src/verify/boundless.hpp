// Loops that are followed round by round with no end in sight: they are refused before all patience is used up.
//
// Where joined paths had no proof (second_gear.hpp), a loop is followed as often as it goes round. Some end in time:
// two sorts of 64 words, a search with ten thousand steps. Others cannot: `i < *n` leaves a way to go on for as long as
// n may be larger, four thousand million rounds. How far a comparison is from leaving no other way but out is a number,
// and how fast that number falls is seen after some rounds; where no way out is forced within the instructions that are
// allowed, going on is in vain.
//
// This may only refuse. A loop that would have been proved by luck behind a long stretch that promises nothing is lost;
// none of the corpus is.
#pragma once
#include <algorithm>
#include <optional>
#include <vector>

#include "verify/checker.hpp"
#include "verify/loops.hpp"

namespace skep::verify {

class Boundless {
 public:
  /// The path is `path_length` steps long: what was compared on it before is not known.
  Boundless(const ProgramSpec& program, const Analysis& analysis, std::size_t path_length);

  /// The path was cut, to be continued another way.
  void cut(std::size_t path_length) { known_from_ = std::min(known_from_, path_length); }

  /// A jump of the path's last step, at `insn`, is about to compare two numbers.
  void compares(u32 insn, std::size_t path_length, isa::Compare c, bool is_wide, const Scalar& a, const Scalar& b);
  /// The same for what is no number: either way is possible each time. Packets have an end.
  void compares_pointers(u32 insn, std::size_t path_length, bool in_packet);

  struct Found {
    u32 head = 0, rounds = 0;
  };
  /// A loop that the path is in, and will still be in when it is `steps` longer.
  std::optional<Found> found(std::span<const Step> path, u64 steps) const;

 private:
  static constexpr u64 never = ~u64{0};
  static constexpr u32 most_rounds = 64;  ///< looked back
  struct Sample {
    u32 path_length = 0;
    u64 distance = 0;  ///< from leaving no other way but out; never: nothing would force it; 0: any round may
  };
  /// A conditional jump with one way inside of a loop and one out of it.
  struct Exit {
    u32 insn = 0;
    bool stays_taken = false;
    std::vector<Sample> samples;
  };

  Exit* exit_at(u32 insn) { return exit_of_[insn] >= 0 ? &exits_[static_cast<u32>(exit_of_[insn])] : nullptr; }
  static void add(Exit& exit, std::size_t path_length, u64 distance);
  static bool is_forced(const Exit& exit, std::span<const Step> path, u64 steps);

  const Analysis& analysis_;
  Loops loops_;
  std::size_t known_from_;  ///< steps of the path behind these were seen
  std::vector<Exit> exits_;
  std::vector<s32> exit_of_;                ///< by instruction: index into exits_, or -1
  std::vector<std::vector<u32>> exits_in_;  ///< by loop
};

}  // namespace skep::verify
