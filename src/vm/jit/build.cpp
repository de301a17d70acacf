// From eBPF instructions to SSA, with bpf-to-bpf calls inlined.
//
// Registers, stack slots (shape.hpp) and the may_goto budget are variables; each block knows the value that every
// variable has at its end. A variable that a block does not set is looked up in its predecessors, and where several
// meet, in a phi. Because a block may be read before all its predecessors are made, phis get their operands at the
// very end; superfluous ones are removed by the first pass (passes.cpp).
// A call of a function of the program becomes an edge into a copy of it (an Instance) and an edge back: r0 is a phi of
// its returns, and its stack is a piece of the caller's frame.
// Source: Braun et al., "Simple and Efficient Construction of SSA Form" (2013).
#include "vm/jit/build.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "isa/semantics.hpp"
#include "vm/jit/maker.hpp"
#include "vm/jit/shape.hpp"

namespace skep::vm::jit {
namespace {

using ir::BlockId;
using ir::Condition;
using ir::Inst;
using ir::Maker;
using ir::no_block;
using ir::no_value;
using ir::Value;
using isa::Form;
using isa::Op;

/// Linux BPF_MAX_LOOPS, as in the interpreter.
constexpr u64 may_goto_budget = 8u << 20;
constexpr u32 registers = 10;  ///< r0..r9; r10 is always the frame

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

/// A function of the program, or an inlined copy of one.
struct Instance {
  const Shape* shape = nullptr;
  u32 parent = ~0u;
  BlockId first_block = 0;  ///< its blocks are consecutive, in the shape's order
  s64 frame_top = 0;        ///< what r10 is, in the machine function's frame
  BlockId return_to = no_block;
  BlockId call_site = no_block;  ///< the block that was left for it
  Value result = no_value;       ///< phi of its returns (inlined), or nothing
  u32 variables() const { return registers + static_cast<u32>(shape->slots.size()) + 1; }
  u32 budget_variable() const { return registers + static_cast<u32>(shape->slots.size()); }
};

/// What construction needs to know of a block of the new function.
struct BlockState {
  u32 instance = 0;
  u32 shape_block = ~0u;          ///< ~0: the rest of a block behind something that was spread out
  BlockId reads_from = no_block;  ///< variables come from there (call site), not from the predecessors
  u32 values = 0;                 ///< where its variables stand in values_
  bool begins_instance = false;
};

class FunctionBuilder {
 public:
  FunctionBuilder(const Bytecode& code, Shaper& shaper, const Runtime& runtime, const BuildOptions& options,
                  std::vector<u32>& entries)
      : code_(code), shaper_(shaper), runtime_(runtime), options_(options), entries_(entries), make_(f_) {}

  Result<ir::Function> run(u32 entry) {
    const Shape& shape = shaper_.at(entry);
    insns_left_ = shape.insn_count + options_.growth_insns;
    f_.insns.reserve(shape.insn_count * 3 + 64);
    f_.operands.reserve(shape.insn_count * 5 + 64);
    f_.blocks.reserve(shape.blocks.size() + 16);
    values_.reserve(shape.blocks.size() * (registers + shape.slots.size() + 1) + 64);
    instances_.reserve(16);
    const u32 main = begin_instance(shape, ~0u);
    make_.enter(0);
    for (u32 r = 1; r <= 5; r++) write(r, make_.parameter(r));
    SKEP_TRY(fill(main));
    finish_phis();
    make_.place_leaves();
    f_.frame_bytes = static_cast<u32>(frame_bytes_ + 15) / 16 * 16;
    return std::move(f_);
  }

 private:
  // --- instances and blocks ---
  u32 begin_instance(const Shape& shape, u32 parent) {
    Instance instance{.shape = &shape, .parent = parent, .first_block = static_cast<BlockId>(f_.blocks.size())};
    const auto index = static_cast<u32>(instances_.size());
    frame_bytes_ += shape.frame_bytes;
    instance.frame_top = frame_bytes_;
    instances_.push_back(instance);
    for (u32 b = 0; b < shape.blocks.size(); b++) add_block(index, b);
    // A jump back to the function's first instruction must not lead to the block that sets up its variables.
    entry_of(index).begins_instance = true;
    if (shape.blocks[0].predecessors != 0) loops_to_start(index);
    return index;
  }

  BlockState& entry_of(u32 instance) { return states_[instances_[instance].first_block]; }

