// Arithmetic: numbers by the domain, pointers by the rules of pointer arithmetic.
//
// A pointer may move by a number, within reason; what it points to stays. Everything else that is done to a
// pointer is refused, except that its bits may be taken as an unknown number where the kernel allows that to
// privileged programs (32-bit moves, negation, differences).
#include "verify/checker.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Alu;
using isa::Form;

namespace {
/// Pointers may not stray further than this from their base (Linux BPF_MAX_VAR_OFF).
constexpr s64 max_offset = 1 << 29;

constexpr std::string_view symbol(Alu op) {
  constexpr std::string_view names[] = {"+",  "-", "*",  "/", "s/", "|",   "&", "<<",
                                        ">>", "%", "s%", "^", "=",  "s>>", "-"};
  return names[static_cast<u8>(op)];
}

/// Results that Linux 6.18 does not compute: quotients, and shifts by a register that holds too much.
bool unknown_to_kernel(Alu op, const Scalar& count, bool wide) {
  if (isa::is_division(op)) return true;
  bool shifts = op == Alu::lsh || op == Alu::rsh || op == Alu::arsh;
  return shifts && (wide ? count.wide.umax >= 64 : count.narrow.umax >= 32);
}

/// Kinds whose address may be moved by a number.
bool may_move(const Register& r) {
  switch (r.kind) {
    case Kind::context:
    case Kind::stack:
    case Kind::map_value:
    case Kind::packet:
    case Kind::packet_meta:
    case Kind::memory:
    case Kind::tp_buffer:
    case Kind::task:
    case Kind::object:
      return true;
    default:
      return false;
  }
}
}  // namespace

bool Checker::readable(u32 index) {
  if (reg(index).kind != Kind::uninitialised) return true;
  return refuse_for(static_cast<s32>(index), MessageId::register_not_set, index);
}

void Checker::set_scalar(u32 index, const Scalar& number) { reg(index) = Register::scalar(number); }

bool Checker::do_move() {
  const Insn& i = insn();
  bool wide = facts().code_class == isa::class_alu64;
  Register& dst = reg(i.dst);
  if (form() == Form::alu_imm) {
    dst = Register::constant(wide ? static_cast<u64>(s64{i.imm}) : static_cast<u32>(i.imm));
    return true;
  }
  if (!readable(i.src)) return false;
  Register& src = reg(i.src);
  if (!src.is_scalar()) {
    if ((form() == Form::movsx || !wide) && !keeps_address(i.src, "copied in part")) return false;
    if (form() == Form::movsx)
      dst = Register::scalar(wide ? Scalar::unknown() : Scalar::of_bits(32));
    else if (wide)
      dst = src;
    else
      dst = Register::scalar(Scalar::of_bits(32));
    return true;
  }
  unsigned bits = form() == Form::movsx ? static_cast<unsigned>(i.off) : wide ? 64 : 32;
  // The copy equals the source when no bit is lost or invented: then both share an id, and what one learns in a
  // comparison holds for the other.
  u64 limit = form() == Form::movsx ? u64{1} << (bits - 1) : u64{1} << 32;
  bool equal = bits == 64 || src.number.wide.umax < limit;
  if (equal) {
    if (src.has_delta) src.unlink();
    if (src.id == 0 && !src.is_const()) src.id = new_id();
    dst = src;
    return true;
  }
  Scalar number = form() == Form::movsx ? sign_extended(src.number, bits, wide) : truncated(src.number, bits);
  dst = Register::scalar(number);
  return true;
}

/// addr_space_cast: a number becomes a pointer into the arena (imm 1), or an address of the user's view.
bool Checker::do_arena_cast() {
  const Insn& i = insn();
  if (!readable(i.src)) return false;
  s32 arena = arena_map_;
  for (u32 m = 0; arena < 0 && m < object_.maps.size(); m++)
    if (object_.maps[m].type == MapType::arena) arena = static_cast<s32>(m);
  if (arena < 0 || !use_arena(static_cast<u32>(arena))) return refuse(MessageId::no_arena);
  reg(i.dst) = i.imm == 1 ? Register::pointer(Kind::arena) : Register::unknown();
  return true;
}

/// How far a number that equals others moves from them by this operation, where what is learnt of one later says
/// something of the others. In 32 bits they are numbers below 2^32, and the sum is one modulo 2^32: from it, too, they
/// come back by subtracting in 32 bits. Source: Linux 6.18.44, BPF_ADD_CONST64 and BPF_ADD_CONST32.
std::optional<s32> Checker::link_distance(Alu op, const Register& moved, const Register& by, bool wide) const {
  if ((op != Alu::add && op != Alu::sub) || moved.id == 0 || moved.has_delta || moved.off != 0 || !by.is_const() ||
      is_unprivileged())
    return std::nullopt;
  const s64 value = wide ? static_cast<s64>(by.number.value()) : s64{static_cast<s32>(by.number.value())};
  const bool is_below = moved.number.wide.umax <= ~u32{0};
  if (value != static_cast<s32>(value) || (!wide && !is_below)) return std::nullopt;
  if (op == Alu::add) return static_cast<s32>(value);
  if (value == Interval<u32>::s_min) return std::nullopt;
  return static_cast<s32>(-value);
}

