// Reading, checking and printing classic filters. The translation is in classic_translate.cpp.
#include "spec/classic.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "spec/classic_codes.hpp"

namespace skep::spec {
namespace {

using namespace classic;

/// A text as numbers, with the line each stands on. Commas, braces and white space separate.
class Numbers {
 public:
  explicit Numbers(std::string_view text) : rest_(text) {}

  /// The next number, or none at the end of the text.
  Result<std::optional<u64>> next() {
    skip();
    if (rest_.empty()) return std::optional<u64>();
    const bool hex = rest_.starts_with("0x") || rest_.starts_with("0X");
    if (hex) rest_.remove_prefix(2);
    u64 value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value, hex ? 16 : 10);
    if (error != std::errc())
      return fail(Code::malformed, fmt::format("line {}: '{}' is no number; expected the output of `tcpdump -ddd` or "
                                               "`tcpdump -dd`",
                                               line_, rest_.substr(0, std::min<std::size_t>(rest_.find('\n'), 20))));
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return std::optional(value);
  }
  u32 line() const { return line_; }

 private:
  void skip() {
    constexpr std::string_view between = " \t\r\n,{}();";
    while (!rest_.empty() && between.find(rest_.front()) != between.npos) {
      line_ += rest_.front() == '\n';
      rest_.remove_prefix(1);
    }
  }
  std::string_view rest_;
  u32 line_ = 1;
};

Result<u32> field(Numbers& numbers, const char* what, u64 most) {
  const auto value = SKEP_TRY(numbers.next());
  if (!value)
    return fail(Code::malformed, fmt::format("line {}: the text ends before {}; an instruction is code, jt, jf and k",
                                             numbers.line(), what));
  if (*value > most)
    return fail(Code::malformed, fmt::format("line {}: {} is {}, at most {} fits", numbers.line(), what, *value, most));
  return static_cast<u32>(*value);
}

Error broken(u32 index, std::string rule) {
  return {Code::malformed, fmt::format("classic filter: instruction {}: {}", index, std::move(rule))};
}

bool is_known(u16 code) {
  const u16 operand_free = code & ~x;
  switch (class_of(code)) {
    case ld:
      if (mode_of(code) == abs || mode_of(code) == ind) return (code & ~0xf8) == 0 && size_of(code) != 0x18;
      return code == (ld | w | len) || code == (ld | imm) || code == (ld | mem);
    case ldx:
      return code == (ldx | w | len) || code == (ldx | b | msh) || code == (ldx | imm) || code == (ldx | mem);
    case st:
    case stx:
      return code == st || code == stx;
    case alu:
      return code == (alu | neg) || ((operand_free & 0xff0f) == alu && op_of(code) != neg && op_of(code) <= xor_);
    case jmp:
      return code == (jmp | ja) || ((operand_free & 0xff0f) == jmp && op_of(code) >= jeq && op_of(code) <= jset);
    case ret:
      return code == (ret | ret_k) || code == (ret | ret_a);
    default:
      return code == (misc | tax) || code == (misc | txa);
  }
}

Result<void> check_insn(const ClassicInsn& insn, u32 index, u32 count) {
  const u16 code = insn.code;
  if (!is_known(code)) return tl::unexpected(broken(index, fmt::format("code {:#x} is no classic instruction", code)));
  const u32 left = count - index - 1;  // instructions behind this one
  if ((code == (alu | div | k) || code == (alu | mod | k)) && insn.k == 0)
    return tl::unexpected(broken(index, "division by the constant 0"));
  if ((code == (alu | lsh | k) || code == (alu | rsh | k)) && insn.k >= 32)
    return tl::unexpected(broken(index, fmt::format("a shift by {}; registers have 32 bits", insn.k)));
  const bool scratch = code == (ld | mem) || code == (ldx | mem) || code == st || code == stx;
  if (scratch && insn.k >= scratch_words)
    return tl::unexpected(broken(index, fmt::format("M[{}]: there are {} scratch words", insn.k, scratch_words)));
  if (code == (jmp | ja) && insn.k >= left)
    return tl::unexpected(broken(index, fmt::format("a jump over {} instructions; {} follow", insn.k, left)));
  if (class_of(code) == jmp && code != (jmp | ja) && (insn.jt >= left || insn.jf >= left))
    return tl::unexpected(
        broken(index, fmt::format("a jump over {} or {} instructions; {} follow", insn.jt, insn.jf, left)));
  if (class_of(code) == ld && mode_of(code) == abs && insn.k >= ancillary_offset &&
      name_of(static_cast<Ancillary>(insn.k - ancillary_offset)) == nullptr)
    return tl::unexpected(
        broken(index, fmt::format("no ancillary load at SKF_AD_OFF + {}", insn.k - ancillary_offset)));
  return {};
}

/// Scratch words must be written on every path before they are read. Jumps go forward only, so one pass that intersects
/// what each instruction's predecessors have written says it.
Result<void> check_scratch(std::span<const ClassicInsn> filter) {
  constexpr u32 everything = 0xffff;
  std::vector<u32> written_before(filter.size() + 1, everything);
  u32 written = 0;
  for (u32 i = 0; i < filter.size(); ++i) {
    const ClassicInsn& insn = filter[i];
    written &= written_before[i];
    if (insn.code == st || insn.code == stx) written |= 1u << insn.k;
    if ((insn.code == (ld | mem) || insn.code == (ldx | mem)) && (written & 1u << insn.k) == 0)
      return tl::unexpected(broken(i, fmt::format("M[{}] is read, and some path to here has not written it", insn.k)));
    if (class_of(insn.code) != jmp) continue;
    if (insn.code == (jmp | ja)) {
      written_before[i + 1 + insn.k] &= written;
    } else {
      written_before[i + 1 + insn.jt] &= written;
      written_before[i + 1 + insn.jf] &= written;
    }
    written = everything;
  }
  return {};
}

std::string operand_of(const ClassicInsn& insn) { return uses_x(insn.code) ? "x" : fmt::format("#{:#x}", insn.k); }

}  // namespace

