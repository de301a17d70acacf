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

namespace {
/// A number that a program can have bounded by itself; any u32 is what a load leaves.
bool is_bounded(const Register& r) {
  return r.is_scalar() && r.number.wide.smin >= 0 && r.number.wide.umax < Interval<u32>::u_max;
}
}  // namespace

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
  if (r.is_pointer() && !r.number.is_const()) {
    const u64 bits = r.number.bits.value | r.number.bits.mask;
    facts.stride = bits != 0 && r.number.bits.is_aligned(2) ? 1u << std::min(16, __builtin_ctzll(bits)) : 1;
  }
}

// --- indices and lengths -----------------------------------------------------------------------------------------

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
  if (d_.proved.empty())
    d_.proved = fmt::format("{}{}", d_.facts.elements != 0 && d_.facts.stride > 1 ? "an offset of " : "",
                            number_text(r.number));
  if (d_.needed.empty()) d_.proved.clear();
  if (d_.facts.places() == 0 || !c_line::is_identifier(d_.variable.name)) return;
  d_.advice =
      fmt::format("Right before the access: if ({}) return 0;",
                  c_line::is_outside(d_.variable.name, d_.variable.type, std::to_string(d_.facts.places() - 1)));
  if (const Event* cause = d_.cause(); cause != nullptr && cause->role == Role::lost)
    d_.advice +=
        fmt::format(" If the compiler drops the check, hide the value from it: barrier_var({});", d_.variable.name);
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
  if (id_ == MessageId::size_may_be_zero || d_.facts.region_bytes == 0 || !c_line::is_identifier(d_.variable.name))
    return;
  d_.advice =
      fmt::format("Right before the call: if ({}) return 0;",
                  c_line::is_outside(d_.variable.name, d_.variable.type, std::to_string(d_.facts.region_bytes)));
}

// --- packets ---------------------------------------------------------------------------------------------------------

/// The comparison that proved what is proved, and what was done to the pointer since.
void Narrator::packet_steps(const Register& pointer) {
  if (pointer.extent > 0) {
    for (std::size_t at = end_; at-- > 0;) {
      const History::Registers *before = history_.at(at), *after = history_.at(at + 1);
      if (before == nullptr || after == nullptr) break;
      for (u32 r = 0; r < isa::register_count; r++) {
        if ((*after)[r].kind != pointer.kind || (*after)[r].id != pointer.id) continue;
        if ((*after)[r].extent != pointer.extent || (*before)[r].extent >= pointer.extent) continue;
        if (!((*before)[r].kind == pointer.kind && (*before)[r].id == pointer.id)) continue;
        const u32 insn = c_.path_[at].insn;
        add(Role::checked, insn, fmt::format("this comparison proves {} bytes", pointer.extent), true);
        d_.proved += fmt::format(", at line {}", line_number(insn));
        return;
      }
    }
  }
  const auto links = trace(static_cast<u32>(c_.culprit_), Follow::pointer, end_);
  for (const Link& link : links) {  // a variable distance makes a pointer of its own
    if (!link.known || !link.after.is_packet() || !link.before.is_packet() || link.after.id == link.before.id) continue;
    add(Role::lost, link.insn, "the pointer moves by an unknown distance: from here on it needs its own comparison",
        true);
    return;
  }
  if (!links.empty())
    add(Role::origin, links.back().insn,
        "the packet pointer comes from here; no comparison with "
        "data_end follows on this path",
        true);
}