  /// Splits the set-up from the first block, which is a loop header here.
  void loops_to_start(u32 index) {
    const BlockId header = add_block(index, 0);
    start_[index] = header;
    entry_of(index).shape_block = ~0u;
  }

  BlockId add_block(u32 instance, u32 shape_block) {
    const auto id = static_cast<BlockId>(f_.blocks.size());
    f_.blocks.emplace_back();
    states_.push_back({.instance = instance, .shape_block = shape_block, .values = static_cast<u32>(values_.size())});
    values_.resize(values_.size() + instances_[instance].variables(), no_value);
    start_.resize(std::max(start_.size(), instances_.size()), no_block);
    return id;
  }

  BlockId block_of(u32 instance, u32 shape_block) const {
    if (shape_block == 0 && start_[instance] != no_block) return start_[instance];
    return instances_[instance].first_block + shape_block;
  }

  void edge(BlockId from, BlockId to) {
    f_.blocks[from].successors.push_back(to);
    f_.blocks[to].predecessors.push_back(from);
  }
  void jump_to(BlockId to) {
    edge(make_.block(), to);
    make_.jump();
  }
  void branch_to(Condition c, u8 width, Value a, Value b, BlockId yes, BlockId no) {
    const auto outcome = make_.comparison(c, width, a, b);
    if (outcome.known >= 0 || yes == no) return jump_to(outcome.known == 0 ? no : yes);
    edge(make_.block(), yes);
    edge(make_.block(), no);
    make_.branch(c, width, a, b);
  }
  /// The rest of the current block, behind what is spread over several blocks; still the same variables.
  BlockId continuation(BlockId reads_from) {
    const BlockId b = add_block(instance_, ~0u);
    states_[b].reads_from = reads_from;
    return b;
  }

  /// Fills all blocks of an instance that can be reached. Depends on nothing but the order of the shape.
  Result<void> fill(u32 index) {
    const u32 outer = std::exchange(instance_, index);
    if (start_[index] != no_block) {
      make_.enter(instances_[index].first_block);
      if (shape().has_may_goto) write(instances_[index].budget_variable(), make_.constant(may_goto_budget));
      clear_frame();
      jump_to(start_[index]);
    }
    const auto count = static_cast<u32>(shape().blocks.size());
    std::vector<bool> done(count, false);
    for (bool again = true; again;) {
      again = false;
      for (u32 b = 0; b < count; b++) {
        const BlockId id = block_of(index, b);
        const bool is_reached = states_[id].begins_instance || !f_.blocks[id].predecessors.empty();
        if (done[b] || !is_reached) continue;
        done[b] = again = true;
        make_.enter(id);
        if (states_[id].begins_instance) {
          if (shape().has_may_goto) write(instances_[index].budget_variable(), make_.constant(may_goto_budget));
          clear_frame();
        }
        SKEP_TRY(fill_block(instances_[index].shape->blocks[b]));
      }
    }
    instance_ = outer;
    return {};
  }

  Result<void> fill_block(const ShapeBlock& block) {
    ended_ = false;
    for (u32 i = block.begin; i < block.end && !ended_; i += isa::is_ld_imm64(code_.insns[i]) ? 2 : 1) {
      at_ = i;
      if (!code_.proofs.empty() && !code_.proofs[i].reached) {
        trap();
        break;
      }
      SKEP_TRY(instruction(block));
    }
    if (!ended_) {
      if (block.successor_count == 0)
        trap();
      else
        jump_to(block_of(instance_, block.successors[0]));
    }
    ended_ = true;
    return {};
  }

  void trap() {
    make_.place({.op = ir::Op::trap}, {});
    ended_ = true;
  }

  const Shape& shape() const { return *instances_[instance_].shape; }
  const Insn& insn() const { return code_.insns[at_]; }
  Op op() const { return code_.ops[at_]; }

  // --- variables ---
  Value& stored(BlockId block, u32 variable) { return values_[states_[block].values + variable]; }
  void write(u32 variable, Value v) { stored(make_.block(), variable) = v; }
  Value read(u32 variable) { return read_at(variable, make_.block()); }

  /// The variable's value at the end of `block`, as far as that is filled.
  Value read_at(u32 variable, BlockId block) {
    trail_.clear();
    Value v = no_value;
    for (BlockId b = block;;) {
      v = stored(b, variable);
      if (v != no_value) break;
      trail_.push_back(b);
      const BlockState& state = states_[b];
      if (state.begins_instance) {
        v = make_.constant(0);  // never written: a verified program does not look
        break;
      }
      if (state.reads_from != no_block) {
        b = state.reads_from;
        continue;
      }
      const bool is_single = state.shape_block == ~0u || shape_predecessors(state) == 1;
      if (is_single) {
        b = f_.blocks[b].predecessors[0];
        continue;
      }
      v = make_phi(b, variable);
      break;
    }
    for (const BlockId b : trail_) stored(b, variable) = v;
    return v;
  }