bool looks_classic(std::string_view text) noexcept {
  const auto first = text.find_first_not_of(" \t\r\n");
  return first != text.npos && (text[first] == '{' || (text[first] >= '0' && text[first] <= '9'));
}

Result<std::vector<ClassicInsn>> parse_classic(std::string_view text) {
  const bool is_c = text.find('{') != text.npos;  // C initialisers say no count
  Numbers numbers(text);
  std::optional<u32> count;
  if (!is_c) count = SKEP_TRY(field(numbers, "the number of instructions", max_classic_insns));
  std::vector<ClassicInsn> filter;
  for (;;) {
    const auto code = SKEP_TRY(numbers.next());
    if (!code) break;
    if (*code > 0xffff)
      return fail(Code::malformed, fmt::format("line {}: code {} has more than 16 bits", numbers.line(), *code));
    if (filter.size() == max_classic_insns)
      return fail(Code::limit, fmt::format("line {}: more than {} instructions", numbers.line(), max_classic_insns));
    ClassicInsn insn;
    insn.code = static_cast<u16>(*code);
    insn.jt = static_cast<u8>(SKEP_TRY(field(numbers, "jt", 255)));
    insn.jf = static_cast<u8>(SKEP_TRY(field(numbers, "jf", 255)));
    insn.k = SKEP_TRY(field(numbers, "k", 0xffffffffu));
    filter.push_back(insn);
  }
  if (count && *count != filter.size())
    return fail(Code::malformed, fmt::format("the first line says {} instructions, {} follow", *count, filter.size()));
  if (filter.empty()) return fail(Code::malformed, "a classic filter without instructions");
  return filter;
}

Result<std::vector<ClassicInsn>> classic_from_bytes(std::span<const std::byte> bytes) {
  if (bytes.empty() || bytes.size() % sizeof(ClassicInsn) != 0)
    return fail(Code::malformed, fmt::format("{} bytes; classic instructions (struct sock_filter) are {} bytes each",
                                             bytes.size(), sizeof(ClassicInsn)));
  std::vector<ClassicInsn> filter(bytes.size() / sizeof(ClassicInsn));
  std::memcpy(filter.data(), bytes.data(), bytes.size());
  return filter;
}

Result<void> check_classic(std::span<const ClassicInsn> filter) {
  if (filter.empty()) return fail(Code::malformed, "a classic filter without instructions");
  if (filter.size() > max_classic_insns)
    return fail(Code::limit, fmt::format("classic filter: {} instructions, at most {} are possible", filter.size(),
                                         max_classic_insns));
  const auto count = static_cast<u32>(filter.size());
  for (u32 i = 0; i < count; ++i) SKEP_TRY(check_insn(filter[i], i, count));
  const u16 last = filter.back().code;
  if (class_of(last) != ret) return tl::unexpected(broken(count - 1, "the last instruction must be a return"));
  return check_scratch(filter);
}

std::string print_classic(std::span<const ClassicInsn> filter, u32 index) {
  const ClassicInsn& insn = filter[index];
  constexpr const char* operations[] = {"add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "neg", "mod", "xor"};
  constexpr const char* jumps[] = {"ja", "jeq", "jgt", "jge", "jset"};
  if (!is_known(insn.code)) return fmt::format("unimp    {:#x}", insn.code);
  const char* suffix = size_of(insn.code) == w ? "" : size_of(insn.code) == h ? "h" : "b";
  switch (class_of(insn.code)) {
    case ld:
    case ldx: {
      const char* name = class_of(insn.code) == ld ? "ld" : "ldx";
      if (mode_of(insn.code) == imm) return fmt::format("{:<8} #{:#x}", name, insn.k);
      if (mode_of(insn.code) == mem) return fmt::format("{:<8} M[{}]", name, insn.k);
      if (mode_of(insn.code) == len) return fmt::format("{:<8} #pktlen", name);
      if (mode_of(insn.code) == msh) return fmt::format("{:<8} 4*([{}]&0xf)", "ldxb", insn.k);
      const std::string sized = fmt::format("{}{}", name, suffix);
      if (mode_of(insn.code) == ind) return fmt::format("{:<8} [x + {}]", sized, insn.k);
      const char* known =
          insn.k >= ancillary_offset ? name_of(static_cast<Ancillary>(insn.k - ancillary_offset)) : nullptr;
      return known != nullptr ? fmt::format("{:<8} #{}", sized, known) : fmt::format("{:<8} [{}]", sized, insn.k);
    }
    case st:
    case stx:
      return fmt::format("{:<8} M[{}]", insn.code == st ? "st" : "stx", insn.k);
    case alu:
      if (op_of(insn.code) == neg) return "neg";
      return fmt::format("{:<8} {}", operations[op_of(insn.code) >> 4], operand_of(insn));
    case jmp:
      if (op_of(insn.code) == ja) return fmt::format("{:<8} {}", "ja", index + 1 + insn.k);
      return fmt::format("{:<8} {:<16} jt {}\tjf {}", jumps[op_of(insn.code) >> 4], operand_of(insn),
                         index + 1 + insn.jt, index + 1 + insn.jf);
    case ret:
      return insn.code == (ret | ret_a) ? "ret      a" : fmt::format("{:<8} #{}", "ret", insn.k);
    default:
      return insn.code == (misc | tax) ? "tax" : "txa";
  }
}

}  // namespace skep::spec
