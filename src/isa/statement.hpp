// One line of assembly: operands and statements, as a recursive-descent reader.
//
// Internal to isa/parse.cpp. Each statement kind is one function that builds an Insn from a row, so an opcode
// number is written nowhere here.
#pragma once
#include <fmt/format.h>

#include <algorithm>

#include "isa/lexer.hpp"
#include "isa/semantics.hpp"
#include "isa/text.hpp"

namespace skep::isa {

struct Register {
  u8 number = 0;
  bool wide = true;  ///< rN, not wN
};

/// A typed memory operand: *(u64 *)(r1 +8).
struct Pointer {
  bool is_signed = false;
  u32 bytes = 0;
  u8 base = 0;
  s16 off = 0;
};

/// Where a jump or call goes: a distance, or a label to be found later.
struct Target {
  s64 distance = 0;
  std::string label;
};

/// The encoding of a row with its operands 0.
inline Insn from_row(Op op) {
  const Row& r = row(op);
  const auto fixed = [](s32 value) { return value == any ? 0 : value; };
  return {r.code, 0, static_cast<u8>(fixed(r.src) & 0xf), static_cast<s16>(fixed(r.off)), fixed(r.imm)};
}

inline tl::unexpected<Error> wrong(std::string message) { return fail(Code::malformed, std::move(message)); }

class Line {
 public:
  Line(std::vector<Token> tokens, const ParseOptions& options, Assembly& out)
      : tokens_(std::move(tokens)), options_(options), out_(out) {}

  /// A jump or call of this line whose label is not known yet.
  std::optional<std::string> pending_label;

  Result<void> labels_and_statement(auto&& define_label) {
    while (peek().kind != Token::Kind::end && peek(1).text == ":") {
      if (peek().kind == Token::Kind::word) SKEP_TRY(define_label(std::string(peek().text)));
      at_ += 2;  // a number in front of a colon is a dump's index
    }
    skip_opcode();
    if (peek().kind == Token::Kind::end) return {};
    SKEP_TRY(statement());
    if (accept("<"))  // llvm-objdump's name of a jump target
      while (peek().kind != Token::Kind::end && !accept(">")) at_++;
    if (peek().kind != Token::Kind::end) return unexpected("the end of the line");
    return {};
  }

 private:
  // --- tokens ---
  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool accept(std::string_view text) {
    if (peek().kind == Token::Kind::end || peek().text != text) return false;
    at_++;
    return true;
  }
  Result<void> expect(std::string_view text) {
    if (accept(text)) return {};
    return unexpected(fmt::format("'{}'", text));
  }
  tl::unexpected<Error> unexpected(std::string_view wanted) const {
    const auto found = peek().kind == Token::Kind::end ? "the line ends" : fmt::format("found '{}'", peek().text);
    return wrong(fmt::format("{}, expected {}", found, wanted));
  }
  /// "(b7)" of a dump.
  void skip_opcode() {
    if (peek().text == "(" && peek(1).text.size() == 2 && peek(2).text == ")" && peek(3).text != "=") at_ += 3;
  }

  Result<void> emit(const Insn& insn) {
    out_.insns.push_back(insn);
    return {};
  }
  u32 here() const { return static_cast<u32>(out_.insns.size()); }

  // --- operands ---
  std::optional<Register> register_at(const Token& token) const {
    if (token.kind != Token::Kind::word || token.text.size() < 2 || token.text.size() > 3) return std::nullopt;
    if (token.text[0] != 'r' && token.text[0] != 'w') return std::nullopt;
    u32 number = 0;
    for (const char c : token.text.substr(1)) {
      if (c < '0' || c > '9') return std::nullopt;
      number = number * 10 + static_cast<u32>(c - '0');
    }
    if (number >= register_count || (token.text.size() == 3 && number < 10)) return std::nullopt;
    return Register{static_cast<u8>(number), token.text[0] == 'r'};
  }
  Result<Register> any_register() {
    const auto found = register_at(peek());
    if (!found) return unexpected("a register (r0..r10, w0..w10)");
    at_++;
    return *found;
  }
  Result<u8> wide_register() {
    const auto found = SKEP_TRY(any_register());
    if (!found.wide) return wrong(fmt::format("w{0} is 32 bits wide, expected r{0}", found.number));
    return found.number;
  }
  /// A register that holds a value of `bytes`: w names are fine for up to 4.
  Result<u8> value_register(u32 bytes) { return bytes < 8 ? SKEP_TRY(any_register()).number : wide_register(); }