  u32 shape_predecessors(const BlockState& state) const {
    const u32 extra = state.shape_block == 0 && start_[state.instance] != no_block ? 1 : 0;
    return instances_[state.instance].shape->blocks[state.shape_block].predecessors + extra;
  }

  Value make_phi(BlockId block, u32 variable) {
    const Value v = f_.add({.op = ir::Op::phi, .block = block}, {});
    pending_.push_back({v, block, variable});
    return v;
  }

  /// All edges are known now: phis get their operands, which may ask for more phis.
  void finish_phis() {
    std::vector<Value> operands;
    for (std::size_t i = 0; i < pending_.size(); i++) {
      const auto [phi, block, variable] = pending_[i];
      operands.clear();
      for (const BlockId p : f_.blocks[block].predecessors) operands.push_back(read_at(variable, p));
      set_operands(phi, operands);
    }
    for (auto it = pending_.rbegin(); it != pending_.rend(); ++it) {
      auto& insns = f_.blocks[it->block].insns;
      insns.insert(insns.begin(), it->phi);
    }
  }

  void set_operands(Value v, std::span<const Value> operands) {
    f_.insns[v].first = static_cast<u32>(f_.operands.size());
    f_.insns[v].count = static_cast<u16>(operands.size());
    f_.operands.insert(f_.operands.end(), operands.begin(), operands.end());
  }

  Value reg(u32 r) { return r == isa::frame_pointer ? make_.frame(instances_[instance_].frame_top) : read(r); }
  void set(u32 r, Value v) { write(r, v); }
  Value immediate() { return make_.constant(static_cast<u64>(s64{insn().imm})); }

  // --- stack ---
  /// Stack that the program reads without having written it must read as zero.
  void clear_frame() {
    if (!code_.clear_frames) return;
    const Instance& instance = instances_[instance_];
    for (u32 b = 8; b <= instance.shape->frame_bytes; b += 8)
      make_.store(64, make_.frame(instance.frame_top - b), 0, make_.constant(0), Inst::stack);
  }

  Value slot_load(SlotAccess access, u8 bits) {
    const Value whole = read(registers + access.slot - 1);
    return make_.zext(
        bits, access.shift == 0 ? whole : make_.arithmetic(ir::Op::shr, 64, whole, make_.constant(access.shift)));
  }

  void slot_store(SlotAccess access, u8 bits, Value v) {
    const u32 variable = registers + access.slot - 1u;
    const u32 slot_bits = shape().slots[access.slot - 1u].bytes * 8u;
    if (bits == slot_bits) return write(variable, make_.zext(bits, v));
    const u64 mask = ((u64{1} << bits) - 1) << access.shift;
    const Value kept = make_.arithmetic(ir::Op::and_, 64, read(variable), make_.constant(~mask));
    Value part = make_.zext(bits, v);
    if (access.shift != 0) part = make_.arithmetic(ir::Op::shl, 64, part, make_.constant(access.shift));
    write(variable, make_.arithmetic(ir::Op::or_, 64, kept, part));
  }

