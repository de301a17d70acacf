// See oracle.hpp.
#include "oracle.hpp"

#include <fmt/format.h>

#include <algorithm>
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

void Embedding::forget() {
  for (At& at : proof_.by_insn) at.states.clear(), at.last = 0;
  proof_.calls.clear();
  proof_.parts.clear();
  proof_.longest_run.reset();
  looks_ = 0;
}

void Embedding::become(verify::StateObserver& attempt) { proof_ = std::move(static_cast<Embedding&>(attempt).proof_); }

void Embedding::explored(const verify::Explored& explored) {
  if (proof_.by_insn.size() <= explored.insn) proof_.by_insn.resize(explored.insn + 1);
  State state{static_cast<u32>(proof_.calls.size()), static_cast<u32>(explored.frames.size()),
              static_cast<u32>(proof_.parts.size()), 0};
  for (std::size_t d = 0; d < explored.frames.size(); d++) {
    const verify::ExploredFrame& frame = explored.frames[d];
    proof_.calls.push_back({frame.function, d > 0 ? frame.call_insn : 0});
    const bool is_top = d + 1 == explored.frames.size();
    for (u32 r = 0; r < isa::frame_pointer; r++) {
      if ((frame.live_regs >> r & 1) == 0 || (!is_top && r < 6)) continue;
      const Register& held = explored.reg(frame, r);
      if (!counts(held, (frame.precise_regs >> r & 1) != 0)) continue;
      proof_.parts.push_back({static_cast<u8>(d), false, static_cast<u8>(r), 8, 0, true, held});
    }
    const std::span<const verify::ExploredSlot> slots = explored.slots_of(frame);
    for (u32 s = 0; s < slots.size(); s++) {
      const verify::ExploredSlot& slot = slots[s];
      if ((frame.live_slots >> s & 1) == 0) continue;
      Expected part{static_cast<u8>(d), true, static_cast<u8>(s), 0, 0, false, {}};
      for (u32 b = 0; b < verify::slot_bytes; b++) {
        if (slot.bytes[b] == Byte::zero) part.zero = static_cast<u8>(part.zero | 1u << b);
        if (slot.bytes[b] == Byte::spilled && part.bytes == b) part.bytes++;
      }
      const Register* held = explored.held(slot);
      part.has_value = part.bytes > 0 && held != nullptr && counts(*held, (frame.precise_slots >> s & 1) != 0);
      if (part.has_value) part.value = *held;
      if (part.has_value || part.zero != 0) proof_.parts.push_back(part);
    }
  }
  state.parts = static_cast<u32>(proof_.parts.size()) - state.first_part;
  At& at = proof_.by_insn[explored.insn];
  if (is_known(at, state)) {
    proof_.calls.resize(state.first_call);
    proof_.parts.resize(state.first_part);
  } else {
    at.states.push_back(state);
  }
}

/// Rounds of a loop mostly differ in what does not count: whether one of the newest states says the same.
bool Embedding::is_known(const At& at, const State& state) const {
  constexpr std::size_t looked_at = 4;
  const std::size_t count = std::min(looked_at, at.states.size());
  return std::any_of(at.states.end() - static_cast<std::ptrdiff_t>(count), at.states.end(), [&](const State& known) {
    return std::ranges::equal(parts_of(known), parts_of(state)) && std::ranges::equal(calls_of(known), calls_of(state));
  });
}

void Embedding::begin(const verify::VerifiedProgram& program, const vm::Bytecode* code, const World* world) {
  code_ = code;
  world_ = world;
  context_.reset();
  packet_fields_ = {};
  const catalog::Context* layout = catalog::context_of(program.type());
  if (layout == nullptr) return;
  for (const catalog::ContextField& field : layout->fields) {
    if (field.native < 0) continue;
    const u64 place = static_cast<u64>(field.native) + 1;
    if (field.kind == catalog::Field::packet) packet_fields_.data = place;
    if (field.kind == catalog::Field::packet_end) packet_fields_.end = place;
    if (field.kind == catalog::Field::packet_meta) packet_fields_.meta = place;
  }
}

