// Conditional jumps: decided, or explored both ways with what each way teaches.
//
// Three kinds of knowledge come from a comparison: bounds of numbers (and of every register known equal to them),
// whether a pointer is null, and how many bytes of a packet exist.
#include <algorithm>

#include "verify/boundless.hpp"
#include "verify/checker.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Compare;
using isa::Form;

namespace {
constexpr u64 max_packet_offset = 0xffff;  // Linux MAX_PACKET_OFF: a packet is never longer

/// Whether a pointer that is not marked or_null is known to be none. What was read from an object that nobody holds may
/// be null (a load through it gives zeroes then), whoever runs the program; Linux is sure of fewer kinds than we are.
bool is_never_null(const Register& r, bool is_kernel) {
  if (r.kind == Kind::object)
    return r.ref_id != 0 || r.trust == Trust::trusted || r.trust == Trust::owned || r.trust == Trust::shared;
  if (is_untrusted_memory(r)) return false;
  if (!is_kernel) return true;
  return r.kind == Kind::map || r.kind == Kind::map_value || r.kind == Kind::memory || r.kind == Kind::sock_common ||
         r.kind == Kind::socket || r.kind == Kind::tcp_socket || r.kind == Kind::task;
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

  if (boundless_ != nullptr) [[unlikely]] {
    if (dst.is_scalar() && src.is_scalar())
      boundless_->compares(insn_, path_.size(), c, is_wide, dst.number, src.number);
    else
      boundless_->compares_pointers(insn_, path_.size(), dst.is_packet() || src.is_packet());
  }
  if (dst.is_scalar() && src.is_scalar()) return refine_branches(c, is_wide, has_src ? &src : nullptr);
  if (is_wide && is_equality(c) && dst.is_pointer() && src.is_zero()) {
    // Linux looks for null in comparisons with the constant only. A register's zero is one of this path: a state that
    // covers another must not take just any number for it.
    if (dst.or_null && !(is_kernel() && has_src)) return (!has_src || need_precise(i.src)) && null_check_branch(c);
    if (!dst.or_null && is_never_null(dst, is_kernel())) {
      if (has_src && !need_precise(i.src)) return false;
      go_one_way(c == Compare::ne);
      return true;
    }
    if (!keeps_address(i.dst, "compared")) return false;
    explore_taken();
    insn_ = next_insn();
    return true;
  }
  if (is_wide && packet_comparison(c)) return true;
  if (!keeps_address(i.dst, "compared") || (has_src && !keeps_address(i.src, "compared"))) return false;
  // One of two equal pointers is not null: neither is the other. Those to objects may be, whatever they say.
  if (is_wide && is_equality(c) && dst.is_pointer() && src.is_pointer() && dst.or_null != src.or_null &&
      dst.kind != Kind::object && src.kind != Kind::object) {
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
      if (frame.regs[r].is_scalar() && frame.regs[r].id == id && !add(static_cast<u8>(depth), true, static_cast<u8>(r)))
        frame.regs[r].unlink();
    for (u32 s = 0; s < frame.slot_count; s++) {
      Slot& slot = frame.slots[s];
      if (slot.spill == nullptr || !slot.spill->value.is_scalar() || slot.spill->value.id != id) continue;
      if (add(static_cast<u8>(depth), false, static_cast<u8>(s))) continue;
      Register value = slot.spill->value;
      value.unlink();
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
    // Distances in 32 bits and in 64 say nothing of each other.
    if (r.has_delta && known.has_delta && r.narrow_delta != known.narrow_delta) return false;
    const s64 distance = s64{r.off} - s64{known.off};
    const bool is_narrow = r.narrow_delta || known.narrow_delta;
    const u64 number = is_narrow ? static_cast<u32>(distance) : static_cast<u64>(distance);
    r.number = distance == 0 ? known.number : alu(isa::Alu::add, known.number, Scalar::of(number), !is_narrow);
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
  const Register& pointer = forward ? dst : src;
  if (pointer.past_end == PastEnd::passed || (pointer.past_end == PastEnd::reached && open_ended)) {
    go_one_way(in_passed);
    return true;
  }
  explore_taken();
  widen_packet_range(in_taken ? pending_.back().state : state_, pointer, open_ended);
  // On the other way it reaches the end, or lies behind. Linux notes that of this register alone.
  Register& outside = (in_taken ? state_ : pending_.back().state).reg(forward ? i.dst : i.src);
  if (outside.kind == Kind::packet) outside.past_end = open_ended ? PastEnd::reached : PastEnd::passed;
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
