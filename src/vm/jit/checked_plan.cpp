// Blocks, regions and liveness. What is known of registers and memory: checked_follow.cpp.
#include "vm/jit/checked_plan.hpp"

#include <algorithm>

#include "isa/registers.hpp"

namespace skep::vm::jit {

using isa::Form;

namespace {

/// Passes over the program before the answer becomes "everything": hostile programs need as many as they have jumps.
constexpr u32 most_passes = 16;

constexpr bool is_call(Form form) {
  return form == Form::call_helper || form == Form::call_kfunc || form == Form::call_local || form == Form::callx;
}

}  // namespace

bool writes_frame_pointer(const Bytecode& code, u32 i) {
  return (isa::registers_written(code.insns[i], isa::row(code.ops[i]).form) >> isa::frame_pointer & 1) != 0;
}

bool runs_on(const Bytecode& code, u32 i) {
  const Form form = isa::row(code.ops[i]).form;
  if (form == Form::jump || form == Form::jump_long) return isa::jump_distance(form, code.insns[i]) == 0;
  return form != Form::exit;
}

bool reaches_arena(const Bytecode& code, u32 insn) { return !code.arena_access.empty() && code.arena_access[insn]; }

Plan::Plan(const Bytecode& code)
    : code_(code),
      marks_(code.insns.size(), 0),
      questions_(code.insns.size()),
      kept_(code.insns.size(), 0),
      live_in_(code.insns.size(), 0),
      call_windows_(code.insns.size(), 0),
      call_maps_(code.insns.size(), nullptr) {
  mark();
  measure_ways();
  set_prices();
  find_written();
  find_live();
  follow();
}

void Plan::mark() {
  const auto& insns = code_.insns;
  const u32 count = static_cast<u32>(insns.size());
  const auto lead = [&](s64 at, u8 how) {
    if (at < count) marks_[static_cast<u32>(at)] |= static_cast<u8>(leader | how);
  };
  lead(0, joined | looks);
  starts_.push_back(0);
  for (const auto& callback : code_.callbacks) {
    lead(callback.insn, called | joined | looks);
    starts_.push_back(callback.insn);
  }
  for (u32 i = 0; i < count; i += isa::slots(insns[i])) {
    const Form form = isa::row(code_.ops[i]).form;
    const u32 next = i + isa::slots(insns[i]);
    has_may_goto_ |= form == Form::may_goto;
    if (isa::is_jump(form)) {
      const s64 to = static_cast<s64>(i) + 1 + isa::jump_distance(form, insns[i]);
      lead(to, to <= static_cast<s64>(i) ? joined | looks : joined);
    }
    if (form == Form::call_local) {
      const u32 target = static_cast<u32>(static_cast<s64>(i) + 1 + insns[i].imm);
      lead(target, called | joined | looks);
      starts_.push_back(target);
    }
    const bool ends = isa::is_jump(form) || is_call(form) || form == Form::exit || form == Form::ld_abs ||
                      form == Form::ld_ind || writes_frame_pointer(code_, i) || reaches_arena(code_, i);
    if (!ends) continue;
    marks_[i] |= last;
    lead(next, isa::is_jump(form) ? 0 : looks);
  }
  std::sort(starts_.begin(), starts_.end());
  starts_.erase(std::unique(starts_.begin(), starts_.end()), starts_.end());
  touched_.assign(starts_.size(), 0);
}

std::vector<u32> Plan::in_order() const {
  std::vector<u32> order;
  order.reserve(code_.insns.size());
  for (u32 i = 0; i < code_.insns.size(); i += isa::slots(code_.insns[i])) order.push_back(i);
  return order;
}

/// From the last block to the first: jumps back go only where the budget is looked at, so every way ends.
void Plan::measure_ways() {
  const u32 count = static_cast<u32>(code_.insns.size());
  longest_.assign(count, 0);
  const auto order = in_order();
  const auto behind = [&](s64 to) {
    return to >= count || looks_at_budget(static_cast<u32>(to)) ? 0 : longest_[static_cast<u32>(to)];
  };
  u32 way = 0;
  for (std::size_t n = order.size(); n-- > 0;) {
    const u32 i = order[n], next = i + isa::slots(code_.insns[i]);
    const Form form = isa::row(code_.ops[i]).form;
    if (isa::is_jump(form)) {
      way = behind(target_of(i));
      if (isa::is_conditional(form)) way = std::max(way, behind(next));
    } else if (ends_block(i)) {
      way = 0;
    } else if (next >= count || leads(next)) {
      way = behind(next);
    }
    way++;
    if (leads(i)) longest_[i] = way;
  }
}

/// What a block has paid in advance is what the target of its jump wants to have been paid; a block that only falls
/// out of a conditional jump is entered with the same and settles the difference itself, any other wants all of its
/// own way to be paid. Nothing is paid in advance where the budget is looked at, and none behind a call or an exit.
void Plan::set_prices() {
  const u32 count = static_cast<u32>(code_.insns.size());
  paid_.assign(count, 0);
  prices_.assign(count, 0);
  const auto order = in_order();
  const auto wanted = [&](s64 to) { return to >= count ? 0 : paid_[static_cast<u32>(to)]; };
  u32 ahead = 0, length = 0;
  for (std::size_t n = order.size(); n-- > 0;) {
    const u32 i = order[n], next = i + isa::slots(code_.insns[i]);
    const Form form = isa::row(code_.ops[i]).form;
    const bool is_last = ends_block(i) || next >= count || leads(next);
    if (is_last) {
      length = 0;
      ahead = isa::is_jump(form) ? (target_of(i) > i ? wanted(target_of(i)) : 0) : ends_block(i) ? 0 : wanted(next);
    }
    length++;
    if (!leads(i)) continue;
    const u32 before = n > 0 ? order[n - 1] : 0;
    const bool falls_out = n > 0 && isa::is_conditional(isa::row(code_.ops[before]).form);
    if (looks_at_budget(i))
      paid_[i] = 0;
    else if ((marks_[i] & joined) != 0)
      paid_[i] = length + ahead;
    else
      paid_[i] = falls_out && target_of(before) > before ? wanted(target_of(before)) : 0;
    prices_[i] = static_cast<s32>(length + ahead) - static_cast<s32>(paid_[i]);
  }
}

s32 Plan::edge_price(u32 jump) const {
  const u32 next = jump + 1;
  const s64 to = target_of(jump);
  const u32 paid = to > jump && to < static_cast<s64>(paid_.size()) ? paid_[static_cast<u32>(to)] : 0;
  return next < paid_.size() ? static_cast<s32>(paid_[next]) - static_cast<s32>(paid) : -static_cast<s32>(paid);
}

std::size_t Plan::region_of(u32 insn) const {
  return static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), insn) - starts_.begin()) - 1;
}

