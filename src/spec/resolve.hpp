// The last step before verification or loading: what depends on the machine goes into the instructions.
//
// Both engines share it. apply_core() patches instructions by CO-RE against the types of the target (the running
// kernel's, or the user engine's own); resolve_kconfig() gives kernel configuration values to the variables that a
// program declares `extern ... __kconfig`.
//
// How kconfig values reach a program: reading an object lays the variables out in one read-only array map (named
// "<object>.kconfig", frozen, zero-filled), and every use is a Reference of kind `kconfig` that already holds the map's
// index and the byte offset (`map`, `addend`) beside the variable's name and type. resolve_kconfig() fills the map's
// initial_value and turns those references into `map_value`; after that they are global data like any other.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <skep/spec.hpp>

#include "btf/btf.hpp"
#include "btf/core.hpp"

namespace skep::spec {

/// The call instruction that stands where a CO-RE relocation found nothing: no helper has this number, so a verifier
/// refuses it where it can be reached and ignores it in code that an existence check has made dead.
inline constexpr s32 poison_helper = 0xbad2310;

/// Applies and clears `program.relocations`. `targets` are searched in order, the first with a match decides (the
/// kernel's own types before its modules').
/// Errors: unsupported (no target), malformed (a record or an instruction that contradicts the types), rejected
/// (several types match and disagree, or the result does not fit the instruction), limit; messages name the field.
/// `budget`: one for all programs of an object.
Result<void> apply_core(ProgramSpec& program, const btf::Btf& local,
                        std::span<const std::shared_ptr<const btf::Btf>> targets, btf::CoreBudget& budget);

/// The value of a name as a kernel .config writes it: y, n, m, 42, 0x2a, -1, "text" (with the quotes); nullopt where
/// there is none. Names that are no configuration (LINUX_KERNEL_VERSION, LINUX_HAS_SYSCALL_WRAPPER,
/// LINUX_HAS_BPF_COOKIE) are numbers.
using KconfigLookup = std::function<std::optional<std::string>(std::string_view name)>;

/// Fills the .kconfig map of `object` and resolves every reference to it. A value that is missing is zero where all
/// its declarations are weak, else an error.
/// Errors: not_found (names the option), malformed (the text does not fit the variable's type).
Result<void> resolve_kconfig(ObjectSpec& object, const KconfigLookup& lookup);

/// True for an instruction that apply_core() poisoned.
bool is_poisoned(const Insn& insn) noexcept;

}  // namespace skep::spec
