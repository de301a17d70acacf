// See oracle.hpp.
#include "oracle.hpp"

#include <fmt/format.h>

#include <cstring>

#include "catalog/contexts.hpp"

namespace skep::embedding {

using verify::Byte;
using verify::Kind;
using verify::Register;

namespace {

/// Whether a difference from what is expected can be seen from outside.
bool counts(const Register& r, bool precise) {
  if (r.kind == Kind::uninitialised) return false;
  return !r.is_scalar() || precise;
}

u64 word_at(u64 address) {
  u64 word = 0;
  std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof word);
  return word;
}

std::string range_of(const verify::Scalar& n) {
  return fmt::format("unsigned [{:#x}, {:#x}] signed [{}, {}] low [{:#x}, {:#x}] signed [{}, {}] bits {:#x}/{:#x}",
                     n.wide.umin, n.wide.umax, n.wide.smin, n.wide.smax, n.narrow.umin, n.narrow.umax, n.narrow.smin,
                     n.narrow.smax, n.bits.value, n.bits.mask);
}

}  // namespace

void Embedding::explored(const verify::Explored& explored) {
  if (by_insn_.size() <= explored.insn) by_insn_.resize(explored.insn + 1);
  State state;
  for (std::size_t d = 0; d < explored.frames.size(); d++) {
    const verify::ExploredFrame& frame = explored.frames[d];
    state.functions.push_back(frame.function);
    state.call_insns.push_back(frame.call_insn);
    const bool is_top = d + 1 == explored.frames.size();
    for (u32 r = 0; r < isa::frame_pointer; r++) {
      if ((frame.live_regs >> r & 1) == 0 || (!is_top && r < 6)) continue;
      if (!counts(frame.regs[r], (frame.precise_regs >> r & 1) != 0)) continue;
      state.parts.push_back({static_cast<u8>(d), false, static_cast<u8>(r), 8, 0, true, frame.regs[r]});
    }
    for (u32 s = 0; s < frame.slots.size(); s++) {
      const verify::ExploredSlot& slot = frame.slots[s];
      if ((frame.live_slots >> s & 1) == 0) continue;
      Expected part{static_cast<u8>(d), true, static_cast<u8>(s), 0, 0, false, slot.held};
      for (u32 b = 0; b < verify::slot_bytes; b++) {
        if (slot.bytes[b] == Byte::zero) part.zero = static_cast<u8>(part.zero | 1u << b);
        if (slot.bytes[b] == Byte::spilled && part.bytes == b) part.bytes++;
      }
      part.has_value = part.bytes > 0 && counts(slot.held, (frame.precise_slots >> s & 1) != 0);
      if (part.has_value || part.zero != 0) state.parts.push_back(part);
    }
  }
  by_insn_[explored.insn].states.push_back(std::move(state));
  state_count_++;
}

void Embedding::begin(const verify::VerifiedProgram& program, const vm::Bytecode* code, const World* world) {
  type_ = program.type();
  code_ = code;
  world_ = world;
  context_.reset();
}

std::string Embedding::look(const vm::Machine& machine) {
  if (machine.code != code_) return {};
  looks_++;
  if (machine.insn == 0 && machine.frames.size() == 1) context_ = machine.registers[1];
  if (machine.insn >= by_insn_.size() || by_insn_[machine.insn].states.empty())
    return "runs, and no state was explored there";
  At& at = by_insn_[machine.insn];
  if (mismatch(at.states[at.last], machine).empty()) return {};
  for (std::size_t i = 0; i < at.states.size(); i++) {
    if (!mismatch(at.states[i], machine).empty()) continue;
    at.last = i;
    return {};
  }
  std::string text = fmt::format("none of {} explored states holds the machine", at.states.size());
  for (std::size_t i = 0; i < at.states.size() && i < 6; i++)
    text += fmt::format("\n    state {}: {}", i, mismatch(at.states[i], machine));
  return text;
}

std::string Embedding::mismatch(const State& state, const vm::Machine& machine) {
  const std::size_t depth = state.functions.size();
  if (machine.frames.size() < depth) return fmt::format("is {} calls deep", depth);
  const std::size_t first_frame = machine.frames.size() - depth;
  for (std::size_t d = 0; d < depth; d++) {
    const vm::MachineFrame& frame = machine.frames[first_frame + d];
    if (frame.function != state.functions[d] || (d > 0 && frame.call_insn != state.call_insns[d]))
      return "has other calls around it";
  }
  scalars_.clear();
  nulls_.clear();
  for (const Expected& part : state.parts)
    if (auto what = part_mismatch(part, machine, first_frame); !what.empty()) return what;
  return {};
}