// --- which of r6 to r9 a function may write, with all that it calls ---

void Plan::find_written() {
  const auto& insns = code_.insns;
  written_.assign(starts_.size(), 0);
  std::vector<std::vector<std::size_t>> calls(starts_.size());
  for (std::size_t region = 0; region < starts_.size(); region++) {
    const u32 end = region + 1 < starts_.size() ? starts_[region + 1] : static_cast<u32>(insns.size());
    Form before = Form::exit;
    for (u32 i = starts_[region]; i < end; i += isa::slots(insns[i])) {
      const Insn& insn = insns[i];
      const Form form = before = isa::row(code_.ops[i]).form;
      if (isa::is_jump(form)) {
        const s64 to = static_cast<s64>(i) + 1 + isa::jump_distance(form, insn);
        is_tangled_ |= to < starts_[region] || to >= end;
      }
      if (form == Form::callx) written_[region] |= callee_kept;
      if (form == Form::call_local)
        calls[region].push_back(region_of(static_cast<u32>(static_cast<s64>(i) + 1 + insn.imm)));
      const u8 written = form == Form::atomic_fetch ? insn.src : insn.dst;
      const bool writes = form == Form::atomic_fetch || form <= Form::endian || form == Form::load ||
                          form == Form::load_acquire || form == Form::ld_imm64;
      if (writes) written_[region] |= static_cast<u16>(1u << written & callee_kept);
    }
    is_tangled_ |= before != Form::exit && before != Form::jump && before != Form::jump_long;
  }
  bool changed = true;
  for (u32 pass = 0; changed && pass < most_passes; pass++) {
    changed = false;
    for (std::size_t region = 0; region < starts_.size(); region++)
      for (const std::size_t callee : calls[region]) {
        const u16 both = written_[region] | written_[callee];
        changed |= both != written_[region];
        written_[region] = both;
      }
  }
  if (changed || is_tangled_) std::fill(written_.begin(), written_.end(), callee_kept);
}

// --- which registers are read before they are written ---

