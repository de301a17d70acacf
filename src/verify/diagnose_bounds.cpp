// Refusals about indices and lengths: which number needs a bound, where the bound was lost or set too high.
#include <algorithm>

#include "verify/c_line.hpp"
#include "verify/narrator.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Form;
using Role = Event::Role;

namespace {
/// A number that a program can have bounded by itself; any u32 is what a load leaves.
bool is_bounded(const Register& r) {
  return r.is_scalar() && r.number.wide.smin >= 0 && r.number.wide.umax < Interval<u32>::u_max;
}
}  // namespace

void Narrator::bounds() {
  d_.remedy = Remedy::bound_index;
  if (c_.culprit_ < 0) return;
  const u32 culprit = static_cast<u32>(c_.culprit_);
  const Register r = c_.state_.reg(culprit);
  const Form f = isa::row(c_.analysis_.insns[insn_].op).form;
  const bool is_call = f == Form::call_helper || f == Form::call_kfunc;
  if (is_call && r.is_pointer() && r.is_fixed() && culprit < 5 && c_.state_.reg(culprit + 1).is_scalar())
    return size();  // the memory is known, its length is what is too much
  if (const auto length = length_after(culprit); length && r.is_pointer()) {
    const u64 reached = static_cast<u64>(std::max<s64>(r.off, 0)) + r.number.wide.umax;
    const auto arguments = c_line::arguments_of(line(insn_) != nullptr ? line(insn_)->text : "", call_name(insn_));
    if (r.number.wide.umax < d_.facts.region_bytes && reached < d_.facts.region_bytes && culprit < arguments.size() &&
        c_line::is_identifier(arguments[culprit])) {
      d_.facts.region_bytes -= reached;  // a variable's length, and room for some: wherever it begins
      return size();
    }
    d_.facts.access_bytes = static_cast<u32>(std::min<u64>(*length, d_.facts.region_bytes));
  }
  const auto links = trace(culprit, Follow::number, end_);
  if (const SourceLine* here = line(insn_); here != nullptr && !is_call) {
    // The index is what needs a bound; the access names it, or the line that added it does.
    std::string index = c_line::index_of(d_.variable.name);
    if (index.empty()) {
      index = c_line::index_of(here->text);
      d_.variable.name = here->text;
    }
    for (const Link& link : links)  // or it was added elsewhere, as in a callback's caller
      if (const SourceLine* there = line(link.insn); index.empty() && there != nullptr) {
        index = c_line::index_of(there->text);
        if (!index.empty()) d_.variable.name = there->text;
      }
    std::string array = c_line::array_of(d_.variable.name, index);
    d_.facts.elements = names_.elements_of(array, insn_);
    // Of names[i][k] it may be i that goes too far: what was added is then in steps of whole rows.
    const auto added = added_number(links);
    const u64 bits = added ? added->bits.value | added->bits.mask : 0, step = bits & -bits;
    u64 row = d_.facts.access_bytes;
    while (array.ends_with(']') && d_.facts.elements != 0 && step >= row * d_.facts.elements) {
      row *= d_.facts.elements;
      const std::string outer = c_line::index_of(array);
      if (outer.empty() || outer == index) break;
      index = outer;
      array = c_line::array_of(array, index);
      d_.facts.elements = names_.elements_of(array, insn_);
      d_.proved = fmt::format("{} to {}", added->wide.umin / row, added->wide.umax / row);
    }
    if (!index.empty()) d_.variable = {index, names_.type_of(index, insn_)};
  }
  if (facts_fixed(r)) {
    if (c_line::is_identifier(d_.variable.name) && !is_call && constant_index(r)) return;
    add_links(trace(culprit, Follow::pointer, end_), 2);
    if (!d_.events.empty()) d_.events.front().is_cause = true;
    d_.advice = fmt::format("The offset is a constant: there are {} bytes. Use a smaller constant, or a larger value.",
                            d_.facts.region_bytes);
    return;
  }
  add_links(links, 4);
  choose_cause(links);
  if (d_.facts.elements != 0)
    d_.needed = fmt::format("an index from 0 to {}", d_.facts.elements - 1);
  else if (r.is_pointer())
    d_.needed = fmt::format("an offset of at most {}",
                            static_cast<s64>(d_.facts.region_bytes) - std::max<s64>(d_.facts.base_offset, 0) -
                                d_.facts.access_offset - static_cast<s64>(d_.facts.access_bytes));
  if (d_.proved.empty() && d_.facts.elements != 0 && d_.facts.stride == 1 && r.kind == Kind::stack &&
      !r.number.wide.is_unknown()) {  // what the instruction adds belongs to the index: path[n - 1]
    const s64 moved = c_line::is_identifier(d_.variable.name) ? 0 : d_.facts.access_offset;
    d_.proved = fmt::format("{} to {}", r.number.wide.smin + moved, r.number.wide.smax + moved);
  }
  if (d_.proved.empty())
    d_.proved = fmt::format("{}{}", d_.facts.elements != 0 && d_.facts.stride > 1 ? "an offset of " : "",
                            number_text(r.number));
  if (d_.needed.empty()) d_.proved.clear();
  if (d_.facts.places() == 0) return;
  if (!c_line::is_identifier(d_.variable.name)) {
    if (d_.facts.elements != 0 && !d_.variable.name.empty())
      d_.advice =
          fmt::format("Give the index a variable of its own and compare that: __u64 i = {}; if (i >= {}) return 0;",
                      d_.variable.name, d_.facts.elements);
    return;
  }
  d_.advice =
      fmt::format("Right before the access: if ({}) return 0;",
                  c_line::is_outside(d_.variable.name, d_.variable.type, std::to_string(d_.facts.places() - 1)));
  if (const Event* cause = d_.cause(); cause != nullptr && cause->role == Role::lost)
    d_.advice +=
        fmt::format(" If the compiler drops the check, hide the value from it: barrier_var({});", d_.variable.name);
}

