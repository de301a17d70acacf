// Blocks and slots (see shape.hpp).
#include "vm/jit/shape.hpp"

#include <algorithm>
#include <bitset>
#include <utility>

#include "base/sort_by.hpp"
#include "catalog/helpers.hpp"

namespace skep::vm::jit {
namespace {

using isa::Form;
using isa::Op;

constexpr s32 frame_size = static_cast<s32>(isa::stack_size_bytes);

/// Near enough to r10 to be added to without a thought of overflow.
bool is_near(s32 offset) { return offset >= -2 * frame_size && offset <= 2 * frame_size; }

bool is_frame_range(s32 low, s32 high) { return low >= -frame_size && low < high && high <= 0; }

}  // namespace

/// A plain access to the function's own frame at a constant offset.
struct Shaper::Direct {
  u32 insn;
  s16 low;
  u8 bytes;
};

/// What a function does with its frame.
struct Shaper::Accesses {
  struct Given {
    u32 insn;
    u8 argument;
    Passed bytes;
  };
  struct Store {
    s16 low;
    u8 bytes;
    Known what;
  };
  std::vector<Direct> direct;
  std::vector<Store> stores;
  std::vector<Given> given;                   ///< to map helpers
  std::bitset<isa::stack_size_bytes> memory;  ///< what must be memory, from r10 - 512 up

