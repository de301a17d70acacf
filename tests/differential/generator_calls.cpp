// Steps that call: helpers on maps, packets and checksums, functions of the program's own, callbacks, tail calls.
#include "generator.hpp"

#include <algorithm>

namespace skep::differential {

void Generator::call_step() {
  switch (pick(9)) {
    case 0:
    case 1:
      return look_up();
    case 2:
      return map_change();
    case 3:
      return queue_change();
    case 4:
      return local_call();
    case 5:
      return call_back();
    case 6:
      return scope_.main ? packet_helper() : look_up();
    case 7:
      return scope_.main && !out_.sleepable() && chance(3) ? tail_call() : map_change();
    default:
      return checksum();
  }
}

MapIndex Generator::keyed_map() {
  // Linux lets programs that sleep use neither tries nor program arrays.
  if (out_.sleepable()) return any({array, hash, percpu_array, lru_hash, percpu_hash});
  return any({array, hash, percpu_array, lru_hash, percpu_hash, lpm});
}

/// The key on the stack: constant, or a number brought into range.
void Generator::write_key(MapIndex of) {
  const s16 at = of == lpm ? static_cast<s16>(key_at + 4) : key_at;
  if (of == lpm) put(0x62, 10, 0, key_at, static_cast<s32>(8 * pick(5)));
  if (chance(2)) return put(0x62, 10, 0, at, static_cast<s32>(pick(keys + 1)));
  const u8 key = number();
  put(0x57, key, 0, 0, 2 * keys - 1);
  put(0x63, 10, key, at, 0);
}

void Generator::write_buffer() {
  put(0x7b, 10, number(), buffer_at, 0);
  put(0x7b, 10, number(), buffer_at + 8, 0);
}

void Generator::look_up() {
  const MapIndex of = keyed_map();
  write_key(of);
  map(1, of);
  stack_address(2, key_at);
  call(1);
  refill_after_call();
  const std::size_t jump = code().size();
  put(0x15, 0, 0, 0, 0);
  const u32 uses = 1 + pick(3);
  const u8 pointer = chance(3) ? number_but(0) : u8{0};
  if (pointer != 0) {
    if (chance(2)) {
      put(0x7b, 10, 0, spill_at, 0);
      put(0x79, pointer, 10, spill_at, 0);
      put(0x7a, 10, 0, spill_at, 0);
    } else {
      mov(pointer, 0);
    }
    refill(0);
  }
  for (u32 i = 0; i < uses; i++) {
    const u8 size = any(sizes);
    if (chance(4))
      atomic(pointer, 8 * static_cast<s32>(pick(2)));
    else
      use(pointer, static_cast<s32>(pick(value_bytes / bytes_of(size)) * bytes_of(size)), size);
  }
  if (pointer != 0) refill(pointer);
  land(jump);
  refill(0);
}

void Generator::map_change() {
  const MapIndex of = keyed_map();
  write_key(of);
  if (chance(3)) {
    map(1, of);
    stack_address(2, key_at);
    call(3);
  } else {
    write_buffer();
    map(1, of);
    stack_address(2, key_at);
    stack_address(3, buffer_at);
    set(4, static_cast<s32>(pick(4)));
    call(2);
  }
  refill_after_call();
}

void Generator::queue_change() {
  const MapIndex of = any({queue, stack});
  write_buffer();
  map(1, of);
  stack_address(2, buffer_at);
  const s32 helper = 87 + static_cast<s32>(pick(3));
  if (helper == 87) set(3, chance(4) ? 2 : 0);
  call(helper);
  refill_after_call();
  put(0x79, number(), 10, buffer_at, 0);
}

void Generator::local_call() {
  if (scope_.main ? functions_wanted_ == 0 : level_ >= functions_wanted_) return arithmetic();
  if (scope_.loops > 1) return arithmetic();
  const u32 callee = scope_.main ? pick(functions_wanted_) : level_;
  put(0xbf, 2, number(), 0, 0);
  if (chance(2))
    stack_address(1, -64);
  else
    mov(1, 7);
  calls_.push_back({code().size(), callee});
  put(0x85, 0, 1, 0, 0);
  refill_after_call();
}

void Generator::call_back() {
  if (callbacks_wanted_ == 0 || !scope_.main || scope_.loops > 0) return look_up();
  if (!callback_used_) loops_back_ = chance(2);
  callback_used_ = true;
  if (loops_back_)
    set(1, static_cast<s32>(pick(6)));
  else
    map(1, array);
  callback_loads_.push_back(code().size());
  wide(2, 4, 0, 0);
  stack_address(3, -64);
  set(4, 0);
  call(loops_back_ ? 181 : 164);
  refill_after_call();
}

void Generator::packet_helper() {
  const bool skb = out_.type == ProgramType::sched_cls || out_.type == ProgramType::socket_filter;
  if (!skb && out_.type != ProgramType::xdp) return look_up();
  mov(1, 6);
  if (skb) {
    const s32 length = 1 + static_cast<s32>(pick(16));
    set(2, static_cast<s32>(pick(70)));
    stack_address(3, -64);
    set(4, length);
    const bool stores = out_.type == ProgramType::sched_cls && chance(2);
    if (stores) set(5, 0);
    call(stores ? 9 : 26);
  } else {
    constexpr s32 adjust[] = {44, 65};
    const s32 helper = any(adjust);
    set(2, chance(3) ? small() : static_cast<s32>(pick(16)) - 8);
    call(helper);
  }
  refill_after_call();
}

void Generator::tail_call() {
  mov(1, 6);
  map(2, prog_array);
  set(3, chance(3) ? small() : static_cast<s32>(pick(2)));
  call(12);
  refill(0);
  refill_after_call();
}

void Generator::checksum() {
  const bool has = out_.type == ProgramType::sched_cls || out_.type == ProgramType::xdp;
  if (!has) return queue_change();
  put(0xbf, 5, number(), 0, 0);
  stack_address(1, -64);
  set(2, 4 * static_cast<s32>(pick(9)));
  stack_address(3, -32);
  set(4, 4 * static_cast<s32>(pick(9)));
  call(28);
  refill_after_call();
}

}  // namespace skep::differential
