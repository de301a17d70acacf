// From instructions to Bytecode: decode, check the shape, fill in addresses, thread.
//
// The passes, in order: decode every instruction; put the numbers of references and context loads in place
// (from here on the instructions are final); check where jumps and calls go and that this engine has what they
// need; lay out slots.
#include <fmt/format.h>

#include <map>

#include "catalog/helpers.hpp"
#include "vm/bytecode.hpp"

namespace skep::vm {
namespace {

using isa::Form;
using isa::Op;

/// More than Linux loads (1 million), less than what a 32-bit pc counts.
constexpr std::size_t max_program_insns = 1u << 22;

std::string at(std::size_t insn, std::string_view text) { return fmt::format("instruction {}: {}", insn, text); }

std::string helper_name(s32 id) {
  const auto* row = id > 0 ? catalog::helper(static_cast<u32>(id)) : nullptr;
  return row != nullptr ? fmt::format("bpf_{} (#{})", row->name, id) : fmt::format("#{}", id);
}

class Translator {
 public:
  Translator(const Source& source, const Bindings& bindings) : source_(source), bindings_(bindings) {}

  Result<std::unique_ptr<const Bytecode>> run() {
    code_->insns.assign(source_.insns.begin(), source_.insns.end());
    code_->tail_target = bindings_.tail_target;
    code_->load_packet = bindings_.load_packet;
    code_->proofs = source_.proofs;
    code_->stack_touches = source_.stack_touches;
    SKEP_TRY(decode());
    SKEP_TRY(bind_references());
    SKEP_TRY(rewrite_context_loads());
    // From here on the instructions are final.
    SKEP_TRY(bind_arena());
    SKEP_TRY(check_needs());
    SKEP_TRY(bind_exception_callback());
    SKEP_TRY(lay_out());
    thread(*code_);
    return std::unique_ptr<const Bytecode>(std::move(code_));
  }

 private:
  Result<void> decode() {
    auto& insns = code_->insns;
    if (insns.empty()) return fail(Code::malformed, "the program has no instructions");
    if (insns.size() > max_program_insns)
      return fail(Code::limit,
                  fmt::format("the program has {} instructions, at most {} fit", insns.size(), max_program_insns));
    code_->ops.assign(insns.size(), Op::exit);
    is_tail_.assign(insns.size(), false);
    for (std::size_t i = 0; i < insns.size(); i++) {
      const auto op = isa::decode(insns[i]);
      if (!op)
        return fail(Code::malformed, at(i, fmt::format("cannot decode opcode {:#04x}: {}", insns[i].code,
                                                       isa::why_undecodable(insns[i]))));
      code_->ops[i] = *op;
      if (!isa::is_ld_imm64(insns[i])) continue;
      if (i + 1 == insns.size() || !isa::is_ld_imm64_tail(insns[i + 1]))
        return fail(Code::malformed, at(i, "the second half of this ld_imm64 is missing or not empty"));
      is_tail_[++i] = true;
    }
    return {};
  }

  Result<void> bind_references() {
    std::vector<bool> bound(code_->insns.size(), false);
    for (const Reference& reference : source_.references) {
      if (reference.insn >= code_->insns.size() || is_tail_[reference.insn])
        return fail(Code::malformed, fmt::format("a reference names instruction {}, which does not exist or is the "
                                                 "second half of an ld_imm64",
                                                 reference.insn));
      if (reference.kind == Reference::Kind::kfunc) {
        SKEP_TRY(bind_kfunc(reference));
        continue;
      }
      if (!isa::is_ld_imm64(code_->insns[reference.insn]))
        return fail(Code::malformed, at(reference.insn, "has a reference but is not an ld_imm64"));
      set_wide(reference.insn, SKEP_TRY(address_of(reference)));
      bound[reference.insn] = true;
    }
    for (std::size_t i = 0; i < code_->insns.size(); i++)
      if (isa::is_ld_imm64(code_->insns[i]) && !bound[i]) SKEP_TRY(bind_unreferenced(i));
    return {};
  }

  Result<void> bind_kfunc(const Reference& reference) {
    if (code_->ops[reference.insn] != Op::call_kfunc) {
      if (!isa::is_ld_imm64(code_->insns[reference.insn]))
        return fail(Code::malformed, at(reference.insn, "has a kernel function's reference but is not a call of one"));
      return fail(Code::unsupported, at(reference.insn, fmt::format("the address of kernel function {} exists only in "
                                                                    "the kernel engine",
                                                                    reference.name)));
    }
    const HelperFn body = bindings_.kfunc ? bindings_.kfunc(reference.name) : nullptr;
    if (body == nullptr)
      return fail(
          Code::unsupported,
          at(reference.insn, fmt::format("kernel function {} exists only in the kernel engine", reference.name)));
    kfuncs_[reference.insn] = body;
    if (reference.name == "bpf_throw") throwers_.push_back(reference.insn);
    return {};
  }

