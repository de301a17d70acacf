// Closing a program against this kernel: CO-RE relocations and configuration values.
//
// Afterwards nothing in the program depends on types any more; only descriptors and addresses are open.
#pragma once
#include <skep/spec.hpp>

#include "btf/core.hpp"
#include "kernel/kernel_types.hpp"

namespace skep::kernel {

/// A copy of the program with its CO-RE relocations applied to this kernel's types. Reads the kernel's types only when
/// there are relocations. Errors name the type and the field. `budget`: one for all programs of the object.
Result<ProgramSpec> close_program(const ProgramSpec& program, const ObjectSpec& object, KernelTypes& types,
                                  btf::CoreBudget& budget);

/// Fills the object's kconfig values (LINUX_KERNEL_VERSION, LINUX_HAS_SYSCALL_WRAPPER, CONFIG_*) from the running
/// kernel.
Result<void> resolve_kconfig(ObjectSpec& object);

/// The whole object closed against the running kernel: what our own verifier takes under the kernel's rules. Programs
/// without a type of their own (BCC dialect) are kprobes, as BCC's functions are.
Result<ObjectSpec> close_object(const ObjectSpec& object);

/// The value of `name` in the text of a .config: "CONFIG_X=y", "# CONFIG_X is not set".
std::optional<std::string> config_value(std::string_view config, std::string_view name);

}  // namespace skep::kernel