void Narrator::packet() {
  d_.remedy = Remedy::check_packet;
  const Register r = c_.state_.reg(static_cast<u32>(std::max(c_.culprit_, 0)));
  const u32 size = d_.facts.access_bytes;
  d_.facts.needed_bytes = static_cast<u64>(std::max<s64>(0, s64{r.off} + d_.facts.access_offset + size));
  d_.needed = fmt::format("{} bytes of packet", d_.facts.needed_bytes);
  d_.proved = fmt::format("{}", r.extent);
  const Form f = isa::row(c_.analysis_.insns[insn_].op).form;
  if (f == Form::call_helper && c_.culprit_ >= 1 && c_.culprit_ < 5) {
    const Register& length = c_.state_.reg(static_cast<u32>(c_.culprit_) + 1);
    if (length.is_scalar()) d_.facts.needed_bytes = static_cast<u64>(r.off) + length.number.wide.umax;
    d_.needed = fmt::format("{} bytes of packet", d_.facts.needed_bytes);
  }
  packet_steps(r);
  const std::string pointer = c_line::pointer_of(d_.variable.name);
  if (!pointer.empty() && r.id == 0)
    d_.advice = fmt::format(
        "Before this line: if ((void *)({} + 1) > data_end) return {}; or any comparison that proves {} "
        "bytes, on this very pointer.",
        pointer, program_.type == ProgramType::xdp ? "XDP_PASS" : "0", d_.facts.needed_bytes);
  if (r.id != 0 && r.number.wide.umax > 0xffff)
    d_.advice =
        "The distance must be bounded, too: packets are at most 65535 bytes long, and a pointer that may be "
        "further away proves nothing when it is compared.";
}

// --- pointers ----------------------------------------------------------------------------------------------------

void Narrator::provenance() {
  d_.remedy = Remedy::keep_pointer;
  if (c_.culprit_ < 0) return;
  const u32 culprit = static_cast<u32>(c_.culprit_);
  const Register r = c_.state_.reg(culprit);
  const Form f = isa::row(c_.analysis_.insns[insn_].op).form;
  if ((f == Form::call_helper || f == Form::call_kfunc) && (!r.is_scalar() || (r.object == 0 && !r.is_zero())))
    return argument();
  if (r.is_scalar() && r.object != 0) {
    const u32 at = r.object - 1;
    d_.facts.call = call_name(at);
    d_.facts.origin_line = line_number(at);
    const bool helper = program_.insns[at].src == isa::call_src_helper;
    const auto* prototype = helper ? catalog::prototype(static_cast<u32>(program_.insns[at].imm)) : nullptr;
    const auto* kfunc = helper ? nullptr : c_.analysis_.kfunc_at(at);
    if ((prototype != nullptr && prototype->has(catalog::helper_flags::moves_packet)) ||
        (kfunc != nullptr && kfunc->has(catalog::kfunc_flags::moves_packet))) {
      add(Role::lost, at,
          fmt::format("{}() may move the packet: pointers into it mean nothing from here on", call_name(at)), true);
      d_.remedy = Remedy::reload_packet;
      d_.advice =
          "Load data and data_end from the context again after the call, compare again, and compute the pointer "
          "anew.";
    } else {
      add(Role::lost, at, "from here on the pointer means nothing: what it led to was given back", true);
      d_.remedy = Remedy::once;
      d_.advice = "Copy what is needed before it is given back.";
    }
    return;
  }
  const auto links = trace(culprit, Follow::pointer, end_);
  if (links.empty()) return;
  for (const Link& link : links) {
    if (!link.known || !link.before.is_pointer() || !link.after.is_scalar()) continue;
    if (link.what == Link::What::compared) {
      add(Role::checked, link.insn, "on this path the pointer is NULL", true);
      d_.remedy = Remedy::check_null;
      d_.advice = "Leave this path where the pointer is NULL.";
      if (const SourceLine* made = line(links.back().insn)) {
        const std::string name = c_line::assigned(made->text, made->column);
        if (!name.empty()) d_.variable = {name, names_.type_of(name, insn_)};
        d_.facts.origin_line = made->line;
      }
      return;
    }
    if (link.what == Link::What::called || link.what == Link::What::loaded) continue;
    add(Role::lost, link.insn, "here the pointer becomes a number: only 64-bit moves and sums keep it one", true);
    return;
  }
  const Link& origin = links.back();
  add_links(links, 2);
  for (Event& e : d_.events) e.is_cause = e.insn == origin.insn;
  d_.facts.origin_line = line_number(origin.insn);
  if (r.is_const() && r.number.value() == 0) {
    d_.remedy = Remedy::check_null;
    d_.advice = "The pointer is NULL on this path.";
    return;
  }
  if (origin.what == Link::What::loaded || origin.what == Link::What::called) {
    d_.remedy = Remedy::read_with_helper;
    d_.facts.of_process = is_given_by_process(origin);
    const std::string_view helper = d_.facts.of_process ? "bpf_probe_read_user" : "bpf_probe_read_kernel";
    const std::string call = d_.variable.name.empty()
                                 ? fmt::format("read it with {}()", helper)
                                 : fmt::format("{}(&copy, sizeof(copy), &{});", helper, d_.variable.name);
    d_.advice = d_.facts.of_process
                    ? fmt::format("It is an address of the process: {}", call)
                    : fmt::format(
                          "It is an address of kernel memory: {} or BPF_CORE_READ(). Addresses of a process need "
                          "the _user variants.",
                          call);
    if (origin.what == Link::What::called) d_.facts.call = call_name(origin.insn);
  }
}

