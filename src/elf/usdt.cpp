// Reading .note.stapsdt and the operands in it.
#include "elf/usdt.hpp"

#include <fmt/core.h>

#include <charconv>

#include "elf/functions.hpp"

namespace skep::elf {

namespace {

constexpr u32 note_stapsdt = 3;
constexpr std::size_t most_arguments = 12;

std::optional<std::string_view> take_string(std::string_view& text) {
  const auto end = text.find('\0');
  if (end == text.npos) return std::nullopt;
  const auto found = text.substr(0, end);
  text.remove_prefix(end + 1);
  return found;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// One note's descriptor. The addresses were final when the file was linked, unless prelink moved it: then the section
/// .stapsdt.base moved with it, and the note says where that had been.
std::optional<UsdtNote> read_descriptor(const File& file, const Section* anchor, std::span<const std::byte> bytes) {
  base::ByteReader reader{bytes};
  const auto pc = reader.at<u64>(0), base = reader.at<u64>(8), semaphore = reader.at<u64>(16);
  if (!pc || !base || !semaphore) return std::nullopt;
  std::string_view strings = as_text(bytes.subspan(24));
  const auto provider = take_string(strings), name = take_string(strings), arguments = take_string(strings);
  if (!provider || !name || !arguments) return std::nullopt;
  u64 moved = 0;
  if (anchor != nullptr && *base != 0) moved = anchor->address - *base;
  UsdtNote note{std::string(*provider), std::string(*name), std::string(*arguments), 0, 0, *pc + moved};
  const auto place = file_offset(file, note.address);
  if (!place) return std::nullopt;
  note.file_offset = *place;
  if (*semaphore != 0) note.semaphore_offset = file_offset(file, *semaphore + moved).value_or(0);
  return note;
}

constexpr std::size_t round_up_4(std::size_t bytes) { return (bytes + 3) & ~std::size_t{3}; }

}  // namespace

Result<std::vector<UsdtNote>> usdt_notes(const File& file) {
  std::vector<UsdtNote> notes;
  const Section* section = file.section(".note.stapsdt");
  if (section == nullptr) return notes;
  SKEP_TRY(check_segments(file));
  const Section* const anchor = file.section(".stapsdt.base");  // once: a file may have 10^5 sections and as many notes
  const auto bytes = SKEP_TRY(file.contents(*section));
  const base::ByteReader reader{bytes};
  for (std::size_t at = 0; at + 12 <= bytes.size();) {
    const u32 name_bytes = *reader.at<u32>(at), descriptor_bytes = *reader.at<u32>(at + 4),
              type = *reader.at<u32>(at + 8);
    const std::size_t name_at = at + 12, left = bytes.size() - name_at;
    const std::size_t name_room = round_up_4(name_bytes);
    if (name_room > left || descriptor_bytes > left - name_room)
      return fail(Code::malformed, fmt::format(".note.stapsdt: the note at {} is longer than its section", at));
    const bool is_ours =
        type == note_stapsdt && as_text(bytes.subspan(name_at, name_bytes)) == std::string_view("stapsdt\0", 8);
    if (is_ours)
      if (auto note = read_descriptor(file, anchor, bytes.subspan(name_at + name_room, descriptor_bytes)))
        notes.push_back(*std::move(note));
    at = name_at + name_room + std::min(round_up_4(descriptor_bytes), left - name_room);
  }
  return notes;
}

namespace {

/// A register as the assembler writes it, of any width: its 64-bit name.
std::optional<std::string_view> full_register(std::string_view name) {
  struct Names {
    std::string_view full, dword, word, byte;
  };
  static constexpr Names names[] = {
      {"rax", "eax", "ax", "al"},      {"rbx", "ebx", "bx", "bl"},      {"rcx", "ecx", "cx", "cl"},
      {"rdx", "edx", "dx", "dl"},      {"rsi", "esi", "si", "sil"},     {"rdi", "edi", "di", "dil"},
      {"rbp", "ebp", "bp", "bpl"},     {"rsp", "esp", "sp", "spl"},     {"r8", "r8d", "r8w", "r8b"},
      {"r9", "r9d", "r9w", "r9b"},     {"r10", "r10d", "r10w", "r10b"}, {"r11", "r11d", "r11w", "r11b"},
      {"r12", "r12d", "r12w", "r12b"}, {"r13", "r13d", "r13w", "r13b"}, {"r14", "r14d", "r14w", "r14b"},
      {"r15", "r15d", "r15w", "r15b"}, {"rip", "eip", "ip", ""}};
  for (const Names& row : names)
    if (name == row.full || name == row.dword || name == row.word || (!name.empty() && name == row.byte))
      return row.full;
  return std::nullopt;
}

std::optional<s64> signed_number(std::string_view text) {
  const bool minus = text.starts_with('-');
  if (minus || text.starts_with('+')) text.remove_prefix(1);
  const bool hexadecimal = text.starts_with("0x");
  if (hexadecimal) text.remove_prefix(2);
  u64 value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value, hexadecimal ? 16 : 10);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return static_cast<s64>(minus ? 0 - value : value);
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

std::string_view take_until(std::string_view& text, char end) {
  const auto at = text.find(end);
  const auto taken = text.substr(0, at);
  text.remove_prefix(at == text.npos ? text.size() : at + 1);
  return trimmed(taken);
}

/// "16(%rbp)", "(%rax,%rbx,4)", "-8(,%rcx,8)".
bool read_memory(std::string_view operand, UsdtArgument& out) {
  const auto open = operand.find('(');
  if (open == operand.npos || !operand.ends_with(')')) return false;
  out.kind = UsdtArgument::Kind::memory;
  const auto displacement = open == 0 ? std::optional<s64>(0) : signed_number(operand.substr(0, open));
  if (!displacement) return false;  // a symbol: its address is not in the note
  out.number = *displacement;
  std::string_view inside = operand.substr(open + 1, operand.size() - open - 2);
  const auto base = take_until(inside, ','), index = take_until(inside, ','), scale = trimmed(inside);
  if (!base.empty()) {
    const auto reg = base.starts_with('%') ? full_register(base.substr(1)) : std::nullopt;
    if (!reg) return false;
    out.reg = *reg;
  }
  if (!index.empty()) {
    const auto reg = index.starts_with('%') ? full_register(index.substr(1)) : std::nullopt;
    if (!reg) return false;
    out.index = *reg;
  }
  const auto factor = scale.empty() ? std::optional<s64>(1) : signed_number(scale);
  if (!factor || (*factor != 1 && *factor != 2 && *factor != 4 && *factor != 8)) return false;
  out.scale = static_cast<u8>(*factor);
  return !out.reg.empty() || !out.index.empty();
}

bool read_x86_64(std::string_view operand, UsdtArgument& out) {
  if (operand.starts_with('$')) {
    const auto value = signed_number(operand.substr(1));
    out.number = value.value_or(0);
    return value.has_value();
  }
  if (operand.starts_with('%')) {
    const auto reg = full_register(operand.substr(1));
    if (!reg) return false;
    out.kind = UsdtArgument::Kind::reg;
    out.reg = *reg;
    return true;
  }
  return read_memory(operand, out);
}

/// "x3", "[sp, 16]", "[x0]", "5".
bool read_arm64(std::string_view operand, UsdtArgument& out) {
  const auto register_of = [](std::string_view name) -> std::string {
    if (name == "sp") return "sp";
    if (name.size() < 2 || name.size() > 3 || (name[0] != 'x' && name[0] != 'w')) return "";
    if (name.find_first_not_of("0123456789", 1) != name.npos) return "";
    const auto number = signed_number(name.substr(1));
    return number && *number <= 30 ? fmt::format("x{}", *number) : "";
  };
  if (operand.starts_with('[') && operand.ends_with(']')) {
    std::string_view inside = operand.substr(1, operand.size() - 2);
    const auto base = take_until(inside, ','), displacement = trimmed(inside);
    const auto number = displacement.empty() ? std::optional<s64>(0) : signed_number(displacement);
    out.reg = register_of(base);
    if (out.reg.empty() || !number) return false;
    out.kind = UsdtArgument::Kind::memory;
    out.number = *number;
    return true;
  }
  out.reg = register_of(operand);
  if (!out.reg.empty()) {
    out.kind = UsdtArgument::Kind::reg;
    return true;
  }
  const auto value = signed_number(operand);
  out.number = value.value_or(0);
  return value.has_value();
}

}  // namespace

Result<std::vector<UsdtArgument>> usdt_arguments(std::string_view text) {
  std::vector<UsdtArgument> arguments;
  text = trimmed(text);
  while (!text.empty()) {
    if (arguments.size() == most_arguments)
      return fail(Code::unsupported, fmt::format("more than {} arguments", most_arguments));
    // SIZE@OPERAND; an operand in brackets may hold spaces (arm64: "[sp, 16]").
    const auto at = text.find('@');
    const auto bytes = at == text.npos ? std::nullopt : signed_number(text.substr(0, at));
    if (!bytes)
      return fail(Code::unsupported,
                  fmt::format("argument {}: expected SIZE@OPERAND, found \"{}\"", arguments.size() + 1, text));
    const bool bracketed = at + 1 < text.size() && text[at + 1] == '[';
    auto end = bracketed ? text.find(']', at) : text.find(' ', at);
    if (bracketed && end != text.npos) ++end;
    const std::string_view operand = trimmed(text.substr(at + 1, end == text.npos ? text.npos : end - at - 1));
    UsdtArgument argument;
    argument.is_signed = *bytes < 0;
    const u64 width = *bytes < 0 ? 0 - static_cast<u64>(*bytes) : static_cast<u64>(*bytes);
    argument.bytes = static_cast<u8>(width);
    const bool width_is_right = width == 1 || width == 2 || width == 4 || width == 8;
    if (!width_is_right || !(read_x86_64(operand, argument) || read_arm64(operand, argument)))
      return fail(Code::unsupported,
                  fmt::format("argument {} is \"{}@{}\", which cannot be read", arguments.size() + 1, *bytes, operand));
    arguments.push_back(std::move(argument));
    text = end == text.npos ? std::string_view() : trimmed(text.substr(end));
  }
  return arguments;
}

}  // namespace skep::elf
