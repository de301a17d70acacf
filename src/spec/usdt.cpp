// See usdt.hpp.
#include "spec/usdt.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace skep::spec {

namespace {

/// Offset of a register in this machine's struct pt_regs.
std::optional<s16> pt_regs_offset(std::string_view name) {
#if defined(__x86_64__)
  static constexpr std::string_view order[] = {"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8",
                                               "rax", "rcx", "rdx", "rsi", "rdi", "",    "rip", "",    "",   "rsp"};
  for (std::size_t i = 0; i < std::size(order); ++i)
    if (!name.empty() && order[i] == name) return static_cast<s16>(i * 8);
#elif defined(__aarch64__)
  if (name == "sp") return 31 * 8;
  u32 number = 0;
  if (name.starts_with('x') &&
      std::from_chars(name.data() + 1, name.data() + name.size(), number).ptr == name.data() + name.size() &&
      number <= 30)
    return static_cast<s16>(number * 8);
#endif
  return std::nullopt;
}

Result<UsdtArgumentSpec> spec_of(const elf::UsdtArgument& argument) {
  using Kind = elf::UsdtArgument::Kind;
  UsdtArgumentSpec spec;
  spec.number = static_cast<u64>(argument.number);
  spec.is_signed = argument.is_signed ? 1 : 0;
  spec.shift = static_cast<u8>(64 - argument.bytes * 8);
  if (argument.kind == Kind::constant) return spec;
  const auto offset = pt_regs_offset(argument.reg.empty() ? argument.index : argument.reg);
  if (!offset)
    return fail(Code::unsupported, fmt::format("an argument in register {}, which probes do not see", argument.reg));
  spec.kind = argument.kind == Kind::reg ? 1 : 2;
  spec.reg_offset = *offset;
  if (argument.index.empty()) return spec;
  const auto index = pt_regs_offset(argument.index);
  if (!index || argument.reg.empty()) return fail(Code::unsupported, "an argument behind an index register alone");
  spec.kind = 3;
  const u32 log_scale = static_cast<u32>(__builtin_ctz(argument.scale));
  const u32 packed = static_cast<u32>(*index) | log_scale << 12;
  spec.index_low = static_cast<u8>(packed);
  spec.index_high = static_cast<u8>(packed >> 8);
  return spec;
}

}  // namespace

Result<UsdtSpec> usdt_spec(const elf::UsdtNote& note, u64 cookie) {
  const auto arguments = SKEP_TRY(elf::usdt_arguments(note.arguments));
  if (arguments.size() > most_usdt_arguments)
    return fail(Code::unsupported, fmt::format("{} arguments; programs see {}", arguments.size(), most_usdt_arguments));
  UsdtSpec spec;
  for (std::size_t i = 0; i < arguments.size(); ++i) spec.arguments[i] = SKEP_TRY(spec_of(arguments[i]));
  spec.count = static_cast<s16>(arguments.size());
  spec.cookie = cookie;
  return spec;
}

Error wrong_usdt_specs(std::string_view place) {
  return {Code::invalid_argument, fmt::format("{}: the map {} has no values of {} bytes, as <bpf/usdt.bpf.h> has it",
                                              place, usdt_specs_map, sizeof(UsdtSpec))};
}

Error too_many_usdt_specs(std::string_view place, u32 room) {
  return {Code::limit, fmt::format("{}: {} has room for {} descriptions; define BPF_USDT_MAX_SPEC_CNT larger", place,
                                   usdt_specs_map, room)};
}

std::optional<UsdtTarget> usdt_target(std::string_view text) {
  const auto last = text.rfind(':');
  if (last == std::string_view::npos) return std::nullopt;
  const auto first = text.substr(0, last).rfind(':');
  if (first == std::string_view::npos) return std::nullopt;
  const UsdtTarget out{text.substr(0, first), text.substr(first + 1, last - first - 1), text.substr(last + 1)};
  if (out.file.empty() || out.provider.empty() || out.name.empty()) return std::nullopt;
  return out;
}

Result<std::vector<elf::UsdtNote>> usdt_places(const elf::File& file, const UsdtTarget& target) {
  auto notes = SKEP_TRY(elf::usdt_notes(file));
  const auto all = notes.size();
  std::erase_if(
      notes, [&](const elf::UsdtNote& note) { return note.provider != target.provider || note.name != target.name; });
  if (notes.empty())
    return fail(Code::not_found, fmt::format("{} has no static probe {}:{} ({} of other names)", target.file,
                                             target.provider, target.name, all));
  return notes;
}

}  // namespace skep::spec
