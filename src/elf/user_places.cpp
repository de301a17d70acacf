// See user_places.hpp.
#include "elf/user_places.hpp"

#include <fmt/core.h>
#include <fnmatch.h>

#include <algorithm>
#include <cstring>

#include "base/nearest.hpp"
#include "base/target_words.hpp"
#include "elf/x86_insn.hpp"

namespace skep::elf {

namespace {

/// There is no such function: what is near, or why it may be missing.
Error no_such_function(const UserBinary& binary, std::string_view wanted) {
  const auto all = functions(binary, [](std::string_view) { return true; });
  if (!all) return all.error();
  std::vector<std::string_view> names;
  for (const Function& one : *all) names.push_back(one.name);
  return {Code::not_found, fmt::format("no function \"{}\" among the {} of {} ({})", wanted, names.size(), binary.path,
                                       why_no_function(binary.file, wanted, base::nearest(wanted, names)))};
}

bool is_code(const UserBinary& binary, u64 offset) {
  return std::ranges::any_of(binary.file.segments(), [&](const Segment& segment) {
    return segment.type == segment_load && (segment.flags & segment_executable) != 0 && offset >= segment.offset &&
           offset - segment.offset < segment.size_file;
  });
}

bool is_cold(std::string_view name) { return without_cold(name) != name; }

/// Linkers give libraries a beginning, too, which nobody jumps to: often their first function.
bool is_entry(const UserBinary& binary, const Function& function) {
  return std::ranges::find(binary.file.segments(), segment_interpreter, &Segment::type) !=
             binary.file.segments().end() &&
         function.file_offset == file_offset(binary.file, binary.file.entry());
}

/// Why a place in a function, `plus` bytes behind its beginning, is none; "" where it is one. A breakpoint in the
/// middle of an instruction makes another one of it, in every process that has the file.
std::string why_no_place(const UserBinary& binary, const Function& function, u64 plus) {
  constexpr u64 most_bytes = 1u << 20;
  if (plus >= (function.size != 0 ? function.size : most_bytes))
    return fmt::format("+{} lies behind the end of {}, which has {} bytes", plus, function.name,
                       function.size != 0 ? std::to_string(function.size) : fmt::format("at most {}", most_bytes));
  if (!is_code(binary, function.file_offset + plus)) return fmt::format("+{} is no code", plus);
  if (binary.file.machine() != machine_x86_64 || plus >= most_bytes) return {};
  std::vector<std::byte> code(plus + sizeof(InsnBytes));
  const auto count = binary.read(function.file_offset, code);
  if (!count) return count.error().message;
  code.resize(*count);
  const auto start = x86_insn_start(code, plus);
  if (!start || *start == plus) return {};
  InsnBytes around{};
  std::memcpy(around.data(), code.data() + *start, std::min(around.size(), code.size() - *start));
  return fmt::format(
      "+{} lies inside of an instruction of {}, from +{} up to +{}: a probe there would make another one "
      "of it. Where that is no code, name the place by its offset in the file, {:#x}",
      plus, function.name, *start, *start + x86_insn(around).length, function.file_offset + plus);
}

std::string why_no_return(const UserBinary& binary, const Function& function) {
  if (is_cold(function.name)) return fmt::format("{} has the frame of another function", function.name);
  if (function.name == "_start" || is_entry(binary, function))
    return fmt::format("{} is where the program begins: it has no caller", function.name);
  return {};
}

Result<UserPlaces> place_at(const UserBinary& binary, u64 offset, const WhyNot& why_not) {
  if (!is_code(binary, offset))
    return fail(Code::invalid_argument,
                fmt::format("no code of the file lies at offset {:#x}: expected the offset of an instruction in the "
                            "file, not its address",
                            offset));
  if (const std::string why = why_not(offset); !why.empty()) return fail(Code::unsupported, why);
  return UserPlaces{{{offset, false}}, {}};
}

}  // namespace

Result<UserPlaces> user_places(const UserBinary& binary, std::string_view text, bool at_return, const WhyNot& why_not) {
  const std::string_view name = text.substr(0, text.find('+'));
  const auto plus =
      name.size() == text.size() ? std::optional<u64>(0) : base::whole_number(text.substr(name.size() + 1));
  if (!plus || name.empty())
    return fail(Code::invalid_argument, fmt::format("\"{}\": expected FUNCTION[+OFFSET], such as readline", text));
  if (at_return && *plus != 0) return fail(Code::invalid_argument, "a return probe takes no offset");
  if (const auto number = base::whole_number(name)) return place_at(binary, *number + *plus, why_not);

  auto found = SKEP_TRY(functions(binary, [&](std::string_view candidate) { return candidate == name; }));
  const bool many = found.empty() && base::is_pattern(name);
  if (many) {
    const std::string pattern(name);
    found = SKEP_TRY(functions(binary, [&](std::string_view candidate) {
      return ::fnmatch(pattern.c_str(), std::string(candidate).c_str(), 0) == 0;
    }));
  }
  if (found.empty()) return tl::unexpected(no_such_function(binary, name));

  UserPlaces out;
  std::string reason;
  std::size_t left_out = 0;
  u64 last = ~u64{0};
  for (const Function& one : found) {
    const u64 offset = one.file_offset + *plus;
    if (offset == last) continue;  // another name of the same
    last = offset;
    std::string why = *plus != 0 ? why_no_place(binary, one, *plus) : at_return ? why_no_return(binary, one) : "";
    if (!why.empty() && !many) return fail(Code::invalid_argument, why);
    if (why.empty()) why = why_not(offset);
    if (!why.empty() && !many) return fail(Code::unsupported, why);
    if (why.empty()) {
      out.places.push_back({offset, *plus == 0 && !is_cold(one.name)});
    } else {
      reason = std::move(why);
      ++left_out;
    }
  }
  if (out.places.empty()) return fail(Code::unsupported, reason);
  if (left_out != 0)
    out.left_out = fmt::format("{} of {} places are left out: {}", left_out, left_out + out.places.size(), reason);
  return out;
}

}  // namespace skep::elf
