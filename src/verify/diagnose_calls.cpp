// What there is to say about calls, memory that has rules of its own, what is held too long, and programs too large.
#include <algorithm>
#include <cstdlib>

#include "verify/c_line.hpp"
#include "verify/narrator.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Form;
using Role = Event::Role;

namespace {
bool is_call(Form f) { return f == Form::call_helper || f == Form::call_kfunc; }

/// Program types of a set, as many as fit into a line.
std::string types_text(catalog::ProgramSet set) {
  std::string text;
  u32 more = 0;
  for (u32 number = 1; number < 64 && name_of(static_cast<ProgramType>(number)) != "unknown"; number++) {
    if (!catalog::contains(set, static_cast<ProgramType>(number))) continue;
    if (text.size() > 60)
      more++;
    else
      text += fmt::format("{}{}", text.empty() ? "" : ", ", name_of(static_cast<ProgramType>(number)));
  }
  return more != 0 ? fmt::format("{} and {} more", text, more) : text;
}
}  // namespace

std::string Narrator::release_of(u32 insn) const {
  static constexpr std::pair<std::string_view, std::string_view> rows[] = {
#define SKEP_RELEASE(call, release) {call, release},
#include "verify/releases.def"
#undef SKEP_RELEASE
  };
  const std::string call = call_name(insn);
  if (call == "bpf_kptr_xchg") {  // by the type of what comes out
    const SourceLine* l = line(insn);
    const std::string type = l != nullptr ? names_.type_of(c_line::assigned(l->text, l->column), insn) : "";
    for (std::string_view kind : {"task", "cgroup", "cpumask"})
      if (type.find(kind) != std::string::npos) return fmt::format("if ({{}}) bpf_{}_release({{}})", kind);
    return "if ({}) bpf_obj_drop({})";
  }
  for (const auto& [name, release] : rows)
    if (call.starts_with(name)) return std::string(release);
  return {};
}

void Narrator::argument() {
  d_.remedy = Remedy::other_argument;
  if (id_ == MessageId::argument_misaligned || id_ == MessageId::atomic_misaligned) d_.remedy = Remedy::align;
  const Insn& i = program_.insns[insn_];
  const Form f = isa::row(c_.analysis_.insns[insn_].op).form;
  if (f == Form::call_helper)
    if (const auto* row = catalog::helper(static_cast<u32>(i.imm)))
      d_.needed = fmt::format("{} bpf_{}({})", row->c_result, row->name, row->c_params);
  if (c_.culprit_ < 0) return;
  const u32 culprit = static_cast<u32>(c_.culprit_);
  if ((f == Form::call_helper || f == Form::call_kfunc) && culprit >= 1) {
    d_.facts.argument = static_cast<s32>(culprit) - 1;
    d_.facts.call = call_name(insn_);
  }
  if (given_up(c_.state_.reg(culprit))) return;
  d_.proved = fmt::format("a {}", c_.name(c_.state_.reg(culprit)));
  const auto links = trace(culprit, Follow::pointer, end_);
  add_links(links, 2);
  if (!links.empty() && links.back().what == Link::What::called) {
    d_.facts.origin_line = line_number(links.back().insn);
    if (call_name(links.back().insn) == "bpf_get_current_task") {
      d_.advice = "bpf_get_current_task() returns a number; bpf_get_current_task_btf() returns the pointer.";
      d_.facts.release = "bpf_get_current_task";
    }
  }
  for (Event& e : d_.events)
    if (!links.empty()) e.is_cause = e.insn == links.back().insn;
  const std::string_view argument = c_line::without_cast(d_.variable.name);
  if (id_ == MessageId::not_memory && c_.state_.reg(culprit).is_scalar() && c_line::is_identifier(argument))
    d_.advice = fmt::format("{}() takes an address here: pass &{}.", d_.facts.call, argument);
}

void Narrator::availability() {
  d_.remedy = Remedy::other_helper;
  switch (id_) {
    case MessageId::helper_needs_gpl:
    case MessageId::program_needs_gpl:
      d_.remedy = Remedy::declare_licence;
      return;
    case MessageId::helper_sleeps:
      d_.remedy = Remedy::sleepable;
      d_.facts.call = call_name(insn_);
      return;
    case MessageId::helper_not_for_type: {
      d_.facts.call = call_name(insn_);
      const auto* prototype = catalog::prototype(static_cast<u32>(program_.insns[insn_].imm));
      if (prototype == nullptr) return;
      d_.needed = fmt::format("a program of type {}", types_text(prototype->callers));
      d_.proved = std::string(name_of(program_.type));
      return;
    }
    case MessageId::unknown_helper:
      d_.remedy = Remedy::end_function;
      return;
    default:
      return;
  }
}

