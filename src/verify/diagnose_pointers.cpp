// Refusals about packets and pointers: what was compared, where a pointer became a number, what is still NULL.
#include <algorithm>

#include "verify/c_line.hpp"
#include "verify/narrator.hpp"

namespace skep::verify {

using catalog::Family;
using catalog::MessageId;
using isa::Form;
using Role = Event::Role;

/// A comparison of this very pointer with the packet's end that proves nothing: it asks whether the pointer is inside,
/// not whether the bytes behind it are.
bool Narrator::short_comparison(const Register& pointer) {
  for (std::size_t at = end_; at-- > 0;) {
    const u32 insn = c_.path_[at].insn;
    const Insn& i = program_.insns[insn];
    if (isa::row(c_.analysis_.insns[insn].op).form != Form::jump_reg) continue;
    const auto a = value(at, i.dst), b = value(at, i.src);
    if (!a || !b) return false;
    const bool a_ends = a->kind == Kind::packet_end, b_ends = b->kind == Kind::packet_end;
    const Register& compared = a_ends ? *b : *a;
    if (a_ends == b_ends || compared.kind != pointer.kind || compared.id != pointer.id || compared.off > pointer.off)
      continue;
    add(Role::checked, insn,
        fmt::format("this comparison says where the pointer is, and proves no byte behind it: {} more are read",
                    d_.facts.needed_bytes - static_cast<u64>(std::max(compared.off, 0))),
        true);
    return true;
  }
  return false;
}

/// The comparison that proved what is proved, and what was done to the pointer since.
void Narrator::packet_steps(const Register& pointer) {
  if (!(pointer.extent > 0) && short_comparison(pointer)) return;
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
  const bool in_brackets = d_.variable.name.ends_with(']');
  if (!pointer.empty() && (r.id == 0 || r.number.wide.umax <= 0xffff))
    d_.advice = fmt::format(
        "Before this line: if ((void *)({} + 1) > data_end) return {}; or any comparison that proves {} "
        "bytes, on this very pointer.",
        in_brackets ? "&" + d_.variable.name : pointer, program_.type == ProgramType::xdp ? "XDP_PASS" : "0",
        d_.facts.needed_bytes);
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
  if (given_up(r)) return;
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

/// A pointer that a call has made a number: the packet may have moved, what it led to was given back.
bool Narrator::given_up(const Register& r) {
  if (!r.is_scalar() || r.object == 0) return false;
  const u32 at = r.object - 1;
  d_.facts.call = call_name(at);
  d_.facts.origin_line = line_number(at);
  const bool helper = program_.insns[at].src == isa::call_src_helper;
  const auto* prototype = helper ? catalog::prototype(static_cast<u32>(program_.insns[at].imm)) : nullptr;
  const auto* kfunc = helper ? nullptr : c_.analysis_.kfunc_at(at);
  if ((prototype != nullptr && prototype->has(catalog::helper_flags::moves_packet)) ||
      (kfunc != nullptr && kfunc->has(catalog::kfunc_flags::moves_packet)) ||
      program_.insns[at].src == isa::call_src_local) {
    const auto caller = call_around(at);
    add(Role::lost, at,
        fmt::format("{}() may move the packet: pointers into it mean nothing from here on", call_name(at)), !caller);
    if (caller) {
      add(Role::lost, *caller, fmt::format("that is in {}(), which is called here", names_.function_of(at)), true);
      d_.facts.origin_line = line_number(*caller);
    }
    d_.remedy = Remedy::reload_packet;
    d_.advice =
        "Load data and data_end from the context again after the call, compare again, and compute the pointer "
        "anew.";
    return true;
  }
  add(Role::lost, at, fmt::format("{}() has given it back: from here on the pointer means nothing", call_name(at)),
      true);
  d_.remedy = Remedy::once;
  d_.advice = catalog::message(id_).family == Family::argument
                  ? "Give it back once: leave the path where that was done."
                  : "Copy what is needed before it is given back.";
  return true;
}

/// The call, in the refused function, of the function that instruction `inner` belongs to. None where that is the
/// refused one, or where it was not followed.
std::optional<u32> Narrator::call_around(u32 inner) const {
  if (names_.function_at(inner) == names_.function_at(insn_)) return std::nullopt;
  const u32 depth = history_.depth(end_);
  bool inside = false;
  for (std::size_t at = end_; at-- > 0;) {
    inside = inside || c_.path_[at].insn == inner;
    const u32 insn = c_.path_[at].insn;
    if (inside && history_.depth(at) == depth && isa::row(c_.analysis_.insns[insn].op).form == Form::call_local)
      return insn;
  }
  return std::nullopt;
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
  if (origin.what == Link::What::argument && origin.insn != 0)
    add(Role::origin, origin.insn,
        fmt::format("it is parameter {} of {}(), a global function: it is proved for any caller, and one may pass NULL",
                    origin.reg, names_.function_of(origin.insn)),
        true);
  else
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
  // A shift by 32 is how a value becomes an unsigned int where there are no 32-bit instructions.
  const bool shifts = f == Form::alu_imm && ((i.code & 0xf0) == 0x60 || (i.code & 0xf0) == 0x70) && i.imm == 32;
  if (id_ == MessageId::pointer_operator && shifts) {
    d_.remedy = Remedy::keep_pointer;
    const std::string name(c_line::without_cast(d_.variable.name));
    d_.advice = fmt::format(
        "Only the low 32 bits are kept here{}. Keep pointers in 64-bit variables (void *, unsigned long), not in int "
        "or __u32.",
        c_line::is_identifier(name) ? fmt::format(": {} has no more", name) : std::string());
    if (c_line::is_identifier(name)) d_.variable = {name, names_.type_of(name, insn_)};
    add(Role::lost, insn_, "here it is cut to 32 bits", true);
  }
  if (id_ == MessageId::division_by_zero || id_ == MessageId::shift_out_of_range) d_.remedy = Remedy::other;
}

}  // namespace skep::verify
