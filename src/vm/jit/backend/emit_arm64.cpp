// AArch64: blocks, frame, moves, and the module. See emit_arm64.hpp.
#include "vm/jit/backend/emit_arm64.hpp"

#include <algorithm>

#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {

using arm64::Alu;
using arm64::Label;
using arm64::Size;

namespace {

constexpr arm64::Reg frame_pointer = arm64::Reg::x29, link = arm64::Reg::x30;
constexpr arm64::Reg scratch = arm64::Reg::x16, scratch_too = arm64::Reg::x17;

}  // namespace

void EmitArm64::run() {
  find_skipped();
  prologue();
  for (u32 b = 0; b < code_.blocks.size(); b++) {
    if (skipped_[b]) continue;
    block_ = b;
    as_.bind(labels_[b]);
    for (u32 i = code_.blocks[b].first; i < code_.blocks[b].last; i++) {
      at_ = i;
      moves(Move::reload);
      instruction(code_.insns[i]);
    }
  }
}

// --- blocks ---

bool EmitArm64::has_moves(u32 inst) const {
  const auto it = std::ranges::lower_bound(places_.moves, inst * 4, {}, &Move::key);
  return it != places_.moves.end() && it->key < inst * 4 + 4;
}

void EmitArm64::find_skipped() {
  skipped_.assign(code_.blocks.size(), false);
  for (u32 b = 0; b < code_.blocks.size(); b++) {
    labels_.push_back(as_.new_label());
    const Block& block = code_.blocks[b];
    bool is_empty = b != 0 && block.source == ir::no_block;
    for (u32 i = block.first; i < block.last && is_empty; i++)
      is_empty = !has_moves(i) && (i == block.first || i + 1 == block.last);
    skipped_[b] = is_empty;
  }
}

u32 EmitArm64::final_block(u32 b) const {
  while (skipped_[b]) b = code_.successors(code_.blocks[b])[0];
  return b;
}

u32 EmitArm64::next_block() const {
  u32 b = block_ + 1;
  while (b < code_.blocks.size() && skipped_[b]) b++;
  return b;
}

void EmitArm64::jump_to(u32 b) {
  if (final_block(b) != next_block()) as_.b(label_of(b));
}

// --- frame ---

void EmitArm64::prologue() {
  if (code_.calls != 0) saved_ = {frame_pointer, link};
  for (u8 i = 0; i < 32; i++)
    if ((places_.used & arm_saved) >> i & 1) saved_.push_back(static_cast<Reg>(i));
  if (saved_.size() % 2 != 0) saved_.push_back(Reg::zr);
  const s32 bytes = static_cast<s32>(saved_.size() * 8);
  for (std::size_t i = 0; i < saved_.size(); i += 2) {
    if (i == 0)
      as_.push_pair(saved_[0], saved_[1], Reg::sp, -bytes);
    else
      as_.store_pair(saved_[i], saved_[i + 1], Reg::sp, static_cast<s32>(i * 8));
  }
  if (code_.calls != 0) as_.sum_imm(Alu::add, Width::w64, frame_pointer, Reg::sp, 0);
  slots_at_ = (code_.frame_bytes + 7) / 8 * 8;
  frame_ = (slots_at_ + places_.slots * 8 + 15) / 16 * 16;
  move_stack(Alu::sub, frame_);
}

void EmitArm64::leave_frame() {
  move_stack(Alu::add, frame_);
  for (std::size_t i = saved_.size(); i > 0; i -= 2) {
    const s32 at = static_cast<s32>((i - 2) * 8);
    if (at == 0)
      as_.pop_pair(saved_[0], saved_[1], Reg::sp, static_cast<s32>(saved_.size() * 8));
    else
      as_.load_pair(saved_[i - 2], saved_[i - 1], Reg::sp, at);
  }
}

void EmitArm64::move_stack(Alu op, u32 bytes) {
  if ((bytes & ~0xfffu) != 0) as_.sum_imm(op, Width::w64, Reg::sp, Reg::sp, bytes & ~0xfffu);
  if ((bytes & 0xfff) != 0) as_.sum_imm(op, Width::w64, Reg::sp, Reg::sp, bytes & 0xfff);
}

// --- moves ---

/// Instructions are written in order, and so are the moves.
void EmitArm64::moves(Move::Phase phase) {
  const u32 key = at_ * 4 + phase;
  const auto& all = places_.moves;
  while (next_move_ < all.size() && all[next_move_].key < key) next_move_++;
  if (next_move_ == all.size() || all[next_move_].key != key) return;
  pairs_.clear();
  for (; next_move_ < all.size() && all[next_move_].key == key; next_move_++)
    pairs_.push_back({all[next_move_].from, all[next_move_].to});
  move_at_once(pairs_, *this);
}

void EmitArm64::fixed_operands(const Inst& inst) {
  pairs_.clear();
  for (u32 k = 0; k < inst.count; k++) {
    const Operand& o = code_.operands[inst.first + k];
    if (o.use == Use::fixed) pairs_.push_back({o.loc, Loc::of(Loc::reg, o.fixed)});
  }
  move_at_once(pairs_, *this);
}

