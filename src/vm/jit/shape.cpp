// Blocks and slots (see shape.hpp).
#include "vm/jit/shape.hpp"

#include <algorithm>
#include <bitset>

#include "catalog/helpers.hpp"

namespace skep::vm::jit {
namespace {

using isa::Form;
using isa::Op;

constexpr s32 frame_size = static_cast<s32>(isa::stack_size_bytes);

bool is_frame_range(s32 low, s32 high) { return low >= -frame_size && low < high && high <= 0; }

}  // namespace

/// A plain access to the function's own frame at a constant offset.
struct Shaper::Direct {
  u32 insn;
  s16 low;
  u8 bytes;
};

Shaper::Shaper(const Bytecode& code)
    : code_(code),
      leader_(code.insns.size(), 0),
      block_at_(code.insns.size(), 0),
      access_(code.insns.size()),
      calls_(code.insns.size(), 0),
      lookup_(code.insns.size(), nullptr) {
  for (std::size_t i = 0; i < code.insns.size(); i += isa::is_ld_imm64(code.insns[i]) ? 2 : 1)
    if (code.ops[i] == Op::call_local) calls_[static_cast<std::size_t>(static_cast<s64>(i) + 1 + code.insns[i].imm)]++;
  by_entry_.assign(code.insns.size(), nullptr);
  for (u32 t = 0; t < code.stack_touches.size(); t++) touches_.push_back(t);
  std::ranges::stable_sort(touches_, {}, [&](u32 t) { return code.stack_touches[t].function; });
}

const Shape& Shaper::at(u32 entry) {
  if (by_entry_[entry] != nullptr) return *by_entry_[entry];
  auto made = std::make_unique<Shape>();
  made->entry = entry;
  find_blocks(*made);
  find_slots(*made);
  by_entry_[entry] = made.get();
  shapes_.push_back(std::move(made));
  return *by_entry_[entry];
}

const base::MapView* Shaper::view_of(u64 map_address) const {
  for (const auto& use : code_.map_uses)
    if (use.address == map_address) return &use.view;
  return nullptr;
}

/// Depth-first from the entry: marks where blocks begin, then cuts the blocks and orders them.
void Shaper::find_blocks(Shape& shape) {
  constexpr u8 seen = 1, starts = 2;
  std::vector<u32> work{shape.entry};
  std::vector<u32> touched;
  while (!work.empty()) {
    u32 i = work.back();
    work.pop_back();
    leader_[i] |= starts;
    while ((leader_[i] & seen) == 0) {
      leader_[i] |= seen;
      touched.push_back(i);
      ShapeBlock probe{i, i + 1};
      end_block(shape, probe);
      const Form form = isa::row(code_.ops[i]).form;
      if (isa::is_jump(form) || form == Form::exit) {
        for (u32 s = 0; s < probe.successor_count; s++) work.push_back(probe.successors[s]);
        break;
      }
      i += isa::is_ld_imm64(code_.insns[i]) ? 2 : 1;
      if (i >= code_.insns.size()) break;
    }
  }
  std::ranges::sort(touched);
  std::vector<ShapeBlock> found;
  for (const u32 i : touched) {
    if ((leader_[i] & starts) != 0 || found.empty()) found.push_back({i, i});
    block_at_[i] = static_cast<u32>(found.size() - 1);
    found.back().end = i + (isa::is_ld_imm64(code_.insns[i]) ? 2 : 1);
    shape.insn_count++;
    const Form form = isa::row(code_.ops[i]).form;
    shape.has_may_goto = shape.has_may_goto || form == Form::may_goto;
  }
  // `touched` may hold a stretch that another function reaches too; marks are for this function only.
  for (const u32 i : touched) leader_[i] = 0;
  for (auto& block : found) {
    end_block(shape, block);
    for (u32 s = 0; s < block.successor_count; s++) block.successors[s] = block_at_[block.successors[s]];
  }
  // Reverse postorder.
  std::vector<u32> order, place(found.size(), ~0u), next(found.size(), 0);
  std::vector<u32> stack{block_at_[shape.entry]};
  place[stack[0]] = 0;
  while (!stack.empty()) {
    const u32 b = stack.back();
    if (next[b] == found[b].successor_count) {
      order.push_back(b);
      stack.pop_back();
      continue;
    }
    const u32 to = found[b].successors[next[b]++];
    if (place[to] != ~0u) continue;
    place[to] = 0;
    stack.push_back(to);
  }
  std::ranges::reverse(order);
  for (u32 i = 0; i < order.size(); i++) place[order[i]] = i;
  for (const u32 b : order) {
    ShapeBlock block = found[b];
    for (u32 s = 0; s < block.successor_count; s++) block.successors[s] = place[block.successors[s]];
    shape.blocks.push_back(block);
  }
  for (const auto& block : shape.blocks) {
    // may_goto has two edges to either place: at once, and behind a look at the clock.
    const u32 edges = isa::row(code_.ops[block.end - 1]).form == Form::may_goto ? 2 : 1;
    for (u32 s = 0; s < block.successor_count; s++) shape.blocks[block.successors[s]].predecessors += edges;
  }
}

/// Where the last instruction of the block leads; edges that the verifier proved dead are left out.
void Shaper::end_block(Shape&, ShapeBlock& block) {
  u32 last = block.begin;
  for (u32 i = block.begin; i < block.end; i += isa::is_ld_imm64(code_.insns[i]) ? 2 : 1) last = i;
  const Insn& insn = code_.insns[last];
  const Form form = isa::row(code_.ops[last]).form;
  block.successor_count = 0;
  const auto add = [&](s64 to) { block.successors[block.successor_count++] = static_cast<u32>(to); };
  if (form == Form::exit) return;
  const u32 after = last + (isa::is_ld_imm64(insn) ? 2 : 1);
  if (!isa::is_jump(form)) {
    if (after < code_.insns.size()) add(after);
    return;
  }
  const s64 target = s64{last} + 1 + isa::jump_distance(form, insn);
  const bool is_conditional = form == Form::jump_imm || form == Form::jump_reg;
  const bool is_proved = is_conditional && !code_.proofs.empty() && code_.proofs[last].reached;
  const bool can_fall = form != Form::jump && form != Form::jump_long && after < code_.insns.size();
  if (!is_proved || code_.proofs[last].jump_taken) add(target);
  if (can_fall && (!is_proved || code_.proofs[last].jump_passed)) add(after);
}

/// Follows r10 and map addresses through the registers of one block.
void Shaper::follow(const ShapeBlock& block, std::vector<Direct>& direct) {
  struct Known {
    enum class Kind : u8 { nothing, frame, map } kind = Kind::nothing;
    s32 offset = 0;
    const base::MapView* view = nullptr;
  };
  std::array<Known, isa::register_count> known{};
  known[isa::frame_pointer] = {Known::Kind::frame, 0};
  for (u32 i = block.begin; i < block.end; i++) {
    const Insn& insn = code_.insns[i];
    const Op op = code_.ops[i];
    const Form form = isa::row(op).form;
    const u32 bytes = isa::access_bytes(insn);
    const auto note = [&](const Known& base, s32 off, u32 size) {
      const s32 low = base.offset + off;
      if (base.kind != Known::Kind::frame || !is_frame_range(low, low + static_cast<s32>(size))) return false;
      direct.push_back({i, static_cast<s16>(low), static_cast<u8>(size)});
      return true;
    };
    switch (form) {
      case Form::load:
        note(known[insn.src], insn.off, bytes);
        known[insn.dst] = {};
        break;
      case Form::store_imm:
      case Form::store_reg:
        note(known[insn.dst], insn.off, bytes);
        break;
      case Form::call_helper: {
        const Known& map = known[1];
        if (insn.imm == static_cast<s32>(catalog::HelperId::map_lookup_elem) && map.kind == Known::Kind::map &&
            map.view->kind == base::MapView::Kind::array && map.view->key_size == 4 && note(known[2], 0, 4))
          lookup_[i] = map.view;
        [[fallthrough]];
      }
      case Form::call_local:
      case Form::call_kfunc:
      case Form::callx:
      case Form::ld_abs:
      case Form::ld_ind:
        std::fill_n(known.begin(), 6, Known{});
        break;
      case Form::alu_reg:
        known[insn.dst] = op == Op::mov64_reg ? known[insn.src] : Known{};
        break;
      case Form::alu_imm:
        if (op == Op::add64_imm && known[insn.dst].kind == Known::Kind::frame)
          known[insn.dst].offset += insn.imm;
        else
          known[insn.dst] = {};
        break;
      case Form::ld_imm64:
        known[insn.dst] = {};
        if (const auto* view = view_of(code_.slots[i + 1].wide)) known[insn.dst] = {Known::Kind::map, 0, view};
        i++;
        break;
      case Form::atomic_fetch:
        known[insn.src] = {};
        break;
      case Form::cmpxchg:
        known[0] = {};
        break;
      case Form::alu_unary:
      case Form::movsx:
      case Form::endian:
      case Form::addr_space_cast:
      case Form::load_acquire:
        known[insn.dst] = {};
        break;
      case Form::atomic:
      case Form::store_release:
      case Form::jump:
      case Form::jump_long:
      case Form::may_goto:
      case Form::jump_imm:
      case Form::jump_reg:
      case Form::exit:
        break;
    }
  }
}

namespace {

/// Without a proof nothing is known about pointers: r10 may be used as the base of loads and stores, and no other way.
bool frame_escapes(const Bytecode& code, const Shape& shape) {
  for (const auto& block : shape.blocks)
    for (u32 i = block.begin; i < block.end; i += isa::is_ld_imm64(code.insns[i]) ? 2 : 1) {
      const Insn& insn = code.insns[i];
      const Form form = isa::row(code.ops[i]).form;
      const bool reads_src = form == Form::alu_reg || form == Form::movsx || form == Form::jump_reg ||
                             form == Form::store_reg || form == Form::store_release || form == Form::load_acquire ||
                             form == Form::atomic || form == Form::atomic_fetch || form == Form::cmpxchg ||
                             form == Form::addr_space_cast || form == Form::ld_ind;
      if (reads_src && insn.src == isa::frame_pointer) return true;
      const bool is_access = form == Form::load || form == Form::store_imm || form == Form::store_reg;
      if (insn.dst == isa::frame_pointer && !is_access) return true;
    }
  return false;
}

}  // namespace

/// Groups the direct accesses; what nothing else touches and one register can hold is a slot.
void Shaper::find_slots(Shape& shape) {
  std::vector<Direct> direct;
  for (const auto& block : shape.blocks) follow(block, direct);
  std::bitset<isa::stack_size_bytes> memory;
  const auto mark = [&](s32 low, s32 high) {
    for (s32 b = std::max(low, -frame_size); b < std::min(high, 0); b++) memory.set(static_cast<u32>(b + frame_size));
  };
  if (code_.proofs.empty()) {
    if (frame_escapes(code_, shape)) mark(-frame_size, 0);
  } else {
    std::size_t next = 0;
    std::ranges::sort(direct, {}, &Direct::insn);
    const auto of_function = [&](u32 t) { return code_.stack_touches[t].function; };
    for (const u32 t : std::ranges::equal_range(touches_, shape.entry, {}, of_function)) {
      const auto& touch = code_.stack_touches[t];
      while (next < direct.size() && direct[next].insn < touch.insn) next++;
      const bool is_direct = next < direct.size() && direct[next].insn == touch.insn;
      if (!is_direct) mark(touch.low, touch.high);
    }
  }
  std::ranges::sort(direct, [](const Direct& a, const Direct& b) { return a.low < b.low; });
  for (std::size_t i = 0; i < direct.size();) {
    s32 low = direct[i].low, high = low + direct[i].bytes;
    u32 widest = direct[i].bytes;
    std::size_t end = i + 1;
    for (; end < direct.size() && direct[end].low < high; end++) {
      high = std::max<s32>(high, direct[end].low + direct[end].bytes);
      widest = std::max<u32>(widest, direct[end].bytes);
    }
    bool is_slot = high - low == static_cast<s32>(widest);
    for (s32 b = low; b < high; b++) is_slot = is_slot && !memory.test(static_cast<u32>(b + frame_size));
    if (is_slot) {
      shape.slots.push_back({static_cast<s16>(low), static_cast<u8>(widest)});
      for (; i < end; i++)
        access_[direct[i].insn] = {static_cast<u16>(shape.slots.size()), static_cast<u8>((direct[i].low - low) * 8)};
    } else {
      mark(low, high);
      // A key that is memory is passed by address: the look-up goes through the map's own function.
      for (; i < end; i++) lookup_[direct[i].insn] = nullptr;
    }
    i = end;
  }
  for (s32 b = -frame_size; b < 0; b++)
    if (memory.test(static_cast<u32>(b + frame_size))) {
      shape.frame_bytes = (static_cast<u32>(-b) + 7) / 8 * 8;
      break;
    }
}

}  // namespace skep::vm::jit
