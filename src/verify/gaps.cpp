// Differences between registers: what follows from them, and what is left where paths meet. See gaps.hpp.
#include "verify/gaps.hpp"

#include <algorithm>
#include <optional>

#include "verify/gap_bounds.hpp"

namespace skep::verify {

using isa::Compare;
using namespace gap_bounds;

namespace {

constexpr s64 farthest = s64{1} << 30;

/// A bound of `now` that is further out than that of `old` moves to one of the few that comparisons give, or is gone.
Distance widened(const Distance& old, Distance now) {
  constexpr s32 most = 1;
  if (old.low == Distance::no_low || now.low < -most)
    now.low = now.low < old.low || old.low == Distance::no_low ? Distance::no_low : now.low;
  else if (now.low < old.low)
    now.low = std::min(now.low, most);
  if (old.high == Distance::no_high || now.high > most)
    now.high = now.high > old.high || old.high == Distance::no_high ? Distance::no_high : now.high;
  else if (now.high > old.high)
    now.high = std::max(now.high, -most);
  return now;
}

}  // namespace

Distance Distance::of(s64 low, s64 high) {
  return {low < -farthest ? no_low : static_cast<s32>(std::min(low, farthest)),
          high > farthest ? no_high : static_cast<s32>(std::max(high, -farthest))};
}
Distance Distance::reversed() const { return {high == no_high ? no_low : -high, low == no_low ? no_high : -low}; }
Distance operator+(const Distance& a, const Distance& b) {
  Distance sum;
  if (a.low != Distance::no_low && b.low != Distance::no_low) sum.low = Distance::of(s64{a.low} + b.low, 0).low;
  if (a.high != Distance::no_high && b.high != Distance::no_high) sum.high = Distance::of(0, s64{a.high} + b.high).high;
  return sum;
}

bool Gaps::is_plain(u32 reg, const Frame& frame) const {
  return frame.regs[reg].is_scalar() && (table_ == nullptr || table_->shapes[reg].form != Form::lifted);
}

Gaps::Table& Gaps::own() {
  if (table_ == nullptr)
    table_ = std::make_shared<Table>();
  else if (table_.use_count() != 1)
    table_ = std::make_shared<Table>(*table_);
  return *table_;
}

/// What is known of a - b, also from what is known of each.
Distance Gaps::between(Reading view, u32 a, u32 b, const Frame& frame) const {
  Distance known = table_ == nullptr ? Distance{} : row(view, a)[b];
  if (a >= registers || !is_plain(a, frame) || (b < registers && !is_plain(b, frame)) || b == middle) return known;
  if (b >= rows && table_ == nullptr) return known;
  const Bounds other =
      b < registers ? bounds(frame.regs[b].number, view) : table_->marked[static_cast<u32>(view)][b - rows];
  if (const auto negative = reversed(other))
    known = known.meet(distance(sum(bounds(frame.regs[a].number, view), *negative)));
  return known;
}

void Gaps::set_row(Reading view, u32 reg, const Row& wanted) {
  auto& apart = own().apart[static_cast<u32>(view)];
  apart[reg] = wanted;
  apart[reg][reg] = {};
  for (u32 other = 0; other < rows; other++)
    if (other != reg) apart[other][reg] = wanted[other].reversed();
}

/// The register holds something else: what is half done with its old value is done with.
void Gaps::touch(u32 reg) {
  auto& shapes = own().shapes;
  for (Orders& orders : table_->orders) {
    orders[reg].fill(any);
    for (auto& row : orders) row[reg] = any;
  }
  shapes[reg] = {};
  for (Shape& s : shapes)
    if ((s.form == Form::gap || s.form == Form::half_gap) && s.base == reg) s = {};
}

void Gaps::forget(u32 reg) {
  if (table_ == nullptr || reg >= registers) return;
  touch(reg);
  for (const Reading view : readings) set_row(view, reg, {});
}

void Gaps::settle() {
  if (table_ == nullptr) return;
  for (u32 r = 0; r < registers; r++) {
    if (table_->shapes[r].form == Form::lifted) forget(r);
    if (table_->shapes[r].form != Form::plain) own().shapes[r] = {};
  }
}

/// The least and the most that a - b can be, and what follows for all others.
bool Gaps::meet(Reading view, u32 a, u32 b, const Distance& found) {
  if (found.is_empty()) return false;
  if (table_ != nullptr && found.includes(row(view, a)[b])) return true;
  if (table_ == nullptr && found.is_unknown()) return true;
  auto& apart = own().apart[static_cast<u32>(view)];
  const Distance now = apart[a][b].meet(found);
  if (now.is_empty()) return false;
  apart[a][b] = now;
  apart[b][a] = now.reversed();
  const auto learn_through = [&](u32 from, u32 over) {  // from - n = (from - over) + (over - n)
    for (u32 n = 0; n < nodes; n++) {
      if (n == from || n == over) continue;
      const Distance more = apart[from][n].meet(apart[from][over] + apart[over][n]);
      if (more == apart[from][n]) continue;
      if (more.is_empty()) return false;
      apart[from][n] = more;
      if (n < rows) apart[n][from] = more.reversed();
    }
    return true;
  };
  if (!learn_through(a, b) || !learn_through(b, a)) return false;
  for (u32 other = 0; other < rows; other++)
    if (other != a && other != b && (!learn_through(other, a) || !learn_through(other, b))) return false;
  return true;
}

/// Without a sign, as `<`, `==`, `>` in any combination.
bool Gaps::meet_order(Reading view, u32 a, u32 b, u8 found) {
  Orders& orders = own().orders[static_cast<u32>(view)];
  const u8 now = orders[a][b] & found;
  orders[a][b] = now;
  orders[b][a] = static_cast<u8>((now & same) | ((now & lower) != 0 ? higher : 0) | ((now & higher) != 0 ? lower : 0));
  return now != 0;
}

/// What a comparison without a sign says; Gaps::any of others.
u8 Gaps::order_of(Compare compare) {
  switch (compare) {
    case Compare::eq:
      return same;
    case Compare::ne:
      return lower | higher;
    case Compare::lt:
      return lower;
    case Compare::le:
      return lower | same;
    case Compare::gt:
      return higher;
    case Compare::ge:
      return higher | same;
    default:
      return any;
  }
}

bool Gaps::learn(const Insn& insn, isa::Op op, bool is_taken, const Frame& frame) {
  if (isa::row(op).form != isa::Form::jump_reg || insn.dst >= registers || insn.src >= registers ||
      insn.dst == insn.src || !is_plain(insn.dst, frame) || !is_plain(insn.src, frame))
    return true;
  const bool is_wide = isa::row(op).code % 8 == isa::class_jmp;
  const Scalar &a = frame.regs[insn.dst].number, &b = frame.regs[insn.src].number;
  constexpr Distance less{Distance::no_low, -1}, at_most{Distance::no_low, 0}, more{1, Distance::no_high},
      at_least{0, Distance::no_high};
  const u8 taken = order_of(isa::compare_of(op));
  if (taken != any && !meet_order(is_wide ? Reading::whole : Reading::low, insn.dst, insn.src,
                                  is_taken ? taken : static_cast<u8>(any & ~taken)))
    return false;
  for (const Reading view : readings) {
    const bool have_no_sign = is_unsigned(a, view, is_wide) && is_unsigned(b, view, is_wide);
    const bool have_sign = is_signed(a, view, is_wide) && is_signed(b, view, is_wide);
    const auto note = [&](bool is_so, const Distance& then, const Distance& otherwise) {
      return !is_so || meet(view, insn.dst, insn.src, is_taken ? then : otherwise);
    };
    bool possible = true;
    switch (isa::compare_of(op)) {
      case Compare::lt:
        possible = note(have_no_sign, less, at_least);
        break;
      case Compare::le:
        possible = note(have_no_sign, at_most, more);
        break;
      case Compare::gt:
        possible = note(have_no_sign, more, at_most);
        break;
      case Compare::ge:
        possible = note(have_no_sign, at_least, less);
        break;
      case Compare::slt:
        possible = note(have_sign, less, at_least);
        break;
      case Compare::sle:
        possible = note(have_sign, at_most, more);
        break;
      case Compare::sgt:
        possible = note(have_sign, more, at_most);
        break;
      case Compare::sge:
        possible = note(have_sign, at_least, less);
        break;
      case Compare::eq:
      case Compare::ne: {
        if (!have_no_sign && !have_sign) break;
        if (is_taken == (isa::compare_of(op) == Compare::eq)) {
          possible = meet(view, insn.dst, insn.src, {0, 0});
          break;
        }
        Distance known = between(view, insn.dst, insn.src, frame);
        if (known.low == 0) known.low = 1;
        if (known.high == 0) known.high = -1;
        possible = meet(view, insn.dst, insn.src, known);
        break;
      }
      case Compare::set:
        break;
    }
    if (!possible) return false;
  }
  return true;
}

bool Gaps::sharpen(Frame& frame) const {
  if (table_ == nullptr) return true;
  for (const Reading view : readings)
    for (u32 a = 0; a < registers; a++) {
      if (!is_plain(a, frame)) continue;
      Scalar& number = frame.regs[a].number;
      Bounds found = bounds(number, view);
      const Bounds before = found;
      for (u32 b = 0; b < registers; b++) {
        const Distance& d = row(view, a)[b];
        if (a == b || d.is_unknown() || !is_plain(b, frame)) continue;
        const Bounds other = bounds(frame.regs[b].number, view);
        s64 end = 0;
        if (d.low != Distance::no_low && !__builtin_add_overflow(other.low, s64{d.low}, &end))
          found.low = std::max(found.low, end);
        if (d.high != Distance::no_high && !__builtin_add_overflow(other.high, s64{d.high}, &end))
          found.high = std::min(found.high, end);
      }
      if (found.low == before.low && found.high == before.high) continue;
      if (found.low > found.high || !meet_number(number, view, found)) return false;
    }
  return true;
}

bool Gaps::cover(const Frame& frame, const Gaps& now, const Frame& now_frame) const {
  if (table_ == nullptr) return true;
  for (u32 level = 0; level < levels; level++)
    if (table_->heads[level] != 0 && (now.table_ == nullptr || now.table_->heads[level] != table_->heads[level]))
      return false;
  for (const Reading view : readings) {
    // Also where no register is left that is compared with a mark: those that are written next are.
    for (u32 n = rows; n < nodes; n++) {
      if (table_->heads[(n - rows) / registers] == 0) continue;
      const Bounds &here = table_->marked[static_cast<u32>(view)][n - rows],
                   &there = now.table_->marked[static_cast<u32>(view)][n - rows];
      if (there.low < here.low || there.high > here.high) return false;
    }
    for (u32 a = 0; a < registers; a++) {
      if (!is_plain(a, frame)) continue;
      for (u32 n = 0; n < registers; n++)
        if (is_plain(n, frame) && (now.order(view, a, n) & ~order(view, a, n)) != 0) return false;
      for (u32 n = 0; n < nodes; n++) {
        const Distance& d = row(view, a)[n];
        if (n == a || n == middle || d.is_unknown() || (n < registers && !is_plain(n, frame))) continue;
        if (!d.includes(now.between(view, a, n, now_frame))) return false;
      }
    }
  }
  return true;
}

Gaps Gaps::join(const Gaps& a, const Frame& a_frame, const Gaps& b, const Frame& b_frame, bool widens) {
  Gaps both;
  if (a.table_ == nullptr && b.table_ == nullptr) return both;
  Table& table = both.own();
  for (u32 level = 0; level < levels && a.table_ != nullptr && b.table_ != nullptr; level++)
    if (a.table_->heads[level] == b.table_->heads[level]) {
      table.heads[level] = a.table_->heads[level];
      for (std::size_t v = 0; v < readings.size(); v++)
        for (u32 n = level * registers; n < (level + 1) * registers; n++) {
          const Bounds &x = a.table_->marked[v][n], &y = b.table_->marked[v][n];
          table.marked[v][n] = {std::min(x.low, y.low), std::max(x.high, y.high)};
        }
    }
  const auto has_mark = [&table](u32 n) { return n < rows || table.heads[(n - rows) / registers] != 0; };
  const auto said_by = [](const Gaps& g, Reading view, u32 x, u32 n) {
    return g.table_ == nullptr ? Distance{} : g.row(view, x)[n];
  };
  for (const Reading view : readings)
    for (u32 x = 0; x < registers; x++) {
      if (!a.is_plain(x, a_frame) || !b.is_plain(x, b_frame)) continue;
      for (u32 n = 0; n < registers; n++)
        table.orders[static_cast<u32>(view)][x][n] = a.order(view, x, n) | b.order(view, x, n);
      for (u32 n = 0; n < nodes; n++) {
        if (n == x || n == middle || !has_mark(n)) continue;
        if (n < registers && (!a.is_plain(n, a_frame) || !b.is_plain(n, b_frame))) continue;
        const Distance old = said_by(a, view, x, n);
        if (old.is_unknown() && (widens || said_by(b, view, x, n).is_unknown())) continue;
        Distance d = a.between(view, x, n, a_frame).join(b.between(view, x, n, b_frame));
        if (widens) d = widened(old, d);
        table.apart[static_cast<u32>(view)][x][n] = d;
        if (n < registers) table.apart[static_cast<u32>(view)][n][x] = d.reversed();
      }
    }
  return both;
}

bool Gaps::moved(u32 level, u32 head, const Frame& frame, Movement& movement) const {
  if (table_ == nullptr || table_->heads[level] != head + 1) return false;
  for (const Reading view : readings)
    for (u32 r = 0; r < registers; r++)
      movement[static_cast<u32>(view)][r] =
          is_plain(r, frame) ? between(view, r, mark_of(level, r), frame) : Distance{};
  return true;
}

void Gaps::keep_marks(std::span<const u32> heads) {
  for (u32 level = 0; level < levels && table_ != nullptr; level++) {
    if (table_->heads[level] == (level < heads.size() ? heads[level] + 1 : 0)) continue;
    Table& table = own();
    table.heads[level] = 0;
    for (auto& apart : table.apart)
      for (Row& row : apart) std::fill_n(row.begin() + mark_of(level, 0), registers, Distance{});
  }
}

void Gaps::mark(u32 level, u32 head, const Frame& frame) {
  Table& table = own();
  table.heads[level] = head + 1;
  for (u32 deeper = level + 1; deeper < levels; deeper++) table.heads[deeper] = 0;
  for (auto& apart : table.apart)
    for (u32 x = 0; x < rows; x++) {
      for (u32 n = mark_of(level, 0); n < nodes; n++) apart[x][n] = {};
      for (u32 r = 0; r < registers; r++)
        if (is_plain(r, frame)) apart[x][mark_of(level, r)] = r == x ? Distance{0, 0} : apart[x][r];
    }
  for (const Reading view : readings)
    for (u32 r = 0; r < registers; r++)
      table.marked[static_cast<u32>(view)][level * registers + r] =
          is_plain(r, frame) ? bounds(frame.regs[r].number, view) : Bounds{};
}

}  // namespace skep::verify
