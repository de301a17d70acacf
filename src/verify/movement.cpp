// See movement.hpp.
#include "verify/movement.hpp"

#include <algorithm>

namespace skep::verify {

void Movements::add(const Movement& movement) {
  constexpr std::size_t most_rounds = 256;
  if (is_unknown || std::ranges::find(rounds, movement) != rounds.end()) return;
  if (rounds.size() < most_rounds) return rounds.push_back(movement);
  for (std::size_t v = 0; v < readings.size(); v++)
    for (u32 r = 0; r < isa::frame_pointer; r++) rounds.back()[v][r] = rounds.back()[v][r].join(movement[v][r]);
}

namespace {

/// A number at the head that cannot shrink for ever: `plus` - `minus`, each a register or nothing.
struct Measure {
  static constexpr u32 nothing = ~0u;
  std::size_t view = 0;
  u32 plus = nothing, minus = nothing;
  u64 values = 0;  ///< how many it has

  /// The least by which a round makes it less; 0 or below: it may make it more by the opposite, or what it does is not
  /// known.
  s64 shrinks(const Movement& round) const {
    s64 grows = 0;
    if (plus != nothing) {
      if (round[view][plus].high == Distance::no_high) return INT64_MIN;
      grows += round[view][plus].high;
    }
    if (minus != nothing) {
      if (round[view][minus].low == Distance::no_low) return INT64_MIN;
      grows -= round[view][minus].low;
    }
    return -grows;
  }
};

struct Extent {
  s64 low = 0, high = 0;
};

std::vector<Measure> measures(u32 head, const NumberAt& number_at, u64 most) {
  std::vector<Measure> found;
  for (std::size_t v = 0; v < readings.size(); v++) {
    std::array<std::optional<Extent>, isa::frame_pointer> extents;
    for (u32 r = 0; r < isa::frame_pointer; r++) {
      const auto number = number_at(head, r);
      if (!number) continue;
      extents[r] = readings[v] == Reading::whole ? Extent{number->wide.smin, number->wide.smax}
                                                 : Extent{number->narrow.smin, number->narrow.smax};
    }
    const auto add = [&](u32 plus, u32 minus, const Extent& extent) {
      const u64 apart = static_cast<u64>(extent.high) - static_cast<u64>(extent.low);
      if (apart < most) found.push_back({v, plus, minus, apart + 1});
    };
    constexpr s64 largest = s64{1} << 40;
    const auto is_small = [](const std::optional<Extent>& e) { return e && e->low > -largest && e->high < largest; };
    for (u32 r = 0; r < isa::frame_pointer; r++) {
      if (!extents[r]) continue;
      add(r, Measure::nothing, *extents[r]);
      add(Measure::nothing, r, *extents[r]);
      for (u32 other = 0; other < isa::frame_pointer; other++)
        if (other != r && is_small(extents[r]) && is_small(extents[other]))
          add(r, other, {extents[r]->low - extents[other]->high, extents[r]->high - extents[other]->low});
    }
  }
  return found;
}

}  // namespace

std::optional<u64> rounds_by_movement(u32 head, const Movements& movements, const NumberAt& number_at, u64 most) {
  if (movements.is_unknown || movements.rounds.empty()) return std::nullopt;
  const std::vector<Measure> all = measures(head, number_at, most);
  std::vector<const Movement*> left;
  for (const Movement& round : movements.rounds) left.push_back(&round);
  u64 rounds = 1;
  while (!left.empty()) {
    const Measure* best = nullptr;
    std::size_t best_count = 0;
    u64 best_values = 0;
    for (const Measure& m : all) {
      s64 least = INT64_MAX;  // by which a round that makes it less does so
      std::size_t count = 0;
      bool never_grows = true;
      for (const Movement* round : left) {
        const s64 by = m.shrinks(*round);
        never_grows = never_grows && by >= 0;
        if (by > 0) count++, least = std::min(least, by);
      }
      if (!never_grows || count == 0) continue;
      const u64 values = (m.values - 1) / static_cast<u64>(least) + 1;
      if (count < best_count || (count == best_count && values >= best_values)) continue;
      best = &m;
      best_count = count;
      best_values = values;
    }
    if (best == nullptr || best_values > most / rounds) return std::nullopt;
    rounds *= best_values;
    std::erase_if(left, [best](const Movement* round) { return best->shrinks(*round) > 0; });
  }
  return rounds;
}

}  // namespace skep::verify
