// How far numbers are apart: `the middle is at least one less than hi`, `since the loop's head, r6 grew by 1 to 4`.
//
// Joined states know each register's bounds, not that one is less than another; but a binary search stays in its array
// only because lo < hi, and ends only because one of the two moves. So beside a joined state it is kept, for every two
// registers of the running function, between what bounds their difference lies, and the same of each register and what
// every register held when the heads of the loops around were passed the last time (marks). The difference is one of
// integers: of the registers' 64 bits as numbers with a sign, and, apart from that, of their low 32 bits with a sign;
// compilers compare both ways. Where an instruction may wrap round, nothing is known any more.
//
// The mean of two registers is kept under a name of its own, from `lo + hi` or `hi - lo` until it is halved.
// Idea: Miné, "The octagon abstract domain" (2006), of which this is the half: difference bound matrices.
#pragma once
#include <array>
#include <memory>
#include <span>

#include "isa/semantics.hpp"
#include "verify/state.hpp"

namespace skep::verify {

/// A difference, no less than `low` and no more than `high`; the outermost numbers stand for no bound.
struct Distance {
  static constexpr s32 no_low = INT32_MIN, no_high = INT32_MAX;
  s32 low = no_low, high = no_high;

  bool is_unknown() const { return low == no_low && high == no_high; }
  bool is_empty() const { return low > high; }
  Distance reversed() const;
  Distance meet(const Distance& o) const { return {std::max(low, o.low), std::min(high, o.high)}; }
  /// What is left of it when there may be any number between.
  Distance join(const Distance& o) const { return {std::min(low, o.low), std::max(high, o.high)}; }
  bool includes(const Distance& o) const { return low <= o.low && high >= o.high; }
  static Distance of(s64 low, s64 high);
  friend Distance operator+(const Distance& a, const Distance& b);
  friend bool operator==(const Distance&, const Distance&) = default;
};

enum class Reading : u8 { whole, low };  ///< all 64 bits; the low 32
inline constexpr std::array readings = {Reading::whole, Reading::low};

struct Bounds {
  s64 low = INT64_MIN, high = INT64_MAX;
  bool are_within(s64 least, s64 most) const { return low >= least && high <= most; }
};

/// By view and register: how far it has moved.
using Movement = std::array<std::array<Distance, isa::frame_pointer>, readings.size()>;

class Gaps {
 public:
  static constexpr u32 levels = 3;  ///< loops around each other whose heads are remembered

  void forget_all() { table_.reset(); }
  /// `insn` was executed; its operands before, and the frame after it. False: no number is possible.
  bool follow(const Insn& insn, isa::Op op, const Register& dst, const Register& src, Frame& after);
  /// The jump was taken, or not. False: it cannot be.
  bool learn(const Insn& insn, isa::Op op, bool is_taken, const Frame& frame);
  /// Where paths meet: nothing is kept that is half done.
  void settle();
  /// Every register learns what others know. False: no number is possible.
  bool sharpen(Frame& frame) const;
  bool cover(const Frame& frame, const Gaps& now, const Frame& now_frame) const;
  /// What holds of both; the frames before they were joined. `widens`: bounds that are further out than in `a` are
  /// given up soon.
  static Gaps join(const Gaps& a, const Frame& a_frame, const Gaps& b, const Frame& b_frame, bool widens);

  /// Whether two registers hold the same 64 bits.
  bool are_equal(u32 a, u32 b) const { return table_ != nullptr && row(Reading::whole, a)[b] == Distance{0, 0}; }
  /// How far registers have moved since the head of the loop at this level was passed; false: that is not known.
  bool moved(u32 level, u32 head, const Frame& frame, Movement& movement) const;
  /// Forgets the heads of other loops than these, the outermost first.
  void keep_marks(std::span<const u32> heads);
  /// The head is passed.
  void mark(u32 level, u32 head, const Frame& frame);

 private:
  static constexpr u32 registers = isa::frame_pointer, middle = registers, rows = registers + 1,
                       nodes = rows + levels * registers;
  static constexpr u8 bit_of(Reading view) { return static_cast<u8>(1u << static_cast<u32>(view)); }
  static constexpr u32 mark_of(u32 level, u32 reg) { return rows + level * registers + reg; }
  using Row = std::array<Distance, nodes>;  ///< what the number is more than each
  /// What a register holds until it is what is kept of it.
  enum class Form : u8 {
    plain,
    lifted,    ///< the low half of the number that is kept, times 2^32
    sum,       ///< of two numbers of which `middle` is the mean
    gap,       ///< between two, the lower one in register `base`
    half_gap,  ///< the same, halved
  };
  struct Shape {
    Form form = Form::plain;
    u8 base = 0;
    u8 views = 0;  ///< in which that is so
    // What a lifted number was.
    bool had_no_sign = false;  ///< its low half
    bool was_its_low_half = false, was_its_signed_half = false;
    bool was_sum = false;  ///< its low half
  };
  /// Orders of two numbers without a sign, as bits: what `between` cannot say where they may be large.
  enum Order : u8 { lower = 1, same = 2, higher = 4, any = 7 };
  using Orders = std::array<std::array<u8, registers>, registers>;
  struct Table {
    Table() {
      for (Orders& of_view : orders)
        for (auto& row : of_view) row.fill(any);
    }
    std::array<std::array<Row, rows>, verify::readings.size()> apart{};
    std::array<Shape, registers> shapes{};
    std::array<u32, levels> heads{};  ///< one more than the head's instruction; 0: no mark
    /// What marks lie between.
    std::array<std::array<Bounds, levels * registers>, readings.size()> marked{};
    std::array<Orders, readings.size()> orders;
  };
  static u8 order_of(isa::Compare compare);
  struct Operation;

  const Row& row(Reading view, u32 reg) const { return table_->apart[static_cast<u32>(view)][reg]; }
  bool is_plain(u32 reg, const Frame& frame) const;
  Distance between(Reading view, u32 a, u32 b, const Frame& frame) const;
  Table& own();
  void set_row(Reading view, u32 reg, const Row& wanted);
  void forget(u32 reg);
  void touch(u32 reg);
  bool meet(Reading view, u32 a, u32 b, const Distance& found);
  bool meet_order(Reading view, u32 a, u32 b, u8 found);
  u8 order(Reading view, u32 a, u32 b) const {
    return table_ == nullptr ? u8{any} : table_->orders[static_cast<u32>(view)][a][b];
  }
  void follow_move(const Operation& o);
  void follow_shift(const Operation& o, bool is_left);
  bool follow_sum(const Operation& o, Frame& after);
  void lift(const Operation& o);
  void put_down(const Operation& o);
  void follow_monotone(const Operation& o);
  void make_middle(Reading view, u32 a, u32 b, const Distance& apart);

  std::shared_ptr<Table> table_;  ///< shared by copies until one changes; null: nothing is known
};

}  // namespace skep::verify
