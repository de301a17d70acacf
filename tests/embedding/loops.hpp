// The grammar that aims at the proofs that programs end.
//
// A program is a loop of a kind that people write (counted up or down, binary search, two ends that close in, a walk
// up and down, bits shifted out, Euclid, the low bits of a number), with its numbers in registers and in slots of 4 and
// 8 bytes, and now and then a loop inside. Every second one is disturbed: a step undone, skipped, or taken on some
// rounds only, a number set back by a pointer, a function, a helper, a callback or an atomic, a half that is garbage,
// another comparison, another width. So some end on every input, some on none, and most look as if they ended. What
// decides in a round comes from the context and a map (the same in every round: a run that can stay, stays), from a
// number that changes in every round, or from chance.
#pragma once
#include <random>
#include <skep/spec.hpp>
#include <string>

namespace skep::embedding {

class LoopPrograms {
 public:
  explicit LoopPrograms(u64 seed) : random_(seed) {}

  /// A kprobe program over object_with_value()'s maps (border.hpp).
  ProgramSpec program();
  /// The last program as text.
  const std::string& text() const { return text_; }

 private:
  /// Where a number lives: in a register, or in the stack, in 4 or 8 bytes.
  struct Place {
    u32 reg = 0;  ///< 0: in the stack
    s32 slot = 0;
    u32 bytes = 8;
  };

  u32 pick(u32 n) { return static_cast<u32>(random_() % n); }
  bool chance(u32 of) { return pick(of) == 0; }
  template <class T, std::size_t n>
  const T& any(const T (&from)[n]) {
    return from[pick(n)];
  }
  void line(std::string_view text);
  std::string label();
  s32 limit();
  void choose_places();
  void load(u32 scratch, const Place& from);
  void load_to_compare(u32 scratch, const Place& from);
  void store(const Place& to, u32 scratch);
  void begin_with(const Place& place, s32 most);
  void set(const Place& place, s32 number);
  void add(const Place& place, s32 number);
  /// Goes to `target` or not, as the round's input says.
  void coin(const std::string& target);
  /// Goes to `target` where `left` and `right`, or a number, compare so; now and then otherwise.
  void compare(const Place& left, std::string_view how, const Place& right, const std::string& target);
  void compare(const Place& left, std::string_view how, s32 right, const std::string& target);
  std::string comparison(std::string_view how);
  char width();
  void disturb();
  void disturb_slot();
  void maybe_disturb();
  void loop(u32 depth);
  void count_up(u32 depth);
  void count_down(u32 depth);
  void search();
  void two_ends();
  void shift_out();
  void euclid();
  void low_bits();
  void heap();
  void strides();
  void walk();
  void functions();

  std::mt19937_64 random_;
  std::string text_;
  u32 labels_ = 0, disturbances_ = 0;
  bool calls_ = false, calls_back_ = false;
  bool confuses_halves_ = false;  ///< slots of 4 bytes are compared with what lies above them
  Place a_, b_, c_;
};

}  // namespace skep::embedding
