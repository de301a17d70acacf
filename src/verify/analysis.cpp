// Decoding, control flow and register liveness.
#include "verify/analysis.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/prototypes.hpp"
#include "isa/registers.hpp"

namespace skep::verify {
namespace {

using catalog::MessageId;
using isa::Form;

class Analyser {
 public:
  Analyser(const ProgramSpec& program, const FunctionInfo* exception_callback, bool allow_unreachable, Analysis& out)
      : program_(program),
        code_(program.insns),
        exception_callback_(exception_callback),
        allow_unreachable_(allow_unreachable),
        out_(out) {}

  std::optional<Refusal> run() {
    if (code_.empty()) return refuse(MessageId::empty_program, 0);
    out_.insns.resize(code_.size());
    if (auto r = decode()) return r;
    find_kfuncs();
    if (auto r = find_functions()) return r;
    if (auto r = check_jumps()) return r;
    mark_reachable();
    if (!allow_unreachable_)
      for (u32 i = 0; i < code_.size(); i++)
        if (!out_.insns[i].is_reachable && !out_.insns[i].is_tail) return refuse(MessageId::unreachable_code, i, i);
    summarise_functions();
    compute_liveness();
    return std::nullopt;
  }

 private:
  template <class... Args>
  [[gnu::cold]] Refusal refuse(MessageId id, u32 insn, const Args&... args) const {
    return {id, insn, fmt::format(fmt::runtime(catalog::message(id).reason), args...)};
  }
  Form form(u32 i) const { return isa::row(out_.insns[i].op).form; }
  u32 next(u32 i) const { return i + isa::slots(code_[i]); }

  std::optional<Refusal> decode() {
    for (u32 i = 0; i < code_.size(); i++) {
      InsnFacts& facts = out_.insns[i];
      const Insn& insn = code_[i];
      facts.code_class = isa::class_of(insn);
      auto op = isa::decode(insn);
      if (!op)
        return refuse(MessageId::bad_instruction, i, static_cast<unsigned>(insn.code), isa::why_undecodable(insn));
      facts.op = *op;
      facts.writes_frame_pointer = (isa::registers_written(insn, form(i)) >> isa::frame_pointer & 1) != 0;
      if (!isa::is_ld_imm64(insn)) continue;
      if (i + 1 >= code_.size() || !isa::is_ld_imm64_tail(code_[i + 1]))
        return refuse(MessageId::bad_instruction, i, static_cast<unsigned>(insn.code),
                      "the second half of a 64-bit load is missing");
      out_.insns[i + 1].is_tail = true;
      i++;
    }
    for (u32 r = 0; r < program_.references.size(); r++)
      if (program_.references[r].insn < code_.size())
        out_.insns[program_.references[r].insn].reference = static_cast<s32>(r);
    return std::nullopt;
  }

  void find_kfuncs() {
    for (const Reference& r : program_.references)
      out_.kfuncs.push_back(r.kind == Reference::Kind::kfunc ? catalog::kfunc_by_name(r.name) : nullptr);
    for (u32 i = 0; i < code_.size(); i = next(i)) {
      out_.insns[i].is_crossing = calls_back(i);
      out_.insns[i].converges = form(i) == Form::may_goto || calls_back(i);
      if (form(i) == Form::call_helper && code_[i].imm == static_cast<s32>(catalog::HelperId::timer_set_callback))
        out_.insns[i].is_join = true;
      if (form(i) == Form::call_kfunc)
        if (const auto* kfunc = out_.kfunc_at(i))
          out_.insns[i].converges |= kfunc->has(catalog::kfunc_flags::iter_next);
      if (out_.insns[i].converges) out_.insns[i].is_join = true;
    }
  }

