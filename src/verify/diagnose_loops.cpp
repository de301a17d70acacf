// What there is to say about programs that are too large or endless: which loop it is, where the work went, and what
// kept states from being covered by others.
#include <algorithm>

#include "base/sort_by.hpp"
#include "isa/registers.hpp"
#include "verify/c_line.hpp"
#include "verify/narrator.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Form;
using Role = Event::Role;

namespace {
constexpr std::size_t most_hot_lines = 5;
constexpr std::size_t most_steps_back = 10'000;
constexpr u64 least_work = 10'000;  // processed instructions, below which it does not matter where they went
}  // namespace

void Narrator::limits() {
  d_.remedy = id_ == MessageId::recursion ? Remedy::other : Remedy::bound_loop;
  std::vector<HotLine> lines;
  u64 total = 0;
  for (u32 insn = 0; insn < history_.visits().size(); insn++) {
    const u64 visits = history_.visits()[insn];
    const SourceLine* l = line(insn);
    total += visits;
    if (visits == 0 || l == nullptr) continue;
    auto same = std::find_if(lines.begin(), lines.end(),
                             [l](const HotLine& h) { return h.source.line == l->line && h.source.file == l->file; });
    if (same == lines.end()) {
      lines.push_back({*l, insn, 0, 0});
      same = lines.end() - 1;
    }
    same->insns_processed += visits;
  }
  base::sort_by(lines, [](const HotLine& line) { return ~line.insns_processed; });  // most first
  if (lines.size() > most_hot_lines) lines.resize(most_hot_lines);
  if (total < least_work) lines.clear();
  for (HotLine& h : lines)
    h.share = static_cast<double>(h.insns_processed) / static_cast<double>(std::max<u64>(total, 1));
  d_.hot_lines = std::move(lines);

  const auto& differences = history_.differences();
  const auto most = std::max_element(differences.begin(), differences.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most != differences.end()) {
    const auto& [where, count] = *most;
    const std::string place = where.place < 16 ? fmt::format("r{}", where.place)
                                               : fmt::format("the stack slot at r10-{}", 8 * (where.place - 15));
    d_.kept_apart = fmt::format("{} differed {} times where paths met at instruction {}", place, count, where.insn);
    if (const SourceLine* l = line(where.insn)) d_.kept_apart += fmt::format(" (line {})", l->line);
    if (where.place < 16 && id_ != MessageId::recursion && !c_.path_.empty())
      for (std::size_t at = c_.path_.size(); at-- > 0;)
        if (c_.path_[at].insn == where.insn) {
          const auto links = trace(where.place, Follow::number, at);
          if (!links.empty() && links.front().what == Link::What::computed)
            add(Role::changed, links.front().insn, fmt::format("r{} changes here in every round", where.place));
          break;
        }
  }
  if (id_ == MessageId::recursion) return;
  const auto loop = id_ == MessageId::too_complex ? busiest_loop() : loop_around(insn_);
  if (loop) {
    if (const SourceLine* head = loop_line(*loop)) {
      add(Role::taken, loop->head,
          id_ == MessageId::infinite_loop ? "this loop goes round, and nothing is different the next time"
                                          : "no end was found of this loop",
          true);
      d_.events.back().source = *head;
      d_.facts.branch_line = head->line;
      return ways_out(*loop);
    }
  }
  // Without lines: the backward jump that the path took last.
  for (std::size_t at = c_.path_.size(); at-- > 1;) {
    const u32 insn = c_.path_[at].insn, before = c_.path_[at - 1].insn;
    if (insn > before || history_.depth(at) != history_.depth(at - 1)) continue;
    add(Role::taken, before, "the loop goes round here", true);
    d_.facts.branch_line = line_number(before);
    break;
  }
}

/// The innermost loop that instruction `insn` lies in.
std::optional<Loop> Narrator::loop_around(u32 insn) const {
  const Loops all = find_loops(program_, c_.analysis_, {});
  const Loop* best = nullptr;
  for (const Loop& loop : all.loops)
    if (std::ranges::find(loop.body, insn) != loop.body.end() &&
        (best == nullptr || loop.body.size() < best->body.size()))
      best = &loop;
  return best != nullptr ? std::optional(*best) : std::nullopt;
}

/// The innermost loop with nearly all of the work that is done in loops.
std::optional<Loop> Narrator::busiest_loop() const {
  const auto work = [this](const std::vector<u32>& insns) {
    u64 sum = 0;
    for (u32 insn : insns) sum += history_.visits()[insn];
    return sum;
  };
  const Loops all = find_loops(program_, c_.analysis_, {});
  u64 total = 0;  // of the busiest; what follows a loop is gone through as often as it
  for (const Loop& loop : all.loops) total = std::max(total, work(loop.body));
  if (total < least_work) return std::nullopt;
  const Loop* best = nullptr;
  for (const Loop& loop : all.loops)
    if (work(loop.body) * 10 >= total * 8 && (best == nullptr || loop.body.size() < best->body.size())) best = &loop;
  return best != nullptr ? std::optional(*best) : std::nullopt;
}

