// See boundless.hpp.
#include "verify/boundless.hpp"

#include <algorithm>

namespace skep::verify {

using isa::Compare;

namespace {
constexpr u32 least_rounds = 32;  // before anything is foretold

template <class T>
u64 apart(const Interval<T>& a, const Interval<T>& b, Compare c) {
  using Signed = std::make_signed_t<T>;
  const auto between = [](auto high, auto low) {
    return high >= low ? static_cast<u64>(static_cast<T>(high) - static_cast<T>(low)) : u64{0};
  };
  switch (c) {
    case Compare::lt:
    case Compare::le:
      return between(b.umax, a.umin);
    case Compare::gt:
    case Compare::ge:
      return between(a.umax, b.umin);
    case Compare::slt:
    case Compare::sle:
      return between(static_cast<Signed>(b.smax), static_cast<Signed>(a.smin));
    case Compare::sgt:
    case Compare::sge:
      return between(static_cast<Signed>(a.smax), static_cast<Signed>(b.smin));
    case Compare::eq:
    case Compare::ne:
    case Compare::set:
      break;
  }
  const T width_a = a.umax - a.umin, width_b = b.umax - b.umin;
  if (width_a == 0 && width_b == 0) {
    const T up = b.umin - a.umin, down = a.umin - b.umin;
    return c == Compare::ne ? static_cast<u64>(std::min(up, down)) : 0;
  }
  // Of `i != n` each round takes one number away from what n may be, where i has come up to the least of them.
  if (c == Compare::ne && (width_a == 0 || width_b == 0)) return static_cast<u64>(width_a) + width_b;
  return ~u64{0};  // one number in the middle, or one bit: nothing comes nearer to it
}
}  // namespace

Boundless::Boundless(const ProgramSpec& program, const Analysis& analysis, std::size_t path_length)
    : analysis_(analysis),
      loops_(find_loops(program, analysis, {})),
      known_from_(path_length),
      exit_of_(program.insns.size(), -1),
      exits_in_(loops_.loops.size()) {
  std::vector<bool> inside(program.insns.size());
  for (u32 l = 0; l < loops_.loops.size(); l++) {  // outer ones first: a jump out of both is the inner one's
    const Loop& loop = loops_.loops[l];
    for (u32 insn : loop.body) inside[insn] = true;
    for (u32 insn : loop.body) {
      const Successors next = successors(program, analysis, insn);
      if (next.count != 2 || inside[next.insns[0]] == inside[next.insns[1]]) continue;
      if (exit_of_[insn] < 0) {
        exit_of_[insn] = static_cast<s32>(exits_.size());
        exits_.push_back({insn, inside[next.insns[1]], {}});
      }
      exits_in_[l].push_back(static_cast<u32>(exit_of_[insn]));
    }
    for (u32 insn : loop.body) inside[insn] = false;
  }
}

void Boundless::add(Exit& exit, std::size_t path_length, u64 distance) {
  while (!exit.samples.empty() && exit.samples.back().path_length >= path_length) exit.samples.pop_back();
  exit.samples.push_back({static_cast<u32>(path_length), distance});
}

void Boundless::compares(u32 insn, std::size_t path_length, Compare c, bool is_wide, const Scalar& a, const Scalar& b) {
  Exit* exit = exit_at(insn);
  if (exit == nullptr) return;
  if (!exit->stays_taken && c != Compare::set) c = negated(c);
  add(*exit, path_length, is_wide ? apart(a.wide, b.wide, c) : apart(a.narrow, b.narrow, c));
}

void Boundless::compares_pointers(u32 insn, std::size_t path_length, bool in_packet) {
  if (Exit* exit = exit_at(insn)) add(*exit, path_length, in_packet ? 0 : never);
}

/// Whether this way out has to be taken before the path is `steps` longer, as far as its last rounds tell.
bool Boundless::is_forced(const Exit& exit, std::span<const Step> path, u64 steps) {
  std::size_t end = exit.samples.size();
  while (end > 0 && exit.samples[end - 1].path_length > path.size()) end--;  // of a path that was given up
  if (end < least_rounds / 2) return false;                                  // most rounds do not even ask
  const std::size_t begin = end > most_rounds ? end - most_rounds : 0;
  const Sample &first = exit.samples[begin], &last = exit.samples[end - 1];
  if (last.distance == never) return false;
  if (first.distance == never || last.distance == 0) return true;
  if (last.distance >= first.distance) return false;
  const double fallen = static_cast<double>(first.distance - last.distance);
  const double needed = static_cast<double>(last.distance) / fallen * (last.path_length - first.path_length);
  return needed <= static_cast<double>(steps);
}

std::optional<Boundless::Found> Boundless::found(std::span<const Step> path, u64 steps) const {
  if (loops_.too_deep) return std::nullopt;
  for (u32 l = 0; l < loops_.loops.size(); l++) {
    const Loop& loop = loops_.loops[l];
    const auto converges = [this](u32 insn) { return analysis_.insns[insn].converges; };
    if (std::ranges::any_of(loop.body, converges)) continue;
    const u32 function = analysis_.insns[loop.head].function;
    u32 rounds = 0;
    for (std::size_t at = path.size(); at-- > known_from_ && rounds < most_rounds;) {
      const u32 insn = path[at].insn;
      if (analysis_.insns[insn].function != function) continue;  // called, or around
      if (!std::binary_search(loop.body.begin(), loop.body.end(), insn)) break;
      rounds += insn == loop.head ? 1 : 0;
    }
    if (rounds < least_rounds) continue;
    const auto forced = [&](u32 exit) { return is_forced(exits_[exit], path, steps); };
    if (std::ranges::none_of(exits_in_[l], forced)) return Found{loop.head, rounds};
  }
  return std::nullopt;
}

}  // namespace skep::verify
