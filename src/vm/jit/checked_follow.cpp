// What is known of registers along a path, and which questions it saves. See checked_plan.hpp for the rules.
#include <algorithm>

#include "vm/jit/checked_plan.hpp"

namespace skep::vm::jit {

using isa::Form;

namespace {

/// Numbers beside a symbol beyond which it is forgotten, and the widest span: both far from where sums of an offset of
/// 16 bits and a displacement of 32 bits could overflow.
constexpr s64 farthest = 1 << 20;
constexpr s64 widest_span = 4096;
constexpr s64 frame_bytes = isa::stack_size_bytes;

// Windows by where a pointer came from: a guess that costs time when it is wrong, never safety.
constexpr u8 window_first_argument = 0, window_argument = 1, window_loaded = 2, loaded_windows = 5,
             window_looked_up = 7, looked_up_windows = 4, window_call = 11, window_constant = 12, window_stack = 14,
             window_unknown = 15;
constexpr u8 no_pointer = 255, not_seen = 254;

}  // namespace

/// Runs twice over the program: code is not laid out in the order it runs, so the first time finds out which windows
/// pointers come with, and the second asks.
class Follower {
 public:
  explicit Follower(Plan& plan) : plan_(plan), code_(plan.code_), windows_into_(code_.insns.size()) {
    for (auto& windows : windows_into_) windows.fill(not_seen);
  }

  void run() {
    u32 block = 0;
    look_ups_ = 0;
    plan_.windows_ = 0;
    forget_all();
    for (u32 i = 0; i < code_.insns.size(); i += isa::slots(code_.insns[i])) {
      if (plan_.leads(i)) {
        settle_groups();
        const bool joined = (plan_.marks_[i] & Plan::joined) != 0;
        if (joined && i != block) escape_into(i);
        if (joined && !ended_) note_windows(i);
        if (joined || ended_) forget_all();
        if (joined) take_windows(i);
        if (i == 0 || plan_.is_called(i)) begin_function(i);
        block = i;
        ended_ = false;
      }
      instruction(i);
    }
    settle_groups();
  }

 private:
  /// symbol + number; symbol 0 is r10.
  struct Known {
    u32 symbol = 0;
    s64 number = 0;
    u8 window = no_pointer;
    const Bytecode::MapUse* map = nullptr;
  };
  /// Touches of one symbol in one block.
  struct Group {
    u32 symbol, first;
    s64 low, high, first_number;
    bool write;
    u8 window;
    u32 count;
  };
  /// Bytes that were touched on this path.
  struct Fact {
    u32 symbol;
    s64 low, high;
    bool write;
  };

  void forget(u8 reg) {
    if (reg == isa::frame_pointer) return;
    known_[reg].symbol = ++symbols_;
    known_[reg].number = 0;
    known_[reg].map = nullptr;
  }
  void forget_all() {
    for (u8 reg = 0; reg < isa::frame_pointer; reg++) forget(reg);
    facts_.clear();
  }
  void begin_function(u32 insn) {
    for (u8 reg = 0; reg < isa::frame_pointer; reg++) known_[reg].window = reg <= 5 ? window_argument : window_unknown;
    if (insn == 0) known_[1].window = window_first_argument;
  }

  /// The first way into a block decides: mostly that into a loop, not around it.
  void note_windows(u32 target) {
    auto& windows = windows_into_[target];
    if (windows[0] != not_seen) return;
    for (u8 reg = 0; reg < isa::frame_pointer; reg++) windows[reg] = known_[reg].window;
  }
  void take_windows(u32 target) {
    const auto& windows = windows_into_[target];
    if (windows[0] == not_seen) return;
    for (u8 reg = 0; reg < isa::frame_pointer; reg++) known_[reg].window = windows[reg];
  }

  // --- the frame ---
  void touch(s64 low) {
    u32& touched = plan_.touched_[plan_.region_of(at_)];
    touched = std::max(touched, static_cast<u32>(std::clamp<s64>(-low, 0, frame_bytes)));
  }
  bool is_frame(u8 reg) const { return known_[reg].symbol == 0; }
  /// r10 + number goes where it is not followed.
  void escape(u8 reg) {
    if (is_frame(reg)) touch(-frame_bytes);
  }
  void escape_into(u32 target) {
    for (u8 reg = 0; reg < isa::frame_pointer; reg++)
      if ((plan_.live_in_[target] >> reg & 1) != 0) escape(reg);
  }
  /// A helper gets the address and what is above it.
  void give_to_helper() {
    for (u8 reg = 1; reg <= 5; reg++)
      if (is_frame(reg)) touch(known_[reg].number >= 0 ? -frame_bytes : known_[reg].number);
  }

