// What becomes of differences when an instruction is executed. See gaps.hpp.
//
// Of a ring's operations (add, sub, shift to the left) both views are exact where the result, computed with integers,
// fits the view; a 32-bit instruction clears the upper half, so that the whole is exact where the result is one of 32
// bits without a sign. The others (shift to the right, quotients, masks) ask that the operand, as the instruction sees
// it, is the view's number and has no sign.
#include "verify/gaps.hpp"

#include <algorithm>
#include <optional>

#include "isa/semantics.hpp"
#include "verify/gap_bounds.hpp"

namespace skep::verify {

using isa::Alu;
using namespace gap_bounds;

/// An arithmetic instruction, for those who follow it.
struct Gaps::Operation {
  const Insn& insn;
  Alu what;
  bool is_wide, is_immediate;
  const Scalar &dst, &src;  ///< before
  bool is_movsx = false;

  u32 to() const { return insn.dst; }
  u32 from() const { return insn.src; }
};

bool Gaps::follow(const Insn& insn, isa::Op op, const Register& old, const Register& given, Frame& after) {
  using F = isa::Form;
  const F form = isa::row(op).form;
  switch (form) {
    case F::store_imm:
    case F::store_reg:
    case F::atomic:
    case F::store_release:
    case F::jump:
    case F::jump_long:
    case F::jump_imm:
    case F::jump_reg:
    case F::may_goto:
      return true;
    case F::atomic_fetch:
      forget(insn.src);
      return true;
    case F::cmpxchg:
      forget(0);
      return true;
    case F::alu_unary:
    case F::addr_space_cast:
    case F::endian:
    case F::ld_imm64:
    case F::load:
    case F::load_acquire:
      forget(insn.dst);
      return true;
    case F::call_helper:
    case F::call_kfunc:
    case F::ld_abs:
    case F::ld_ind:
      for (u32 r = 0; r <= 5; r++) forget(r);
      return true;
    case F::call_local:
    case F::callx:
    case F::exit:
      forget_all();
      return true;
    case F::alu_imm:
    case F::alu_reg:
    case F::movsx:
      break;
  }
  if (insn.dst >= registers) return true;
  const bool is_immediate = form == F::alu_imm, is_movsx = form == F::movsx;
  const Alu what = is_movsx ? Alu::mov : isa::alu_of(op);
  const bool takes_old = what != Alu::mov;
  if (!after.regs[insn.dst].is_scalar() || (takes_old && !old.is_scalar()) || (!is_immediate && !given.is_scalar())) {
    forget(insn.dst);
    return true;
  }
  const bool is_wide = isa::row(op).code % 8 == isa::class_alu64;
  const Scalar number = is_immediate ? Scalar::of(static_cast<u64>(s64{insn.imm})) : given.number;
  const Operation o{insn, what, is_wide, is_immediate, old.number, number, is_movsx};
  const bool is_lifted = table_ != nullptr && ((takes_old && table_->shapes[insn.dst].form == Form::lifted) ||
                                               (!is_immediate && table_->shapes[insn.src].form == Form::lifted));
  const bool comes_down = is_immediate && (what == Alu::rsh || what == Alu::arsh) && is_wide && insn.imm >= 32;
  const bool is_copied = what == Alu::mov && is_wide && !is_movsx;
  if (is_lifted && !comes_down && !is_copied) {
    forget(insn.dst);
    return true;
  }
  switch (what) {
    case Alu::mov:
      follow_move(o);
      return true;
    case Alu::add:
    case Alu::sub:
      return follow_sum(o, after);
    case Alu::lsh:
      follow_shift(o, true);
      return true;
    case Alu::rsh:
    case Alu::arsh:
      follow_shift(o, false);
      return true;
    case Alu::div:
    case Alu::mod:
    case Alu::and_:
    case Alu::or_:
      follow_monotone(o);
      return true;
    default:
      forget(insn.dst);
      return true;
  }
}

void Gaps::follow_move(const Operation& o) {
  const u32 x = o.to(), y = o.from();
  if (o.is_immediate || y >= registers) return forget(x);
  if (x == y && o.is_wide && !o.is_movsx) return;
  std::array<Row, readings.size()> now{};
  const s64 most = o.is_movsx ? (s64{1} << (o.insn.off - 1)) - 1 : 0;
  for (const Reading view : readings) {
    const Bounds number = bounds(o.src, view);
    const bool is_same = o.is_movsx ? (o.insn.off == 32 && view == Reading::low) || number.are_within(-most - 1, most)
                                    : o.is_wide || view == Reading::low || number.are_within(0, u32_max);
    const bool stays_wide = o.is_wide || view == Reading::low || number.low >= 0;
    if (!is_same || !stays_wide) continue;
    Row& row = now[static_cast<u32>(view)];
    if (table_ != nullptr) row = this->row(view, y);
    if (x != y) row[y] = {0, 0};
  }
  std::array<std::array<u8, registers>, readings.size()> order{};
  for (const Reading view : readings)
    for (u32 n = 0; n < registers; n++) order[static_cast<u32>(view)][n] = this->order(view, y, n);
  const Shape was = table_ == nullptr ? Shape{} : table_->shapes[y];
  touch(x);
  for (const Reading view : readings) {
    set_row(view, x, now[static_cast<u32>(view)]);
    const bool is_same = view == Reading::low ? !o.is_movsx : o.is_wide && !o.is_movsx;
    for (u32 n = 0; n < registers && is_same; n++)
      if (n != x && n != y) meet_order(view, x, n, order[static_cast<u32>(view)][n]);
  }
  if (was.form == Form::lifted) table_->shapes[x] = was;
}

/// The mean of registers a and b, where a - b is `apart`.
void Gaps::make_middle(Reading view, u32 a, u32 b, const Distance& apart) {
  const auto halves = [&apart](s64 up) {
    return Distance{apart.low == Distance::no_low ? apart.low : static_cast<s32>((apart.low + up) >> 1),
                    apart.high == Distance::no_high ? apart.high : static_cast<s32>((apart.high + up) >> 1)};
  };
  const Distance above_b = halves(0), below_a = halves(1);
  Row now{};
  for (u32 n = 0; n < nodes; n++) {
    if (n == middle) continue;
    const Distance from_b = n == b ? Distance{0, 0} : row(view, b)[n];
    const Distance from_a = n == a ? Distance{0, 0} : row(view, a)[n];
    now[n] = (from_b + above_b).meet(from_a + below_a.reversed());
  }
  set_row(view, middle, now);
  for (Shape& s : own().shapes)
    if (s.form == Form::lifted)
      s.was_sum = s.was_sum && view != Reading::low;
    else
      s.views &= static_cast<u8>(~bit_of(view));
}

/// x + y, x - y.
bool Gaps::follow_sum(const Operation& o, Frame& after) {
  const u32 x = o.to(), y = o.from();
  const bool is_sub = o.what == Alu::sub;
  if (!o.is_immediate && (y >= registers || x == y)) {
    forget(x);
    return true;
  }
  const Shape was = own().shapes[x];
  Shape becomes;
  std::array<Row, readings.size()> now{};
  for (const Reading view : readings) {
    Row& to = now[static_cast<u32>(view)];
    const bool is_back = !is_sub && !o.is_immediate && was.form == Form::half_gap && was.base == y;
    const Bounds a = bounds(o.dst, view), b = bounds(o.src, view);
    if (is_back && (was.views & bit_of(view)) != 0) {
      const auto mean = sum(a, b);  // it lies between two numbers of the view, but the upper half may be cleared
      if (view == Reading::low || o.is_wide || (mean && fits(*mean, view, false))) to = row(view, middle);
      continue;
    }
    const auto difference = [&]() -> std::optional<Bounds> {
      const auto negative = reversed(b);
      return negative ? sum(a, *negative) : std::nullopt;
    }();
    const Distance apart = o.is_immediate ? Distance{} : row(view, x)[y].meet(distance(difference));
    if (apart.is_empty()) return false;
    auto result = is_sub ? difference : sum(a, b);
    if (is_sub && apart.low != Distance::no_low && apart.high != Distance::no_high)
      result = Bounds{apart.low, apart.high};
    if (!result || !fits(*result, view, o.is_wide)) continue;
    if (!meet_number(after.regs[x].number, view, *result)) return false;
    const Distance step = distance(is_sub ? reversed(b) : std::optional(b));
    for (u32 n = 0; n < nodes; n++) {
      if (n == x || n == middle) continue;
      to[n] = row(view, x)[n] + step;
      if (!is_sub && !o.is_immediate) to[n] = to[n].meet((n == y ? Distance{0, 0} : row(view, y)[n]) + distance(a));
    }
    if (o.is_immediate) continue;
    make_middle(view, x, y, apart);
    becomes = {is_sub ? Form::gap : Form::sum, static_cast<u8>(y), static_cast<u8>(becomes.views | bit_of(view))};
  }
  touch(x);
  for (const Reading view : readings) set_row(view, x, now[static_cast<u32>(view)]);
  table_->shapes[x] = becomes;
  return true;
}

/// By a number that is known. Others lose the register.
void Gaps::follow_shift(const Operation& o, bool is_left) {
  const u32 x = o.to(), by = static_cast<u32>(o.insn.imm);
  if (!o.is_immediate || table_ == nullptr) return forget(x);
  const Shape was = table_->shapes[x];
  if (was.form == Form::lifted) return put_down(o);
  if (is_left && o.is_wide && by == 32) return lift(o);
  if (by >= 32) return forget(x);
  Shape becomes;
  std::array<Row, readings.size()> now{};
  for (const Reading view : readings) {
    Row& to = now[static_cast<u32>(view)];
    const Bounds number = bounds(o.dst, view);
    Bounds result;
    if (is_left) {
      if (__builtin_mul_overflow(number.low, s64{1} << by, &result.low) ||
          __builtin_mul_overflow(number.high, s64{1} << by, &result.high) || !fits(result, view, o.is_wide))
        continue;
    } else {
      const bool is_it = o.what == Alu::arsh ? is_signed(o.dst, view, o.is_wide) : is_unsigned(o.dst, view, o.is_wide);
      if (!is_it || (view == Reading::whole && !o.is_wide && number.low < 0)) continue;
      result = {number.low >> by, number.high >> by};
      if (by == 1 && was.form == Form::sum && (was.views & bit_of(view)) != 0) {
        to = row(view, middle);
        continue;
      }
      if (by == 1 && was.form == Form::gap && (was.views & bit_of(view)) != 0)
        becomes = {Form::half_gap, was.base, static_cast<u8>(becomes.views | bit_of(view))};
    }
    // What is added grows with the number, and what is taken away does.
    const Distance step = is_left ? Distance::of(result.low - number.low, result.high - number.high)
                                  : Distance::of(result.high - number.high, result.low - number.low);
    for (u32 n = 0; n < nodes; n++)
      if (n != x && n != middle) to[n] = row(view, x)[n] + step;
  }
  touch(x);
  for (const Reading view : readings) set_row(view, x, now[static_cast<u32>(view)]);
  table_->shapes[x] = becomes;
}

/// `x <<= 32`: what is known of the low half is kept for when it is put down again.
void Gaps::lift(const Operation& o) {
  const u32 x = o.to();
  const Shape was = table_->shapes[x];
  touch(x);
  const Bounds whole = bounds(o.dst, Reading::whole);
  Shape& now = table_->shapes[x];
  now.form = Form::lifted;
  now.had_no_sign = o.dst.narrow.smin >= 0;
  now.was_its_low_half = whole.are_within(0, u32_max);
  now.was_its_signed_half = whole.are_within(s32_min, s32_max);
  now.was_sum = was.form == Form::sum && (was.views & bit_of(Reading::low)) != 0;
}

/// `x >>= 32`, or 33 where the mean of two was meant.
void Gaps::put_down(const Operation& o) {
  const u32 x = o.to();
  const Shape was = own().shapes[x];
  const bool keeps_sign = o.what == Alu::arsh;
  if (o.insn.imm == 32) {
    touch(x);
    if (keeps_sign ? !was.was_its_signed_half : !was.was_its_low_half) set_row(Reading::whole, x, {});
    if (was.was_sum) table_->shapes[x] = {Form::sum, 0, bit_of(Reading::low), false, false, false, false};
    return;
  }
  if (o.insn.imm != 33 || !was.was_sum || (!keeps_sign && !was.had_no_sign)) return forget(x);
  const Row mean = row(Reading::low, middle);
  touch(x);
  set_row(Reading::low, x, mean);
  set_row(Reading::whole, x, {});
}

/// What makes a number without a sign less, or not less: quotients, remainders, bits that are cleared or set.
void Gaps::follow_monotone(const Operation& o) {
  const u32 x = o.to(), y = o.from();
  if (o.what == Alu::div && o.is_immediate && o.insn.imm == 2) {
    Insn halve = o.insn;
    halve.imm = 1;
    return follow_shift({halve, Alu::rsh, o.is_wide, true, o.dst, o.src}, false);
  }
  if (table_ == nullptr || (!o.is_immediate && (y >= registers || x == y))) return forget(x);
  const Shape was = table_->shapes[x];
  std::array<Row, readings.size()> now{};
  for (const Reading view : readings) {
    const Bounds a = bounds(o.dst, view), b = bounds(o.src, view);
    const bool other_has_no_sign = is_unsigned(o.src, view, o.is_wide);
    if (!is_unsigned(o.dst, view, o.is_wide)) continue;
    Row& to = now[static_cast<u32>(view)];
    Distance step{Distance::no_low, 0};
    if (o.what == Alu::or_) {
      if (!other_has_no_sign) continue;
      const bool is_sum = ((o.dst.bits.value | o.dst.bits.mask) & (o.src.bits.value | o.src.bits.mask)) == 0;
      step = Distance::of(is_sum ? b.low : 0, b.high);
    } else if (o.what == Alu::div && o.is_immediate && o.insn.imm > 0) {
      step = Distance::of(a.high / o.insn.imm - a.high, a.low / o.insn.imm - a.low);
    }
    for (u32 n = 0; n < nodes; n++)
      if (n != x && n != middle) to[n] = row(view, x)[n] + step;
    if (o.is_immediate || !other_has_no_sign || (o.what != Alu::and_ && o.what != Alu::mod)) continue;
    const bool is_less = o.what == Alu::mod;
    if (is_less && b.low <= 0) continue;  // a divisor of 0 leaves what is divided
    const Distance below{Distance::no_low, is_less ? -1 : 0};
    for (u32 n = 0; n < nodes; n++)
      if (n != x && n != middle) to[n] = to[n].meet((n == y ? Distance{0, 0} : row(view, y)[n]) + below);
  }
  touch(x);
  for (const Reading view : readings) set_row(view, x, now[static_cast<u32>(view)]);
  // A bit that is shifted out next is cleared before, by compilers without 32-bit arithmetic.
  if (o.what != Alu::and_ || !o.src.is_const() || (was.form != Form::sum && was.form != Form::gap)) return;
  const u64 cleared = (o.dst.bits.value | o.dst.bits.mask) & ~(o.is_wide ? o.src.value() : o.src.value() & UINT32_MAX);
  Shape still = was;
  if ((cleared & ~u64{1}) != 0) still.views &= static_cast<u8>(~bit_of(Reading::whole));
  if ((cleared & 0xfffffffe) != 0) still.views &= static_cast<u8>(~bit_of(Reading::low));
  table_->shapes[x] = still;
}

}  // namespace skep::verify
