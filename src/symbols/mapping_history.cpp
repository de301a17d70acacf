// Applying events one by one. See mapping_history.hpp.
#include "symbols/mapping_history.hpp"

#include <algorithm>

namespace skep::symbols {

/// What lies at the same addresses is gone: nothing is told of unmapping.
void MappingHistory::put(Known& known, Mapping added) {
  if (known.mappings.use_count() > 1) known.mappings = std::make_shared<std::vector<Mapping>>(*known.mappings);
  std::vector<Mapping>& mappings = *known.mappings;
  std::erase_if(mappings, [&](const Mapping& one) { return one.begin < added.end && added.begin < one.end; });
  const auto behind = std::ranges::upper_bound(mappings, added.begin, {}, &Mapping::begin);
  mappings.insert(behind, std::move(added));
}

bool MappingHistory::concerns(const MappingEvent& event) const {
  if (options_.ancestor == 0) return true;
  if (event.kind != MappingEvent::Kind::forked) return processes_.contains(event.pid);
  return event.parent == options_.ancestor || processes_.contains(event.parent);
}

void MappingHistory::add(std::vector<MappingEvent> events) {
  for (MappingEvent& event : events) {
    if (!concerns(event)) continue;
    switch (event.kind) {
      case MappingEvent::Kind::executed:
        processes_[event.pid] = {};
        break;
      case MappingEvent::Kind::forked: {
        const auto inherited = known(event.parent).mappings;
        processes_[event.pid].mappings = inherited;
        break;
      }
      case MappingEvent::Kind::mapped:
        put(known(event.pid), std::move(event.mapping));
        break;
    }
    processes_[event.pid].version = ++last_version_;
    if (processes_.size() > options_.most) forget_some();
  }
}

/// One that nothing was heard of was there before: it is looked at, which is no longer possible when it has ended.
MappingHistory::Known& MappingHistory::known(u32 pid) {
  const auto [at, is_new] = processes_.try_emplace(pid);
  if (is_new) at->second = {std::make_shared<std::vector<Mapping>>(look_(pid)), ++last_version_};
  return at->second;
}

const MappingHistory::Known* MappingHistory::of(u32 pid) const {
  const auto at = processes_.find(pid);
  return at == processes_.end() ? nullptr : &at->second;
}

/// The older half.
void MappingHistory::forget_some() {
  std::vector<u64> versions;
  for (const auto& [pid, known] : processes_) versions.push_back(known.version);
  const auto middle = versions.begin() + static_cast<std::ptrdiff_t>(versions.size() / 2);
  std::ranges::nth_element(versions, middle);
  std::erase_if(processes_, [&](const auto& entry) { return entry.second.version < *middle; });
}

}  // namespace skep::symbols
