// From eBPF instructions to SSA: blocks, variables, and the module. See builder.hpp.
#include "vm/jit/build.hpp"

#include <algorithm>

#include "vm/jit/builder.hpp"
#include "vm/timed_loop.hpp"

namespace skep::vm::jit {

ir::Function FunctionBuilder::run(u32 entry) {
  const Shape& shape = shaper_.at(entry);
  is_main_ = entry == 0;
  insns_left_ = shape.insn_count + options_.growth_insns;
  f_.insns.reserve(shape.insn_count * 3 + 64);
  f_.operands.reserve(shape.insn_count * 5 + 64);
  f_.blocks.reserve(shape.blocks.size() + 16);
  values_.reserve(shape.blocks.size() * (registers + shape.slots.size() + 1) + 64);
  instances_.reserve(16);
  const u32 main = begin_instance(shape, ~0u);
  make_.enter(0);
  for (u32 r = 1; r <= 5; r++) write(r, make_.parameter(r));
  fill(main);
  finish_phis();
  make_.place_leaves();
  f_.frame_bytes = static_cast<u32>(frame_bytes_ + 15) / 16 * 16;
  return std::move(f_);
}

u32 FunctionBuilder::begin_instance(const Shape& shape, u32 parent) {
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

void FunctionBuilder::loops_to_start(u32 index) {
  const BlockId header = add_block(index, 0);
  start_[index] = header;
  entry_of(index).shape_block = ~0u;
}

BlockId FunctionBuilder::add_block(u32 instance, u32 shape_block) {
  const auto id = static_cast<BlockId>(f_.blocks.size());
  f_.blocks.emplace_back();
  states_.push_back({.instance = instance, .shape_block = shape_block, .values = static_cast<u32>(values_.size())});
  values_.resize(values_.size() + instances_[instance].variables(), no_value);
  start_.resize(std::max(start_.size(), instances_.size()), no_block);
  return id;
}

BlockId FunctionBuilder::block_of(u32 instance, u32 shape_block) const {
  if (shape_block == 0 && start_[instance] != no_block) return start_[instance];
  return instances_[instance].first_block + shape_block;
}

void FunctionBuilder::edge(BlockId from, BlockId to) {
  f_.blocks[from].successors.push_back(to);
  f_.blocks[to].predecessors.push_back(from);
}

void FunctionBuilder::jump_to(BlockId to) {
  edge(make_.block(), to);
  make_.jump();
}

void FunctionBuilder::branch_to(Condition c, u8 width, Value a, Value b, BlockId yes, BlockId no, u8 flags) {
  const auto outcome = make_.comparison(c, width, a, b);
  if (outcome.known >= 0 || yes == no) return jump_to(outcome.known == 0 ? no : yes);
  edge(make_.block(), yes);
  edge(make_.block(), no);
  make_.branch(c, width, a, b);
  f_.insns[f_.blocks[make_.block()].insns.back()].flags |= flags;
}

BlockId FunctionBuilder::continuation(BlockId reads_from) {
  const BlockId b = add_block(instance_, ~0u);
  states_[b].reads_from = reads_from;
  return b;
}

void FunctionBuilder::fill(u32 index) {
  const u32 outer = std::exchange(instance_, index);
  if (start_[index] != no_block) {
    make_.enter(instances_[index].first_block);
    if (shape().has_may_goto) write(instances_[index].timed_loop_variable(), make_.constant(timed_loop_begin));
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
        if (shape().has_may_goto) write(instances_[index].timed_loop_variable(), make_.constant(timed_loop_begin));
        clear_frame();
      }
      fill_block(instances_[index].shape->blocks[b]);
    }
  }
  instance_ = outer;
}

void FunctionBuilder::fill_block(const ShapeBlock& block) {
  ended_ = false;
  for (u32 i = block.begin; i < block.end && !ended_; i += isa::is_ld_imm64(code_.insns[i]) ? 2 : 1) {
    at_ = i;
    if (!code_.proofs.empty() && !code_.proofs[i].reached) {
      trap();
      break;
    }
    instruction(block);
  }
  if (!ended_) {
    if (block.successor_count == 0)
      trap();
    else
      jump_to(block_of(instance_, block.successors[0]));
  }
  ended_ = true;
}

void FunctionBuilder::trap() {
  make_.place({.op = ir::Op::trap}, {});
  ended_ = true;
}

Value FunctionBuilder::read_at(u32 variable, BlockId block) {
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

u32 FunctionBuilder::shape_predecessors(const BlockState& state) const {
  const u32 extra = state.shape_block == 0 && start_[state.instance] != no_block ? 1 : 0;
  return instances_[state.instance].shape->blocks[state.shape_block].predecessors + extra;
}

Value FunctionBuilder::make_phi(BlockId block, u32 variable) {
  const Value v = f_.add({.op = ir::Op::phi, .block = block}, {});
  pending_.push_back({v, block, variable});
  return v;
}

void FunctionBuilder::finish_phis() {
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

void FunctionBuilder::set_operands(Value v, std::span<const Value> operands) {
  f_.insns[v].first = static_cast<u32>(f_.operands.size());
  f_.insns[v].count = static_cast<u16>(operands.size());
  f_.operands.insert(f_.operands.end(), operands.begin(), operands.end());
}

// --- the module ---

Built build(const Bytecode& code, const Runtime& runtime, const BuildOptions& options) {
  Built built;
  built.entries.push_back(0);
  for (const auto& callback : code.callbacks)
    if (std::ranges::find(built.entries, callback.insn) == built.entries.end()) built.entries.push_back(callback.insn);
  Shaper shaper(code);
  for (std::size_t i = 0; i < built.entries.size(); i++) {  // grows: functions that were not inlined
    FunctionBuilder builder(code, shaper, runtime, options, built.entries);
    built.module.functions.push_back(builder.run(built.entries[i]));
  }
  return built;
}

}  // namespace skep::vm::jit
