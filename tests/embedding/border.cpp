// See border.hpp.
#include "border.hpp"

#include <algorithm>

namespace skep::embedding {

const ObjectSpec& object_with_value() {
  static const ObjectSpec made = [] {
    ObjectSpec object;
    object.license = "GPL";
    MapSpec map;
    map.name = ".data";
    map.type = MapType::array;
    map.key_size = 4;
    map.value_size = value_size;
    map.max_entries = 1;
    map.is_global_data = true;
    map.initial_value.resize(value_size);
    object.maps.push_back(map);
    MapSpec hash;
    hash.name = "hash";
    hash.type = MapType::hash;
    hash.key_size = 4;
    hash.value_size = value_size;
    hash.max_entries = 4;
    object.maps.push_back(hash);
    return object;
  }();
  return made;
}

s32 Border::small() {
  constexpr s32 numbers[] = {0,  1,  -1, 7,  8,   15,  16, 31,  32,         56,
                             57, 63, 64, 65, 127, 255, -8, -64, 0x7fffffff, -0x7fffffff - 1};
  return any(numbers);
}

u8 Border::number() {
  constexpr u8 regs[] = {0, 2, 3, 4, 5, 8};
  return any(regs);
}

u8 Border::number_but(u8 other) {
  for (;;)
    if (const u8 r = number(); r != other) return r;
}

void Border::put(u32 code, u8 dst, u8 src, s32 off, s32 imm) {
  Insn i;
  i.code = static_cast<u8>(code);
  i.dst = dst & 15;
  i.src = src & 15;
  i.off = static_cast<s16>(off);
  i.imm = imm;
  out_.push_back(i);
}

void Border::land(std::size_t from) { out_[from].off = static_cast<s16>(out_.size() - from - 1); }

void Border::fresh_number(u8 reg) {
  if (chance(3)) return put(0xb7, reg, 0, 0, small());
  constexpr u8 loads[] = {0x61, 0x79, 0x69, 0x71, 0x81, 0x89, 0x91};
  const u8 load = any(loads);
  if (type_ == ProgramType::xdp || chance(3)) return put(load, reg, 7, 8 * static_cast<s32>(pick(8)), 0);
  put(load == 0x79 ? 0x79 : 0x61, reg, 6, 8 * static_cast<s32>(pick(20)), 0);
}

void Border::begin(bool with_map) {
  out_.clear();
  references_.clear();
  calls_.clear();
  with_map_ = with_map;
  with_functions_ = chance(4);
  loops = false;
  put(0xbf, 6, 1, 0, 0);
  if (with_map) {
    references_.push_back({1, Reference::Kind::map_value, 0, 0, ".data", 0, false});
    put(0x18, 7, 2, 0, 0);
    put(0, 0, 0, 0, 0);
  } else {
    put(0xbf, 7, 10, 0, 0);
    put(0x07, 7, 0, 0, -static_cast<s32>(value_size));
  }
  for (s32 at = 8; at <= static_cast<s32>(value_size); at += 8) put(0x7a, 10, 0, -at, 0);
  for (u8 r : {0, 2, 3, 4, 5, 8}) fresh_number(r);
}

void Border::body() {
  const u32 length = 4 + pick(16);
  // One in three has a loop that ends by itself: what changes from round to round must not be taken for constant.
  loops = chance(3);
  const u32 head = loops ? pick(length - 1) : length, tail = loops ? head + 1 + pick(length - head - 1) : length;
  std::size_t start = 0;
  for (u32 i = 0; i < length; i++) {
    if (i == head) {
      start = out_.size();
      put(0xe5, 0, 0, 0, 0);  // may_goto
    }
    step(length - i);
    if (i != tail) continue;
    put(0x05, 0, 0, static_cast<s32>(start) - static_cast<s32>(out_.size()) - 1, 0);
    land(start);
  }
}

ProgramSpec Border::finish() {
  put(0xb7, 0, 0, 0, 0);
  put(0x95, 0, 0, 0, 0);
  if (!calls_.empty()) function();
  ProgramSpec program;
  program.name = "random";
  program.type = type_;
  program.insns = std::move(out_);
  program.references = std::move(references_);
  program.functions.push_back({0, 0, "random", false});
  if (!calls_.empty()) {
    const Insn& call = program.insns[calls_.front()];
    program.functions.push_back(
        {static_cast<u32>(calls_.front()) + 1 + static_cast<u32>(call.imm), 0, "callee", false});
  }
  return program;
}

ProgramSpec Border::program(bool with_map) {
  type_ = ProgramType::kprobe;
  begin(with_map);
  body();
  return finish();
}

ProgramSpec Border::packet_program() {
  type_ = ProgramType::xdp;
  begin(true);
  body();
  return finish();
}

void Border::step(u32 left) {
  switch (pick(type_ == ProgramType::xdp ? 19 : 16)) {
    case 0:
    case 1:
      return arithmetic();
    case 2:
      return narrow();
    case 3:
    case 4:
    case 5:
      return jump(left);
    case 6:
    case 7:
      return access();
    case 8:
      return linked_access();
    case 9:
      return stack();
    case 10:
      return partial_spill();
    case 11:
      return with_functions_ && depth_ == 0 ? call() : arithmetic();
    case 12:
      return depth_ == 0 ? counted_loop() : jump(left);
    case 13:
      return choice_by_sign();
    case 14:
      return depth_ == 0 ? pointer_in_step() : jump(left);
    case 15:
      return atomic();
    case 16:
      return look_up();
    default:
      return packet_access();
  }
}

void Border::arithmetic() {
  constexpr u8 ops[] = {0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0, 0xb0, 0xc0};
  const u8 op = any(ops), width = chance(2) ? 4 : 7;
  if (chance(2)) {
    const s32 off = (op == 0x30 || op == 0x90) && chance(3) ? 1 : op == 0xb0 && chance(4) ? 8 << pick(2) : 0;
    return put(op | 8u | width, number(), number(), off, 0);
  }
  s32 imm = op == 0x60 || op == 0x70 || op == 0xc0 ? static_cast<s32>(pick(width == 7 ? 64 : 32)) : small();
  if ((op == 0x30 || op == 0x90) && imm == 0) imm = 3;
  put(op | width, number(), 0, 0, imm);
}

/// Moves that extend, byte order, negation.
void Border::narrow() {
  const u8 dst = number();
  constexpr s32 widths[] = {8, 16, 32};
  constexpr s32 swapped[] = {16, 32, 64};
  switch (pick(5)) {
    case 0:
      return put(0xbc, dst, number(), 0, 0);
    case 1:
      return put(0xbf, dst, number(), any(widths), 0);
    case 2:
      return put(0xbc, dst, number(), chance(2) ? 8 : 16, 0);
    case 3:
      return put(chance(2) ? 0xdc : chance(2) ? 0xd4 : 0xd7, dst, 0, 0, any(swapped));
    default:
      return put(chance(2) ? 0x87 : 0x84, dst, 0, 0, 0);
  }
}

void Border::jump(u32 left) {
  constexpr u8 ops[] = {0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0};
  const u8 op = any(ops), width = chance(2) ? 6 : 5;
  const std::size_t at = out_.size();
  if (chance(3))
    put(op | 8u | width, number(), number(), 0, 0);
  else
    put(op | width, number(), 0, 0, small());
  // Over one to three whole steps: paths that meet again know different things.
  if (depth_ >= 3) return arithmetic(), land(at);
  depth_++;
  for (u32 n = 1 + pick(std::min(left, 3u)); n > 0; n--) step(1);
  depth_--;
  if (!chance(3)) return land(at);
  const std::size_t over = out_.size();
  put(0x05, 0, 0, 0, 0);
  land(at);
  depth_++;
  step(1);
  depth_--;
  land(over);
}

/// One of the ways to bound a number below 64, most of the time.
void Border::bound(u8 index) {
  if (chance(12)) return;
  switch (pick(6)) {
    case 0:
    case 1:
      return put(chance(3) ? 0x54 : 0x57, index, 0, 0, chance(12) ? small() : static_cast<s32>((1u << pick(7)) - 1));
    case 2:
      return put(0x97, index, 0, 0, 1 + static_cast<s32>(pick(66)));
    default: {
      if (chance(8)) {  // two signed ones
        put(0x75, index, 0, 1, 0);
        put(0xb7, index, 0, 0, 0);
        put(0xd5, index, 0, 1, static_cast<s32>(pick(value_size)));
        return put(0xb7, index, 0, 0, 1);
      }
      constexpr u8 below[] = {0xa0, 0xb0, 0xa0, 0xb0, 0xa0, 0xb0, 0xc0, 0xd0, 0x70, 0x10};  // the last four: signed, ==
      const s32 limit = chance(12) ? small() : static_cast<s32>(pick(value_size));
      put(any(below) | (chance(3) ? 6u : 5u), index, 0, 1, limit);
      return put(0xb7, index, 0, 0, static_cast<s32>(pick(value_size)));
    }
  }
}

/// Bounds a number, moves a pointer by it and uses the pointer.
void Border::access() {
  const u8 index = number(), base = chance(4) ? 10 : 7;
  constexpr u8 sizes[] = {0x00, 0x08, 0x10, 0x18};
  constexpr s32 bytes[] = {4, 2, 1, 8};
  const u32 which = pick(4);
  const u8 size = sizes[which];
  bound(index);
  if (base == 10 || !with_map_) put(0x57, index, 0, 0, -bytes[which]);  // the stack takes aligned accesses only
  if (!chance(6)) put(0xb5, index, 0, 1, static_cast<s32>(value_size) - bytes[which]), put(0xb7, index, 0, 0, 0);
  put(0xbf, 9, base, 0, 0);
  if (base == 10) put(0x07, 9, 0, 0, -static_cast<s32>(value_size));
  put(base == 7 && with_map_ && chance(30) ? 0x1f : 0x0f, 9, index, 0, 0);
  const s32 off = chance(16) ? small() % 70 : 0;
  if (chance(2))
    put((chance(4) && size != 0x18 ? 0x81u : 0x61u) | size, number(), 9, off, 0);
  else if (chance(4))
    put(0x62u | size, 9, 0, off, small());
  else
    put(0x63u | size, 9, number(), off, 0);
}

/// A copy, moved by a constant, is used where the original was compared; or the other way round.
void Border::linked_access() {
  const u8 a = number(), b = number_but(a);
  if (chance(3)) {
    const s32 slot = -8 * static_cast<s32>(1 + pick(8));
    put(chance(3) ? 0x63 : 0x7b, 10, a, slot, 0);
    put(chance(3) ? 0x61 : 0x79, b, 10, slot, 0);
  } else {
    put(chance(3) ? 0xbc : 0xbf, b, a, 0, 0);
  }
  if (chance(2)) put(chance(4) ? 0x04 : 0x07, chance(2) ? a : b, 0, 0, small());
  bound(chance(2) ? a : b);
  const u8 index = chance(2) ? a : b;
  const bool narrow_access = !with_map_ || chance(3);
  if (chance(2)) put(0x75, index, 0, 1, 0), put(0xb7, index, 0, 0, 0);
  if (chance(2)) put(0xb5, index, 0, 1, static_cast<s32>(value_size) - 8), put(0xb7, index, 0, 0, 0);
  put(0xbf, 9, 7, 0, 0);
  put(0x0f, 9, index, 0, 0);
  put(narrow_access ? 0x71 : 0x79, number(), 9, 0, 0);
}

void Border::stack() {
  const s32 at = -8 * static_cast<s32>(1 + pick(8));
  constexpr u8 sizes[] = {0x00, 0x08, 0x10, 0x18};
  const u8 size = any(sizes);
  if (chance(2))
    put(0x61u | size, number(), 10, at, 0);
  else if (chance(4))
    put(0x62u | size, 10, 0, at, small());
  else
    put(0x63u | size, 10, size == 0x18 && chance(8) ? 7 : number(), at, 0);
}

/// A spill that is read back in another width, or after a part of it was overwritten.
void Border::partial_spill() {
  constexpr u8 sizes[] = {0x00, 0x08, 0x10, 0x18};
  constexpr s32 bytes[] = {4, 2, 1, 8};
  const s32 at = -8 * static_cast<s32>(1 + pick(8));
  const u32 first = pick(4), second = pick(4), third = pick(4);
  const auto place = [&](u32 size) {
    return at + bytes[size] * static_cast<s32>(pick(8 / static_cast<u32>(bytes[size])));
  };
  put(0x63u | sizes[first], 10, number(), chance(2) ? at : place(first), 0);
  if (chance(2)) {
    if (chance(2))
      put(0x62u | sizes[second], 10, 0, place(second), chance(2) ? 0 : small());
    else
      put(0x63u | sizes[second], 10, number(), place(second), 0);
  }
  put((chance(3) && third != 3 ? 0x81u : 0x61u) | sizes[third], number(), 10, chance(2) ? at : place(third), 0);
}

/// A function that gets 64 bytes and a number and returns a number.
void Border::call() {
  put(0xbf, 2, number(), 0, 0);
  put(0xbf, 1, chance(2) ? 7 : 10, 0, 0);
  if (out_.back().src == 10) put(0x07, 1, 0, 0, -static_cast<s32>(value_size));
  calls_.push_back(out_.size());
  put(0x85, 0, 1, 0, 0);
  for (u8 r : {2, 3, 4, 5}) fresh_number(r);
  bound(0);
}

void Border::function() {
  for (const std::size_t at : calls_) out_[at].imm = static_cast<s32>(out_.size() - at - 1);
  put(0xbf, 7, 1, 0, 0);
  for (s32 at = 8; at <= static_cast<s32>(value_size); at += 8) put(0x7b, 10, 2, -at, 0);
  put(0xbf, 8, 2, 0, 0);
  put(0xbf, 0, 2, 0, 0);
  for (u8 r : {3, 4, 5}) put(0x79, r, 7, 8 * r, 0);
  depth_ = 1;
  const ProgramType type = std::exchange(type_, ProgramType::kprobe);  // r6 is no context here
  for (u32 n = 2 + pick(5); n > 0; n--) {
    switch (pick(5)) {
      case 0:
        arithmetic();
        break;
      case 1:
        access();
        break;
      case 2:
        stack();
        break;
      case 3:
        linked_access();
        break;
      default:
        jump(1);
        break;
    }
  }
  type_ = type;
  depth_ = 0;
  put(0xbf, 0, number(), 0, 0);
  put(0x95, 0, 0, 0, 0);
}

/// A value of the hash, checked for null at once, late, by a copy, or not at all.
void Border::look_up() {
  put(0x62, 10, 0, -4, static_cast<s32>(pick(5)));
  references_.push_back({static_cast<u32>(out_.size()), Reference::Kind::map, 1, 0, "hash", 0, false});
  put(0x18, 1, 1, 0, 0);
  put(0, 0, 0, 0, 0);
  put(0xbf, 2, 10, 0, 0);
  put(0x07, 2, 0, 0, -4);
  put(0x85, 0, 0, 0, 1);
  for (u8 r : {2, 3, 4, 5}) fresh_number(r);
  const bool copy = chance(2);
  if (copy) put(0xbf, 9, 0, 0, 0);
  if (chance(4)) {
    put(0x7b, 10, 0, -16, 0);
    put(0x79, 9, 10, -16, 0);
  }
  const std::size_t jump = out_.size();
  put(chance(6) ? 0x55 : 0x15, copy && chance(2) ? 9 : 0, 0, 0, 0);
  const u8 pointer = copy && chance(2) ? 9 : 0, index = number_but(0);
  bound(index);
  put(0x0f, pointer, index, 0, 0);
  put(chance(2) ? 0x71 : 0x73, pointer == 0 ? 0 : number(), pointer, 0, 0);
  if (out_.back().code == 0x73) out_.back() = Insn{.code = 0x72, .dst = pointer, .src = 0, .off = 0, .imm = 7};
  land(jump);
  put(0xb7, 0, 0, 0, small());
}

void Border::packet_access() {
  const u8 end = number(), reach = number_but(end);
  u8 index = number_but(end);
  while (index == reach) index = number_but(end);
  put(0x61, 9, 6, 0, 0);
  put(0x61, end, 6, 4, 0);
  const s32 length = 1 + static_cast<s32>(pick(80));
  if (chance(2)) {
    bound(index);
    put(0x0f, 9, index, 0, 0);
  }
  put(0xbf, reach, 9, 0, 0);
  put(0x07, reach, 0, 0, length);
  const std::size_t jump = out_.size();
  constexpr u8 ways[] = {0x2d, 0x3d, 0x2d, 0xad, 0xbd};
  const u8 way = any(ways);
  const bool mirrored = way == 0xad || way == 0xbd;
  put(way, mirrored ? end : reach, mirrored ? reach : end, 0, 0);
  constexpr u8 sizes[] = {0x00, 0x08, 0x10, 0x18};
  for (u32 n = 1 + pick(2); n > 0; n--) {
    const u8 base = chance(3) ? reach : u8{9}, size = any(sizes);
    const s32 off =
        (base == reach ? -length : 0) + static_cast<s32>(pick(static_cast<u32>(length))) - (chance(8) ? 1 : 0);
    if (chance(2))
      put(0x61u | size, index, base, off, 0);
    else
      put(0x62u | size, base, 0, off, small());
  }
  land(jump);
  for (const u8 r : {end, reach, index}) fresh_number(r);
}

/// A loop with a bound, its counter used as an offset.
void Border::counted_loop() {
  loops = true;
  const u8 counter = number();
  const bool spilled = chance(3);
  const s32 slot = -8 * static_cast<s32>(1 + pick(8));
  put(0xb7, counter, 0, 0, static_cast<s32>(pick(4)));
  const std::size_t head = out_.size();
  if (spilled) put(0x7b, 10, counter, slot, 0);
  depth_ += 2;
  step(1);
  depth_ -= 2;
  put(0xbf, 9, 7, 0, 0);
  if (spilled) put(0x79, counter, 10, slot, 0);
  put(0x0f, 9, counter, 0, 0);
  put(chance(2) ? 0x71 : 0x72, chance(2) ? number() : u8{9}, 9, 0, 0);
  if (out_.back().code == 0x72) out_.back().dst = 9, out_.back().src = 0;
  put(chance(4) ? 0x04 : 0x07, counter, 0, 0, 1 + static_cast<s32>(pick(9)));
  constexpr u8 ops[] = {0xa5, 0xb5, 0xc5, 0xa6, 0xc6, 0x55};
  put(any(ops), counter, 0, static_cast<s32>(head) - static_cast<s32>(out_.size()) - 1,
      static_cast<s32>(pick(value_size)));
}

}  // namespace skep::embedding
