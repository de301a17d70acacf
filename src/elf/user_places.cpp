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
  std::vector<std::string_view> names;
  if (all)
    for (const Function& one : *all) names.push_back(one.name);
  return {Code::not_found, fmt::format("no function \"{}\" among the {} of {} ({})", wanted, names.size(), binary.path,
                                       why_no_function(binary.file, wanted, base::nearest(wanted, names)))};
}

Result<std::vector<UserPlace>> place_at(const UserBinary& binary, u64 offset) {
  const auto holds = [&](const Segment& segment) {
    return segment.type == segment_load && (segment.flags & segment_executable) != 0 && offset >= segment.offset &&
           offset - segment.offset < segment.size_file;
  };
  if (std::ranges::any_of(binary.file.segments(), holds)) return std::vector<UserPlace>{{offset, false}};
  return fail(
      Code::invalid_argument,
      fmt::format("no code of the file lies at offset {:#x}: expected the offset of an instruction in the file, "
                  "not its address",
                  offset));
}

/// A breakpoint in the middle of an instruction makes another one of it, in every process that has the file.
Result<void> check_place(const UserBinary& binary, const Function& function, u64 plus) {
  if (function.size != 0 && plus >= function.size)
    return fail(Code::invalid_argument,
                fmt::format("+{} lies behind the end of {}, which has {} bytes", plus, function.name, function.size));
  constexpr u64 most_bytes = 1u << 20;  // what is said to be farther is not looked at
  if (binary.file.machine() != machine_x86_64 || plus >= most_bytes) return {};
  std::vector<std::byte> code(plus + sizeof(InsnBytes));
  code.resize(SKEP_TRY(binary.read(function.file_offset, code)));
  const auto start = x86_insn_start(code, plus);
  if (!start || *start == plus) return {};
  InsnBytes around{};
  std::memcpy(around.data(), code.data() + *start, std::min(around.size(), code.size() - *start));
  return fail(
      Code::invalid_argument,
      fmt::format("+{} lies inside of an instruction of {}, from +{} up to +{}: a probe there would make another "
                  "one of it. Where that is no code, name the place by its offset in the file, {:#x}",
                  plus, function.name, *start, *start + x86_insn(around).length, function.file_offset + plus));
}

}  // namespace

Result<std::vector<UserPlace>> user_places(const UserBinary& binary, std::string_view text, bool at_return) {
  if (const auto number = base::whole_number(text)) return place_at(binary, *number);
  const std::string_view name = text.substr(0, text.find('+'));
  const auto plus =
      name.size() == text.size() ? std::optional<u64>(0) : base::whole_number(text.substr(name.size() + 1));
  if (!plus || name.empty())
    return fail(Code::invalid_argument, fmt::format("\"{}\": expected FUNCTION[+OFFSET], such as readline", text));
  if (at_return && *plus != 0) return fail(Code::invalid_argument, "a return probe takes no offset");
  const std::string pattern(name);
  const bool many = base::is_pattern(name);
  const auto found = SKEP_TRY(functions(binary, [&](std::string_view candidate) {
    return many ? ::fnmatch(pattern.c_str(), std::string(candidate).c_str(), 0) == 0 : candidate == name;
  }));
  std::vector<UserPlace> places;
  for (const Function& one : found) {
    if (*plus != 0) SKEP_TRY(check_place(binary, one, *plus));
    const u64 offset = one.file_offset + *plus;
    if (places.empty() || places.back().offset != offset) places.push_back({offset, *plus == 0});
  }
  if (places.empty()) return tl::unexpected(no_such_function(binary, name));
  return places;
}

}  // namespace skep::elf
