// A worklist of instructions for the origins (forward), one of blocks of one instruction for what is live (backward).
//
// Functions are run together: a call passes its arguments' origins to the function's first instruction, and an exit
// gives r0's to the instructions after its calls. Callbacks are entered by helpers, with memory in every register.
#include "compile/value_flow.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "btf/btf.hpp"
#include "catalog/prototypes.hpp"
#include "compile/insn_shapes.hpp"
#include "compile/relocation_path.hpp"

namespace skep::compile {
namespace {

using namespace shape;
namespace o = origin;

constexpr u32 stack_slots = 64;  // of 8 bytes

/// A register: origins, where on the stack it points (if that is one place), its value (if that is one small number).
struct Value {
  u8 origins = 0;
  bool is_frame = false;
  bool is_constant = false;
  s32 number = 0;  ///< the constant, or the distance from the frame pointer

  friend bool operator==(const Value&, const Value&) = default;

  bool join(const Value& other) {
    const Value before = *this;
    if (origins == 0) {
      *this = other;
    } else if (other.origins != 0) {
      origins |= other.origins;
      const bool same = is_frame == other.is_frame && is_constant == other.is_constant && number == other.number;
      if (!same) is_frame = is_constant = false, number = 0;
    }
    return *this != before;
  }
};

constexpr Value plain(u8 origins) { return {.origins = origins}; }
constexpr Value constant(s32 n) {
  return {.origins = n == 0 ? o::zero : o::number, .is_frame = false, .is_constant = true, .number = n};
}

struct State {
  std::array<Value, 11> regs{};
  std::array<u8, stack_slots> stack{};
  bool reached = false;

  bool join(const State& other) {
    bool changed = !reached;
    reached = true;
    for (std::size_t i = 0; i < regs.size(); ++i) changed |= regs[i].join(other.regs[i]);
    for (std::size_t i = 0; i < stack.size(); ++i) {
      const u8 joined = stack[i] | other.stack[i];
      changed |= joined != stack[i];
      stack[i] = joined;
    }
    return changed;
  }
};

u32 slot_at(s32 offset) { return static_cast<u32>(-(offset + 1) / 8); }  // -8..-1 is slot 0

class Flow {
 public:
  Flow(const ObjectSpec& spec, const ProgramSpec& program, ContextKind context)
      : spec_(spec), program_(program), context_(context) {}

  Result<FlowFacts> run() {
    SKEP_TRY(find_functions());
    states_.resize(program_.insns.size());
    results_.resize(program_.functions.size());
    facts_.base.resize(program_.insns.size());
    facts_.stack_depth.resize(program_.functions.size());
    enter(0, plain(o::context), o::unset);
    for (const Reference& r : program_.references)
      if (r.kind == Reference::Kind::function && r.addend < program_.insns.size())
        enter(r.addend, plain(o::memory | o::callers_stack), o::memory | o::callers_stack);
    while (!work_.empty()) {
      const u32 at = work_.front();
      work_.pop_front();
      queued_[at] = false;
      step(at);
    }
    find_live();
    return std::move(facts_);
  }

 private:
  // ---- shape of the program
  // ------------------------------------------------------------------------------------------

  Result<void> find_functions() {
    const auto count = static_cast<u32>(program_.insns.size());
    queued_.resize(count);
    facts_.function_of.resize(count);
    if (program_.functions.empty() || count == 0) return fail(Code::malformed, "a program without functions");
    for (u32 f = 0; f < program_.functions.size(); ++f) {
      const u32 end = f + 1 < program_.functions.size() ? program_.functions[f + 1].insn : count;
      if (program_.functions[f].insn > end || end > count) return fail(Code::malformed, "functions out of order");
      for (u32 i = program_.functions[f].insn; i < end; ++i) facts_.function_of[i] = f;
    }
    for (u32 i = 0; i < count; ++i) {
      const Insn& insn = program_.insns[i];
      if ((is_branch(insn) || is_local_call(insn)) && target(i) >= count)
        return fail(Code::malformed, fmt::format("instruction {} jumps out of the program", i));
      if (is_wide(insn)) ++i;
    }
    return {};
  }

