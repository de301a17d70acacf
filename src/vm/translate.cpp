// From instructions to Bytecode: decode, check the shape, fill in addresses.
//
// The passes, in order: decode every instruction; put the numbers of references and context loads in place
// (from here on the instructions are final); check where jumps and calls go and that this engine has what they
// need, and lay out slots. Every program pays for this before its first run, so a pass over the instructions is worth
// avoiding, and what few programs need (tables by instruction, say) is made for those alone.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
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

/// isa::decode for the many opcodes that have one row: all fixed fields compared at once.
struct QuickRow {
  u64 mask = 0, value = ~u64{0};  ///< of the instruction as a little-endian number; no value fits at first
  Op op = Op::exit;
};
constexpr std::array<QuickRow, 256> make_quick_rows() {
  std::array<QuickRow, 256> out;
  std::array<u8, 256> rows_of{};
  for (const isa::Row& row : isa::rows()) rows_of[row.code]++;
  for (const isa::Row& row : isa::rows()) {
    if (rows_of[row.code] != 1) continue;
    QuickRow& quick = out[row.code];
    quick = {0xff, row.code, row.op};
    const auto fix = [&](s32 field, u32 shift, u64 bits) {
      if (field == isa::any) return;
      quick.mask |= bits << shift;
      quick.value |= (static_cast<u64>(field) & bits) << shift;
    };
    fix(isa::uses_dst(row.form) ? isa::any : 0, 8, 0xf);
    fix(row.src, 12, 0xf);
    fix(row.off, 16, 0xffff);
    fix(row.imm, 32, 0xffffffff);
  }
  return out;
}
constexpr std::array<QuickRow, 256> quick_rows = make_quick_rows();

std::optional<Op> decode_quickly(const Insn& insn) noexcept {
  const QuickRow& quick = quick_rows[insn.code];
  const bool registers_exist = insn.dst < isa::register_count && insn.src < isa::register_count;
  if (registers_exist && (std::bit_cast<u64>(insn) & quick.mask) == quick.value) return quick.op;
  return isa::decode(insn);
}

constexpr auto forms = [] {
  std::array<Form, isa::op_count> out{};
  for (const isa::Row& row : isa::rows()) out[static_cast<u8>(row.op)] = row.form;
  return out;
}();
constexpr Form form_of(Op op) { return forms[static_cast<u8>(op)]; }

class Translator {
 public:
  Translator(const Source& source, const Bindings& bindings) : source_(source), bindings_(bindings) {}

  Result<std::unique_ptr<const Bytecode>> run() {
    code_->insns.assign(source_.insns.begin(), source_.insns.end());
    code_->tail_target = bindings_.tail_target;
    code_->load_packet = bindings_.load_packet;
    code_->owner = bindings_.owner;
    code_->proofs = source_.proofs;
    code_->stack_touches = source_.stack_touches;
    SKEP_TRY(decode());
    SKEP_TRY(bind_references());
    SKEP_TRY(rewrite_context_loads());
    // From here on the instructions are final.
    SKEP_TRY(bind_arena());
    SKEP_TRY(lay_out());
    SKEP_TRY(bind_exception_callback());
    code_->hidden_arguments.assign(hidden_.begin(), hidden_.end());
    if (!throwers_.empty()) find_throwing_calls();
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
    for (std::size_t i = 0; i < insns.size(); i++) {
      const auto op = decode_quickly(insns[i]);
      if (!op)
        return fail(Code::malformed, at(i, fmt::format("cannot decode opcode {:#04x}: {}", insns[i].code,
                                                       isa::why_undecodable(insns[i]))));
      code_->ops[i] = *op;
      if (!isa::is_ld_imm64(insns[i])) continue;
      if (i + 1 == insns.size() || !isa::is_ld_imm64_tail(insns[i + 1]))
        return fail(Code::malformed, at(i, "the second half of this ld_imm64 is missing or not empty"));
      if (*op != Op::ld_imm64) special_loads_++;
      i++;
    }
    return {};
  }

  Result<void> bind_references() {
    std::vector<bool> bound(special_loads_ != 0 ? code_->insns.size() : 0, false);
    for (const Reference& reference : source_.references) {
      if (!is_start(reference.insn))
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
      if (!bound.empty()) bound[reference.insn] = true;
    }
    for (std::size_t i = 0; i < bound.size(); i++)
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
    if (bindings_.hidden) {
      const auto hidden = SKEP_TRY(bindings_.hidden(reference.name, local_type_at(reference.insn)));
      if (hidden.reg != 0) hidden_[reference.insn] = hidden;
    }
    if (reference.name == "bpf_throw") throwers_.push_back(reference.insn);
    return {};
  }

