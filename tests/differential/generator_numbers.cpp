// Steps on numbers, and where a program goes: arithmetic, idioms that compilers know, branches, loops.
#include "generator.hpp"

#include <algorithm>

namespace skep::differential {

// --- numbers ---

void Generator::arithmetic() {
  constexpr u8 ops[] = {0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0, 0xb0, 0xc0};
  const u8 width = chance(2) ? 4 : 7, dst = number();
  switch (pick(10)) {
    case 0:
      return put(static_cast<u8>(0x80 | width), dst, 0, 0, 0);  // negation
    case 1: {
      constexpr s32 widths[] = {16, 32, 64};
      constexpr u8 swaps[] = {0xd4, 0xdc, 0xd7};
      return put(any(swaps), dst, 0, 0, any(widths));
    }
    case 2: {
      constexpr s32 narrow[] = {8, 16}, all[] = {8, 16, 32};
      return put(static_cast<u8>(0xb8 | width), dst, number(), width == 4 ? any(narrow) : any(all), 0);
    }
    case 3:
      return rotate(dst, number_but(dst));
    case 4:
      if (chance(2)) return idiom(dst);
      break;
    default:
      break;
  }
  const u8 op = any(ops);
  const s32 is_signed = (op == 0x30 || op == 0x90) && chance(2) ? 1 : 0;
  if (chance(2)) return put(static_cast<u8>(op | 8 | width), dst, number(), is_signed, 0);
  s32 imm = op == 0x60 || op == 0x70 || op == 0xc0 ? static_cast<s32>(pick(width == 7 ? 64 : 32)) : small();
  if ((op == 0x30 || op == 0x90) && imm == 0) imm = 3;
  put(static_cast<u8>(op | width), dst, 0, is_signed, imm);
}

/// What compilers make of a rotation.
void Generator::rotate(u8 dst, u8 other) {
  const u8 width = chance(2) ? 4 : 7;
  const s32 bits = width == 4 ? 32 : 64, by = 1 + static_cast<s32>(pick(static_cast<u32>(bits - 1)));
  put(static_cast<u8>(0xb8 | width), other, dst, 0, 0);
  put(static_cast<u8>(0x60 | width), dst, 0, 0, by);
  put(static_cast<u8>(0x70 | width), other, 0, 0, bits - by);
  put(static_cast<u8>(0x48 | width), dst, other, 0, 0);
}

/// Shapes that the optimiser has one operation for: swapped memory, counts of bits.
void Generator::idiom(u8 dst) {
  const u8 other = number_but(dst);
  u8 third = number_but(dst);
  while (third == other) third = number_but(dst);
  switch (pick(4)) {
    case 0: {
      constexpr u8 loads[] = {0x69, 0x61, 0x79};
      const u32 which = pick(3);
      put(loads[which], dst, 7, 8 * static_cast<s32>(pick(8)), 0);
      return put(0xdc, dst, 0, 0, 16 << which);
    }
    case 1: {
      constexpr u8 stores[] = {0x6b, 0x63, 0x7b};
      const u32 which = pick(3);
      put(0xdc, dst, 0, 0, 16 << which);
      return put(stores[which], 7, dst, 8 * static_cast<s32>(pick(8)), 0);
    }
    case 2:
      return count_bits(dst, other, third);
    default:
      for (u32 by = 1; by < 64; by *= 2) {
        mov(other, dst);
        put(0x77, other, 0, 0, static_cast<s32>(by));
        put(0x4f, dst, other, 0, 0);
      }
      put(0xa7, dst, 0, 0, -1);
      return count_bits(dst, other, third);
  }
}

void Generator::count_bits(u8 x, u8 t, u8 mask) {
  const auto constant = [&](u32 word) { wide(mask, 0, word, chance(20) ? word ^ 1 : word); };
  mov(t, x);
  put(0x77, t, 0, 0, 1);
  constant(0x55555555);
  put(0x5f, t, mask, 0, 0);
  put(0x1f, x, t, 0, 0);
  constant(0x33333333);
  mov(t, x);
  put(0x5f, t, mask, 0, 0);
  put(0x77, x, 0, 0, 2);
  put(0x5f, x, mask, 0, 0);
  put(0x0f, t, x, 0, 0);
  mov(x, t);
  put(0x77, x, 0, 0, 4);
  put(0x0f, x, t, 0, 0);
  constant(0x0f0f0f0f);
  put(0x5f, x, mask, 0, 0);
  constant(0x01010101);
  put(0x2f, x, mask, 0, 0);
  put(0x77, x, 0, 0, 56);
}

// --- control ---

/// A chain of comparisons with constants that lie close together: a jump table.
void Generator::many_ways() {
  const u8 selector = number(), width = chance(2) ? 0x15 : 0x16;
  const u32 cases = 4 + pick(6);
  const s32 first = chance(3) ? small() : static_cast<s32>(pick(10)), stride = chance(4) ? 3 : 1;
  put(0x57, selector, 0, 0, 15);
  std::vector<std::size_t> jumps, ends;
  for (u32 i = 0; i < cases; i++) {
    jumps.push_back(code().size());
    put(width, selector, 0, 0, static_cast<s32>(static_cast<u32>(first) + i * static_cast<u32>(stride)));
  }
  refill(number());
  ends.push_back(forward());
  for (const std::size_t jump : jumps) {
    land(jump);
    chance(2) ? arithmetic() : refill(number());
    ends.push_back(forward());
  }
  for (const std::size_t end : ends) land(end);
}

std::size_t Generator::condition() {
  constexpr u8 ops[] = {0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0};
  const u8 op = any(ops), width = chance(2) ? 6 : 5;
  const std::size_t at = code().size();
  if (chance(3))
    put(static_cast<u8>(op | 8 | width), number(), number(), 0, 0);
  else
    put(static_cast<u8>(op | width), number(), 0, 0, small());
  return at;
}

/// From here on the jump at `from` comes here.
void Generator::land(std::size_t from) {
  const s64 distance = here() - static_cast<s64>(from) - 1;
  if (code()[from].code == 0x06)
    code()[from].imm = static_cast<s32>(distance);
  else
    code()[from].off = static_cast<s16>(distance);
}

std::size_t Generator::forward() {
  put(chance(4) ? 0x06 : 0x05, 0, 0, 0, 0);
  return code().size() - 1;
}

void Generator::branch() {
  if (chance(8)) return many_ways();
  const std::size_t jump = condition();
  block(1 + pick(3));
  if (chance(2)) return land(jump);
  const std::size_t over = forward();
  land(jump);
  block(1 + pick(3));
  land(over);
}

/// Ends by its counter, on the stack or in r9; one in two can also end by may_goto's.
void Generator::loop() {
  const bool in_register = !scope_.r9_taken && chance(2), may = chance(2);
  const s16 slot = static_cast<s16>(loop_at - 8 * static_cast<s16>(scope_.loops));
  const s32 rounds = 1 + static_cast<s32>(pick(5));
  const u8 counter = in_register ? 9 : number();
  const Scope before = scope_;
  scope_.loops++;
  if (in_register) {
    scope_.r9_taken = true;
    set(9, 0);
  } else {
    put(0x7a, 10, 0, slot, 0);
  }
  const s64 head = here();
  const std::size_t guard = code().size();
  if (may) put(0xe5, 0, 0, 0, 0);
  block(1 + pick(3));
  std::size_t broken = 0;
  if (chance(3)) broken = condition();
  if (!in_register) put(0x79, counter, 10, slot, 0);
  put(0x07, counter, 0, 0, 1);
  if (!in_register) put(0x7b, 10, counter, slot, 0);
  put(0xa5, counter, 0, static_cast<s32>(head - here() - 1), rounds);
  if (broken != 0) land(broken);
  if (may) land(guard);
  scope_ = before;
}

}  // namespace skep::differential
