// BPF_PROG_LOAD: the last steps of a program, and the kernel's answer as a Result.
#pragma once
#include <memory>
#include <optional>
#include <skep/spec.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "kernel/annotations.hpp"
#include "kernel/kernel_types.hpp"
#include "kernel/map_handle.hpp"
#include "kernel/token.hpp"

namespace skep::kernel {

/// The helper that a call of a kernel function becomes which this kernel lacks, where its declaration is weak: no
/// helper has this number, so it is refused where the call is reachable and dropped where it is not.
inline constexpr s32 missing_kfunc = 0x7ffffff0;

/// Writes descriptors, addresses and type ids into the instructions that refer to maps, symbols and functions.
/// Returns the types of the modules that it means, which must be held until it is loaded.
/// CO-RE must be applied before. `declared`: the object's types, or nullptr. Errors: not_found, naming the symbol;
/// unsupported where the kernel's function is another than the declared one.
Result<std::vector<base::Fd>> link_references(ProgramSpec& program, std::span<const std::shared_ptr<KernelMap>> maps,
                                              KernelTypes& kernel, const btf::Btf* declared);

/// BPF_LOG_LEVEL1: the states that led to a refusal. BPF_LOG_STATS: only how much work it was.
inline constexpr u32 log_states = 1, log_stats = 4;

/// What BPF_PROG_LOAD is told beside the instructions.
struct LoadRequest {
  const ProgramSpec* program = nullptr;
  std::string_view license;
  u32 kernel_version = 0;
  int btf_fd = -1;
  const Annotations* annotations = nullptr;
  u32 attach_btf_id = 0;  ///< a type of the kernel, or of `attach_owner`
  /// In place of the attach type of the program's hook: a member of a struct_ops type, or the link that will hold it.
  std::optional<u32> attach_as;
  int attach_owner = -1;              ///< the program that is replaced or traced, or the types of a module
  std::span<const base::Fd> modules;  ///< of link_references()
  const Token* token = nullptr;       ///< what lends the right to it
  bool keep_log = false;              ///< ask for the log of an accepted program too
  u32 log_level = log_states;
};

/// A loaded program, or why not; the log is there in both cases when the kernel wrote one.
struct LoadOutcome {
  Result<base::Fd> program;
  std::string log;
};
LoadOutcome load_program(const LoadRequest& request);

}  // namespace skep::kernel
