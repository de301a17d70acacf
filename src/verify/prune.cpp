// When a state needs no second look: it is covered by one whose paths were all proved.
//
// "Old covers now" means: whatever the program does from here with `now`, it could have done with `old`, which was
// proved. Dead registers and slots do not count. Numbers count only where a proof rested on them (precision.cpp).
// Ids must correspond one to one: two registers that were equal in `old` must be equal in `now`.
#include <algorithm>

#include "verify/checker.hpp"

namespace skep::verify {

bool Checker::same_id(u32 old_id, u32 now_id) {
  if ((old_id == 0) != (now_id == 0)) return false;
  if (old_id == 0) return true;
  for (const auto& [o, n] : id_pairs_) {
    if (o == old_id) return n == now_id;
    if (n == now_id) return false;
  }
  id_pairs_.emplace_back(old_id, now_id);
  return true;
}

/// A scalar without an id is equal to nobody: it gets one of its own.
bool Checker::same_scalar_id(u32 old_id, u32 now_id) {
  constexpr u32 first_fresh = 1u << 31;
  u32 fresh = first_fresh + fresh_id_;
  fresh_id_ += 2;
  return same_id(old_id != 0 ? old_id : fresh, now_id != 0 ? now_id : fresh + 1);
}

bool Checker::register_matches(const Register& old, const Register& now, bool precise, Match match) {
  if (old.kind == Kind::uninitialised && match != Match::exact) return true;
  if (old.kind != now.kind) return false;
  if (match == Match::exact) {
    return old.or_null == now.or_null && old.off == now.off && old.object == now.object && old.extent == now.extent &&
           old.frame == now.frame && old.trust == now.trust && old.number == now.number &&
           old.has_delta == now.has_delta && old.narrow_delta == now.narrow_delta && old.past_end == now.past_end &&
           same_id(old.id, now.id) && same_id(old.ref_id, now.ref_id);
  }
  if (old.is_scalar()) {
    if (!precise && !is_unprivileged() && match == Match::covers) return true;
    // The old path took it for equal to nobody: what it is equal to now only says more of it.
    if (is_kernel() && !is_unprivileged() && old.id == 0) return old.number.includes(now.number);
    if (old.has_delta != now.has_delta || old.narrow_delta != now.narrow_delta || (old.has_delta && old.off != now.off))
      return false;
    return old.number.includes(now.number) && same_scalar_id(old.id, now.id);
  }
  if (old.or_null != now.or_null || old.read_only != now.read_only || old.is_record != now.is_record ||
      old.frame != now.frame || old.off != now.off || old.object != now.object || old.trust != now.trust ||
      old.is_packet_slice != now.is_packet_slice)
    return false;
  // Linux compares such knowledge like another kind of pointer.
  if (old.past_end != now.past_end && (old.past_end != PastEnd::unknown || is_kernel())) return false;
  // More proved bytes of a packet are as good; any other extent is part of the type.
  if (old.is_packet() ? old.extent > now.extent : old.extent != now.extent) return false;
  return old.number.includes(now.number) && same_id(old.id, now.id) && same_id(old.ref_id, now.ref_id);
}

bool Checker::slot_matches(const Checkpoint& old, u32 depth, u32 index, Match match) {
  static const Slot empty{};
  const Frame& old_frame = *old.state.frames[depth];
  const Frame& now_frame = *state_.frames[depth];
  const Slot& a = old_frame.slots[index];
  const Slot& b = index < now_frame.slot_count ? now_frame.slots[index] : empty;
  bool precise = (old.precise_slots[depth] >> index & 1) != 0;
  if (match == Match::exact) {
    if (a.bytes != b.bytes) return false;
    return a.spill == nullptr || b.spill == nullptr ? a.spill == b.spill
                                                    : register_matches(a.spill->value, b.spill->value, true, match);
  }
  const u64 old_bits = std::bit_cast<u64>(a.bytes), now_bits = std::bit_cast<u64>(b.bytes);
  if (old_bits == 0) return true;                              // all untouched: the old path did not rely on it
  if (old_bits == now_bits && index < now_frame.slot_count) {  // mostly
    if (!a.is_spilled() && !a.is_special()) return true;
    if (a.spill == b.spill && a.spill->value.id == 0 && a.spill->value.ref_id == 0) return true;
    return register_matches(a.spill->value, b.spill->value, precise || a.is_special(), match);
  }
  if (is_kernel()) return other_slot_matches_as_in_linux(a, b, index < now_frame.slot_count, precise, match);
  return other_slot_matches(a, b, precise, match);
}

namespace {
bool is_whole_scalar(const Slot& s) { return s.bytes[7] == Byte::spilled && s.spill->value.is_scalar(); }
}  // namespace

/// Slots whose bytes differ. `old` covers `now` where every read of the old bytes gives no less than one of the new.
bool Checker::other_slot_matches(const Slot& old, const Slot& now, bool precise, Match match) {
  bool same_shape = true;  // the same bytes are spilled in both
  for (u32 k = 0; k < slot_bytes; k++) {
    const Byte old_byte = old.bytes[k], now_byte = now.bytes[k];
    same_shape = same_shape && (old_byte == Byte::spilled) == (now_byte == Byte::spilled);
    if (old_byte == Byte::special || now_byte == Byte::special) {
      if (old_byte != now_byte && old_byte != Byte::untouched) return false;
      if (old_byte == Byte::special) continue;  // compared as registers below
    }
    if (old_byte == Byte::untouched) continue;  // the old path did not rely on it
    if (old_byte == Byte::number) {
      if (now_byte == Byte::number || now_byte == Byte::zero) continue;
      if (now_byte == Byte::spilled && now.spill->value.is_scalar()) continue;
      return false;
    }
    if (old_byte == Byte::zero) {
      if (now_byte != Byte::zero) return false;
      continue;
    }
    // old_byte is spilled: compared as a register below.
    if (now_byte == Byte::spilled) continue;
    if ((now_byte != Byte::number && now_byte != Byte::zero) || !old.spill->value.is_scalar()) return false;
  }
  if (old.is_special()) return register_matches(old.spill->value, now.spill->value, true, match);
  if (!old.is_spilled()) return true;
  if (same_shape) return register_matches(old.spill->value, now.spill->value, precise, match);
  // What is there now reads as a whole as an unknown number that is equal to no register: enough only where the proof
  // did not rest on the old number, nor on its being equal to one.
  if (is_whole_scalar(old))
    return register_matches(old.spill->value, Register::scalar(Scalar::unknown()), precise, match);
  if (!old.spill->value.is_scalar()) return false;
  // Half a slot, two of which make one: what is spilled in both must be no more in one than in the other.
  unsigned width = 0;
  for (u32 k = 0; k < slot_bytes; k++) {
    if (old.bytes[k] == Byte::spilled) width++;
    if (now.bytes[k] == Byte::spilled && !now.spill->value.is_scalar()) return false;
  }
  return register_matches(old.spill->value, Register::scalar(Scalar::of_bits(8 * width)), precise, match);
}

/// The same question as Linux 6.18 answers it (stacksafe), which is stricter in some places and laxer in others: a
/// privileged program may read bytes that were never written. `is_there`: the path has touched a slot as deep.
bool Checker::other_slot_matches_as_in_linux(const Slot& old, const Slot& now, bool is_there, bool precise,
                                             Match match) {
  const bool lax = forgives_untouched();
  auto says_nothing = [lax](Byte byte) { return byte == Byte::number || (lax && byte == Byte::untouched); };
  const bool nothing_old = std::ranges::all_of(old.bytes, says_nothing);
  if (lax && nothing_old) return true;
  if (!is_there) return false;
  if (!old.is_special() && !now.is_special()) {
    const bool nothing_now = std::ranges::all_of(now.bytes, says_nothing);
    const Register anything = Register::unknown();
    const bool old_is_number = nothing_old || is_whole_scalar(old), now_is_number = nothing_now || is_whole_scalar(now);
    if (old_is_number && now_is_number)
      return register_matches(nothing_old ? anything : old.spill->value, nothing_now ? anything : now.spill->value,
                              precise && !nothing_old, match);
  }
  for (u32 k = 0; k < slot_bytes; k++) {
    const Byte old_byte = old.bytes[k], now_byte = now.bytes[k];
    if (old_byte == Byte::untouched || (lax && old_byte == Byte::number)) continue;
    if (old_byte == Byte::number && now_byte == Byte::zero) continue;
    if (old_byte != now_byte) return false;
  }
  if (old.is_special()) return register_matches(old.spill->value, now.spill->value, true, match);
  return !old.is_spilled() || register_matches(old.spill->value, now.spill->value, precise, match);
}

bool Checker::frame_matches(const Checkpoint& old, u32 depth, Match match) {
  const Frame& a = *old.state.frames[depth];
  const Frame& b = *state_.frames[depth];
  if (depth > 0 && a.call_insn != b.call_insn) return false;
  if (a.function != b.function || a.is_callback != b.is_callback || a.callback_depth > b.callback_depth) return false;
  u32 at = depth == state_.depth ? insn_ : state_.frames[depth + 1]->call_insn;
  u16 live = match == Match::exact ? u16{0x7ff} : analysis_.insns[at].live;
  for (u32 left = live; left != 0; left &= left - 1) {
    const u32 r = static_cast<u32>(std::countr_zero(left));
    if (!register_matches(a.regs[r], b.regs[r], (old.precise_regs[depth] >> r & 1) != 0, match)) return false;
  }
  if (match == Match::exact && a.slot_count != b.slot_count) return false;
  if ((b.special & ~a.special) != 0) return false;  // nor may there be one more than there was
  u64 slots = a.slot_count == max_slots ? ~u64{0} : (u64{1} << a.slot_count) - 1;
  // What an iterator or a dynptr is must be the same, read or not: its release is due.
  if (match == Match::covers) {
    slots &= old.live_slots[depth] | old.may_be_read[depth] | a.special;
  }
  for (; slots != 0; slots &= slots - 1)
    if (!slot_matches(old, depth, static_cast<u32>(std::countr_zero(slots)), match)) return false;
  return true;
}

/// Slots of the frame at `depth` that may be read from here on, in this function or in those it returns to.
u64 Checker::live_slots(u32 depth) const {
  u64 live = stack_liveness_.live(state_.current().liveness, insn_, depth);
  for (u32 d = depth; d < state_.depth; d++) {
    const Frame& callee = *state_.frames[d + 1];
    const u32 back = callee.is_callback ? callee.call_insn : callee.call_insn + 1;
    live |= stack_liveness_.live(state_.frames[d]->liveness, back, depth);
  }
  return live;
}

/// Linux forgets what is dead in a finished state when its instruction is reached again, once: what later paths read
/// from there on does not bring it back.
void Checker::clean(Checkpoint& old) const {
  if (!is_kernel() || old.is_cleaned || old.active || is_incomplete(old) || old.state.depth != state_.depth) return;
  for (u32 depth = 1; depth <= state_.depth; depth++)
    if (old.state.frames[depth]->call_insn != state_.frames[depth]->call_insn) return;
  old.is_cleaned = true;
  for (u32 depth = 0; depth <= state_.depth; depth++) old.may_be_read[depth] = live_slots(depth);
}

/// A number that is equal to no other one has no need of an id; without, more states are as good as this one. Linux
/// does so with what it remembers.
void Checker::forget_lonely_ids() {
  if (!is_kernel() || is_unprivileged()) return;
  std::vector<u32> seen, shared;
  const auto look = [&](const Register& r) {
    if (!r.is_scalar() || r.id == 0) return;
    const bool is_known = std::ranges::find(seen, r.id) != seen.end();
    (is_known ? shared : seen).push_back(r.id);
  };
  for (u32 depth = 0; depth <= state_.depth; depth++) {
    const Frame& frame = *state_.frames[depth];
    for (const Register& r : frame.regs) look(r);
    for (u32 s = 0; s < frame.slot_count; s++)
      if (frame.slots[s].spill != nullptr) look(frame.slots[s].spill->value);
  }
  if (seen.empty()) return;
  for_each_register(pool_, state_, [&](Register& r) {
    if (!r.is_scalar() || r.id == 0 || std::ranges::find(shared, r.id) != shared.end()) return false;
    r.unlink();
    return true;
  });
}

/// A cheap look before the exact comparison: the current frame's registers, without ids.
bool Checker::may_loop(const State& old) const {
  if (old.depth != state_.depth) return false;
  const Frame& a = old.current();
  const Frame& b = state_.current();
  for (u32 r = 0; r < isa::register_count; r++)
    if (a.regs[r].kind != b.regs[r].kind || !(a.regs[r].number == b.regs[r].number)) return false;
  return true;
}

bool Checker::states_match(const Checkpoint& old, Match match) {
  if (old.state.depth != state_.depth || old.state.acquired.size() != state_.acquired.size()) return false;
  if (old.state.locks.size() != state_.locks.size() || old.state.rcu != state_.rcu ||
      old.state.preempt_depth != state_.preempt_depth)
    return false;
  id_pairs_.clear();
  fresh_id_ = 0;
  for (std::size_t i = 0; i < state_.locks.size(); i++) {
    const Lock &was = old.state.locks[i], &is = state_.locks[i];
    if (was.kind != is.kind || was.map != is.map || was.in_object != is.in_object || !same_id(was.id, is.id))
      return false;
  }
  for (std::size_t i = 0; i < state_.acquired.size(); i++)
    if (old.state.acquired[i].interrupts != state_.acquired[i].interrupts ||
        !same_id(old.state.acquired[i].id, state_.acquired[i].id))
      return false;
  for (u32 depth = 0; depth <= state_.depth; depth++)
    if (!frame_matches(old, depth, match)) return false;
  return true;
}

/// This path ends at a covering checkpoint: what its proof rested on, this path's checkpoints rest on too.
/// `everything`: every number and slot of it.
bool Checker::adopt(const Checkpoint& old, bool everything) {
  for (u32 depth = 0; depth <= state_.depth; depth++) {
    u64 all = old.state.frames[depth]->slot_count == 64 ? ~u64{0} : (u64{1} << old.state.frames[depth]->slot_count) - 1;
    for (u64 slots = everything ? all : old.live_slots[depth]; slots != 0; slots &= slots - 1) {
      const u32 slot = static_cast<u32>(std::countr_zero(slots));
      if (trail_) trail_->read_slot(depth, slot, false);  // by what follows: the last step's writes count
      need_slot(depth, slot);
    }
  }
  return need_precise_at_start(old, everything);
}

}  // namespace skep::verify