  /// Whether this call makes a helper or kernel function call back, before it returns.
  bool calls_back(u32 i) const {
    if (form(i) == Form::call_helper) {
      const auto* prototype = catalog::prototype(static_cast<u32>(code_[i].imm));
      if (prototype == nullptr || prototype->id == catalog::HelperId::timer_set_callback) return false;
      for (auto arg : prototype->args)
        if (arg == catalog::Arg::callback) return true;
    } else if (form(i) == Form::call_kfunc) {
      const auto* kfunc = out_.kfunc_at(i);
      for (u32 a = 0; kfunc != nullptr && a < kfunc->arg_count(); a++)
        if (kfunc->args[a].kind == catalog::KfuncArg::less) return true;
    }
    return false;
  }

  std::optional<Refusal> add_function(u32 insn, s64 target, bool is_callback) {
    if (target < 0 || target >= static_cast<s64>(code_.size()) || out_.insns[static_cast<u32>(target)].is_tail)
      return refuse(MessageId::jump_out_of_range, insn, insn, target, code_.size());
    starts_.push_back({static_cast<u32>(target), is_callback});
    return std::nullopt;
  }

  std::optional<Refusal> find_functions() {
    starts_.push_back({0, false});
    for (const FunctionInfo& info : program_.functions)
      if (auto r = add_function(0, info.insn, false)) return r;
    for (u32 i = 0; i < code_.size(); i = next(i)) {
      if (form(i) == Form::call_local)
        if (auto r = add_function(i, s64{i} + 1 + code_[i].imm, false)) return r;
      s32 reference = out_.insns[i].reference;
      if (reference >= 0 && program_.references[static_cast<u32>(reference)].kind == Reference::Kind::function)
        if (auto r = add_function(i, program_.references[static_cast<u32>(reference)].addend, true)) return r;
      if (form(i) == Form::ld_imm64 && code_[i].src == isa::imm64_src_function && reference < 0)
        if (auto r = add_function(i, s64{i} + 1 + code_[i].imm, true)) return r;
    }
    std::sort(starts_.begin(), starts_.end(), [](const Start& a, const Start& b) { return a.insn < b.insn; });
    for (const Start& start : starts_) {
      if (out_.functions.empty() || out_.functions.back().first != start.insn) {
        if (!out_.functions.empty()) out_.functions.back().end = start.insn;
        out_.functions.push_back({.first = start.insn, .end = static_cast<u32>(code_.size())});
      }
      out_.functions.back().is_callback |= start.is_callback;
    }
    if (out_.functions.size() > 256) return refuse(MessageId::too_many_functions, 0, out_.functions.size());
    for (const FunctionInfo& info : program_.functions) {
      Function& f = out_.functions[*out_.function_at(info.insn)];
      f.info = &info;
      f.is_global = info.is_global && info.insn != 0 && info.type_id != 0;
    }
    for (u32 f = 0; f < out_.functions.size(); f++)
      for (u32 i = out_.functions[f].first; i < out_.functions[f].end; i++)
        out_.insns[i].function = static_cast<u16>(f);
    return std::nullopt;
  }

  std::optional<Refusal> check_jumps() {
    for (const Function& f : out_.functions) {
      u32 last = f.first;
      for (u32 i = f.first; i < f.end; i = next(i)) {
        last = i;
        if (!isa::is_jump(form(i))) continue;
        s64 target = s64{i} + 1 + isa::jump_distance(form(i), code_[i]);
        if (target < f.first || target >= f.end) return refuse(MessageId::jump_out_of_range, i, i, target, f.end);
        if (out_.insns[static_cast<u32>(target)].is_tail) return refuse(MessageId::jump_into_wide_load, i, i, target);
        InsnFacts& to = out_.insns[static_cast<u32>(target)];
        to.is_join = to.is_crossing = true;
        if (target <= i) to.is_loop_head = true;
        if (isa::is_conditional(form(i))) out_.insns[i].is_join = true;
      }
      Form f_last = form(last);
      if (f_last != Form::exit && f_last != Form::jump && f_last != Form::jump_long)
        return refuse(MessageId::falls_off_the_end, last, last);
    }
    return std::nullopt;
  }