  u32 target(u32 at) const {
    const Insn& insn = program_.insns[at];
    const s64 distance = is_local_call(insn) || insn.code == 0x06 ? insn.imm : insn.off;
    return static_cast<u32>(static_cast<s64>(at) + 1 + distance);
  }

  const Reference* reference(u32 at) const {
    const auto& all = program_.references;
    const auto it = std::lower_bound(all.begin(), all.end(), at, [](const Reference& r, u32 i) { return r.insn < i; });
    return it != all.end() && it->insn == at ? &*it : nullptr;
  }

  const CoreRelocation* relocation(u32 at) const {
    const auto& all = program_.relocations;
    const auto it =
        std::lower_bound(all.begin(), all.end(), at, [](const CoreRelocation& r, u32 i) { return r.insn < i; });
    return it != all.end() && it->insn == at ? &*it : nullptr;
  }

  // ---- forward: origins
  // ----------------------------------------------------------------------------------------------

  void enter(u32 at, const Value& first, u8 others) {
    State state;
    for (u32 r = 0; r < 10; ++r) state.regs[r] = plain(o::unset);
    state.regs[1] = first;
    if (others != o::unset)
      for (u32 r = 2; r <= 5; ++r) state.regs[r] = plain(others);
    state.regs[frame_register] = {.origins = o::memory, .is_frame = true, .is_constant = false, .number = 0};
    merge(at, state);
  }

  void merge(u32 at, const State& state) {
    if (at >= states_.size() || !states_[at].join(state) || queued_[at]) return;
    queued_[at] = true;
    work_.push_back(at);
  }

  void step(u32 at) {
    const Insn& insn = program_.insns[at];
    State s = states_[at];
    if (is_exit(insn)) return leave(at, s.regs[0]);
    if (is_branch(insn)) {
      merge(target(at), s);
      if (!is_goto(insn)) merge(at + 1, s);
      return;
    }
    if (is_local_call(insn)) return call_function(at, s);
    switch (class_of(insn)) {
      case class_alu64:
        arithmetic(insn, s);
        break;
      case class_alu32:
        s.regs[insn.dst] = insn.code == 0xb4 ? constant(insn.imm) : plain(o::number);
        break;
      case class_ldx:
        note_base(at, s.regs[insn.src]);
        s.regs[insn.dst] = loaded(at, s);
        break;
      case class_st:
      case class_stx:
        note_base(at, s.regs[insn.dst]);
        store(insn, s);
        break;
      case class_ld:
        load_wide(at, s);
        break;
      default:
        if (is_call(insn)) call_outside(at, s);
        break;
    }
    merge(at + (is_wide(insn) ? 2 : 1), s);
  }

  void use_stack(u32 at, const Value& v, s32 offset) {
    if (!v.is_frame) return;
    const s64 deepest = -(s64{v.number} + offset);
    u32& depth = facts_.stack_depth[facts_.function_of[at]];
    if (deepest > depth && deepest <= 4096) depth = static_cast<u32>(deepest);
  }

  void note_base(u32 at, const Value& base) {
    facts_.base[at] |= base.origins;
    use_stack(at, base, program_.insns[at].off);
  }

  void arithmetic(const Insn& insn, State& s) {
    Value& to = s.regs[insn.dst];
    const Value by = from_register(insn) ? s.regs[insn.src] : constant(insn.imm);
    switch (operation(insn)) {
      case 0xb0:  // mov; with an offset: movsx, or a cast of address spaces
        to = insn.off == 0 ? by : plain(o::number);
        return;
      case 0x00:
        to = sum(to, by, 1);
        return;
      case 0x10:
        to = (by.origins & o::addressable) != 0 ? plain(o::number) : sum(to, by, -1);
        return;
      default:
        to = plain(o::number);
    }
  }