  // --- accesses ---
  void access(u32 i, u8 base, bool write, bool atomic) {
    const Insn& insn = code_.insns[i];
    const s64 size = isa::access_bytes(insn);
    Question& question = plan_.questions_[i];
    question = {};
    question.write = write;
    question.bytes = static_cast<u32>(size);
    question.from = insn.off;
    if (reaches_arena(code_, i)) return;
    const Known& known = known_[base];
    const s64 low = known.number + insn.off, high = low + size;
    question.alignment = atomic && size > 1;
    if (is_frame(base) && low >= -frame_bytes && high <= 0) {
      touch(low);
      // A frame ends at a multiple of 512.
      if (question.alignment && low % size != 0) return ask(i, known.window);
      question.alignment = false;
      return;
    }
    for (const Fact& fact : facts_)
      if (fact.symbol == known.symbol && fact.low <= low && high <= fact.high && (fact.write || !write)) return;
    fresh_.push_back({known.symbol, low, high, write});
    const u8 window = is_frame(base) ? window_stack : known.window == no_pointer ? window_unknown : known.window;
    constexpr std::size_t most_looked_at = 16;  // hostile blocks have as many symbols as instructions
    const std::size_t skipped = groups_.size() - std::min(groups_.size(), most_looked_at);
    for (Group& group : std::span(groups_).subspan(skipped)) {
      if (group.symbol != known.symbol) continue;
      const s64 new_low = std::min(group.low, low), new_high = std::max(group.high, high);
      if (new_high - new_low > widest_span) continue;
      group.low = new_low;
      group.high = new_high;
      group.write |= write;
      group.count++;
      return;
    }
    groups_.push_back({known.symbol, i, low, high, known.number, write, window, 1});
  }
  void ask(u32 i, u8 window) {
    Question& question = plan_.questions_[i];
    question.kind = Question::access;
    use_window(question, window == no_pointer ? window_unknown : window);
  }
  void use_window(Question& question, u8 window) {
    question.window = static_cast<u8>(window + (question.write ? window_count : 0));
    plan_.windows_ |= 1u << question.window;
  }
  /// The block ended: each group's first touch asks for all of it.
  void settle_groups() {
    for (const Group& group : groups_) {
      Question& question = plan_.questions_[group.first];
      const s64 bytes = group.high - group.low;
      question.from = static_cast<s32>(group.low - group.first_number);
      question.bytes = static_cast<u32>(bytes);
      question.write = group.write;
      const bool as_it_is = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
      question.kind = as_it_is ? Question::access : Question::span;
      use_window(question, group.window);
    }
    groups_.clear();
    constexpr std::size_t most_facts = 32;
    for (const Fact& fact : fresh_)
      if (facts_.size() < most_facts) facts_.push_back(fact);
    fresh_.clear();
  }

