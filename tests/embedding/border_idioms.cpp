// Idioms of compilers that the verifier has rules of its own for: a step of Border takes one as a whole, since single
// steps would not come to it by chance.
#include "border.hpp"

namespace skep::embedding {

/// `x s>>= 31` is 0 or -1; with a mask, or with a constant or-ed in, it chooses one of two numbers: `x < 0 ? a : b`.
void Border::choice_by_sign() {
  const u8 index = number();
  const bool is_wide = chance(3), is_or = chance(2);
  if (chance(2)) fresh_number(index);
  put(is_wide ? 0xc7 : 0xc4, index, 0, 0, is_wide ? 63 : 31);
  if (chance(4)) put(0xbf, number(), index, 0, 0);
  const u8 width = is_wide != chance(6) ? 7 : 4;
  put((is_or ? 0x40u : 0x50u) | width, index, 0, 0, chance(12) ? small() : static_cast<s32>(pick(value_size)));
  if (is_or && !chance(12)) {  // never negative, or 0 then
    put(width == 7 ? 0x75 : 0x76, index, 0, 1, 0);
    put(0xb7, index, 0, 0, 0);
  }
  put(0xbf, 9, 7, 0, 0);
  put(0x0f, 9, index, 0, 0);
  if (chance(2))
    put(0x71, number(), 9, 0, 0);
  else
    put(0x72, 9, 0, 0, small());
}

/// A pointer goes over the 64 bytes, and a number that is counted with it says when to stop; sometimes another number
/// is loaded in its place, in the loop or behind it, and says nothing of the pointer.
void Border::pointer_in_step() {
  loops = true;
  const u8 counter = number();
  const s32 stride = chance(2) ? 1 : s32{1} << pick(4), step = chance(3) ? stride : 1;
  const s32 slot = -8 * static_cast<s32>(1 + pick(8));
  const bool is_spilled = chance(3);
  put(0xbf, 9, 7, 0, 0);
  put(0xb7, counter, 0, 0, 0);
  const std::size_t head = out_.size();
  if (chance(2))
    put(0x71, number_but(counter), 9, 0, 0);
  else
    put(0x72, 9, 0, 0, small());
  put(0x07, 9, 0, 0, stride);
  put(chance(4) ? 0x04 : 0x07, counter, 0, 0, step);
  if (is_spilled) put(0x7b, 10, counter, slot, 0);
  if (chance(4)) arithmetic();
  if (is_spilled && chance(2)) put(0x79, counter, 10, slot, 0);
  if (chance(3)) fresh_number(counter);
  s32 rounds = static_cast<s32>(value_size) / stride + (chance(12) ? 1 : 0);
  if (chance(4)) rounds -= static_cast<s32>(pick(static_cast<u32>(rounds)));
  constexpr u8 ops[] = {0xa5, 0xa5, 0xc5, 0xa6, 0x55};
  put(any(ops), counter, 0, static_cast<s32>(head) - static_cast<s32>(out_.size()) - 1, rounds * step);
  if (chance(2)) return;
  fresh_number(counter);
  put(0x35, counter, 0, 1, 1 + static_cast<s32>(pick(value_size)));
  put(0x71, number_but(counter), 9, chance(8) ? 0 : -1, 0);
}

/// An atomic instruction on the stack or in the value, seldom with a source that it may not write.
void Border::atomic() {
  constexpr s32 operations[] = {0x00, 0x40, 0x50, 0xa0, 0x01, 0x41, 0x51, 0xa1, 0xe1, 0xf1};  // RFC 9669, 5.3
  const s32 slot = -8 * static_cast<s32>(1 + pick(8));
  const bool is_on_stack = chance(2);
  if (is_on_stack && !chance(8)) put(0x7a, 10, 0, slot, small());
  const u8 source = chance(12) ? (chance(2) ? 10 : static_cast<u8>(pick(11))) : number();
  put(chance(3) ? 0xc3 : 0xdb, is_on_stack ? 10 : 7, source, is_on_stack ? slot : 8 * static_cast<s32>(pick(8)),
      any(operations));
  if (is_on_stack && source != 10) put(0x79, number(), 10, slot, 0);
}

}  // namespace skep::embedding
