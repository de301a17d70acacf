// x86-64: blocks, frame, moves, and the module. See emit_x86_64.hpp.
#include "vm/jit/backend/emit_x86_64.hpp"

#include <algorithm>

#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {

using x86::Label;
using x86::Mem;

EmitX86::EmitX86(x86::Assembler& as, const Code& code, const Allocation& places, std::span<const Label> functions,
                 const Target& target)
    : as_(as), code_(code), places_(places), functions_(functions), target_(target), random_(target.blinding_seed) {}

void EmitX86::run(const std::vector<u8>& near_ones) {
  near_ = &near_ones;
  find_skipped();
  prologue();
  for (u32 b = 0; b < code_.blocks.size(); b++) {
    if (skipped_[b]) continue;
    block_ = b;
    flags_ = {};
    if (code_.blocks[b].header) align_loop();
    as_.bind(labels_[b]);
    for (u32 i = code_.blocks[b].first; i < code_.blocks[b].last; i++) {
      at_ = i;
      moves(Move::reload);
      instruction(code_.insns[i]);
    }
  }
}

// --- blocks ---

bool EmitX86::has_moves(u32 inst) const {
  const auto it = std::ranges::lower_bound(places_.moves, inst * 4, {}, &Move::key);
  return it != places_.moves.end() && it->key < inst * 4 + 4;
}

void EmitX86::find_skipped() {
  skipped_.assign(code_.blocks.size(), false);
  labels_.clear();
  for (u32 b = 0; b < code_.blocks.size(); b++) {
    labels_.push_back(as_.new_label());
    const Block& block = code_.blocks[b];
    bool is_empty = b != 0 && block.source == ir::no_block;
    for (u32 i = block.first; i < block.last && is_empty; i++)
      is_empty = !has_moves(i) && (i == block.first || i + 1 == block.last);
    skipped_[b] = is_empty;
  }
}

u32 EmitX86::final_block(u32 b) const {
  while (skipped_[b]) b = code_.successors(code_.blocks[b])[0];
  return b;
}

u32 EmitX86::next_block() const {
  u32 b = block_ + 1;
  while (b < code_.blocks.size() && skipped_[b]) b++;
  return b;
}

/// No-operations up to the next 16 bytes.
void EmitX86::align_loop() {
  while (as_.size() % 16 != 0) {
    const std::size_t gap = 16 - as_.size() % 16;
    if (gap >= 8)
      as_.raw({0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0});
    else if (gap >= 4)
      as_.raw({0x0f, 0x1f, 0x40, 0});
    else if (gap >= 3)
      as_.raw({0x0f, 0x1f, 0x00});
    else if (gap >= 2)
      as_.raw({0x66, 0x90});
    else
      as_.raw({0x90});
  }
}

/// Is this forward jump known to be short?
bool EmitX86::note_jump(u32 b) {
  jumps_.push_back({final_block(b), 0, block_});
  return jumps_.size() <= near_->size() && (*near_)[jumps_.size() - 1] != 0;
}

void EmitX86::jump_to(u32 b) {
  if (final_block(b) == next_block()) return;
  const bool is_near = note_jump(b);
  if (is_near && !as_.is_bound(label_of(b)))
    as_.jmp_short(label_of(b));
  else
    as_.jmp(label_of(b));
  jumps_.back().at = static_cast<u32>(as_.size());
}

void EmitX86::jump_if(Cond c, u32 b) {
  const bool is_near = note_jump(b);
  if (is_near && !as_.is_bound(label_of(b)))
    as_.jcc_short(c, label_of(b));
  else
    as_.jcc(c, label_of(b));
  jumps_.back().at = static_cast<u32>(as_.size());
}

/// Everything between gets shorter, but for the alignment of loops.
std::vector<u8> EmitX86::near_jumps() const {
  std::vector<u8> out;
  std::vector<u32> loops_before(1, 0);  // by block
  for (const Block& b : code_.blocks) loops_before.push_back(loops_before.back() + (b.header ? 1 : 0));
  for (const Jump& j : jumps_) {
    const u32 loops = j.block > j.line ? loops_before[j.block + 1] - loops_before[j.line + 1] : 0;
    const u32 to = as_.offset_of(labels_[j.block]);
    out.push_back(to >= j.at && to - j.at + loops * 15 <= 127);
  }
  return out;
}

// --- frame ---

void EmitX86::prologue() {
  saved_ = places_.used & x86_saved;
  u32 pushed = 8;
  for (u32 i = 0; i < 16; i++)
    if ((saved_ >> i & 1) != 0) {
      as_.push(static_cast<Reg>(i));
      pushed += 8;
    }
  slots_at_ = code_.frame_bytes;
  frame_ = code_.frame_bytes + places_.slots * 8;
  if (frame_ != 0 || code_.calls != 0) frame_ += (16 - (frame_ + pushed) % 16) % 16;
  if (frame_ != 0) as_.alu(x86::Alu::sub, Width::w64, Reg::rsp, static_cast<s32>(frame_));
}

void EmitX86::leave_frame() {
  if (frame_ != 0) as_.alu(x86::Alu::add, Width::w64, Reg::rsp, static_cast<s32>(frame_));
  for (u32 i = 16; i-- > 0;)
    if ((saved_ >> i & 1) != 0) as_.pop(static_cast<Reg>(i));
}

