// What is noted while states are joined, for the proof that every loop ends (ranking.hpp). See second_gear.hpp.
#include <algorithm>

#include "verify/second_gear.hpp"

namespace skep::verify {

using isa::Form;

namespace {

/// The low half of a number, whatever is above it.
Scalar low_half(const Scalar& number) {
  Scalar low;
  low.narrow = number.narrow;
  low.bits = {number.bits.value & Scalar::low_mask, number.bits.mask | ~Scalar::low_mask};
  low.normalise();
  return low;
}

/// What a place holds in all its 64 bits: a slot of which 4 bytes were spilled says nothing of the others.
std::optional<Scalar> number_in(const Frame& frame, u32 place) {
  const Register* held = nullptr;
  bool is_whole = true;
  if (place < counter_registers) {
    held = &frame.regs[place];
  } else if (place - counter_registers < frame.slot_count) {
    const Slot& slot = frame.slots[place - counter_registers];
    if (slot.bytes[3] == Byte::spilled) held = &slot.spill->value;
    is_whole = slot.bytes[7] == Byte::spilled;
  }
  if (held == nullptr || !held->is_scalar()) return std::nullopt;
  return is_whole ? held->number : low_half(held->number);
}

/// What the places of the frame hold, beside what they held before.
void note(const Frame& frame, bool is_first, std::array<std::optional<Scalar>, counter_places>& numbers) {
  for (u32 p = 0; p < counter_places; p++) {
    const std::optional<Scalar> held = number_in(frame, p);
    if (!held)
      numbers[p].reset();
    else if (is_first)
      numbers[p] = held;
    else if (numbers[p])
      numbers[p] = numbers[p]->join(*held);
  }
}

}  // namespace

/// What ranking will ask for: of every point inside a loop, the registers and slots of its frame.
void SecondGear::note_numbers() {
  for (auto& [place, point] : points_) {
    const u32 insn = point.where.insns[point.where.depth];
    if (loops_around(insn).empty()) continue;
    auto [entry, is_new] = numbers_.try_emplace(insn);
    Numbers& numbers = entry->second;
    for (auto& variant : point.variants) {
      const Frame& frame = variant->state.current();
      note(frame, is_new, numbers);
      if (is_head_[insn]) note_alike(insn, *variant, is_new);
      is_new = false;
    }
  }
}

/// Which registers are equal in the variant and in all those before.
void SecondGear::note_alike(u32 insn, const Variant& variant, bool is_first) {
  Alike now = all_different();
  for (u32 a = 0; a < isa::frame_pointer; a++)
    for (u32 b = 0; b < a && now[a] == a; b++)
      if (variant.relations.gaps.are_equal(a, b)) now[a] = now[b];
  auto [entry, is_new] = alike_.try_emplace(insn, now);
  if (is_first || is_new) return;
  Alike& before = entry->second;
  Alike both = all_different();
  for (u32 a = 0; a < counter_places; a++)
    for (u32 b = 0; b < a && both[a] == a; b++)
      if (before[a] == before[b] && now[a] == now[b]) both[a] = both[b];
  before = both;
}

/// The checker's state has come to the head of a loop from outside of it: another function's instruction, or none.
void SecondGear::note_entry() {
  const auto around = loops_around(c_.insn_);
  if (around.empty()) return;
  const Loop& loop = loops_.loops[around.back()];
  if (loop.head != c_.insn_) return;
  if (!c_.path_.empty() && std::ranges::binary_search(loop.body, c_.path_.back().insn)) return;
  auto [entry, is_new] = entries_.try_emplace(c_.insn_);
  note(c_.state_.current(), is_new, entry->second);
}

/// The checker's state has come to the head of a loop: how far registers have moved since it was there the last time.
/// Whoever comes back from a function may have been called inside the loop.
void SecondGear::note_round(Relations& relations) {
  const auto around = loops_around(c_.insn_);
  std::array<u32, Gaps::levels> heads{};
  const std::size_t marked = std::min<std::size_t>(around.size(), Gaps::levels);
  for (std::size_t level = 0; level < marked; level++) heads[level] = loops_.loops[around[level]].head;
  if (!is_head_[c_.insn_]) return relations.gaps.keep_marks(std::span(heads).first(marked));
  const Loop& loop = loops_.loops[around.back()];
  const u32 level = static_cast<u32>(around.size()) - 1;
  const u32 last = c_.path_.empty() ? c_.insn_ : c_.path_.back().insn;
  const Form form = isa::row(c_.analysis_.insns[last].op).form;
  const bool is_same_function = c_.analysis_.insns[last].function == c_.analysis_.insns[c_.insn_].function;
  const bool is_call = form == Form::call_local || form == Form::callx;
  const bool comes_from_outside = is_same_function ? !std::ranges::binary_search(loop.body, last) : is_call;
  if (!comes_from_outside) {
    Movements& movements = movements_[loop.head];
    Movement movement;
    if (level < Gaps::levels && relations.gaps.moved(level, loop.head, c_.state_.current(), movement))
      movements.add(movement);
    else
      movements.is_unknown = true;
  }
  relations.gaps.keep_marks(std::span(heads).first(std::min<std::size_t>(level, marked)));
}

/// The checker's state leaves the head of a loop: from now on registers move from here.
void SecondGear::mark_head(Relations& relations) const {
  if (!is_head_[c_.insn_] || !patience_.keeps_gaps) return;
  const auto around = loops_around(c_.insn_);
  if (around.size() <= Gaps::levels)
    relations.gaps.mark(static_cast<u32>(around.size()) - 1, c_.insn_, c_.state_.current());
}

/// Of a loop as paths took it: those of the one, around it perhaps, with the same head.
const Movements* SecondGear::movements_of(const Loop& loop) const {
  const auto around = loops_around(loop.head);
  const auto found = movements_.find(loop.head);
  if (around.empty() || found == movements_.end()) return nullptr;
  const Loop& whole = loops_.loops[around.back()];
  return whole.head == loop.head && std::ranges::includes(whole.body, loop.body) ? &found->second : nullptr;
}

/// Of a loop as paths took it: a part of that with the same head, into which the head is reached from the whole of it.
const SecondGear::Numbers* SecondGear::entry_of(const ExploredProgram& explored, const Loop& loop) const {
  const auto around = loops_around(loop.head);
  const auto entry = entries_.find(loop.head);
  if (around.empty() || entry == entries_.end()) return nullptr;
  const Loop& whole = loops_.loops[around.back()];
  if (whole.head != loop.head) return nullptr;
  const LoopBody body(explored, whole);
  for (u32 i : whole.body) {
    if (!explored.proofs[i].reached || std::ranges::binary_search(loop.body, i)) continue;
    const Successors ways = body.ways(i);
    if (std::ranges::find(ways, loop.head) != ways.end()) return nullptr;
  }
  return &entry->second;
}

Ends SecondGear::ends() const {
  const auto number_at = [this](u32 insn, u32 place) -> std::optional<Scalar> {
    const auto entry = numbers_.find(insn);
    return entry == numbers_.end() ? std::nullopt : entry->second[place];
  };
  const std::vector<StackTouch> touches = c_.stack_touches();
  std::vector<const Loop*> unrolled;
  for (u32 l = 0; l < loops_.loops.size(); l++)
    if (!is_endless_[l]) unrolled.push_back(&loops_.loops[l]);
  std::ranges::sort(unrolled, {}, [](const Loop* l) { return l->head; });
  const ExploredProgram explored{c_.program_, c_.analysis_, c_.proofs_, touches};
  const auto entry = [this, &explored](const Loop& loop) -> NumberAt {
    const Numbers* numbers = entry_of(explored, loop);
    if (numbers == nullptr) return {};
    return [numbers](u32, u32 place) { return (*numbers)[place]; };
  };
  // No two visits are in the same rounds of all the loops around, and those of the last rounds are counted.
  const auto not_counted = [this](u32 insn) {
    u64 visits = 1;
    for (std::size_t level = 0; level < std::min<std::size_t>(loops_around(insn).size(), most_levels); level++)
      visits *= patience_.rounds;
    return visits;
  };
  const auto alike = [this](u32 head) {
    const auto found = alike_.find(head);
    return found == alike_.end() ? all_different() : found->second;
  };
  const auto movements = [this](const Loop& loop) { return movements_of(loop); };
  return Ranking{explored, number_at, unrolled, patience_.rounds, entry, alike, movements, not_counted}.ends();
}

}  // namespace skep::verify
