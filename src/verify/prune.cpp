// When a state needs no second look: it is covered by one whose paths were all proved.
//
// "Old covers now" means: whatever the program does from here with `now`, it could have done with `old`, which was
// proved. Dead registers and slots do not count. Numbers count only where a proof rested on them (precision.cpp).
// Ids must correspond one to one: two registers that were equal in `old` must be equal in `now`.
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
           old.has_delta == now.has_delta && same_id(old.id, now.id) && same_id(old.ref_id, now.ref_id);
  }
  if (old.is_scalar()) {
    if (!precise && !is_unprivileged() && match == Match::covers) return true;
    if (old.has_delta != now.has_delta || (old.has_delta && old.off != now.off)) return false;
    return old.number.includes(now.number) && same_scalar_id(old.id, now.id);
  }
  if (old.or_null != now.or_null || old.read_only != now.read_only || old.is_record != now.is_record ||
      old.frame != now.frame || old.off != now.off || old.object != now.object || old.trust != now.trust ||
      old.is_packet_slice != now.is_packet_slice)
    return false;
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
  if (old_bits == 0) return true;  // all untouched: the old path did not rely on it
  if (old_bits == now_bits) {      // mostly
    if (!a.is_spilled() && !a.is_special()) return true;
    if (a.spill == b.spill && a.spill->value.id == 0 && a.spill->value.ref_id == 0) return true;
    return register_matches(a.spill->value, b.spill->value, precise || a.is_special(), match);
  }
  auto whole_scalar = [](const Slot& s) { return s.bytes[7] == Byte::spilled && s.spill->value.is_scalar(); };
  bool same_shape = true;  // the same bytes are spilled in both
  for (u32 k = 0; k < slot_bytes; k++) {
    Byte old_byte = a.bytes[k], now_byte = b.bytes[k];
    same_shape = same_shape && (old_byte == Byte::spilled) == (now_byte == Byte::spilled);
    if (old_byte == Byte::special || now_byte == Byte::special) {
      if (old_byte != now_byte && old_byte != Byte::untouched) return false;
      if (old_byte == Byte::special) continue;  // compared as registers below
    }
    if (old_byte == Byte::untouched) continue;  // the old path did not rely on it
    if (old_byte == Byte::number) {
      if (forgives_untouched()) continue;  // any bytes may be read as numbers
      if (now_byte == Byte::number || now_byte == Byte::zero) continue;
      if (now_byte == Byte::spilled && b.spill->value.is_scalar()) continue;
      return false;
    }
    if (old_byte == Byte::zero) {
      if (now_byte != Byte::zero) return false;
      continue;
    }
    // old_byte is spilled: compared as a register below.
    if (now_byte == Byte::spilled) continue;
    bool loose =
        now_byte == Byte::number || now_byte == Byte::zero || (forgives_untouched() && now_byte == Byte::untouched);
    if (!loose || !(is_kernel() ? whole_scalar(a) : a.spill->value.is_scalar())) return false;
  }
  if (a.is_special()) return register_matches(a.spill->value, b.spill->value, true, match);
  if (!a.is_spilled()) return true;
  if (same_shape) return register_matches(a.spill->value, b.spill->value, precise, match);
  // What is there now reads as a whole as an unknown number that is equal to no register: enough only where the proof
  // did not rest on the old number, nor on its being equal to one.
  if (whole_scalar(a)) return register_matches(a.spill->value, Register::scalar(Scalar::unknown()), precise, match);
  if (is_kernel() || !a.spill->value.is_scalar()) return false;
  // Half a slot, two of which make one: what is spilled in both must be no more in one than in the other.
  unsigned width = 0;
  for (u32 k = 0; k < slot_bytes; k++) {
    if (a.bytes[k] == Byte::spilled) width++;
    if (b.bytes[k] == Byte::spilled && !b.spill->value.is_scalar()) return false;
  }
  return register_matches(a.spill->value, Register::scalar(Scalar::of_bits(8 * width)), precise, match);
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
    const u64 live_here = is_kernel() ? live_slots(depth) : 0;
    slots &= old.live_slots[depth] | live_here | a.special;
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
  if (old.state.lock.held != state_.lock.held || old.state.rcu != state_.rcu ||
      old.state.preempt_depth != state_.preempt_depth)
    return false;
  id_pairs_.clear();
  fresh_id_ = 0;
  if (old.state.lock.held &&
      (old.state.lock.map != state_.lock.map || old.state.lock.in_object != state_.lock.in_object ||
       !same_id(old.state.lock.id, state_.lock.id)))
    return false;
  for (std::size_t i = 0; i < state_.acquired.size(); i++)
    if (!same_id(old.state.acquired[i].id, state_.acquired[i].id)) return false;
  for (u32 depth = 0; depth <= state_.depth; depth++)
    if (!frame_matches(old, depth, match)) return false;
  return true;
}

/// This path ends at a covering checkpoint: what its proof rested on, this path's checkpoints rest on too.
/// `everything`: every number and slot of it.
bool Checker::adopt(const Checkpoint& old, bool everything) {
  for (u32 depth = 0; depth <= state_.depth; depth++) {
    u64 all = old.state.frames[depth]->slot_count == 64 ? ~u64{0} : (u64{1} << old.state.frames[depth]->slot_count) - 1;
    for (u64 slots = everything ? all : old.live_slots[depth]; slots != 0; slots &= slots - 1)
      need_slot(depth, static_cast<u32>(std::countr_zero(slots)));
  }
  return need_precise_at_start(old, everything);
}

}  // namespace skep::verify
