// The trace of a verification, in the format of the kernel's log at level 2.
//
//   ; __u64 *value = bpf_map_lookup_elem(&counts, &key); @ count.bpf.c:12
//   5: (85) call bpf_map_lookup_elem#1         ; R0=map_value_or_null(id=1,map=counts,ks=4,vs=8)
//
//   from 7 to 9: R0=scalar() R10=fp0
//
// Behind each instruction stand the registers that it changed. Tools that read the kernel's log read this one.
#include "verify/c_line.hpp"
#include "verify/checker.hpp"
#include "verify/explain.hpp"

namespace skep::verify {

namespace {
constexpr std::size_t longest_log = 64u << 20, text_width = 36;

std::string bounds_text(const Scalar& s) {
  std::string text;
  auto add = [&text](std::string_view name, auto value) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  };
  constexpr auto smin = Interval<u64>::s_min, smax = Interval<u64>::s_max;
  if (s.wide.smin != smin) add("smin", s.wide.smin);
  if (s.wide.smax != smax) add("smax", s.wide.smax);
  if (s.wide.umin != 0) add("umin", s.wide.umin);
  if (s.wide.umax != Interval<u64>::u_max) add("umax", s.wide.umax);
  if (s.bits.mask != ~u64{0}) add("var_off", fmt::format("({:#x}; {:#x})", s.bits.value, s.bits.mask));
  return text;
}

std::string_view kernel_name(Kind kind) {
  switch (kind) {
    case Kind::context:
      return "ctx";
    case Kind::stack:
      return "fp";
    case Kind::map:
      return "map_ptr";
    case Kind::map_value:
      return "map_value";
    case Kind::packet:
      return "pkt";
    case Kind::packet_meta:
      return "pkt_meta";
    case Kind::packet_end:
      return "pkt_end";
    case Kind::memory:
      return "mem";
    case Kind::socket:
      return "sock";
    case Kind::function:
      return "func";
    case Kind::object:
      return "ptr_";
    default:
      return name_of(kind);
  }
}
}  // namespace

std::string Checker::log_text(const Register& r) const {
  if (r.is_scalar()) {
    if (r.is_const()) return fmt::format("{}", static_cast<s64>(r.number.value()));
    std::string text = bounds_text(r.number);
    if (r.id != 0) text = fmt::format("id={}{}{}", r.id, text.empty() ? "" : ",", text);
    return fmt::format("scalar({})", text);
  }
  if (r.kind == Kind::stack && r.is_fixed()) return fmt::format("fp{}", r.off);
  std::string text;
  auto add = [&text](std::string_view name, const auto& value) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
  };
  if (r.id != 0) add("id", r.id);
  if (r.ref_id != 0) add("ref_obj_id", r.ref_id);
  if ((r.kind == Kind::map || r.kind == Kind::map_value) && r.object < maps_.size()) {
    add("map", maps_[r.object].spec->name);
    add("ks", maps_[r.object].spec->key_size);
    add("vs", maps_[r.object].spec->value_size);
  }
  if (r.off != 0) add("off", r.off);
  if (r.is_packet()) add("r", r.extent);
  if (r.kind == Kind::memory) add("sz", r.extent);
  if (!r.is_fixed()) text += fmt::format("{}{}", text.empty() ? "" : ",", bounds_text(r.number));
  return fmt::format("{}{}({})", kernel_name(r.kind), r.or_null ? "_or_null" : "", text);
}

/// Before the instruction: ends the line of the one before with what it changed.
void Checker::log_state() {
  if (log_.size() > longest_log) return;
  const Frame& frame = state_.current();
  const bool continues = !path_.empty() && logged_insn_ >= 0 && path_.back().insn == static_cast<u32>(logged_insn_);
  auto registers = [&](bool all) {
    std::string text;
    for (u32 r = 0; r < isa::register_count; r++)
      if (frame.regs[r].kind != Kind::uninitialised && (all || !(frame.regs[r] == logged_[r])))
        text += fmt::format(" R{}={}", r, log_text(frame.regs[r]));
    return text;
  };
  if (continues) {
    if (const std::string changed = registers(false); !changed.empty()) log_ += "   ;" + changed;
    log_ += '\n';
  } else {
    if (!log_.empty()) log_ += "\n\n";
    log_ += path_.empty() ? fmt::format("{}:{}\n", insn_, registers(true))
                          : fmt::format("from {} to {}:{}\n", path_.back().insn, insn_, registers(true));
  }
  const SourceLine* line = program_.line_at(insn_);
  if (line != nullptr && line->insn == insn_)
    log_ += fmt::format("; {} @ {}:{}\n", c_line::trimmed(line->text), line->file, line->line);
  log_ += fmt::format("{}: ({:02x}) {:<{}}", insn_, program_.insns[insn_].code, instruction_text(program_, insn_),
                      text_width);
  logged_insn_ = insn_;
  logged_ = frame.regs;
}

std::string Checker::take_log() {
  if (!log_.empty() && log_.back() != '\n') log_ += '\n';
  if (!log_.empty() && refused_) log_ += fmt::format("{}\n", refusal_.reason);
  if (!log_.empty())
    log_ += fmt::format("processed {} insns (limit {}) total_states {}\n", processed_, max_insns_, state_count_);
  return std::move(log_);
}

}  // namespace skep::verify
