// Worker processes over a range of seeds: a crash names its seed and the others go on, one that no longer gets on is
// ended and counts as a crash, and the run can be stopped and resumed. What a worker counts lies in memory that
// outlives it (a tally), which begins with a Progress.
#pragma once
#include <functional>
#include <skep/types.hpp>
#include <string>

namespace skep::differential {

/// The beginning of every tally.
struct Progress {
  u64 next;     ///< seeds below it (of this worker) are done, counted from the first
  u64 current;  ///< the seed at work
};

struct Fleet {
  u64 count = 0, first = 1;  ///< seeds
  u32 processes = 1;
  std::string state;        ///< file that keeps the tallies, or ""
  u64 tally_bytes = 0;      ///< of one worker
  void* tallies = nullptr;  ///< made by run()

  template <class Tally>
  Tally& tally(u32 index) const {
    return static_cast<Tally*>(tallies)[index];
  }

  /// Calls `work(index)` in a process for each worker; it calls each_seed(). `died(index, seed, status)` says in the
  /// parent which worker was lost; it is started again behind that seed. False: the memory for tallies is missing.
  bool run(const std::function<void(u32 index)>& work,
           const std::function<void(u32 index, u64 seed, int status)>& died);
  /// In a worker: the seeds that are its own.
  void each_seed(u32 index, const std::function<void(u64 seed)>& one) const;

 private:
  void report() const;
};

}  // namespace skep::differential