/// An index that is a constant on this path: the limit it was set to, or what a loop has counted to. False: there is
/// nothing to tell of it.
bool Narrator::constant_index(const Register& pointer) {
  const u32 culprit = static_cast<u32>(c_.culprit_);
  const auto moves = trace(culprit, Follow::pointer, end_);
  const auto in_rounds = [&moves](const Link& link) {
    return std::ranges::count_if(moves, [&link](const Link& l) { return l.insn == link.insn; });
  };
  const auto stepped = std::ranges::find_if(
      moves, [&](const Link& link) { return link.what == Link::What::computed && in_rounds(link) > 1; });
  const auto links = trace(culprit, Follow::index, end_);
  const auto is_number = [](const Link& link) { return link.known && link.after.is_scalar(); };
  const auto number = std::ranges::find_if(links, is_number);
  const auto again = [&links](const Link& link) {
    return std::ranges::count_if(links, [&link](const Link& l) { return l.insn == link.insn; }) > 1;
  };
  const auto grown = std::ranges::find_if(links, again);
  bool is_counted = false;  // in the rounds before
  if (stepped != moves.end() || grown != links.end()) {
    const u32 counted = stepped != moves.end() ? stepped->insn : grown->insn;
    const auto loop = loop_around(insn_);
    const SourceLine* head = loop ? loop_line(*loop) : nullptr;
    if (head != nullptr) {
      add(Role::checked, head->insn,
          fmt::format("nothing ends this loop before {} leaves what is there", d_.variable.name), true);
      d_.events.back().source = *head;
    } else {
      add(Role::changed, counted,
          fmt::format("it grows from round to round, and nothing stops them before {} leaves what is there",
                      d_.variable.name),
          true);
    }
    d_.facts.in_loop = head != nullptr;
    is_counted = true;
  } else if (number == links.end()) {
    return false;
  } else {
    add_links(links, 3);
    choose_cause(links);
  }
  if (d_.facts.elements != 0) {
    d_.needed = fmt::format("an index from 0 to {}", d_.facts.elements - 1);
    const u64 size = d_.facts.access_bytes;
    const u64 beyond = static_cast<u64>(std::max<s64>(s64{pointer.off} + d_.facts.access_offset, 0)) + size;
    if (size != 0 && beyond <= d_.facts.region_bytes + size)  // the array is what ends there
      d_.proved = fmt::format("{} in this round", d_.facts.elements);
    if (!is_counted) d_.proved = fmt::format("the constant {}", d_.facts.elements);
    if (beyond > d_.facts.region_bytes + size) d_.proved = fmt::format("an offset of {}", beyond - size);
    d_.facts.region_bytes = std::max<u64>(d_.facts.region_bytes, 1);
    d_.advice = d_.facts.in_loop
                    ? fmt::format("Let the loop end there, too: {} < {} && ...", d_.variable.name, d_.facts.elements)
                    : fmt::format("There are {0}: let {1} be {2} at most, if ({1} >= {0}) return 0;", d_.facts.elements,
                                  d_.variable.name, d_.facts.elements - 1);
  } else {
    d_.needed = fmt::format("an offset of at most {}", static_cast<s64>(d_.facts.region_bytes) - d_.facts.access_bytes);
    d_.proved = fmt::format("the offset {}", s64{pointer.off} + d_.facts.access_offset);
    d_.advice = fmt::format("There are {} bytes: bound {} before it is used.", d_.facts.region_bytes, d_.variable.name);
  }
  return true;
}

/// How long the memory may be that register `reg` points to in a helper's call, if the register after it says that.
std::optional<u64> Narrator::length_after(u32 reg) const {
  if (isa::row(c_.analysis_.insns[insn_].op).form != Form::call_helper || reg >= 5) return std::nullopt;
  const auto* prototype = catalog::prototype(static_cast<u32>(program_.insns[insn_].imm));
  const Register& after = c_.state_.reg(reg + 1);
  const bool is_length = prototype != nullptr && (prototype->args[reg] == catalog::Arg::size ||
                                                  prototype->args[reg] == catalog::Arg::size_or_zero);
  return is_length && after.is_scalar() ? std::optional(after.number.wide.umax) : std::nullopt;
}