  u32 local_type_at(u32 insn) const {
    for (const auto& made : source_.local_types)
      if (made.insn == insn) return made.type;
    return 0;
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
    if (list.empty()) list.reserve(source_.references.size() + special_loads_ + 1);  // as many as may ask, at most
    u32& position = position_[target];
    if (position == 0) {
      list.push_back({.interpret = interpret_callback,
                      .code = static_cast<const base::CodeOwner*>(code_.get()),
                      .insn = static_cast<u32>(target)});
      position = static_cast<u32>(list.size());
    }
    return reinterpret_cast<u64>(&list[position - 1]);
  }

  Result<void> bind_arena() {
    if (source_.arena_map < 0 && source_.window_accesses.empty()) return {};
    if (source_.arena_map >= 0) {
      if (!source_.window_accesses.empty())
        return fail(Code::unsupported,
                    at(source_.window_accesses.front(),
                       "reads a structure of the kernel's by a load, and the program has an arena: this engine has one "
                       "such window for a program; use bpf_probe_read_kernel() or BPF_CORE_READ()"));
      const auto map = static_cast<std::size_t>(source_.arena_map);
      if (map >= bindings_.map_values.size() || bindings_.map_values[map] == 0)
        return fail(Code::invalid_argument, fmt::format("the arena (map {}) was not bound", map));
      code_->arena = bindings_.map_values[map] >> 32 << 32;  // the arena's pages lie within one window
      return mark_window_accesses(source_.arena_accesses);
    }
    if (bindings_.object_window == 0)
      return fail(Code::unsupported, at(source_.window_accesses.front(),
                                        "reads a structure of the kernel's, and this "
                                        "engine has no such objects here"));
    code_->arena = bindings_.object_window;
    return mark_window_accesses(source_.window_accesses);
  }

  Result<void> mark_window_accesses(std::span<const u32> accesses) {
    code_->arena_access.assign(code_->insns.size(), false);
    for (const u32 insn : accesses) {
      if (!is_start(insn) || isa::access_bytes(code_->insns[insn]) == 0)
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
      if (!is_start(load.insn) || form_of(code_->ops[load.insn]) != Form::load)
        return fail(Code::malformed, at(load.insn, "is to become an 8-byte context load but is no load"));
      Insn& insn = code_->insns[load.insn];
      insn.code = isa::row(Op::ldxdw).code;
      insn.off = load.offset;
      code_->ops[load.insn] = Op::ldxdw;
    }
    return {};
  }

  /// Checks what each instruction needs, and lays out its slot.
  Result<void> lay_out() {
    const auto& insns = code_->insns;
    code_->clear_frames = source_.clear_frames;
    code_->slots.resize(insns.size() + 1);
    for (std::size_t i = 0; i < insns.size(); i++) {
      const Form form = form_of(code_->ops[i]);
      switch (form) {
        case Form::ld_imm64:
          i++;
          code_->slots[i].wide = isa::wide_immediate(insns[i - 1], insns[i]);
          break;
        case Form::jump:
        case Form::jump_long:
        case Form::may_goto:
        case Form::jump_imm:
        case Form::jump_reg:
          SKEP_TRY(check_target(i, isa::jump_distance(form, insns[i])));
          break;
        case Form::call_helper:
        case Form::call_local:
        case Form::call_kfunc:
        case Form::callx:
        case Form::addr_space_cast:
        case Form::ld_abs:
        case Form::ld_ind:
          SKEP_TRY(lay_out_special(i, form));
          break;
        default:  // registers and memory only
          break;
      }
    }
    return {};
  }

  Result<void> check_target(std::size_t i, s32 distance) {
    const s64 target = static_cast<s64>(i) + 1 + distance;
    if (is_start(target)) return {};
    return fail(Code::malformed, at(i, fmt::format("goes to instruction {}, which is not the start of an "
                                                   "instruction of this program (0..{})",
                                                   target, code_->insns.size() - 1)));
  }