  Result<u64> address_of(const Reference& reference) {
    const auto missing = [&](const std::vector<u64>& table) {
      return reference.map >= table.size() || table[reference.map] == 0;
    };
    switch (reference.kind) {
      case Reference::Kind::map:
        if (missing(bindings_.maps))
          return fail(Code::invalid_argument, at(reference.insn, fmt::format("map {} was not bound", reference.map)));
        use_map(reference.map);
        return bindings_.maps[reference.map];
      case Reference::Kind::map_value:
        if (missing(bindings_.map_values))
          return fail(Code::invalid_argument,
                      at(reference.insn, fmt::format("map {} has no directly addressed value", reference.map)));
        return bindings_.map_values[reference.map] + reference.addend;
      case Reference::Kind::function:
        return function_value(reference.insn, reference.addend);
      case Reference::Kind::kconfig:
      case Reference::Kind::ksym:
      case Reference::Kind::kfunc:
        break;
    }
    return fail(
        Code::unsupported,
        at(reference.insn, fmt::format("kernel symbol {} has an address only in the kernel engine", reference.name)));
  }

  void use_map(u32 map) {
    if (map >= bindings_.map_views.size()) return;
    for (const auto& use : code_->map_uses)
      if (use.address == bindings_.maps[map]) return;
    code_->map_uses.push_back({bindings_.maps[map], bindings_.map_views[map]});
  }

  /// An ld_imm64 without a reference: a number stays, a function is relative, the rest needs a loader.
  Result<void> bind_unreferenced(std::size_t i) {
    const Insn& insn = code_->insns[i];
    switch (code_->ops[i]) {
      case Op::ld_imm64:
        return {};
      case Op::ld_function:
        set_wide(i, SKEP_TRY(function_value(i, static_cast<s64>(i) + 1 + insn.imm)));
        return {};
      default:
        return fail(Code::unsupported, at(i, fmt::format("ld_imm64 with source {} refers to a map or kernel object "
                                                         "that was not bound",
                                                         static_cast<unsigned>(insn.src))));
    }
  }

  /// The value of a function pointer: the address of its entry in code_->callbacks (room reserved for all of
  /// them, so that it stays).
  Result<u64> function_value(std::size_t insn, s64 target) {
    if (!is_start(target))
      return fail(Code::malformed, at(insn, fmt::format("there is no function at instruction {}", target)));
    auto& list = code_->callbacks;
    if (position_.empty()) {
      list.reserve(code_->insns.size());
      position_.assign(code_->insns.size(), 0);
    }
    u32& position = position_[static_cast<std::size_t>(target)];
    if (position == 0) {
      list.push_back({.interpret = interpret_callback, .code = code_.get(), .insn = static_cast<u32>(target)});
      position = static_cast<u32>(list.size());
    }
    return reinterpret_cast<u64>(&list[position - 1]);
  }

  Result<void> bind_arena() {
    if (source_.arena_map < 0) return {};
    const auto map = static_cast<std::size_t>(source_.arena_map);
    if (map >= bindings_.map_values.size() || bindings_.map_values[map] == 0)
      return fail(Code::invalid_argument, fmt::format("the arena (map {}) was not bound", map));
    code_->arena = bindings_.map_values[map] >> 32 << 32;  // the arena's pages lie within one window
    code_->arena_access.assign(code_->insns.size(), false);
    for (const u32 insn : source_.arena_accesses) {
      if (insn >= code_->insns.size() || is_tail_[insn] || isa::access_bytes(code_->insns[insn]) == 0)
        return fail(Code::malformed, at(insn, "is to reach the arena but is no load, store or atomic"));
      code_->arena_access[insn] = true;
    }
    return {};
  }

  Result<void> bind_exception_callback() {
    if (source_.exception_callback < 0) return {};
    const u64 address = SKEP_TRY(function_value(0, source_.exception_callback));
    code_->exception_callback = reinterpret_cast<const base::Callback*>(address);
    return {};
  }

  Result<void> rewrite_context_loads() {
    for (const auto& load : source_.context_loads) {
      if (load.insn >= code_->insns.size() || is_tail_[load.insn] || isa::row(code_->ops[load.insn]).form != Form::load)
        return fail(Code::malformed, at(load.insn, "is to become an 8-byte context load but is no load"));
      Insn& insn = code_->insns[load.insn];
      insn.code = isa::row(Op::ldxdw).code;
      insn.off = load.offset;
      code_->ops[load.insn] = Op::ldxdw;
    }
    return {};
  }

  Result<void> check_needs() {
    for (std::size_t i = 0; i < code_->insns.size(); i++)
      if (!is_tail_[i]) SKEP_TRY(check_needs_of(i));
    return {};
  }