  void mark_reachable() {
    std::vector<u32> work{0};
    if (exception_callback_ != nullptr)  // bpf_throw calls it, no instruction does
      for (Function& f : out_.functions)
        if (f.info == exception_callback_) {
          f.is_exception_callback = out_.insns[f.first].is_reachable = true;
          work.push_back(f.first);
        }
    auto push = [&](u32 i) {
      if (out_.insns[i].is_reachable) return;
      out_.insns[i].is_reachable = true;
      work.push_back(i);
    };
    out_.insns[0].is_reachable = true;
    while (!work.empty()) {
      u32 i = work.back();
      work.pop_back();
      Form f = form(i);
      if (f == Form::exit) continue;
      if (isa::is_jump(f)) push(i + 1 + static_cast<u32>(isa::jump_distance(f, code_[i])));
      if (f == Form::jump || f == Form::jump_long) continue;
      // Linux remembers states behind every call.
      if (f == Form::call_helper || f == Form::call_kfunc || f == Form::call_local || f == Form::callx)
        out_.insns[next(i)].is_join = out_.insns[next(i)].is_crossing = true;
      if (f == Form::call_local) {
        u32 target = i + 1 + static_cast<u32>(code_[i].imm);
        out_.insns[i].is_join = true;
        out_.insns[target].is_join = out_.insns[target].is_crossing = true;
        push(target);
      }
      if (f == Form::ld_imm64 && code_[i].src == isa::imm64_src_function) {
        push(callback_target(i));
        for (u32 at : {i, next(i), callback_target(i)}) out_.insns[at].is_join = true;
        out_.insns[next(i)].is_crossing = out_.insns[callback_target(i)].is_crossing = true;
      }
      push(next(i));
    }
  }

  u32 callback_target(u32 i) const {
    s32 reference = out_.insns[i].reference;
    return reference >= 0 ? program_.references[static_cast<u32>(reference)].addend
                          : i + 1 + static_cast<u32>(code_[i].imm);
  }

  /// Which functions tail-call, and which throw, sleep or move the packet, directly or through others.
  void summarise_functions() {
    bool changed = true;
    while (changed) {
      changed = false;
      for (Function& f : out_.functions)
        for (u32 i = f.first; i < f.end; i = next(i)) {
          bool moves = false, throws = false, sleeps = false;
          if (form(i) == Form::call_helper) {
            const auto* prototype = catalog::prototype(static_cast<u32>(code_[i].imm));
            moves = prototype != nullptr && prototype->has(catalog::helper_flags::moves_packet);
            sleeps = prototype != nullptr && prototype->has(catalog::helper_flags::sleeps);
            if (code_[i].imm == isa::helper_tail_call) f.has_tail_call = moves = true;
          } else if (form(i) == Form::call_kfunc) {
            const auto* kfunc = out_.kfunc_at(i);
            throws = kfunc != nullptr && kfunc->has(catalog::kfunc_flags::throws);
            sleeps = kfunc != nullptr && kfunc->has(catalog::kfunc_flags::sleeps);
            moves = kfunc != nullptr && kfunc->has(catalog::kfunc_flags::moves_packet);
          } else if (form(i) == Form::call_local) {
            const Function& callee = out_.functions[*out_.function_at(i + 1 + static_cast<u32>(code_[i].imm))];
            throws = callee.throws;
            sleeps = callee.sleeps;
            moves = callee.moves_packet;
          }
          if (moves && !f.moves_packet) f.moves_packet = changed = true;
          if (throws && !f.throws) f.throws = changed = true;
          if (sleeps && !f.sleeps) f.sleeps = changed = true;
        }
    }
  }

  static constexpr u16 bit(u32 r) { return static_cast<u16>(1u << r); }
  static constexpr u16 arguments(u32 count) { return static_cast<u16>(((1u << count) - 1) << 1); }