void Narrator::leak() {
  d_.remedy = Remedy::release;
  switch (id_) {
    case MessageId::nothing_to_release:
    case MessageId::lock_twice:
    case MessageId::lock_not_held:
    case MessageId::lock_other:
    case MessageId::lock_again:
    case MessageId::lock_order:
    case MessageId::irq_other:
    case MessageId::section_twice:
    case MessageId::section_not_open:
    case MessageId::iterator_in_use:
    case MessageId::iterator_missing:
      d_.remedy = Remedy::once;
      break;
    default:
      break;
  }
  const State& state = c_.state_;
  s64 begun = -1;
  if ((id_ == MessageId::reference_leak || id_ == MessageId::section_open) && !state.is_locked() &&
      !state.acquired.empty()) {
    begun = state.acquired.back().insn;
  } else if (state.is_locked()) {
    begun = state.locks.back().insn;
  } else {
    // The last call on the path that opened what is still open.
    std::string_view opener = state.rcu ? "bpf_rcu_read_lock" : "bpf_preempt_disable";
    if (state.rcu || state.preempt_depth != 0)
      for (std::size_t at = c_.path_.size(); at-- > 0 && begun < 0;) {
        const u32 insn = c_.path_[at].insn;
        if (is_call(isa::row(c_.analysis_.insns[insn].op).form) && call_name(insn) == opener) begun = insn;
      }
  }
  if (begun >= 0) {
    const u32 insn = static_cast<u32>(begun);
    d_.facts.call = call_name(insn);
    d_.facts.release = release_of(insn);
    d_.facts.origin_line = line_number(insn);
    if (const SourceLine* l = line(insn)) {
      std::string name = state.is_locked() ? "" : c_line::assigned(l->text, l->column);
      if (name.empty()) {
        const auto arguments = c_line::arguments_of(l->text, d_.facts.call);
        const bool first = d_.facts.call.starts_with("bpf_iter_");  // the others have theirs last
        if (!arguments.empty()) name = first ? arguments.front() : arguments.back();
        name = state.is_locked() ? name : std::string(c_line::addressed(name));
      }
      if (!name.empty()) d_.variable = {name, names_.type_of(name, insn)};
    }
    const bool is_at_call = id_ == MessageId::lock_held;
    add(Role::acquired, insn,
        fmt::format("{}() begins what is still open {}", d_.facts.call, is_at_call ? "here" : "at the end"), true);
    if (!d_.facts.release.empty()) {
      std::string text = d_.facts.release;
      const std::string name = d_.variable.name.empty() ? "..." : d_.variable.name;
      for (auto at = text.find("{}"); at != std::string::npos; at = text.find("{}", at + name.size()))
        text.replace(at, 2, name);
      const bool second = is_at_call && call_name(insn_) == d_.facts.call;
      d_.advice = second       ? fmt::format("One lock at a time: {}; first, or let one lock protect both.", text)
                  : is_at_call ? fmt::format("Do this before {}(), or after {};", d_.facts.call, text)
                               : fmt::format("On the path that ends here: {};", text);
    }
  }
  if (c_.culprit_ >= 0 && d_.remedy == Remedy::once) {
    const auto links = trace(static_cast<u32>(c_.culprit_), Follow::pointer, end_);
    add_links(links, 2);
    if (!d_.events.empty()) d_.events.front().is_cause = true;
    const Register& r = c_.state_.reg(static_cast<u32>(c_.culprit_));
    if (r.is_scalar() && r.object != 0) {
      d_.events.clear();
      add(Role::lost, r.object - 1, fmt::format("{}() has given it back already", call_name(r.object - 1)), true);
    }
  }
  if (id_ != MessageId::lock_held) add_branch(end_);
}

