// Following the context. See register_use.hpp.
#include "spec/register_use.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "catalog/helpers.hpp"
#include "isa/isa.hpp"

namespace skep::spec {

namespace {

using catalog::HelperId;

constexpr std::size_t most_insns = 65536;  // larger programs count as reading everything
constexpr s64 regs_words = 21;             // of struct pt_regs on x86-64

/// Helpers that answer for, or read from, the task that runs.
constexpr HelperId of_current_task[] = {HelperId::get_current_pid_tgid,
                                        HelperId::get_current_uid_gid,
                                        HelperId::get_current_comm,
                                        HelperId::get_current_task,
                                        HelperId::get_current_task_btf,
                                        HelperId::current_task_under_cgroup,
                                        HelperId::get_current_cgroup_id,
                                        HelperId::get_current_ancestor_cgroup_id,
                                        HelperId::get_ns_current_pid_tgid,
                                        HelperId::get_stackid,
                                        HelperId::get_stack,
                                        HelperId::probe_read_user,
                                        HelperId::probe_read_user_str,
                                        HelperId::probe_write_user,
                                        HelperId::send_signal,
                                        HelperId::send_signal_thread};

u8 parameter_count(HelperId id) {
  const catalog::HelperRow* const row = catalog::helper(static_cast<u32>(id));
  if (row == nullptr || row->c_params.find("...") != row->c_params.npos) return 5;
  if (row->c_params.empty() || row->c_params == "void") return 0;
  return static_cast<u8>(std::min<std::ptrdiff_t>(std::ranges::count(row->c_params, ',') + 1, 5));
}

/// What is known of a register or a stack slot.
struct Value {
  enum class Kind : u8 { other, number, function, frame, context } kind = Kind::other;
  s64 number = 0;          ///< the number; the distance from the frame pointer, from the context
  bool somewhere = false;  ///< that distance is not known
  bool operator==(const Value&) const = default;
  bool is_context() const { return kind == Kind::context; }
};
constexpr Value nothing{};

/// What is made of two values, one does not know how.
Value mixed(const Value& a, const Value& b) {
  for (const auto kind : {Value::Kind::context, Value::Kind::frame, Value::Kind::function})
    if (a.kind == kind || b.kind == kind) return {.kind = kind, .somewhere = true};
  return nothing;
}

Value join(const Value& a, const Value& b) { return a == b ? a : mixed(a, b); }

/// As the machine adds.
s64 sum(s64 a, s64 b) { return static_cast<s64>(static_cast<u64>(a) + static_cast<u64>(b)); }
s64 negative(s64 a) { return static_cast<s64>(u64{0} - static_cast<u64>(a)); }

constexpr std::size_t stack_slots = 64;  // of 8 bytes

struct State {
  std::array<Value, 11> regs{};
  std::array<Value, stack_slots> stack{};  ///< [0] is the slot right below the frame pointer
  bool operator==(const State&) const = default;
};

class Walk {
 public:
  explicit Walk(std::span<const Insn> insns) : insns_(insns), states_(insns.size()) {}

  RegisterUse run() {
    State entry;
    entry.regs[1] = {Value::Kind::context, 0};
    entry.regs[10] = {Value::Kind::frame, 0};
    reach(0, entry);
    while (!work_.empty() && !use_.everything) {
      const std::size_t at = work_.back();
      work_.pop_back();
      step(at, *states_[at]);
    }
    return use_;
  }

 private:
  void reach(s64 at, const State& state) {
    if (at < 0 || at >= static_cast<s64>(insns_.size())) return;  // the verifier refuses it
    auto& known = states_[static_cast<std::size_t>(at)];
    if (!known) {
      known = state;
    } else {
      State joined = *known;
      for (std::size_t i = 0; i < joined.regs.size(); ++i) joined.regs[i] = join(joined.regs[i], state.regs[i]);
      for (std::size_t i = 0; i < stack_slots; ++i) joined.stack[i] = join(joined.stack[i], state.stack[i]);
      if (joined == *known) return;
      known = joined;
    }
    work_.push_back(static_cast<std::size_t>(at));
  }

  void read(const Value& base, s64 offset, s64 bytes) {
    if (!base.is_context()) return;
    if (base.somewhere || bytes <= 0) {
      use_.everything = true;
    } else {
      const s64 begin = sum(base.number, offset);
      for (s64 word = 0; word < regs_words; ++word)
        if (begin < (word + 1) * 8 && word * 8 - bytes < begin) use_.words |= 1u << word;
    }
  }