/// Whether a number out of the context is what a process has passed: to a system call, or to a function of its own.
bool Narrator::is_given_by_process(const Link& origin) const {
  const std::string_view section = program_.section;
  const bool by_process = section.find("syscalls/sys_enter") != section.npos || section.starts_with("uprobe") ||
                          section.starts_with("uretprobe") || section.starts_with("usdt");
  const auto from = value(origin.step, program_.insns[origin.insn].src);
  return by_process && origin.what == Link::What::loaded && from && from->kind == Kind::context;
}

void Narrator::maybe_null() {
  d_.remedy = Remedy::check_null;
  if (c_.culprit_ < 0) return;
  const u32 culprit = static_cast<u32>(c_.culprit_);
  const auto links = trace(culprit, Follow::pointer, end_);
  if (links.empty()) return;
  const Link& origin = links.back();
  std::string name;
  if (const SourceLine* l = line(origin.insn)) {
    name = c_line::assigned(l->text, l->column);
    d_.facts.origin_line = l->line;
  }
  if (origin.what == Link::What::called) d_.facts.call = call_name(origin.insn);
  const std::string map = map_of(c_.state_.reg(culprit));
  add(Role::origin, origin.insn,
      fmt::format("{}{} may be NULL", origin.what == Link::What::called ? call_name(origin.insn) + "()" : "this",
                  map.empty() ? "" : " in map " + map),
      true);
  const Form f = isa::row(c_.analysis_.insns[insn_].op).form;
  if (f != Form::call_helper && f != Form::call_kfunc) {
    const std::string pointer = c_line::pointer_of(d_.variable.name);
    if (c_line::is_identifier(pointer)) name = pointer;
  } else if (c_line::is_identifier(d_.variable.name)) {
    name = d_.variable.name;
  }
  if (!name.empty()) {
    d_.variable = {name, names_.type_of(name, insn_)};
    d_.advice = fmt::format("Between the two lines: if (!{}) return 0;", name);
  }
}

void Narrator::arithmetic() {
  d_.remedy = Remedy::move_offset;
  if (id_ == MessageId::pointer_in_32_bits) d_.remedy = Remedy::keep_pointer;
  const Insn& i = program_.insns[insn_];
  const Form f = isa::row(c_.analysis_.insns[insn_].op).form;
  for (u32 r : {u32{i.dst}, u32{i.src}}) {
    if (r == i.src && f != Form::alu_reg) continue;
    const auto links = trace(r, Follow::pointer, end_);
    if (links.empty() || !c_.state_.reg(r).is_pointer()) continue;
    const Register& held = c_.state_.reg(r);
    add(Role::origin, links.back().insn, fmt::format("r{} is a {} since here", r, c_.name(held)), d_.events.empty());
  }
  if (id_ == MessageId::division_by_zero || id_ == MessageId::shift_out_of_range) d_.remedy = Remedy::other;
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

void Narrator::result() {
  d_.remedy = Remedy::return_in_range;
  const catalog::ReturnRange range = catalog::return_range(program_.type, program_.attach.attach_type());
  d_.facts.low = range.low;
  d_.facts.high = range.high;
  const auto links = trace(0, Follow::number, end_);
  add_links(links, 3);
  choose_cause(links);
  if (id_ == MessageId::callback_not_static || id_ == MessageId::exception_callback_called) d_.remedy = Remedy::other;
}

}  // namespace skep::verify
