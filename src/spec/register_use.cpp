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
  enum class Kind : u8 { other, number, frame, context, context_somewhere } kind = Kind::other;
  s64 number = 0;  ///< the number; the distance from the frame pointer, from the context
  bool operator==(const Value&) const = default;
  bool is_context() const { return kind == Kind::context || kind == Kind::context_somewhere; }
};
constexpr Value nothing{}, somewhere{Value::Kind::context_somewhere, 0};

Value join(const Value& a, const Value& b) {
  if (a == b) return a;
  return a.is_context() || b.is_context() ? somewhere : nothing;
}

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
    if (base.kind == Value::Kind::context_somewhere || bytes <= 0) {
      use_.everything |= base.is_context();
    } else if (base.kind == Value::Kind::context) {
      const s64 begin = base.number + offset;
      for (s64 word = std::max<s64>(begin, 0) / 8; word <= (begin + bytes - 1) / 8 && word < regs_words; ++word)
        use_.words |= 1u << word;
    }
  }

  static std::optional<std::size_t> slot(const Value& base, s64 offset) {
    const s64 at = -(base.number + offset);  // 8: the first slot
    if (base.kind != Value::Kind::frame || at < 1 || at > static_cast<s64>(stack_slots * 8)) return std::nullopt;
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
    if (base.kind != Value::Kind::context || !is_dead_load(at)) read(base, insn.off, width(insn.code));
    const auto from = slot(base, insn.off);
    state.regs[insn.dst] = from && width(insn.code) == 8 ? state.stack[*from] : nothing;
  }

  void store(State& state, const Insn& insn, const Value& value) {
    const auto to = slot(state.regs[insn.dst], insn.off);
    if (to) {
      state.stack[*to] = width(insn.code) == 8 ? value : nothing;
    } else {
      use_.everything |= value.is_context();
    }
  }

  void arithmetic(State& state, const Insn& insn) {
    const u8 operation = insn.code & 0xf0;
    const bool wide = (insn.code & 7) == 7, by_register = (insn.code & 8) != 0;
    Value& to = state.regs[insn.dst];
    const Value operand = by_register ? state.regs[insn.src] : Value{Value::Kind::number, insn.imm};
    constexpr u8 add = 0x00, sub = 0x10, mov = 0xb0;
    if (operation == mov) {
      to = wide || operand.kind == Value::Kind::number ? operand : operand.is_context() ? somewhere : nothing;
    } else if (wide && (operation == add || operation == sub) && operand.kind == Value::Kind::number &&
               to.kind != Value::Kind::other && to.kind != Value::Kind::context_somewhere) {
      to.number += operation == add ? operand.number : -operand.number;
    } else {
      to = to.is_context() || operand.is_context() ? somewhere : nothing;
    }
  }

  void call(State& state, const Insn& insn) {
    const auto id = static_cast<HelperId>(insn.imm);
    const bool is_helper = insn.src == isa::call_src_helper;
    const bool reads_memory = is_helper && (id == HelperId::probe_read || id == HelperId::probe_read_kernel);
    const bool takes_context =
        is_helper && (id == HelperId::perf_event_output || id == HelperId::get_stackid || id == HelperId::get_stack ||
                      id == HelperId::tail_call || id == HelperId::get_func_ip || id == HelperId::get_attach_cookie);
    const u8 parameters = is_helper ? parameter_count(id) : 5;  // what stands in the other registers is left over
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

  void step(std::size_t at, State state) {
    const Insn& insn = insns_[at];
    const s64 next = static_cast<s64>(at) + 1;
    if (insn.dst > 10 || insn.src > 10) return;
    switch (insn.code & 7) {
      case 0:  // ld
        state.regs[insn.dst] = nothing;
        return reach(next + (isa::is_ld_imm64(insn) ? 1 : 0), state);
      case 1:
        load(state, insn, at);
        return reach(next, state);
      case 2:
        store(state, insn, nothing);
        return reach(next, state);
      case 3: {
        const bool is_plain = (insn.code & 0xe0) == 0x60;
        store(state, insn, state.regs[insn.src]);
        if (!is_plain) {  // atomic: may fetch into the source or r0
          state.regs[insn.src] = join(state.regs[insn.src], nothing);
          state.regs[0] = join(state.regs[0], nothing);
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
