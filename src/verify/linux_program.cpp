// What Linux asks of a whole program before it follows any path: of its kind, its maps, and the functions it names.
//
// None of it makes a program safer for our engine, so only Rules::kernel asks. Linux looks at every instruction here,
// also at those that no path reaches.
// Source: Linux 6.18, bpf_check_attach_target, check_map_prog_compatibility, check_btf_func and btf_prepare_func_args.
#include "btf/btf.hpp"
#include "catalog/map_rules.hpp"
#include "verify/checker.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Form;

namespace {
/// The prototype of a function of the program, or nullptr.
std::optional<btf::Type> prototype_of(const btf::Btf* types, const FunctionInfo* info) {
  if (types == nullptr || info == nullptr || info->type_id == 0 || info->type_id >= types->type_count())
    return std::nullopt;
  const btf::Type function = types->type(info->type_id);
  if (function.kind != btf::Kind::func) return std::nullopt;
  const btf::Type prototype = types->type(function.type_id());
  return prototype.kind == btf::Kind::func_proto ? std::optional(prototype) : std::nullopt;
}

bool is_number(const btf::Btf& types, u32 type_id) {
  const btf::Kind kind = types.type(types.resolve(type_id)).kind;
  return kind == btf::Kind::int_ || btf::is_enumeration(kind);
}
}  // namespace

bool Checker::check_program_of_linux() {
  return check_sleepable_program() && check_maps_of_program() && check_results_of_functions() &&
         check_exception_callback();
}

/// Of a value with more special fields than it keeps books of, Linux knows none. Source: BTF_FIELDS_MAX.
void Checker::keep_fields_of_linux() {
  constexpr std::size_t most_fields = 11;
  for (MapFacts& map : maps_)
    if (map.fields.size() > most_fields) map.fields.clear();
}

/// Programs that may be interrupted run where the kernel is ready for it.
bool Checker::check_sleepable_program() {
  using namespace catalog::programs;
  if (!program_.sleepable || catalog::contains(kprobe | lsm | struct_ops | syscall, program_.type)) return true;
  const AttachType at = program_.attach.attach_type();
  if (program_.type == ProgramType::ext || (program_.type == ProgramType::tracing && at != AttachType::trace_raw_tp))
    return true;
  return refuse(MessageId::program_not_sleepable, program_.type == ProgramType::tracing
                                                      ? std::string_view("tracing at a typed tracepoint")
                                                      : name_of(program_.type));
}

bool Checker::check_maps_of_program() {
  using What = SpecialField::What;
  using namespace catalog::programs;
  for (const Reference& reference : program_.references) {
    const bool is_map = reference.kind == Reference::Kind::map || reference.kind == Reference::Kind::map_value;
    if (!is_map || reference.map >= object_.maps.size()) continue;
    insn_ = reference.insn;
    const MapFacts& map = maps_[reference.map];
    auto has = [&map](What what) { return field_of(map.fields, what) != nullptr; };
    const bool is_called_anywhere = !may_run_later();
    const bool locks = has(What::spin_lock) || has(What::resilient_lock);
    if (is_called_anywhere && (locks || has(What::list_head) || has(What::rb_root)))
      return refuse(MessageId::lock_not_for_type, name_of(program_.type));
    if (locks && program_.type == ProgramType::socket_filter)
      return refuse(MessageId::lock_not_for_type, name_of(program_.type));
    if (is_called_anywhere && (has(What::timer) || has(What::workqueue)))
      return refuse(MessageId::timer_not_for_type, name_of(program_.type));
    if (program_.sleepable && !catalog::is_for_sleepers(map.spec->type))
      return refuse(MessageId::map_not_for_sleepable, map.spec->name, name_of(map.spec->type));
  }
  return true;
}

/// By its type; where it has none, it is believed to.
bool Checker::returns_number(u32 function) const {
  const auto prototype = prototype_of(object_.btf.get(), analysis_.functions[function].info);
  return !prototype || is_number(*object_.btf, prototype->type_id());
}

/// A tail call or a packet load ends its function with a number, whatever the function meant to return.
bool Checker::check_results_of_functions() {
  for (u32 f = 1; f < analysis_.functions.size(); f++) {
    const Function& function = analysis_.functions[f];
    if (returns_number(f)) continue;
    for (insn_ = function.first; insn_ < function.end; insn_ = next_insn()) {
      const bool loads = form() == Form::ld_abs || form() == Form::ld_ind;
      const bool leaves = form() == Form::call_helper && insn().imm == static_cast<s32>(catalog::HelperId::tail_call);
      if (loads || leaves)
        return refuse(MessageId::function_returns_no_number, function_name(f),
                      loads ? "a packet load may end it with 0" : "a tail call returns one in its place");
    }
  }
  return true;
}

/// The program names it by a tag, at most once; it takes bpf_throw()'s cookie and returns the program's result.
bool Checker::check_exception_callback() {
  const btf::Btf* types = object_.btf.get();
  if (types == nullptr || program_.functions.empty()) return true;
  u32 tags = 0;
  for (u32 id = types->first_id(); id < types->type_count(); id++) {
    const btf::Type tag = types->type(id);
    tags += tag.kind == btf::Kind::decl_tag && tag.type_id() == program_.functions[0].type_id &&
            tag.name.starts_with("exception_callback:");
  }
  if (tags > 1) return refuse(MessageId::exception_callback_wrong, "is named more than once");
  for (const Function& function : analysis_.functions) {
    if (!function.is_exception_callback) continue;
    insn_ = function.first;
    const auto prototype = prototype_of(types, function.info);
    if (!prototype) continue;
    if (!is_number(*types, prototype->type_id()))
      return refuse(MessageId::exception_callback_wrong, "does not return a number");
    const std::vector<btf::Param> takes = types->params(*prototype);
    if (takes.size() != 1 || !is_number(*types, takes[0].type_id))
      return refuse(MessageId::exception_callback_wrong, "does not take one number");
  }
  return true;
}

}  // namespace skep::verify
