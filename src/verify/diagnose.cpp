// What each kind of refusal is about: which link of the story is the cause, what was needed, what to write instead.
#include <algorithm>

#include "verify/c_line.hpp"
#include "verify/narrator.hpp"

namespace skep::verify {

using catalog::Family;
using catalog::MessageId;
using isa::Form;
using Role = Event::Role;

std::string_view name_of(Remedy remedy) noexcept {
  static constexpr std::string_view names[] = {
#define SKEP_REMEDY(name, text) #name,
#include "verify/remedies.def"
#undef SKEP_REMEDY
  };
  return names[static_cast<u8>(remedy)];
}

std::string_view name_of(Event::Role role) noexcept {
  static constexpr std::string_view names[] = {"origin", "changed", "checked", "lost", "taken", "acquired"};
  return names[static_cast<u8>(role)];
}

/// Exploring is deterministic: the same run ends at the same refusal.
std::shared_ptr<const Diagnosis> diagnose(const ProgramSpec& program, const ObjectSpec& object,
                                          const Options& options) {
  constexpr std::size_t most_insns = 1'000'000;  // more are refused before they are looked at
  if (program.insns.size() > most_insns) return nullptr;
  Options quiet = options;
  quiet.log = false;
  Checker checker(program, object, quiet);
  checker.keep_history();
  if (checker.run()) return nullptr;
  return std::make_shared<const Diagnosis>(checker.diagnose());
}

Diagnosis Checker::diagnose() {
  story_->finish(path_.size());
  return Narrator(*this).tell();
}

Diagnosis Narrator::tell() {
  const bool has_path = !c_.path_.empty() && c_.state_.frames[0] != nullptr;
  if (has_path) {
    name_the_value();
    fill_facts();
  }
  const Family family = catalog::message(id_).family;
  if (!has_path && family != Family::limit) {
    shape();
    return std::move(d_);
  }
  switch (family) {
    case Family::bounds:
      bounds();
      break;
    case Family::size:
      size();
      break;
    case Family::packet:
      packet();
      break;
    case Family::provenance:
      provenance();
      break;
    case Family::null:
      maybe_null();
      break;
    case Family::unset:
      not_set();
      break;
    case Family::argument:
      argument();
      break;
    case Family::availability:
      availability();
      break;
    case Family::lifetime:
      leak();
      break;
    case Family::result:
      result();
      break;
    case Family::stack:
      stack();
      break;
    case Family::context:
    case Family::rights:
      context();
      break;
    case Family::arithmetic:
      arithmetic();
      break;
    case Family::limit:
      limits();
      break;
    case Family::types:
      types();
      break;
    case Family::shape:
    case Family::unsupported:
      shape();
      break;
  }
  return std::move(d_);
}

void Narrator::name_the_value() {
  const SourceLine* here = line(insn_);
  if (here == nullptr) return;
  if (catalog::message(id_).family == Family::limit) return;  // where patience ended has nothing to do with it
  const Form f = isa::row(c_.analysis_.insns[insn_].op).form;
  if (f == Form::call_helper || f == Form::call_kfunc || f == Form::call_local) {
    if (c_.culprit_ < 1 || c_.culprit_ > 5) return;
    d_.facts.argument = c_.culprit_ - 1;
    d_.facts.call = call_name(insn_);
    auto arguments = c_line::arguments_of(here->text, d_.facts.call);
    if (static_cast<std::size_t>(c_.culprit_ - 1) < arguments.size())
      d_.variable.name = arguments[static_cast<std::size_t>(c_.culprit_ - 1)];
  } else if (f != Form::exit) {
    d_.variable.name = c_line::expression_at(here->text, here->column);
    for (std::string_view copy : {"__builtin_memcpy", "__builtin_memmove", "memcpy", "__builtin_memset", "memset"}) {
      if (d_.variable.name != copy) continue;
      const auto arguments = c_line::arguments_of(here->text, copy);
      const std::size_t touched = f == Form::load ? 1 : 0;
      d_.variable.name = touched < arguments.size() ? arguments[touched] : "";
    }
  }
  d_.variable.type = names_.type_of(d_.variable.name, insn_);
}

void Narrator::fill_facts() {
  const Insn& i = program_.insns[insn_];
  const Form f = isa::row(c_.analysis_.insns[insn_].op).form;
  FixFacts& facts = d_.facts;
  if (f == Form::load || f == Form::store_imm || f == Form::store_reg || f == Form::atomic || f == Form::atomic_fetch) {
    facts.access_bytes = isa::access_bytes(i);
    facts.access_offset = i.off;
    facts.writes = f != Form::load;
  }
  facts.reg = c_.culprit_;
  if (c_.culprit_ < 0) return;
  const Register& r = c_.state_.reg(static_cast<u32>(c_.culprit_));
  facts.base_offset = r.off;
  facts.low = r.number.wide.smin;
  facts.high = static_cast<s64>(std::min<u64>(r.number.wide.umax, static_cast<u64>(Interval<u64>::s_max)));
  facts.is_signed = r.number.wide.smin < 0;
  if (r.kind == Kind::map_value && r.object < c_.maps_.size()) facts.region_bytes = c_.maps_[r.object].spec->value_size;
  if (r.kind == Kind::memory) facts.region_bytes = r.extent;
  if (r.kind == Kind::stack) facts.region_bytes = static_cast<u64>(std::max(0, -(r.off + i.off)));
  if (r.is_scalar() && f == Form::alu_reg) {  // a pointer is moved by it
    const Register& pointer = c_.state_.reg(u32{i.dst} == static_cast<u32>(c_.culprit_) ? i.src : i.dst);
    if (pointer.kind == Kind::map_value && pointer.object < c_.maps_.size())
      facts.region_bytes = c_.maps_[pointer.object].spec->value_size;
    if (pointer.kind == Kind::memory) facts.region_bytes = pointer.extent;
    if (pointer.is_pointer()) {
      facts.base_offset = pointer.off;
      const u64 bits = r.number.bits.value | r.number.bits.mask;
      facts.stride = bits != 0 && r.number.bits.is_aligned(2) ? 1u << std::min(16, __builtin_ctzll(bits)) : 1;
      facts.access_bytes = facts.stride;
    }
  }
  if (r.is_pointer() && !r.number.is_const()) {
    const u64 bits = r.number.bits.value | r.number.bits.mask;
    facts.stride = bits != 0 && r.number.bits.is_aligned(2) ? 1u << std::min(16, __builtin_ctzll(bits)) : 1;
  }
}

// --- values that are not there -----------------------------------------------------------------------------------

void Narrator::not_set() {
  d_.remedy = Remedy::initialise;
  if (c_.culprit_ < 0) return;
  const u32 culprit = static_cast<u32>(c_.culprit_);
  const Form f = isa::row(c_.analysis_.insns[insn_].op).form;
  const auto links = trace(culprit, Follow::number, end_);
  if (!links.empty() && links.back().what == Link::What::called && culprit != 0) {
    add(Role::lost, links.back().insn,
        fmt::format("{}() destroys r1 to r5, and r{} with them", call_name(links.back().insn), culprit), true);
    // An address that was there before the call was meant to be kept; a number that is first used now, to be set.
    if (f == Form::load || f == Form::store_imm || f == Form::store_reg) d_.remedy = Remedy::keep_over_call;
    return;
  }
  if (culprit == 0 && !links.empty() && links.back().what == Link::What::called) {
    add(Role::lost, links.back().insn, fmt::format("{}() returns nothing", call_name(links.back().insn)), true);
    return;
  }
  add_branch(end_);
  if (!d_.events.empty()) d_.events.back().is_cause = true;
  if (f == Form::exit) d_.advice = "Return a value on this path, too: return 0;";
}

/// A constant is set wherever the compiler likes, often before the branch that decides for it. The line that returns it
/// is the one to be shown, where line information has that.
void Narrator::point_at_return(s32 value) {
  const std::string words = fmt::format("return {};", value);
  for (Event& e : d_.events) {
    if (!e.is_cause || !e.source || e.source->text.find("return") != std::string::npos) continue;
    const FunctionInfo* f = names_.function_at(e.insn);
    for (const SourceLine& l : program_.lines)
      if (l.file == e.source->file && names_.function_at(l.insn) == f && l.text.find(words) != std::string::npos) {
        e.source = l;
        e.insn = l.insn;
        return;
      }
  }
}

void Narrator::result() {
  d_.remedy = Remedy::return_in_range;
  const catalog::ReturnRange range = catalog::return_range(program_.type, program_.attach.attach_type());
  d_.facts.low = range.low;
  d_.facts.high = range.high;
  const auto links = trace(0, Follow::number, end_);
  add_links(links, 3);
  choose_cause(links);
  const Register& r0 = c_.state_.reg(0);
  if (r0.is_scalar() && r0.is_const()) {
    d_.facts.returned = static_cast<s32>(r0.number.value());
    point_at_return(static_cast<s32>(r0.number.value()));
    if (id_ == MessageId::return_out_of_range)
      d_.advice = range.high == 0 && *d_.facts.returned > 0
                      ? fmt::format("An error is a negative number here: return {};", -*d_.facts.returned)
                      : fmt::format("Return {} to {} instead of {}.", range.low, range.high, *d_.facts.returned);
  }
  if (id_ == MessageId::return_out_of_range && r0.is_scalar() && !r0.is_const())
    d_.advice = fmt::format("Return {} to {} on every path: a comparison gives 0 or 1.", range.low, range.high);
  if (id_ == MessageId::callback_not_static || id_ == MessageId::exception_callback_called) d_.remedy = Remedy::other;
}

}  // namespace skep::verify
