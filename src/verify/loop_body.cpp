// See loop_body.hpp.
#include "verify/loop_body.hpp"

#include <algorithm>
#include <set>

namespace skep::verify {

using isa::Form;

bool LoopBody::is_inside(u32 i) const { return std::ranges::binary_search(loop_.body, i); }

namespace {
bool was_taken(const InsnProof& proof, u32 way) { return way == 0 ? proof.jump_passed : proof.jump_taken; }
}  // namespace

Successors LoopBody::ways(u32 i) const {
  Successors all = successors(explored_.program, explored_.analysis, i), found;
  const bool may_choose = isa::is_conditional(form(i));
  for (u32 way = 0; way < all.count; way++)
    if (!may_choose || was_taken(explored_.proofs[i], way)) found.insns[found.count++] = all.insns[way];
  return found;
}

bool LoopBody::comes_round(const std::function<bool(u32 insn, u32 way)>& closed) const {
  std::vector<u32> work{loop_.head};
  std::set<u32> seen;
  while (!work.empty()) {
    const u32 i = work.back();
    work.pop_back();
    const Successors all = successors(explored_.program, explored_.analysis, i);
    const bool may_choose = isa::is_conditional(form(i));
    for (u32 way = 0; way < all.count; way++) {
      const u32 to = all.insns[way];
      if (!is_inside(to) || closed(i, way) || (may_choose && !was_taken(explored_.proofs[i], way))) continue;
      if (to == loop_.head) return true;
      if (seen.insert(to).second) work.push_back(to);
    }
  }
  return false;
}

bool LoopBody::is_touched(u32 slot) const {
  const s32 low = -8 * static_cast<s32>(slot + 1);
  const u32 first = explored_.analysis.functions[function()].first;
  for (const StackTouch& t : explored_.touches) {
    if (t.function != first || t.high <= low || t.low >= low + 8) continue;
    const Form f = form(t.insn);
    if (f == Form::load || f == Form::load_acquire) continue;
    const bool is_own = facts(t.insn).function == function();
    if (is_own && !is_inside(t.insn)) continue;
    const bool is_plain = f == Form::store_imm || f == Form::store_reg || f == Form::atomic ||
                          f == Form::atomic_fetch || f == Form::cmpxchg || f == Form::store_release;
    if (!is_own || !is_plain || insn(t.insn).dst != isa::frame_pointer) return true;
  }
  return false;
}

}  // namespace skep::verify
