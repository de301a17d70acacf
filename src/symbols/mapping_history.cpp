// Applying events one by one. See mapping_history.hpp.
#include "symbols/mapping_history.hpp"

#include <algorithm>

namespace skep::symbols {

namespace {

// A process may map code at ever other addresses, and nothing is told of what it unmaps.
constexpr std::size_t most_mappings = 4096;

std::size_t memory_of(const Mapping& mapping) { return sizeof mapping + mapping.path.size(); }

/// 0: a process outside of our process namespace, one of many; all ones: its number was gone before the record was
/// made.
bool has_number(const MappingEvent& event) { return event.pid != 0 && event.pid != ~u32{0}; }

bool overlap(const Mapping& one, const Mapping& other) { return one.begin < other.end && other.begin < one.end; }

/// What is left of a mapping when another one takes [begin, end).
void add_rest(const Mapping& mapping, u64 begin, u64 end, std::vector<Mapping>& out) {
  if (mapping.begin < begin) {
    out.push_back(mapping);
    out.back().end = begin;
  }
  if (mapping.end > end) {
    out.push_back(mapping);
    out.back().file_offset += end - mapping.begin;
    out.back().begin = end;
  }
}

}  // namespace

void MappingHistory::put(Known& known, Mapping added) {
  if (known.mappings.use_count() > 1) known.mappings = std::make_shared<std::vector<Mapping>>(*known.mappings);
  std::vector<Mapping>& mappings = *known.mappings;
  const auto first = std::ranges::upper_bound(mappings, added.begin, {}, &Mapping::end);
  const auto behind = std::find_if(first, mappings.end(), [&](const Mapping& one) { return one.begin >= added.end; });
  const bool has_room = mappings.size() < most_mappings;
  std::vector<Mapping> there;
  std::size_t before = 0, after = 0;
  for (auto one = first; one != behind; ++one) {
    before += memory_of(*one);
    if (has_room) add_rest(*one, added.begin, added.end, there);
  }
  if (has_room && !added.path.empty())  // without a path nothing can be named in it
    there.insert(std::ranges::upper_bound(there, added.begin, {}, &Mapping::begin), std::move(added));
  for (const Mapping& one : there) after += memory_of(one);
  const auto at = mappings.erase(first, behind);
  mappings.insert(at, std::make_move_iterator(there.begin()), std::make_move_iterator(there.end()));
  known.bytes += after - before;
  bytes_ += after - before;
}

MappingHistory::Known& MappingHistory::set(u32 pid, std::shared_ptr<std::vector<Mapping>> mappings) {
  Known& known = processes_[pid];
  bytes_ -= known.bytes;
  known = {std::move(mappings), nullptr, ++last_version_, 0};
  count(known, *known.mappings);
  return known;
}

void MappingHistory::count(Known& known, const std::vector<Mapping>& mappings) {
  for (const Mapping& one : mappings) known.bytes += memory_of(one), bytes_ += memory_of(one);
}

/// One that nothing was heard of was there before: it is looked at, which is no longer possible when it has ended.
MappingHistory::Known& MappingHistory::known(u32 pid) {
  const auto at = processes_.find(pid);
  return at != processes_.end() ? at->second : set(pid, std::make_shared<std::vector<Mapping>>(look_(pid)));
}

const MappingHistory::Known* MappingHistory::of(u32 pid) const {
  const auto at = processes_.find(pid);
  return at == processes_.end() ? nullptr : &at->second;
}

std::vector<Mapping> MappingHistory::all(const Known& known) {
  std::vector<Mapping> all = *known.mappings;
  if (known.before_exec == nullptr) return all;
  for (const Mapping& old : *known.before_exec)
    if (std::ranges::none_of(*known.mappings, [&](const Mapping& one) { return overlap(one, old); }))
      all.push_back(old);
  std::ranges::sort(all, {}, &Mapping::begin);
  return all;
}

bool MappingHistory::concerns(const MappingEvent& event) {
  if (!has_number(event)) return false;
  if (options_.ancestor == 0) return true;
  if (event.kind != MappingEvent::Kind::forked) return processes_.contains(event.pid);
  if (event.parent == options_.ancestor || processes_.contains(event.parent)) return true;
  forget(event.pid);  // somebody else's has the number of one that has ended
  return false;
}

void MappingHistory::add(std::vector<MappingEvent> events) {
  for (MappingEvent& event : events) {
    if (!concerns(event)) continue;
    switch (event.kind) {
      case MappingEvent::Kind::executed: {
        const Known* const old = of(event.pid);
        const auto before = old != nullptr ? old->mappings : nullptr;
        Known& anew = set(event.pid, std::make_shared<std::vector<Mapping>>());
        if ((anew.before_exec = before) != nullptr) count(anew, *before);
        break;
      }
      case MappingEvent::Kind::forked:
        set(event.pid, known(event.parent).mappings);
        break;
      case MappingEvent::Kind::mapped: {
        Known& changed = known(event.pid);
        put(changed, std::move(event.mapping));
        changed.version = ++last_version_;
        break;
      }
    }
    while (processes_.size() > 1 && (processes_.size() > options_.most || bytes_ > options_.most_bytes)) forget_some();
  }
}

void MappingHistory::forget(u32 pid) {
  const auto at = processes_.find(pid);
  if (at == processes_.end()) return;
  bytes_ -= at->second.bytes;
  processes_.erase(at);
}

/// The older half.
void MappingHistory::forget_some() {
  std::vector<std::pair<u64, u32>> by_version;
  for (const auto& [pid, known] : processes_) by_version.emplace_back(known.version, pid);
  const auto middle = by_version.begin() + static_cast<std::ptrdiff_t>(by_version.size() / 2);
  std::ranges::nth_element(by_version, middle);
  std::for_each(by_version.begin(), middle, [&](const auto& one) { forget(one.second); });
}

}  // namespace skep::symbols