  /// A signed number within [lowest, highest].
  Result<s64> number(std::string_view what, s64 lowest, s64 highest) {
    const bool negative = accept("-");
    if (!negative) accept("+");
    if (peek().kind != Token::Kind::number) return unexpected(what);
    const u64 magnitude = peek().value;
    const u64 limit = negative ? u64{0} - static_cast<u64>(lowest) : static_cast<u64>(highest);
    if (magnitude > limit || (negative && lowest >= 0))
      return wrong(fmt::format("{} {}{} is not in {}..{}", what, negative ? "-" : "", peek().text, lowest, highest));
    at_++;
    return negative ? static_cast<s64>(u64{0} - magnitude) : static_cast<s64>(magnitude);
  }
  /// A 32-bit immediate. Where all its bits count (`bits`), 0x80000000..0xffffffff are welcome too; elsewhere
  /// they would be sign-extended to something the text does not say.
  Result<s32> immediate(bool bits) {
    return static_cast<s32>(SKEP_TRY(number("immediate", INT32_MIN, bits ? s64{UINT32_MAX} : s64{INT32_MAX})));
  }

  /// (u64 *)(r1 +8), without the leading star.
  Result<Pointer> pointer() {
    Pointer p;
    SKEP_TRY(expect("("));
    const auto type = peek().text;
    constexpr std::string_view names[] = {"u8", "u16", "u32", "u64", "s8", "s16", "s32"};
    const auto* found = std::find(std::begin(names), std::end(names), type);
    if (found == std::end(names)) return unexpected("a type (u8 u16 u32 u64 s8 s16 s32)");
    at_++;
    p.is_signed = type[0] == 's';
    p.bytes = 1u << ((found - names) % 4);
    SKEP_TRY(expect("*"));
    SKEP_TRY(expect(")"));
    SKEP_TRY(expect("("));
    SKEP_TRY(base_and_offset(p));
    SKEP_TRY(expect(")"));
    return p;
  }
  Result<void> base_and_offset(Pointer& p) {
    p.base = SKEP_TRY(wide_register());
    if (peek().text == "+" || peek().text == "-")
      p.off = static_cast<s16>(SKEP_TRY(number("offset", INT16_MIN, INT16_MAX)));
    return {};
  }

  /// pc+3, +3, -2 or a label.
  Result<Target> target() {
    const bool relative = peek().text == "pc";
    if (relative) at_++;
    if (relative || peek().kind != Token::Kind::word) {
      if (peek().text != "+" && peek().text != "-") return unexpected("a label or a distance such as +3 or pc+3");
      return Target{SKEP_TRY(number("distance", INT32_MIN, INT32_MAX)), {}};
    }
    Target t{0, std::string(peek().text)};
    at_++;
    return t;
  }
  Result<void> emit_jump(Insn insn, bool long_distance) {
    auto t = SKEP_TRY(target());
    if (t.label.empty() && !long_distance && (t.distance < INT16_MIN || t.distance > INT16_MAX))
      return wrong(fmt::format("distance {} does not fit 16 bits: use gotol", t.distance));
    if (long_distance)
      insn.imm = static_cast<s32>(t.distance);
    else
      insn.off = static_cast<s16>(t.distance);
    if (!t.label.empty()) pending_label = std::move(t.label);
    return emit(insn);
  }

  // --- statements ---
  Result<void> statement();
  Result<void> conditional();
  Result<void> call();
  Result<void> store();
  Result<void> lock();
  Result<void> store_release();
  Result<void> assignment(Register dst);
  Result<void> move(Register dst);
  Result<void> negate_or_number(Register dst);
  Result<void> sign_extending_move(Register dst);
  Result<void> load(Register dst);
  Result<void> packet_load(Register dst, u32 bytes);
  Result<void> function_form(Register dst, std::string_view name);
  Result<void> atomic(Register dst, std::string_view name);
  Result<void> address_cast(Register dst);
  Result<void> wide_number(Register dst);
  Result<void> symbolic(Register dst, std::string_view kind);
  Result<void> map(Register dst);
  void emit_wide(Register dst, u8 src, u32 low, u32 high) {
    Insn first = from_row(Op::ld_imm64);
    first.dst = dst.number;
    first.src = src;
    first.imm = static_cast<s32>(low);
    emit(first);
    emit({.imm = static_cast<s32>(high)});
  }
  Result<u32> unsigned_number(std::string_view what) {
    return static_cast<u32>(SKEP_TRY(number(what, 0, s64{UINT32_MAX})));
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  const ParseOptions& options_;
  Assembly& out_;
};

}  // namespace skep::isa
