// What becomes of linear relations when an instruction is executed and when paths meet. See linear.hpp.
#include "verify/linear.hpp"

#include <algorithm>
#include <optional>

#include "verify/domain/scalar_ops.hpp"

namespace skep::verify {

using isa::Alu;
using isa::Form;

namespace {
constexpr u32 constant_symbol = ~0u;  ///< of a number that is known: factor 0

/// Kinds of which `off` and `number` tell how far they are from their base.
bool has_distance(const Register& r) {
  return !r.or_null && (r.is_scalar() || r.kind == Kind::stack || r.kind == Kind::map_value || r.kind == Kind::packet ||
                        r.kind == Kind::memory);
}

u64 distance_off(const Register& r) { return r.is_scalar() ? 0 : static_cast<u64>(s64{r.off}); }

std::optional<u64> known(const Register& r) {
  if (!has_distance(r) || !r.number.is_const()) return std::nullopt;
  return r.number.value() + distance_off(r);
}

Scalar plus(const Scalar& s, u64 constant) { return alu(Alu::add, s, Scalar::of(constant), true); }
Scalar times(const Scalar& s, u64 factor) {
  if (factor == 1) return s;
  if (factor == ~u64{0}) return alu(Alu::sub, Scalar::of(0), s, true);
  return alu(Alu::mul, s, Scalar::of(factor), true);
}

bool meet(Scalar& s, const Scalar& other) {
  s.wide.meet(other.wide);
  s.narrow.meet(other.narrow);
  return s.bits.intersect(other.bits) && s.normalise();
}

bool is_unit(u64 factor) { return factor == 1 || factor == ~u64{0}; }
}  // namespace

/// How `of` depends on `to`: as a line, or as one point of a line.
struct Linears::Relation {
  enum class What : u8 { none, line, point } what = What::none;
  u64 factor = 0, constant = 0;  ///< line: of = factor * to + constant
  u64 x = 0, y = 0;              ///< point: to = x, of = y
};

void Linears::settle(const Frame& frame) {
  if (is_empty()) return;
  for (u32 r = 0; r < count; r++)
    if (!speaks_of(r, frame)) regs_[r] = {};
  says_something_ = false;
  for (u32 r = 0; r < count; r++) {
    const u32 symbol = regs_[r].symbol;
    if (symbol == 0) continue;
    const auto is_same = [symbol](const Linear& l) { return l.symbol == symbol; };
    if (std::ranges::any_of(regs_, [&](const Linear& l) { return is_same(l) && is_unit(l.factor); }))
      says_something_ = true;
    else
      std::ranges::replace_if(regs_, is_same, Linear{});
  }
}

Linear Linears::at(u32 reg, const Register& value) const {
  if (const auto number = known(value)) return {constant_symbol, value.kind, 0, *number};
  return reg < count && has_distance(value) && regs_[reg].kind == value.kind ? regs_[reg] : Linear{};
}

Linears::Relation Linears::relation(u32 of, u32 to, const Frame& frame) const {
  const Linear y = at(of, frame.regs[of]), x = at(to, frame.regs[to]);
  if (x.symbol == 0 || y.symbol == 0) return {};
  if (x.symbol == constant_symbol)
    return y.symbol == constant_symbol ? Relation{Relation::What::point, 0, 0, x.constant, y.constant} : Relation{};
  if (!is_unit(x.factor) || y.symbol != x.symbol) return {};
  const u64 factor = y.factor * x.factor;  // a unit is its own inverse
  return {Relation::What::line, factor, y.constant - factor * x.constant};
}

void Linears::follow(const Insn& insn, isa::Op op, const Register& old, const Register& given, const Frame& after) {
  const Form form = isa::row(op).form;
  auto set = [&](const Linear& l) {
    if (insn.dst >= count) return;
    regs_[insn.dst] = l.symbol == constant_symbol ? Linear{} : l;
    regs_[insn.dst].kind = after.regs[insn.dst].kind;
  };
  switch (form) {
    case Form::alu_imm:
    case Form::alu_reg:
      break;
    case Form::store_imm:
    case Form::store_reg:
    case Form::atomic:
    case Form::store_release:
    case Form::jump:
    case Form::jump_long:
    case Form::jump_imm:
    case Form::jump_reg:
    case Form::may_goto:
      return;
    case Form::atomic_fetch:
      regs_[insn.src % count] = {};
      return;
    case Form::cmpxchg:
      regs_[0] = {};
      return;
    case Form::alu_unary:
    case Form::movsx:
    case Form::addr_space_cast:
    case Form::endian:
    case Form::ld_imm64:
    case Form::load:
    case Form::load_acquire:
      return set({});
    case Form::call_helper:
    case Form::call_kfunc:
    case Form::ld_abs:
    case Form::ld_ind:
      for (u32 r = 0; r <= 5; r++) regs_[r] = {};
      return;
    case Form::call_local:
    case Form::callx:
    case Form::exit:
      return forget_all();
  }
  const Linear dst = at(insn.dst, old);
  const Linear src = form == Form::alu_reg ? at(insn.src, given)
                                           : Linear{constant_symbol, Kind::scalar, 0, static_cast<u64>(s64{insn.imm})};
  const bool wide = isa::row(op).code % 8 == isa::class_alu64;
  const Alu what = isa::alu_of(op);
  // The low halves agree; the whole does where the result, computed in 64 bits, needs no more than 32.
  auto fits = [&](const Scalar& number) { return wide || number.wide.umax <= Scalar::low_mask; };
  auto sum = [&](u64 sign) -> Linear {
    if (dst.symbol == 0 || src.symbol == 0) return {};
    const bool same = dst.symbol == src.symbol || src.symbol == constant_symbol || dst.symbol == constant_symbol;
    if (!same) return {};
    return {dst.symbol == constant_symbol ? src.symbol : dst.symbol, Kind::scalar, dst.factor + sign * src.factor,
            dst.constant + sign * src.constant};
  };
  Linear result;
  switch (what) {
    case Alu::mov:
      if (form == Form::alu_reg && (wide || (given.is_scalar() && fits(given.number)))) result = src;
      break;
    case Alu::add:
    case Alu::sub: {
      const bool is_sub = what == Alu::sub;
      if (is_sub && form == Form::alu_reg && given.is_pointer()) break;
      if (!wide && (form == Form::alu_reg || !old.is_scalar() || !fits(old.number) ||
                    !fits(alu(what, old.number, Scalar::of(static_cast<u64>(s64{insn.imm})), true))))
        break;
      result = sum(is_sub ? ~u64{0} : 1);
      break;
    }
    case Alu::lsh:
    case Alu::mul: {
      if (form == Form::alu_reg || !wide || !old.is_scalar() || dst.symbol == 0) break;
      const u64 factor = what == Alu::lsh ? u64{1} << (insn.imm & 63) : static_cast<u64>(s64{insn.imm});
      result = {dst.symbol, Kind::scalar, dst.factor * factor, dst.constant * factor};
      break;
    }
    default:
      break;
  }
  if (result.factor == 0 || !has_distance(after.regs[insn.dst])) result = {};
  set(result);
}

bool Linears::speaks_of(u32 reg, const Frame& frame) const {
  return regs_[reg].symbol != 0 && regs_[reg].kind == frame.regs[reg].kind && has_distance(frame.regs[reg]);
}

bool Linears::sharpen(Frame& frame) const {
  if (is_empty()) return true;
  std::array<bool, count> done{};
  for (u32 first = 0; first < count; first++) {
    if (done[first] || regs_[first].symbol == 0) continue;
    Scalar symbol = Scalar::unknown();
    bool taught = false;
    for (u32 r = first; r < count; r++) {
      const Linear& l = regs_[r];
      if (l.symbol != regs_[first].symbol || !is_unit(l.factor) || !speaks_of(r, frame)) continue;
      const Register& value = frame.regs[r];
      const Scalar number = times(plus(value.number, distance_off(value) - l.constant), l.factor);
      if (!meet(symbol, number)) return false;
      taught = true;
    }
    for (u32 r = first; r < count; r++) {
      const Linear& l = regs_[r];
      if (l.symbol != regs_[first].symbol) continue;
      done[r] = true;
      if (!taught || !speaks_of(r, frame)) continue;
      Register& value = frame.regs[r];
      if (!meet(value.number, plus(times(symbol, l.factor), l.constant - distance_off(value)))) return false;
    }
  }
  return true;
}

bool Linears::cover(const Frame& frame, const Linears& now, const Frame& now_frame) const {
  if (is_empty()) return true;
  for (u32 to = 0; to < count; to++)
    for (u32 of = 0; of < count; of++) {
      const Linear &y = regs_[of], &x = regs_[to];
      if (of == to || y.symbol != x.symbol || !is_unit(x.factor)) continue;
      if (!speaks_of(of, frame) || !speaks_of(to, frame)) continue;
      const u64 factor = y.factor * x.factor, constant = y.constant - factor * x.constant;
      const Relation theirs = now.relation(of, to, now_frame);
      const bool holds = theirs.what == Relation::What::line
                             ? factor == theirs.factor && constant == theirs.constant
                             : theirs.what == Relation::What::point && theirs.y == factor * theirs.x + constant;
      if (!holds) return false;
    }
  return true;
}

Linears Linears::join(const Linears& a, const Frame& a_frame, const Linears& b, const Frame& b_frame) {
  auto common = [&](u32 of, u32 to) -> Relation {
    Relation x = a.relation(of, to, a_frame), y = b.relation(of, to, b_frame);
    using What = Relation::What;
    if (x.what == What::none || y.what == What::none) return {};
    if (x.what == What::point && y.what == What::line) std::swap(x, y);
    if (x.what == What::line) {
      const bool holds =
          y.what == What::line ? x.factor == y.factor && x.constant == y.constant : y.y == x.factor * y.x + x.constant;
      return holds ? x : Relation{};
    }
    const s64 run = static_cast<s64>(y.x - x.x), rise = static_cast<s64>(y.y - x.y);
    if (run == 0 || run == -1 || rise == 0 || rise % run != 0) {
      if (run != -1 || rise == 0) return {};
      return {What::line, x.y - y.y, x.y - (x.y - y.y) * x.x};
    }
    const u64 factor = static_cast<u64>(rise / run);
    return {What::line, factor, x.y - factor * x.x};
  };
  Linears both;
  u32 symbols = 0;
  for (u32 to = 0; to < count; to++) {
    if (both.regs_[to].symbol != 0) continue;
    for (u32 of = 0; of < count; of++) {
      if (of == to || both.regs_[of].symbol != 0) continue;
      const Relation line = common(of, to);
      if (line.what != Relation::What::line || line.factor == 0) continue;
      if (both.regs_[to].symbol == 0) both.regs_[to] = {++symbols, a_frame.regs[to].kind, 1, 0};
      both.says_something_ = true;
      both.regs_[of] = {both.regs_[to].symbol, a_frame.regs[of].kind, line.factor, line.constant};
    }
  }
  return both;
}

}  // namespace skep::verify
