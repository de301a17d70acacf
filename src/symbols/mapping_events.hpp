// What processes map, told by the kernel as it happens: for processes that end before anybody looks at them.
//
// /proc/PID/maps is there as long as its process; a command of three milliseconds is gone when its stacks are to be
// named. A software event that counts nothing reports each mapping of code, fork and exec instead. Without root it
// takes perf_event_paranoid of at most 2 (Debian's default is 3).
// Source: perf_event_open(2): PERF_RECORD_MMAP2, PERF_RECORD_FORK, PERF_RECORD_COMM.
#pragma once
#include <memory>
#include <skep/result.hpp>
#include <vector>

#include "base/fd.hpp"
#include "symbols/process_maps.hpp"

namespace skep::symbols {

struct MappingEvent {
  enum class Kind {
    mapped,    ///< `mapping`, executable, in `pid`
    forked,    ///< `pid` was made by `parent` and has what that has
    executed,  ///< `pid` begins anew: what it had is gone
  };
  Kind kind = Kind::mapped;
  u32 pid = 0, parent = 0;
  Mapping mapping;
  u64 time_ns = 0;  ///< CLOCK_MONOTONIC
};

class MappingEvents {
 public:
  enum class Of {
    own_children,  ///< what the calling thread starts from now on, and what that starts
    everything,    ///< every process
  };
  /// Errors: permission, unsupported (no perf events here), io.
  static Result<MappingEvents> open(Of whose);
  MappingEvents(MappingEvents&&) noexcept;
  MappingEvents& operator=(MappingEvents&&) noexcept;
  ~MappingEvents();

  /// What has happened since the last call, in order. What did not fit into the rings meanwhile is missing. The last
  /// millisecond is left for the next call, because another CPU may still be writing what came before; `everything`:
  /// it is not, for who asks about processes that have ended.
  std::vector<MappingEvent> read(bool everything);
  /// How many did not fit, as far as read() has seen.
  u64 lost() const noexcept;

 private:
  class Ring;
  explicit MappingEvents(std::vector<Ring> rings) noexcept;
  std::vector<Ring> rings_;
};

}  // namespace skep::symbols
