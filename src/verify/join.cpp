// Joining states. See join.hpp.
#include "verify/join.hpp"

#include <algorithm>

#include "verify/domain/scalar_ops.hpp"

namespace skep::verify {

using isa::Form;

Landmarks::Landmarks(const ProgramSpec& program, const Analysis& analysis) {
  for (u32 i = 0; i < program.insns.size(); i++) {
    if (analysis.insns[i].is_tail || isa::row(analysis.insns[i].op).form != Form::jump_imm) continue;
    const s64 number = program.insns[i].imm;
    for (s64 near = number - 1; near <= number + 1; near++) numbers_of_program_.push_back(near);
  }
  numbers_ = numbers_of_program_;
  for (unsigned bits = 0; bits < 63; bits += bits < 8 ? 1 : 4) {
    numbers_.push_back(s64{1} << bits);
    numbers_.push_back((s64{1} << bits) - 1);
    numbers_.push_back(-(s64{1} << bits));
  }
  for (std::vector<s64>* numbers : {&numbers_, &numbers_of_program_}) {
    std::ranges::sort(*numbers);
    numbers->erase(std::unique(numbers->begin(), numbers->end()), numbers->end());
  }
}

namespace {

/// Moves the ends of `joined` that are beyond those of `old`.
template <class U>
Interval<U> widened(const Interval<U>& old, Interval<U> joined, std::span<const s64> landmarks) {
  using S = std::make_signed_t<U>;
  using Range = Interval<U>;
  auto below = [&](s64 number) {  // the last landmark that is not above
    auto it = std::ranges::upper_bound(landmarks, number);
    return it == landmarks.begin() ? s64{Range::s_min} : std::max(s64{Range::s_min}, *(it - 1));
  };
  auto above = [&](s64 number) {
    auto it = std::ranges::lower_bound(landmarks, number);
    return it == landmarks.end() ? s64{Range::s_max} : std::min(s64{Range::s_max}, *it);
  };
  if (joined.smin < old.smin) joined.smin = static_cast<S>(below(joined.smin));
  if (joined.smax > old.smax) joined.smax = static_cast<S>(above(joined.smax));
  const bool is_small = joined.umin <= static_cast<U>(Range::s_max) && joined.umax <= static_cast<U>(Range::s_max);
  if (joined.umin < old.umin)
    joined.umin = is_small ? static_cast<U>(std::max<s64>(0, below(static_cast<s64>(joined.umin)))) : U{0};
  if (joined.umax > old.umax)
    joined.umax = is_small ? static_cast<U>(above(static_cast<s64>(joined.umax))) : Range::u_max;
  return joined;
}

}  // namespace

Scalar Landmarks::widen(const Scalar& old, const Scalar& joined, Widening how) const {
  Scalar result = joined;
  std::span<const s64> landmarks;
  if (how == Widening::patient) landmarks = numbers_;
  if (how == Widening::impatient) landmarks = numbers_of_program_;
  result.wide = widened(old.wide, joined.wide, landmarks);
  result.narrow = widened(old.narrow, joined.narrow, landmarks);
  // Low bits that never changed are how an index is known to be a multiple of its element's size.
  if (const u64 more = joined.bits.mask & ~old.bits.mask; more != 0) {
    result.bits.mask |= ~((more & -more) - 1);
    result.bits.value &= ~result.bits.mask;
  }
  result.normalise();
  return result;
}

Scalar Join::both(const Scalar& a, const Scalar& b) const {
  if (a == b) return a;
  Scalar joined = a.join(b);
  if (widening_ == Widening::none || joined == a) return joined;
  return landmarks_.widen(a, joined, widening_);
}

/// Ids of references, locks and nulls: what is one in `into` must be one in `from`, and the other way round.
bool Join::same_reference(u32 a, u32 b) {
  if ((a == 0) != (b == 0)) return false;
  if (a == 0) return true;
  for (const Reference& known : references_)
    if (known.a == a || known.b == b) return known.a == a && known.b == b;
  references_.push_back({a, b});
  return true;
}

/// One id for all that have the same pair of ids: the one in `into`, for the first pair it is in.
u32 Join::common_id(u32 a, u32 b, s64 apart) {
  bool is_taken = a == 0;
  for (const Equal& known : equals_) {
    if (known.a == a && known.b == b && known.apart == apart) return known.id;
    is_taken |= known.a == a;
  }
  equals_.push_back({a, b, apart, is_taken ? ++last_id_ : a});
  return equals_.back().id;
}

bool Join::join_scalar(Register& a, const Register& b) {
  a.number = both(a.number, b.number);
  const bool same_distance = a.has_delta == b.has_delta && a.narrow_delta == b.narrow_delta && a.off == b.off;
  a.id = same_distance && a.id != 0 && b.id != 0 ? common_id(a.id, b.id, 0) : 0;
  if (a.id == 0) a.unlink();
  if (a.object != b.object) a.object = 0;
  return true;
}

bool Join::join_register(Register& a, const Register& b) {
  if (a.kind == Kind::uninitialised || b.kind == Kind::uninitialised) {
    a = {};
    return true;
  }
  if (a.kind != b.kind) return false;
  if (a.is_scalar()) return join_scalar(a, b);
  if (a.or_null != b.or_null || a.read_only != b.read_only || a.is_record != b.is_record || a.frame != b.frame ||
      a.object != b.object || a.trust != b.trust || a.is_packet_slice != b.is_packet_slice ||
      (!a.is_packet() && a.extent != b.extent) || !same_reference(a.ref_id, b.ref_id))
    return false;
  const bool moves = a.kind == Kind::stack || a.kind == Kind::map_value || a.kind == Kind::memory || a.is_packet();
  const s64 apart = s64{b.off} - s64{a.off};
  if ((apart != 0 || !(a.number == b.number)) && !moves) return false;
  if (apart != static_cast<s32>(apart) || (apart != 0 && a.or_null)) return false;
  const Scalar moved = apart == 0 ? b.number : alu(isa::Alu::add, b.number, Scalar::of(static_cast<u64>(apart)), true);
  a.number = both(a.number, moved);
  if (a.past_end != b.past_end) a.past_end = PastEnd::unknown;
  if (!a.is_packet()) return same_reference(a.id, b.id);
  // What is proved counts from where the variable part ends; another variable part is shared with nobody.
  const s64 proved = std::max<s64>(0, std::min<s64>(a.extent, s64{b.extent} - apart));
  a.extent = static_cast<u32>(proved);
  if (a.id != 0 || b.id != 0 || !a.number.is_const()) a.id = common_id(a.id, b.id, apart);
  return true;
}

bool Join::join_slot(Frame& frame, u32 index, const Slot& b) {
  Slot& a = frame.slots[index];
  if (a.is_special() || b.is_special()) {
    if (a.bytes != b.bytes) return false;
    Register held = a.spill->value;
    const Register& other = b.spill->value;
    const bool same = held.kind == other.kind && held.object == other.object && held.is_record == other.is_record &&
                      held.off == other.off && held.extent == other.extent && held.read_only == other.read_only &&
                      held.trust == other.trust && held.number == other.number;
    return same && same_reference(held.id, other.id) && same_reference(held.ref_id, other.ref_id);
  }
  if (a.bytes == b.bytes && a.is_spilled()) {
    Register held = a.spill->value;
    if (join_register(held, b.spill->value) && held.kind != Kind::uninitialised) {
      if (!(held == a.spill->value)) pool_.set_spill(a, held);
      return true;
    }
  }
  const auto number = [](const Slot& slot) {
    if (slot.bytes[7] == Byte::spilled && slot.spill->value.is_scalar()) return slot.spill->value;
    return std::ranges::count(slot.bytes, Byte::zero) == slot_bytes ? Register::constant(0) : Register{};
  };
  if (Register held = number(a), other = number(b); held.is_scalar() && other.is_scalar() && a.bytes != b.bytes) {
    join_scalar(held, other);
    pool_.set_spill(a, held);
    a.bytes.fill(Byte::spilled);
    return true;
  }
  const auto is_pointer = [](const Slot& slot) { return slot.is_spilled() && !slot.spill->value.is_scalar(); };
  const bool loses_pointer = is_pointer(a) || is_pointer(b);
  const auto is_untouched = [](const Slot& slot) {
    return std::ranges::count(slot.bytes, Byte::untouched) == slot_bytes;
  };
  if (loses_pointer && !loses_pointers_ && !is_untouched(a) && !is_untouched(b)) return false;
  const bool differ = a.bytes != b.bytes || a.is_spilled();
  if (!differ) return true;
  for (u32 k = 0; k < slot_bytes; k++) {
    const Byte x = a.bytes[k], y = b.bytes[k];
    if (loses_pointer || x == Byte::untouched || y == Byte::untouched)
      a.bytes[k] = Byte::untouched;
    else if (x != y || x == Byte::spilled)
      a.bytes[k] = Byte::number;
  }
  pool_.clear_spill(a);
  return true;
}

namespace {

/// Most slots: the two states are copies of one that wrote them, and what they hold is not told apart by its ids.
bool is_same(const Slot& a, const Slot& b) {
  if (a.spill != b.spill || a.bytes != b.bytes) return false;
  if (a.spill == nullptr) return true;
  const Register& held = a.spill->value;
  return held.id == 0 && held.ref_id == 0 && held.kind != Kind::uninitialised && !held.is_packet();
}

}  // namespace

bool Join::join_frame(Frame& into, const Frame& from, u32 insn) {
  if (into.function != from.function || into.is_callback != from.is_callback || into.special != from.special)
    return false;
  into.callback_depth = std::min(into.callback_depth, from.callback_depth);
  const u16 live = analysis_.insns[insn].live;
  for (u32 r = 0; r < isa::frame_pointer; r++) {
    if ((live >> r & 1) == 0)
      into.regs[r] = {};
    else if (!join_register(into.regs[r], from.regs[r]))
      return false;
  }
  static const Slot untouched{};
  for (u32 s = 0; s < into.slot_count; s++) {
    const Slot& other = s < from.slot_count ? from.slots[s] : untouched;
    if (!is_same(into.slots[s], other) && !join_slot(into, s, other)) return false;
  }
  return true;
}

bool Join::operator()(State& into, const State& from, u32 insn) {
  if (into.depth != from.depth || into.acquired.size() != from.acquired.size() || into.rcu != from.rcu ||
      into.preempt_depth != from.preempt_depth || into.locks.size() != from.locks.size())
    return false;
  for (std::size_t i = 0; i < into.locks.size(); i++) {
    const Lock &a = into.locks[i], &b = from.locks[i];
    if (a.kind != b.kind || a.map != b.map || a.in_object != b.in_object || !same_reference(a.id, b.id)) return false;
  }
  for (std::size_t i = 0; i < into.acquired.size(); i++)
    if (into.acquired[i].interrupts != from.acquired[i].interrupts ||
        !same_reference(into.acquired[i].id, from.acquired[i].id))
      return false;
  for (u32 depth = 0; depth <= into.depth; depth++)
    if (!join_frame(*into.frames[depth], *from.frames[depth],
                    depth == into.depth ? insn : into.frames[depth + 1]->call_insn))
      return false;
  return true;
}

}  // namespace skep::verify