std::string Embedding::look(const vm::Machine& machine) {
  if (machine.code != code_) return {};
  looks_++;
  if (machine.insn == 0 && machine.frames.size() == 1) context_ = machine.registers[1];
  if (machine.insn >= proof_.by_insn.size() || proof_.by_insn[machine.insn].states.empty())
    return "runs, and no state was explored there";
  At& at = proof_.by_insn[machine.insn];
  if (is_held(at, machine)) return {};
  std::string words = fmt::format("none of {} explored states holds the machine", at.states.size());
  for (std::size_t i = 0; i < at.states.size() && i < 6; i++)
    words += fmt::format("\n    state {}: {}", i, text(at.states[i], difference(at.states[i], machine)));
  return words;
}

/// The state that held last time is looked at first, then those explored before and after it: so rounds of a loop find
/// each other.
bool Embedding::is_held(At& at, const vm::Machine& machine) {
  const std::size_t count = at.states.size(), last = at.last;
  const auto holds = [&](std::size_t i) {
    if (difference(at.states[i], machine)) return false;
    at.last = i;
    return true;
  };
  if (holds(last)) return true;
  for (std::size_t away = 1; away <= last || away < count - last; away++) {
    if (away <= last && holds(last - away)) return true;
    if (away < count - last && holds(last + away)) return true;
  }
  return false;
}

Embedding::Difference Embedding::difference(const State& state, const vm::Machine& machine) {
  const std::span<const Call> calls = calls_of(state);
  if (machine.frames.size() < calls.size()) return {.what = What::shallow};
  const std::size_t first_frame = machine.frames.size() - calls.size();
  for (std::size_t d = 0; d < calls.size(); d++) {
    const vm::MachineFrame& frame = machine.frames[first_frame + d];
    if (frame.function != calls[d].function || (d > 0 && frame.call_insn != calls[d].call_insn))
      return {.what = What::other_calls};
  }
  scalars_.clear();
  nulls_.clear();
  for (const Expected& part : parts_of(state))
    if (const Difference found = part_difference(part, machine, first_frame)) return found;
  return {};
}

Embedding::Difference Embedding::part_difference(const Expected& part, const vm::Machine& machine,
                                                 std::size_t first_frame) {
  const vm::MachineFrame& frame = machine.frames[first_frame + part.frame];
  const bool is_top = first_frame + part.frame + 1 == machine.frames.size();
  u64 value = 0;
  if (!part.is_slot) {
    value = is_top ? machine.registers[part.index] : frame.callee_saved[part.index - 6];
  } else {
    value = word_at(frame.frame_pointer - u64{verify::slot_bytes} * (part.index + 1u));
    for (u32 b = 0; part.zero >> b != 0; b++)
      if ((part.zero >> b & 1) != 0 && (value >> (8 * b) & 0xff) != 0) return {What::not_zero, &part, value, b};
    if (part.bytes < 8) value &= (u64{1} << (8 * part.bytes)) - 1;
  }
  if (!part.has_value) return {};
  Difference found;
  const Register& expected = part.value;
  if (!expected.is_scalar()) {
    found = pointer_difference(expected, value, machine, first_frame);
  } else if (!expected.number.contains(value)) {
    found.what = What::outside;
  } else if (expected.id != 0) {
    const u64 moved = expected.has_delta ? value - static_cast<u64>(s64{expected.off}) : value;
    const u64 base = expected.narrow_delta ? static_cast<u32>(moved) : moved;
    if (!same_as_others(scalars_, expected.id, base)) found.what = What::unequal;
  }
  found.part = &part;
  found.value = value;
  return found;
}

/// Numbers (distances taken off) or nullness of everything with this id are equal.
bool Embedding::same_as_others(std::vector<Equal>& equals, u32 id, u64 value) {
  for (const Equal& other : equals)
    if (other.id == id) return other.value == value;
  equals.push_back({id, value});
  return true;
}

