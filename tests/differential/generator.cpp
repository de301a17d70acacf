// The grammar of random programs: most of them are accepted, and every instruction and map has its turn.
//
// Registers hold numbers at the border of every step, except r6 (context) and r7 (64 bytes of memory that may be
// changed); steps that need pointers make them inside and leave numbers behind. So no address reaches a result, and
// results may be compared between engines. One program in six is changed at random afterwards: those are for the
// verdict, and for what a verifier might overlook.
//
//   stack   -64..-1 numbers   -72 a spilled pointer   -80 -88 loop counters   -96 a key   -112 a value   -120 a counter
#include <algorithm>
#include <random>

#include "program.hpp"

namespace skep::differential {
namespace {

constexpr s16 spill_at = -72, loop_at = -80, key_at = -96, buffer_at = -112;

/// What may be called at the place at hand, and with what.
struct Scope {
  bool main = false;
  u32 depth = 0;          ///< of blocks inside blocks
  u32 loops = 0;          ///< around this place
  bool r9_taken = false;  ///< r9 counts the rounds of a loop
};

class Generator {
 public:
  explicit Generator(u64 seed) : random_(seed) { out_.seed = seed; }

  RandomProgram run() {
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

 private:
  // --- small words ---
  std::vector<Insn>& code() { return out_.insns; }
  s64 here() { return static_cast<s64>(code().size()); }
  u32 pick(u32 n) { return static_cast<u32>(random_() % n); }
  bool chance(u32 of) { return pick(of) == 0; }
  template <class T, std::size_t n>
  T any(const T (&from)[n]) {
    return from[pick(n)];
  }
  void put(u8 code_byte, u8 dst, u8 src, s32 off, s32 imm) {
    Insn insn;
    insn.code = code_byte;
    insn.dst = dst & 15;
    insn.src = src & 15;
    insn.off = static_cast<s16>(off);
    insn.imm = imm;
    code().push_back(insn);
  }
  void wide(u8 dst, u8 src, u32 low, u32 high) {
    put(0x18, dst, src, 0, static_cast<s32>(low));
    put(0, 0, 0, 0, static_cast<s32>(high));
  }
  void mov(u8 dst, u8 src) { put(0xbf, dst, src, 0, 0); }
  void set(u8 dst, s32 imm) { put(0xb7, dst, 0, 0, imm); }
  void stack_address(u8 dst, s32 at) {
    mov(dst, 10);
    put(0x07, dst, 0, 0, at);
  }
  void map(u8 dst, MapIndex index) { wide(dst, 1, index, 0); }
  s32 small() {
    constexpr s32 numbers[] = {0,
                               1,
                               -1,
                               2,
                               3,
                               7,
                               8,
                               15,
                               16,
                               31,
                               32,
                               56,
                               57,
                               63,
                               64,
                               65,
                               100,
                               127,
                               128,
                               255,
                               256,
                               0x7fffffff,
                               -0x7fffffff - 1,
                               -8,
                               -64};
    return chance(4) ? static_cast<s32>(random_()) : any(numbers);
  }
  /// A register that holds a number and may be changed.
  u8 number() {
    constexpr u8 registers[] = {0, 1, 2, 3, 4, 5, 8, 9};
    for (;;) {
      const u8 r = any(registers);
      if (r != 9 || !scope_.r9_taken) return r;
    }
  }
  u8 number_but(u8 other) {
    for (;;)
      if (const u8 r = number(); r != other) return r;
  }
  static constexpr u8 sizes[] = {0x00, 0x08, 0x10, 0x18};  // 4 2 1 8 bytes
  static u32 bytes_of(u8 size) { return size == 0 ? 4 : size == 8 ? 2 : size == 0x10 ? 1 : 8; }
  u8 load_code(u8 size) { return static_cast<u8>((size != 0x18 && chance(4) ? 0x81 : 0x61) | size); }

  /// A number out of nowhere: a constant, the context, memory, another register that survives calls.
  void refill(u8 reg) {
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
  void refill_after_call() {
    for (u8 r = 1; r <= 5; r++) refill(r);
  }

  // --- the shape of a program ---
  void choose_type() {
    constexpr ProgramType types[] = {ProgramType::sched_cls,     ProgramType::sched_cls, ProgramType::xdp,
                                     ProgramType::socket_filter, ProgramType::syscall,   ProgramType::raw_tracepoint};
    out_.type = any(types);
    classic_ = (out_.type == ProgramType::socket_filter || out_.type == ProgramType::sched_cls) && chance(3);
  }

  void fill_stack() {
    for (s16 at = -8; at >= -64; at = static_cast<s16>(at - 8)) {
      if (chance(2))
        put(0x7a, 10, 0, at, small());
      else
        put(0x7b, 10, 8, at, 0);
    }
    for (const s16 at : {spill_at, loop_at, s16{-88}, key_at, s16{-104}, buffer_at, s16{-120}}) put(0x7a, 10, 0, at, 0);
  }

  void main_function() {
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
  void function(u32 index) {
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
  void callback() {
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

  void block(u32 steps) {
    scope_.depth++;
    for (u32 i = 0; i < steps; i++) step();
    scope_.depth--;
  }

  void step() {
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

  // --- numbers ---
  void arithmetic() {
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
  void rotate(u8 dst, u8 other) {
    const u8 width = chance(2) ? 4 : 7;
    const s32 bits = width == 4 ? 32 : 64, by = 1 + static_cast<s32>(pick(static_cast<u32>(bits - 1)));
    put(static_cast<u8>(0xb8 | width), other, dst, 0, 0);
    put(static_cast<u8>(0x60 | width), dst, 0, 0, by);
    put(static_cast<u8>(0x70 | width), other, 0, 0, bits - by);
    put(static_cast<u8>(0x48 | width), dst, other, 0, 0);
  }

  /// Shapes that the optimiser has one operation for: swapped memory, counts of bits.
  void idiom(u8 dst) {
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
  void count_bits(u8 x, u8 t, u8 mask) {
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
  void many_ways() {
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
  std::size_t condition() {
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
  void land(std::size_t from) {
    const s64 distance = here() - static_cast<s64>(from) - 1;
    if (code()[from].code == 0x06)
      code()[from].imm = static_cast<s32>(distance);
    else
      code()[from].off = static_cast<s16>(distance);
  }
  std::size_t forward() {
    put(chance(4) ? 0x06 : 0x05, 0, 0, 0, 0);
    return code().size() - 1;
  }
  void branch() {
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
  void loop() {
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

  // --- memory ---
  void stack_access() {
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
  void use(u8 pointer, s32 off, u8 size) {
    if (chance(2))
      put(load_code(size), number_but(pointer), pointer, off, 0);
    else if (chance(3))
      put(static_cast<u8>(0x62 | size), pointer, 0, off, small());
    else
      put(static_cast<u8>(0x63 | size), pointer, number_but(pointer), off, 0);
  }
  /// At a constant place, or at one that a number chooses: masked, compared, or neither.
  void memory_access() {
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
  template <class T>
  T any(std::initializer_list<T> from) {
    return *(from.begin() + pick(static_cast<u32>(from.size())));
  }
  void atomic(u8 pointer, s32 off) {
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
  void spilled_pointer() {
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
  void context_load(u8 reg) {
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
  void context_store() {
    constexpr s32 of_skb[] = {8, 48, 52, 56, 60, 64}, of_filter[] = {48, 52, 56, 60, 64};
    const u8 size = any(sizes);
    if (out_.type == ProgramType::sched_cls) return put(0x63, 6, number(), any(of_skb), 0);
    if (out_.type == ProgramType::socket_filter) return put(0x63, 6, number(), any(of_filter), 0);
    if (out_.type == ProgramType::syscall)
      return use(6, static_cast<s32>(pick(context_bytes / bytes_of(size)) * bytes_of(size)), size);
    memory_access();
  }
  void context_step() {
    const bool direct = out_.type == ProgramType::xdp || out_.type == ProgramType::sched_cls;
    if (direct && !chance(3)) return packet_access();
    if (classic_ && chance(2)) return classic_load();
    if (chance(2)) return context_load(number());
    context_store();
  }
  /// data .. data_end, compared in one of the shapes that compilers make.
  void packet_access() {
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
  void classic_load() {
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

  // --- calls ---
  void call(s32 helper) { put(0x85, 0, 0, 0, helper); }

  void call_step() {
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
  MapIndex keyed_map() {
    // Linux lets programs that sleep use neither tries nor program arrays.
    if (out_.sleepable()) return any({array, hash, percpu_array, lru_hash, percpu_hash});
    return any({array, hash, percpu_array, lru_hash, percpu_hash, lpm});
  }
  /// The key on the stack: constant, or a number brought into range.
  void write_key(MapIndex of) {
    const s16 at = of == lpm ? static_cast<s16>(key_at + 4) : key_at;
    if (of == lpm) put(0x62, 10, 0, key_at, static_cast<s32>(8 * pick(5)));
    if (chance(2)) return put(0x62, 10, 0, at, static_cast<s32>(pick(keys + 1)));
    const u8 key = number();
    put(0x57, key, 0, 0, 2 * keys - 1);
    put(0x63, 10, key, at, 0);
  }
  void write_buffer() {
    put(0x7b, 10, number(), buffer_at, 0);
    put(0x7b, 10, number(), buffer_at + 8, 0);
  }
  void look_up() {
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
  void map_change() {
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
  void queue_change() {
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
  void local_call() {
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
  void call_back() {
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
  void packet_helper() {
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
  void tail_call() {
    mov(1, 6);
    map(2, prog_array);
    set(3, chance(3) ? small() : static_cast<s32>(pick(2)));
    call(12);
    refill(0);
    refill_after_call();
  }
  void checksum() {
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
  void patch_calls() {
    for (const auto& [at, callee] : calls_)
      code()[at].imm = static_cast<s32>(function_at_[callee] - static_cast<s64>(at) - 1);
    for (const std::size_t at : callback_loads_)
      code()[at].imm = static_cast<s32>(callback_at_ - static_cast<s64>(at) - 1);
  }

  void inputs() {
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
  void mutate() {
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
      if (out_.type == ProgramType::syscall && accesses && insn.dst != 10 && insn.src != 10) insn.off &= 31;
    }
  }

  std::mt19937_64 random_;
  RandomProgram out_;
  Scope scope_;
  bool classic_ = false, loops_back_ = false, callback_used_ = false;
  u32 functions_wanted_ = 0, callbacks_wanted_ = 0, level_ = 0;
  s64 function_at_[2] = {}, callback_at_ = 0;
  std::vector<std::pair<std::size_t, u32>> calls_;
  std::vector<std::size_t> callback_loads_;
};

}  // namespace

RandomProgram generate(u64 seed) { return Generator(seed).run(); }

}  // namespace skep::differential
