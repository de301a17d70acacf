// Conditional jumps: decided, or explored both ways with what each way teaches.
//
// Three kinds of knowledge come from a comparison: bounds of numbers (and of every register known equal to them),
// whether a pointer is null, and how many bytes of a packet exist.
#include <algorithm>

#include "verify/checker.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Compare;
using isa::Form;

namespace {
constexpr u64 max_packet_offset = 0xffff;  // Linux MAX_PACKET_OFF: a packet is never longer

/// Kinds that Linux takes for non-null in a comparison; ours are all non-null unless they say or_null.
bool known_by_kernel(Kind kind) {
  return kind != Kind::context && kind != Kind::stack && kind != Kind::packet && kind != Kind::packet_meta &&
         kind != Kind::packet_end && kind != Kind::flow_keys && kind != Kind::tp_buffer;
}

bool is_equality(Compare c) { return c == Compare::eq || c == Compare::ne; }
}  // namespace

bool Checker::do_jump() {
  const Insn& i = insn();
  bool is_wide = facts().code_class == isa::class_jmp;
  Compare c = isa::compare_of(facts().op);
  jumps_++;
  if (!readable(i.dst)) return false;
  Register immediate = Register::constant(static_cast<u64>(s64{i.imm}));
  bool has_src = form() == Form::jump_reg;
  if (has_src && !readable(i.src)) return false;
  const Register& src = has_src ? reg(i.src) : immediate;
  const Register& dst = reg(i.dst);

  if (dst.is_scalar() && src.is_scalar()) return refine_branches(c, is_wide, has_src ? &src : nullptr);
  if (is_wide && is_equality(c) && dst.is_pointer() && src.is_zero()) {
    if (dst.or_null) return null_check_branch(c);
    if (has_src && !need_precise(i.src)) return false;
    if (is_kernel() && !known_by_kernel(dst.kind)) {  // it follows both ways
      if (!keeps_address(i.dst, "compared")) return false;
      explore_taken();
      insn_ = next_insn();
      return true;
    }
    go_one_way(c == Compare::ne);
    return true;
  }
  if (is_wide && packet_comparison(c)) return true;
  if (!keeps_address(i.dst, "compared") || (has_src && !keeps_address(i.src, "compared"))) return false;
  // One of two equal pointers is not null: neither is the other.
  if (is_wide && is_equality(c) && dst.is_pointer() && src.is_pointer() && dst.or_null != src.or_null) {
    u32 id = dst.or_null ? dst.id : src.id;
    explore_taken();
    mark_null_outcome(c == Compare::eq ? pending_.back().state : state_, id, false);
    insn_ = next_insn();
    return true;
  }
  explore_taken();
  insn_ = next_insn();
  return true;
}

/// The jump may go both ways: the taken one is put on the pending stack.
void Checker::explore_taken() {
  InsnProof& proof = proofs_[insn_];
  proof.jump_taken = proof.jump_passed = true;
  push_pending(insn_ + 1 + static_cast<u32>(isa::jump_distance(form(), insn())));
}

/// The jump is decided on this path.
void Checker::go_one_way(bool taken) {
  (taken ? proofs_[insn_].jump_taken : proofs_[insn_].jump_passed) = true;
  insn_ = taken ? insn_ + 1 + static_cast<u32>(isa::jump_distance(form(), insn())) : next_insn();
}

bool Checker::refine_branches(Compare c, bool is_wide, const Register* src_reg) {
  const Insn& i = insn();
  Scalar source = src_reg != nullptr ? src_reg->number : Scalar::of(static_cast<u64>(s64{i.imm}));
  bool same_register = src_reg != nullptr && i.src == i.dst;

  Scalar taken_dst = reg(i.dst).number, taken_src = source, passed_dst = taken_dst, passed_src = source;
  Decision decision = decide(c, taken_dst, source, is_wide);
  bool can_take = decision != Decision::never, can_pass = decision != Decision::always;
  if (!same_register) {
    can_take = can_take && refine(c, taken_dst, taken_src, is_wide, true);
    can_pass = can_pass && refine(c, passed_dst, passed_src, is_wide, false);
  }
  if (!can_take || !can_pass) {
    if (!need_precise(i.dst)) return false;
    if (src_reg != nullptr && !need_precise(i.src)) return false;
    if (can_take || can_pass)
      go_one_way(can_take);
    else
      path_ends_ = true;  // no number fits: this path cannot happen
    return true;
  }
  if (same_register) {
    explore_taken();
    insn_ = next_insn();
    return true;
  }

  u32 links = collect_links(reg(i.dst).id);
  if (src_reg != nullptr && reg(i.src).id != reg(i.dst).id) links = collect_links(reg(i.src).id);
  explore_taken();
  State& taken = pending_.back().state;
  auto learn = [&](State& state, const Scalar& dst, const Scalar& src) {
    Frame& frame = state.current();
    frame.regs[i.dst].number = dst;
    if (links != 0) spread(state, frame.regs[i.dst]);
    if (src_reg == nullptr) return;
    frame.regs[i.src].number = src;
    if (links != 0) spread(state, frame.regs[i.src]);
  };
  learn(taken, taken_dst, taken_src);
  learn(state_, passed_dst, passed_src);
  insn_ = next_insn();
  return true;
}