/// Bytes are swapped as far as their bits are known. Linux since 6.18.44 follows them so.
bool Checker::do_byte_order() {
  const Insn& i = insn();
  if (!readable(i.dst) || !keeps_address(i.dst, "turned round")) return false;
  const unsigned bits = static_cast<unsigned>(i.imm);
  const Register before = reg(i.dst);
  if (!before.is_scalar()) {
    reg(i.dst) = Register::scalar(Scalar::of_bits(bits));
    return true;
  }
  const bool swaps = isa::reordered(facts().op, 1) != 1;
  if (!swaps && bits == 64) return true;  // all stays as it is, on this machine
  if (!swaps) {
    reg(i.dst) = Register::scalar(truncated(before.number, bits));
    return true;
  }
  Scalar swapped;
  swapped.bits.value = isa::reordered(facts().op, before.number.bits.value);
  swapped.bits.mask = isa::reordered(facts().op, before.number.bits.mask);
  swapped.normalise();
  reg(i.dst) = Register::scalar(swapped);
  return true;
}

bool Checker::do_alu() {
  const Insn& i = insn();
  Form f = form();
  bool wide = facts().code_class == isa::class_alu64;
  if (f == Form::addr_space_cast) return do_arena_cast();
  if (f == Form::endian) return do_byte_order();
  Alu op = f == Form::movsx ? Alu::mov : isa::alu_of(facts().op);
  if (op == Alu::mov) return do_move();
  if (!readable(i.dst)) return false;
  bool is_immediate = f != Form::alu_reg;
  if (!is_immediate && !readable(i.src)) return false;

  if (f == Form::alu_imm) {
    if (isa::is_division(op) && i.imm == 0) return refuse(MessageId::division_by_zero, static_cast<unsigned>(i.dst));
    bool shifts = op == Alu::lsh || op == Alu::rsh || op == Alu::arsh;
    if (shifts && (i.imm < 0 || i.imm >= (wide ? 64 : 32)))
      return refuse(MessageId::shift_out_of_range, i.imm, wide ? 63 : 31);
  }
  Register immediate = Register::constant(wide ? static_cast<u64>(s64{i.imm}) : static_cast<u32>(i.imm));
  const Register& src = is_immediate ? immediate : reg(i.src);
  Register& dst = reg(i.dst);

  if (dst.kind == Kind::arena || src.kind == Kind::arena) {  // any number is an offset into the window
    dst = Register::pointer(Kind::arena);
    return true;
  }
  if (dst.is_pointer() || src.is_pointer()) {
    const bool makes_number = f == Form::alu_unary || !wide || (dst.is_pointer() && src.is_pointer());
    if (makes_number && !keeps_address(dst.is_pointer() ? i.dst : i.src, "used as a number")) return false;
    if (f == Form::alu_unary) {
      dst = Register::scalar(wide ? Scalar::unknown() : Scalar::of_bits(32));
      return true;
    }
    if (op == Alu::sub && (!wide || (dst.is_pointer() && src.is_pointer()))) {
      dst = Register::scalar(wide ? Scalar::unknown() : Scalar::of_bits(32));
      return true;
    }
    if (dst.is_pointer() && src.is_pointer())
      return refuse_for(i.dst, MessageId::pointer_and_pointer, static_cast<unsigned>(i.dst), symbol(op),
                        static_cast<unsigned>(i.src));
    if (!wide)
      return refuse_for(i.dst, MessageId::pointer_in_32_bits, static_cast<unsigned>(dst.is_pointer() ? i.dst : i.src),
                        symbol(op));
    if (dst.is_pointer()) return pointer_arithmetic(op, dst, src, i.src, is_immediate);
    if (op == Alu::sub)
      return refuse_for(i.dst, MessageId::pointer_subtracted, static_cast<unsigned>(i.src),
                        static_cast<unsigned>(i.dst));
    return pointer_arithmetic(op, src, dst, i.dst, false);
  }

  if (isa::is_division(op) && !note_divisor(op, dst.number, src.number, wide, is_immediate)) return false;
  const std::optional<s32> distance = link_distance(op, dst, src, wide);
  if ((op == Alu::and_ || op == Alu::or_) && src.is_const()) fork_sign(i.dst);
  Scalar result;
  if (is_kernel() && unknown_to_kernel(op, src.number, wide)) {
    if (!wide) result = Scalar::of_bits(32);
  } else if (dst.is_const() && src.is_const()) {
    result = Scalar::of(isa::arithmetic(facts().op, dst.number.value(), src.number.value()));
  } else {
    result = alu(op, dst.number, src.number, wide);
  }
  const u32 id = dst.id;
  dst = Register::scalar(result);
  if (distance) dst.id = id, dst.off = *distance, dst.has_delta = true, dst.narrow_delta = !wide;
  return true;
}

