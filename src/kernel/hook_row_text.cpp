// The small languages of hook_substitutes.def: arguments, tests, members, system calls.
//
// The texts are constants of the program; a test parses every one of them, so whoever uses a row may take for granted
// that it can be read.
#include <charconv>

#include "kernel/hook_substitutes.hpp"

namespace skep::kernel {

namespace {

/// Takes a decimal number off the front of `text`.
bool take_number(std::string_view& text, s32& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return error == std::errc();
}

std::string_view take_until(std::string_view& text, char end) {
  const auto at = text.find(end);
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(at == text.npos ? text.size() : at + 1);
  return part;
}

constexpr std::pair<std::string_view, s8> words[] = {
    {"-", argument_unknown},
    {"prev", argument_previous_task},
    {"zero", argument_zero},
    {"file", argument_file},
    {"socket", argument_socket},
    {"sock", argument_sock},
    {"new_file", argument_new_file},
    {"new_sock", argument_new_sock},
    {"result", argument_result},
    {"new_path", argument_new_path},
    {"new_dentry", argument_new_dentry},
    {"position", argument_position},
    {"name", argument_name},
    {"second_name", argument_second_name},
    {"length", argument_length},
    {"second_length", argument_second_length},
};

/// A structure that carriers build, by its name.
std::optional<s8> built_argument(std::string_view name) {
  const auto all = built_structures();
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i].name == name) return static_cast<s8>(argument_structure - static_cast<s8>(i));
  return std::nullopt;
}

/// A number, or one of the words, as a whole.
std::optional<s8> parse_argument(std::string_view text) {
  for (const auto& [word, argument] : words)
    if (text == word) return argument;
  if (const auto built = built_argument(text)) return built;
  s32 number = -1;
  if (!take_number(text, number) || !text.empty() || number < 0 || number > 11) return std::nullopt;
  return static_cast<s8>(number);
}

std::optional<SubstituteTest> parse_test(std::string_view text) {
  SubstituteTest test;
  const auto end = text.find_first_of(".=!&");
  const auto argument = parse_argument(text.substr(0, end));
  if (!argument || *argument == argument_unknown || end == text.npos) return std::nullopt;
  test.argument = *argument;
  text.remove_prefix(end);
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    std::string_view path = take_until(text, ':');
    while (!path.empty()) {
      const std::string_view structure = take_until(path, '.'), member = take_until(path, '.');
      if (structure.empty() || member.empty()) return std::nullopt;
      test.path.emplace_back(structure, member);
    }
    s32 bytes = 0;
    if (test.path.empty() || !take_number(text, bytes)) return std::nullopt;
    if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8) return std::nullopt;
    test.bytes = static_cast<u8>(bytes);
  }
  if (text.starts_with('&')) {
    text.remove_prefix(1);
    if (!take_number(text, test.mask) || test.mask <= 0) return std::nullopt;
  }
  test.equal = text.starts_with("==");
  if (!test.equal && !text.starts_with("!=")) return std::nullopt;
  text.remove_prefix(2);
  if (!take_number(text, test.value) || !text.empty()) return std::nullopt;
  return test;
}

}  // namespace

std::vector<std::string_view> system_calls(std::string_view tracepoint) {
  std::vector<std::string_view> names;
  static_cast<void>(take_until(tracepoint, '('));
  std::string_view list = take_until(tracepoint, ')');
  while (!list.empty()) {
    names.push_back(take_until(list, ','));
    if (list.starts_with(' ')) list.remove_prefix(1);
  }
  return names;
}

std::optional<std::vector<s8>> parse_arguments(std::string_view text) {
  std::vector<s8> arguments;
  while (!text.empty()) {
    std::string_view part = take_until(text, ',');
    const auto argument = parse_argument(take_until(part, ':'));
    if (!argument) return std::nullopt;
    arguments.push_back(*argument);
  }
  return arguments;
}

std::vector<std::string_view> parse_types(std::string_view text) {
  std::vector<std::string_view> types;
  while (!text.empty()) {
    std::string_view part = take_until(text, ',');
    static_cast<void>(take_until(part, ':'));
    types.push_back(part);
  }
  return types;
}

std::optional<std::vector<BuiltMember>> parse_members(std::string_view text) {
  std::vector<BuiltMember> members;
  while (!text.empty()) {
    std::string_view value = take_until(text, ' ');
    BuiltMember member;
    member.name = take_until(value, '=');
    member.argument = argument_zero;
    if (member.name.empty() || value.empty()) return std::nullopt;
    if (value.starts_with('#')) {
      value.remove_prefix(1);
      if (!take_number(value, member.number) || !value.empty()) return std::nullopt;
    } else if (value.starts_with('@')) {
      const auto built = built_argument(value.substr(1));
      if (!built) return std::nullopt;
      member.argument = *built;
    } else if (value.find('.') != value.npos) {
      member.enumeration = take_until(value, '.');
      member.enumerator = value;
    } else {
      const auto argument = parse_argument(value);
      if (!argument || *argument == argument_unknown || *argument <= argument_structure) return std::nullopt;
      member.argument = *argument;
    }
    members.push_back(member);
  }
  return members;
}

std::optional<std::vector<SubstituteTest>> parse_tests(std::string_view text) {
  std::vector<SubstituteTest> tests;
  while (!text.empty()) {
    const auto test = parse_test(take_until(text, ' '));
    if (!test) return std::nullopt;
    tests.push_back(*test);
  }
  return tests;
}

}  // namespace skep::kernel
