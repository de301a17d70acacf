// Runs the intermediate form directly: the oracle between the passes and the emitters.
//
// Arithmetic comes from isa/semantics.hpp, the same functions as the interpreter's. Slow, and checks nothing: only
// for programs that are known to be sound.
#include <cstring>
#include <memory>

#include "base/run.hpp"
#include "isa/semantics.hpp"
#include "vm/jit/ir.hpp"
#include "vm/jit/meaning.hpp"

namespace skep::vm::ir {
namespace {

u64 read(u64 address, u32 bits) {
  u64 value = 0;
  std::memcpy(&value, reinterpret_cast<const void*>(address), bits / 8);
  return value;
}
void write(u64 address, u64 value, u32 bits) { std::memcpy(reinterpret_cast<void*>(address), &value, bits / 8); }

class Evaluator {
 public:
  Evaluator(const Module& module, u32 index, void* run, std::span<const u64> parameters)
      : module_(module),
        f_(module.functions[index]),
        run_(run),
        parameters_(parameters),
        values_(f_.insns.size(), 0),
        frame_(std::make_unique<Cell[]>(f_.frame_bytes / sizeof(Cell) + 1)) {}

  u64 run() {
    BlockId from = no_block, block = 0;
    for (;;) {
      enter(from, block);
      const BlockId next = step_through(block);
      if (next == no_block) return result_;
      from = block;
      block = next;
    }
  }

 private:
  struct alignas(16) Cell {
    std::byte bytes[16];
  };

  u64 of(const Inst& inst, u32 operand) const { return values_[f_.operands[inst.first + operand]]; }
  u64 address(const Inst& inst) const { return of(inst, 0) + static_cast<u64>(inst.imm); }

  /// Phis read their operands together, before any of them changes.
  void enter(BlockId from, BlockId block) {
    if (from == no_block) return;
    const auto& predecessors = f_.blocks[block].predecessors;
    u32 edge = 0;
    while (predecessors[edge] != from) edge++;
    std::vector<std::pair<Value, u64>> incoming;
    for (const Value v : f_.blocks[block].insns) {
      if (f_.insns[v].op != Op::phi) break;
      incoming.emplace_back(v, of(f_.insns[v], edge));
    }
    for (const auto& [v, value] : incoming) values_[v] = value;
  }

  BlockId step_through(BlockId block) {
    const auto& successors = f_.blocks[block].successors;
    for (const Value v : f_.blocks[block].insns) {
      const Inst& inst = f_.insns[v];
      switch (inst.op) {
        case Op::phi:
          break;
        case Op::jump:
          return successors[0];
        case Op::branch:
          return successors[holds(inst.condition, inst.width, of(inst, 0), of(inst, 1)) ? 0 : 1];
        case Op::switch_: {
          u64 index = of(inst, 0) - static_cast<u64>(inst.imm);
          if (inst.width == 32) index = static_cast<u32>(index);
          return index < successors.size() - 1 ? successors[1 + index] : successors[0];
        }
        case Op::ret:
          result_ = of(inst, 0);
          return no_block;
        case Op::trap:
          result_ = 0;
          return no_block;
        default:
          values_[v] = value_of(inst);
      }
    }
    return no_block;
  }

  u64 value_of(const Inst& inst) {
    switch (inst.op) {
      case Op::parameter:
        return parameters_[static_cast<std::size_t>(inst.imm - 1)];
      case Op::run:
        return reinterpret_cast<u64>(run_);
      case Op::frame:
        return reinterpret_cast<u64>(frame_.get()) + static_cast<u64>(inst.imm);
      case Op::call:
      case Op::call_local:
      case Op::call_pointer:
        return call(inst);
      default:
        if (row(inst.op).effect == Effect::pure) return pure(inst);
        return memory(inst);
    }
  }

  u64 pure(const Inst& inst) const {
    u64 operands[4] = {};
    for (u32 i = 0; i < inst.count; i++) operands[i] = of(inst, i);
    return meaning(inst, operands);
  }

  u64 memory(const Inst& inst) const {
    const u64 at = address(inst);
    const u64 old = inst.op == Op::store || inst.op == Op::store_swapped ? 0 : read(at, inst.bits);
    switch (inst.op) {
      case Op::load:
        return inst.has(Inst::sign) ? sign_extended(old, inst.bits) : old;
      case Op::load_swapped:
        return swapped(old, inst.bits);
      case Op::store_swapped:
        write(at, swapped(of(inst, 1), inst.bits), inst.bits);
        return 0;
      case Op::compare_exchange: {
        const u64 mask = inst.bits == 64 ? ~u64{0} : (u64{1} << inst.bits) - 1;
        if (old == (of(inst, 1) & mask)) write(at, of(inst, 2), inst.bits);
        return old;
      }
      case Op::atomic:
        write(at, combined(inst.atomic, old, of(inst, 1)), inst.bits);
        return old;
      case Op::load_acquire:
        return old;
      default:  // store, exchange, store_release
        write(at, of(inst, 1), inst.bits);
        return old;
    }
  }

  static u64 combined(Atomic kind, u64 old, u64 operand) {
    switch (kind) {
      case Atomic::add:
        return old + operand;
      case Atomic::or_:
        return old | operand;
      case Atomic::and_:
        return old & operand;
      case Atomic::xor_:
        return old ^ operand;
    }
    return 0;
  }

  u64 call(const Inst& inst) const {
    const u32 skip = inst.op == Op::call_pointer ? 1 : 0;
    u64 a[5] = {};
    for (u32 i = skip; i < inst.count; i++) a[i - skip] = of(inst, i);
    if (inst.op == Op::call_local) return Evaluator(module_, static_cast<u32>(inst.imm), run_, a).run();
    const u64 target = skip != 0 ? of(inst, 0) : static_cast<u64>(inst.imm);
    return reinterpret_cast<base::HelperFn>(target)(run_, a[0], a[1], a[2], a[3], a[4]);
  }

  const Module& module_;
  const Function& f_;
  void* run_;
  std::span<const u64> parameters_;
  std::vector<u64> values_;
  std::unique_ptr<Cell[]> frame_;
  u64 result_ = 0;
};

}  // namespace

u64 evaluate(const Module& module, u32 index, void* run, std::span<const u64> parameters) {
  return Evaluator(module, index, run, parameters).run();
}

}  // namespace skep::vm::ir
