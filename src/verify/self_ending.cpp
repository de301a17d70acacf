// See self_ending.hpp.
#include "verify/self_ending.hpp"

#include <algorithm>
#include <bitset>
#include <set>

#include "isa/semantics.hpp"

namespace skep::verify {

using isa::Form;

namespace {

class RunsOut {
 public:
  explicit RunsOut(const LoopBody& loop) : loop_(loop) {}

  bool is_so() {
    bool any = false;
    for (u32 i : loop_.insns()) {
      any |= loop_.form(i) == Form::may_goto;
      if (asks_iterator(i) && !is_made_anew(i)) any |= find_element_way(i);
    }
    return any && !loop_.comes_round([this](u32 insn, u32 way) {
      return loop_.form(insn) == Form::may_goto ? way == 0 : element_ways_.contains({insn, way});
    });
  }

 private:
  const catalog::Kfunc* kfunc(u32 i) const {
    return loop_.form(i) == Form::call_kfunc ? loop_.explored().analysis.kfunc_at(i) : nullptr;
  }
  bool asks_iterator(u32 i) const { return kfunc(i) != nullptr && kfunc(i)->has(catalog::kfunc_flags::iter_next); }

  /// Whether an iterator is made, while the loop runs, where the call at `next` may find the one that it asks.
  bool is_made_anew(u32 next) const {
    const auto& touches = loop_.explored().touches;
    bool is_known = false;
    for (const StackTouch& asked : touches) {
      if (asked.insn != next) continue;
      is_known = true;
      for (const StackTouch& made : touches) {
        if (made.function != asked.function || made.high <= asked.low || made.low >= asked.high) continue;
        if (kfunc(made.insn) == nullptr || !kfunc(made.insn)->has(catalog::kfunc_flags::iter_new)) continue;
        if (may_run_meanwhile(made)) return true;
      }
    }
    return !is_known;
  }

  /// The loop's own function does what is inside the loop. One whose frame it is waits for the loop to end. Any other
  /// may be called.
  bool may_run_meanwhile(const StackTouch& touch) const {
    const u32 function = loop_.facts(touch.insn).function;
    if (function == loop_.function()) return loop_.is_inside(touch.insn);
    return loop_.explored().analysis.functions[function].first != touch.function;
  }

  /// Finds the comparison with null that follows the call at `next` on every way.
  bool find_element_way(u32 next) {
    std::bitset<isa::register_count> holds;  // registers that hold what the call gave
    holds.set(0);
    u32 i = next + isa::slots(loop_.insn(next));
    for (; loop_.is_inside(i) && !is_jumped_to(i); i += isa::slots(loop_.insn(i))) {
      const Insn& insn = loop_.insn(i);
      switch (loop_.form(i)) {
        case Form::jump_imm: {
          const isa::Compare compare = isa::compare_of(loop_.facts(i).op);
          const bool is_wide = loop_.facts(i).code_class == isa::class_jmp;
          if (!holds.test(insn.dst) || !is_wide || insn.imm != 0) return false;
          if (compare != isa::Compare::eq && compare != isa::Compare::ne) return false;
          element_ways_.insert({i, compare == isa::Compare::eq ? 0 : 1});
          return true;
        }
        case Form::alu_reg:
          holds.set(insn.dst, isa::alu_of(loop_.facts(i).op) == isa::Alu::mov && holds.test(insn.src) &&
                                  loop_.facts(i).code_class == isa::class_alu64);
          break;
        case Form::alu_imm:
        case Form::alu_unary:
        case Form::movsx:
        case Form::load:
        case Form::ld_imm64:
          holds.reset(insn.dst);
          break;
        case Form::store_imm:
        case Form::store_reg:
          break;
        default:
          return false;
      }
    }
    return false;
  }

  bool is_jumped_to(u32 target) {
    if (targets_.empty()) {
      const Function& f = loop_.explored().analysis.functions[loop_.function()];
      for (u32 i = f.first; i < f.end; i += isa::slots(loop_.insn(i)))
        if (isa::is_jump(loop_.form(i)))
          targets_.insert(i + 1 + static_cast<u32>(isa::jump_distance(loop_.form(i), loop_.insn(i))));
    }
    return targets_.contains(target);
  }

  const LoopBody& loop_;
  std::set<std::pair<u32, u32>> element_ways_;
  std::set<u32> targets_;  ///< of jumps in the function
};

}  // namespace

bool ends_by_itself(const LoopBody& loop) { return RunsOut(loop).is_so(); }

}  // namespace skep::verify