  /// A pointer and a number make a pointer, in either order.
  static Value sum(const Value& a, const Value& b, s32 sign) {
    const bool a_points = (a.origins & o::addressable) != 0, b_points = (b.origins & o::addressable) != 0;
    if (a_points == b_points) return plain(o::number);
    const Value& pointer = a_points ? a : b;
    const Value& by = a_points ? b : a;
    const u8 origins = static_cast<u8>((pointer.origins & ~o::unset) | (by.origins & o::unset));
    const s64 moved = s64{pointer.number} + s64{sign} * by.number;
    if (!pointer.is_frame || !by.is_constant || moved < -4096 || moved > 4096) return plain(origins);
    return {.origins = origins, .is_frame = true, .is_constant = false, .number = static_cast<s32>(moved)};
  }

  Value loaded(u32 at, const State& s) const {
    const Insn& insn = program_.insns[at];
    const Value& base = s.regs[insn.src];
    const bool whole = access_bytes(insn) == 8;
    u8 out = 0;
    if ((base.origins & o::context) != 0) out |= from_context(whole);
    if ((base.origins & o::kernel_object) != 0) out |= from_object(at, whole);
    if ((base.origins & o::callers_stack) != 0) out |= whole ? o::number | o::memory : o::number;
    if ((base.origins & (o::number | o::zero | o::unset)) != 0) out |= o::number;
    if ((base.origins & o::memory) != 0) out |= from_memory(base, insn, s);
    return plain(out != 0 ? out : o::number);
  }

  u8 from_context(bool whole) const {
    switch (context_) {
      case ContextKind::registers:
        return o::number;
      case ContextKind::objects:
        return whole ? o::kernel_object : o::number;
      case ContextKind::packet:
        return o::memory;
    }
    return o::number;
  }

  static u8 from_memory(const Value& base, const Insn& insn, const State& s) {
    if (!base.is_frame) return o::number;
    const s32 offset = base.number + insn.off;
    if (access_bytes(insn) != 8 || offset % 8 != 0 || offset > -8 || slot_at(offset) >= stack_slots) return o::number;
    const u8 held = s.stack[slot_at(offset)];
    return held != 0 ? held : o::number;
  }

  /// A field of a structure that the verifier knows: it follows pointers to structures, other fields are numbers.
  u8 from_object(u32 at, bool whole) const {
    if (!whole) return o::number;
    const CoreRelocation* relocation = this->relocation(at);
    if (relocation == nullptr || !spec_.btf) return o::kernel_object;
    return is_pointer_to_record(*relocation) ? o::kernel_object : o::number;
  }

  bool is_pointer_to_record(const CoreRelocation& relocation) const {
    const auto end = relocated_field(*spec_.btf, relocation);
    // In a union the verifier takes the first member of that place, whatever the program named: since Linux 6.4 `kvec`
    // of struct iov_iter is a plain number to it.
    if (!end || end->in_union) return false;
    const btf::Type field = spec_.btf->type(end->type_id);
    if (field.kind != btf::Kind::ptr) return false;
    const btf::Type pointed = spec_.btf->type(spec_.btf->resolve(field.type_id()));
    return btf::is_composite(pointed.kind) || pointed.kind == btf::Kind::fwd;
  }

  static void store(const Insn& insn, State& s) {
    const Value& to = s.regs[insn.dst];
    if (is_fetch(insn)) {
      s.regs[is_compare_exchange(insn) ? 0 : insn.src] = plain(o::number);
      return;
    }
    if (is_atomic(insn) || (to.origins & o::memory) == 0) return;
    u8 held = o::number;
    if (class_of(insn) == class_stx && access_bytes(insn) == 8) held = s.regs[insn.src].origins;
    if (class_of(insn) == class_st && insn.imm == 0) held = o::zero;
    if (!to.is_frame) return may_write(to, s, 0);
    const s32 offset = to.number + insn.off;
    if (offset >= 0 || slot_at(offset) >= stack_slots) return;
    const bool whole = access_bytes(insn) == 8 && offset % 8 == 0;
    s.stack[slot_at(offset)] = whole ? held : o::number;
  }

