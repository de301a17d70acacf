// Choosing a row. See hook_substitutes.hpp.
#include "kernel/hook_substitutes.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "catalog/syscalls.hpp"
#include "kernel/register_use.hpp"

namespace skep::kernel {

namespace {

using When = HookSubstitute::When;
using Current = HookSubstitute::Current;

constexpr HookSubstitute rows[] = {
#define SKEP_HOOK_SUBSTITUTE(function, when, tracepoint, arguments, tests, current, exactness, note) \
  {#function, When::when, #tracepoint, arguments, tests, Current::current, HookSubstitute::Exactness::exactness, note},
#include "kernel/hook_substitutes.def"
#undef SKEP_HOOK_SUBSTITUTE
};

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
    {"-", argument_unknown},         {"prev", argument_previous_task}, {"zero", argument_zero},
    {"file", argument_file},         {"socket", argument_socket},      {"sock", argument_sock},
    {"new_file", argument_new_file}, {"new_sock", argument_new_sock},  {"result", argument_result},
};

/// A number, or one of the words, as a whole.
std::optional<s8> parse_argument(std::string_view text) {
  for (const auto& [word, argument] : words)
    if (text == word) return argument;
  s32 number = -1;
  if (!take_number(text, number) || !text.empty() || number < 0 || number > 11) return std::nullopt;
  return static_cast<s8>(number);
}

std::optional<SubstituteTest> parse_test(std::string_view text) {
  SubstituteTest test;
  const auto end = text.find_first_of(".=!");
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
  test.equal = text.starts_with("==");
  if (!test.equal && !text.starts_with("!=")) return std::nullopt;
  text.remove_prefix(2);
  if (!take_number(text, test.value) || !text.empty()) return std::nullopt;
  return test;
}

/// Offsets of pt_regs of x86-64 by parameter; `ax` for results.
constexpr u32 parameter_offsets[] = {112, 104, 96, 88, 72, 64}, result_offset = 80, ip_offset = 128;
constexpr std::string_view register_names[] = {"r15", "r14",     "r13", "r12", "bp",    "bx", "r11",
                                               "r10", "r9",      "r8",  "ax",  "cx",    "dx", "si",
                                               "di",  "orig_ax", "ip",  "cs",  "flags", "sp", "ss"};

/// Why a program cannot do with a row; "" when it can.
std::string shortfall(const HookSubstitute& row, std::span<const s8> arguments, const RegisterUse& use,
                      KernelTypes& kernel) {
  if (row.current == Current::other && !use.of_current.empty())
    return fmt::format("it asks for the current task ({}), which is another one there", use.of_current.front());
  const bool at_return = row.when == When::at_return;
  for (u32 word = 0; word < std::size(register_names); ++word) {
    const u32 offset = word * 8;
    if (!use.reads(offset) || offset == ip_offset) continue;
    if (at_return && offset == result_offset && arguments[0] != argument_unknown) continue;
    const auto* const parameter = std::ranges::find(parameter_offsets, offset);
    const auto index = static_cast<std::size_t>(parameter - parameter_offsets);
    const bool is_parameter = !at_return && index < arguments.size();
    if (is_parameter && arguments[index] != argument_unknown) continue;
    if (use.everything) {
      if (!is_parameter) continue;  // perhaps it reads it, perhaps not: parameters are what counts
      return fmt::format(
          "parameter {} of {} is not known there, and which ones the program reads is not clear from its "
          "instructions",
          kernel.parameter_name(row.function, static_cast<u32>(index)), row.function);
    }
    if (is_parameter)
      return fmt::format("it reads parameter {} of {}, which is not known there",
                         kernel.parameter_name(row.function, static_cast<u32>(index)), row.function);
    return fmt::format("it reads register {}, which is not known there", register_names[word]);
  }
  return {};
}

Result<u32> offset_of(std::string_view structure, std::string_view member, KernelTypes& kernel) {
  if (const auto offset = kernel.member_offset(structure, member)) return *offset;
  return fail(Code::unsupported,
              fmt::format("this kernel's struct {} has no member {}, by which the events that are meant are told from "
                          "others",
                          structure, member));
}

/// The calls of "sys_enter(read, pread64)" that this machine has, and how a descriptor leads to its file.
Result<void> know_system_calls(Carrier& carrier, std::string_view tracepoint, KernelTypes& kernel) {
  for (const std::string_view name : system_calls(tracepoint))
    if (const auto* const row = catalog::syscall_by_name(name)) carrier.syscall_numbers.push_back(row->number);
  if (carrier.syscall_numbers.empty())
    return fail(Code::unsupported, fmt::format("this machine has none of the system calls of {}", tracepoint));
  carrier.status_offset = kernel.thread_status_offset();
  DescriptorPath& at = carrier.descriptor;
  at.task_files = SKEP_TRY(offset_of("task_struct", "files", kernel));
  at.files_table = SKEP_TRY(offset_of("files_struct", "fdt", kernel));
  at.table_limit = SKEP_TRY(offset_of("fdtable", "max_fds", kernel));
  at.table_files = SKEP_TRY(offset_of("fdtable", "fd", kernel));
  at.file_private = SKEP_TRY(offset_of("file", "private_data", kernel));
  at.socket_sock = SKEP_TRY(offset_of("socket", "sk", kernel));
  return {};
}

/// The row's own conditions: this kernel has the tracepoint and the function as the row knows them.
Result<Carrier> carrier_of(const HookSubstitute& row, KernelTypes& kernel) {
  Carrier carrier;
  const bool at_return = row.when == When::at_return, boundary = row.tracepoint.ends_with(')');
  carrier.hook = boundary ? (at_return ? CarrierHook::boundary_return : CarrierHook::boundary_entry)
                          : (at_return ? CarrierHook::tracepoint_return : CarrierHook::tracepoint_entry);
  carrier.function = row.function;
  carrier.tracepoint = row.tracepoint;
  carrier.is_exact = row.exactness == HookSubstitute::Exactness::exact;
  carrier.note = row.note;
  carrier.arguments = *parse_arguments(row.arguments);  // a test parses every row
  if (boundary) SKEP_TRY(know_system_calls(carrier, row.tracepoint, kernel));
  constexpr u32 syscall_arguments = 6;
  const u32 available = boundary ? syscall_arguments : SKEP_TRY(kernel.tracepoint_argument_count(row.tracepoint));
  const auto check = [&](s32 argument) -> Result<void> {
    if (argument < static_cast<s32>(available)) return {};
    return fail(Code::unsupported,
                fmt::format("this kernel's tracepoint {} has {} arguments, argument {} would be needed", row.tracepoint,
                            available, argument + 1));
  };
  for (const s8 argument : carrier.arguments) SKEP_TRY(check(argument));
  if (const auto parameters = kernel.argument_count(row.function);
      row.when == When::entry && !row.arguments.empty() && parameters && *parameters != carrier.arguments.size())
    return fail(Code::unsupported,
                fmt::format("this kernel's {} has {} parameters, the table of substitutes knows one with {}",
                            row.function, *parameters, carrier.arguments.size()));
  const auto tests = *parse_tests(row.tests);
  for (const SubstituteTest& test : tests) {
    SKEP_TRY(check(test.argument));
    std::vector<u32> path;
    for (const auto& [structure, member] : test.path) path.push_back(SKEP_TRY(offset_of(structure, member, kernel)));
    carrier.tests.push_back({test.argument, std::move(path), test.bytes, test.equal, test.value});
  }
  return carrier;
}

}  // namespace

std::span<const HookSubstitute> hook_substitutes() noexcept { return rows; }

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

std::string_view source_name(std::string_view function) noexcept { return function.substr(0, function.find('.')); }

std::optional<std::vector<s8>> parse_arguments(std::string_view text) {
  std::vector<s8> arguments;
  while (!text.empty()) {
    const std::string_view part = take_until(text, ',');
    const auto argument = parse_argument(part);
    if (!argument) return std::nullopt;
    arguments.push_back(*argument);
  }
  return arguments;
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

Result<Carrier> substitute_carrier(const ProgramSpec& program, const std::string& function, bool at_return,
                                   KernelTypes& kernel) {
  const std::string_view name = source_name(function);
  std::optional<Error> reason;
  std::optional<RegisterUse> use;
  for (const HookSubstitute& row : rows) {
    if (row.function != name || (row.when == When::at_return) != at_return) continue;
    auto carrier = carrier_of(row, kernel);
    if (!carrier) {
      reason = std::move(carrier).error();
      continue;
    }
    if (!use) use = register_use(program);
    const std::string missing = shortfall(row, carrier->arguments, *use, kernel);
    if (missing.empty()) return carrier;
    reason = Error{Code::unsupported, fmt::format("tracepoint {} would stand in for it, but not for program {}: {}",
                                                  row.tracepoint, program.name, missing)};
  }
  if (reason) return tl::unexpected(*std::move(reason));
  return fail(Code::not_found, fmt::format("no tracepoint is known that stands in for {}", name));
}

}  // namespace skep::kernel