  static std::optional<std::size_t> slot(const Value& base, s64 offset) {
    const s64 at = negative(sum(base.number, offset));  // 8: the first slot
    if (base.kind != Value::Kind::frame || base.somewhere || at < 1 || at > static_cast<s64>(stack_slots * 8))
      return std::nullopt;
    return static_cast<std::size_t>((at - 1) / 8);
  }

  static s64 width(u8 code) { return std::array<s64, 4>{4, 2, 1, 8}[code >> 3 & 3]; }

  /// Whether what the load at `at` puts into a register is overwritten before anything takes it: the first lines of BCC
  /// handlers load every parameter that is declared. Seen in a straight line only.
  bool is_dead_load(std::size_t at) const {
    const u8 reg = insns_[at].dst;
    for (std::size_t i = at + 1; i < insns_.size(); ++i) {
      const Insn& insn = insns_[i];
      const u8 group = insn.code & 7, operation = insn.code & 0xf0;
      if (insn.code == isa::code_call) {
        return insn.src == isa::call_src_helper && reg <= 5 &&
               (reg == 0 || reg > parameter_count(static_cast<HelperId>(insn.imm)));
      }
      if (group == 5 || group == 6) return false;  // a jump
      if (isa::is_ld_imm64(insn)) {
        if (insn.dst == reg) return true;
        ++i;
        continue;
      }
      if (group == 0 || (group == 3 && reg == 0)) return false;         // packet loads, compare and exchange
      if (insn.src == reg && (group == 1 || group == 3)) return false;  // an address, or stored
      if (insn.dst == reg && (group == 2 || group == 3)) return false;  // stored to
      if (group != 4 && group != 7) {
        if (insn.dst == reg) return group == 1;  // loaded anew
        continue;
      }
      if ((insn.code & 8) != 0 && insn.src == reg) return false;
      if (insn.dst == reg) return operation == 0xb0;  // mov
    }
    return false;
  }

  void load(State& state, const Insn& insn, std::size_t at) {
    const Value base = state.regs[insn.src];
    if (!is_dead_load(at)) read(base, insn.off, width(insn.code));
    state.regs[insn.dst] = width(insn.code) == 8 ? loaded(state, base, insn.off) : nothing;
  }

  static Value loaded(const State& state, const Value& base, s64 offset) {
    if (const auto from = slot(base, offset)) return state.stack[*from];
    const bool may_be = base.kind == Value::Kind::frame && std::ranges::any_of(state.stack, &Value::is_context);
    return may_be ? Value{.kind = Value::Kind::context, .somewhere = true} : nothing;
  }

  /// Of numbers on the stack nothing is known: helpers, other functions and stores elsewhere may change them. Pointers
  /// that are changed are none any more.
  void store(State& state, const Insn& insn, const Value& value) {
    const Value kept = width(insn.code) == 8 && value.kind != Value::Kind::number ? value : nothing;
    if (const auto to = slot(state.regs[insn.dst], insn.off)) {
      state.stack[*to] = kept;
      return;
    }
    use_.everything |= value.is_context();
    if (kept.kind != Value::Kind::other)
      for (Value& one : state.stack) one = join(one, kept);
  }

  void arithmetic(State& state, const Insn& insn) {
    const u8 operation = insn.code & 0xf0;
    const bool wide = (insn.code & 7) == 7, by_register = (insn.code & 8) != 0;
    Value& to = state.regs[insn.dst];
    const Value operand = by_register ? state.regs[insn.src] : Value{Value::Kind::number, insn.imm};
    constexpr u8 add = 0x00, sub = 0x10, mov = 0xb0;
    if (operation == mov) {
      const bool is_small = operand.kind == Value::Kind::number && operand.number == static_cast<u32>(operand.number);
      to = insn.off == 0 && (wide || is_small) ? operand : mixed(operand, operand);
    } else if (wide && (operation == add || operation == sub) && operand.kind == Value::Kind::number &&
               to.kind != Value::Kind::other) {
      to.number = sum(to.number, operation == add ? operand.number : negative(operand.number));
    } else {
      to = mixed(to, operand);
    }
  }

