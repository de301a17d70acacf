// The stack: which bytes were written, what spilled registers hold, where helpers may point.
//
// A slot of 8 bytes either holds a spilled register (its bytes say how many of them belong to it) or loose bytes.
// Spills keep everything that is known of the register: compilers move loop counters and packet pointers through
// the stack all the time.
#include <algorithm>

#include "verify/checker.hpp"

namespace skep::verify {

using catalog::MessageId;

namespace {
constexpr s64 lowest = -static_cast<s64>(isa::stack_size_bytes);
constexpr s64 max_offset = 1 << 29;

/// Slot index and first byte of a (negative) frame offset.
u32 slot_of(s64 off) { return static_cast<u32>((-off - 1) / slot_bytes); }
u32 byte_of(s64 off) { return static_cast<u32>((off % slot_bytes + slot_bytes) % slot_bytes); }

unsigned width_of(const Scalar& s) {
  return s.wide.umax == 0 ? 0 : 64 - static_cast<unsigned>(__builtin_clzll(s.wide.umax));
}
}  // namespace

bool Checker::stack_bounds(u32 index, const Register& r, s32 off, u32 size, s64& low, s64& high) {
  s64 base = s64{r.off} + off;
  if (r.number.is_const()) {
    low = high = base + static_cast<s64>(r.number.value());
  } else {
    if (is_unprivileged())
      return refuse_for(static_cast<s32>(index), MessageId::unprivileged_offset, name(r), "varies");
    if (r.number.wide.smax >= max_offset || r.number.wide.smin <= -max_offset)
      return refuse_for(static_cast<s32>(index), MessageId::stack_offset_unbounded, index, r.number.wide.smin,
                        r.number.wide.smax);
    low = base + r.number.wide.smin;
    high = base + r.number.wide.smax;
  }
  if (low < lowest || high >= 0 || high + size > 0)  // no address at or above r10, not even for no bytes
    return refuse_for(static_cast<s32>(index), MessageId::stack_out_of_bounds, size, low, high);
  note_stack_use(index, r, low, high + size);
  return true;
}

/// `high` is behind the last byte.
void Checker::note_stack_use(u32 reg, const Register& r, s64 low, s64 high) {
  const u32 owner = analysis_.functions[state_.frames[r.frame]->function].first;
  const StackTouch touch{insn_, owner, static_cast<s16>(low), static_cast<s16>(high), static_cast<u8>(reg)};
  for (u32 at = insn_;; at = touches_[at].next) {
    StackTouch& noted = touches_[at].touch;
    if (noted.low == 0) {  // nothing yet: a touch begins below the frame pointer
      noted = touch;
    } else if (noted.function == owner && noted.reg == touch.reg) {
      noted.low = std::min(noted.low, touch.low);
      noted.high = std::max(noted.high, touch.high);
    } else if (touches_[at].next != 0) {
      continue;
    } else {
      touches_[at].next = static_cast<u32>(touches_.size());
      touches_.push_back({touch});
    }
    break;
  }
  u32& deepest = function_stack_[state_.frames[r.frame]->function];
  deepest = std::max(deepest, static_cast<u32>(-low));
  grow_stack(*state_.frames[r.frame], slot_of(low) + 1);
}

/// A part of a spilled register is overwritten: the rest is bytes. Linux forgets then what it knew of the others, too.
void Checker::forget_spill(Slot& slot) {
  if (slot.is_spilled())
    for (Byte& b : slot.bytes)
      if (b == Byte::spilled || (is_kernel() && b == Byte::zero)) b = Byte::number;
  pool_.clear_spill(slot);
}

void Checker::grow_stack(Frame& frame, u32 slots) { frame.slot_count = std::max(frame.slot_count, slots); }

bool Checker::stack_store(u32 index, s32 off, u32 size, const Register& value, bool value_is_register) {
  const Register pointer = reg(index);
  s64 low = 0, high = 0;
  if (!stack_bounds(index, pointer, off, size, low, high)) return false;
  Frame& frame = *state_.frames[pointer.frame];

  if (low != high) {  // somewhere in the range: every byte it may reach becomes a number
    bool zero = value.is_zero();
    bool relied_on_zero = false;
    for (s64 at = low; at < high + size; at++) {
      Slot& slot = frame.slots[slot_of(at)];
      Byte& byte = slot.bytes[byte_of(at)];
      if (slot.is_special() && !scrub(frame, slot_of(at))) return false;
      if (byte == Byte::untouched && !may_read_untouched())
        return refuse_for(static_cast<s32>(index), MessageId::stack_uninitialised, at, size);
      if (slot.is_spilled()) {
        if (zero && slot.spill->value.is_zero()) {
          relied_on_zero = true;
          continue;
        }
        for (Byte& b : slot.bytes)
          if (b == Byte::spilled) b = Byte::number;
        pool_.clear_spill(slot);
      }
      if (zero && byte == Byte::zero)
        relied_on_zero = true;
      else
        byte = Byte::number;
    }
    if (relied_on_zero && value_is_register && !need_precise(insn().src)) return false;
    return true;
  }

  u32 spi = slot_of(low), first = byte_of(low);
  Slot& slot = frame.slots[spi];
  if (slot.is_special() && !scrub(frame, spi)) return false;
  if (first == 0 && size == slot_bytes) wrote_slot(pointer.frame, spi);
  if (is_unprivileged() && slot.is_spilled() && slot.spill->value.is_pointer() && size != slot_bytes)
    return refuse_for(static_cast<s32>(index), MessageId::spilled_pointer_corrupted, low, size);
  // Of numbers in the stack nothing is known to unprivileged programs but whether they are zero.
  bool spills = first == 0 && ((value.is_scalar() && !is_unprivileged()) || (value.is_pointer() && size == slot_bytes));
  if (value.is_pointer() && size != slot_bytes)
    return refuse(MessageId::pointer_spilled_partly, static_cast<unsigned>(insn().src), size);
  if (value.is_pointer() && first != 0)
    return refuse_for(static_cast<s32>(index), MessageId::stack_misaligned, low, size);
  if (value.kind == Kind::stack && pointer.frame != state_.depth)
    return refuse(MessageId::stack_pointer_to_caller, static_cast<unsigned>(insn().src));
  if (spills) {
    Register kept = value;
    if (value.is_scalar() && size < slot_bytes && width_of(value.number) > size * 8)
      kept = Register::scalar(truncated(value.number, size * 8));
    pool_.set_spill(slot, kept);
    for (u32 b = 0; b < slot_bytes; b++) {
      if (b < size)
        slot.bytes[b] = Byte::spilled;
      else if (slot.bytes[b] == Byte::spilled)
        slot.bytes[b] = Byte::number;
    }
    note_history();
    path_.back().what = Step::What::stack_write;
    path_.back().frame = pointer.frame;
    path_.back().slot = static_cast<u8>(spi);
    return true;
  }
  forget_spill(slot);
  bool zero = value.is_zero();
  if (zero && value_is_register && !need_precise(insn().src)) return false;
  for (u32 b = 0; b < size; b++) {
    // An access may straddle two slots only when it is misaligned, which was refused before.
    slot.bytes[first + b] = zero ? Byte::zero : Byte::number;
  }
  return true;
}

bool Checker::stack_load(u32 index, s32 off, u32 size, Register* result) {
  const Register pointer = reg(index);
  s64 low = 0, high = 0;
  if (!stack_bounds(index, pointer, off, size, low, high)) return false;
  Frame& frame = *state_.frames[pointer.frame];
  if (low != high) {
    if (!stack_range(index, off, size, Access::read)) return false;
    bool zero = true;
    for (s64 at = low; at < high + size; at++) {
      const Slot& slot = frame.slots[slot_of(at)];
      zero = zero && slot.bytes[byte_of(at)] == Byte::zero;
    }
    *result = zero ? Register::constant(0) : Register::scalar(Scalar::of_bits(size * 8));
    return true;
  }
  u32 spi = slot_of(low), first = byte_of(low);
  Slot& slot = frame.slots[spi];
  read_slot(pointer.frame, spi);
  if (slot.is_special())
    return refuse_for(static_cast<s32>(index), MessageId::stack_object_read, low, name_of(slot.spill->value.kind));
  if (slot.is_spilled()) {
    u32 spilled = 0;
    while (spilled < slot_bytes && slot.bytes[spilled] == Byte::spilled) spilled++;
    Register& held = slot.spill->value;
    auto from_slot = [&] {
      note_history();
      path_.back().what = Step::What::stack_read;
      path_.back().frame = pointer.frame;
      path_.back().slot = static_cast<u8>(spi);
    };
    if (size == slot_bytes && spilled == slot_bytes) {
      from_slot();
      if (held.is_scalar() && !held.is_const() && held.id == 0) {
        Register with_id = held;
        with_id.id = new_id();
        pool_.set_spill(slot, with_id);
      }
      *result = slot.spill->value;
      if (result->has_delta) result->unlink();
      return true;
    }
    if (held.is_pointer())
      return refuse_for(static_cast<s32>(index), MessageId::spilled_pointer_read_partly, low, size);
    if (first == 0 && size <= spilled) {
      from_slot();
      bool equal = width_of(held.number) <= size * 8;
      if (equal && !held.is_const() && held.id == 0) {
        Register with_id = held;
        with_id.id = new_id();
        pool_.set_spill(slot, with_id);
      }
      *result = slot.spill->value;
      if (!equal) *result = Register::scalar(truncated(result->number, size * 8));
      if (result->has_delta) result->unlink();
      return true;
    }
    if (held.is_zero()) {
      bool all_spilled = true;
      for (u32 b = 0; b < size; b++) all_spilled = all_spilled && slot.bytes[first + b] == Byte::spilled;
      if (all_spilled) {
        from_slot();
        *result = Register::constant(0);
        return true;
      }
    }
  }
  u32 zeros = 0;
  for (u32 b = 0; b < size; b++) {
    Byte byte = slot.bytes[first + b];
    if (byte == Byte::zero) zeros++;
    if (byte == Byte::untouched && !may_read_untouched())
      return refuse_for(static_cast<s32>(index), MessageId::stack_uninitialised, low + b, size);
  }
  *result = zeros == size ? Register::constant(0) : Register::scalar(Scalar::of_bits(size * 8));
  return true;
}

/// `part` bytes from `at` on, all of one slot and of the `size` bytes that a helper is handed.
bool Checker::use_slot(u32 index, u32 owner, s64 at, u32 part, u32 size, Access access) {
  Frame& frame = *state_.frames[owner];
  const u32 spi = slot_of(at), first = byte_of(at);
  Slot& slot = frame.slots[spi];
  if (slot.is_special()) {
    if (access != Access::fill)
      return refuse_for(static_cast<s32>(index), MessageId::stack_object_read, at, name_of(slot.spill->value.kind));
    if (!scrub(frame, spi)) return false;
  }
  if (access != Access::fill) {
    const bool hides_pointer = is_unprivileged() && slot.is_spilled() && slot.spill->value.is_pointer();
    for (u32 b = first; b < first + part; b++) {
      const bool is_hidden = hides_pointer && slot.bytes[b] == Byte::spilled;
      if (is_hidden || (slot.bytes[b] == Byte::untouched && !may_read_untouched()))
        return refuse_for(static_cast<s32>(index), MessageId::stack_uninitialised, at + b - first, size);
    }
    read_slot(owner, spi);
  }
  if (access == Access::read) return true;
  forget_spill(slot);
  std::fill_n(slot.bytes.begin() + first, part, Byte::number);
  if (access == Access::fill && part == slot_bytes) wrote_slot(owner, spi);
  return true;
}

/// A range of stack handed to a helper: initialised where it is read, forgotten where it is written.
bool Checker::stack_range(u32 index, s32 off, u32 size, Access access) {
  const Register pointer = reg(index);
  s64 low = 0, high = 0;
  if (!stack_bounds(index, pointer, off, size, low, high)) return false;
  if (access == Access::fill && low != high) access = Access::write;  // which bytes get filled is not known
  for (s64 at = low, end = high + size; at < end;) {
    const u32 part = static_cast<u32>(std::min<s64>(slot_bytes - byte_of(at), end - at));
    if (!use_slot(index, pointer.frame, at, part, size, access)) return false;
    at += part;
  }
  return true;
}

}  // namespace skep::verify