/// By x17 alone where registers are concerned: x16 may hold the address to call already.
void EmitArm64::swap(Loc a, Loc b) {
  if (a.kind() == Loc::reg && b.kind() == Loc::reg) {
    as_.mov(Width::w64, scratch_too, reg(a));
    as_.mov(Width::w64, reg(a), reg(b));
    return as_.mov(Width::w64, reg(b), scratch_too);
  }
  if (a.kind() == Loc::slot && b.kind() == Loc::slot) {
    as_.load(Size::b64, false, scratch, slot(a));
    as_.load(Size::b64, false, scratch_too, slot(b));
    as_.store(Size::b64, scratch, slot(b));
    return as_.store(Size::b64, scratch_too, slot(a));
  }
  if (a.kind() == Loc::slot) std::swap(a, b);
  as_.load(Size::b64, false, scratch_too, slot(b));
  as_.store(Size::b64, reg(a), slot(b));
  as_.mov(Width::w64, reg(a), scratch_too);
}

/// Leaves the flags alone.
void EmitArm64::move(Loc from, Loc to) {
  if (to.kind() == Loc::reg) {
    if (from.kind() == Loc::reg) return as_.mov(Width::w64, reg(to), reg(from));
    if (from.kind() == Loc::slot) return as_.load(Size::b64, false, reg(to), slot(from));
    return make(from, reg(to));
  }
  if (from.kind() == Loc::reg) return as_.store(Size::b64, reg(from), slot(to));
  const Register* made = from.kind() == Loc::remat ? &code_.registers[from.number()] : nullptr;
  if (made != nullptr && made->remat == Remat::constant && made->imm == 0)
    return as_.store(Size::b64, Reg::zr, slot(to));
  if (made == nullptr)
    as_.load(Size::b64, false, scratch, slot(from));
  else
    make(from, scratch);
  as_.store(Size::b64, scratch, slot(to));
}

void EmitArm64::make(Loc from, Reg to) {
  const Register& made = code_.registers[from.number()];
  if (made.remat == Remat::constant) return as_.mov(to, static_cast<u64>(made.imm));
  const u64 at = static_cast<u64>(made.imm);
  if (arm64::fits_sum(at)) return as_.sum_imm(Alu::add, Width::w64, to, Reg::sp, static_cast<u32>(at));
  as_.mov(to, at);
  as_.alu(Alu::add, Width::w64, to, Reg::sp, to, arm64::Modifier::uxtx);
}

// --- the module ---

namespace {

Result<void> emit_function(const ir::Function& f, const Target& target, std::span<const Label> functions,
                           arm64::Assembler& as) {
  Code code;
  Allocation places;
  order_blocks(f, code);
  select_arm64(f, target, code);
  if (code.operands.size() > 0xfffffe || !find_live_ranges(code))
    return fail(skep::Code::limit, "the program is too large for the optimising tier; use the interpreter tier");
  allocate(code, arm_registers, places);
  if (places.failed) return fail(skep::Code::limit, "an instruction found no registers; use the interpreter tier");
  resolve(code, arm_registers, places);
  if (code.frame_bytes + u64{places.slots} * 8 > EmitArm64::most_frame_bytes)
    return fail(skep::Code::limit,
                "the program keeps too many values at once (more than 32760 bytes of frame); use the "
                "interpreter tier");
  if (target.check != nullptr)
    if (auto problem = target.check(code, arm_registers, places); !problem.empty())
      return fail(skep::Code::malformed, "register allocation: " + problem);
  const auto start = as.mark();
  auto reach = EmitArm64::Reach::all;
  for (;;) {
    EmitArm64(as, code, places, functions, target, reach).run();
    const auto needed = as.settle(start);
    if (needed <= reach) return {};
    if (needed == EmitArm64::Reach::jumps_too_far)
      return fail(skep::Code::limit, "a jump of the machine code leads too far; use the interpreter tier");
    reach = needed;
    as.rewind(start);
  }
}

}  // namespace

Result<Compiled> emit_arm64(const ir::Module& module, const Target& target) {
  arm64::Assembler as;
  std::vector<Label> functions;
  for (std::size_t i = 0; i < module.functions.size(); i++) functions.push_back(as.new_label());
  Compiled compiled;
  for (std::size_t i = 0; i < module.functions.size(); i++) {
    as.align(16);
    as.bind(functions[i]);
    compiled.entries.push_back(as.size());
    SKEP_TRY(emit_function(module.functions[i], target, functions, as));
  }
  if (!as.finish())
    return fail(skep::Code::limit, "a jump of the machine code leads too far; use the interpreter tier");
  compiled.code.reserve(as.size());
  for (const u32 word : as.words())
    for (u32 i = 0; i < 4; i++) compiled.code.push_back(static_cast<u8>(word >> 8 * i));
  return compiled;
}

}  // namespace skep::vm::backend