Embedding::Difference Embedding::pointer_difference(const Register& expected, u64 value, const vm::Machine& machine,
                                                    std::size_t first_frame) {
  if (expected.kind == Kind::arena || expected.kind == Kind::irq_flag) return {};
  if (expected.or_null) {
    if (expected.id != 0 && !same_as_others(nulls_, expected.id, value == 0 ? 1 : 0))
      return {.what = What::unequal_null};
    if (value == 0) return {};
  }
  const u64 place = value - static_cast<u64>(s64{expected.off});  // base + the part that varies
  auto from = [&](u64 base) -> Difference {
    if (expected.number.contains(place - base)) return {};
    return {.what = What::offset, .detail = place - base};
  };
  switch (expected.kind) {
    case Kind::stack:
      return from(machine.frames[first_frame + expected.frame].frame_pointer);
    case Kind::context:
      return context_ ? from(*context_) : Difference{};
    case Kind::packet:
    case Kind::packet_meta:
    case Kind::packet_end:
      return packet_difference(expected, place);
    case Kind::map_value: {
      if (!expected.or_null && value == 0) return {.what = What::null};
      if (world_ == nullptr || !expected.number.is_const()) return {};
      const auto begins = world_->value_begins_at(expected.object, place - expected.number.value());
      return begins.value_or(true) ? Difference{} : Difference{.what = What::no_value};
    }
    default:
      return value == 0 && expected.off == 0 && expected.is_fixed() ? Difference{.what = What::null} : Difference{};
  }
}

Embedding::Difference Embedding::packet_difference(const Register& expected, u64 place) const {
  const Packet now = packet();
  if (now.end == 0) return {};
  if (expected.kind == Kind::packet_end)
    return place == now.end ? Difference{} : Difference{.what = What::not_end, .detail = now.end};
  const u64 base = expected.kind == Kind::packet ? now.data : now.meta;
  const u64 limit = expected.kind == Kind::packet ? now.end : now.data;
  if (!expected.number.contains(place - base)) return {.what = What::offset, .detail = place - base};
  const u64 pointer = place + static_cast<u64>(s64{expected.off});
  if (expected.past_end != verify::PastEnd::unknown &&
      pointer < now.end + (expected.past_end == verify::PastEnd::passed))
    return {.what = What::before_end, .detail = now.end};
  if (expected.extent != 0 && place + expected.extent > limit) return {.what = What::past_end, .detail = limit - place};
  return {};
}

/// Where the packet is, as the context in the engine's own layout says; zeroes where it has none.
Embedding::Packet Embedding::packet() const {
  const auto at = [this](u64 field) { return field == 0 || !context_ ? 0 : word_at(*context_ + field - 1); };
  return {at(packet_fields_.data), at(packet_fields_.end), at(packet_fields_.meta)};
}

std::string Embedding::text(const State& state, const Difference& difference) const {
  if (difference.what == What::none) return "holds it";
  if (difference.what == What::shallow) return fmt::format("is {} calls deep", state.calls);
  if (difference.what == What::other_calls) return "has other calls around it";
  const Expected& part = *difference.part;
  const std::string where =
      fmt::format("frame {} {}{} is {:#x}: ", part.frame, part.is_slot ? "slot " : "r", part.index, difference.value);
  switch (difference.what) {
    case What::not_zero:
      return where + fmt::format("byte {} should be 0", difference.detail);
    case What::outside:
      return where + "not in " + range_of(part.value.number);
    case What::unequal:
      return where + fmt::format("differs from another number of id {}", part.value.id);
    case What::unequal_null:
      return where + "is null where its equal is not, or the other way round";
    case What::offset:
      return where + fmt::format("{} with offset {}: {:#x} behind its base, not in {}",
                                 verify::name_of(part.value.kind), part.value.off, difference.detail,
                                 range_of(part.value.number));
    case What::no_value:
      return where + fmt::format("no value of map {} begins there", part.value.object);
    case What::before_end:
      return where + fmt::format("lies before the end of the packet, {:#x}", difference.detail);
    case What::not_end:
      return where + fmt::format("is not the end of the packet, {:#x}", difference.detail);
    case What::past_end:
      return where + fmt::format("{} bytes are proved there, the packet has {}", part.value.extent,
                                 static_cast<s64>(difference.detail));
    default:
      return where + "is null";
  }
}

}  // namespace skep::embedding
