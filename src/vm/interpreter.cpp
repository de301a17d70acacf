// The fast loop: calls, exits and what else leaves an instruction's own work; pre-decoded slots get their arms here.
//
// How arms hand on to one another is told in arms.hpp, those that compute and access memory are in arms_plain.hpp.
// No bounds are checked here: the program is verified. A run lives on the C stack (a Machine: eight frames of 512
// bytes) and allocates nothing. Source: RFC 9669; Linux for tail calls, exceptions and may_goto.
#include <cerrno>
#include <cstring>

#include "vm/arms_plain.hpp"

namespace skep::vm {
namespace {

void clear_stack(Frame& frame) noexcept {
  std::memset(reinterpret_cast<std::byte*>(&frame) - isa::stack_size_bytes, 0, isa::stack_size_bytes);
}

void thread(const Bytecode& code) noexcept;

/// The first slot of a program whose slots have their arms.
[[gnu::always_inline]] inline const Slot* slots_of(const Bytecode& code) noexcept {
  if (!code.is_threaded.load(std::memory_order_acquire)) [[unlikely]]
    thread(code);
  return code.slots.data();
}

/// Runs `code` from instruction `insn` on.
u64 run_machine(const Bytecode& code, Run& run, u32 insn, bool is_callback, const u64 (&arguments)[5]) noexcept {
  Machine machine;
  machine.code = &code;
  machine.run = &run;
  machine.is_callback = is_callback;
  Frame& frame = machine.levels[0].frame;
  frame.machine = &machine;
  frame.return_to = nullptr;
  frame.timed_loop = timed_loop_begin;
  if (code.clear_frames) clear_stack(frame);
  return run_chain(slots_of(code) + insn, reinterpret_cast<u64>(&frame), arguments);
}

// --- arms ---

/// Unreachable in a verified program.
struct Trap {
  static u64 run(Regs& r) noexcept { return r.finish(0); }
};

struct MayGoto {
  static u64 run(Regs& r) noexcept {
    if (leaves_timed_loop(frame_of(r).timed_loop)) return jump(r, r.pc()->number);
    return next(r);
  }
};

[[gnu::always_inline]] inline void call(Regs& r, HelperFn helper) noexcept {
  r.set<0>(helper(frame_of(r).machine->run, r.get<1>(), r.get<2>(), r.get<3>(), r.get<4>(), r.get<5>()));
}

struct CallHelper {
  static u64 run(Regs& r) noexcept {
    call(r, r.pc()->helper);
    return next(r);
  }
};

/// A helper behind which something may have been thrown.
struct CallThrower {
  static u64 run(Regs& r) noexcept {
    call(r, r.pc()->helper);
    const Machine& machine = *frame_of(r).machine;
    if (!machine.run->thrown) return next(r);
    if (machine.is_callback) return r.finish(0);
    machine.run->thrown = false;
    const u64 cookie = machine.run->thrown_value;
    const base::Callback* const handler = machine.code->exception_callback;
    return r.finish(handler == nullptr ? cookie : (*handler)(machine.run, cookie, 0, 0, 0, 0));
  }
};

/// A kernel function that is told more than the program's arguments.
struct CallHidden {
  static u64 run(Regs& r) noexcept {
    const Bytecode& code = *frame_of(r).machine->code;
    const auto* hidden = code.hidden_at(static_cast<std::size_t>(r.pc() - code.slots.data()));
    switch (hidden->reg) {
      case 1:
        r.set<1>(hidden->value);
        break;
      case 2:
        r.set<2>(hidden->value);
        break;
      case 3:
        r.set<3>(hidden->value);
        break;
      case 4:
        r.set<4>(hidden->value);
        break;
      default:
        r.set<5>(hidden->value);
    }
    return CallThrower::run(r);
  }
};

[[gnu::always_inline]] inline u64 enter(Regs& r, const Slot* callee) noexcept {
  Machine& machine = *frame_of(r).machine;
  const u64 r10 = r.get<10>() + sizeof(Level);
  // The verifier bounds the depth; the check keeps a mistake of ours from becoming a broken stack.
  if (r10 > reinterpret_cast<u64>(&machine.levels[isa::max_call_frames - 1].frame)) return Trap::run(r);
  Frame& frame = *reinterpret_cast<Frame*>(r10);
  frame.machine = &machine;
  frame.return_to = r.pc() + 1;
  frame.r6 = r.get<6>();
  frame.r7 = r.get<7>();
  frame.r8 = r.get<8>();
  frame.r9 = r.get<9>();
  frame.timed_loop = timed_loop_begin;
  if (machine.code->clear_frames) clear_stack(frame);
  r.set<10>(r10);
  return r.go_to(callee);
}

struct CallLocal {
  static u64 run(Regs& r) noexcept {
    return enter(r, reinterpret_cast<const Slot*>(reinterpret_cast<u64>(r.pc()) + r.pc()->wide));
  }
};

/// The register holds the address of a function of the program, or (conformance vectors) a helper's number.
template <Op op, u8 d>
struct Callx {
  static u64 run(Regs& r) noexcept {
    const Bytecode& code = *frame_of(r).machine->code;
    const u64 value = r.get<d>();
    if (const auto* target = code.callback_at(value)) return enter(r, code.slots.data() + target->insn);
    const HelperFn helper = code.helper_at(value);
    if (helper == nullptr) return Trap::run(r);
    call(r, helper);
    return next(r);
  }
};

struct Exit {
  static u64 run(Regs& r) noexcept {
    const Frame& frame = frame_of(r);
    const Slot* const return_to = frame.return_to;
    if (return_to == nullptr) return r.finish(r.get<0>());
    r.set<6>(frame.r6);
    r.set<7>(frame.r7);
    r.set<8>(frame.r8);
    r.set<9>(frame.r9);
    r.set<10>(r.get<10>() - sizeof(Level));
    return r.go_to(return_to);
  }
};

struct TailCall {
  static u64 run(Regs& r) noexcept {
    Frame& frame = frame_of(r);
    Machine& machine = *frame.machine;
    Run& run = *machine.run;
    const Function* const target = machine.code->tail_target(r.get<2>(), static_cast<u32>(r.get<3>()));
    if (target == nullptr || run.tail_calls >= isa::max_tail_calls) {
      r.set<0>(static_cast<u64>(target == nullptr ? -ENOENT : -ELOOP));
      return next(r);
    }
    run.tail_calls++;
    // In the main function the target takes this run over. Else its result becomes the subprogram's, in a run inside
    // of this one (nesting is bounded by max_tail_calls).
    const bool is_main = frame.return_to == nullptr;
    if (!is_main || !target->is_interpreted()) {
      r.set<0>(target->enter(run, r.get<1>()));
      return Exit::run(r);
    }
    machine.code = &target->bytecode();
    if (machine.code->clear_frames) clear_stack(frame);
    frame.timed_loop = timed_loop_begin;
    return r.go_to(slots_of(*machine.code));
  }
};

/// LD_ABS and LD_IND: a byte outside of the packet ends the function with 0.
struct LoadPacket {
  static u64 run(Regs& r) noexcept {
    Machine& machine = *frame_of(r).machine;
    const Bytecode& code = *machine.code;
    const auto at = static_cast<std::size_t>(r.pc() - code.slots.data());
    const Insn& insn = code.insns[at];
    spill(r, machine.r, std::make_integer_sequence<u8, register_count>{});
    const u64 index = isa::row(code.ops[at]).form == Form::ld_ind ? machine.r[insn.src] : 0;
    const u32 offset = static_cast<u32>(index) + static_cast<u32>(insn.imm);
    const u32 size = row_bytes(code.ops[at]);
    const bool is_outside =
        code.load_packet(machine.run, reinterpret_cast<void*>(machine.r[6]), offset, size, &machine.r[0]) != 0;
    r.set<0>(is_outside ? 0 : machine.r[0]);
    return is_outside ? Exit::run(r) : next(r);
  }
};

// --- slots ---

Arm choose_arm(const Bytecode& code, std::size_t i) noexcept {
  const Op op = code.ops[i];
  const Insn& insn = code.insns[i];
  if (op == Op::call_helper && insn.imm == isa::helper_tail_call) return &arm<TailCall>;
  if (op == Op::call_kfunc && code.hidden_at(i) != nullptr) return &arm<CallHidden>;
  if ((op == Op::call_helper || op == Op::call_kfunc) && code.throws(i)) return &arm<CallThrower>;
  if (!code.arena_access.empty() && code.arena_access[i]) return &arm<Slow>;
  switch (op) {
#define ARM_alu_imm(name) choose<AluImm, Op::name>(insn.dst)
#define ARM_alu_reg(name) choose_alu_reg<Op::name>(insn)
#define ARM_alu_unary(name) choose<AluUnary, Op::name>(insn.dst)
#define ARM_movsx(name) choose<Movsx, Op::name>(insn.dst, insn.src)
#define ARM_endian(name) choose<Endian, Op::name>(insn.dst)
#define ARM_addr_space_cast(name) &arm<Slow>
#define ARM_load(name) choose<Load, Op::name>(insn.dst, insn.src)
#define ARM_store_imm(name) choose<StoreImm, Op::name>(insn.dst)
#define ARM_store_reg(name) choose<StoreReg, Op::name>(insn.src, insn.dst)
#define ARM_atomic(name) choose_atomic<Op::name>(insn)
#define ARM_atomic_fetch(name) &arm<Slow>
#define ARM_cmpxchg(name) &arm<Slow>
#define ARM_load_acquire(name) &arm<Slow>
#define ARM_store_release(name) &arm<Slow>
#define ARM_jump(name) &arm<Jump>
#define ARM_jump_long(name) &arm<Jump>
#define ARM_may_goto(name) &arm<MayGoto>
#define ARM_jump_imm(name) choose<JumpImm, Op::name>(insn.dst)
#define ARM_jump_reg(name) choose_jump_reg<Op::name>(insn)
#define ARM_call_helper(name) &arm<CallHelper>
#define ARM_call_local(name) &arm<CallLocal>
#define ARM_call_kfunc(name) &arm<CallHelper>
#define ARM_callx(name) choose<Callx, Op::name>(insn.dst)
#define ARM_exit(name) &arm<Exit>
#define ARM_ld_imm64(name) choose<LdImm64, Op::ld_imm64>(insn.dst)
#define ARM_ld_abs(name) &arm<LoadPacket>
#define ARM_ld_ind(name) &arm<LoadPacket>
#define SKEP_INSN(name, code_, src_, off, imm_, form, ...) \
  case Op::name:                                           \
    return ARM_##form(name);
#include "isa/instructions.def"
#undef SKEP_INSN
  }
  return &arm<Trap>;
}

/// What the arm wants besides its registers. Helpers and 64-bit numbers stand there already.
void set_operand(Slot& slot, Op op, const Insn& insn) noexcept {
  constexpr s32 slot_bytes = sizeof(Slot);
  const Form form = isa::row(op).form;
  switch (form) {
    case Form::alu_imm:
      slot.number = insn.imm;
      break;
    case Form::load:
    case Form::store_reg:
    case Form::atomic:
      slot.number = insn.off;
      break;
    case Form::store_imm:
      slot.two = {insn.off, insn.imm};
      break;
    case Form::jump_imm:
      slot.two = {(insn.off + 1) * slot_bytes, insn.imm};
      break;
    case Form::jump:
    case Form::jump_long:
    case Form::may_goto:
    case Form::jump_reg:
      slot.number = (s64{isa::jump_distance(form, insn)} + 1) * slot_bytes;
      break;
    case Form::call_local:
      slot.number = (s64{insn.imm} + 1) * slot_bytes;
      break;
    default:
      break;
  }
}

const void* address_of(Arm chosen) noexcept { return reinterpret_cast<const void*>(chosen); }

void thread(const Bytecode& code) noexcept {
  std::call_once(code.threading, [&code] {
    for (std::size_t i = 0; i < code.insns.size(); i++) {
      code.slots[i].handler = address_of(choose_arm(code, i));
      set_operand(code.slots[i], code.ops[i], code.insns[i]);
      if (isa::is_ld_imm64(code.insns[i])) code.slots[++i].handler = address_of(&arm<Trap>);
    }
    code.slots.back().handler = address_of(&arm<Trap>);
    code.is_threaded.store(true, std::memory_order_release);
  });
}

}  // namespace

u64 interpret(const Bytecode& code, Run& run, u64 r1, u64 r2) noexcept {
  return run_machine(code, run, 0, false, {r1, r2});
}

u64 interpret_callback(const base::Callback& self, void* opaque, const u64 (&arguments)[5]) noexcept {
  auto* run = static_cast<Run*>(opaque);
  if (auto* const checked = static_cast<CheckedRun*>(run->checked); checked != nullptr)
    return checked->call_back(self, *checked, arguments);
  return run_machine(*static_cast<const Bytecode*>(static_cast<const base::CodeOwner*>(self.code)), *run, self.insn,
                     true, arguments);
}

}  // namespace skep::vm