  /// Somebody may write from here on: what lies there may still be what it was.
  static void may_write(const Value& to, State& s, s64 size) {
    if ((to.origins & o::memory) == 0) return;
    const s32 begin = to.is_frame ? to.number : -static_cast<s32>(stack_slots * 8);
    const s64 end = to.is_frame && size > 0 ? begin + size : 0;
    for (s32 at = std::max(begin, -static_cast<s32>(stack_slots * 8)); at < end && at < 0; at += 8 - ((at % 8 + 8) % 8))
      if (s.stack[slot_at(at)] != 0) s.stack[slot_at(at)] |= o::number;
  }

  void load_wide(u32 at, State& s) {
    const Insn& insn = program_.insns[at];
    if (!is_wide(insn)) {  // packet access of classic BPF
      for (u32 r = 1; r <= 5; ++r) s.regs[r] = plain(o::unset);
      s.regs[0] = plain(o::number);
      return;
    }
    if (reference(at) != nullptr || insn.src != 0) {
      s.regs[insn.dst] = plain(o::memory);
      return;
    }
    const bool nothing = insn.imm == 0 && at + 1 < program_.insns.size() && program_.insns[at + 1].imm == 0;
    s.regs[insn.dst] = plain(nothing ? o::zero : o::number);
  }

  static u8 result_of(const catalog::Prototype* prototype) {
    using catalog::Returns;
    if (prototype == nullptr) return o::number;
    switch (prototype->returns) {
      case Returns::number:
        return o::number;
      case Returns::nothing:
        return o::unset;
      case Returns::task:
      case Returns::object:
      case Returns::object_or_null:
        return o::kernel_object;
      default:
        return o::memory;
    }
  }

  static bool only_reads(catalog::Arg arg) {
    using catalog::Arg;
    return arg == Arg::map_key || arg == Arg::map_value || arg == Arg::map_value_or_null || arg == Arg::read ||
           arg == Arg::read_or_null || arg == Arg::string || arg == Arg::read_20 || arg == Arg::read_40;
  }

  void call_outside(u32 at, State& s) {
    const Insn& insn = program_.insns[at];
    const catalog::Prototype* prototype =
        is_helper_call(insn) && reference(at) == nullptr ? catalog::prototype(static_cast<u32>(insn.imm)) : nullptr;
    for (u32 r = 1; r <= 5; ++r) {
      use_stack(at, s.regs[r], 0);
      if (prototype != nullptr && only_reads(prototype->args[r - 1])) continue;
      const Value* size = r < 5 ? &s.regs[r + 1] : nullptr;
      may_write(s.regs[r], s, size != nullptr && size->is_constant ? size->number : 0);
    }
    const bool is_kfunc = !is_helper_call(insn) || reference(at) != nullptr;
    s.regs[0] = plain(is_kfunc ? o::memory | o::kernel_object : result_of(prototype));
    for (u32 r = 1; r <= 5; ++r) s.regs[r] = plain(o::unset);
  }

  void call_function(u32 at, State& s) {
    const u32 callee = target(at);
    State inner;
    inner.regs.fill(plain(o::unset));
    for (u32 r = 1; r <= 5; ++r) {
      use_stack(at, s.regs[r], 0);
      may_write(s.regs[r], s, 0);
      inner.regs[r] = plain(s.regs[r].is_frame ? o::memory | o::callers_stack : s.regs[r].origins);
    }
    inner.regs[frame_register] = {.origins = o::memory, .is_frame = true, .is_constant = false, .number = 0};
    merge(callee, inner);
    const u32 function = facts_.function_of[callee];
    if (results_[function].origins == 0) return;  // comes back when an exit is reached
    s.regs[0] = results_[function];
    for (u32 r = 1; r <= 5; ++r) s.regs[r] = plain(o::unset);
    merge(at + 1, s);
  }

  void leave(u32 at, const Value& result) {
    const u32 function = facts_.function_of[at];
    if (!results_[function].join(plain(result.origins))) return;
    for (u32 i = 0; i < program_.insns.size(); ++i) {
      const bool calls = is_local_call(program_.insns[i]) && facts_.function_of[target(i)] == function;
      if (calls && states_[i].reached && !queued_[i]) {
        queued_[i] = true;
        work_.push_back(i);
      }
      if (is_wide(program_.insns[i])) ++i;
    }
  }

  // ---- backward: what is live
  // ----------------------------------------------------------------------------------------