/// A key or value that is smaller than the map's. False: the argument is neither.
bool Narrator::map_argument(const Register& memory) {
  const Register& first = c_.state_.reg(1);
  const auto* prototype = catalog::prototype(static_cast<u32>(program_.insns[insn_].imm));
  if (prototype == nullptr || first.kind != Kind::map || first.object >= c_.maps_.size() || c_.culprit_ < 2)
    return false;
  const MapSpec& map = *c_.maps_[first.object].spec;
  const bool is_key = c_.culprit_ == 2;
  const u32 wanted = is_key ? map.key_size : map.value_size,
            type = is_key ? map.btf_key_type_id : map.btf_value_type_id;
  const u32 there = static_cast<u32>(-memory.off);
  if (there >= wanted) return false;
  d_.remedy = Remedy::other_argument;
  d_.facts.wanted_type = names_.declaration(type, "{}");
  d_.needed = fmt::format("{} bytes, a {} of map {}", wanted, is_key ? "key" : "value", map.name);
  d_.proved = fmt::format("{} at most", there);
  const std::string name(c_line::addressed(d_.variable.name));
  std::string declared = d_.facts.wanted_type;
  if (const auto hole = declared.find("{}"); hole != std::string::npos) declared.replace(hole, 2, name);
  d_.advice =
      c_line::is_identifier(name) && !declared.empty()
          ? fmt::format("The map's {} is larger than the variable: declare {};", is_key ? "key" : "value", declared)
          : fmt::format("Pass a variable of the type that the map's {}s have.", is_key ? "key" : "value");
  add(Role::origin, insn_, fmt::format("this copies {} bytes from {}", wanted, d_.variable.name), true);
  return true;
}

void Narrator::stack() {
  d_.remedy = Remedy::shrink_stack;
  if (id_ == MessageId::stack_misaligned) d_.remedy = Remedy::align;
  if (id_ == MessageId::pointer_spilled_partly || id_ == MessageId::spilled_pointer_read_partly)
    d_.remedy = Remedy::keep_pointer;
  if (id_ == MessageId::stack_too_deep || id_ == MessageId::stack_before_tail_call) {
    for (u32 f = 0; f < c_.analysis_.functions.size() && d_.events.size() < 6; f++)
      if (c_.function_stack_[f] > 0)
        add(Role::changed, c_.analysis_.functions[f].first,
            fmt::format("{}() uses {} bytes of stack", c_.function_name(f), c_.function_stack_[f]),
            c_.function_stack_[f] == *std::max_element(c_.function_stack_.begin(), c_.function_stack_.end()));
    return;
  }
  if (c_.culprit_ < 0) return;
  const u32 culprit = static_cast<u32>(c_.culprit_);
  const Register r = c_.state_.reg(culprit);
  if (id_ != MessageId::stack_out_of_bounds && id_ != MessageId::stack_offset_unbounded) return;
  if (!r.is_pointer()) return;
  if (!r.number.is_const()) {
    d_.remedy = Remedy::bound_index;
    bounds();
    return;
  }
  const Form f = isa::row(c_.analysis_.insns[insn_].op).form;
  const bool inside = r.off >= -static_cast<s32>(isa::stack_size_bytes) && r.off < 0;
  if (f == Form::call_helper && inside && length_after(culprit)) return size();
  if (f == Form::call_kfunc && inside && culprit < 5 && c_.state_.reg(culprit + 1).is_scalar()) return size();
  if (f == Form::call_helper && inside && map_argument(r)) return;
  if (!c_line::index_of(d_.variable.name).empty()) {
    d_.remedy = Remedy::bound_index;
    return bounds();
  }
  d_.needed = fmt::format("at most {} bytes of stack in a function and those that call it", isa::stack_size_bytes);
}

