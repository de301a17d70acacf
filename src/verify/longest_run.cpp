// How long a run takes at most, counted in instructions: what the proof that it ends comes to.
//
// Where paths were followed one by one and none came back to where it had been, what was explored has no circle, also
// where a path ended at a state that covers it. So a run goes through each explored step once at most. Where paths were
// joined, the rounds of loops are bounded (ranking.hpp), and with them how often each instruction is executed in a call
// of its function, and how often that is called. Nobody decides by the number: tests hold runs against it.
#include "verify/checker.hpp"

namespace skep::verify {

using isa::Form;

namespace {
constexpr u64 too_many = ~u64{0};

constexpr u64 sum(u64 a, u64 b) { return a > too_many - b ? too_many : a + b; }
constexpr u64 product(u64 a, u64 b) {
  u64 r = 0;
  return __builtin_mul_overflow(a, b, &r) ? too_many : r;
}
}  // namespace

/// `times`: Ends::times where paths were joined.
std::optional<u64> Checker::longest_run(const std::vector<u64>* times) const {
  if (is_kernel() || any_closed_) return std::nullopt;
  for (const SeenCall& call : seen_calls_)
    if (isa::row(analysis_.insns[call.insn].op).form != Form::callx) return std::nullopt;
  if (times == nullptr) {
    for (std::size_t f = 1; f < analysis_.functions.size(); f++)
      if (analysis_.functions[f].is_global) return std::nullopt;
    return processed_;
  }
  std::vector<u64> calls(analysis_.functions.size());  // of each function in a run
  calls[0] = 1;
  for (std::size_t f = 1; f < calls.size(); f++) calls[f] = analysis_.functions[f].is_exception_callback;
  // No function recurs and chains of calls are short, so what is called is settled after as many rounds.
  std::vector<u64> found;
  for (u32 depth = 0; depth < isa::max_call_frames; depth++) {
    found.assign(calls.size(), 0);
    found[0] = 1;
    for (std::size_t f = 1; f < calls.size(); f++) found[f] = analysis_.functions[f].is_exception_callback;
    for (u32 i = 0; i < program_.insns.size(); i++)
      for (u32 seen = 0;;) {
        const auto callee = proofs_[i].reached ? callee_at(i, seen) : std::nullopt;
        if (!callee) break;
        found[*callee] = sum(found[*callee], product(calls[analysis_.insns[i].function], (*times)[i]));
        if (isa::row(analysis_.insns[i].op).form == Form::call_local) break;
      }
    calls = found;
  }
  u64 longest = 0;
  for (u32 i = 0; i < program_.insns.size(); i++) {
    if (!proofs_[i].reached) continue;
    if ((*times)[i] == 0) return std::nullopt;
    longest = sum(longest, product((*times)[i], calls[analysis_.insns[i].function]));
  }
  return longest == too_many ? std::nullopt : std::optional(longest);
}

}  // namespace skep::verify