Mem EmitX86::slot(Loc l, s32 pushed) const {
  return x86::at(Reg::rsp, static_cast<s32>(slots_at_ + l.number() * 8) + below_ + pushed);
}

// --- moves ---

/// Instructions are written in order, and so are the moves.
void EmitX86::moves(Move::Phase phase) {
  const u32 key = at_ * 4 + phase;
  const auto& all = places_.moves;
  while (next_move_ < all.size() && all[next_move_].key < key) next_move_++;
  if (next_move_ == all.size() || all[next_move_].key != key) return;
  pairs_.clear();
  for (; next_move_ < all.size() && all[next_move_].key == key; next_move_++)
    pairs_.push_back({all[next_move_].from, all[next_move_].to});
  move_at_once(pairs_, *this);
}

void EmitX86::fixed_operands(const Inst& inst) {
  pairs_.clear();
  for (u32 k = 0; k < inst.count; k++) {
    const Operand& o = code_.operands[inst.first + k];
    if (o.use == Use::fixed) pairs_.push_back({o.loc, Loc::of(Loc::reg, o.fixed)});
  }
  move_at_once(pairs_, *this);
}

void EmitX86::swap(Loc a, Loc b) {
  if (a.kind() == Loc::reg && b.kind() == Loc::reg) return as_.xchg(Width::w64, reg(a), reg(b));
  if (a.kind() == Loc::slot) std::swap(a, b);
  if (a.kind() == Loc::reg) return as_.xchg(Width::w64, slot(b), reg(a));
  as_.push(Reg::rax);
  as_.mov(Width::w64, Reg::rax, slot(a, 8));
  as_.xchg(Width::w64, slot(b, 8), Reg::rax);
  as_.mov(Width::w64, slot(a, 8), Reg::rax);
  as_.pop(Reg::rax);
}

/// Leaves the flags alone.
void EmitX86::move(Loc from, Loc to) {
  if (to.kind() == Loc::reg) {
    if (from.kind() == Loc::reg) return as_.mov(Width::w64, reg(to), reg(from));
    if (from.kind() == Loc::slot) return as_.mov(Width::w64, reg(to), slot(from));
    return make(from, reg(to));
  }
  if (from.kind() == Loc::reg) return as_.mov(Width::w64, slot(to), reg(from));
  const Register* made = from.kind() == Loc::remat ? &code_.registers[from.number()] : nullptr;
  if (made != nullptr && made->remat == Remat::constant && x86::fits_s32(made->imm))
    return as_.mov(Width::w64, slot(to), static_cast<s32>(made->imm));
  as_.push(Reg::rax);
  if (made == nullptr)
    as_.mov(Width::w64, Reg::rax, slot(from, 8));
  else if (made->remat == Remat::constant)
    as_.mov(Reg::rax, static_cast<u64>(made->imm));
  else
    as_.lea(Width::w64, Reg::rax, x86::at(Reg::rsp, static_cast<s32>(made->imm) + below_ + 8));
  as_.mov(Width::w64, slot(to, 8), Reg::rax);
  as_.pop(Reg::rax);
}

void EmitX86::make(Loc from, Reg to) {
  const Register& made = code_.registers[from.number()];
  if (made.remat == Remat::frame)
    return as_.lea(Width::w64, to, x86::at(Reg::rsp, static_cast<s32>(made.imm) + below_));
  if (made.imm == 0 && flags_.comparison == nullptr && flags_.value == none) return as_.zero(to);
  as_.mov(to, static_cast<u64>(made.imm));
}

// --- the module ---

namespace {

Result<void> emit_function(const ir::Function& f, const Target& target, std::span<const Label> functions,
                           x86::Assembler& as, x86::Assembler& draft) {
  Code code;
  Allocation places;
  order_blocks(f, code);
  select_x86_64(f, target, code);
  if (code.operands.size() > 0xfffffe || !find_live_ranges(code))
    return fail(skep::Code::limit, "the program is too large for the optimising tier; use the baseline tier");
  allocate(code, x86_registers, places);
  if (places.failed) return fail(skep::Code::limit, "an instruction found no registers; use the baseline tier");
  resolve(code, x86_registers, places);
  if (target.check != nullptr)
    if (auto problem = target.check(code, x86_registers, places); !problem.empty())
      return fail(skep::Code::malformed, "register allocation: " + problem);
  draft.clear();
  for (std::size_t i = 0; i < functions.size(); i++) (void)draft.new_label();
  EmitX86 first(draft, code, places, functions, target);
  first.run({});
  EmitX86(as, code, places, functions, target).run(first.near_jumps());
  return {};
}

}  // namespace

Result<Compiled> emit_x86_64(const ir::Module& module, const Target& target) {
  x86::Assembler as, draft;
  std::vector<Label> functions;
  for (std::size_t i = 0; i < module.functions.size(); i++) functions.push_back(as.new_label());
  Compiled compiled;
  for (std::size_t i = 0; i < module.functions.size(); i++) {
    as.align(16);
    as.bind(functions[i]);
    compiled.entries.push_back(static_cast<u32>(as.size()));
    SKEP_TRY(emit_function(module.functions[i], target, functions, as, draft));
  }
  if (!as.finish()) return fail(skep::Code::limit, "a jump of the machine code leads too far; use the baseline tier");
  compiled.code.assign(as.code().begin(), as.code().end());
  return compiled;
}

}  // namespace skep::vm::backend