  static constexpr u16 bit(u32 reg) { return static_cast<u16>(1u << reg); }

  /// Registers that a helper reads.
  u16 arguments(u32 at) const {
    const Insn& insn = program_.insns[at];
    const catalog::HelperRow* row = catalog::helper(static_cast<u32>(insn.imm));
    const catalog::Prototype* prototype = catalog::prototype(static_cast<u32>(insn.imm));
    const bool known = is_helper_call(insn) && reference(at) == nullptr && row != nullptr && prototype != nullptr &&
                       row->c_params.find("...") == row->c_params.npos;
    const u32 count = known ? prototype->arg_count() : 5;
    return static_cast<u16>(((1u << count) - 1) << 1);
  }

  u16 reads(u32 at) const {
    const Insn& i = program_.insns[at];
    switch (class_of(i)) {
      case class_alu64:
      case class_alu32: {
        if (operation(i) == 0xb0) return from_register(i) ? bit(i.src) : 0;
        const bool unary = operation(i) == 0x80 || operation(i) == 0xd0;  // neg, byte swap
        return static_cast<u16>(bit(i.dst) | (from_register(i) && !unary ? bit(i.src) : 0));
      }
      case class_ldx:
        return bit(i.src);
      case class_st:
        return bit(i.dst);
      case class_stx:
        return static_cast<u16>(bit(i.dst) | bit(i.src) | (is_compare_exchange(i) ? bit(0) : 0));
      case class_ld:
        return is_wide(i) ? 0 : static_cast<u16>(bit(6) | bit(i.src));
      default:
        if (is_exit(i)) return bit(0);
        if (is_call(i)) return arguments(at);
        if (is_goto(i)) return 0;
        return static_cast<u16>(bit(i.dst) | (from_register(i) ? bit(i.src) : 0));
    }
  }

  u16 writes(u32 at) const {
    const Insn& i = program_.insns[at];
    switch (class_of(i)) {
      case class_alu64:
      case class_alu32:
      case class_ldx:
        return bit(i.dst);
      case class_stx:
        return is_compare_exchange(i) ? bit(0) : is_fetch(i) ? bit(i.src) : 0;
      case class_ld:
        return is_wide(i) ? bit(i.dst) : 0x3f;
      default:
        return is_call(i) ? 0x3f : 0;
    }
  }

  void find_live() {
    const std::size_t count = program_.insns.size();
    std::vector<u16> before(count);
    facts_.live_after.assign(count, 0);
    std::vector<bool> second_half(count);
    for (u32 i = 0; i + 1 < count; ++i)
      if (is_wide(program_.insns[i])) second_half[++i] = true;
    for (bool changed = true; changed;) {
      changed = false;
      for (u32 at = static_cast<u32>(count); at-- > 0;) {
        if (second_half[at]) continue;
        const Insn& insn = program_.insns[at];
        const u32 next = at + (is_wide(insn) ? 2 : 1);
        u16 after = 0;
        if (is_branch(insn)) after = before[target(at)];
        if (!is_exit(insn) && !is_goto(insn) && next < count) after |= before[next];
        const u16 now = static_cast<u16>((after & ~writes(at)) | reads(at));
        facts_.live_after[at] = after;
        changed |= now != before[at];
        before[at] = now;
      }
    }
    // What holds nothing on some path is not needed on any: saving it would be a read that nobody wrote.
    for (u32 at = 0; at < count; ++at)
      for (u32 r = 0; r < 10; ++r)
        if ((states_[at].regs[r].origins & o::unset) != 0) facts_.live_after[at] &= static_cast<u16>(~bit(r));
  }

  const ObjectSpec& spec_;
  const ProgramSpec& program_;
  ContextKind context_;
  FlowFacts facts_;
  std::vector<State> states_;
  std::vector<Value> results_;  ///< of each function
  std::deque<u32> work_;
  std::vector<bool> queued_;
};

}  // namespace

Result<FlowFacts> analyse_flow(const ObjectSpec& spec, const ProgramSpec& program, ContextKind context) {
  return Flow(spec, program, context).run();
}

}  // namespace skep::compile
