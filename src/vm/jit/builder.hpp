// Builds one machine function: the class shared by build.cpp (blocks and variables), build_insns.cpp (instructions),
// build_calls.cpp (calls and inlining), build_maps.cpp (maps), build_loops.cpp (helpers that call back).
//
// Registers, stack slots (shape.hpp) and the state of timed loops (may_goto) are variables; each block knows the value
// that every variable has at its end. A variable that a block does not set is looked up in its predecessors, and where
// several meet, in a phi. Because a block may be read before all its predecessors are made, phis get their operands at
// the very end; superfluous ones are removed by the first pass (simplify.cpp). A call of a function of the program
// becomes an edge into a copy of it (an Instance) and an edge back: r0 is a phi of its returns, and its stack is a
// piece of the caller's frame. Source: Braun et al., "Simple and Efficient Construction of SSA Form" (2013).
#pragma once
#include "vm/jit/build.hpp"
#include "vm/jit/maker.hpp"
#include "vm/jit/shape.hpp"

namespace skep::vm::jit {

using ir::BlockId;
using ir::Condition;
using ir::Inst;
using ir::Maker;
using ir::no_block;
using ir::no_value;
using ir::Value;
using isa::Form;
using isa::Op;

inline constexpr u32 registers = 10;  ///< r0..r9; r10 is always the frame

/// A function of the program, or an inlined copy of one.
struct Instance {
  const Shape* shape = nullptr;
  u32 parent = ~0u;
  BlockId first_block = 0;  ///< its blocks are consecutive, in the shape's order
  s64 frame_top = 0;        ///< what r10 is, in the machine function's frame
  BlockId return_to = no_block;
  u32 call = 0;             ///< the call instruction
  Value result = no_value;  ///< phi of its returns (inlined), or nothing
  u32 variables() const { return registers + static_cast<u32>(shape->slots.size()) + 1; }
  u32 timed_loop_variable() const { return registers + static_cast<u32>(shape->slots.size()); }
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
  ir::Function run(u32 entry);

 private:
  // --- instances and blocks ---
  u32 begin_instance(const Shape& shape, u32 parent);
  BlockState& entry_of(u32 instance) { return states_[instances_[instance].first_block]; }
  /// Splits the set-up from the first block, which is a loop header here.
  void loops_to_start(u32 index);
  BlockId add_block(u32 instance, u32 shape_block);
  BlockId block_of(u32 instance, u32 shape_block) const;
  void edge(BlockId from, BlockId to);
  void jump_to(BlockId to);
  void branch_to(Condition c, u8 width, Value a, Value b, BlockId yes, BlockId no, u8 flags = 0);
  /// The rest of the current block, behind what is spread over several blocks; still the same variables.
  BlockId continuation(BlockId reads_from);
  /// Fills all blocks of an instance that can be reached. Depends on nothing but the order of the shape.
  void fill(u32 index);
  void fill_block(const ShapeBlock& block);
  void trap();
  const Shape& shape() const { return *instances_[instance_].shape; }
  const Insn& insn() const { return code_.insns[at_]; }
  Op op() const { return code_.ops[at_]; }

  // --- variables ---
  Value& stored(BlockId block, u32 variable) { return values_[states_[block].values + variable]; }
  void write(u32 variable, Value v) { stored(make_.block(), variable) = v; }
  Value read(u32 variable) { return read_at(variable, make_.block()); }
  /// The variable's value at the end of `block`, as far as that is filled.
  Value read_at(u32 variable, BlockId block);
  u32 shape_predecessors(const BlockState& state) const;
  Value make_phi(BlockId block, u32 variable);
  /// All edges are known now: phis get their operands, which may ask for more phis.
  void finish_phis();
  void set_operands(Value v, std::span<const Value> operands);
  Value reg(u32 r) { return r == isa::frame_pointer ? make_.frame(instances_[instance_].frame_top) : read(r); }
  void set(u32 r, Value v) { write(r, v); }
  Value immediate() { return number_of_program(static_cast<u64>(s64{insn().imm})); }
  Value number_of_program(u64 number) { return options_.blind ? make_.blinded(number) : make_.constant(number); }
  Value wide_immediate();

  // --- stack ---
  /// Stack that the program reads without having written it must read as zero.
  void clear_frame();
  Value slot_load(SlotAccess access, u8 bits);
  void slot_store(SlotAccess access, u8 bits, Value v);

