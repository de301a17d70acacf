// Storage of states, and how registers read.
#include "verify/state.hpp"

#include <fmt/format.h>

namespace skep::verify {

Pool::~Pool() = default;

Frame* Pool::new_frame() {
  if (free_frames_.empty()) {
    frames_.push_back(std::make_unique<Frame>());
    return frames_.back().get();
  }
  Frame* frame = free_frames_.back();
  free_frames_.pop_back();
  return frame;
}

void Pool::free_frame(Frame* frame) {
  for (u32 i = 0; i < frame->slot_count; i++) {
    clear_spill(frame->slots[i]);
    frame->slots[i] = Slot{};
  }
  frame->slot_count = 0;
  frame->special = 0;
  frame->is_callback = false;
  frame->callback_depth = 0;
  frame->return_range = {};
  free_frames_.push_back(frame);
}

Spill* Pool::new_spill(const Register& value) {
  if (free_spills_.empty()) {
    spill_blocks_.push_back(std::make_unique<Spill[]>(spills_at_once));
    for (std::size_t i = 0; i < spills_at_once; i++) free_spills_.push_back(&spill_blocks_.back()[i]);
  }
  Spill* spill = free_spills_.back();
  free_spills_.pop_back();
  spill->uses = 1;
  spill->value = value;
  return spill;
}

void Pool::set_spill(Slot& slot, const Register& value) {
  if (slot.spill != nullptr && slot.spill->uses == 1) {
    slot.spill->value = value;
    return;
  }
  Spill* spill = new_spill(value);
  clear_spill(slot);
  slot.spill = spill;
}

void Pool::copy(State& to, const State& from) {
  for (u32 depth = from.depth + 1; depth < to.frames.size(); depth++) {
    if (to.frames[depth] != nullptr) free_frame(to.frames[depth]);
    to.frames[depth] = nullptr;
  }
  for (u32 depth = 0; depth <= from.depth; depth++) {
    if (to.frames[depth] == nullptr) to.frames[depth] = new_frame();
    copy(*to.frames[depth], *from.frames[depth]);
  }
  to.depth = from.depth;
  to.acquired = from.acquired;
  to.locks = from.locks;
  to.rcu = from.rcu;
  to.preempt_depth = from.preempt_depth;
  to.rounds = from.rounds;
}

void Pool::copy(Frame& to, const Frame& from) {
  to.regs = from.regs;
  to.call_insn = from.call_insn;
  to.function = from.function;
  to.is_callback = from.is_callback;
  to.callback_depth = from.callback_depth;
  to.liveness = from.liveness;
  to.return_range = from.return_range;
  to.special = from.special;
  for (u32 i = 0; i < from.slot_count; i++) {
    Slot& slot = to.slots[i];
    slot.bytes = from.slots[i].bytes;
    if (slot.spill == from.slots[i].spill) continue;
    clear_spill(slot);
    slot.spill = from.slots[i].spill;
    if (slot.spill != nullptr) share(slot.spill);
  }
  for (u32 i = from.slot_count; i < to.slot_count; i++) {
    clear_spill(to.slots[i]);
    to.slots[i] = Slot{};
  }
  to.slot_count = from.slot_count;
}

void Pool::release(State& state) {
  for (Frame*& frame : state.frames) {
    if (frame != nullptr) free_frame(frame);
    frame = nullptr;
  }
  state.depth = 0;
  state.acquired.clear();
  state.locks.clear();
}

std::string_view name_of(Kind kind) noexcept {
  switch (kind) {
    case Kind::uninitialised:
      return "nothing (never written)";
    case Kind::scalar:
      return "number";
    case Kind::context:
      return "context";
    case Kind::stack:
      return "stack pointer";
    case Kind::map:
      return "map";
    case Kind::map_value:
      return "map value";
    case Kind::packet:
      return "packet pointer";
    case Kind::packet_meta:
      return "packet metadata pointer";
    case Kind::packet_end:
      return "packet end";
    case Kind::memory:
      return "memory";
    case Kind::sock_common:
      return "sock_common";
    case Kind::socket:
      return "socket";
    case Kind::xdp_socket:
      return "xdp_sock";
    case Kind::tcp_socket:
      return "tcp_sock";
    case Kind::flow_keys:
      return "flow keys";
    case Kind::tp_buffer:
      return "tracepoint buffer";
    case Kind::task:
      return "task_struct";
    case Kind::function:
      return "function";
    case Kind::object:
      return "kernel object";
    case Kind::dynptr:
      return "dynptr";
    case Kind::iterator:
      return "iterator";
    case Kind::irq_flag:
      return "saved interrupt flag";
    case Kind::arena:
      return "arena pointer";
  }
  return "?";
}

namespace {
std::string bounds(const Scalar& s) {
  if (s.is_const()) return fmt::format("{}", static_cast<s64>(s.value()));
  if (s.is_unknown()) return "any 64-bit number";
  std::string text;
  if (s.wide.smin >= 0 || s.wide.umax <= static_cast<u64>(Interval<u64>::s_max))
    text = fmt::format("{}..{}", s.wide.umin, s.wide.umax);
  else
    text = fmt::format("{}..{}", s.wide.smin, s.wide.smax);
  if (s.bits.mask != 0 && s.bits.is_aligned(2))
    text += fmt::format(", a multiple of {}", u64{1} << __builtin_ctzll(s.bits.value | s.bits.mask));
  return text;
}
}  // namespace

std::string describe(const Register& r, std::string_view map_name) {
  if (r.kind == Kind::uninitialised) return std::string(name_of(r.kind));
  if (r.is_scalar())
    return r.number.is_unknown() ? "number, any of 64 bits" : fmt::format("number {}", bounds(r.number));
  std::string text(name_of(r.kind));
  if (!map_name.empty()) text += fmt::format(" of {}", map_name);
  if (r.kind == Kind::memory) text += fmt::format(" of {} bytes", r.extent);
  if (r.is_packet()) text += fmt::format(" ({} bytes proved)", r.extent);
  if (r.off != 0) text += fmt::format(" at {:+}", r.off);
  if (!r.is_fixed()) text += fmt::format(" plus {}", bounds(r.number));
  if (r.or_null) text += ", or null";
  return text;
}

}  // namespace skep::verify