u16 Plan::live_before(u32 i, u16 after) const {
  const Insn& insn = code_.insns[i];
  const Form form = isa::row(code_.ops[i]).form;
  const auto bit = [](u32 reg) { return static_cast<u16>(1u << reg & all_registers); };
  const auto without = [&](u32 reg) { return static_cast<u16>(after & ~bit(reg)); };
  switch (form) {
    case Form::alu_imm:
      return (insn.code & 0xf0) == 0xb0 ? without(insn.dst) : after | bit(insn.dst);
    case Form::alu_reg:
      return (insn.code & 0xf0) == 0xb0 ? without(insn.dst) | bit(insn.src) : after | bit(insn.dst) | bit(insn.src);
    case Form::alu_unary:
    case Form::endian:
    case Form::jump_imm:
      return after | bit(insn.dst);
    case Form::movsx:
    case Form::addr_space_cast:
    case Form::load:
    case Form::load_acquire:
      return without(insn.dst) | bit(insn.src);
    case Form::jump:
    case Form::jump_long:
    case Form::may_goto:
      return after;
    case Form::jump_reg:
    case Form::store_reg:
    case Form::store_release:
    case Form::atomic:
    case Form::atomic_fetch:
      return after | bit(insn.dst) | bit(insn.src);
    case Form::store_imm:
      return after | bit(insn.dst);
    case Form::cmpxchg:
      return after | bit(insn.dst) | bit(insn.src) | bit(0);
    case Form::call_helper:
      // Behind a tail call another program sees every register.
      return insn.imm == isa::helper_tail_call ? all_registers : static_cast<u16>(without(0) | arguments);
    case Form::call_kfunc:
      return without(0) | arguments;
    case Form::call_local:
    case Form::callx:
      return all_registers;
    case Form::exit:
      return exit_live_;
    case Form::ld_imm64:
      return without(insn.dst);
    case Form::ld_abs:
    case Form::ld_ind:
      return static_cast<u16>(after | exit_live_ | bit(6) | bit(insn.src));
  }
  return all_registers;
}

/// What is live behind the last instruction of a block.
u16 Plan::live_behind(u32 i) const {
  const Form form = isa::row(code_.ops[i]).form;
  const u32 next = i + isa::slots(code_.insns[i]);
  u16 live = 0;
  const bool passes = form != Form::exit && form != Form::jump && form != Form::jump_long;
  if (passes && next < code_.insns.size()) live |= live_in_[next];
  if (isa::is_jump(form))
    live |= live_in_[static_cast<u32>(static_cast<s64>(i) + 1 + isa::jump_distance(form, code_.insns[i]))];
  return live;
}

/// One round of the data flow until nothing changes; false: it was given up.
bool Plan::spread_live(u16 at_exit) {
  exit_live_ = at_exit;
  const auto order = in_order();
  for (u32 pass = 0; pass < most_passes; pass++) {
    bool changed = false;
    u16 live = 0;
    for (std::size_t n = order.size(); n-- > 0;) {
      const u32 i = order[n];
      const bool is_last = ends_block(i) || n + 1 == order.size() || leads(order[n + 1]);
      if (is_last) live = live_behind(i);
      live = live_before(i, live);
      if (!leads(i)) continue;
      changed |= live_in_[i] != live;
      live_in_[i] = live;
    }
    if (!changed) return true;
  }
  return false;
}

void Plan::find_live() {
  const auto& insns = code_.insns;
  bool known = true;
  for (bool again = true; again && known;) {
    known = spread_live(exit_live_);
    // A function that returns leaves r0 to r5 to whoever called it.
    u16 needed = exit_live_;
    for (u32 i = 0; i < insns.size(); i += isa::slots(insns[i])) {
      const Form form = isa::row(code_.ops[i]).form;
      if (form == Form::call_local || form == Form::callx) needed |= static_cast<u16>(live_behind(i) & 0x3f);
    }
    again = needed != exit_live_;
    exit_live_ = needed;
  }
  if (!known) std::fill(live_in_.begin(), live_in_.end(), all_registers);
  for (u32 i = 0; i < insns.size(); i += isa::slots(insns[i])) {
    const Form form = isa::row(code_.ops[i]).form;
    if (!is_call(form)) continue;
    const u16 live = live_behind(i);
    if (form == Form::call_local)
      kept_[i] = live & written_[region_of(static_cast<u32>(static_cast<s64>(i) + 1 + insns[i].imm))];
    else if (form == Form::callx)
      kept_[i] = live & (arguments | callee_kept);  // it may be either
    else
      kept_[i] = live & arguments;
  }
}

}  // namespace skep::vm::jit