  // --- instructions ---
  Result<void> instruction(const ShapeBlock& block) {
    const u8 width = isa::is_wide(op()) ? 64 : 32;
    const u8 bits = static_cast<u8>(isa::access_bytes(insn()) * 8);
    switch (isa::row(op()).form) {
      case Form::alu_imm:
        set(insn().dst, alu(width, immediate()));
        return {};
      case Form::alu_reg:
        set(insn().dst, alu(width, reg(insn().src)));
        return {};
      case Form::alu_unary:
        set(insn().dst, make_.neg(width, reg(insn().dst)));
        return {};
      case Form::movsx:
        set(insn().dst, make_.sext(width, static_cast<u8>(insn().off), reg(insn().src)));
        return {};
      case Form::endian:
        set(insn().dst, insn().code == 0xd4 ? make_.zext(static_cast<u8>(insn().imm), reg(insn().dst))
                                            : make_.bswap(static_cast<u8>(insn().imm), reg(insn().dst)));
        return {};
      case Form::load:
        load(bits);
        return {};
      case Form::store_imm:
        store(bits, immediate());
        return {};
      case Form::store_reg:
        store(bits, reg(insn().src));
        return {};
      case Form::atomic:
      case Form::atomic_fetch:
      case Form::cmpxchg:
      case Form::load_acquire:
      case Form::store_release:
        atomic(bits);
        return {};
      case Form::ld_imm64:
        set(insn().dst, make_.constant(code_.slots[at_ + 1].wide));
        return {};
      case Form::jump:
      case Form::jump_long:
        jump_to(block_of(instance_, block.successors[0]));
        ended_ = true;
        return {};
      case Form::jump_imm:
        conditional(block, width, immediate());
        return {};
      case Form::jump_reg:
        conditional(block, width, reg(insn().src));
        return {};
      case Form::may_goto:
        may_goto(block);
        return {};
      case Form::call_helper:
        return call_helper();
      case Form::call_kfunc:
        call(reinterpret_cast<u64>(code_.slots[at_].helper));
        return {};
      case Form::call_local:
        return call_local();
      case Form::callx:
        callx();
        return {};
      case Form::exit:
        leave(read(0));
        return {};
      case Form::ld_abs:
        load_packet(make_.constant(static_cast<u32>(insn().imm)), bits);
        return {};
      case Form::ld_ind:
        load_packet(make_.arithmetic(ir::Op::add, 32, reg(insn().src), immediate()), bits);
        return {};
      case Form::addr_space_cast:
        break;
    }
    return fail(Code::unsupported, fmt::format("instruction {}: {} has no machine code yet: use the interpreter", at_,
                                               isa::row(op()).name));
  }

