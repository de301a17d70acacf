// Two states of one place made one that covers both.
//
// Only states of the same shape are joined: the same calls around, the same kinds of pointers in live registers, the
// same references held. Numbers get the least bounds that hold both, slots of stack what is true of both. What was
// equal in both stays equal. Where a loop comes round, bounds that moved are widened to the next landmark, a number
// that the program itself compares with, so that they move a few times only.
#pragma once
#include <span>
#include <vector>

#include "verify/analysis.hpp"
#include "verify/state.hpp"

namespace skep::verify {

/// Numbers at which widening stops, ascending.
class Landmarks {
 public:
  explicit Landmarks(const ProgramSpec& program, const Analysis& analysis);
  enum class Widening : u8 { none, patient, impatient, hasty };
  /// `joined` with every bound that is further out than in `old` moved out to a landmark; impatient: to a number of the
  /// program; hasty: to the last one.
  Scalar widen(const Scalar& old, const Scalar& joined, Widening how) const;

 private:
  std::vector<s64> numbers_, numbers_of_program_;
};

class Join {
 public:
  using Widening = Landmarks::Widening;
  /// `loses_pointers`: a slot that holds a pointer in one state and a number in the other holds nothing then. Else the
  /// two have not the same shape: `p = NULL` and `p = &x` are mostly told apart later.
  Join(Pool& pool, const Analysis& analysis, const Landmarks& landmarks, u32& last_id, Widening widening,
       bool loses_pointers)
      : pool_(pool),
        analysis_(analysis),
        landmarks_(landmarks),
        last_id_(last_id),
        widening_(widening),
        loses_pointers_(loses_pointers) {}

  /// `into`, at `insn`, covers `from`, too. False: they have not the same shape, and `into` means nothing any more.
  bool operator()(State& into, const State& from, u32 insn);

 private:
  bool join_frame(Frame& into, const Frame& from, u32 insn);
  bool join_register(Register& a, const Register& b);
  bool join_scalar(Register& a, const Register& b);
  bool join_slot(Frame& frame, u32 index, const Slot& b);
  Scalar both(const Scalar& a, const Scalar& b) const;
  bool same_reference(u32 a, u32 b);
  u32 common_id(u32 a, u32 b, s64 apart);

  Pool& pool_;
  const Analysis& analysis_;
  const Landmarks& landmarks_;
  u32& last_id_;
  Widening widening_;
  bool loses_pointers_;
  struct Reference {
    u32 a = 0, b = 0;
  };
  struct Equal {
    u32 a = 0, b = 0;
    s64 apart = 0;
    u32 id = 0;
  };
  std::vector<Reference> references_;  ///< ids that stand for one thing: one to one
  std::vector<Equal> equals_;          ///< of equal numbers, of packet pointers with one variable part
};

}  // namespace skep::verify
