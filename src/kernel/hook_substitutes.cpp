// Choosing a row. See hook_substitutes.hpp.
#include "kernel/hook_substitutes.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "catalog/syscalls.hpp"
#include "spec/handler.hpp"
#include "spec/register_use.hpp"

namespace skep::kernel {

namespace {

using When = HookSubstitute::When;
using Current = HookSubstitute::Current;

constexpr HookSubstitute rows[] = {
#define SKEP_BUILT_STRUCTURE(name, structure, members, others)
#define SKEP_HOOK_SUBSTITUTE(function, when, tracepoint, arguments, tests, current, exactness, note) \
  {#function, When::when, #tracepoint, arguments, tests, Current::current, HookSubstitute::Exactness::exactness, note},
#include "kernel/hook_substitutes.def"
#undef SKEP_HOOK_SUBSTITUTE
#undef SKEP_BUILT_STRUCTURE
};

constexpr BuiltStructure structures[] = {
#define SKEP_HOOK_SUBSTITUTE(function, when, tracepoint, arguments, tests, current, exactness, note)
#define SKEP_BUILT_STRUCTURE(name, structure, members, others) {#name, #structure, members, others},
#include "kernel/hook_substitutes.def"
#undef SKEP_HOOK_SUBSTITUTE
#undef SKEP_BUILT_STRUCTURE
};

/// Offsets of pt_regs of x86-64 by parameter; `ax` for results.
constexpr u32 parameter_offsets[] = {112, 104, 96, 88, 72, 64}, result_offset = 80, ip_offset = 128;
constexpr std::string_view register_names[] = {"r15", "r14",     "r13", "r12", "bp",    "bx", "r11",
                                               "r10", "r9",      "r8",  "ax",  "cx",    "dx", "si",
                                               "di",  "orig_ax", "ip",  "cs",  "flags", "sp", "ss"};

/// Why a program cannot do with a row; "" when it can.
std::string shortfall(const HookSubstitute& row, std::span<const s8> arguments, const spec::RegisterUse& use,
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

/// What words of the row need beyond the descriptor's file.
Result<void> know_word(Carrier& carrier, s8 word, std::string_view tracepoint, KernelTypes& kernel) {
  DescriptorPath& at = carrier.descriptor;
  if (word == argument_new_path || word == argument_new_dentry) {
    at.file_path = SKEP_TRY(offset_of("file", "f_path", kernel));
    at.path_dentry = SKEP_TRY(offset_of("path", "dentry", kernel));
  } else if (word == argument_position) {
    at.file_position = SKEP_TRY(offset_of("file", "f_pos", kernel));
    for (const std::string_view name : system_calls(tracepoint))
      if (const auto* const row = catalog::syscall_by_name(name); row != nullptr && name[0] != 'p')
        carrier.unpositioned_numbers.push_back(row->number);  // read, readv, write, writev; the others begin with p
  } else if (word == argument_name) {
    for (const std::string_view name : system_calls(tracepoint))
      if (const auto* const row = catalog::syscall_by_name(name);
          row != nullptr && (name.ends_with("at") || name.ends_with("at2")))
        carrier.at_numbers.push_back(row->number);
  }
  return {};
}

/// The structure as this kernel lays it out, behind those that the carrier builds already; then those it leads to.
Result<void> add_structure(Carrier& carrier, const BuiltStructure& built, std::string_view tracepoint,
                           KernelTypes& kernel) {
  const std::size_t index = carrier.structures.size();
  if (index == most_structures) return fail(Code::limit, "a row builds more structures than there is room for");
  carrier.structures.emplace_back();
  const auto members = *parse_members(built.members);  // a test parses every row
  for (const BuiltMember& member : members) {
    const auto place = kernel.member_place(built.structure, member.name);
    if (!place || place->offset + place->bytes > most_structure_bytes || !std::has_single_bit(place->bytes) ||
        place->bytes > sizeof(u64))
      return fail(Code::unsupported, fmt::format("this kernel's struct {} has no member {} that can be filled",
                                                 built.structure, member.name));
    CarrierStructure::Member made{place->offset, static_cast<u8>(place->bytes), member.argument, member.number};
    if (!member.enumerator.empty()) {
      const auto value = kernel.enumerator(member.enumeration, member.enumerator);
      if (!value)
        return fail(Code::unsupported,
                    fmt::format("this kernel's enum {} has no {}", member.enumeration, member.enumerator));
      made.number = static_cast<s32>(*value);
    } else if (member.argument <= argument_structure) {
      const auto& inner = structures[static_cast<std::size_t>(argument_structure - member.argument)];
      made.argument = static_cast<s8>(argument_structure - static_cast<s8>(carrier.structures.size()));
      SKEP_TRY(add_structure(carrier, inner, tracepoint, kernel));
    } else {
      SKEP_TRY(know_word(carrier, member.argument, tracepoint, kernel));
    }
    carrier.structures[index].members.push_back(made);
  }
  return {};
}

/// Where the row names types and the program declares parameters, they are found by these types, in their order.
Result<std::vector<s8>> by_declaration(const HookSubstitute& row, const std::vector<s8>& arguments,
                                       std::span<const spec::HandlerParameter> declared, bool& moved) {
  const auto places = spec::places_by_type(declared, parse_types(row.arguments));
  if (!places)
    return fail(Code::unsupported,
                fmt::format("the parameters that the program declares are not those that the table of "
                            "substitutes knows of {}",
                            row.function));
  std::vector<s8> out;
  for (std::size_t i = 0; i < places->size(); ++i) {
    moved |= (*places)[i] != i;
    out.push_back(arguments[(*places)[i]]);
  }
  return out;
}

/// Whether a row's arguments name the structure, or one that leads to it.
bool builds(std::string_view arguments, std::string_view structure) {
  const auto parsed = parse_arguments(arguments);
  for (const s8 argument : *parsed) {
    if (argument > argument_structure) continue;
    const BuiltStructure& built = structures[static_cast<std::size_t>(argument_structure - argument)];
    if (built.name == structure || built.members.find(fmt::format("@{}", structure)) != built.members.npos) return true;
  }
  return false;
}

/// A member of a built structure that the program reads and that nobody fills; "" when there is none.
std::string unfilled_member(const ProgramSpec& program, const btf::Btf* declared, const BuiltStructure& built) {
  if (declared == nullptr) return {};
  const auto filled = *parse_members(built.members);
  for (const CoreRelocation& relocation : program.relocations) {
    if (relocation.type_id >= declared->type_count()) continue;
    const btf::Type root = declared->type(declared->resolve(relocation.type_id));
    if (root.name != built.structure) continue;
    const std::string member = spec::first_named_member(*declared, relocation);
    const auto named = [&](std::string_view list) { return (" " + std::string(list) + " ").find(" " + member + " "); };
    const auto is_it = [&](const BuiltMember& one) { return one.name.substr(0, one.name.find('.')) == member; };
    if (member.empty() || std::ranges::any_of(filled, is_it)) continue;
    if (named(built.others) == std::string::npos) return fmt::format("{}.{}", built.structure, member);
  }
  return {};
}

/// The row's own conditions: this kernel has the tracepoint and the function as the row knows them.
Result<Carrier> carrier_of(const HookSubstitute& row, std::span<const spec::HandlerParameter> declared,
                           KernelTypes& kernel) {
  Carrier carrier;
  const bool at_return = row.when == When::at_return, boundary = row.tracepoint.ends_with(')');
  const bool at_exit = row.tracepoint.starts_with("sys_exit(");
  carrier.hook = boundary ? (at_exit ? CarrierHook::boundary_return : CarrierHook::boundary_entry)
                          : (at_return ? CarrierHook::tracepoint_return : CarrierHook::tracepoint_entry);
  carrier.at_return = at_return;
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
  for (s8& argument : carrier.arguments) {
    SKEP_TRY(check(argument));
    SKEP_TRY(know_word(carrier, argument, row.tracepoint, kernel));
    if (argument > argument_structure) continue;
    const auto& built = structures[static_cast<std::size_t>(argument_structure - argument)];
    argument = static_cast<s8>(argument_structure - static_cast<s8>(carrier.structures.size()));
    SKEP_TRY(add_structure(carrier, built, row.tracepoint, kernel));
  }
  const bool by_type = !at_return && !declared.empty() && row.arguments.find(':') != row.arguments.npos;
  if (by_type) {
    carrier.arguments = SKEP_TRY(by_declaration(row, carrier.arguments, declared, carrier.parameters_by_type));
  } else if (const auto parameters = kernel.argument_count(row.function);
             !at_return && !row.arguments.empty() && parameters && *parameters != carrier.arguments.size())
    return fail(Code::unsupported,
                fmt::format("this kernel's {} has {} parameters, the table of substitutes knows one with {}",
                            row.function, *parameters, carrier.arguments.size()));
  const auto tests = *parse_tests(row.tests);
  for (const SubstituteTest& test : tests) {
    SKEP_TRY(check(test.argument));
    std::vector<u32> path;
    for (const auto& [structure, member] : test.path) path.push_back(SKEP_TRY(offset_of(structure, member, kernel)));
    carrier.tests.push_back({test.argument, std::move(path), test.bytes, test.mask, test.equal, test.value});
  }
  return carrier;
}

}  // namespace

std::span<const HookSubstitute> hook_substitutes() noexcept { return rows; }

std::span<const BuiltStructure> built_structures() noexcept { return structures; }

std::string_view source_name(std::string_view function) noexcept { return function.substr(0, function.find('.')); }

Result<Carrier> substitute_carrier(const ProgramSpec& program, const btf::Btf* declared, const std::string& function,
                                   bool at_return, KernelTypes& kernel) {
  const std::string_view name = source_name(function);
  const auto parameters = spec::handler_parameters(declared, program.functions);
  std::optional<Error> reason;
  std::optional<spec::RegisterUse> use;
  for (const HookSubstitute& row : rows) {
    if (row.function != name || (row.when == When::at_return) != at_return) continue;
    auto carrier = carrier_of(row, parameters, kernel);
    if (!carrier) {
      reason = std::move(carrier).error();
      continue;
    }
    if (!use) use = spec::register_use(program.insns);
    std::string missing = shortfall(row, carrier->arguments, *use, kernel);
    for (const BuiltStructure& built : structures)
      if (std::string unfilled; missing.empty() && builds(row.arguments, built.name) &&
                                !(unfilled = unfilled_member(program, declared, built)).empty())
        missing = fmt::format("it reads {}, which is not known there", unfilled);
    if (missing.empty()) return carrier;
    reason = Error{Code::unsupported, fmt::format("tracepoint {} would stand in for it, but not for program {}: {}",
                                                  row.tracepoint, program.name, missing)};
  }
  if (reason) return tl::unexpected(*std::move(reason));
  return fail(Code::not_found, fmt::format("no tracepoint is known that stands in for {}", name));
}

}  // namespace skep::kernel