  void mark(s32 low, s32 high) {
    for (s32 b = std::max(low, -frame_size); b < std::min(high, 0); b++) memory.set(static_cast<u32>(b + frame_size));
  }
  bool is_memory(s32 low, s32 high) const {
    for (s32 b = low; b < high; b++)
      if (memory.test(static_cast<u32>(b + frame_size))) return true;
    return false;
  }
  bool is_given(const verify::StackTouch& touch) const {
    // Not equal_range(): Clang 14 does not take what it returns for a range.
    const auto first = std::ranges::lower_bound(given, touch.insn, {}, &Given::insn);
    const auto last = std::ranges::upper_bound(given, touch.insn, {}, &Given::insn);
    return std::any_of(first, last, [&](const Given& g) {
      return g.argument == touch.reg && g.bytes.low == touch.low && g.bytes.low + g.bytes.bytes == touch.high;
    });
  }
};

Shaper::Shaper(const Bytecode& code)
    : code_(code),
      leader_(code.insns.size(), 0),
      block_at_(code.insns.size(), 0),
      access_(code.insns.size()),
      calls_(code.insns.size(), 0),
      maps_(code.insns.size(), nullptr),
      passed_(code.insns.size()) {
  for (std::size_t i = 0; i < code.insns.size(); i += isa::is_ld_imm64(code.insns[i]) ? 2 : 1)
    if (code.ops[i] == Op::call_local) calls_[static_cast<std::size_t>(static_cast<s64>(i) + 1 + code.insns[i].imm)]++;
  by_entry_.assign(code.insns.size(), nullptr);
  for (u32 t = 0; t < code.stack_touches.size(); t++) touches_.push_back(t);
  base::sort_by(touches_, [&](u32 t) { return code.stack_touches[t].function; });
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

/// Follows r10 and map addresses through the function: compilers keep both in registers over loops. What a register
/// holds at the start of a block is what it holds at the end of all its predecessors.
void Shaper::follow_all(const Shape& shape, Accesses& found) {
  constexpr u32 most_rounds = 5;  // each goes once more around loops within loops; else blocks know nothing at first
  Registers fresh{};
  fresh[isa::frame_pointer] = {Known::Kind::frame, 0};
  std::vector<Registers> at_start(shape.blocks.size(), fresh);
  std::vector<bool> is_reached(shape.blocks.size(), false);
  is_reached[0] = true;
  const auto meet = [&](u32 to, const Registers& known) {
    const bool is_first = !is_reached[to];
    is_reached[to] = true;
    const Registers before = std::exchange(at_start[to], is_first ? known : at_start[to]);
    for (u32 r = 0; r < known.size() && !is_first; r++)
      if (at_start[to][r] != known[r]) at_start[to][r] = {};
    return is_first || before != at_start[to];
  };
  bool changed = true;
  for (u32 round = 0; changed && round < most_rounds; round++) {
    changed = false;
    for (u32 b = 0; b < shape.blocks.size(); b++) {
      Registers known = at_start[b];
      follow(shape.blocks[b], known, nullptr);
      for (u32 s = 0; s < shape.blocks[b].successor_count; s++) {
        const u32 to = shape.blocks[b].successors[s];
        const bool differs = meet(to, known);
        changed = changed || (differs && to <= b);
      }
    }
  }
  for (u32 b = 0; b < shape.blocks.size(); b++) {
    Registers known = changed ? fresh : at_start[b];
    follow(shape.blocks[b], known, &found);
  }
}

void Shaper::follow(const ShapeBlock& block, Registers& known, Accesses* found) {
  for (u32 i = block.begin; i < block.end; i++) {
    const Insn& insn = code_.insns[i];
    const Op op = code_.ops[i];
    const Form form = isa::row(op).form;
    const u32 bytes = isa::access_bytes(insn);
    const auto note = [&](const Known& base, s32 off) {
      const s32 low = base.offset + off;
      if (base.kind != Known::Kind::frame || !is_frame_range(low, low + static_cast<s32>(bytes))) return Known{};
      const bool is_word = bytes == 8 && low % 8 == 0;
      if (found == nullptr) return is_word ? spills_[static_cast<u32>(low + frame_size) / 8] : Known{};
      found->direct.push_back({i, static_cast<s16>(low), static_cast<u8>(bytes)});
      if (form != Form::load)
        found->stores.push_back({static_cast<s16>(low), static_cast<u8>(bytes),
                                 form == Form::store_reg && is_word ? known[insn.src] : Known{}});
      return is_word ? spills_[static_cast<u32>(low + frame_size) / 8] : Known{};
    };
    switch (form) {
      case Form::load:
        known[insn.dst] = note(known[insn.src], insn.off);
        break;
      case Form::store_imm:
      case Form::store_reg:
        note(known[insn.dst], insn.off);
        break;
      case Form::call_helper:
        if (found != nullptr) follow_call(i, known, *found);
        [[fallthrough]];
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
        if (op == Op::add64_imm && known[insn.dst].kind == Known::Kind::frame && is_near(insn.imm) &&
            is_near(known[insn.dst].offset))
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

/// A look-up, update or removal in a known map: it reads a key, perhaps a value.
void Shaper::follow_call(u32 insn, const Registers& known, Accesses& found) {
  using catalog::HelperId;
  constexpr u32 most_bytes = 64;
  const Known& map = known[1];
  if (map.kind != Known::Kind::map) return;
  maps_[insn] = map.view;
  const auto helper = static_cast<HelperId>(code_.insns[insn].imm);
  const bool is_update = helper == HelperId::map_update_elem;
  const base::HelperFn direct = helper == HelperId::map_lookup_elem   ? map.view->lookup
                                : helper == HelperId::map_delete_elem ? map.view->erase
                                : is_update                           ? map.view->update
                                                                      : nullptr;
  if (direct == nullptr) return;
  const auto give = [&](u8 argument, u32 bytes) {
    const Known& at = known[argument];
    if (at.kind != Known::Kind::frame || bytes == 0 || bytes > most_bytes) return;
    if (!is_frame_range(at.offset, at.offset + static_cast<s32>(bytes))) return;
    found.given.push_back({insn, argument, {static_cast<s16>(at.offset), static_cast<u8>(bytes)}});
  };
  give(2, map.view->key_size);
  if (is_update) give(3, map.view->value_size);
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

Shaper::Accesses Shaper::accesses_of(const Shape& shape) {
  Accesses found;
  follow_all(shape, found);
  std::ranges::sort(found.given, {}, &Accesses::Given::insn);
  if (code_.proofs.empty()) {
    if (frame_escapes(code_, shape)) found.mark(-frame_size, 0);
    return found;
  }
  std::size_t next = 0;
  std::ranges::sort(found.direct, {}, &Direct::insn);
  const auto of_function = [&](u32 t) { return code_.stack_touches[t].function; };
  auto at = std::ranges::lower_bound(touches_, shape.entry, {}, of_function);
  for (const auto last = std::ranges::upper_bound(touches_, shape.entry, {}, of_function); at != last; ++at) {
    const auto& touch = code_.stack_touches[*at];
    while (next < found.direct.size() && found.direct[next].insn < touch.insn) next++;
    const bool is_direct = next < found.direct.size() && found.direct[next].insn == touch.insn;
    if (!is_direct && !found.is_given(touch)) found.mark(touch.low, touch.high);
  }
  return found;
}

/// Words of the stack that only ever hold one address of the frame or of a map: compilers that run out of registers put
/// such there. What a verified program loads was stored before. False: there are none.
bool Shaper::find_spills(const Accesses& found) {
  if (code_.proofs.empty() || code_.clear_frames) return false;
  std::array<u8, isa::stack_size_bytes / 8> state{};  // 0: no store, 1: one address, 2: anything
  bool any = false;
  for (const auto& store : found.stores) {
    const u32 first = static_cast<u32>(store.low + frame_size) / 8;
    const u32 last = static_cast<u32>(store.low + store.bytes - 1 + frame_size) / 8;
    for (u32 w = first; w <= last; w++) {
      const bool is_same = state[w] == 0 || (state[w] == 1 && spills_[w] == store.what);
      state[w] = is_same && store.what.kind != Known::Kind::nothing ? 1 : 2;
      spills_[w] = store.what;
    }
  }
  for (u32 w = 0; w < state.size(); w++) {
    const s32 low = static_cast<s32>(w * 8) - frame_size;
    if (state[w] != 1 || found.is_memory(low, low + 8)) spills_[w] = {};
    any = any || spills_[w].kind != Known::Kind::nothing;
  }
  return any;
}

/// What only plain accesses and map helpers touch, and a register can hold, is a slot.
void Shaper::find_slots(Shape& shape) {
  spills_ = {};
  Accesses found = accesses_of(shape);
  if (find_spills(found)) found = accesses_of(shape);
  std::ranges::sort(found.direct, {}, &Direct::low);
  while (!make_slots(shape, found)) {
  }
  for (const auto& given : found.given)
    if (!found.is_memory(given.bytes.low, given.bytes.low + given.bytes.bytes))
      passed_[given.insn][given.argument - 2u] = given.bytes;
  for (s32 b = -frame_size; b < 0; b++)
    if (found.memory.test(static_cast<u32>(b + frame_size))) {
      shape.frame_bytes = (static_cast<u32>(-b) + 7) / 8 * 8;
      break;
    }
}

/// Groups the direct accesses, which are sorted by place. False: something became memory that had been a slot before;
/// at most once for every byte of the frame.
bool Shaper::make_slots(Shape& shape, Accesses& found) {
  shape.slots.clear();
  const auto& direct = found.direct;
  for (std::size_t i = 0; i < direct.size();) {
    const s32 low = direct[i].low;
    s32 high = low + direct[i].bytes;
    u32 widest = direct[i].bytes;
    std::size_t end = i + 1;
    for (; end < direct.size() && direct[end].low < high; end++) {
      high = std::max<s32>(high, direct[end].low + direct[end].bytes);
      widest = std::max<u32>(widest, direct[end].bytes);
    }
    const bool is_slot = high - low == static_cast<s32>(widest) && !found.is_memory(low, high);
    if (is_slot)
      shape.slots.push_back({static_cast<s16>(low), static_cast<u8>(widest)});
    else
      found.mark(low, high);
    for (; i < end; i++)
      access_[direct[i].insn] =
          is_slot ? SlotAccess{static_cast<u16>(shape.slots.size()), static_cast<u8>((direct[i].low - low) * 8)}
                  : SlotAccess{};
  }
  const auto before = found.memory;
  for (const auto& given : found.given) {
    const s32 low = given.bytes.low, high = low + given.bytes.bytes;
    if (found.is_memory(low, high)) found.mark(low, high);
  }
  return before == found.memory;
}

}  // namespace skep::vm::jit