/// The line with the loop's `for` or `while`. Compilers give it to the jump back, to the comparison, or to nothing.
const SourceLine* Narrator::loop_line(const Loop& loop) const {
  const SourceLine* jump = nullptr;  // the last jump back
  for (u32 insn : loop.body)
    for (u32 next : successors(program_, c_.analysis_, insn))
      if (next == loop.head) jump = line(insn);
  for (const SourceLine* l : {jump, line(loop.head)})
    if (l != nullptr && c_line::heads_loop(l->text)) return l;
  const SourceLine* first = nullptr;  // of the loop's lines, by their number
  const SourceLine* head = nullptr;
  for (u32 insn : loop.body) {
    const SourceLine* l = line(insn);
    if (l == nullptr || (jump != nullptr && l->file != jump->file)) continue;
    if (first == nullptr || l->line < first->line) first = l;
    if (c_line::heads_loop(l->text) && (head == nullptr || l->line < head->line)) head = l;
  }
  if (head != nullptr && head == first) return head;
  const FunctionInfo* f = names_.function_at(loop.head);
  const SourceLine* above = nullptr;
  for (const SourceLine& l : program_.lines)
    if (first != nullptr && l.file == first->file && names_.function_at(l.insn) == f && l.line < first->line &&
        first->line - l.line < 4 && c_line::heads_loop(l.text) && (above == nullptr || l.line > above->line))
      above = &l;
  if (above != nullptr) return above;
  return head != nullptr ? head : jump;
}

/// What the comparison at step `at`, which leads out of a loop, compares: the number that keeps it from doing so.
bool Narrator::way_out(const Loop& loop, std::size_t at) {
  const u32 insn = c_.path_[at].insn;
  const Insn& i = program_.insns[insn];
  u32 reg = i.dst;
  auto compared = value(at, reg);
  if (isa::row(c_.analysis_.insns[insn].op).form == Form::jump_reg)  // what is counted is a constant in each round
    if (const auto other = value(at, i.src); compared && other && compared->is_scalar() && compared->is_const()) {
      reg = i.src;
      compared = other;
    }
  const auto writes = [&](u32 step) {
    const Form f = isa::row(c_.analysis_.insns[step].op).form;
    return (isa::registers_written(program_.insns[step], f) >> reg & 1) != 0;
  };
  if (!compared || !compared->is_scalar()) return false;
  if (compared->is_const()) {
    if (std::ranges::any_of(loop.body, writes)) return false;  // it is what the branches made it
    add(Role::checked, insn,
        fmt::format("a way out of it, when r{} changes: it is {} in every round", reg, number_text(compared->number)));
    return true;
  }
  const auto links = trace(reg, Follow::number, at);
  const bool is_read =
      !links.empty() && (links.back().what == Link::What::loaded || links.back().what == Link::What::called);
  add(Role::checked, insn,
      fmt::format("a way out of it, which no round needs to take: r{} is {}{}", reg, number_text(compared->number),
                  is_read ? fmt::format("; {}", origin_text(links.back())) : ""));
  return true;
}

/// The comparisons that lead out of an endless loop, and what they compare on the refused path.
void Narrator::ways_out(const Loop& loop) {
  u32 told = 0, ways = 0;
  for (u32 insn : loop.body) {
    const auto next = successors(program_, c_.analysis_, insn);
    const bool leaves =
        std::ranges::any_of(next, [&loop](u32 to) { return std::ranges::find(loop.body, to) == loop.body.end(); });
    if (!leaves) continue;
    ways++;
    const Form f = isa::row(c_.analysis_.insns[insn].op).form;
    if ((f != Form::jump_imm && f != Form::jump_reg) || told == 2) continue;
    for (std::size_t at = end_ + 1; at-- > 0 && end_ - at < most_steps_back;) {
      if (c_.path_[at].insn != insn) continue;
      told += way_out(loop, at) ? 1 : 0;
      break;
    }
  }
  if (ways == 0) d_.advice = "There is no way out of this loop: add a bound, for (int i = 0; i < N; i++).";
}

/// Which part of the state an old one does not cover.
void Checker::note_difference(const Checkpoint& old) {
  if (old.state.depth != state_.depth) return;
  id_pairs_.clear();
  fresh_id_ = 0;
  const u32 depth = state_.depth;
  const Frame &a = *old.state.frames[depth], &b = *state_.frames[depth];
  const Match match = old.active || is_incomplete(old) ? Match::within : Match::covers;
  const u16 live = analysis_.insns[insn_].live;
  for (u32 r = 0; r < isa::register_count; r++)
    if ((live >> r & 1) != 0 && !register_matches(a.regs[r], b.regs[r], (old.precise_regs[depth] >> r & 1) != 0, match))
      return story_->differs({insn_, depth, r});
  for (u32 s = 0; s < a.slot_count; s++)
    if ((old.live_slots[depth] >> s & 1) != 0 && !slot_matches(old, depth, s, match))
      return story_->differs({insn_, depth, 16 + s});
}

}  // namespace skep::verify
