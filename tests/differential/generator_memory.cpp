// Steps on memory: the stack, map values, atomics, spilled pointers, the context and its packet.
#include "generator.hpp"

#include <algorithm>

namespace skep::differential {

// --- memory ---

void Generator::stack_access() {
  const u8 size = any(sizes);
  const s32 at = -64 + static_cast<s32>(bytes_of(size)) * static_cast<s32>(pick(64 / bytes_of(size)));
  switch (pick(4)) {
    case 0:
      return put(load_code(size), number(), 10, at, 0);
    case 1:
      return put(static_cast<u8>(0x62 | size), 10, 0, at, small());
    case 2:
      return atomic(10, -8 * static_cast<s32>(1 + pick(8)));
    default:
      return put(static_cast<u8>(0x63 | size), 10, number(), at, 0);
  }
}

void Generator::use(u8 pointer, s32 off, u8 size) {
  if (chance(2))
    put(load_code(size), number_but(pointer), pointer, off, 0);
  else if (chance(3))
    put(static_cast<u8>(0x62 | size), pointer, 0, off, small());
  else
    put(static_cast<u8>(0x63 | size), pointer, number_but(pointer), off, 0);
}

/// At a constant place, or at one that a number chooses: masked, compared, or neither.
void Generator::memory_access() {
  const u8 size = any(sizes);
  const s32 bytes = static_cast<s32>(bytes_of(size));
  if (chance(3)) return use(7, static_cast<s32>(pick(64 / bytes_of(size))) * bytes, size);
  const u8 index = number(), pointer = number_but(index);
  std::size_t jump = 0;
  switch (pick(8)) {
    case 0:
    case 1:
    case 2:
      put(0x57, index, 0, 0, static_cast<s32>((1u << pick(7)) - 1) & (64 - bytes));
      break;
    case 3:
    case 4:
    case 5:
      jump = code().size();
      put(any({u8{0x25}, u8{0x26}}), index, 0, 0, 64 - bytes);
      if (code()[jump].code == 0x26) put(0xbc, index, index, 0, 0);
      break;
    case 6:
      put(0x97, index, 0, 0, 65 - bytes);
      break;
    default:
      put(0x77, index, 0, 0, 59);
      break;
  }
  if (chance(3)) {
    if (!chance(16)) put(0x57, index, 0, 0, -bytes);  // the stack takes aligned accesses only
    stack_address(pointer, -64);
  } else {
    mov(pointer, 7);
  }
  put(0x0f, pointer, index, 0, 0);
  use(pointer, 0, size);
  if (jump != 0) land(jump);
  refill(pointer);
}

void Generator::atomic(u8 pointer, s32 off) {
  constexpr s32 kinds[] = {0x00, 0x40, 0x50, 0xa0, 0x01, 0x41, 0x51, 0xa1, 0xe1, 0xf1};
  if (chance(5)) {
    const u8 size = any(sizes);
    constexpr s32 acquire = 0x100, release = 0x110;
    const u8 atomic_code = static_cast<u8>(0xc3 | size);
    return chance(2) ? put(atomic_code, number_but(pointer), pointer, off, acquire)
                     : put(atomic_code, pointer, number_but(pointer), off, release);
  }
  // Compare-exchange takes its operand in r0.
  const s32 kind = any(kinds);
  const u8 wide_or_not = chance(2) ? 0xdb : 0xc3;
  put(wide_or_not, pointer, number_but(pointer), off, pointer == 0 && kind == 0xf1 ? 0xe1 : kind);
  // Linux 6.18 forgets to clear the upper half of r0 where its verifier joined paths; RFC 9669 5.3 says it is clear.
  if (wide_or_not == 0xc3 && kind == 0xf1 && pointer != 0) put(0xbc, 0, 0, 0, 0);
}

/// The memory's address goes to the stack and comes back in another register.
void Generator::spilled_pointer() {
  put(0x7b, 10, 7, spill_at, 0);
  if (chance(3)) arithmetic();
  const u8 pointer = number();
  put(0x79, pointer, 10, spill_at, 0);
  const u8 size = any(sizes);
  for (u32 i = 0; i <= pick(3); i++) use(pointer, static_cast<s32>(pick(64 / bytes_of(size)) * bytes_of(size)), size);
  if (chance(2)) atomic(pointer, 8 * static_cast<s32>(pick(8)));
  put(0x7a, 10, 0, spill_at, 0);
  refill(pointer);
}

// --- the context and its packet ---

void Generator::context_load(u8 reg) {
  constexpr s32 of_skb[] = {0, 8, 16, 48, 52, 56, 60, 64}, of_filter[] = {0, 16, 48, 52, 56, 60, 64};
  switch (out_.type) {
    case ProgramType::sched_cls:
      return put(0x61, reg, 6, any(of_skb), 0);
    case ProgramType::socket_filter:
      return put(0x61, reg, 6, any(of_filter), 0);
    case ProgramType::xdp:
      return put(0x79, reg, 7, 8 * static_cast<s32>(pick(8)), 0);
    case ProgramType::raw_tracepoint:
      return put(0x79, reg, 6, 8 * static_cast<s32>(pick(context_bytes / 8)), 0);
    default:
      break;
  }
  const u8 size = any(sizes);
  put(load_code(size), reg, 6, static_cast<s32>(pick(context_bytes / bytes_of(size)) * bytes_of(size)), 0);
}

void Generator::context_store() {
  constexpr s32 of_skb[] = {8, 48, 52, 56, 60, 64}, of_filter[] = {48, 52, 56, 60, 64};
  const u8 size = any(sizes);
  if (out_.type == ProgramType::sched_cls) return put(0x63, 6, number(), any(of_skb), 0);
  if (out_.type == ProgramType::socket_filter) return put(0x63, 6, number(), any(of_filter), 0);
  if (out_.type == ProgramType::syscall)
    return use(6, static_cast<s32>(pick(context_bytes / bytes_of(size)) * bytes_of(size)), size);
  memory_access();
}

void Generator::context_step() {
  const bool direct = out_.type == ProgramType::xdp || out_.type == ProgramType::sched_cls;
  if (direct && !chance(3)) return packet_access();
  if (classic_ && chance(2)) return classic_load();
  if (chance(2)) return context_load(number());
  context_store();
}

/// data .. data_end, compared in one of the shapes that compilers make.
void Generator::packet_access() {
  const bool xdp = out_.type == ProgramType::xdp;
  const u8 begin = number(), end = number_but(begin);
  u8 reach = number_but(begin);
  while (reach == end) reach = number_but(begin);
  const s32 length = 1 + static_cast<s32>(pick(80));
  put(0x61, begin, 6, xdp ? 0 : 76, 0);
  put(0x61, end, 6, xdp ? 4 : 80, 0);
  if (chance(3)) {  // behind a header of variable length
    u8 index = number_but(begin);
    while (index == end || index == reach) index = number_but(begin);
    put(0x57, index, 0, 0, chance(2) ? 60 : 31);
    put(0x0f, begin, index, 0, 0);
  }
  mov(reach, begin);
  put(0x07, reach, 0, 0, length);
  const std::size_t jump = code().size();
  const bool mirrored = chance(2);
  const u8 greater = 0x2d, less = 0xad;
  put(mirrored ? less : greater, mirrored ? end : reach, mirrored ? reach : end, 0, 0);
  for (u32 i = 0; i <= pick(3); i++) {
    const u8 size = any(sizes);
    const s32 bytes = static_cast<s32>(bytes_of(size));
    if (length < bytes) continue;
    const s32 off = static_cast<s32>(pick(static_cast<u32>(length - bytes + 1)));
    u8 value = number_but(begin);
    while (value == end || value == reach) value = number_but(begin);
    if (chance(3))
      put(static_cast<u8>(0x63 | size), begin, value, off, 0);
    else
      put(load_code(size), value, begin, off, 0);
  }
  land(jump);
  for (const u8 r : {begin, end, reach}) refill(r);
}

void Generator::classic_load() {
  constexpr u8 absolute[] = {0x30, 0x28, 0x20}, indirect[] = {0x50, 0x48, 0x40};
  const s32 offset = chance(8) ? small() : static_cast<s32>(pick(70));
  if (chance(2)) {
    put(any(absolute), 0, 0, 0, offset);
  } else {
    const u8 index = number();
    put(0x57, index, 0, 0, 31);
    put(any(indirect), 0, index, 0, offset);
  }
  refill_after_call();
}

}  // namespace skep::differential
