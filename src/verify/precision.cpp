// Lazy precision: which numbers a proof rested on.
//
// Most numbers do not matter: an error code, a counter that is only stored. Two states that differ only in such
// numbers are equally safe, so they are compared loosely when states are pruned. When a number does decide
// something (a branch, an offset, a size), need_precise() walks the path backwards, follows the number through
// moves, arithmetic, spills, calls and equalities, and marks it in every checkpoint it was live at. A checkpoint's
// marks are complete when its paths are done, which is when it may prune.
//
// The same walk-back, for stack slots that are read, is read_slot(): it needs no data flow, only the checkpoints.
// Idea: Linux 5.3, mark_chain_precision.
#include "verify/checker.hpp"
#include "verify/wanted.hpp"

namespace skep::verify {

using isa::Form;

bool Checker::need_precise(u32 index) {
  if (!reg(index).is_scalar() || (active_.empty() && !trail_)) return true;
  Wanted wanted;
  wanted.depth = state_.depth;
  wanted.add(index);
  return propagate(wanted, path_.size() - 1);
}

bool Checker::need_precise_slot(u32 frame, u32 slot) {
  if (active_.empty() && !trail_) return true;
  Wanted wanted;
  wanted.depth = state_.depth;
  wanted.slots[frame] |= u64{1} << slot;
  return propagate(wanted, path_.size() - 1);
}

bool Checker::need_precise_at_start(const Checkpoint& old, bool everything) {
  Wanted wanted;
  wanted.depth = state_.depth;
  for (u32 depth = 0; depth <= state_.depth; depth++) {
    const Frame& frame = *state_.frames[depth];
    for (u32 r = 0; r < isa::frame_pointer; r++)
      if ((everything || (old.precise_regs[depth] >> r & 1) != 0) && frame.regs[r].is_scalar())
        wanted.regs[depth] = static_cast<u16>(wanted.regs[depth] | 1u << r);
    for (u32 s = 0; s < frame.slot_count; s++)
      if ((everything || (old.precise_slots[depth] >> s & 1) != 0) && frame.slots[s].spill != nullptr &&
          frame.slots[s].spill->value.is_scalar())
        wanted.slots[depth] |= u64{1} << s;
  }
  return propagate(wanted, path_.size());
}

/// Marks what is wanted in a state that is passed; what was marked before, and pointers, are looked for no longer.
/// Whether any mark is new.
bool Checker::mark(Checkpoint& c, Wanted& wanted) {
  bool is_news = false;
  for (u32 d = 0; d <= c.state.depth; d++) {
    const Frame& frame = *c.state.frames[d];
    for (u32 r = 0; r < isa::frame_pointer; r++) {
      const u16 bit = static_cast<u16>(1u << r);
      if ((wanted.regs[d] & bit) == 0) continue;
      // A pointer is always compared in full; a marked number was followed back before.
      if (!frame.regs[r].is_scalar() || (c.precise_regs[d] & bit) != 0) {
        wanted.regs[d] = static_cast<u16>(wanted.regs[d] & ~bit);
      } else {
        c.precise_regs[d] = static_cast<u16>(c.precise_regs[d] | bit);
        is_news = true;
      }
    }
    for (u64 slots = wanted.slots[d]; slots != 0; slots &= slots - 1) {
      const u32 s = static_cast<u32>(std::countr_zero(slots));
      const u64 bit = u64{1} << s;
      const bool scalar =
          s < frame.slot_count && frame.slots[s].spill != nullptr && frame.slots[s].spill->value.is_scalar();
      if (!scalar || (c.precise_slots[d] & bit) != 0) {
        wanted.slots[d] &= ~bit;
      } else {
        c.precise_slots[d] |= bit;
        is_news = true;
      }
    }
  }
  return is_news;
}

/// `wanted` holds before path_[from]: marks it in the checkpoints passed on the way back.
bool Checker::propagate(Wanted& wanted, std::size_t from) {
  std::size_t next = active_.size();
  while (next > 0 && active_[next - 1]->path_length > from) --next;
  for (std::size_t at = from; !wanted.empty(); at--) {
    if (trail_) trail_->mark(at, wanted.regs, wanted.slots);
    if (next > 0 && active_[next - 1]->path_length == at) mark(*active_[--next], wanted);
    if (at == 0 || (next == 0 && !trail_)) return true;  // nothing remembered further back
    if (!step_back(wanted, path_[at - 1], links_)) {
      for (Checkpoint* c : active_) {
        Wanted all = Wanted::everything(*c);
        mark(*c, all);
      }
      return true;
    }
  }
  return true;
}

/// What must be precise before `step` for `wanted` to be precise after it. False: Linux does not follow it further, and
/// needs every number of the path then. A difference of pointers makes it look for one, and give up where that is an
/// address to store to.
bool Checker::step_back(Wanted& wanted, const Step& step, std::span<const Links> all_links) {
  const Insn& i = program_.insns[step.insn];
  bool is_move = (i.code & 0xf0) == 0xb0;
  auto slot_bit = u64{1} << step.slot;
  switch (isa::row(analysis_.insns[step.insn].op).form) {
    case Form::alu_imm:
      if (is_move) wanted.drop(i.dst);
      break;
    case Form::alu_reg:
    case Form::movsx:
      if (!wanted.has(i.dst)) break;
      if (is_move) wanted.drop(i.dst);
      wanted.add(i.src);
      break;
    case Form::alu_unary:
    case Form::endian:
    case Form::addr_space_cast:
      break;
    case Form::ld_imm64:
      wanted.drop(i.dst);
      break;
    case Form::load:
    case Form::load_acquire:
      if (!wanted.has(i.dst)) break;
      wanted.drop(i.dst);
      if (step.what == Step::What::stack_read) wanted.slots[step.frame] |= slot_bit;
      break;
    case Form::store_reg:
    case Form::store_imm:
    case Form::store_release:
      if (is_kernel() && wanted.has(i.dst)) return false;
      if (step.what != Step::What::stack_write || (wanted.slots[step.frame] & slot_bit) == 0) break;
      wanted.slots[step.frame] &= ~slot_bit;
      if (isa::row(analysis_.insns[step.insn].op).form != Form::store_imm) wanted.add(i.src);
      break;
    case Form::atomic:
      return !is_kernel() || !wanted.has(i.dst);
    case Form::atomic_fetch:
    case Form::cmpxchg: {
      u32 result = isa::row(analysis_.insns[step.insn].op).form == Form::cmpxchg ? 0 : i.src;
      if (!wanted.has(result)) break;
      wanted.drop(result);
      if (step.what == Step::What::stack_read) wanted.slots[step.frame] |= slot_bit;
      break;
    }
    case Form::ld_abs:
    case Form::ld_ind:
      if (is_kernel() && wanted.has(0)) return false;
      for (u32 r = 0; r <= 5; r++) wanted.drop(r);
      if (leaves_function(step)) wanted.regs[++wanted.depth] = 0;  // into the function it ended
      break;
    case Form::jump_imm:
    case Form::jump_reg:
      if (step.has_links) {
        const Links& links = all_links[step.links];
        auto is_wanted = [&](const Links::Entry& e) {
          return e.is_register ? (wanted.regs[e.frame] >> e.index & 1) != 0
                               : (wanted.slots[e.frame] >> e.index & 1) != 0;
        };
        bool any = false;
        for (u32 e = 0; e < links.count; e++) any = any || is_wanted(links.entries[e]);
        for (u32 e = 0; any && e < links.count; e++) {
          const auto& entry = links.entries[e];
          if (entry.is_register)
            wanted.regs[entry.frame] = static_cast<u16>(wanted.regs[entry.frame] | 1u << entry.index);
          else
            wanted.slots[entry.frame] |= u64{1} << entry.index;
        }
      }
      if (isa::row(analysis_.insns[step.insn].op).form == Form::jump_reg && (wanted.has(i.dst) || wanted.has(i.src))) {
        wanted.add(i.dst);
        wanted.add(i.src);
      }
      break;
    case Form::call_local:
    case Form::callx:
      if (step.what == Step::What::descended) {
        u16 arguments = static_cast<u16>(wanted.regs[step.frame] & 0x3e);
        wanted.regs[step.frame] = 0;
        wanted.slots[step.frame] = 0;
        wanted.depth = step.frame - 1u;
        wanted.regs[wanted.depth] = static_cast<u16>((wanted.regs[wanted.depth] & ~0x3f) | arguments);
        break;
      }
      for (u32 r = 0; r <= 5; r++) wanted.drop(r);
      break;
    case Form::call_helper:
    case Form::call_kfunc:
      if (step.what == Step::What::descended) {  // out of a callback: what it was given came from the arguments
        bool argument = (wanted.regs[step.frame] & 0x3e) != 0;
        wanted.regs[step.frame] = 0;
        wanted.slots[step.frame] = 0;
        wanted.depth = step.frame - 1u;
        for (u32 r = 1; argument && r <= 5; r++) wanted.add(r);
        break;
      }
      for (u32 r = 0; r <= 5; r++) wanted.drop(r);
      if (leaves_function(step)) wanted.regs[++wanted.depth] = 0;  // into the function it ended
      break;
    case Form::exit:  // of a function, into which the walk now goes
      wanted.depth++;
      wanted.regs[wanted.depth] = 0;
      if (step.what == Step::What::returned) break;  // a callback's: its result went to the helper
      if ((wanted.regs[wanted.depth - 1] & 1) != 0) wanted.regs[wanted.depth] = 1;
      for (u32 r = 0; r <= 5; r++)
        wanted.regs[wanted.depth - 1] = static_cast<u16>(wanted.regs[wanted.depth - 1] & ~(1u << r));
      break;
    case Form::jump:
    case Form::jump_long:
    case Form::may_goto:
      break;
  }
  return true;
}

void Checker::read_slot(u32 frame, u32 slot) {
  if (is_kernel()) stack_liveness_.read(state_.current().liveness, insn_, frame, slot);
  if (trail_) trail_->read_slot(frame, slot, true);
  need_slot(frame, slot);
}

/// A slot is read: it matters to every checkpoint since it was last written.
void Checker::need_slot(u32 frame, u32 slot) {
  u64 bit = u64{1} << slot;
  if ((written_[frame] & bit) != 0) return;
  for (std::size_t k = active_.size(); k-- > 0;) {
    Checkpoint& c = *active_[k];
    if (c.state.depth < frame || (c.live_slots[frame] & bit) != 0) return;
    c.live_slots[frame] |= bit;
    if ((c.written[frame] & bit) != 0) return;
  }
}

}  // namespace skep::verify
