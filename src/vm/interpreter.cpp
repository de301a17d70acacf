// The fast loop: direct-threaded dispatch over slots.
//
// Every slot holds the address of its arm, so an instruction ends with one load and one indirect jump, which
// the CPU predicts per arm. The arms are expansions of instructions.def: one per row, each one call into
// isa/semantics.hpp or vm/memory.hpp. That jump is what an interpreter pays for, so common neighbours also have
// an arm together (pairs.def): such a slot does its own work and its successor's with one jump. Slots keep their
// places, so a jump to the second of a pair finds its own arm.
// No bounds are checked here: the program is verified. A run lives on the C stack (eight frames of 512 bytes)
// and allocates nothing.
// Source: RFC 9669; Linux for tail calls and may_goto.
#include <cerrno>
#include <cstring>
#include <optional>

#include "vm/bytecode.hpp"
#include "vm/memory.hpp"
#include "vm/timed_loop.hpp"

namespace skep::vm {
namespace {

using isa::Op;

/// What a call saves and an exit restores.
struct Frame {
  const Slot* return_to;
  u64 r6, r7, r8, r9;
  u64 timed_loop;  ///< timed_loop.hpp
};

// Positions of the two sides of a pair.
enum class First : u8 {
#define SKEP_PAIR_FIRST(name, form) name,
#include "vm/pairs.def"
#undef SKEP_PAIR_FIRST
  count
};
enum class Second : u8 {
#define SKEP_PAIR_SECOND(name, form) name,
#include "vm/pairs.def"
#undef SKEP_PAIR_SECOND
  count
};
constexpr auto pair_count = static_cast<std::size_t>(First::count) * static_cast<std::size_t>(Second::count);

/// Addresses of the arms: of every Op (and behind them the two that no row has), of every pair.
struct Arms {
  const void* const* single = nullptr;
  const void* const* pairs = nullptr;
  const void* trap() const noexcept { return single[isa::op_count]; }
  const void* tail_call() const noexcept { return single[isa::op_count + 1]; }
  const void* throwing_call() const noexcept { return single[isa::op_count + 2]; }
  const void* arena_access() const noexcept { return single[isa::op_count + 3]; }
};

/// An access to the arena: rare, so one arm does all of them.
[[gnu::noinline]] void access_arena(const Bytecode& code, std::size_t at, u64* r) noexcept {
  const Insn& insn = code.insns[at];
  const auto address = [&](u8 reg) { return arena_address(code.arena, r[reg], insn.off); };
  const u64 imm = static_cast<u64>(static_cast<s64>(insn.imm));
  switch (code.ops[at]) {
#define ARENA_load(name) r[insn.dst] = load<Op::name>(address(insn.src));
#define ARENA_store_imm(name) store<Op::name>(address(insn.dst), imm);
#define ARENA_store_reg(name) store<Op::name>(address(insn.dst), r[insn.src]);
#define ARENA_atomic(name) atomic_update<Op::name>(address(insn.dst), r[insn.src]);
#define ARENA_atomic_fetch(name) r[insn.src] = atomic_fetch<Op::name>(address(insn.dst), r[insn.src]);
#define ARENA_cmpxchg(name) r[0] = compare_exchange<Op::name>(address(insn.dst), r[0], r[insn.src]);
#define ARENA_load_acquire(name) r[insn.dst] = load_acquire<Op::name>(address(insn.src));
#define ARENA_store_release(name) store_release<Op::name>(address(insn.dst), r[insn.src]);
#define ARENA_alu_imm(name)
#define ARENA_alu_reg(name)
#define ARENA_alu_unary(name)
#define ARENA_movsx(name)
#define ARENA_endian(name)
#define ARENA_addr_space_cast(name)
#define ARENA_jump(name)
#define ARENA_jump_long(name)
#define ARENA_may_goto(name)
#define ARENA_jump_imm(name)
#define ARENA_jump_reg(name)
#define ARENA_call_helper(name)
#define ARENA_call_local(name)
#define ARENA_call_kfunc(name)
#define ARENA_callx(name)
#define ARENA_exit(name)
#define ARENA_ld_imm64(name)
#define ARENA_ld_abs(name)
#define ARENA_ld_ind(name)
#define SKEP_INSN(name, code_, src, off, imm_, form, ...) \
  case Op::name:                                          \
    ARENA_##form(name) break;
#include "isa/instructions.def"
#undef SKEP_INSN
  }
}

/// Where a loop begins: a program, or one function of it on behalf of a helper.
struct Entry {
  u64 arguments[5] = {};
  u32 insn = 0;
  bool is_callback = false;  ///< what is thrown goes on to the caller
};

/// Runs `code`, or with `arms` tells where the arms are.
u64 loop(const Bytecode* code, Run* run, const Entry& entry, Arms* arms) noexcept {
  static const void* const single[] = {
#define SKEP_INSN(name, ...) &&arm_##name,
#include "isa/instructions.def"
#undef SKEP_INSN
      &&arm_trap, &&arm_tail_call, &&arm_throwing_call, &&arm_arena_access};
  static const void* const pairs[] = {
#define SKEP_PAIR(first, first_form, second, second_form) &&pair_##first##_##second,
#include "vm/pairs.def"
#undef SKEP_PAIR
  };
  static_assert(std::size(pairs) == pair_count);
  if (arms != nullptr) {
    *arms = {single, pairs};
    return 0;
  }

  alignas(16) std::byte stack[isa::max_call_frames * isa::stack_size_bytes];
  Frame frames[isa::max_call_frames];
  Frame* frame = frames;
  u64 r[isa::register_count];
  frame->timed_loop = timed_loop_begin;
  std::memcpy(&r[1], entry.arguments, sizeof entry.arguments);
  r[10] = reinterpret_cast<u64>(stack) + isa::stack_size_bytes;
  if (code->clear_frames) std::memset(stack, 0, isa::stack_size_bytes);
  const Slot* pc = code->slots.data() + entry.insn;

#define DST r[pc->o.dst]
#define SRC r[pc->o.src]
#define IMM static_cast<u64>(static_cast<s64>(pc->o.imm))
#define ADDRESS(base) (base + static_cast<u64>(static_cast<s64>(pc->o.off)))
#define GO(distance)    \
  do {                  \
    pc += (distance);   \
    goto * pc->handler; \
  } while (0)

#define DO_alu_imm(name) DST = isa::arithmetic(Op::name, DST, IMM);
#define DO_alu_reg(name) DST = isa::arithmetic(Op::name, DST, SRC);
#define ARM_alu_imm(name) DO_alu_imm(name) GO(1);
#define ARM_alu_reg(name) DO_alu_reg(name) GO(1);
#define ARM_load(name) DO_load(name) GO(1);
#define ARM_store_imm(name) DO_store_imm(name) GO(1);
#define ARM_store_reg(name) DO_store_reg(name) GO(1);
#define ARM_alu_unary(name)                \
  DST = isa::arithmetic(Op::name, DST, 0); \
  GO(1);
#define ARM_movsx(name)                    \
  DST = isa::sign_extended(Op::name, SRC); \
  GO(1);
#define ARM_endian(name)               \
  DST = isa::reordered(Op::name, DST); \
  GO(1);
#define ARM_addr_space_cast(name)                \
  DST = arena_cast(code->arena, SRC, pc->o.imm); \
  GO(1);
#define ARM_jump(name) GO(pc->o.off + 1);
#define ARM_jump_long(name) GO(static_cast<s64>(pc->o.imm) + 1);
#define ARM_may_goto(name)                                     \
  if (leaves_timed_loop(frame->timed_loop)) GO(pc->o.off + 1); \
  GO(1);
#define ARM_jump_imm(name)                               \
  if (isa::taken(Op::name, DST, IMM)) GO(pc->o.off + 1); \
  GO(1);
#define ARM_jump_reg(name)                               \
  if (isa::taken(Op::name, DST, SRC)) GO(pc->o.off + 1); \
  GO(1);
#define ARM_call_helper(name)                           \
  r[0] = pc->helper(run, r[1], r[2], r[3], r[4], r[5]); \
  GO(1);
#define ARM_call_local(name)   \
  callee = pc + 1 + pc->o.imm; \
  goto enter;
#define ARM_call_kfunc(name) ARM_call_helper(name)
#define ARM_callx(name)                               \
  if (const auto* target = code->callback_at(DST)) {  \
    callee = code->slots.data() + target->insn;       \
    goto enter;                                       \
  }                                                   \
  if (const HelperFn helper = code->helper_at(DST)) { \
    r[0] = helper(run, r[1], r[2], r[3], r[4], r[5]); \
    GO(1);                                            \
  }                                                   \
  goto arm_trap;
#define ARM_exit(name) goto leave;
#define DO_load(name) DST = load<Op::name>(ADDRESS(SRC));
#define DO_store_imm(name) store<Op::name>(ADDRESS(DST), IMM);
#define DO_store_reg(name) store<Op::name>(ADDRESS(DST), SRC);
#define ARM_atomic(name)                      \
  atomic_update<Op::name>(ADDRESS(DST), SRC); \
  GO(1);
#define ARM_atomic_fetch(name)                     \
  SRC = atomic_fetch<Op::name>(ADDRESS(DST), SRC); \
  GO(1);
#define ARM_cmpxchg(name)                                     \
  r[0] = compare_exchange<Op::name>(ADDRESS(DST), r[0], SRC); \
  GO(1);
#define ARM_load_acquire(name)                \
  DST = load_acquire<Op::name>(ADDRESS(SRC)); \
  GO(1);
#define ARM_store_release(name)               \
  store_release<Op::name>(ADDRESS(DST), SRC); \
  GO(1);
#define ARM_ld_imm64(name) \
  DST = pc[1].wide;        \
  GO(2);
#define ARM_ld_abs(name)                                                                                      \
  if (code->load_packet(run, reinterpret_cast<void*>(r[6]), static_cast<u32>(pc->o.imm), row_bytes(Op::name), \
                        &r[0]) != 0)                                                                          \
    goto out_of_packet;                                                                                       \
  GO(1);
#define ARM_ld_ind(name)                                                                                         \
  if (code->load_packet(run, reinterpret_cast<void*>(r[6]), static_cast<u32>(SRC) + static_cast<u32>(pc->o.imm), \
                        row_bytes(Op::name), &r[0]) != 0)                                                        \
    goto out_of_packet;                                                                                          \
  GO(1);

  const Slot* callee;
  GO(0);

#define SKEP_INSN(name, code_, src, off, imm, form, ...) arm_##name : ARM_##form(name)
#include "isa/instructions.def"
#undef SKEP_INSN

#define SKEP_PAIR(first, first_form, second, second_form) \
  pair_##first##_##second : DO_##first_form(first) pc++;  \
  ARM_##second_form(second)
#include "vm/pairs.def"
#undef SKEP_PAIR

enter:
  // The verifier bounds the depth; the check keeps a mistake of ours from becoming a broken stack.
  if (frame == frames + isa::max_call_frames - 1) goto arm_trap;
  frame->return_to = pc + 1;
  frame->r6 = r[6];
  frame->r7 = r[7];
  frame->r8 = r[8];
  frame->r9 = r[9];
  frame++;
  frame->timed_loop = timed_loop_begin;
  if (code->clear_frames) std::memset(reinterpret_cast<void*>(r[10]), 0, isa::stack_size_bytes);
  r[10] += isa::stack_size_bytes;
  pc = callee;
  GO(0);

leave:
  if (frame == frames) return r[0];
  frame--;
  r[6] = frame->r6;
  r[7] = frame->r7;
  r[8] = frame->r8;
  r[9] = frame->r9;
  r[10] -= isa::stack_size_bytes;
  pc = frame->return_to;
  GO(0);

arm_tail_call: {
  const Function* target = code->tail_target(r[2], static_cast<u32>(r[3]));
  if (target == nullptr || run->tail_calls >= isa::max_tail_calls) {
    r[0] = static_cast<u64>(target == nullptr ? -ENOENT : -ELOOP);
    GO(1);
  }
  run->tail_calls++;
  if (!target->is_interpreted()) {
    r[0] = target->enter(*run, r[1]);
    goto leave;
  }
  if (frame == frames) {  // the main function: the target takes this run over
    code = &target->bytecode();
    if (code->clear_frames) std::memset(stack, 0, isa::stack_size_bytes);
    frame->timed_loop = timed_loop_begin;
    pc = code->slots.data();
    GO(0);
  }
  // A subprogram: the target's result becomes the subprogram's (nesting is bounded by max_tail_calls).
  r[0] = loop(&target->bytecode(), run, {.arguments = {r[1]}}, nullptr);
  goto leave;
}

arm_arena_access:
  access_arena(*code, static_cast<std::size_t>(pc - code->slots.data()), r);
  GO(1);

arm_throwing_call:
  r[0] = pc->helper(run, r[1], r[2], r[3], r[4], r[5]);
  if (!run->thrown) GO(1);
  if (entry.is_callback) return 0;
  run->thrown = false;
  if (code->exception_callback == nullptr) return run->thrown_value;
  return (*code->exception_callback)(run, run->thrown_value, 0, 0, 0, 0);

out_of_packet:
  r[0] = 0;
  goto leave;

arm_trap:  // unreachable in a verified program
  return 0;
}

std::optional<First> first_of(Op op) noexcept {
  switch (op) {
#define SKEP_PAIR_FIRST(name, form) \
  case Op::name:                    \
    return First::name;
#include "vm/pairs.def"
#undef SKEP_PAIR_FIRST
    default:  // only some rows begin a pair
      return std::nullopt;
  }
}

std::optional<Second> second_of(Op op) noexcept {
  switch (op) {
#define SKEP_PAIR_SECOND(name, form) \
  case Op::name:                     \
    return Second::name;
#include "vm/pairs.def"
#undef SKEP_PAIR_SECOND
    default:  // only some rows end a pair
      return std::nullopt;
  }
}

/// The arm of the instruction at `i`, together with the next one where they are a pair.
const void* arm_at(const Bytecode& code, std::size_t i, const Arms& arms) noexcept {
  const Op op = code.ops[i];
  if (op == Op::call_helper && code.insns[i].imm == isa::helper_tail_call) return arms.tail_call();
  if ((op == Op::call_helper || op == Op::call_kfunc) && code.throws(i)) return arms.throwing_call();
  const auto in_arena = [&](std::size_t at) { return !code.arena_access.empty() && code.arena_access[at]; };
  if (in_arena(i)) return arms.arena_access();
  const auto first = first_of(op);
  const bool may_pair = first && i + 1 < code.ops.size() && !in_arena(i + 1);
  const auto second = may_pair ? second_of(code.ops[i + 1]) : std::nullopt;
  if (!second) return arms.single[static_cast<u8>(op)];
  return arms.pairs[static_cast<std::size_t>(*first) * static_cast<std::size_t>(Second::count) +
                    static_cast<std::size_t>(*second)];
}

}  // namespace

void thread(Bytecode& code) noexcept {
  Arms arms;
  loop(nullptr, nullptr, {}, &arms);
  for (std::size_t i = 0; i < code.insns.size(); i++) {
    code.slots[i].handler = arm_at(code, i, arms);
    if (isa::is_ld_imm64(code.insns[i])) code.slots[++i].handler = arms.trap();
  }
  code.slots.back().handler = arms.trap();
}

u64 interpret(const Bytecode& code, Run& run, u64 r1, u64 r2) noexcept {
  return loop(&code, &run, {.arguments = {r1, r2}}, nullptr);
}

u64 interpret_callback(const base::Callback& self, void* opaque, const u64 (&arguments)[5]) noexcept {
  auto* run = static_cast<Run*>(opaque);
  if (run->checked != nullptr) return callback_checked(self, *static_cast<CheckedRun*>(run->checked), arguments);
  Entry entry{.insn = self.insn, .is_callback = true};
  std::memcpy(entry.arguments, arguments, sizeof arguments);
  return loop(static_cast<const Bytecode*>(self.code), run, entry, nullptr);
}

}  // namespace skep::vm