  // --- instructions ---
  void instruction(u32 i) {
    at_ = i;
    if (writes_frame_pointer(code_, i)) return;  // ends the run: what it would write is never seen
    const Insn& insn = code_.insns[i];
    const Form form = isa::row(code_.ops[i]).form;
    switch (form) {
      case Form::alu_imm:
      case Form::alu_unary:
      case Form::endian:
        return with_number(insn, form);
      case Form::alu_reg:
        return with_register(insn);
      case Form::movsx:
      case Form::addr_space_cast:
        escape(insn.src);
        forget(insn.dst);
        known_[insn.dst].window = no_pointer;
        return;
      case Form::load:
      case Form::load_acquire:
        access(i, insn.src, false, form == Form::load_acquire);
        return loaded(insn);
      case Form::store_imm:
        return access(i, insn.dst, true, false);
      case Form::store_reg:
      case Form::store_release:
      case Form::atomic:
        access(i, insn.dst, true, form != Form::store_reg);
        return escape(insn.src);
      case Form::atomic_fetch:
        access(i, insn.dst, true, true);
        escape(insn.src);
        return forget(insn.src);
      case Form::cmpxchg:
        access(i, insn.dst, true, true);
        escape(insn.src);
        escape(0);
        return forget(0);
      case Form::ld_imm64:
        forget(insn.dst);
        known_[insn.dst].window = window_constant;
        known_[insn.dst].map = map_at(code_.slots[i + 1].wide);
        return;
      case Form::jump_imm:
      case Form::jump_reg:
      case Form::may_goto:
      case Form::jump:
      case Form::jump_long:
        escape_into(static_cast<u32>(static_cast<s64>(i) + 1 + isa::jump_distance(form, insn)));
        note_windows(static_cast<u32>(static_cast<s64>(i) + 1 + isa::jump_distance(form, insn)));
        ended_ = form == Form::jump || form == Form::jump_long;
        return;
      case Form::call_helper:
      case Form::call_kfunc:
      case Form::call_local:
      case Form::callx:
        return call(i, form);
      case Form::exit:
        ended_ = true;
        return escape_result();
      case Form::ld_abs:
      case Form::ld_ind:
        settle_then_clear();
        return forget(0);
    }
  }
  const Bytecode::MapUse* map_at(u64 address) const {
    for (const auto& use : code_.map_uses)
      if (use.address == address) return &use;
    return nullptr;
  }
  /// r0 to r5 are seen by whoever called.
  void escape_result() {
    for (u8 reg = 0; reg <= 5; reg++) escape(reg);
  }
  void with_number(const Insn& insn, Form form) {
    Known& known = known_[insn.dst];
    const u8 operation = insn.code & 0xf0;
    const bool wide = (insn.code & 7) == isa::class_alu64;
    if (form == Form::alu_imm && wide && (operation == 0x00 || operation == 0x10)) {
      const s64 number = known.number + (operation == 0x00 ? s64{insn.imm} : -s64{insn.imm});
      if (number > -farthest && number < farthest) {
        known.number = number;
        known.map = nullptr;
        return;
      }
    }
    const bool moves = form == Form::alu_imm && operation == 0xb0;
    if (!moves) escape(insn.dst);
    forget(insn.dst);
    if (moves) known_[insn.dst].window = no_pointer;
  }
  void with_register(const Insn& insn) {
    const u8 operation = insn.code & 0xf0;
    const bool wide = (insn.code & 7) == isa::class_alu64;
    if (operation == 0xb0 && wide) {
      known_[insn.dst] = known_[insn.src];
      if (known_[insn.dst].symbol == 0) known_[insn.dst].window = window_stack;
      return;
    }
    escape(insn.src);
    if (operation != 0xb0) escape(insn.dst);
    const u8 other = known_[insn.src].window;
    forget(insn.dst);
    u8& window = known_[insn.dst].window;
    if (operation == 0x00 && (window == no_pointer || window == window_unknown)) window = other;
    if (operation == 0xb0) window = no_pointer;
  }
  void loaded(const Insn& insn) {
    const u8 base = known_[insn.src].window;
    forget(insn.dst);
    u8& window = known_[insn.dst].window;
    window = no_pointer;
    if (isa::access_bytes(insn) != 8) return;
    const u32 mixed = static_cast<u32>(base) * 7 + (static_cast<u16>(insn.off) >> 3);
    window = static_cast<u8>(window_loaded + mixed % loaded_windows);
  }
  void call(u32 i, Form form) {
    constexpr s32 map_lookup_elem = 1;
    const bool is_local = form == Form::call_local || form == Form::callx;
    if (is_local)
      for (u8 reg = 0; reg < isa::frame_pointer; reg++) escape(reg);
    else
      give_to_helper();
    settle_then_clear();
    const bool looks_up = form == Form::call_helper && code_.insns[i].imm == map_lookup_elem;
    if (looks_up) {
      plan_.call_maps_[i] = known_[1].map;
      plan_.call_windows_[i] = static_cast<u8>(window_looked_up + look_ups_++ % looked_up_windows);
    }
    for (u8 reg = 0; reg <= (is_local ? 5 : 0); reg++) {
      forget(reg);
      known_[reg].window = looks_up ? plan_.call_windows_[i] : window_call;
    }
  }
  /// Whatever a call does, nothing that was asked before is known behind it.
  void settle_then_clear() {
    settle_groups();
    facts_.clear();
  }

  Plan& plan_;
  const Bytecode& code_;
  Known known_[11] = {{1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {10}, {0, 0, window_stack, nullptr}};
  u32 symbols_ = 10;
  u32 at_ = 0, look_ups_ = 0;
  bool ended_ = false;
  std::vector<Group> groups_;
  std::vector<Fact> facts_, fresh_;
  std::vector<std::array<u8, isa::frame_pointer>> windows_into_;  ///< by block
};

void Plan::follow() {
  if (is_tangled_) std::fill(touched_.begin(), touched_.end(), isa::stack_size_bytes);
  Follower follower(*this);
  follower.run();
  follower.run();
  touched_of_.assign(code_.insns.size(), 0);
  for (std::size_t i = 0; i < starts_.size(); i++) touched_of_[starts_[i]] = static_cast<u16>(touched_[i]);
}

}  // namespace skep::vm::jit