  Result<void> lay_out_special(std::size_t i, Form form) {
    const Insn& insn = code_->insns[i];
    switch (form) {
      case Form::call_local:
        return check_target(i, insn.imm);
      case Form::call_helper:
        if (is_dead(i)) {
          code_->slots[i].helper = never_called;
          return {};
        }
        SKEP_TRY(check_helper(i));
        if (insn.imm != isa::helper_tail_call) code_->slots[i].helper = bindings_.helpers[static_cast<u32>(insn.imm)];
        return {};
      case Form::callx:
        code_->helpers.assign(bindings_.helpers.begin(), bindings_.helpers.end());
        return {};
      case Form::call_kfunc:
        if (const auto body = kfuncs_.find(i); body != kfuncs_.end()) {
          code_->slots[i].helper = body->second;
          return {};
        }
        if (is_dead(i)) {
          code_->slots[i].helper = never_called;
          return {};
        }
        return fail(Code::unsupported,
                    at(i, fmt::format("kernel function #{} exists only in the kernel engine", insn.imm)));
      case Form::addr_space_cast:
        if (code_->arena != 0) return {};
        return fail(Code::unsupported, at(i, "addr_space_cast needs an arena map, and none was bound"));
      case Form::ld_abs:
      case Form::ld_ind:
        if (bindings_.load_packet != nullptr) return {};
        return fail(Code::unsupported,
                    at(i, "LD_ABS and LD_IND read a packet, and this program's attach point has none"));
      default:
        return {};
    }
  }

  /// Whether the proof says that no path executes it: a program written for several engines decides by a constant, and
  /// what the other branch calls need not be here.
  bool is_dead(std::size_t i) const { return i < source_.proofs.size() && !source_.proofs[i].reached; }
  static u64 never_called(void*, u64, u64, u64, u64, u64) noexcept { __builtin_trap(); }

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

  /// Marks every call behind which something may have been thrown: bpf_throw itself, helpers and kernel functions that
  /// call back into this program, and calls of its own functions. More than needed is harmless.
  void find_throwing_calls() {
    code_->may_throw.assign(code_->insns.size(), false);
    for (std::size_t i = 0; i < code_->insns.size(); i++) {
      if (!is_start(static_cast<s64>(i))) continue;
      const Form form = form_of(code_->ops[i]);
      const bool calls_back = !code_->callbacks.empty() && (form == Form::call_helper || form == Form::call_kfunc);
      code_->may_throw[i] = form == Form::call_local || form == Form::callx || calls_back;
    }
    for (const std::size_t insn : throwers_) code_->may_throw[insn] = true;
  }

  /// Whether an instruction begins there; of those decode() passed, only the second half of an ld_imm64 has code 0.
  bool is_start(s64 insn) const {
    const auto& insns = code_->insns;
    return insn >= 0 && insn < static_cast<s64>(insns.size()) && insns[static_cast<std::size_t>(insn)].code != 0;
  }
  void set_wide(std::size_t i, u64 value) {
    code_->insns[i].imm = static_cast<s32>(value);
    code_->insns[i + 1].imm = static_cast<s32>(value >> 32);
  }

  const Source& source_;
  const Bindings& bindings_;
  std::unique_ptr<Bytecode> code_ = std::make_unique<Bytecode>();
  std::size_t special_loads_ = 0;               ///< ld_imm64 that hold more than a number
  std::map<std::size_t, HelperFn> kfuncs_;      ///< by call instruction
  std::map<u32, base::HiddenArgument> hidden_;  ///< by call instruction
  std::vector<std::size_t> throwers_;           ///< calls of bpf_throw
  std::map<s64, u32> position_;  ///< by target instruction: position in code_->callbacks + 1, 0: not there
};

}  // namespace

Result<std::unique_ptr<const Bytecode>> translate(const Source& source, const Bindings& bindings) {
  return Translator(source, bindings).run();
}

const base::HiddenArgument* Bytecode::hidden_at(std::size_t insn) const noexcept {
  const auto found = std::ranges::lower_bound(hidden_arguments, insn, {}, [](const auto& each) { return each.first; });
  return found != hidden_arguments.end() && found->first == insn ? &found->second : nullptr;
}

const base::Callback* Bytecode::callback_at(u64 address) const noexcept {
  const u64 first = reinterpret_cast<u64>(callbacks.data());
  const u64 offset = address - first;
  if (address < first || offset >= callbacks.size() * sizeof(base::Callback) || offset % sizeof(base::Callback) != 0)
    return nullptr;
  return &callbacks[offset / sizeof(base::Callback)];
}

}  // namespace skep::vm
