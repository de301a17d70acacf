// The grammar of random programs: most of them are accepted, and every instruction and map has its turn.
//
// Registers hold numbers at the border of every step, except r6 (context) and r7 (64 bytes of memory that may be
// changed); steps that need pointers make them inside and leave numbers behind. So no address reaches a result, and
// results may be compared between engines. One program in six is changed at random afterwards: those are for the
// verdict, and for what a verifier might overlook.
//
//   stack   -64..-1 numbers   -72 a spilled pointer   -80 -88 loop counters   -96 a key   -112 a value   -120 a counter
#include "generator.hpp"

#include <algorithm>

namespace skep::differential {

RandomProgram Generator::run() {
  choose_type();
  functions_wanted_ = classic_ || pick(2) != 0 ? 0 : 1 + pick(2);
  callbacks_wanted_ = classic_ || pick(3) != 0 ? 0 : 1;
  main_function();
  // Functions that nobody calls would be unreachable code, which the kernel refuses.
  for (u32 i = 0; i < functions_wanted_; i++)
    if (std::ranges::any_of(calls_, [&](const auto& call) { return call.second == i; })) function(i);
  if (callback_used_) callback();
  patch_calls();
  inputs();
  if (pick(6) == 0) mutate();
  for (std::size_t i = 0; i < code().size(); i++) {
    if (code()[i].code != 0x18) continue;
    if (code()[i].src == 1 || code()[i].src == 2) out_.uses |= 1u << (static_cast<u32>(code()[i].imm) % map_count);
    i++;
  }
  return std::move(out_);
}

// --- small words ---

void Generator::put(u8 code_byte, u8 dst, u8 src, s32 off, s32 imm) {
  Insn insn;
  insn.code = code_byte;
  insn.dst = dst & 15;
  insn.src = src & 15;
  insn.off = static_cast<s16>(off);
  insn.imm = imm;
  code().push_back(insn);
}

void Generator::wide(u8 dst, u8 src, u32 low, u32 high) {
  put(0x18, dst, src, 0, static_cast<s32>(low));
  put(0, 0, 0, 0, static_cast<s32>(high));
}

void Generator::stack_address(u8 dst, s32 at) {
  mov(dst, 10);
  put(0x07, dst, 0, 0, at);
}

s32 Generator::small() {
  constexpr s32 numbers[] = {
      0,  1,  -1, 2, 3, 7, 8, 15, 16, 31, 32, 56, 57, 63, 64, 65, 100, 127, 128, 255, 256, 0x7fffffff, -0x7fffffff - 1,
      -8, -64};
  return chance(4) ? static_cast<s32>(random_()) : any(numbers);
}

/// A register that holds a number and may be changed.
u8 Generator::number() {
  constexpr u8 registers[] = {0, 1, 2, 3, 4, 5, 8, 9};
  for (;;) {
    const u8 r = any(registers);
    if (r != 9 || !scope_.r9_taken) return r;
  }
}

u8 Generator::number_but(u8 other) {
  for (;;)
    if (const u8 r = number(); r != other) return r;
}

/// A number out of nowhere: a constant, the context, memory, another register that survives calls.
void Generator::refill(u8 reg) {
  switch (pick(scope_.main ? 6 : 4)) {
    case 0:
      return set(reg, small());
    case 1:
      return wide(reg, 0, static_cast<u32>(random_()), static_cast<u32>(random_()));
    case 2:
      return put(0x79, reg, 10, -8 * static_cast<s32>(1 + pick(8)), 0);
    case 3:
      return put(0x79, reg, 7, 8 * static_cast<s32>(pick(8)), 0);
    default:
      return context_load(reg);
  }
}

void Generator::refill_after_call() {
  for (u8 r = 1; r <= 5; r++) refill(r);
}

// --- the shape of a program ---

void Generator::choose_type() {
  constexpr ProgramType types[] = {ProgramType::sched_cls,     ProgramType::sched_cls, ProgramType::xdp,
                                   ProgramType::socket_filter, ProgramType::syscall,   ProgramType::raw_tracepoint};
  out_.type = any(types);
  classic_ = (out_.type == ProgramType::socket_filter || out_.type == ProgramType::sched_cls) && chance(3);
}

void Generator::fill_stack() {
  for (s16 at = -8; at >= -64; at = static_cast<s16>(at - 8)) {
    if (chance(2))
      put(0x7a, 10, 0, at, small());
    else
      put(0x7b, 10, 8, at, 0);
  }
  for (const s16 at : {spill_at, loop_at, s16{-88}, key_at, s16{-104}, buffer_at, s16{-120}}) put(0x7a, 10, 0, at, 0);
}

void Generator::main_function() {
  scope_ = {.main = true};
  mov(6, 1);
  wide(7, 2, data, 0);
  set(8, small());
  fill_stack();
  refill(8);
  refill(9);
  for (u8 r : {0, 1, 2, 3, 4, 5}) refill(r);
  block(6 + pick(16));
  // Every register into the second half of `data`.
  constexpr u8 registers[] = {0, 1, 2, 3, 4, 5, 8, 9};
  for (u32 i = 0; i < 8; i++) put(0x7b, 7, registers[i], static_cast<s32>(work_bytes + 8 * i), 0);
  put(0x95, 0, 0, 0, 0);
}

/// r1: 64 bytes of the caller's, r2: a number.
void Generator::function(u32 index) {
  out_.functions.push_back(static_cast<u32>(here()));
  function_at_[index] = here();
  scope_ = {};
  mov(7, 1);
  mov(8, 2);
  fill_stack();
  refill(9);
  for (u8 r : {0, 1, 2, 3, 4, 5}) refill(r);
  level_ = index + 1;
  block(2 + pick(6));
  put(0x95, 0, 0, 0, 0);
}

/// bpf_loop's (index, context) or bpf_for_each_map_elem's (map, key, value, context).
void Generator::callback() {
  out_.functions.push_back(static_cast<u32>(here()));
  callback_at_ = here();
  scope_ = {};
  level_ = 9;
  mov(7, loops_back_ ? 2 : 4);
  if (loops_back_)
    mov(8, 1);
  else
    put(0x79, 8, 3, 0, 0);
  if (!loops_back_ && chance(2)) put(0x7b, 3, 8, 8, 0);
  fill_stack();
  refill(9);
  for (u8 r : {0, 1, 2, 3, 4, 5}) refill(r);
  block(1 + pick(5));
  if (chance(3))
    put(0x57, 0, 0, 0, 1);
  else
    set(0, 0);
  put(0x95, 0, 0, 0, 0);
}

void Generator::block(u32 steps) {
  scope_.depth++;
  for (u32 i = 0; i < steps; i++) step();
  scope_.depth--;
}

void Generator::step() {
  const u32 what = pick(20);
  if (what < 8) return arithmetic();
  if (what < 9) return stack_access();
  if (what < 11) return memory_access();
  if (what < 12) return atomic(7, 8 * static_cast<s32>(pick(8)));
  if (what < 15 && scope_.depth < 4) return branch();
  if (what < 16 && scope_.loops < 2 && scope_.depth < 3) return loop();
  if (what < 17) return scope_.main ? context_step() : spilled_pointer();
  if (what < 18) return spilled_pointer();
  return call_step();
}

void Generator::patch_calls() {
  for (const auto& [at, callee] : calls_)
    code()[at].imm = static_cast<s32>(function_at_[callee] - static_cast<s64>(at) - 1);
  for (const std::size_t at : callback_loads_)
    code()[at].imm = static_cast<s32>(callback_at_ - static_cast<s64>(at) - 1);
}

void Generator::inputs() {
  if (out_.has_packet()) {
    out_.packet.resize(16 + pick(100));
    for (auto& b : out_.packet) b = static_cast<std::byte>(random_());
    constexpr u8 types[] = {0x88, 0xb5};  // a local experiment: neither engine expects headers behind it
    out_.packet[12] = static_cast<std::byte>(types[0]);
    out_.packet[13] = static_cast<std::byte>(types[1]);
  } else {
    out_.context.resize(context_bytes);
    const u32 kind = pick(3);
    for (auto& b : out_.context) b = static_cast<std::byte>(kind == 0 ? 0 : kind == 1 ? 0xff : random_());
  }
}

/// A few edits anywhere. What is called stays: another helper may do what a test must not.
void Generator::mutate() {
  out_.mutated = true;
  for (u32 i = 0; i <= pick(3); i++) {
    Insn& insn = code()[pick(static_cast<u32>(code().size()))];
    if (insn.code == 0x85 || insn.code == 0x18 || insn.code == 0) continue;
    switch (pick(6)) {
      case 0:
        insn.imm = small();
        break;
      case 1:
        insn.off = static_cast<s16>(insn.off + static_cast<s16>(pick(17)) - 8);
        break;
      case 2:
        insn.dst = static_cast<u8>(pick(11));
        break;
      case 3:
        insn.src = static_cast<u8>(pick(11));
        break;
      case 4:
        insn.code = static_cast<u8>((insn.code & 0x0f) | (pick(16) << 4));
        break;
      default:
        insn = Insn{};
        insn.code = 0x05;
        break;
    }
    if (insn.code == 0x85 || insn.code == 0x8d) insn.code = 0x95;
    // A test run gives so much context and no more.
    const bool accesses = (insn.code & 7) < 4;
    const bool is_bounded = out_.type == ProgramType::syscall || out_.type == ProgramType::raw_tracepoint;
    if (is_bounded && accesses && insn.dst != 10 && insn.src != 10) insn.off &= 31;
  }
}

RandomProgram generate(u64 seed) { return Generator(seed).run(); }

}  // namespace skep::differential
