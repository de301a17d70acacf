// See programs.hpp. Written instruction by instruction, so that both engines run the very same code.
#include "maps/programs.hpp"

#include <string>

#include "catalog/helpers.hpp"

namespace skep::bench {
namespace {

using catalog::HelperId;

// r6 packet, r7 random state, r8 sum, r9 multiplier. On the stack: the key (up to 20 bytes), a value, the increment of
// the random numbers, a record.
constexpr s16 key_at = -24, value_at = -32, increment_at = -40, record_at = -104;

class Code {
 public:
  void add(u8 code, u8 dst, u8 src, s16 off, s32 imm) {
    Insn insn{};
    insn.code = code;
    insn.dst = dst & 15u;
    insn.src = src & 15u;
    insn.off = off;
    insn.imm = imm;
    insns.push_back(insn);
  }
  void wide(u8 dst, u64 value) {
    add(0x18, dst, 0, 0, static_cast<s32>(value));
    add(0, 0, 0, 0, static_cast<s32>(value >> 32));
  }
  void move(u8 dst, s32 imm) { add(0xb7, dst, 0, 0, imm); }
  void store(s16 at, u8 src) { add(0x7b, 10, src, at, 0); }
  void stack_address(u8 dst, s16 at) {
    add(0xbf, dst, 10, 0, 0);
    add(0x07, dst, 0, 0, at);
  }
  void map_in_r1() {
    references.push_back({.insn = static_cast<u32>(insns.size()), .kind = Reference::Kind::map, .map = 0});
    add(0x18, 1, 1, 0, 0);
    add(0, 0, 0, 0, 0);
  }
  void call(HelperId id) { add(0x85, 0, 0, 0, static_cast<s32>(id)); }
  /// r8 += r0
  void sum_result() { add(0x0f, 8, 0, 0, 0); }
  /// Counts in the packet when r0 is not 0 (or, for pointers, when it is: `skip` 0x55).
  void count_refused(u8 skip) {
    add(skip, 0, 0, 3, 0);
    add(0x79, 1, 6, refused_offset, 0);
    add(0x07, 1, 0, 0, 1);
    add(0x7b, 6, 1, refused_offset, 0);
  }
  std::vector<Insn> insns;
  std::vector<Reference> references;
};

/// The next random number, and the key of it; the number is left in r2.
void draw_key(Code& code, Keys keys, u32 mask) {
  code.add(0x2f, 7, 9, 0, 0);  // r7 *= multiplier
  code.add(0x79, 4, 10, increment_at, 0);
  code.add(0x0f, 7, 4, 0, 0);
  code.add(0xbf, 2, 7, 0, 0);
  code.add(0x77, 2, 0, 0, 33);  // the upper bits are the random ones
  if (!is_address(keys)) code.add(0x57, 2, 0, 0, static_cast<s32>(mask));
  if (keys == Keys::routes6) {
    code.add(0x62, 10, 0, key_at, 128);
    code.add(0x57, 2, 0, 0, static_cast<s32>(routes6_mask));
    code.add(0x47, 2, 0, 0, 0x20);
    code.add(0x63, 10, 2, key_at + 4, 0);
    code.store(key_at + 8, 7);
    code.add(0x63, 10, 2, key_at + 16, 0);
  } else if (is_address(keys)) {
    code.add(0x62, 10, 0, key_at, 32);
    code.add(0x63, 10, 2, key_at + 4, 0);
  } else if (keys == Keys::index) {
    code.add(0x63, 10, 2, key_at, 0);
  } else {
    code.store(key_at, 2);
  }
}

void update(Code& code) {
  code.map_in_r1();
  code.stack_address(2, key_at);
  code.store(value_at, 7);
  code.stack_address(3, value_at);
  code.move(4, 0);
  code.call(HelperId::map_update_elem);
  code.sum_result();
}

/// push_elem, pop_elem or peek_elem: the value at `at` is what goes in or comes out.
void on_value(Code& code, HelperId helper, s16 at) {
  code.map_in_r1();
  code.stack_address(2, at);
  if (helper == HelperId::map_push_elem) code.move(3, 0);
  code.call(helper);
  code.sum_result();
}

void output(Code& code) {
  code.map_in_r1();
  code.stack_address(2, record_at);
  code.move(3, record_bytes);
  code.move(4, 0);
  code.call(HelperId::ringbuf_output);
  code.count_refused(0x15);
}

void reserve(Code& code) {
  code.map_in_r1();
  code.move(2, record_bytes);
  code.move(3, 0);
  code.call(HelperId::ringbuf_reserve);
  code.add(0x55, 0, 0, 4, 0);  // a record: behind the counting
  code.add(0x79, 1, 6, refused_offset, 0);
  code.add(0x07, 1, 0, 0, 1);
  code.add(0x7b, 6, 1, refused_offset, 0);
  code.add(0x05, 0, 0, 4, 0);
  code.add(0x7b, 0, 7, 0, 0);
  code.add(0xbf, 1, 0, 0, 0);
  code.move(2, 0);
  code.call(HelperId::ringbuf_submit);
}

void operate(Code& code, Operation operation) {
  switch (operation) {
    case Operation::nothing:
      code.add(0x0f, 8, 2, 0, 0);
      return;
    case Operation::look_up:
      code.map_in_r1();
      code.stack_address(2, key_at);
      code.call(HelperId::map_lookup_elem);
      code.add(0x15, 0, 0, 2, 0);
      code.add(0x79, 0, 0, 0, 0);
      code.sum_result();
      return;
    case Operation::update:
      return update(code);
    case Operation::insert_and_erase:
      update(code);
      code.map_in_r1();
      code.stack_address(2, key_at);
      code.call(HelperId::map_delete_elem);
      code.sum_result();
      return;
    case Operation::push_and_pop:
      on_value(code, HelperId::map_push_elem, key_at);
      return on_value(code, HelperId::map_pop_elem, value_at);
    case Operation::push:
      return on_value(code, HelperId::map_push_elem, key_at);
    case Operation::peek:
      return on_value(code, HelperId::map_peek_elem, key_at);
    case Operation::output:
      return output(code);
    case Operation::reserve:
      return reserve(code);
  }
}

Code program(Operation operation, Keys keys, u32 mask) {
  Code code;
  code.add(0x61, 6, 1, 0, 0);  // r6 = data
  code.add(0x61, 3, 1, 4, 0);  // r3 = data_end
  code.add(0xbf, 2, 6, 0, 0);
  code.add(0x07, 2, 0, 0, refused_offset + 8);
  code.move(0, 0);
  code.add(0x2d, 2, 3, 0, 0);  // if r2 > r3 goto out (offset set below)
  const std::size_t check = code.insns.size() - 1;
  code.add(0x79, 7, 6, state_offset, 0);
  code.wide(9, multiplier);
  code.move(8, 0);
  code.wide(4, increment);
  code.store(increment_at, 4);
  code.store(value_at, 8);
  for (u32 at = 0; at < record_bytes && operation == Operation::output; at += 8)
    code.store(static_cast<s16>(record_at + static_cast<s32>(at)), 7);
  for (u32 i = 0; i < operations; ++i) {
    draw_key(code, keys, mask);
    operate(code, operation);
  }
  code.add(0x7b, 6, 7, state_offset, 0);
  code.add(0xbf, 0, 8, 0, 0);
  code.add(0x95, 0, 0, 0, 0);
  code.insns[check].off = static_cast<s16>(code.insns.size() - 2 - check);
  return code;
}

}  // namespace

ObjectSpec object_of(MapSpec map, Keys keys, u32 mask, std::initializer_list<Operation> list) {
  ObjectSpec spec;
  spec.name = "bench";
  spec.license = "GPL";
  map.name = "table";
  spec.maps.push_back(std::move(map));
  for (const Operation operation : list) {
    Code code = program(operation, keys, mask);
    ProgramSpec made;
    made.name = "measured" + std::to_string(spec.programs.size());
    made.type = ProgramType::xdp;
    made.section = "xdp";
    made.insns = std::move(code.insns);
    made.references = std::move(code.references);
    made.functions = {{.insn = 0, .name = made.name}};
    spec.programs.push_back(std::move(made));
  }
  return spec;
}

}  // namespace skep::bench