/// Adds the registers that share `id` to this step's links. Returns how many the step has.
/// A register that does not fit loses its id: it keeps what is known, and learns no more with the others.
u32 Checker::collect_links(u32 id) {
  Step& step = path_.back();
  u32 already = step.has_links ? links_[step.links].count : 0;
  if (id == 0) return already;
  Links found;
  if (step.has_links) found = links_[step.links];
  u32 before = found.count;
  auto add = [&](u8 frame, bool is_register, u8 index) {
    if (found.count == Links::limit) return false;
    found.entries[found.count++] = {frame, is_register, index};
    return true;
  };
  for (u32 depth = 0; depth <= state_.depth; depth++) {
    Frame& frame = *state_.frames[depth];
    for (u32 r = 0; r < isa::frame_pointer; r++)
      if (frame.regs[r].is_scalar() && frame.regs[r].id == id &&
          !add(static_cast<u8>(depth), true, static_cast<u8>(r))) {
        frame.regs[r].id = 0;
        frame.regs[r].has_delta = false;
        frame.regs[r].off = 0;
      }
    for (u32 s = 0; s < frame.slot_count; s++) {
      Slot& slot = frame.slots[s];
      if (slot.spill == nullptr || !slot.spill->value.is_scalar() || slot.spill->value.id != id) continue;
      if (add(static_cast<u8>(depth), false, static_cast<u8>(s))) continue;
      Register value = slot.spill->value;
      value.id = 0;
      value.has_delta = false;
      value.off = 0;
      pool_.set_spill(slot, value);
    }
  }
  if (found.count - before < 2) return already;  // alone: nobody to tell
  if (!step.has_links) {
    note_history();
    step.has_links = true;
    step.links = static_cast<u32>(links_.size());
    links_.push_back(found);
  } else {
    links_[step.links] = found;
  }
  return found.count;
}

/// Tells every register of this step's links what was learnt of `known`.
void Checker::spread(State& state, const Register& known_register) {
  if (known_register.id == 0) return;
  const Register known = known_register;
  auto update = [&known](Register& r) {
    if (!r.is_scalar() || r.id != known.id) return false;
    s64 distance = s64{r.off} - s64{known.off};
    r.number =
        distance == 0 ? known.number : alu(isa::Alu::add, known.number, Scalar::of(static_cast<u64>(distance)), true);
    return true;
  };
  const Links& links = links_[path_.back().links];
  for (u32 e = 0; e < links.count; e++) {
    const Links::Entry& entry = links.entries[e];
    Frame& frame = *state.frames[entry.frame];
    if (entry.is_register) {
      update(frame.regs[entry.index]);
    } else if (Slot& slot = frame.slots[entry.index]; slot.spill != nullptr) {
      Register value = slot.spill->value;
      if (update(value)) pool_.set_spill(slot, value);
    }
  }
}

bool Checker::null_check_branch(Compare c) {
  u32 id = reg(insn().dst).id;
  explore_taken();
  mark_null_outcome(pending_.back().state, id, c == Compare::eq);
  mark_null_outcome(state_, id, c != Compare::eq);
  insn_ = next_insn();
  return true;
}

void Checker::mark_null_outcome(State& state, u32 id, bool is_null) {
  u32 released = 0;
  for_each_register(pool_, state, [&](Register& r) {
    if (!r.or_null || r.id != id) return false;
    if (is_null) {
      if (r.ref_id == r.id) released = r.ref_id;  // not where it only borrows from another reference
      r = Register::constant(0);
      return true;
    }
    r.or_null = false;
    const MapFacts* map = r.kind == Kind::map_value ? &maps_[r.object] : nullptr;
    if (map != nullptr && map->inner >= 0 && !catalog::has_plain_values(map->spec->type)) {
      r.kind = Kind::map;
      r.object = static_cast<u32>(map->inner);
    }
    if (map == nullptr || !map->has_lock()) r.id = 0;
    return true;
  });
  if (is_null && released != 0)
    std::erase_if(state.acquired, [released](const Acquired& a) { return a.id == released; });
}

bool Checker::packet_comparison(Compare c) {
  const Insn& i = insn();
  if (form() != Form::jump_reg) return false;
  const Register dst = reg(i.dst), src = reg(i.src);
  // `packet < end` in one of its four writings; metadata ends where the packet begins.
  auto bounds = [](const Register& p, const Register& limit) {
    if (p.kind == Kind::packet) return limit.kind == Kind::packet_end;
    return p.kind == Kind::packet_meta && limit.kind == Kind::packet && limit.off == 0 && limit.is_fixed();
  };
  bool forward = bounds(dst, src), backward = bounds(src, dst);
  if (!forward && !backward) return false;
  if (backward) {  // write it as `packet c end`
    switch (c) {
      case Compare::gt:
        c = Compare::lt;
        break;
      case Compare::ge:
        c = Compare::le;
        break;
      case Compare::lt:
        c = Compare::gt;
        break;
      case Compare::le:
        c = Compare::ge;
        break;
      default:
        return false;
    }
  }
  bool in_taken = c == Compare::lt || c == Compare::le;
  bool in_passed = c == Compare::gt || c == Compare::ge;
  if (!in_taken && !in_passed) return false;
  bool open_ended = c == Compare::lt || c == Compare::ge;  // the pointer is strictly below the end
  explore_taken();
  widen_packet_range(in_taken ? pending_.back().state : state_, forward ? dst : src, open_ended);
  insn_ = next_insn();
  return true;
}

/// `pointer` is at most (open_ended: below) the end: the bytes before it exist, for every pointer of its id.
void Checker::widen_packet_range(State& state, const Register& pointer, bool open_ended) {
  if (pointer.off < 0 || (pointer.off == 0 && !open_ended)) return;
  if (pointer.number.wide.umax > max_packet_offset ||
      pointer.number.wide.umax + static_cast<u64>(pointer.off) > max_packet_offset)
    return;
  u32 proved = static_cast<u32>(pointer.off) + (open_ended ? 1 : 0);
  for_each_register(pool_, state, [&](Register& r) {
    if (r.kind != pointer.kind || r.id != pointer.id || r.extent >= proved) return false;
    r.extent = proved;
    return true;
  });
}

}  // namespace skep::verify
