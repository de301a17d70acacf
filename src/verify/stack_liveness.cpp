// Backward data flow, one read at a time.
#include "verify/stack_liveness.hpp"

#include <utility>

namespace skep::verify {

using isa::Form;

namespace {
constexpr s32 slot_bytes = 8;

/// Slots that the instruction writes whole whenever it runs: an aligned store of 8 bytes below the frame pointer.
u64 written_by(const Insn& insn, Form form) {
  if (form != Form::store_imm && form != Form::store_reg) return 0;
  if (insn.dst != isa::frame_pointer || isa::access_bytes(insn) != slot_bytes) return 0;
  if (insn.off >= 0 || insn.off % slot_bytes != 0 || insn.off < -static_cast<s32>(isa::stack_size_bytes)) return 0;
  return u64{1} << (-insn.off / slot_bytes - 1);
}
}  // namespace

void StackLiveness::start(const ProgramSpec& program, const Analysis& analysis) {
  analysis_ = &analysis;
  const auto& code = program.insns;
  const u32 count = static_cast<u32>(code.size());
  auto form = [&](u32 i) { return isa::row(analysis.insns[i].op).form; };
  std::vector<std::pair<u32, u32>> edges;  // to, from
  writes_.assign(count, 0);
  for (u32 i = 0; i < count; i += isa::slots(code[i])) {
    const Form f = form(i);
    writes_[i] = written_by(code[i], f);
    if (isa::is_jump(f)) edges.emplace_back(i + 1 + static_cast<u32>(isa::jump_distance(f, code[i])), i);
    if (f != Form::exit && f != Form::jump && f != Form::jump_long && i + isa::slots(code[i]) < count)
      edges.emplace_back(i + isa::slots(code[i]), i);
  }
  first_source_.assign(count + 1, 0);
  for (const auto& [to, from] : edges) first_source_[to + 1]++;
  for (u32 i = 0; i < count; i++) first_source_[i + 1] += first_source_[i];
  sources_.resize(edges.size());
  std::vector<u32> next(first_source_.begin(), first_source_.end() - 1);
  for (const auto& [to, from] : edges) sources_[next[to]++] = from;
}

u32 StackLiveness::add(Instance instance) {
  const Function& f = analysis_->functions[instance.function];
  instance.first = f.first;
  instance.live.resize(static_cast<std::size_t>(f.end - f.first) * (instance.depth + 1));
  instances_.push_back(std::move(instance));
  return static_cast<u32>(instances_.size() - 1);
}

u32 StackLiveness::root(u32 function) {
  for (u32 i = 0; i < instances_.size(); i++)
    if (instances_[i].depth == 0 && instances_[i].function == function) return i;
  return add({.function = function});
}

u32 StackLiveness::enter(u32 caller, u32 call, u32 function) {
  for (u32 i = caller + 1; i < instances_.size(); i++)
    if (instances_[i].parent == caller && instances_[i].call == call && instances_[i].function == function &&
        instances_[i].depth != 0)
      return i;
  return add({.parent = caller, .call = call, .function = function, .depth = instances_[caller].depth + 1});
}

void StackLiveness::read(u32 instance, u32 insn, u32 frame, u32 slot) {
  const u64 bit = u64{1} << slot;
  while (true) {
    Instance& i = instances_[instance];
    const u32 width = i.depth + 1;
    auto reach = [&](u32 at) {
      u64& live = i.live[(at - i.first) * width + frame];
      if ((live & bit) != 0) return;
      live |= bit;
      work_.push_back(at);
    };
    reach(insn);
    bool at_start = false;
    while (!work_.empty()) {
      const u32 at = work_.back();
      work_.pop_back();
      at_start |= at == i.first;
      for (u32 s = first_source_[at]; s < first_source_[at + 1]; s++)
        if (frame != i.depth || (writes_[sources_[s]] & bit) == 0) reach(sources_[s]);
    }
    if (!at_start || frame == i.depth) return;
    insn = i.call;  // the slot is a caller's: read by the call, from there on
    instance = i.parent;
  }
}

}  // namespace skep::verify