/// A number that is 0 or -1 is followed as each: `s>>= 31` and a mask are how compilers write `x < 0 ? a : b`.
/// The instruction is executed again for 0. Idea: Linux 7.0, maybe_fork_scalars().
void Checker::fork_sign(u32 index) {
  const Scalar& number = reg(index).number;
  const bool whole = number.wide.smin == -1 && number.wide.smax == 0;
  if (!whole && (number.narrow.smin != -1 || number.narrow.smax != 0)) return;
  push_pending(insn_);
  auto settle = [whole, index](State& state, u64 value) {
    Scalar known = Scalar::of(value);
    refine(isa::Compare::eq, state.reg(index).number, known, whole, true);
  };
  settle(pending_.back().state, 0);
  settle(state_, ~u64{0});
}

/// Records whether this division can meet the operands the instruction set has special rules for. The numbers that
/// rule them out become precise: a covered state must keep them.
bool Checker::note_divisor(Alu op, const Scalar& dividend, const Scalar& divisor, bool wide, bool is_immediate) {
  bool& harmless = proofs_[insn_].divisor_nonzero;
  if (!harmless) return true;
  auto may_be = [wide](const Scalar& s, u64 number) {
    if (wide) return s.contains(number);
    u64 low = number & Scalar::low_mask;
    return s.narrow.contains(static_cast<u32>(low)) && s.bits.low(32).contains(low);
  };
  bool is_signed = op == Alu::sdiv || op == Alu::smod;
  bool minus_one = is_signed && may_be(divisor, ~u64{0});
  bool overflows = minus_one && may_be(dividend, wide ? u64{1} << 63 : u64{1} << 31);
  bool needs_numbers = !is_immediate || minus_one;
  // Under the kernel's rules nothing more may become precise than the kernel makes precise.
  if (may_be(divisor, 0) || overflows || (needs_numbers && is_kernel())) {
    harmless = false;
    return true;
  }
  if (minus_one && !need_precise(insn().dst)) return false;
  return is_immediate || need_precise(insn().src);
}

bool Checker::sane_offset(const Register& r) {
  const auto& wide = r.number.wide;
  if (r.number.is_const() &&
      (static_cast<s64>(r.number.value()) >= max_offset || static_cast<s64>(r.number.value()) <= -max_offset))
    return refuse_for(insn().dst, MessageId::pointer_offset_too_large, name(r), static_cast<s64>(r.number.value()),
                      max_offset);
  if (r.off >= max_offset || r.off <= -max_offset)
    return refuse_for(insn().dst, MessageId::pointer_offset_too_large, name(r), r.off, max_offset);
  if (wide.smin == Interval<u64>::s_min || wide.smin >= max_offset || wide.smin <= -max_offset)
    return refuse_for(insn().dst, MessageId::pointer_offset_unbounded, name(r), wide.smin, max_offset);
  return true;
}

bool Checker::pointer_arithmetic(Alu op, Register pointer, const Register& number, u32 number_reg, bool is_immediate) {
  const Insn& i = insn();
  Register moved = pointer;
  moved.past_end = PastEnd::unknown;
  const Scalar distance = number.number;
  if (op != Alu::add && op != Alu::sub)
    return refuse_for(i.dst, MessageId::pointer_operator, symbol(op), name(pointer));
  if (pointer.or_null) return refuse_for(i.dst, MessageId::pointer_maybe_null_moved, name(pointer));
  bool is_zero = distance.is_const() && distance.value() == 0;
  if (is_untrusted_memory(pointer)) {  // number += pointer: Linux 6.18 forgets that there was one
    if (reg(i.dst).is_scalar()) reg(i.dst) = Register::unknown();
    return true;
  }
  const bool is_sure = pointer.kind == Kind::flow_keys && distance.is_const();
  if (!may_move(pointer) && !is_sure && !(is_zero && op == Alu::add && pointer.kind == Kind::map))
    return refuse_for(i.dst, MessageId::pointer_kind_fixed, name(pointer), symbol(op));
  if (op == Alu::sub && pointer.kind == Kind::stack) return refuse_for(i.dst, MessageId::stack_pointer_subtracted);
  s64 smin = distance.wide.smin;
  if (smin >= max_offset || smin <= -max_offset || smin == Interval<u64>::s_min)
    return refuse_for(is_immediate ? -1 : static_cast<s32>(number_reg), MessageId::pointer_offset_unbounded,
                      name(pointer), smin, max_offset);
  if (!is_immediate && !need_precise(number_reg)) return false;

  if (distance.is_const()) {
    s64 off = op == Alu::add ? s64{pointer.off} + smin : s64{pointer.off} - smin;
    if (off != static_cast<s32>(off))
      return refuse_for(i.dst, MessageId::pointer_offset_too_large, name(pointer), off, max_offset);
    moved.off = static_cast<s32>(off);
  } else {
    moved.number = alu(op, pointer.number, distance, true);
    // A packet pointer that moved by an unknown distance has its own range from here on: what is proved of the old
    // one says nothing about it.
    if (moved.is_packet()) moved.id = new_id(), moved.extent = 0;
  }
  if (!sane_offset(moved)) return false;
  if (is_unprivileged() && !stays_inside(moved, form() == Form::alu_imm)) return false;
  reg(i.dst) = moved;
  return true;
}

}  // namespace skep::verify