void Narrator::context() {
  d_.remedy = Remedy::whole_field;
  if (id_ == MessageId::context_not_writable || catalog::message(id_).family == catalog::Family::rights)
    d_.remedy = Remedy::drop_write;
  if (id_ == MessageId::map_not_readable || id_ == MessageId::no_direct_value ||
      id_ == MessageId::special_field_touched || id_ == MessageId::object_field_touched ||
      id_ == MessageId::object_elsewhere || id_ == MessageId::packet_not_for_helper ||
      id_ == MessageId::packet_load_type)
    d_.remedy = Remedy::other;
  if (id_ == MessageId::needs_full_socket) d_.remedy = Remedy::other_argument;
  const catalog::Context* layout = c_.context_layout();
  if (c_.culprit_ < 0) return;
  const Register& r = c_.state_.reg(static_cast<u32>(c_.culprit_));
  if (id_ == MessageId::context_pointer_moved || id_ == MessageId::context_offset_varies) {
    d_.remedy = Remedy::move_offset;
    add_links(trace(static_cast<u32>(c_.culprit_), Follow::pointer, end_), 3);
    if (!d_.events.empty()) d_.events.back().is_cause = true;
    if (r.number.is_const() && c_line::is_identifier(d_.variable.name))
      d_.advice = fmt::format(
          "Here the compiler has made one read of several, from an address that varies. Keep what was read from the "
          "context apart: barrier_var({}); behind the line that reads it.",
          d_.variable.name);
    return;
  }
  if (layout == nullptr || r.kind != Kind::context || c_.typed_context_) return;
  const s64 at = s64{r.off} + d_.facts.access_offset;
  for (const auto& f : layout->fields) {
    if (at < f.offset || at >= f.offset + f.size) continue;
    const bool reads = catalog::contains(f.readers, program_.type),
               writes = catalog::contains(f.writers, program_.type);
    d_.needed = fmt::format("{} is {} bytes at offset {}; {} programs may {} it", f.name, f.size, f.offset,
                            name_of(program_.type),
                            reads && writes ? "read and write"
                            : reads         ? "read"
                            : writes        ? "write"
                                            : "not touch");
    if (!reads && !d_.facts.writes) d_.remedy = Remedy::other;
    d_.facts.call = f.name;
    if (d_.facts.writes && writes && d_.facts.access_bytes != f.size) d_.remedy = Remedy::whole_field;
    if ((d_.facts.writes ? writes : reads) && d_.facts.access_bytes != f.size)
      d_.advice =
          fmt::format("It is {} bytes that are accessed, and {} has {}: write {}->{}, not a cast pointer to it.",
                      d_.facts.access_bytes, f.name, f.size, names_.parameter(insn_, 0), f.name);
    return;
  }
  d_.needed = fmt::format("{} has {} bytes and no field at offset {}", layout->name, u32{layout->size}, at);
  d_.remedy = Remedy::other;
}

/// A relocation's record says which type and fields the program meant.
void Narrator::types() {
  d_.remedy = Remedy::guard_field;
  if (id_ == MessageId::no_such_field) d_.remedy = Remedy::whole_field;
  const btf::Btf* types = c_.object_.btf.get();
  const auto relocation = std::find_if(program_.relocations.begin(), program_.relocations.end(),
                                       [this](const CoreRelocation& r) { return r.insn == insn_; });
  if (relocation == program_.relocations.end() || types == nullptr || relocation->type_id >= types->type_count())
    return;
  std::string field;
  btf::Type type = types->type(types->resolve(relocation->type_id));
  const std::string root(btf::essential_name(type.name));
  const std::string_view access = relocation->access;
  for (std::size_t at = access.find(':'); at != std::string_view::npos; at = access.find(':', at + 1)) {
    const u32 index = static_cast<u32>(std::strtoul(access.data() + at + 1, nullptr, 10));
    if (!btf::is_composite(type.kind) || index >= type.vlen) break;
    const btf::Member m = types->member(type, index);
    if (!m.name.empty()) field += fmt::format("{}{}", field.empty() ? "" : ".", m.name);
    type = types->type(types->resolve(m.type_id));
  }
  d_.variable = {field.empty() ? root : field, fmt::format("struct {}", root)};
  d_.facts.call = field;
  const std::string last = field.substr(field.rfind('.') == std::string::npos ? 0 : field.rfind('.') + 1);
  const SourceLine* here = line(insn_);
  const SourceLine* best = nullptr;
  for (const SourceLine& l : program_.lines)  // compilers put the loaded offset wherever it suits them
    if (!last.empty() && c_line::mentions(l.text, last) && (here == nullptr || l.file == here->file) && best == nullptr)
      best = &l;
  if (best != nullptr)
    add(Role::lost, best->insn, fmt::format("the target has no {} in {}", last, d_.variable.type), true);
  const bool kernel_has = c_.options_.kernel_types != nullptr;
  if (kernel_has && !c_.options_.kernel_types->find(root, btf::Kind::struct_))
    d_.needed = fmt::format("{} no struct {} at all",
                            c_.options_.rules == Rules::kernel ? "this kernel has" : "this engine's types have", root);
}

void Narrator::shape() {
  d_.remedy = Remedy::other;
  if (id_ == MessageId::falls_off_the_end || id_ == MessageId::jump_out_of_range) d_.remedy = Remedy::end_function;
  // A call that nobody defined is what compilers end a function with.
  for (u32 at = std::min<u32>(insn_, static_cast<u32>(program_.insns.size()) - 1) + 1; at-- > 0 && insn_ - at < 4;) {
    const Insn& i = program_.insns[at];
    if (i.code != isa::code_call) continue;
    for (const Reference& reference : program_.references)
      if (reference.insn == at && !reference.name.empty())
        add(Role::lost, at, fmt::format("{}() is called here and not defined in the object", reference.name), true);
    break;
  }
}

}  // namespace skep::verify