  /// Registers an instruction reads and writes.
  void effects(u32 i, u16& reads, u16& writes) const {
    const Insn& insn = code_[i];
    u16 dst = bit(insn.dst), src = bit(insn.src);
    reads = writes = 0;
    switch (form(i)) {
      case Form::alu_imm:
        writes = dst;
        if ((insn.code & 0xf0) != 0xb0) reads = dst;
        return;
      case Form::alu_reg:
        writes = dst;
        reads = (insn.code & 0xf0) == 0xb0 ? src : static_cast<u16>(dst | src);
        return;
      case Form::alu_unary:
      case Form::endian:
        reads = writes = dst;
        return;
      case Form::movsx:
      case Form::addr_space_cast:
      case Form::load:
      case Form::load_acquire:
        writes = dst;
        reads = src;
        return;
      case Form::jump_imm:
      case Form::store_imm:
        reads = dst;
        return;
      case Form::callx:
        reads = static_cast<u16>(dst | arguments(5));
        writes = static_cast<u16>(arguments(5) | bit(0));
        return;
      case Form::jump_reg:
      case Form::store_reg:
      case Form::store_release:
      case Form::atomic:
        reads = static_cast<u16>(dst | src);
        return;
      case Form::atomic_fetch:
        reads = static_cast<u16>(dst | src);
        writes = src;
        return;
      case Form::cmpxchg:
        reads = static_cast<u16>(dst | src | bit(0));
        writes = bit(0);
        return;
      case Form::call_helper: {
        const auto* prototype = catalog::prototype(static_cast<u32>(insn.imm));
        reads = arguments(prototype != nullptr ? prototype->arg_count() : 5);
        writes = static_cast<u16>(arguments(5) | bit(0));
        return;
      }
      case Form::call_local:
      case Form::call_kfunc: {
        const auto* kfunc = form(i) == Form::call_kfunc ? out_.kfunc_at(i) : nullptr;
        reads = arguments(kfunc != nullptr ? kfunc->arg_count() : 5);
        writes = static_cast<u16>(arguments(5) | bit(0));
        return;
      }
      case Form::exit:
        reads = bit(0);
        return;
      case Form::ld_imm64:
        writes = dst;
        return;
      case Form::ld_abs:
        reads = bit(6);
        writes = static_cast<u16>(arguments(5) | bit(0));
        return;
      case Form::ld_ind:
        reads = static_cast<u16>(bit(6) | src);
        writes = static_cast<u16>(arguments(5) | bit(0));
        return;
      case Form::jump:
      case Form::jump_long:
      case Form::may_goto:
        return;
    }
  }

  void compute_liveness() {
    std::vector<u16> reads(code_.size()), writes(code_.size());
    for (u32 i = 0; i < code_.size(); i++)
      if (!out_.insns[i].is_tail) effects(i, reads[i], writes[i]);
    bool changed = true;
    while (changed) {
      changed = false;
      for (u32 i = static_cast<u32>(code_.size()); i-- > 0;) {
        InsnFacts& facts = out_.insns[i];
        if (facts.is_tail) continue;
        Form f = form(i);
        u16 after = 0;
        if (isa::is_jump(f)) after |= out_.insns[i + 1 + static_cast<u32>(isa::jump_distance(f, code_[i]))].live;
        if (f != Form::exit && f != Form::jump && f != Form::jump_long && next(i) < code_.size())
          after |= out_.insns[next(i)].live;
        u16 live = static_cast<u16>((after & ~writes[i]) | reads[i] | bit(isa::frame_pointer));
        if (live != facts.live) facts.live = live, changed = true;
      }
    }
  }

  struct Start {
    u32 insn;
    bool is_callback;
  };
  const ProgramSpec& program_;
  const std::vector<Insn>& code_;
  const FunctionInfo* exception_callback_;
  bool allow_unreachable_;
  Analysis& out_;
  std::vector<Start> starts_;
};

}  // namespace

std::optional<u32> Analysis::function_at(u32 insn) const {
  auto it = std::lower_bound(functions.begin(), functions.end(), insn,
                             [](const Function& f, u32 first) { return f.first < first; });
  if (it == functions.end() || it->first != insn) return std::nullopt;
  return static_cast<u32>(it - functions.begin());
}

std::optional<Refusal> analyse(const ProgramSpec& program, const FunctionInfo* exception_callback,
                               bool allow_unreachable, Analysis& analysis) {
  return Analyser(program, exception_callback, allow_unreachable, analysis).run();
}

}  // namespace skep::verify
