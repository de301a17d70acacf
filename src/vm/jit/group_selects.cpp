// Selects of one condition, side by side (see passes.hpp).
//
// "if (v > n) v >>= 8, r += 8" is two branches in eBPF and becomes two selects with the shift between them, which
// destroys the flags: the back end would compare twice. So a select moves up to the last one before it that asks the
// same, and takes along what only it needs. Only pure instructions move.
#include <algorithm>

#include "vm/jit/passes.hpp"

namespace skep::vm::ir {
namespace {

class Grouper {
 public:
  explicit Grouper(Function& f) : f_(f) {}

  void run() {
    for (auto& block : f_.blocks)
      for (std::size_t i = 1; i < block.insns.size(); i++)
        if (f_.insns[block.insns[i]].op == Op::select) join(block.insns, i);
  }

 private:
  static constexpr std::size_t reach = 12;  // how far up it looks

  bool asks_the_same(Value v, Value w) const {
    const Inst &a = f_.insns[v], &b = f_.insns[w];
    if (a.op != Op::select || a.width != b.width) return false;
    if (a.condition != b.condition && a.condition != inverse(b.condition)) return false;
    return std::ranges::equal(f_.operands_of(v).first(2), f_.operands_of(w).first(2));
  }

  /// The select at `late` moves behind an earlier one of the same condition.
  void join(std::vector<Value>& insns, std::size_t late) {
    const Value v = insns[late];
    for (std::size_t back = 1; back <= std::min(reach, late); back++) {
      const std::size_t early = late - back;
      if (!asks_the_same(insns[early], v)) continue;
      if (back > 1) move(insns, early, late);
      return;
    }
  }

  void move(std::vector<Value>& insns, std::size_t early, std::size_t late) {
    needed_.assign(late - early, false);  // by position behind `early`; the last one is unused
    const auto mark = [&](Value user) {
      for (const Value o : f_.operands_of(user))
        for (std::size_t i = early; i < late; i++)
          if (insns[i] == o) {
            if (i == early) return false;
            needed_[i - early] = true;
          }
      return true;
    };
    if (!mark(insns[late])) return;
    for (std::size_t i = late; i-- > early + 1;) {
      if (!needed_[i - early]) continue;
      if (row(f_.insns[insns[i]].op).effect != Effect::pure || !mark(insns[i])) return;
    }
    std::vector<Value> order;
    for (std::size_t i = early + 1; i < late; i++)
      if (needed_[i - early]) order.push_back(insns[i]);
    order.push_back(insns[early]);
    order.push_back(insns[late]);
    for (std::size_t i = early + 1; i < late; i++)
      if (!needed_[i - early]) order.push_back(insns[i]);
    std::ranges::copy(order, insns.begin() + static_cast<std::ptrdiff_t>(early));
  }

  Function& f_;
  std::vector<bool> needed_;
};

}  // namespace

void group_selects(Function& f) { Grouper(f).run(); }

}  // namespace skep::vm::ir
