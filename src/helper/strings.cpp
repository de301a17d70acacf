// Helpers on strings: numbers in text, comparison.
// Source: kernel/bpf/helpers.c (__bpf_strtoull and its callers), lib/kstrtox.c.
#include <cerrno>
#include <limits>

#include "helper/bind.hpp"

namespace skep::helper {

namespace {

struct Parsed {
  s64 consumed = 0;  ///< characters, or a negative errno
  u64 magnitude = 0;
  bool negative = false;
};

bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r') || static_cast<u8>(c) == 0xa0; }

/// The digit's value in any base, or 99.
u32 digit_value(char c) noexcept {
  if (c >= '0' && c <= '9') return static_cast<u32>(c - '0');
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? static_cast<u32>(lower - 'a' + 10) : 99;
}

/// White space, a sign '-', a prefix where the base allows one, digits. At most 63 characters after the sign count.
Parsed parse_number(ReadMem text, u64 flags) noexcept {
  constexpr u64 base_mask = 0x1f;
  constexpr std::size_t most = 63;
  Parsed parsed;
  u32 base = flags & base_mask;
  parsed.consumed = -EINVAL;
  if (text.size == 0 || (flags & ~base_mask) != 0 || (base != 0 && base != 8 && base != 10 && base != 16))
    return parsed;
  std::string_view rest(reinterpret_cast<const char*>(text.data), text.size);
  while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
  parsed.negative = !rest.empty() && rest.front() == '-';
  if (parsed.negative) rest.remove_prefix(1);
  const std::size_t skipped = text.size - rest.size();
  rest = rest.substr(0, most);
  const auto at = [&](std::size_t i) { return i < rest.size() ? rest[i] : '\0'; };
  const bool hex_prefix = at(0) == '0' && (at(1) | 0x20) == 'x';
  if (base == 0) base = at(0) != '0' ? 10 : hex_prefix && digit_value(at(2)) < 16 ? 16 : 8;
  std::size_t digits = base == 16 && hex_prefix ? 2 : 0;
  const std::size_t first = digits;
  bool overflow = false;
  for (; digit_value(at(digits)) < base; ++digits) {
    const u32 digit = digit_value(at(digits));
    overflow |= __builtin_mul_overflow(parsed.magnitude, u64{base}, &parsed.magnitude);
    overflow |= __builtin_add_overflow(parsed.magnitude, u64{digit}, &parsed.magnitude);
  }
  if (overflow)
    parsed.consumed = -ERANGE;
  else if (digits != first)
    parsed.consumed = static_cast<s64>(skipped + digits);
  return parsed;
}

}  // namespace

/// Returns how many characters were read, or -EINVAL, -ERANGE.
static s64 strtol(ReadMem text, u64 flags, s64* result) noexcept {
  *result = 0;
  const Parsed parsed = parse_number(text, flags);
  if (parsed.consumed < 0) return parsed.consumed;
  constexpr u64 most = std::numeric_limits<s64>::max();
  if (parsed.magnitude > (parsed.negative ? most + 1 : most)) return -ERANGE;
  *result = static_cast<s64>(parsed.negative ? ~parsed.magnitude + 1 : parsed.magnitude);
  return parsed.consumed;
}
SKEP_BIND(strtol)

static s64 strtoul(ReadMem text, u64 flags, u64* result) noexcept {
  *result = 0;
  const Parsed parsed = parse_number(text, flags);
  if (parsed.consumed < 0) return parsed.consumed;
  if (parsed.negative) return -EINVAL;
  *result = parsed.magnitude;
  return parsed.consumed;
}
SKEP_BIND(strtoul)

/// -1, 0 or 1. The second string is constant and terminated (the verifier's proof); the first is cut at its size.
static s64 strncmp(ReadMem first, const char* second) noexcept {
  for (u64 i = 0; i < first.size; ++i) {
    const auto a = static_cast<u8>(first.data[i]), b = static_cast<u8>(second[i]);
    if (a != b) return a < b ? -1 : 1;
    if (a == 0) break;
  }
  return 0;
}
SKEP_BIND(strncmp)

}  // namespace skep::helper
