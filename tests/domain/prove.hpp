// The parts of prove_domain: each is a list of tasks that can run side by side, in any order.
#pragma once
#include <fmt/format.h>

#include <functional>
#include <skep/types.hpp>
#include <string>
#include <vector>

namespace skep::verify {

/// What one task saw.
class Tally {
 public:
  u64 judged = 0, violations = 0;
  std::string note;  ///< "" or what else there is to say

  template <class... Args>
  void violation(fmt::format_string<Args...> text, Args&&... args) {
    if (violations++ < shown) tell(fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  static constexpr u64 shown = 20;
  static void tell(const std::string& text);
};

struct Task {
  std::string name;  ///< says everything that its result depends on
  std::function<void(Tally&)> run;
};

/// Known bits of `bits` bits: every pair.
void add_tnums(std::vector<Task>& tasks, u32 bits);
/// Arithmetic on ranges of 8 bits. stride 1: every pair of ranges; else a grid of them.
void add_arithmetic(std::vector<Task>& tasks, u32 stride);
/// What comparisons decide and teach, likewise.
void add_comparisons(std::vector<Task>& tasks, u32 stride);
/// `pairs` random pairs at 64 and 32 bits.
void add_random_pairs(std::vector<Task>& tasks, u64 pairs, u64 seed);

}  // namespace skep::verify
