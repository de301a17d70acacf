// Tracepoints that stand in for kernel functions: the rows of hook_substitutes.def, and whether one fits a program.
//
// A substitute is used when the program can have everything that it reads there. What it reads is seen in its
// instructions (spec/register_use.hpp), so a refusal names the parameter; nothing is made up.
#pragma once
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <string_view>

#include "kernel/carry.hpp"
#include "kernel/kernel_types.hpp"

namespace skep::kernel {

struct HookSubstitute {
  enum class When : u8 { entry, at_return };
  enum class Current : u8 { same, other };
  enum class Exactness : u8 { exact, approximate };
  std::string_view function;
  When when = When::entry;
  std::string_view tracepoint;
  std::string_view arguments;  ///< "0,-,2", "-:inode,new_dentry:dentry"
  std::string_view tests;      ///< "2==1 0.sock.sk_protocol:2==6"
  Current current = Current::same;
  Exactness exactness = Exactness::exact;
  std::string_view note;
};

/// A structure that a carrier builds, as an argument of a row names it.
struct BuiltStructure {
  std::string_view name;       ///< as rows name it
  std::string_view structure;  ///< in the kernel
  std::string_view members;    ///< "ki_filp=file ki_pos=position"
  std::string_view others;     ///< members that a program may read too: of the same place, or reading as 0
};
std::span<const BuiltStructure> built_structures() noexcept;

/// Every row, in the file's order.
std::span<const HookSubstitute> hook_substitutes() noexcept;

/// A function's name without what compilers add: "finish_task_switch" of "finish_task_switch.isra.0".
std::string_view source_name(std::string_view function) noexcept;

/// The system calls of a row's tracepoint: "read" and "pread64" of "sys_enter(read, pread64)".
std::vector<std::string_view> system_calls(std::string_view tracepoint);

/// The parts of a row's texts. nullopt where the text is broken.
std::optional<std::vector<s8>> parse_arguments(std::string_view text);  ///< numbers, or argument_* of carry.hpp
/// The names of the structures behind the arguments; empty where the row names none.
std::vector<std::string_view> parse_types(std::string_view text);
/// "ki_filp=file iter_type=iter_type.ITER_IOVEC data_source=#1 kvec=@iovec"
struct BuiltMember {
  std::string_view name, enumeration, enumerator;
  s8 argument = 0;  ///< of carry.hpp; argument_zero where it is a number
  s32 number = 0;
};
std::optional<std::vector<BuiltMember>> parse_members(std::string_view text);
struct SubstituteTest {
  s8 argument = 0;  ///< a number, or argument_* of carry.hpp
  /// The members to follow; none where the argument itself is compared.
  std::vector<std::pair<std::string_view, std::string_view>> path;
  u8 bytes = 8;
  s32 mask = 0;  ///< 0: none
  bool equal = true;
  s32 value = 0;
};
std::optional<std::vector<SubstituteTest>> parse_tests(std::string_view text);

/// What carries `program` where it asks for `function`; `declared`: the types of its object, or null. Errors:
/// not_found, where the table has no row for it; unsupported, naming what stands in the way of the row that comes
/// closest.
Result<Carrier> substitute_carrier(const ProgramSpec& program, const btf::Btf* declared, const std::string& function,
                                   bool at_return, KernelTypes& kernel);

}  // namespace skep::kernel
