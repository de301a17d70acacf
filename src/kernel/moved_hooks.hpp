// Hooks that have moved: the rows of moved_hooks.def, and whether one is what a program needs.
//
// Programs outlive kernels. One that was written for a tracepoint's old arguments, or for a function whose work another
// one does now, is given what it means, and the user a line that says so. As with substitutes (hook_substitutes.hpp),
// what the program reads is seen in its instructions, and nothing is made up.
#pragma once
#include <optional>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <string_view>

#include "kernel/carry.hpp"
#include "kernel/kernel_types.hpp"

namespace skep::kernel {

struct MovedTracepoint {
  std::string_view name;
  std::string_view arguments;  ///< "1,-,-,2,3"
  u32 count = 0;               ///< of the arguments that it has now
  std::string_view note;
};

enum class Exactness : u8 { exact, approximate };
std::string_view name_of(Exactness exactness) noexcept;

struct MovedFunction {
  enum class When : u8 { missing, outgrown };
  std::string_view function, other;
  std::string_view parameters;  ///< "0,1"
  When when = When::missing;
  Exactness exactness = Exactness::exact;
  std::string_view note;
};

/// A caller that a compiler may put `function` into.
struct InlinedFunction {
  std::string_view function, caller;
  std::string_view parameters;
  Exactness exactness = Exactness::exact;
  std::string_view note;
};

/// Every row, in the file's order.
std::span<const MovedTracepoint> moved_tracepoints() noexcept;
std::span<const MovedFunction> moved_functions() noexcept;
std::span<const InlinedFunction> inlined_functions() noexcept;

/// For a program on a raw tracepoint that reads arguments which this kernel's no longer has; nothing where it is fine
/// as it is, and where no row helps.
std::optional<Carrier> moved_tracepoint_carrier(const ProgramSpec& program, const std::string& tracepoint,
                                                KernelTypes& kernel);

/// For fentry and fexit (`hook`: moved_fentry, moved_fexit) or a kprobe on a function whose work another one does now.
std::optional<Carrier> moved_function_carrier(const ProgramSpec& program, const std::string& function, CarrierHook hook,
                                              KernelTypes& kernel);

/// For a program on the function of `row` at `caller`, which this kernel has for the row's (clones: do_fsync.isra.0);
/// nothing where the program reads what is not known there.
std::optional<Carrier> caller_carrier(const ProgramSpec& program, const InlinedFunction& row, const std::string& caller,
                                      CarrierHook hook, KernelTypes& kernel);

}  // namespace skep::kernel
