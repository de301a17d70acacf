// What joined states say of registers together: lines (linear.hpp) and differences (gaps.hpp).
#pragma once
#include "verify/gaps.hpp"
#include "verify/linear.hpp"

namespace skep::verify {

struct Relations {
  Linears lines;
  Gaps gaps;

  void forget_all() {
    lines.forget_all();
    gaps.forget_all();
  }
  /// `insn` was executed; its operands before, and the frame after it. False: no number is possible.
  bool follow(const Insn& insn, isa::Op op, const Register& dst, const Register& src, Frame& after, bool keeps_gaps) {
    lines.follow(insn, op, dst, src, after);
    return !keeps_gaps || gaps.follow(insn, op, dst, src, after);
  }
  void settle(const Frame& frame) {
    lines.settle(frame);
    gaps.settle();
  }
  bool sharpen(Frame& frame) const { return lines.sharpen(frame) && gaps.sharpen(frame); }
  bool cover(const Frame& frame, const Relations& now, const Frame& now_frame) const {
    return lines.cover(frame, now.lines, now_frame) && gaps.cover(frame, now.gaps, now_frame);
  }
  static Relations join(const Relations& a, const Frame& a_frame, const Relations& b, const Frame& b_frame,
                        bool widens) {
    return {Linears::join(a.lines, a_frame, b.lines, b_frame), Gaps::join(a.gaps, a_frame, b.gaps, b_frame, widens)};
  }
};

}  // namespace skep::verify
