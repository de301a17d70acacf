// The loop of every batch of changes: what an engine's command did not do is tried alone.
#pragma once
#include <optional>
#include <skep/map_batch.hpp>

namespace skep::backend {

/// `batch`: does entries from one on, and says how many; nullopt: it has no command for them. `alone`: does one.
/// nullopt: the first call had no batch.
template <class Batch, class Alone>
std::optional<BatchResult> in_batches(u32 count, const Batch& batch, const Alone& alone) {
  for (u32 done = 0;; ++done) {
    const std::optional<u32> more = batch(done);
    if (!more && done == 0) return std::nullopt;
    done += more.value_or(0);
    if (done == count) return BatchResult{count, {}};
    // The entry at which a batch stops is tried alone: that has the words for what is wrong.
    if (auto one = alone(done); !one) return BatchResult{done, std::move(one).error()};
    if (done + 1 == count) return BatchResult{count, {}};
  }
}

}  // namespace skep::backend
