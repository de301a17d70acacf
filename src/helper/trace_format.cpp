// Checking and printing formats. See trace_format.hpp.
//
// Arguments are packed as the kernel packs them, because what is left of the space decides where a string is cut and
// when a format is refused with -ENOSPC.
#include "helper/trace_format.hpp"

#include <sys/auxv.h>

#include <cerrno>
#include <cstring>

#include "helper/memory.hpp"

namespace skep::helper {

namespace {

// Character classes are the kernel's, which are those of Latin-1.
bool is_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r') || static_cast<u8>(c) == 0xa0; }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_printable_ascii(char c) noexcept { return c >= 0x20 && c < 0x7f; }
bool is_beyond_ascii(char c) noexcept { return static_cast<u8>(c) >= 0x80; }
bool is_letter_or_digit(char c) noexcept {
  const u8 byte = static_cast<u8>(c);
  if (byte >= 0x80) return byte >= 0xc0 && byte != 0xd7 && byte != 0xf7;
  return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}
bool is_punctuation(char c) noexcept {
  if (is_beyond_ascii(c)) return static_cast<u8>(c) > 0xa0 && !is_letter_or_digit(c);
  return is_printable_ascii(c) && c != ' ' && !is_letter_or_digit(c);
}
/// What may follow a plain %p or any %s.
bool ends_conversion(char c) noexcept { return c == 0 || is_space(c) || is_punctuation(c); }

/// A number that stands for a pointer without telling it; different in every process, the same within one.
u64 hashed(u64 address) noexcept {
  if (address == 0 || address >= static_cast<u64>(-4095)) return address;  // null and errors are shown as they are
  u64 secret = 0x9e3779b97f4a7c15;
  if (const auto* bytes = reinterpret_cast<const void*>(::getauxval(AT_RANDOM)); bytes != nullptr)
    std::memcpy(&secret, bytes, sizeof secret);
  u64 z = address ^ secret;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<u32>(z ^ (z >> 31));
}

constexpr char lower_digits[] = "0123456789abcdef", upper_digits[] = "0123456789ABCDEF";

/// Writes digits from the end of `buffer`; returns where they begin.
char* digits_of(u64 value, u32 base, const char* alphabet, char* end) noexcept {
  do *--end = alphabet[value % base];
  while ((value /= base) != 0);
  return end;
}

}  // namespace

/// Text that is cut at the end of its buffer but counted in full.
class Format::Out {
 public:
  Out(char* to, u64 size) noexcept : to_(to), size_(size) {}
  void put(char c) noexcept {
    if (length_ < size_) to_[length_] = c;
    ++length_;
  }
  void put(std::string_view text) noexcept {
    for (const char c : text) put(c);
  }
  void fill(char c, u64 count) noexcept {
    const u64 fits = length_ < size_ ? (count < size_ - length_ ? count : size_ - length_) : 0;
    if (fits > 0) std::memset(to_ + length_, c, fits);
    length_ += count;
  }
  bool full() const noexcept { return length_ >= size_; }
  s64 finish() noexcept {
    if (size_ > 0) to_[length_ < size_ ? length_ : size_ - 1] = 0;
    return static_cast<s64>(length_);
  }