/// What was added to the pointer last of what is followed.
std::optional<Scalar> Narrator::added_number(const std::vector<Link>& links) {
  for (const Link& link : links)
    if (link.what == Link::What::computed && link.known && link.before.is_scalar() && link.after.is_pointer())
      return link.before.number;
  return std::nullopt;
}

bool Narrator::facts_fixed(const Register& r) const { return r.is_pointer() && r.number.is_const(); }

/// Which event is where a bound was lost, or never made.
void Narrator::choose_cause(const std::vector<Link>& links) {
  auto mark = [&](u32 insn, Role role) {
    for (Event& e : d_.events)
      if (e.insn == insn) {
        e.role = role;
        return e.is_cause = true;
      }
    return false;
  };
  if (links.empty()) return;
  if (const auto copy = compared_copy(links.back(), links)) {
    const u32 insn = c_.path_[*copy].insn;
    add(Role::lost, insn, "this comparison is of another copy of the value, and bounds only that one", true);
    const auto is_beside_first = [this](const Event& e) {
      return e.source && e.source->file == d_.events.front().source->file;
    };
    if (d_.events.front().source && std::ranges::all_of(d_.events, is_beside_first))
      std::ranges::stable_sort(d_.events, {}, [](const Event& e) { return e.source->line; });
    return;
  }
  for (const Link& link : links)
    if (link.known && (link.what == Link::What::computed || link.what == Link::What::cut) && is_bounded(link.before) &&
        link.after.is_scalar() && !is_bounded(link.after) && mark(link.insn, Role::lost))
      return;
  for (const Link& link : links)
    if (link.what == Link::What::compared && mark(link.insn, Role::checked)) return;
  for (const Link& link : links)  // a mask or a shift bounds, too: not enough
    if (link.known && (link.what == Link::What::computed || link.what == Link::What::cut) && link.before.is_scalar() &&
        !is_bounded(link.before) && is_bounded(link.after) && mark(link.insn, Role::checked))
      return;
  if (!d_.events.empty()) d_.events.front().is_cause = true;
}

void Narrator::size() {
  d_.remedy = Remedy::bound_size;
  u32 culprit = static_cast<u32>(std::max(c_.culprit_, 1));
  const bool memory_first = id_ != MessageId::size_may_be_negative && id_ != MessageId::size_may_be_zero &&
                            id_ != MessageId::size_unbounded && c_.state_.reg(culprit).is_pointer();
  if (memory_first) culprit++;
  const Register r = c_.state_.reg(culprit);
  d_.facts.reg = static_cast<s32>(culprit);
  d_.facts.argument = static_cast<s32>(culprit) - 1;
  d_.facts.low = r.number.wide.smin;
  d_.facts.high = static_cast<s64>(std::min<u64>(r.number.wide.umax, static_cast<u64>(Interval<u64>::s_max)));
  d_.facts.is_signed = r.number.wide.smin < 0;
  if (const SourceLine* here = line(insn_)) {
    const auto arguments = c_line::arguments_of(here->text, call_name(insn_));
    if (culprit - 1 < arguments.size())
      d_.variable = {arguments[culprit - 1], names_.type_of(arguments[culprit - 1], insn_)};
  }
  if (d_.facts.region_bytes == 0 && culprit > 1) {  // how much there is, by the pointer before it
    const Register& memory = c_.state_.reg(culprit - 1);
    if (memory.kind == Kind::map_value && memory.object < c_.maps_.size())
      d_.facts.region_bytes = c_.maps_[memory.object].spec->value_size - static_cast<u64>(std::max(0, memory.off));
    if (memory.kind == Kind::memory) d_.facts.region_bytes = memory.extent;
    if (memory.kind == Kind::stack) d_.facts.region_bytes = static_cast<u64>(std::max(0, -memory.off));
  }
  const auto links = trace(culprit, Follow::number, end_);
  add_links(links, 4);
  choose_cause(links);
  d_.needed = d_.facts.region_bytes != 0 ? fmt::format("a length of at most {}", d_.facts.region_bytes)
                                         : std::string("a length with an upper bound that is not negative");
  d_.proved = r.is_scalar() ? number_text(r.number) : std::string();
  if (r.is_scalar() && r.is_const() && d_.facts.region_bytes != 0 && r.number.value() > d_.facts.region_bytes) {
    const u32 memory = d_.facts.argument > 0 ? static_cast<u32>(d_.facts.argument) - 1 : 0;
    const auto arguments = c_line::arguments_of(line(insn_) != nullptr ? line(insn_)->text : "", call_name(insn_));
    d_.advice = fmt::format(
        "The length is the constant {}, and there are {} bytes: pass the size of what is there{}, or "
        "make it larger.",
        r.number.value(), d_.facts.region_bytes,
        memory < arguments.size() ? fmt::format(", sizeof({})", c_line::addressed(arguments[memory])) : std::string());
    return;
  }
  if (id_ == MessageId::size_may_be_zero || d_.facts.region_bytes == 0 || !c_line::is_identifier(d_.variable.name))
    return;
  d_.advice =
      fmt::format("Right before the call: if ({}) return 0;",
                  c_line::is_outside(d_.variable.name, d_.variable.type, std::to_string(d_.facts.region_bytes)));
}

}  // namespace skep::verify