  Result<void> check_needs_of(std::size_t i) {
    const Insn& insn = code_->insns[i];
    const Form form = isa::row(code_->ops[i]).form;
    if (isa::is_jump(form) || form == Form::call_local) {
      const s32 distance = form == Form::call_local ? insn.imm : isa::jump_distance(form, insn);
      const s64 target = static_cast<s64>(i) + 1 + distance;
      if (!is_start(target))
        return fail(Code::malformed, at(i, fmt::format("goes to instruction {}, which is not the start of an "
                                                       "instruction of this program (0..{})",
                                                       target, code_->insns.size() - 1)));
    }
    if (form == Form::call_helper) return check_helper(i);
    if (form == Form::callx) code_->helpers.assign(bindings_.helpers.begin(), bindings_.helpers.end());
    if (form == Form::call_kfunc && !kfuncs_.contains(i))
      return fail(Code::unsupported,
                  at(i, fmt::format("kernel function #{} exists only in the kernel engine", insn.imm)));
    if (form == Form::addr_space_cast && code_->arena == 0)
      return fail(Code::unsupported, at(i, "addr_space_cast needs an arena map, and none was bound"));
    if ((form == Form::ld_abs || form == Form::ld_ind) && bindings_.load_packet == nullptr)
      return fail(Code::unsupported,
                  at(i, "LD_ABS and LD_IND read a packet, and this program's attach point has none"));
    return {};
  }

  Result<void> check_helper(std::size_t i) {
    const s32 id = code_->insns[i].imm;
    if (id == isa::helper_tail_call && bindings_.tail_target != nullptr) return {};
    if (id == isa::helper_tail_call)
      return fail(Code::unsupported, at(i, "tail calls need program arrays, and none were bound"));
    if (id < 0 || static_cast<u32>(id) >= bindings_.helpers.size() ||
        bindings_.helpers[static_cast<u32>(id)] == nullptr)
      return fail(Code::unsupported, at(i, fmt::format("helper {} is not in this engine; the kernel engine may have it",
                                                       helper_name(id))));
    return {};
  }

  Result<void> lay_out() {
    const auto& insns = code_->insns;
    code_->clear_frames = source_.clear_frames;
    code_->slots.resize(insns.size() + 1);
    for (std::size_t i = 0; i < insns.size(); i++) {
      Slot& slot = code_->slots[i];
      slot.o = {insns[i].dst, insns[i].src, insns[i].off, insns[i].imm};
      if (is_tail_[i]) slot.wide = isa::wide_immediate(insns[i - 1], insns[i]);
      if (!is_tail_[i] && code_->ops[i] == Op::call_helper && insns[i].imm != isa::helper_tail_call)
        slot.helper = bindings_.helpers[static_cast<u32>(insns[i].imm)];
    }
    for (const auto& [insn, body] : kfuncs_) code_->slots[insn].helper = body;
    if (!throwers_.empty()) find_throwing_calls();
    return {};
  }

  /// Marks every call behind which something may have been thrown: bpf_throw itself, helpers and kernel functions that
  /// call back into this program, and calls of its own functions. More than needed is harmless.
  void find_throwing_calls() {
    code_->may_throw.assign(code_->insns.size(), false);
    for (std::size_t i = 0; i < code_->insns.size(); i++) {
      if (is_tail_[i]) continue;
      const Form form = isa::row(code_->ops[i]).form;
      const bool calls_back = !code_->callbacks.empty() && (form == Form::call_helper || form == Form::call_kfunc);
      code_->may_throw[i] = form == Form::call_local || form == Form::callx || calls_back;
    }
    for (const std::size_t insn : throwers_) code_->may_throw[insn] = true;
  }

  bool is_start(s64 target) const {
    return target >= 0 && target < static_cast<s64>(is_tail_.size()) && !is_tail_[static_cast<std::size_t>(target)];
  }
  void set_wide(std::size_t i, u64 value) {
    code_->insns[i].imm = static_cast<s32>(value);
    code_->insns[i + 1].imm = static_cast<s32>(value >> 32);
  }

  const Source& source_;
  const Bindings& bindings_;
  std::unique_ptr<Bytecode> code_ = std::make_unique<Bytecode>();
  std::vector<bool> is_tail_;
  std::map<std::size_t, HelperFn> kfuncs_;  ///< by call instruction
  std::vector<std::size_t> throwers_;       ///< calls of bpf_throw
  std::vector<u32> position_;               ///< by target instruction: position in code_->callbacks + 1, 0: not there
};

}  // namespace

Result<std::unique_ptr<const Bytecode>> translate(const Source& source, const Bindings& bindings) {
  return Translator(source, bindings).run();
}

const base::Callback* Bytecode::callback_at(u64 address) const noexcept {
  const u64 first = reinterpret_cast<u64>(callbacks.data());
  const u64 offset = address - first;
  if (address < first || offset >= callbacks.size() * sizeof(base::Callback) || offset % sizeof(base::Callback) != 0)
    return nullptr;
  return &callbacks[offset / sizeof(base::Callback)];
}

}  // namespace skep::vm
