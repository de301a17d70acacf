// Following a value back along the path, and putting what happened into words.
#include "verify/narrator.hpp"

#include <algorithm>

#include "isa/registers.hpp"
#include "verify/c_line.hpp"
#include "verify/explain.hpp"

namespace skep::verify {

using isa::Alu;
using isa::Form;
using Role = Event::Role;

namespace {
constexpr std::size_t most_links = 64;             // of one value
constexpr std::size_t most_steps_back = 1u << 16;  // of the path that are looked at
constexpr std::size_t copies_looked_at = 2000;
constexpr u8 code_lsh_imm = 0x67, code_rsh_imm = 0x77, code_arsh_imm = 0xc7;  // of 64 bits

bool is_mov(const Insn& i, Form f) { return (f == Form::alu_reg || f == Form::alu_imm) && (i.code & 0xf0) == 0xb0; }
/// How far apart the values are that it may have.
u64 width_of(const Register& r) { return r.number.wide.umax - r.number.wide.umin; }
/// Which register of the call a callback's argument is, or 0: the helper makes it.
u32 given_to_callback(const Insn& call, u32 reg) {
  switch (static_cast<catalog::HelperId>(call.imm)) {
    case catalog::HelperId::loop:
    case catalog::HelperId::user_ringbuf_drain:
      return reg == 2 ? 3 : 0;
    case catalog::HelperId::for_each_map_elem:
      return reg == 4 ? 3 : 0;
    case catalog::HelperId::find_vma:
      return reg == 1 ? 1 : reg == 3 ? 4 : 0;
    default:
      return 0;
  }
}
bool compares(Form f) { return f == Form::jump_imm || f == Form::jump_reg; }
}  // namespace

Narrator::Narrator(Checker& checker)
    : c_(checker),
      program_(checker.program_),
      history_(*checker.story_),
      names_(checker.program_, checker.object_),
      id_(checker.refusal_.id),
      insn_(checker.refusal_.insn),
      end_(checker.path_.empty() ? 0 : checker.path_.size() - 1) {}

std::optional<Register> Narrator::value(std::size_t step, u32 reg) const {
  const History::Registers* all = history_.at(step);
  return all != nullptr ? std::optional<Register>((*all)[reg]) : std::nullopt;
}

/// Of an instruction that computes: which register the value is followed through. False: it begins here.
bool Narrator::follow_alu(const Link& link, Follow follow, u32& wanted) const {
  const Insn& i = program_.insns[link.insn];
  const Form f = isa::row(c_.analysis_.insns[link.insn].op).form;
  if (is_mov(i, f)) {
    wanted = i.src;
    return f == Form::alu_reg;
  }
  if (f == Form::movsx || f == Form::addr_space_cast) {
    wanted = i.src;
    return true;
  }
  wanted = i.dst;
  if (f != Form::alu_reg) return true;
  const auto dst = value(link.step, i.dst), src = value(link.step, i.src);
  if (!dst || !src) return true;
  const bool pointers_differ = dst->is_pointer() != src->is_pointer();
  if (pointers_differ) {
    const bool want_pointer = follow == Follow::pointer;
    wanted = dst->is_pointer() == want_pointer ? i.dst : i.src;
    // A pointer whose certain part moved, or that varies more than what is added, is followed on where it varies.
    const Register &pointer = dst->is_pointer() ? *dst : *src, &number = dst->is_pointer() ? *src : *dst;
    if (follow == Follow::number && (number.is_const() || width_of(pointer) > width_of(number)))
      wanted = wanted == i.dst ? i.src : i.dst;
  } else if (dst->is_const() && !src->is_const()) {
    wanted = i.src;
  } else if (dst->is_scalar() && src->is_scalar() && src->number.wide.umax > dst->number.wide.umax) {
    wanted = i.src;
  }
  return true;
}

std::vector<Narrator::Link> Narrator::trace(u32 reg, Follow follow, std::size_t step) const {
  std::vector<Link> links = steps_back(reg, follow, step);
  for (std::size_t k = 0; k + 1 < links.size(); k++) {
    if (!cuts_by_shifting(links[k], links[k + 1])) continue;
    links[k].what = Link::What::cut;
    links[k].before = links[k + 1].before;
    links[k].known = links[k].known && links[k + 1].known;
    links.erase(links.begin() + static_cast<std::ptrdiff_t>(k) + 1);
  }
  return links;
}

/// `x <<= 32; x >>= 32`: how 32 bits are taken where there are no 32-bit instructions.
bool Narrator::cuts_by_shifting(const Link& right, const Link& left) const {
  const Insn &r = program_.insns[right.insn], &l = program_.insns[left.insn];
  return right.what == Link::What::computed && left.what == Link::What::computed && l.code == code_lsh_imm &&
         l.imm == 32 && r.imm == 32 && (r.code == code_rsh_imm || r.code == code_arsh_imm);
}

std::vector<Narrator::Link> Narrator::steps_back(u32 reg, Follow follow, std::size_t step) const {
  std::vector<Link> links;
  const auto& path = c_.path_;
  u32 wanted = reg, frame = history_.depth(std::min(step, path.size() - 1));
  s32 slot = -1;
  const std::size_t last = step > most_steps_back ? step - most_steps_back : 0;
  for (std::size_t at = step; at-- > last && links.size() < most_links;) {
    const Step& s = path[at];
    const Insn& i = program_.insns[s.insn];
    const Form f = isa::row(c_.analysis_.insns[s.insn].op).form;
    const u32 depth = history_.depth(at);
    if (slot >= 0) {
      if (s.what != Step::What::stack_write || s.frame != frame || s.slot != slot) continue;
      if (f != Form::store_reg) return links;
      slot = -1;
      wanted = i.src;
      frame = depth;
      continue;
    }
    if (f == Form::exit && depth == frame + 1 && wanted == 0) {
      frame = depth;
      continue;
    }
    if (s.what == Step::What::left && depth == frame + 1 && wanted == 0) {
      links.push_back({Link::What::called, at, s.insn, 0, false, {}, {}});
      return links;
    }
    if (f == Form::call_helper && frame > 0 && begins_callback(at + 1)) {
      const u32 given = given_to_callback(i, wanted);
      if (given == 0) {
        links.push_back({Link::What::argument, at + 1, path[at + 1].insn, wanted, false, {}, {}});
        return links;
      }
      wanted = given;
      frame--;
      while (at > last && path[at - 1].insn == s.insn) at--;  // it has a step for going on and one for calling back
      continue;
    }
    if (s.what == Step::What::descended) {
      if (depth + 1 == frame) {  // into this frame: arguments come from the caller
        if (wanted < 1 || wanted > 5) return links;
        frame = depth;
        continue;
      }
      if (depth == frame && wanted >= 1 && wanted <= 5) {
        links.push_back({Link::What::called, at, s.insn, wanted, false, {}, {}});
        return links;
      }
      continue;
    }
    if (depth != frame) continue;
    Link link{Link::What::computed, at, s.insn, wanted, false, {}, {}};
    const auto before = value(at, wanted), after = value(at + 1, wanted);
    if (before && after && (at + 1 > end_ || history_.depth(at + 1) == depth)) {
      link.known = true;
      link.before = *before;
      link.after = *after;
    }
    if (compares(f)) {
      link.what = Link::What::compared;
      if (link.known && !(link.before == link.after)) links.push_back(link);
      continue;
    }
    if ((isa::registers_written(i, f) >> wanted & 1) == 0) continue;
    switch (f) {
      case Form::call_helper:
      case Form::call_kfunc:
      case Form::call_local:
      case Form::callx:
        link.what = Link::What::called;
        links.push_back(link);
        return links;
      case Form::load:
        if (s.what == Step::What::stack_read) {
          slot = s.slot;
          frame = s.frame;
          link.what = Link::What::copied;
          links.push_back(link);
          continue;
        }
        [[fallthrough]];
      case Form::load_acquire:
      case Form::ld_abs:
      case Form::ld_ind:
      case Form::atomic_fetch:
      case Form::cmpxchg:
        link.what = Link::What::loaded;
        links.push_back(link);
        return links;
      case Form::ld_imm64:
        link.what = Link::What::constant;
        links.push_back(link);
        return links;
      default:
        break;
    }
    const u32 now = wanted;
    const bool goes_on = follow_alu(link, follow, wanted);
    if (const auto operand = value(at, wanted)) link.before = *operand;
    const bool whole = i.code == 0xbf && i.off == 0;
    link.reg = now;
    link.what = !goes_on       ? Link::What::constant
                : is_mov(i, f) ? (whole ? Link::What::copied : Link::What::cut)
                               : Link::What::computed;
    links.push_back(link);
    if (!goes_on) return links;
  }
  if (slot < 0 && last == 0 && wanted >= 1 && wanted <= 5 && frame == 0)
    links.push_back({Link::What::argument, 0, path[0].insn, wanted, false, {}, {}});
  return links;
}

/// Whether a helper calls back at this step: the one before it is the helper's call.
bool Narrator::begins_callback(std::size_t step) const {
  if (step >= c_.path_.size()) return false;
  const auto function = c_.analysis_.function_at(c_.path_[step].insn);
  if (!function) return false;
  const Function& f = c_.analysis_.functions[*function];
  return f.is_callback && f.first == c_.path_[step].insn && c_.path_[step - 1].insn + 1 != f.first;
}

/// Two loads of one place, or one and the same step.
bool Narrator::same_origin(const Link& a, const Link& b) const {
  if (a.step == b.step) return true;
  if (a.what != Link::What::loaded || b.what != Link::What::loaded) return false;
  const Insn &i = program_.insns[a.insn], &k = program_.insns[b.insn];
  const auto p = value(a.step, i.src), q = value(b.step, k.src);
  return p && q && p->is_pointer() && p->kind == q->kind && p->object == q->object &&
         p->off + i.off == q->off + k.off && p->number == q->number;
}

std::optional<std::size_t> Narrator::compared_copy(const Link& origin, const std::vector<Link>& links) const {
  const std::size_t first = end_ > copies_looked_at ? end_ - copies_looked_at : 0;
  for (std::size_t at = end_; at-- > first;) {
    const u32 insn = c_.path_[at].insn;
    const Form f = isa::row(c_.analysis_.insns[insn].op).form;
    if (!compares(f)) continue;
    if (std::any_of(links.begin(), links.end(), [&](const Link& l) { return l.step == at; })) continue;
    for (u32 reg : {u32{program_.insns[insn].dst}, u32{program_.insns[insn].src}}) {
      if (reg != program_.insns[insn].dst && f != Form::jump_reg) continue;
      const auto before = value(at, reg), after = value(at + 1, reg);
      if (!before || !after || !before->is_scalar() || *before == *after) continue;
      const auto other = trace(reg, Follow::number, at);
      if (!other.empty() && same_origin(other.back(), origin)) return at;
    }
  }
  return std::nullopt;
}

std::optional<std::size_t> Narrator::last_branch(std::size_t before) const {
  const u32 depth = history_.depth(end_);
  for (std::size_t at = before; at-- > 0;)
    if (compares(isa::row(c_.analysis_.insns[c_.path_[at].insn].op).form) && history_.depth(at) == depth) return at;
  return std::nullopt;
}

u32 Narrator::line_number(u32 insn) const {
  const SourceLine* l = line(insn);
  return l != nullptr ? l->line : 0;
}

Event Narrator::event(Role role, u32 insn, std::string text) const {
  Event e;
  e.role = role;
  e.insn = insn;
  e.text = std::move(text);
  if (const SourceLine* l = line(insn)) e.source = *l;
  return e;
}

void Narrator::add(Role role, u32 insn, std::string text, bool is_cause) {
  Event e = event(role, insn, std::move(text));
  e.is_cause = is_cause;
  d_.events.push_back(std::move(e));
}

std::string Narrator::number_text(const Scalar& number) const {
  if (number.is_const()) return fmt::format("{}", static_cast<s64>(number.value()));
  const auto& w = number.wide;
  if (w.umin == 0 && w.umax == Interval<u32>::u_max) {
    const auto& n = number.narrow;
    if (n.smin == Interval<u32>::s_min && n.smax == Interval<u32>::s_max) return "any 32-bit number";
    if (n.smin == Interval<u32>::s_min) return fmt::format("at most {} as an int, also negative", n.smax);
    return fmt::format("{} to {} as an int", n.smin, n.smax);
  }
  if (w.is_unknown() || (w.smin == Interval<u64>::s_min && w.smax == Interval<u64>::s_max)) return "any 64-bit number";
  if (w.smin < 0 && w.smax == Interval<u64>::s_max) return fmt::format("at least {}", w.smin);
  if (w.smin >= 0 || w.umax <= static_cast<u64>(Interval<u64>::s_max)) {
    if (w.umax >= u64{1} << 62) return fmt::format("at least {}", w.umin);
    return fmt::format("{} to {}", w.umin, w.umax);
  }
  if (w.smin == Interval<u64>::s_min) return fmt::format("at most {}, also negative", w.smax);
  return fmt::format("{} to {}", w.smin, w.smax);
}

std::string Narrator::map_of(const Register& r) const {
  const bool has = (r.kind == Kind::map || r.kind == Kind::map_value) && r.object < c_.maps_.size();
  return has ? c_.maps_[r.object].spec->name : std::string();
}

std::string Narrator::call_name(u32 insn) const {
  const Insn& i = program_.insns[insn];
  if (i.src == isa::call_src_helper) {
    const auto* helper = catalog::helper(static_cast<u32>(i.imm));
    return helper != nullptr ? fmt::format("bpf_{}", helper->name) : fmt::format("helper {}", i.imm);
  }
  if (const catalog::Kfunc* kfunc = c_.analysis_.kfunc_at(insn)) return std::string(kfunc->name);
  if (i.src == isa::call_src_local) return names_.function_of(insn + 1 + static_cast<u32>(i.imm));
  return "a function";
}

std::string Narrator::operation_text(const Link& link) const {
  const Insn& i = program_.insns[link.insn];
  static constexpr std::string_view names[] = {
      "+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "negated", "%=", "^=", "=", "s>>=", "byte-swapped"};
  const u32 op = i.code >> 4;
  if (op >= std::size(names)) return "changed";
  if (op == 8 || op == 13) return std::string(names[op]);
  if ((i.code & 8) == 0) return fmt::format("{} {}", names[op], i.imm);
  const auto src = value(link.step, i.src);
  return fmt::format("{} {}", names[op],
                     src && src->is_scalar() ? number_text(src->number) : std::string("a variable"));
}

std::string Narrator::origin_text(const Link& link) const {
  const Insn& i = program_.insns[link.insn];
  switch (link.what) {
    case Link::What::called:
      return fmt::format("{}() returned it", call_name(link.insn));
    case Link::What::argument:
      return fmt::format("it is argument {} of {}()", link.reg, names_.function_of(link.insn));
    case Link::What::constant:
      for (const Reference& r : program_.references)
        if (r.insn == link.insn && r.kind != Reference::Kind::function)
          return r.name.empty() ? "it is the address of the map" : fmt::format("it is the address of {}", r.name);
      return fmt::format("it is the constant {}", i.imm);
    case Link::What::loaded: {
      const u32 size = isa::access_bytes(i);
      const auto from = value(link.step, i.src);
      if (!from) return fmt::format("it is read from memory, {} bytes", size);
      const s64 at = s64{from->off} + i.off;
      if (from->kind == Kind::map_value && from->object < c_.maps_.size()) {
        const MapSpec& map = *c_.maps_[from->object].spec;
        const Names::Field field = names_.field_at(map.btf_value_type_id, static_cast<u64>(at), size);
        if (!field.path.empty() && at >= 0)
          return fmt::format("it is read from {} ({}) in a value of map {}", field.path, field.type, map.name);
        return fmt::format("it is read from a value of map {}, {} bytes at offset {}", map.name, size, at);
      }
      if (from->kind == Kind::context && c_.context_layout() != nullptr) {
        for (const auto& f : c_.context_layout()->fields)
          if (at >= f.offset && at < f.offset + f.size)
            return fmt::format("it is read from {}.{}", c_.context_layout()->name, f.name);
        return fmt::format("it is read from the context as a number, {} bytes at offset {}", size, at);
      }
      if (from->kind == Kind::object && from->object < c_.types_.size()) {
        const Checker::ObjectType& type = c_.types_[from->object];
        const auto field = Names(program_, type.types).field_at(type.id, static_cast<u64>(at), size);
        if (!field.path.empty() && at >= 0)
          return fmt::format("it is read from {} ({}) of struct {}", field.path, field.type, type.name);
        return fmt::format("it is read from struct {}, {} bytes at offset {}", type.name, size, at);
      }
      return fmt::format("it is read through a {}, {} bytes", name_of(from->kind), size);
    }
    default:
      return "it is made here";
  }
}

/// The links that tell something, oldest first, at most `most`.
void Narrator::add_links(const std::vector<Link>& links, std::size_t most) {
  std::vector<Event> told;
  for (const Link& link : links) {  // newest first
    std::string text;
    Role role = Role::changed;
    switch (link.what) {
      case Link::What::copied:
        continue;
      case Link::What::compared:
        if (!link.known || !link.after.is_scalar()) continue;
        role = Role::checked;
        text = fmt::format("this comparison leaves {}", number_text(link.after.number));
        break;
      case Link::What::cut:
      case Link::What::computed: {
        const bool number = link.known && link.after.is_scalar();
        if (number && link.before.is_scalar() && link.before.number.wide == link.after.number.wide) continue;
        if (link.what == Link::What::cut)
          text = number ? fmt::format("its low part alone is taken: {}", number_text(link.after.number)) : "cut";
        else if (number)
          text = fmt::format("{}: now {}", operation_text(link), number_text(link.after.number));
        else if (link.before.is_pointer())
          continue;  // another part is added
        else
          text = "it is added to the pointer";
        break;
      }
      default:
        role = Role::origin;
        text = origin_text(link);
        if (link.known && link.after.is_scalar() && link.what != Link::What::constant)
          text += fmt::format(": {}", number_text(link.after.number));
    }
    told.push_back(event(role, link.insn, std::move(text)));
  }
  std::reverse(told.begin(), told.end());
  if (told.size() > most) {  // the origin, and what happened last
    told.erase(told.begin() + 1, told.end() - static_cast<std::ptrdiff_t>(most) + 1);
  }
  for (Event& e : told) d_.events.push_back(std::move(e));
}

void Narrator::add_branch(std::size_t before) {
  const auto branch = last_branch(before);
  if (!branch) return;
  const u32 insn = c_.path_[*branch].insn;
  d_.facts.branch_line = line_number(insn);
  u32 next = 0;  // the next other line: that is where the branch led
  for (std::size_t at = *branch + 1; at < c_.path_.size() && next == 0; at++)
    if (const u32 number = line_number(c_.path_[at].insn); number != line_number(insn)) next = number;
  add(Role::taken, insn,
      next != 0 ? fmt::format("the path goes on from here at line {}", next) : std::string("the path comes this way"));
}

}  // namespace skep::verify