  Value alu(u8 width, Value b) {
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

  void load(u8 bits) {
    const bool is_signed = op() == Op::ldxsb || op() == Op::ldxsh || op() == Op::ldxsw;
    if (const auto access = shaper_.slot_access(at_); access.slot != 0) {
      const Value v = slot_load(access, bits);
      return set(insn().dst, is_signed ? make_.sext(64, bits, v) : v);
    }
    set(insn().dst, make_.load(bits, is_signed, reg(insn().src), insn().off, stack_flag(insn().src)));
  }

  void store(u8 bits, Value v) {
    if (const auto access = shaper_.slot_access(at_); access.slot != 0) return slot_store(access, bits, v);
    make_.store(bits, reg(insn().dst), insn().off, v, stack_flag(insn().dst));
  }

  u8 stack_flag(u32 base) { return f_.insns[reg(base)].op == ir::Op::frame ? u8{Inst::stack} : u8{0}; }

  void atomic(u8 bits) {
    const Form form = isa::row(op()).form;
    Inst inst{.bits = bits, .imm = insn().off};
    if (form == Form::load_acquire) {
      inst.op = ir::Op::load_acquire;
      const Value operands[] = {reg(insn().src)};
      return set(insn().dst, make_.place(inst, operands));
    }
    const Value address = reg(insn().dst);
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

  void conditional(const ShapeBlock& block, u8 width, Value b) {
    ended_ = true;
    const BlockId first = block_of(instance_, block.successors[0]);
    if (block.successor_count == 1) return jump_to(first);
    branch_to(condition_of(isa::compare_of(op())), width, reg(insn().dst), b, first,
              block_of(instance_, block.successors[1]));
  }

  void may_goto(const ShapeBlock& block) {
    ended_ = true;
    const u32 variable = instances_[instance_].budget_variable();
    const Value left = read(variable);
    write(variable, make_.arithmetic(ir::Op::sub, 64, left, make_.constant(1)));
    branch_to(Condition::eq, 64, left, make_.constant(0), block_of(instance_, block.successors[0]),
              block_of(instance_, block.successors[block.successor_count - 1u]));
  }

  // --- calls ---
  void forget_arguments() {
    for (u32 r = 1; r <= 5; r++) write(r, make_.constant(0));
  }

  Value plain_call(u64 target, std::span<const Value> arguments) {
    return make_.place({.op = ir::Op::call, .imm = static_cast<s64>(target)}, arguments);
  }

  /// A call that takes r1..r5 as they are.
  void call(u64 target) {
    const Value arguments[] = {read(1), read(2), read(3), read(4), read(5)};
    const Value result = plain_call(target, arguments);
    finish_call(result);
  }

  void finish_call(Value result) {
    write(0, result);
    forget_arguments();
    if (code_.throws(at_)) return_if_thrown();
  }

  /// bpf_throw: behind a call that may throw, every frame returns at once.
  void return_if_thrown() {
    const Value thrown = make_.load(8, false, make_.run(), offsetof(base::Run, thrown));
    const BlockId here = make_.block();
    const BlockId out = continuation(here), rest = continuation(here);
    branch_to(Condition::ne, 32, thrown, make_.constant(0), out, rest);
    make_.enter(out);
    const u32 inner = instance_;
    leave_function(make_.constant(0));
    instance_ = inner;
    ended_ = false;
    make_.enter(rest);
  }

  Result<void> call_helper() {
    if (insn().imm == isa::helper_tail_call) {
      tail_call();
      return {};
    }
    if (const auto* view = shaper_.inlined_lookup(at_)) {
      array_lookup(*view, slot_load(shaper_.slot_access(at_), 32));
      return {};
    }
    if (const auto* view = map_argument()) {
      const auto id = static_cast<u32>(insn().imm);
      constexpr u32 lookup = 1, update = 2, erase = 3;
      if (id == lookup && view->kind == base::MapView::Kind::array && view->key_size == 4) {
        array_lookup(*view, make_.load(32, false, read(2), 0, stack_flag(2)));
        return {};
      }
      const base::HelperFn direct = id == lookup   ? view->lookup
                                    : id == update ? view->update
                                    : id == erase  ? view->erase
                                                   : nullptr;
      if (direct != nullptr) {
        call(reinterpret_cast<u64>(direct));
        return {};
      }
    }
    call(reinterpret_cast<u64>(code_.slots[at_].helper));
    return {};
  }

  const base::MapView* map_argument() {
    const Value map = read(1);
    return f_.is_constant(map) ? shaper_.view_of(static_cast<u64>(f_.insns[map].imm)) : nullptr;
  }

  /// values + index * stride, or null.
  void array_lookup(const base::MapView& view, Value index) {
    const Value offset = make_.arithmetic(ir::Op::mul, 64, index, make_.constant(view.stride));
    const Value address = make_.arithmetic(ir::Op::add, 64, offset, make_.constant(view.values));
    if (f_.insns[address].op == ir::Op::add) f_.insns[address].flags |= Inst::nonzero;
    const Value result =
        make_.select(Condition::ult, 32, index, make_.constant(view.max_entries), address, make_.constant(0));
    write(0, result);
    forget_arguments();
  }

  void tail_call() {
    const Value find[] = {read(2), make_.zext(32, read(3)), make_.constant(reinterpret_cast<u64>(code_.tail_target))};
    const Value context = read(1);
    const Value target = plain_call(reinterpret_cast<u64>(runtime_.find_tail), find);
    const BlockId here = make_.block();
    const BlockId taken = continuation(here), rest = continuation(here);
    branch_to(Condition::ne, 64, target, make_.constant(0), taken, rest);
    make_.enter(taken);
    const Value run[] = {target, context};
    const Value result = plain_call(reinterpret_cast<u64>(runtime_.run_tail), run);
    leave(result);
    ended_ = false;
    make_.enter(rest);
    write(0, make_.constant(static_cast<u64>(-2)));
    forget_arguments();
  }

  void callx() {
    const Value resolve[] = {make_.constant(reinterpret_cast<u64>(&code_)), reg(insn().dst)};
    const Value target = plain_call(reinterpret_cast<u64>(runtime_.resolve), resolve);
    const Value arguments[] = {target, read(1), read(2), read(3), read(4), read(5)};
    finish_call(make_.place({.op = ir::Op::call_pointer}, arguments));
  }

  void load_packet(Value offset, u8 bits) {
    frame_bytes_ += 8;
    const Value slot = make_.frame(frame_bytes_ - 8);
    const Value arguments[] = {read(6), offset, make_.constant(bits / 8u), slot};
    const Value failed = plain_call(reinterpret_cast<u64>(code_.load_packet), arguments);
    const BlockId here = make_.block();
    const BlockId out = continuation(here), rest = continuation(here);
    branch_to(Condition::ne, 64, failed, make_.constant(0), out, rest);
    make_.enter(out);
    leave(make_.constant(0));
    ended_ = false;
    make_.enter(rest);
    write(0, make_.load(64, false, slot, 0, Inst::stack));
    forget_arguments();
  }

  Result<void> call_local() {
    const auto entry = static_cast<u32>(static_cast<s64>(at_) + 1 + insn().imm);
    const Shape& callee = shaper_.at(entry);
    const Value arguments[] = {read(1), read(2), read(3), read(4), read(5)};
    if (!worth_inlining(callee)) {
      const Value result = make_.place({.op = ir::Op::call_local, .imm = function_index(entry)}, arguments);
      finish_call(result);
      return {};
    }
    insns_left_ -= callee.insn_count;
    const BlockId site = make_.block();
    const u32 index = begin_instance(callee, instance_);
    instances_[index].return_to = continuation(site);
    instances_[index].call_site = site;
    instances_[index].result = f_.add({.op = ir::Op::phi, .block = instances_[index].return_to}, {});
    jump_to(instances_[index].first_block);
    make_.enter(instances_[index].first_block);
    for (u32 r = 1; r <= 5; r++) write(r, arguments[r - 1]);
    const u32 here = at_;
    SKEP_TRY(fill(index));
    at_ = here;
    finish_inlined(index);
    return {};
  }

  void finish_inlined(u32 index) {
    const Instance& instance = instances_[index];
    make_.enter(instance.return_to);
    std::vector<Value> results;
    for (const auto& [from, value] : returns_)
      if (from == index) results.push_back(value);
    std::erase_if(returns_, [&](const auto& r) { return r.first == index; });
    if (results.empty()) {  // it never returns
      trap();
      return;
    }
    set_operands(instance.result, results);
    f_.blocks[instance.return_to].insns.insert(f_.blocks[instance.return_to].insns.begin(), instance.result);
    ended_ = false;
    finish_call(instance.result);
  }

  bool worth_inlining(const Shape& callee) const {
    u32 depth = 0;
    for (u32 i = instance_; i != ~0u; i = instances_[i].parent) depth++;
    const bool is_small = callee.insn_count <= options_.inline_insns || is_called_once(callee.entry);
    return is_small && callee.insn_count <= insns_left_ && depth < isa::max_call_frames;
  }

  bool is_called_once(u32 entry) const {
    u32 calls = 0;
    for (std::size_t i = 0; i < code_.insns.size(); i++) {
      if (isa::is_ld_imm64(code_.insns[i]))
        i++;
      else if (code_.ops[i] == Op::call_local &&
               static_cast<s64>(i) + 1 + code_.insns[i].imm == static_cast<s64>(entry))
        calls++;
    }
    return calls == 1;
  }

  s64 function_index(u32 entry) {
    const auto it = std::ranges::find(entries_, entry);
    if (it != entries_.end()) return it - entries_.begin();
    entries_.push_back(entry);
    return static_cast<s64>(entries_.size()) - 1;
  }

  /// exit: of the machine function, or of an inlined copy.
  void leave(Value result) {
    ended_ = true;
    if (instances_[instance_].return_to == no_block) return make_.ret(result);
    returns_.emplace_back(instance_, result);
    jump_to(instances_[instance_].return_to);
  }
  /// Out of the whole machine function (whoever called it sees Run::thrown as well).
  void leave_function(Value result) {
    ended_ = true;
    make_.ret(result);
  }

  struct Pending {
    Value phi;
    BlockId block;
    u32 variable;
  };

  const Bytecode& code_;
  Shaper& shaper_;
  const Runtime& runtime_;
  const BuildOptions& options_;
  std::vector<u32>& entries_;
  ir::Function f_;
  Maker make_;
  std::vector<Instance> instances_;
  std::vector<BlockId> start_;  ///< by instance: the block of its first instruction where that is a loop header
  std::vector<BlockState> states_;
  std::vector<Value> values_;
  std::vector<Pending> pending_;
  std::vector<BlockId> trail_;
  std::vector<std::pair<u32, Value>> returns_;  ///< by instance, in order of the return block's predecessors
  u32 instance_ = 0;
  u32 at_ = 0;
  bool ended_ = false;
  u32 insns_left_ = 0;
  s64 frame_bytes_ = 0;
};

}  // namespace

Result<Built> build(const Bytecode& code, const Runtime& runtime, const BuildOptions& options) {
  Built built;
  built.entries.push_back(0);
  for (const auto& callback : code.callbacks)
    if (std::ranges::find(built.entries, callback.insn) == built.entries.end()) built.entries.push_back(callback.insn);
  Shaper shaper(code);
  for (std::size_t i = 0; i < built.entries.size(); i++) {  // grows: functions that were not inlined
    FunctionBuilder builder(code, shaper, runtime, options, built.entries);
    built.module.functions.push_back(SKEP_TRY(builder.run(built.entries[i])));
  }
  return built;
}

}  // namespace skep::vm::jit