  // --- instructions ---
  void instruction(const ShapeBlock& block);
  Value alu(u8 width, Value b);
  void cast_arena_pointer();
  void load(u8 bits);
  void store(u8 bits, Value v);
  /// What a load, store or atomic adds its offset to.
  Value base_of(u32 reg_number);
  u8 stack_flag(u32 base) { return f_.insns[reg(base)].op == ir::Op::frame ? u8{Inst::stack} : u8{0}; }
  void atomic(u8 bits);
  void conditional(const ShapeBlock& block, u8 width, Value b);
  void may_goto(const ShapeBlock& block);

  // --- calls ---
  void forget_arguments();
  Value plain_call(u64 target, std::span<const Value> arguments);
  /// A call that takes r1..r5 as they are.
  void call(u64 target);
  void finish_call(Value result);
  /// bpf_throw: behind a call that may throw, every frame returns at once.
  void return_if_thrown();
  void call_helper();
  const base::MapView* map_argument();
  void tail_call();
  void callx();
  void load_packet(Value offset, u8 bits);
  void call_local();
  /// An instance of `callee` in the place of a call: control goes there from the current block, which becomes its call
  /// site, and comes back to a block of its own. Returns its index. The caller fills it and finishes it.
  u32 enter_instance(const Shape& callee, std::span<const Value> arguments);
  /// The current block becomes the one it returns to, and the result is returned; no_value: it never returns.
  Value end_instance(u32 index);
  bool worth_inlining(const Shape& callee, u32 most_insns) const;

  // --- maps ---
  /// A look-up, update or removal in this map; false: another helper.
  bool call_map(const base::MapView& view);
  /// Up to 8 bytes of what the helper at hand reads by r<argument>, from `offset` on, as a number.
  Value given(u32 argument, u32 offset, u32 bytes);
  Value given_by_address(u32 argument, u32 offset, u32 bytes);
  /// What lies in slots becomes memory, and r<argument> its address.
  void give_by_address(u32 argument);
  void array_lookup(const base::MapView& view);
  void hash_lookup(const base::MapView& view);
  struct HashWalk;
  void hash_first(HashWalk& walk);
  void hash_probe(HashWalk& walk, Value ref);
  void hash_next(HashWalk& walk);
  void hash_found(HashWalk& walk);
  void hash_call(HashWalk& walk);
  Value value_address(const base::MapView& view, Value index);
  /// Stays the same during a run.
  Value cpu_of_run();
  Value acquire(u8 bits, Value base, s64 offset);
  Value begin_phi(BlockId block);

  // --- helpers that call back ---
  /// The function of this program whose address r<number> holds, when that is known and it is worth inlining.
  const Shape* known_callback(u32 number);
  /// bpf_loop and bpf_for_each_map_elem with a known callback; false: call the helper.
  bool call_back_inline();
  void loop_inline(const Shape& callback, Value count);
  void for_each_inline(const Shape& callback, const base::MapView& view);
  /// What the parts of a loop around a callback have in common.
  struct Rounds {
    BlockId head = no_block, done = no_block;
    Value index = no_value;      ///< phi: how many rounds are over
    Value count = no_value;      ///< of them at most
    std::vector<Value> nexts;    ///< of `index`, behind the first
    std::vector<Value> results;  ///< by predecessor of `done`
  };
  /// Refuses (flags and, for bpf_loop, the count) as the helper does, and enters the head of the loop.
  Rounds begin_rounds(Value flags, Value count, u64 most);
  /// One call, with `index` or index + 1 as what comes of it.
  void round(Rounds& rounds, const Shape& callback, std::span<const Value> arguments);
  void finish_rounds(Rounds& rounds);
  s64 function_index(u32 entry);
  /// exit: of the machine function, or of an inlined copy.
  void leave(Value result);
  /// Out of the whole machine function after bpf_throw: the program's own settles it, whoever called another one sees
  /// Run::thrown as well.
  void leave_thrown();
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
  bool is_main_ = false;  ///< the machine function is the program's entry
  bool ended_ = false;
  u32 insns_left_ = 0;
  s64 frame_bytes_ = 0;
  s64 given_at_[2] = {-1, -1};  ///< where in the frame keys and values are put for a call; -1: nowhere yet
};

}  // namespace skep::vm::jit
