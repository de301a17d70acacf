// The memory that a program under test was given: its context, map values, records of ring buffers.
//
// A Watch knows what it was granted; the engine's helpers that hand out memory grant it to the watch of this thread.
// Helpers that would act outside of the program are refused: what runs here is random.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "helper/call.hpp"
#include "helper/helpers.hpp"
#include "map/map.hpp"
#include "vm/function.hpp"

namespace skep::hostile {

class Watch final : public vm::MemoryGuard {
 public:
  /// From here to its end helpers of this thread grant to this watch.
  Watch();
  ~Watch() override;
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  void grant(u64 address, u64 size);
  void grant_direct_values(std::span<const std::shared_ptr<map::Map>> maps);
  bool allows(u64 address, u32 size, bool write) noexcept override;

 private:
  struct Range {
    u64 begin = 0, size = 0;
  };
  std::vector<Range> ranges_;
  Watch* outer_;
};

/// The engine's helpers, by id.
std::span<const helper::HelperFn> watched_helpers();

}  // namespace skep::hostile
