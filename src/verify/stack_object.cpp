// Objects that live on the stack and are not plain bytes: iterators, dynptrs, saved interrupt flags.
//
// Their slots hold a description instead of bytes (Byte::special), one per slot, with the slot's index in `off`.
// Only the functions they belong to may read them; whoever writes over one destroys it, which is fine for a dynptr
// over local memory and leaves a leak behind for whatever holds a reference.
#include "verify/kfunc.hpp"

namespace skep::verify {

using catalog::MessageId;

namespace {
u32 highest_slot(const Register& pointer) {
  return static_cast<u32>((-pointer.off - 1) / static_cast<s32>(slot_bytes));
}
bool is_stack_object_place(const Register& r) {
  return r.kind == Kind::stack && r.is_fixed() && r.off < 0 && r.off % static_cast<s32>(slot_bytes) == 0;
}
}  // namespace

/// Writes `what` over the `slots` slots that register `index` points to.
bool Checker::put_object(u32 index, Register what, u32 slots) {
  const Register pointer = reg(index);
  if (!is_stack_object_place(pointer))
    return refuse_for(static_cast<s32>(index), MessageId::stack_object_place, index, name_of(what.kind), name(pointer));
  s64 low = 0, high = 0;
  if (!stack_bounds(index, pointer, 0, slots * slot_bytes, low, high)) return false;
  Frame& frame = *state_.frames[pointer.frame];
  u32 top = highest_slot(pointer);
  for (u32 k = 0; k < slots; k++)
    if (!scrub(frame, top - k)) return false;
  set_object(state_, pointer, what, slots);
  for (u32 k = 0; k < slots; k++) wrote_slot(pointer.frame, top - k);
  return true;
}

void Checker::set_object(State& state, const Register& pointer, const Register& what, u32 slots) {
  Frame& frame = *state.frames[pointer.frame];
  u32 top = highest_slot(pointer);
  for (u32 k = 0; k < slots; k++) {
    Register part = what;
    part.off = static_cast<s32>(k);
    pool_.set_spill(frame.slots[top - k], part);
    frame.slots[top - k].bytes.fill(Byte::special);
    frame.special |= u64{1} << (top - k);
  }
}

/// The description of the object register points to, or nullptr where there is none of this kind (whole, from its
/// start). A change of it must go through set_object().
Register* Checker::find_object(State& state, const Register& pointer, Kind kind, u32 slots) const {
  if (!is_stack_object_place(pointer) || pointer.off + static_cast<s32>(slots * slot_bytes) > 0) return nullptr;
  Frame& frame = *state.frames[pointer.frame];
  u32 top = highest_slot(pointer);
  if (top >= frame.slot_count) return nullptr;
  for (u32 k = 0; k < slots; k++) {
    const Slot& slot = frame.slots[top - k];
    if (!slot.is_special() || slot.spill == nullptr || slot.spill->value.kind != kind ||
        slot.spill->value.off != static_cast<s32>(k) || slot.spill->value.id != frame.slots[top].spill->value.id)
      return nullptr;
  }
  return &frame.slots[top].spill->value;
}

void Checker::drop_object(State& state, const Register& pointer, u32 slots) {
  Frame& frame = *state.frames[pointer.frame];
  u32 top = highest_slot(pointer);
  for (u32 k = 0; k < slots; k++) {
    pool_.clear_spill(frame.slots[top - k]);
    frame.slots[top - k].bytes.fill(Byte::untouched);
    frame.special &= ~(u64{1} << (top - k));
  }
}

/// Before a slot is written over: what special object it is part of ends here.
bool Checker::scrub(Frame& frame, u32 index) {
  if (index >= frame.slot_count || !frame.slots[index].is_special()) return true;
  const Register was = frame.slots[index].spill->value;
  if (was.kind == Kind::dynptr && was.ref_id != 0) return refuse(MessageId::dynptr_overwritten);
  u32 top = index + static_cast<u32>(was.off);
  for (u32 k = 0; k <= top && top - k < frame.slot_count; k++) {
    Slot& slot = frame.slots[top - k];
    if (!slot.is_special() || slot.spill->value.kind != was.kind || slot.spill->value.id != was.id ||
        slot.spill->value.off != static_cast<s32>(k))
      break;
    pool_.clear_spill(slot);
    slot.bytes.fill(Byte::number);
    frame.special &= ~(u64{1} << (top - k));
  }
  if (was.kind == Kind::dynptr) forget_slices(was.id);
  return true;
}

/// The memory that a dynptr gave is not known any more.
void Checker::forget_slices(u32 dynptr) {
  const Register gone = invalidated();
  for_each_register(pool_, state_, [&gone, dynptr](Register& r) {
    if (r.kind != Kind::memory || r.object != dynptr) return false;
    r = gone;
    return true;
  });
}

}  // namespace skep::verify
