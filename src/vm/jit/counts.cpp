// Counting bits, recognised (see passes.hpp).
//
// eBPF cannot count the set bits of a number, so compilers spell it by adding neighbours: pairs, then fours, then
// bytes, and a multiplication that sums the bytes at the top. lanes() asks how far a value has got with that: each
// group of 2, 4 or 8 bits of it holds how many bits of the same group of some number are set. Leading zeros are spelt
// with it: smear the highest bit downwards, invert, count. Source: Warren, "Hacker's Delight" (2nd edition), sections
// 5-1 and 5-3.
#include "vm/jit/meaning.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::ir {
namespace {

class Recogniser {
 public:
  Recogniser(Function& f, Counts counts) : f_(f), counts_(counts) {}

  void run() {
    for (const auto& block : f_.blocks)
      for (const Value v : block.insns)
        if (const Value number = counted(v); number != no_value) become(v, Op::popcount, number);
    if (!counts_.leading_zeros) return;
    for (const auto& block : f_.blocks)
      for (const Value v : block.insns)
        if (f_.insns[v].op == Op::popcount)
          if (const Value number = smeared(v); number != no_value) become(v, Op::leading_zeros, number);
  }

 private:
  Value operand(Value v, u32 i) const { return f_.operands[f_.insns[v].first + i]; }
  bool is(Value v, Op op) const { return f_.insns[v].op == op && f_.insns[v].width == width_; }
  /// A group's bits of a pattern that repeats over the whole width.
  u64 repeated(u64 bits, u32 group) const {
    u64 out = 0;
    for (u32 i = 0; i < width_; i += group) out |= bits << i;
    return out;
  }
  /// `op` of something with this constant: the something.
  Value with_constant(Value v, Op op, u64 constant) const {
    if (!is(v, op) || !f_.is_constant(operand(v, 1))) return no_value;
    return low_bits(static_cast<u64>(f_.insns[operand(v, 1)].imm), width_) == constant ? operand(v, 0) : no_value;
  }
  Value masked(Value v, u64 mask) const { return with_constant(v, Op::and_, mask); }
  Value shifted(Value v, u32 count) const { return with_constant(v, Op::shr, count); }
  /// (x & mask) + (x >> group & mask), either way round: x.
  Value sum_of_halves(Value v, u32 group, u64 mask) const {
    if (!is(v, Op::add)) return no_value;
    for (u32 i = 0; i < 2; i++) {
      const Value low = masked(operand(v, i), mask), high = masked(operand(v, 1 - i), mask);
      if (low != no_value && high != no_value && shifted(high, group) == low) return low;
    }
    return no_value;
  }

  Value pairs(Value v) const {
    const u64 mask = repeated(1, 2);
    if (is(v, Op::sub)) {
      const Value halves = masked(operand(v, 1), mask);
      return halves != no_value && shifted(halves, 1) == operand(v, 0) ? operand(v, 0) : no_value;
    }
    return sum_of_halves(v, 1, mask);
  }
  Value fours(Value v) const {
    const Value x = sum_of_halves(v, 2, repeated(3, 4));
    return x != no_value ? pairs(x) : no_value;
  }
  /// No sum is above 8, so the mask may also come after the addition.
  Value bytes(Value v) const {
    const u64 mask = repeated(0xf, 8);
    Value x = sum_of_halves(v, 4, mask);
    if (const Value sum = masked(v, mask); x == no_value && sum != no_value && is(sum, Op::add))
      for (u32 i = 0; i < 2; i++)
        if (shifted(operand(sum, i), 4) == operand(sum, 1 - i)) x = operand(sum, 1 - i);
    return x != no_value ? fours(x) : no_value;
  }

  /// The number whose set bits v counts, or no_value.
  Value counted(Value v) {
    const Inst& inst = f_.insns[v];
    if (inst.op != Op::shr) return no_value;
    width_ = inst.width;
    const Value product = shifted(v, width_ - 8u);
    if (product == no_value) return no_value;
    const Value sums = with_constant(product, Op::mul, repeated(1, 8));
    return sums != no_value ? bytes(sums) : no_value;
  }

  /// Of a count of ~(x | x >> 1 | ... ): x.
  Value smeared(Value v) {
    width_ = f_.insns[v].width;
    Value x = with_constant(operand(v, 0), Op::xor_, low_bits(~u64{0}, width_));
    for (u32 step = width_ / 2u; step != 0 && x != no_value; step /= 2) {
      if (!is(x, Op::or_)) return no_value;
      const Value a = operand(x, 0), b = operand(x, 1);
      x = shifted(b, step) == a ? a : shifted(a, step) == b ? b : no_value;
    }
    return x;
  }

  void become(Value v, Op op, Value number) {
    Inst& inst = f_.insns[v];
    inst = {.op = op, .width = width_, .count = 1, .first = inst.first, .block = inst.block};
    f_.operands[inst.first] = number;
  }

  Function& f_;
  const Counts counts_;
  u8 width_ = 64;
};

}  // namespace

void recognise_counts(Function& f, Counts counts) {
  if (counts.popcount) Recogniser(f, counts).run();
}

}  // namespace skep::vm::ir
