// From eBPF instructions to SSA: what each instruction becomes. See builder.hpp.
#include "isa/semantics.hpp"
#include "vm/jit/builder.hpp"
#include "vm/timed_loop.hpp"

namespace skep::vm::jit {
namespace {

ir::Op arithmetic_of(isa::Alu alu) {
  switch (alu) {
    case isa::Alu::add:
      return ir::Op::add;
    case isa::Alu::sub:
      return ir::Op::sub;
    case isa::Alu::mul:
      return ir::Op::mul;
    case isa::Alu::div:
      return ir::Op::udiv;
    case isa::Alu::sdiv:
      return ir::Op::sdiv;
    case isa::Alu::or_:
      return ir::Op::or_;
    case isa::Alu::and_:
      return ir::Op::and_;
    case isa::Alu::lsh:
      return ir::Op::shl;
    case isa::Alu::rsh:
      return ir::Op::shr;
    case isa::Alu::mod:
      return ir::Op::umod;
    case isa::Alu::smod:
      return ir::Op::smod;
    case isa::Alu::xor_:
      return ir::Op::xor_;
    case isa::Alu::arsh:
      return ir::Op::sar;
    case isa::Alu::mov:
    case isa::Alu::neg:
      break;
  }
  return ir::Op::neg;
}

Condition condition_of(isa::Compare compare) {
  switch (compare) {
    case isa::Compare::eq:
      return Condition::eq;
    case isa::Compare::gt:
      return Condition::ugt;
    case isa::Compare::ge:
      return Condition::uge;
    case isa::Compare::set:
      return Condition::set;
    case isa::Compare::ne:
      return Condition::ne;
    case isa::Compare::sgt:
      return Condition::sgt;
    case isa::Compare::sge:
      return Condition::sge;
    case isa::Compare::lt:
      return Condition::ult;
    case isa::Compare::le:
      return Condition::ule;
    case isa::Compare::slt:
      return Condition::slt;
    case isa::Compare::sle:
      break;
  }
  return Condition::sle;
}

}  // namespace

void FunctionBuilder::clear_frame() {
  if (!code_.clear_frames) return;
  const Instance& instance = instances_[instance_];
  for (u32 b = 8; b <= instance.shape->frame_bytes; b += 8)
    make_.store(64, make_.frame(instance.frame_top - b), 0, make_.constant(0), Inst::stack);
}

Value FunctionBuilder::slot_load(SlotAccess access, u8 bits) {
  const Value whole = read(registers + access.slot - 1);
  return make_.zext(bits,
                    access.shift == 0 ? whole : make_.arithmetic(ir::Op::shr, 64, whole, make_.constant(access.shift)));
}

void FunctionBuilder::slot_store(SlotAccess access, u8 bits, Value v) {
  const u32 variable = registers + access.slot - 1u;
  const u32 slot_bits = shape().slots[access.slot - 1u].bytes * 8u;
  if (bits == slot_bits) return write(variable, make_.zext(bits, v));
  const u64 mask = ((u64{1} << bits) - 1) << access.shift;
  const Value kept = make_.arithmetic(ir::Op::and_, 64, read(variable), make_.constant(~mask));
  Value part = make_.zext(bits, v);
  if (access.shift != 0) part = make_.arithmetic(ir::Op::shl, 64, part, make_.constant(access.shift));
  write(variable, make_.arithmetic(ir::Op::or_, 64, kept, part));
}

void FunctionBuilder::instruction(const ShapeBlock& block) {
  const u8 width = isa::is_wide(op()) ? 64 : 32;
  const u8 bits = static_cast<u8>(isa::access_bytes(insn()) * 8);
  switch (isa::row(op()).form) {
    case Form::alu_imm:
      return set(insn().dst, alu(width, immediate()));
    case Form::alu_reg:
      return set(insn().dst, alu(width, reg(insn().src)));
    case Form::alu_unary:
      return set(insn().dst, make_.neg(width, reg(insn().dst)));
    case Form::movsx:
      return set(insn().dst, make_.sext(width, static_cast<u8>(insn().off), reg(insn().src)));
    case Form::endian:
      return set(insn().dst, insn().code == 0xd4 ? make_.zext(static_cast<u8>(insn().imm), reg(insn().dst))
                                                 : make_.bswap(static_cast<u8>(insn().imm), reg(insn().dst)));
    case Form::load:
      return load(bits);
    case Form::store_imm:
      return store(bits, immediate());
    case Form::store_reg:
      return store(bits, reg(insn().src));
    case Form::atomic:
    case Form::atomic_fetch:
    case Form::cmpxchg:
    case Form::load_acquire:
    case Form::store_release:
      return atomic(bits);
    case Form::ld_imm64:
      return set(insn().dst, wide_immediate());
    case Form::jump:
    case Form::jump_long:
      ended_ = true;
      return jump_to(block_of(instance_, block.successors[0]));
    case Form::jump_imm:
      return conditional(block, width, immediate());
    case Form::jump_reg:
      return conditional(block, width, reg(insn().src));
    case Form::may_goto:
      return may_goto(block);
    case Form::call_helper:
      return call_helper();
    case Form::call_kfunc:
      if (const auto* hidden = code_.hidden_at(at_)) write(hidden->reg, make_.constant(hidden->value));
      return call(reinterpret_cast<u64>(code_.slots[at_].helper));
    case Form::call_local:
      return call_local();
    case Form::callx:
      return callx();
    case Form::exit:
      return leave(read(0));
    case Form::ld_abs:
      return load_packet(number_of_program(static_cast<u32>(insn().imm)), bits);
    case Form::ld_ind:
      return load_packet(make_.arithmetic(ir::Op::add, 32, reg(insn().src), immediate()), bits);
    case Form::addr_space_cast:
      return cast_arena_pointer();
  }
}

Value FunctionBuilder::alu(u8 width, Value b) {
  const isa::Alu kind = isa::alu_of(op());
  if (kind == isa::Alu::mov) return width == 32 ? make_.zext(32, b) : b;
  const Value a = reg(insn().dst);
  const std::size_t before = f_.insns.size();
  const Value v = make_.arithmetic(arithmetic_of(kind), width, a, b);
  // By 1 it is the dividend itself, perhaps another division of which nothing was proved.
  const bool is_division = v >= before && f_.insns[v].op >= ir::Op::udiv && f_.insns[v].op <= ir::Op::smod;
  if (is_division && !code_.proofs.empty() && code_.proofs[at_].divisor_nonzero) f_.insns[v].flags |= Inst::nonzero;
  return v;
}

/// Addresses of maps and functions are ours, not the program's.
Value FunctionBuilder::wide_immediate() {
  const u64 number = code_.slots[at_ + 1].wide;
  const bool is_ours = shaper_.view_of(number) != nullptr || code_.callback_at(number) != nullptr;
  return is_ours ? make_.constant(number) : number_of_program(number);
}

/// Source: memory.hpp (arena_address, arena_cast).
Value FunctionBuilder::base_of(u32 reg_number) {
  if (code_.arena_access.empty() || !code_.arena_access[at_]) return reg(reg_number);
  return make_.arithmetic(ir::Op::add, 64, make_.zext(32, reg(reg_number)), make_.constant(code_.arena));
}

void FunctionBuilder::cast_arena_pointer() {
  const Value low = make_.zext(32, reg(insn().src));
  if (insn().imm == 1) return set(insn().dst, low);
  const Value whole = make_.arithmetic(ir::Op::or_, 64, low, make_.constant(code_.arena));
  set(insn().dst, make_.select(Condition::eq, 32, low, make_.constant(0), make_.constant(0), whole));
}

void FunctionBuilder::load(u8 bits) {
  const bool is_signed = op() == Op::ldxsb || op() == Op::ldxsh || op() == Op::ldxsw;
  if (const auto access = shaper_.slot_access(at_); access.slot != 0) {
    const Value v = slot_load(access, bits);
    return set(insn().dst, is_signed ? make_.sext(64, bits, v) : v);
  }
  set(insn().dst, make_.load(bits, is_signed, base_of(insn().src), insn().off, stack_flag(insn().src)));
}

void FunctionBuilder::store(u8 bits, Value v) {
  if (const auto access = shaper_.slot_access(at_); access.slot != 0) return slot_store(access, bits, v);
  make_.store(bits, base_of(insn().dst), insn().off, v, stack_flag(insn().dst));
}

void FunctionBuilder::atomic(u8 bits) {
  const Form form = isa::row(op()).form;
  Inst inst{.bits = bits, .imm = insn().off};
  if (form == Form::load_acquire) {
    inst.op = ir::Op::load_acquire;
    const Value operands[] = {base_of(insn().src)};
    return set(insn().dst, make_.place(inst, operands));
  }
  const Value address = base_of(insn().dst);
  if (form == Form::cmpxchg) {
    inst.op = ir::Op::compare_exchange;
    const Value operands[] = {address, read(0), reg(insn().src)};
    return set(0, make_.place(inst, operands));
  }
  const Value operands[] = {address, reg(insn().src)};
  if (form == Form::store_release) {
    inst.op = ir::Op::store_release;
    make_.place(inst, operands);
    return;
  }
  const s32 kind = isa::row(op()).imm & 0xf0;
  inst.op = kind == 0xe0 ? ir::Op::exchange : ir::Op::atomic;
  inst.atomic = kind == 0x40   ? ir::Atomic::or_
                : kind == 0x50 ? ir::Atomic::and_
                : kind == 0xa0 ? ir::Atomic::xor_
                               : ir::Atomic::add;
  if (form == Form::atomic_fetch) inst.flags = Inst::fetch;
  const Value old = make_.place(inst, operands);
  if (form == Form::atomic_fetch) set(insn().src, old);
}

void FunctionBuilder::conditional(const ShapeBlock& block, u8 width, Value b) {
  ended_ = true;
  const BlockId first = block_of(instance_, block.successors[0]);
  if (block.successor_count == 1) return jump_to(first);
  branch_to(condition_of(isa::compare_of(op())), width, reg(insn().dst), b, first,
            block_of(instance_, block.successors[1]));
}

void FunctionBuilder::may_goto(const ShapeBlock& block) {
  ended_ = true;
  const u32 variable = instances_[instance_].timed_loop_variable();
  const BlockId leave = block_of(instance_, block.successors[0]);
  const BlockId on = block_of(instance_, block.successors[block.successor_count - 1u]);
  const BlockId look = continuation(make_.block());
  const Value left = make_.arithmetic(ir::Op::sub, 64, read(variable), make_.constant(1));
  write(variable, left);
  branch_to(Condition::eq, 32, left, make_.constant(0), look, on, Inst::unlikely);
  make_.enter(look);
  const Value arguments[] = {left};
  const Value state = plain_call(reinterpret_cast<u64>(&look_at_clock_body), arguments);
  write(variable, state);
  branch_to(Condition::eq, 32, state, make_.constant(timed_loop_over), leave, on, Inst::unlikely);
}

}  // namespace skep::vm::jit
