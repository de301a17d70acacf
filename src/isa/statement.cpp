// The statements: what each kind of line becomes.
#include "isa/statement.hpp"

namespace skep::isa {
namespace {

/// The row with this form, and this arithmetic or comparison at this width.
Op find_row(Form form, bool wide, auto&& matches) {
  for (const Row& r : rows())
    if (r.form == form && is_wide(r.op) == wide && matches(r.op)) return r.op;
  return Op::exit;  // not reached: the tables are complete (text_test.cpp reads every row)
}

/// The row with this form that accesses `bytes` (and, for atomics, whose name holds `word`).
std::optional<Op> find_access(Form form, u32 bytes, std::string_view word = {}) {
  for (const Row& r : rows())
    if (r.form == form && access_bytes({.code = r.code}) == bytes && r.name.find(word) != std::string_view::npos)
      return r.op;
  return std::nullopt;
}

std::optional<Alu> alu_from(std::string_view text) {
  constexpr std::pair<std::string_view, Alu> table[] = {
      {"+=", Alu::add},   {"-=", Alu::sub},  {"*=", Alu::mul},  {"/=", Alu::div},   {"s/=", Alu::sdiv},
      {"|=", Alu::or_},   {"&=", Alu::and_}, {"<<=", Alu::lsh}, {">>=", Alu::rsh},  {"%=", Alu::mod},
      {"s%=", Alu::smod}, {"^=", Alu::xor_}, {"=", Alu::mov},   {"s>>=", Alu::arsh}};
  for (const auto& [name, alu] : table)
    if (name == text) return alu;
  return std::nullopt;
}

std::optional<Compare> compare_from(std::string_view text) {
  constexpr std::pair<std::string_view, Compare> table[] = {
      {"==", Compare::eq}, {">", Compare::gt},   {">=", Compare::ge},   {"&", Compare::set},
      {"!=", Compare::ne}, {"s>", Compare::sgt}, {"s>=", Compare::sge}, {"<", Compare::lt},
      {"<=", Compare::le}, {"s<", Compare::slt}, {"s<=", Compare::sle}};
  for (const auto& [name, compare] : table)
    if (name == text) return compare;
  return std::nullopt;
}

}  // namespace

Result<void> Line::statement() {
  const Token& first = peek();
  if (const auto dst = register_at(first)) {
    at_++;
    return assignment(*dst);
  }
  if (accept("exit")) return emit(from_row(Op::exit));
  if (accept("goto")) return emit_jump(from_row(Op::ja), false);
  if (accept("gotol")) return emit_jump(from_row(Op::gotol), true);
  if (accept("may_goto")) return emit_jump(from_row(Op::may_goto), false);
  if (accept("if")) return conditional();
  if (accept("call")) return call();
  if (accept("callx")) {
    Insn insn = from_row(Op::callx);
    insn.dst = SKEP_TRY(wide_register());
    return emit(insn);
  }
  if (accept("lock")) return lock();
  if (accept("store_release")) return store_release();
  if (accept("*")) return store();
  return unexpected("an instruction (rN = ..., if ..., goto, call, exit, *(...) = ..., lock ...)");
}

Result<void> Line::conditional() {
  const auto dst = SKEP_TRY(any_register());
  const auto compare = compare_from(peek().text);
  if (!compare) return unexpected("a comparison (== != > >= < <= & s> s>= s< s<=)");
  at_++;
  const auto same = [&](Op op) { return compare_of(op) == *compare; };
  Insn insn;
  if (const auto src = register_at(peek())) {
    if (src->wide != dst.wide)
      return unexpected(
          fmt::format("a register as wide as {}{}", dst.wide ? 'r' : 'w', static_cast<unsigned>(dst.number)));
    at_++;
    insn = from_row(find_row(Form::jump_reg, dst.wide, same));
    insn.src = src->number;
  } else {
    insn = from_row(find_row(Form::jump_imm, dst.wide, same));
    insn.imm = SKEP_TRY(immediate(!dst.wide || peek().is_hex));
  }
  insn.dst = dst.number;
  SKEP_TRY(expect("goto"));
  return emit_jump(insn, false);
}

Result<void> Line::call() {
  const auto helper = [&](s32 id) {
    Insn insn = from_row(Op::call_helper);
    insn.imm = id;
    return emit(insn);
  };
  if (peek().kind == Token::Kind::number || peek().text == "-")
    return helper(static_cast<s32>(SKEP_TRY(number("helper number", INT32_MIN, INT32_MAX))));
  if (const auto reg = register_at(peek())) {
    Insn insn = from_row(Op::callx);
    insn.dst = SKEP_TRY(wide_register());
    return emit(insn);
  }
  if (peek().text == "pc" || peek().text == "+") {
    SKEP_TRY(emit_jump(from_row(Op::call_local), true));
    if (accept("#")) at_++;  // the subprogram's name
    return {};
  }
  if (peek().kind != Token::Kind::word) return unexpected("a helper (name#number), pc+distance or a label");
  std::string name(peek().text);
  at_++;
  if (accept("-")) {
    name += fmt::format("-{}", peek().text);
    at_++;
  }
  if (accept("#")) {
    const auto id = static_cast<s32>(SKEP_TRY(number("number", INT32_MIN, INT32_MAX)));
    if (name != "kernel-function") return helper(id);
    Insn insn = from_row(Op::call_kfunc);
    insn.imm = id;
    if (accept("btf")) {
      SKEP_TRY(expect("["));
      insn.off = static_cast<s16>(SKEP_TRY(number("descriptor index", INT16_MIN, INT16_MAX)));
      SKEP_TRY(expect("]"));
    }
    return emit(insn);
  }
  if (options_.helper_id)
    if (const auto id = options_.helper_id(name)) return helper(*id);
  pending_label = std::move(name);
  return emit(from_row(Op::call_local));
}

Result<void> Line::store() {
  const auto p = SKEP_TRY(pointer());
  if (p.is_signed) return wrong("a store has no sign: use u8, u16 or u32");
  SKEP_TRY(expect("="));
  Insn insn;
  if (register_at(peek())) {
    insn = from_row(*find_access(Form::store_reg, p.bytes));
    insn.src = SKEP_TRY(value_register(p.bytes));
  } else {
    insn = from_row(*find_access(Form::store_imm, p.bytes));
    insn.imm = SKEP_TRY(immediate(p.bytes == 4));
  }
  insn.dst = p.base;
  insn.off = p.off;
  return emit(insn);
}

Result<void> Line::lock() {
  SKEP_TRY(expect("*"));
  const auto p = SKEP_TRY(pointer());
  constexpr std::pair<std::string_view, std::string_view> operators[] = {
      {"+=", "add"}, {"|=", "or"}, {"&=", "and"}, {"^=", "xor"}};
  const auto* found = std::find_if(std::begin(operators), std::end(operators),
                                   [&](const auto& entry) { return entry.first == peek().text; });
  if (found == std::end(operators)) return unexpected("an atomic operator (+= |= &= ^=)");
  at_++;
  const auto op = find_access(Form::atomic, p.bytes, fmt::format("atomic_{}", found->second));
  if (!op || p.is_signed) return wrong("atomic operations work on u32 and u64");
  Insn insn = from_row(*op);
  insn.dst = p.base;
  insn.off = p.off;
  insn.src = SKEP_TRY(value_register(p.bytes));
  return emit(insn);
}

Result<void> Line::store_release() {
  SKEP_TRY(expect("("));
  const auto p = SKEP_TRY(pointer());
  if (p.is_signed) return wrong("store_release has no sign: use u8, u16, u32 or u64");
  SKEP_TRY(expect(","));
  Insn insn = from_row(*find_access(Form::store_release, p.bytes));
  insn.dst = p.base;
  insn.off = p.off;
  insn.src = SKEP_TRY(value_register(p.bytes));
  SKEP_TRY(expect(")"));
  return emit(insn);
}

/// Everything that begins with a register: rN op= operand, rN = something.
Result<void> Line::assignment(Register dst) {
  const auto alu = alu_from(peek().text);
  if (!alu) return unexpected("an assignment (= += -= *= /= %= s/= s%= &= |= ^= <<= >>= s>>=)");
  at_++;
  if (*alu == Alu::mov) return move(dst);
  const auto same = [&](Op op) { return alu_of(op) == *alu; };
  Insn insn;
  if (const auto src = register_at(peek())) {
    if (src->wide != dst.wide) return unexpected(dst.wide ? "a 64-bit register (rN)" : "a 32-bit register (wN)");
    at_++;
    insn = from_row(find_row(Form::alu_reg, dst.wide, same));
    insn.src = src->number;
  } else {
    insn = from_row(find_row(Form::alu_imm, dst.wide, same));
    insn.imm = SKEP_TRY(immediate(!dst.wide));
  }
  insn.dst = dst.number;
  return emit(insn);
}

Result<void> Line::move(Register dst) {
  if (const auto src = register_at(peek())) {
    if (src->wide != dst.wide) return unexpected(dst.wide ? "a 64-bit register (rN)" : "a 32-bit register (wN)");
    at_++;
    Insn insn = from_row(dst.wide ? Op::mov64_reg : Op::mov32_reg);
    insn.dst = dst.number;
    insn.src = src->number;
    return emit(insn);
  }
  if (peek().text == "-" || peek().text == "+" || peek().kind == Token::Kind::number) return negate_or_number(dst);
  if (peek().text == "(") return sign_extending_move(dst);
  if (accept("*")) return load(dst);
  if (peek().kind != Token::Kind::word) return unexpected("a register, a number, *(...), or an operation");
  const auto name = peek().text;
  at_++;
  return function_form(dst, name);
}

Result<void> Line::negate_or_number(Register dst) {
  if (peek().text == "-" && register_at(peek(1))) {
    at_++;
    const auto src = SKEP_TRY(any_register());
    if (src.number != dst.number || src.wide != dst.wide) return wrong("negation works in place: rN = -rN");
    Insn insn = from_row(dst.wide ? Op::neg64 : Op::neg32);
    insn.dst = dst.number;
    return emit(insn);
  }
  const bool is_wide_number = peek(1).text == "ll" || (peek(1).kind == Token::Kind::number && peek(2).text == "ll");
  if (dst.wide && (peek().is_hex || is_wide_number)) return wide_number(dst);
  Insn insn = from_row(dst.wide ? Op::mov64_imm : Op::mov32_imm);
  insn.dst = dst.number;
  insn.imm = SKEP_TRY(immediate(!dst.wide));
  return emit(insn);
}

Result<void> Line::wide_number(Register dst) {
  const bool negative = accept("-");
  if (!negative) accept("+");
  u64 value = peek().value;
  at_++;
  accept("ll");
  if (negative) value = u64{0} - value;
  emit_wide(dst, imm64_src_number, static_cast<u32>(value), static_cast<u32>(value >> 32));
  return {};
}

/// (s8)r1
Result<void> Line::sign_extending_move(Register dst) {
  SKEP_TRY(expect("("));
  const auto type = peek().text;
  at_++;
  SKEP_TRY(expect(")"));
  const auto src = SKEP_TRY(any_register());
  const s16 bits = type == "s8" ? 8 : type == "s16" ? 16 : type == "s32" ? 32 : 0;
  if (bits == 0 || src.wide != dst.wide || (bits == 32 && !dst.wide))
    return wrong(fmt::format("({}) is no sign extension here: rN = (s8|s16|s32)rM or wN = (s8|s16)wM", type));
  Insn insn = from_row(dst.wide ? Op::mov64_reg : Op::mov32_reg);
  insn.dst = dst.number;
  insn.src = src.number;
  insn.off = bits;
  return emit(insn);
}

/// *(u64 *)(r1 +8) or *(u8 *)skb[...]; the star is read.
Result<void> Line::load(Register dst) {
  if (peek(4).text == "skb") {
    const auto type = peek(1).text;
    const u32 bytes = type == "u8" ? 1 : type == "u16" ? 2 : type == "u32" ? 4 : 0;
    if (bytes == 0) return wrong("a packet load reads u8, u16 or u32");
    at_ += 5;
    return packet_load(dst, bytes);
  }
  const auto p = SKEP_TRY(pointer());
  if (!dst.wide && (p.bytes == 8 || p.is_signed)) return wrong("a 64-bit result needs a 64-bit register (rN)");
  Insn insn = from_row(*find_access(Form::load, p.bytes, p.is_signed ? "ldxs" : "ldx"));
  insn.dst = dst.number;
  insn.src = p.base;
  insn.off = p.off;
  return emit(insn);
}

/// skb[4] or skb[r2 + 4]; "skb" is read.
Result<void> Line::packet_load(Register dst, u32 bytes) {
  if (dst.number != 0) return wrong("a packet load puts its result into r0");
  SKEP_TRY(expect("["));
  Insn insn;
  if (register_at(peek())) {
    insn = from_row(*find_access(Form::ld_ind, bytes));
    insn.src = SKEP_TRY(wide_register());
    accept("+");
  } else {
    insn = from_row(*find_access(Form::ld_abs, bytes));
  }
  insn.imm = static_cast<s32>(SKEP_TRY(number("packet offset", INT32_MIN, INT32_MAX)));
  SKEP_TRY(expect("]"));
  return emit(insn);
}

/// rN = name ...
Result<void> Line::function_form(Register dst, std::string_view name) {
  if (name == "map" || name == "btf" || name == "subprog") return symbolic(dst, name);
  if (name == "load_acquire") {
    SKEP_TRY(expect("("));
    const auto p = SKEP_TRY(pointer());
    SKEP_TRY(expect(")"));
    if (p.is_signed || (!dst.wide && p.bytes == 8)) return wrong("load_acquire reads u8, u16, u32 or u64");
    Insn insn = from_row(*find_access(Form::load_acquire, p.bytes));
    insn.dst = dst.number;
    insn.src = p.base;
    insn.off = p.off;
    return emit(insn);
  }
  if (name == "addr_space_cast") return address_cast(dst);
  if (name.starts_with("atomic")) return atomic(dst, name);
  const auto op = op_by_name(name);
  if (!op || row(*op).form != Form::endian) {
    at_--;
    return unexpected("le16..64, be16..64, bswap16..64, atomic..., load_acquire, map[...] or subprog[...]");
  }
  const auto src = SKEP_TRY(any_register());
  if (src.number != dst.number) return wrong(fmt::format("{0} works in place: rN = {0} rN", name));
  Insn insn = from_row(*op);
  insn.dst = dst.number;
  return emit(insn);
}

/// atomic64_fetch_add((u64 *)(r1 +0), r2), atomic_xchg(...), atomic_cmpxchg(..., r0, r2).
Result<void> Line::atomic(Register dst, std::string_view name) {
  name.remove_prefix(std::string_view("atomic").size());
  if (name.starts_with("64")) name.remove_prefix(2);
  SKEP_TRY(expect("("));
  const auto p = SKEP_TRY(pointer());
  SKEP_TRY(expect(","));
  const bool is_exchange_if = name == "_cmpxchg";
  const auto op =
      find_access(is_exchange_if ? Form::cmpxchg : Form::atomic_fetch, p.bytes, fmt::format("atomic{}", name));
  if (!op || p.is_signed || name.size() < 4)
    return wrong(
        fmt::format("atomic{} on {}{} does not exist: fetch_add, fetch_or, fetch_and, fetch_xor, xchg and "
                    "cmpxchg work on u32 and u64",
                    name, p.is_signed ? 's' : 'u', p.bytes * 8));
  if (is_exchange_if) {
    const auto expected = SKEP_TRY(any_register());
    if (expected.number != 0 || dst.number != 0) return wrong("cmpxchg compares with r0 and returns to r0");
    SKEP_TRY(expect(","));
  }
  Insn insn = from_row(*op);
  insn.dst = p.base;
  insn.off = p.off;
  insn.src = SKEP_TRY(value_register(p.bytes));
  SKEP_TRY(expect(")"));
  if (!is_exchange_if && insn.src != dst.number)
    return wrong("an atomic fetch returns the old value to its operand's register: rN = atomic...(..., rN)");
  return emit(insn);
}

Result<void> Line::address_cast(Register dst) {
  SKEP_TRY(expect("("));
  Insn insn = from_row(Op::addr_space_cast);
  insn.dst = dst.number;
  insn.src = SKEP_TRY(wide_register());
  SKEP_TRY(expect(","));
  const auto to = SKEP_TRY(number("address space", 0, UINT16_MAX));
  SKEP_TRY(expect(","));
  const auto from = SKEP_TRY(number("address space", 0, UINT16_MAX));
  SKEP_TRY(expect(")"));
  insn.imm = static_cast<s32>(static_cast<u32>(to) << 16 | static_cast<u32>(from));
  return emit(insn);
}

/// map[id:5], map[idx:5]+8, map[counts][0]+8, btf[id:5][fd:3], subprog[+4], subprog[label].
Result<void> Line::symbolic(Register dst, std::string_view kind) {
  if (!dst.wide) return wrong("an address needs a 64-bit register (rN)");
  SKEP_TRY(expect("["));
  if (kind == "map") return map(dst);
  if (kind == "subprog") {
    auto t = SKEP_TRY(target());
    SKEP_TRY(expect("]"));
    if (!t.label.empty()) pending_label = std::move(t.label);
    emit_wide(dst, imm64_src_function, static_cast<u32>(t.distance), 0);
    return {};
  }
  SKEP_TRY(expect("id"));
  SKEP_TRY(expect(":"));
  const u32 id = SKEP_TRY(unsigned_number("BTF id"));
  SKEP_TRY(expect("]"));
  u32 fd = 0;
  if (accept("[")) {
    SKEP_TRY(expect("fd"));
    SKEP_TRY(expect(":"));
    fd = SKEP_TRY(unsigned_number("BTF descriptor"));
    SKEP_TRY(expect("]"));
  }
  emit_wide(dst, imm64_src_btf_id, id, fd);
  return {};
}

/// The rest of map[...].
Result<void> Line::map(Register dst) {
  const auto word = peek().text;
  if (peek().kind != Token::Kind::word) return unexpected("id:, idx: or a map's name");
  at_++;
  u64 value = 0;
  if (accept(":")) {
    if (peek().kind != Token::Kind::number || (word != "addr" && peek().value > UINT32_MAX))
      return unexpected("a number of 32 bits");
    value = peek().value;
    at_++;
  } else {
    out_.maps.push_back({here(), std::string(word)});
  }
  SKEP_TRY(expect("]"));
  if (word == "addr") {
    emit_wide(dst, imm64_src_map_fd, static_cast<u32>(value), static_cast<u32>(value >> 32));
    return {};
  }
  const bool by_index = word == "idx";
  bool is_value = by_index && peek().text == "+";
  if (accept("[")) {
    SKEP_TRY(expect("0"));
    SKEP_TRY(expect("]"));
    is_value = true;
  }
  u32 offset = 0;
  if (is_value && accept("+")) offset = SKEP_TRY(unsigned_number("offset"));
  const u8 src = is_value ? (by_index ? imm64_src_map_index_value : imm64_src_map_value)
                          : (by_index ? imm64_src_map_index : imm64_src_map_fd);
  emit_wide(dst, src, static_cast<u32>(value), offset);
  return {};
}

}  // namespace skep::isa