std::string Embedding::part_mismatch(const Expected& part, const vm::Machine& machine, std::size_t first_frame) {
  const vm::MachineFrame& frame = machine.frames[first_frame + part.frame];
  const bool is_top = first_frame + part.frame + 1 == machine.frames.size();
  u64 value = 0;
  if (!part.is_slot) {
    value = is_top ? machine.registers[part.index] : frame.callee_saved[part.index - 6];
  } else {
    value = word_at(frame.frame_pointer - u64{verify::slot_bytes} * (part.index + 1u));
    for (u32 b = 0; b < verify::slot_bytes; b++)
      if ((part.zero >> b & 1) != 0 && (value >> (8 * b) & 0xff) != 0)
        return fmt::format("frame {} slot {}: byte {} should be 0, the slot is {:#x}", part.frame, part.index, b,
                           value);
    if (part.bytes < 8) value &= (u64{1} << (8 * part.bytes)) - 1;
  }
  if (!part.has_value) return {};
  auto what = value_mismatch(part.value, value, machine, first_frame);
  if (what.empty()) return {};
  return fmt::format("frame {} {}{} is {:#x}: {}", part.frame, part.is_slot ? "slot " : "r", part.index, value, what);
}

/// Numbers (distances taken off) or nullness of everything with this id are equal.
bool Embedding::same_as_others(std::vector<Equal>& equals, u32 id, u64 value) {
  for (const Equal& other : equals)
    if (other.id == id) return other.value == value;
  equals.push_back({id, value});
  return true;
}

std::string Embedding::value_mismatch(const Register& expected, u64 value, const vm::Machine& machine,
                                      std::size_t first_frame) {
  if (!expected.is_scalar()) return pointer_mismatch(expected, value, machine, first_frame);
  if (!expected.number.contains(value)) return "not in " + range_of(expected.number);
  const u64 base = expected.has_delta ? value - static_cast<u64>(s64{expected.off}) : value;
  if (expected.id != 0 && !same_as_others(scalars_, expected.id, base))
    return fmt::format("differs from another number of id {}", expected.id);
  return {};
}

std::string Embedding::pointer_mismatch(const Register& expected, u64 value, const vm::Machine& machine,
                                        std::size_t first_frame) {
  if (expected.kind == Kind::arena || expected.kind == Kind::irq_flag) return {};
  if (expected.or_null) {
    if (expected.id != 0 && !same_as_others(nulls_, expected.id, value == 0 ? 1 : 0))
      return "is null where its equal is not, or the other way round";
    if (value == 0) return {};
  }
  const u64 place = value - static_cast<u64>(s64{expected.off});  // base + the part that varies
  auto from = [&](u64 base) -> std::string {
    if (expected.number.contains(place - base)) return {};
    return fmt::format("{} with offset {}: {:#x} behind its base, not in {}", verify::name_of(expected.kind),
                       expected.off, place - base, range_of(expected.number));
  };
  switch (expected.kind) {
    case Kind::stack:
      return from(machine.frames[first_frame + expected.frame].frame_pointer);
    case Kind::context:
      return context_ ? from(*context_) : "";
    case Kind::packet:
    case Kind::packet_meta:
    case Kind::packet_end:
      return packet_mismatch(expected, place);
    case Kind::map_value: {
      if (!expected.or_null && value == 0) return "is null";
      if (world_ == nullptr || !expected.number.is_const()) return {};
      const auto begins = world_->value_begins_at(expected.object, place - expected.number.value());
      return begins.value_or(true) ? "" : fmt::format("no value of map {} begins there", expected.object);
    }
    default:
      return value == 0 && expected.off == 0 && expected.is_fixed() ? "is null" : "";
  }
}

std::string Embedding::packet_mismatch(const Register& expected, u64 place) const {
  const Packet now = packet();
  if (now.end == 0) return {};
  if (expected.kind == Kind::packet_end)
    return place == now.end ? "" : fmt::format("is not the end of the packet, {:#x}", now.end);
  const u64 base = expected.kind == Kind::packet ? now.data : now.meta;
  const u64 limit = expected.kind == Kind::packet ? now.end : now.data;
  if (!expected.number.contains(place - base))
    return fmt::format("{:#x} behind the packet's begin, not in {}", place - base, range_of(expected.number));
  if (expected.extent != 0 && place + expected.extent > limit)
    return fmt::format("{} bytes are proved there, the packet has {}", expected.extent,
                       static_cast<s64>(limit - place));
  return {};
}

/// Where the packet is, as the context in the engine's own layout says; zeroes where it has none.
Embedding::Packet Embedding::packet() const {
  Packet packet;
  const catalog::Context* layout = catalog::context_of(type_);
  if (layout == nullptr || !context_) return packet;
  for (const catalog::ContextField& field : layout->fields) {
    if (field.native < 0) continue;
    const u64 word = word_at(*context_ + static_cast<u64>(field.native));
    if (field.kind == catalog::Field::packet) packet.data = word;
    if (field.kind == catalog::Field::packet_end) packet.end = word;
    if (field.kind == catalog::Field::packet_meta) packet.meta = word;
  }
  return packet;
}

}  // namespace skep::embedding