 private:
  char* to_;
  u64 size_;
  u64 length_ = 0;
};

/// Reads the conversion whose '%' is at `percent`. False: not one of ours.
bool Format::parse(std::size_t percent, Conversion& conversion) const noexcept {
  std::size_t i = percent + 1;
  for (;; ++i) {
    const char c = at(i);
    if (c == '0')
      conversion.zero = true;
    else if (c == '+')
      conversion.plus = true;
    else if (c == '-')
      conversion.left = true;
    else if (c == ' ')
      conversion.space = true;
    else
      break;
  }
  while (is_digit(at(i))) {
    const u32 digit = static_cast<u32>(at(i++) - '0');
    conversion.width = conversion.width > 100'000'000 ? conversion.width : conversion.width * 10 + digit;
  }
  using Kind = Conversion::Kind;
  if (at(i) == 'p') {
    const char next = at(i + 1);
    conversion.from_pointer = true;
    conversion.kind = Kind::pointer;
    if (ends_conversion(next)) {
      conversion.kind = Kind::hashed_pointer;
      conversion.end = i + 1;
      return true;
    }
    if ((next == 'k' || next == 'u') && at(i + 2) == 's') {
      conversion.kind = Kind::string;
      if (!ends_conversion(at(i + 3))) return false;
      conversion.end = i + 3;
      return true;
    }
    if (next == 'K') conversion.kind = Kind::hashed_pointer;
    if (next == 's' || next == 'S' || next == 'B') conversion.kind = Kind::symbol;
    const bool ip = (next == 'i' || next == 'I') && (at(i + 2) == '4' || at(i + 2) == '6');
    if (ip) conversion.kind = Kind::string;
    if (!ip && std::strchr("KxsSB", next) == nullptr) return false;
    conversion.end = i + (ip ? 3 : 2);
    return true;
  }
  if (at(i) == 's') {
    conversion.kind = Kind::string;
    conversion.end = i + 1;
    return ends_conversion(at(i + 1));
  }
  if (at(i) == 'c') {
    conversion.kind = Kind::character;
    conversion.end = i + 1;
    return true;
  }
  for (int longs = 0; longs < 2 && at(i) == 'l'; ++longs, ++i) conversion.wide = true;
  const char letter = at(i);
  if (letter == 0 || std::strchr("diuxX", letter) == nullptr) return false;
  conversion.is_signed = letter == 'd' || letter == 'i';
  conversion.upper = letter == 'X';
  conversion.base = letter == 'x' || letter == 'X' ? 16 : 10;
  conversion.end = i + 1;
  return true;
}

s64 Format::prepare(Call& call, std::string_view text, std::span<const u64> arguments) noexcept {
  used_ = 0;
  const std::size_t end = text.find('\0');
  if (end == std::string_view::npos || arguments.size() > max_arguments) return -EINVAL;
  text_ = text.substr(0, end);
  std::size_t next = 0;
  for (std::size_t i = 0; i < text_.size(); ++i) {
    const char c = text_[i];
    if (!is_printable_ascii(c) && !is_space(c) && !is_beyond_ascii(c)) return -EINVAL;
    if (c != '%') continue;
    if (at(i + 1) == '%') {
      ++i;
      continue;
    }
    if (next >= arguments.size()) return -EINVAL;
    Conversion conversion;
    if (!parse(i, conversion)) return -EINVAL;
    if (const s64 error = fetch(call, conversion, arguments[next++]); error < 0) return error;
    i = conversion.end - 1;
  }
  std::memset(bytes_ + used_, 0, sizeof bytes_ - used_);
  return 0;
}

/// 0 or -ENOSPC.
s64 Format::pack(u64 value, u32 bytes, u32 alignment) noexcept {
  const u32 place = (used_ + alignment - 1) / alignment * alignment;
  if (place > argument_bytes || argument_bytes - place < bytes) return -ENOSPC;
  std::memcpy(bytes_ + place, &value, bytes);
  used_ = place + bytes;
  return 0;
}

u64 Format::unpack(u32& cursor, u32 bytes, u32 alignment) const noexcept {
  const u32 place = (cursor + alignment - 1) / alignment * alignment;
  u64 value = 0;
  if (place + bytes <= sizeof bytes_) std::memcpy(&value, bytes_ + place, bytes);
  cursor = place + bytes;
  return value;
}

std::string_view Format::unpack_text(u32& cursor) const noexcept {
  if (cursor >= sizeof bytes_) return {};
  const std::string_view text(bytes_ + cursor, ::strnlen(bytes_ + cursor, sizeof bytes_ - cursor));
  cursor += static_cast<u32>(text.size()) + 1;
  return text;
}

s64 Format::fetch(Call& call, const Conversion& conversion, u64 argument) noexcept {
  using Kind = Conversion::Kind;
  switch (conversion.kind) {
    case Kind::string: {
      const char last = at(conversion.end - 1), before = at(conversion.end - 2);
      if (last == '4' || last == '6') return fetch_ip(call, before == 'I', last == '6', argument);
      return fetch_string(call, conversion.from_pointer ? before : 's', argument);
    }
    case Kind::character:
      return pack(argument, 1, 1);
    case Kind::number:
      return pack(argument, conversion.wide ? 8 : 4, 4);
    case Kind::symbol:
      if (at(conversion.end - 1) == 'B') return fetch_symbol(argument);
      return pack(argument, 8, 4);
    case Kind::pointer:
    case Kind::hashed_pointer:
      return pack(argument, 8, 4);
  }
  return -EINVAL;
}

s64 Format::fetch_string(Call& call, char space, u64 address) noexcept {
  if (used_ >= argument_bytes) return -ENOSPC;
  const Space from = space == 'u' ? Space::user : space == 'k' ? Space::kernel : Space::either;
  char* to = bytes_ + used_;
  s64 length = read_string(call, from, to, address, argument_bytes - used_);
  if (length < 0) {  // nothing to read there: an empty string
    to[0] = 0;
    length = 1;
  }
  used_ += static_cast<u32>(length);
  return 0;
}

s64 Format::fetch_ip(Call& call, bool upper, bool v6, u64 address) noexcept {
  const u32 size = v6 ? 16 : 4;
  if (used_ > argument_bytes || argument_bytes - used_ < size) return -ENOSPC;
  u8 ip[16] = {};
  if (read_memory(call, Space::kernel, ip, address, size) != 0) std::memset(ip, 0, sizeof ip);
  Out out(bytes_ + used_, sizeof bytes_ - used_);
  for (u32 i = 0; i < size; ++i) {
    if (v6) {
      if (upper && i > 0 && i % 2 == 0) out.put(':');
      out.put(lower_digits[ip[i] >> 4]);
      out.put(lower_digits[ip[i] & 15]);
      continue;
    }
    if (i > 0) out.put('.');
    char buffer[4];
    const char* digits = digits_of(ip[i], 10, lower_digits, buffer + 4);
    const std::string_view text(digits, static_cast<std::size_t>(buffer + 4 - digits));
    if (!upper) out.fill('0', 3 - text.size());  // %pi4 has leading zeros
    out.put(text);
  }
  used_ += static_cast<u32>(out.finish()) + 1;
  return 0;
}

/// "0x" and the address: what the kernel prints where it knows no symbol.
s64 Format::fetch_symbol(u64 address) noexcept {
  if (used_ >= argument_bytes) return -ENOSPC;
  Out out(bytes_ + used_, sizeof bytes_ - used_);
  print_symbol(out, Conversion{}, address);
  used_ += static_cast<u32>(out.finish()) + 1;
  return 0;
}

void Format::print_symbol(Out& out, const Conversion& conversion, u64 address) noexcept {
  char buffer[20];
  char* digits = digits_of(address, 16, lower_digits, buffer + sizeof buffer);
  *--digits = 'x';
  *--digits = '0';
  print_text(out, conversion, {digits, static_cast<std::size_t>(buffer + sizeof buffer - digits)});
}

void Format::print_number(Out& out, const Conversion& conversion, u64 argument) noexcept {
  u64 magnitude = conversion.wide ? argument : static_cast<u32>(argument);
  char sign = 0;
  if (conversion.is_signed) {
    const s64 value = conversion.wide ? static_cast<s64>(argument) : static_cast<s32>(argument);
    magnitude = value < 0 ? ~static_cast<u64>(value) + 1 : static_cast<u64>(value);
    sign = value < 0 ? '-' : conversion.plus ? '+' : conversion.space ? ' ' : '\0';
  }
  char buffer[24];
  const char* digits =
      digits_of(magnitude, conversion.base, conversion.upper ? upper_digits : lower_digits, buffer + 24);
  const std::string_view text(digits, static_cast<std::size_t>(buffer + 24 - digits));
  const u64 length = text.size() + (sign != 0 ? 1 : 0);
  const u64 padding = conversion.width > length ? conversion.width - length : 0;
  const bool zeros = conversion.zero && !conversion.left;
  if (!zeros && !conversion.left) out.fill(' ', padding);
  if (sign != 0) out.put(sign);
  if (zeros) out.fill('0', padding);
  out.put(text);
  if (conversion.left) out.fill(' ', padding);
}

void Format::print_text(Out& out, const Conversion& conversion, std::string_view text) noexcept {
  const u64 padding = conversion.width > text.size() ? conversion.width - text.size() : 0;
  if (!conversion.left) out.fill(' ', padding);
  out.put(text);
  if (conversion.left) out.fill(' ', padding);
}

void Format::print_address(Out& out, Conversion conversion, u64 address, bool hash) noexcept {
  conversion.base = 16;
  conversion.wide = true;
  if (conversion.width == 0) {
    conversion.width = 16;
    conversion.zero = true;
  }
  print_number(out, conversion, hash ? hashed(address) : address);
}

/// What the kernel prepared as text (addresses, %pks) is copied without a width, and once the buffer is full neither
/// counted nor passed: what is returned then is what the kernel returns.
s64 Format::print(char* to, u64 size) const noexcept {
  using Kind = Conversion::Kind;
  Out out(to, size);
  u32 cursor = 0;
  for (std::size_t i = 0; i < text_.size();) {
    if (text_[i] != '%') {
      out.put(text_[i++]);
      continue;
    }
    if (at(i + 1) == '%') {
      out.put('%');
      i += 2;
      continue;
    }
    Conversion conversion;
    parse(i, conversion);
    switch (conversion.kind) {
      case Kind::number:
        print_number(out, conversion, unpack(cursor, conversion.wide ? 8 : 4, 4));
        break;
      case Kind::character: {
        const char c = static_cast<char>(unpack(cursor, 1, 1));
        print_text(out, conversion, {&c, 1});
        break;
      }
      case Kind::string:
        if (!conversion.from_pointer)
          print_text(out, conversion, unpack_text(cursor));
        else if (!out.full())
          out.put(unpack_text(cursor));
        break;
      case Kind::symbol:
        if (at(conversion.end - 1) != 'B')
          print_symbol(out, conversion, unpack(cursor, 8, 4));
        else if (!out.full())
          out.put(unpack_text(cursor));
        break;
      case Kind::pointer:
      case Kind::hashed_pointer:
        print_address(out, conversion, unpack(cursor, 8, 4), conversion.kind == Kind::hashed_pointer);
        break;
    }
    i = conversion.end;
    // Letters and digits behind a pointer conversion belong to it and print nothing.
    while (conversion.from_pointer && is_letter_or_digit(at(i))) ++i;
  }
  return out.finish();
}

}  // namespace skep::helper