  /// Whether a call leads to code of the program itself, which may find the context on this function's stack.
  static bool shows_context(const State& state, const Insn& insn, u8 parameters) {
    const std::span given(state.regs.data() + 1, parameters);
    const auto has = [&](Value::Kind kind) { return std::ranges::find(given, kind, &Value::kind) != given.end(); };
    return (insn.src == isa::call_src_local || has(Value::Kind::function)) && has(Value::Kind::frame) &&
           std::ranges::any_of(state.stack, &Value::is_context);
  }

  void call(State& state, const Insn& insn) {
    const auto id = static_cast<HelperId>(insn.imm);
    const bool is_helper = insn.src == isa::call_src_helper;
    const bool reads_memory = is_helper && (id == HelperId::probe_read || id == HelperId::probe_read_kernel);
    const bool takes_context =
        is_helper && (id == HelperId::perf_event_output || id == HelperId::get_stackid || id == HelperId::get_stack ||
                      id == HelperId::tail_call || id == HelperId::get_func_ip || id == HelperId::get_attach_cookie);
    const u8 parameters = is_helper ? parameter_count(id) : 5;  // what stands in the other registers is left over
    use_.everything |= shows_context(state, insn, parameters);
    for (u8 reg = 1; reg <= parameters; ++reg) {
      if (!state.regs[reg].is_context() || (reg == 1 && takes_context)) continue;
      const bool is_bounded = reads_memory && reg == 3 && state.regs[2].kind == Value::Kind::number;
      if (is_bounded) {
        read(state.regs[3], 0, state.regs[2].number);
      } else {
        use_.everything = true;
      }
    }
    for (u8 reg = 0; reg <= 5; ++reg) state.regs[reg] = nothing;
  }

  static bool is_function(const Insn& insn) { return isa::is_ld_imm64(insn) && insn.src == isa::imm64_src_function; }

  void step(std::size_t at, State state) {
    const Insn& insn = insns_[at];
    const s64 next = static_cast<s64>(at) + 1;
    if (insn.dst > 10 || insn.src > 10) return;
    switch (insn.code & 7) {
      case 0:  // ld
        state.regs[insn.dst] = {.kind = is_function(insn) ? Value::Kind::function : Value::Kind::other};
        return reach(next + (isa::is_ld_imm64(insn) ? 1 : 0), state);
      case 1:
        load(state, insn, at);
        return reach(next, state);
      case 2:
        store(state, insn, nothing);
        return reach(next, state);
      case 3: {
        const bool is_plain = (insn.code & 0xe0) == 0x60;
        if (const auto op = isa::decode(insn); op && isa::row(*op).form == isa::Form::load_acquire) {
          load(state, insn, at);
          return reach(next, state);
        }
        const Value before = loaded(state, state.regs[insn.dst], insn.off);
        store(state, insn, state.regs[insn.src]);
        if (!is_plain) {  // atomic: may fetch into the source or r0
          state.regs[insn.src] = join(state.regs[insn.src], before);
          state.regs[0] = join(state.regs[0], before);
        }
        return reach(next, state);
      }
      case 4:
      case 7:
        arithmetic(state, insn);
        return reach(next, state);
      default:
        return jump(insn, next, state);
    }
  }

  void jump(const Insn& insn, s64 next, State& state) {
    constexpr u8 always = 0x05, always_far = 0x06;
    if (insn.code == isa::code_exit) return;
    if (insn.code == isa::code_call) {
      call(state, insn);
      return reach(next, state);
    }
    reach(next + (insn.code == always_far ? insn.imm : insn.off), state);
    if (insn.code != always && insn.code != always_far) reach(next, state);
  }

  std::span<const Insn> insns_;
  std::vector<std::optional<State>> states_;
  std::vector<std::size_t> work_;
  RegisterUse use_;
};

}  // namespace

RegisterUse register_use(std::span<const Insn> insns) {
  RegisterUse use;
  use.everything = insns.size() > most_insns;
  if (!use.everything) use = Walk(insns).run();
  for (std::size_t i = 0; i < insns.size(); ++i) {
    const Insn& insn = insns[i];
    if (isa::is_ld_imm64(insn)) ++i;
    if (insn.code != isa::code_call || insn.src != isa::call_src_helper) continue;
    const auto id = static_cast<HelperId>(insn.imm);
    if (std::ranges::find(of_current_task, id) == std::end(of_current_task)) continue;
    const std::string_view name = catalog::helper(static_cast<u32>(insn.imm))->name;
    if (std::ranges::find(use.of_current, name) == use.of_current.end()) use.of_current.push_back(name);
  }
  return use;
}

}  // namespace skep::spec
